"""Images moved, turned and scaled: the same object somewhere else.

Images are turned and scaled by torchvision. What is drawn is drawn here, from a generator that is handed in:
torchvision's own random transforms draw from PyTorch's global one. It is imported inside the function, since that takes
seconds.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from dlnotes.arguments import check_number
from dlnotes.conv.windows import check_images

__all__ = ["augment", "shift"]


def shift(images: Tensor, down: int | Tensor, right: int | Tensor) -> Tensor:
    """Move images by whole pixels; what leaves the frame is lost, and zeros come in.

    Args:
        images: moved as they are.
        down: pixels, negative for up: one number for all, or one an image.
        right: pixels, negative for left.

    Shape:
        images (N, C, H, W); down and right () or (N); returns (N, C, H, W).

    Raises:
        ValueError: images of another shape, or another number of shifts than of images.
        TypeError: images that are no tensor, or shifts that are no whole numbers.

    Example:
        >>> shift(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 0, 1).tolist()
        [[[[0.0, 1.0], [0.0, 3.0]]]]
    """
    check_images("images", images)
    (count, channels, height, width), device = images.shape, images.device
    # Each pixel looks back to where it came from.
    rows = torch.arange(height, device="cpu") - _for_each(images, "down", down)[:, None]
    columns = torch.arange(width, device="cpu") - _for_each(images, "right", right)[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    origins = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    seen = origins.view(count, 1, height * width).expand(-1, channels, -1).to(device)
    return images.flatten(2).gather(2, seen).view(images.shape).masked_fill(~inside[:, None].to(device), 0)


def augment(
    images: Tensor, generator: Generator, *, shift: float = 2.0, angle: float = 10.0, scale: float = 0.1
) -> Tensor:
    """Each image moved, turned and scaled at random, anew at each call: more images of the same objects.

    Args:
        images: of any size.
        generator: where the moves are drawn from; on the CPU, a seed gives the same on every device.
        shift: the most pixels down or right, up or left.
        angle: the most degrees, either way.
        scale: the most by which an image grows or shrinks, as a share of its size, from 0 to below 1.

    Shape:
        images (N, C, H, W); returns (N, C, H, W), interpolated, with zeros from outside.

    Raises:
        ValueError: images of another shape, a negative setting, or a scale of 1 or more.
        TypeError: a setting that is no number.

    Example:
        >>> images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> torch.equal(augment(images, torch.Generator(), shift=0, angle=0, scale=0), images)
        True
    """
    from torchvision.transforms.v2 import InterpolationMode, functional

    check_images("images", images)
    for name, value in {"shift": shift, "angle": angle, "scale": scale}.items():
        check_number(name, value)
        if not 0 <= value < (1 if name == "scale" else float("inf")):
            raise ValueError(f"{name} must be 0 or larger{' and below 1' * (name == 'scale')}, not {value}")
    drawn = torch.rand(len(images), 4, generator=generator, dtype=torch.float64, device=generator.device)
    moves = drawn.mul_(2).sub_(1).tolist()
    if not shift and not angle and not scale:
        return images.clone()
    moved = [
        functional.affine(
            image,
            angle=angle * turned,
            translate=[shift * right, shift * down],
            scale=1 + scale * grown,
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        for image, (down, right, turned, grown) in zip(images, moves, strict=True)
    ]
    return torch.stack(moved) if moved else images.clone()


def _for_each(images: Tensor, name: str, moves: int | Tensor) -> Tensor:
    """A whole number of pixels for each image, on the CPU."""
    if not isinstance(moves, int | Tensor | Sequence):
        raise TypeError(f"{name} must be whole pixels, not {type(moves).__name__} ({moves!r})")
    numbers = torch.as_tensor(moves, device="cpu")
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise TypeError(f"{name} must be whole pixels, not {numbers.dtype}")
    if numbers.ndim and tuple(numbers.shape) != (len(images),):
        raise ValueError(
            f"{name} must be one number or one for each of {len(images)} images, not {tuple(numbers.shape)}"
        )
    return numbers.expand(len(images)).to(torch.int64)
