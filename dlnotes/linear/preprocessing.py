"""What is done to examples before anything learns from them: splitting them up, and scaling them."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from dlnotes.arguments import check_tensor

__all__ = ["split", "standardize"]


def split(examples: Sequence[Tensor], sizes: Sequence[int], *, generator: Generator) -> list[tuple[Tensor, ...]]:
    """Shuffle examples and deal them out into parts that share none.

    The usual three parts are for training, for choosing (validation), and for the one number at the end (test).
    Examples that are equal but stand twice in the data can still end up in two parts.

    Args:
        examples: tensors with equal first dimension N, such as ``(inputs, targets)``.
        sizes: how many examples each part gets; together at most N.
        generator: what the order is drawn from.

    Returns:
        A tuple of tensors for each part, in the order of ``sizes``.

    Raises:
        ValueError: first dimensions that differ, a negative size, or more examples asked for than there are.
        TypeError: examples that are no tensors.

    Example:
        >>> train, test = split((torch.arange(10),), (7, 3), generator=torch.Generator().manual_seed(0))
        >>> len(train[0]), sorted(torch.cat([train[0], test[0]]).tolist())
        (7, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    for tensor in examples:
        check_tensor("examples", tensor)
    lengths = [len(tensor) for tensor in examples]
    if not lengths or len(set(lengths)) > 1:
        raise ValueError(f"examples must be tensors with one equal first dimension, got {lengths}")
    if any(size < 0 for size in sizes) or sum(sizes) > lengths[0]:
        raise ValueError(f"sizes must be 0 or larger and sum to at most {lengths[0]} examples, not {list(sizes)}")
    order = torch.randperm(lengths[0], generator=generator, device=generator.device)[: sum(sizes)]
    return [
        tuple(tensor.index_select(0, part.to(tensor.device)) for tensor in examples)
        for part in order.split(list(sizes))
    ]


def standardize(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Bring each feature to mean 0 and variance 1, as measured on the training examples alone.

        x ← (x - mean(train)) / deviation(train)

    The other parts are scaled by the training part's numbers: what a model will meet later is not known when it is
    trained. A feature that never changes in training is shifted and not scaled, and so is one whose values differ by a
    single unit in the last place, which is rounding.

    Args:
        train: examples that the mean and the deviation are taken from; not modified.
        others: further parts, scaled alike; not modified.

    Shape:
        each (N, *) with its own N; returns a tensor of the same shape for each.

    Returns:
        The scaled parts: ``train`` first, then the others.

    Raises:
        ValueError: no training examples, or parts whose examples differ in shape.
        TypeError: a part that is no tensor of floating-point numbers.

    Example:
        >>> train, test = standardize(torch.tensor([[1.0, 7.0], [3.0, 7.0]]), torch.tensor([[5.0, 8.0]]))
        >>> train.tolist(), test.tolist()
        ([[-1.0, 0.0], [1.0, 0.0]], [[3.0, 1.0]])

    Source: Yann LeCun et al., "Efficient BackProp", 1998.
    """
    for part in (train, *others):
        check_tensor("examples", part)
        if not part.is_floating_point():
            raise TypeError(f"examples must be floating point, not {part.dtype}")
        if part.shape[1:] != train.shape[1:]:
            raise ValueError(
                f"each example must have the shape {tuple(train.shape[1:])} as in training, not {tuple(part.shape[1:])}"
            )
    if not len(train):
        raise ValueError("standardize needs at least one training example")
    wide = torch.promote_types(train.dtype, torch.float32)  # half precision would overflow at 65,504
    deviation, mean = torch.std_mean(train.to(wide), dim=0, correction=0)
    low, high = (end.detach().double() for end in train.aminmax(dim=0))
    resolution = torch.finfo(train.dtype).eps * torch.maximum(low.abs(), high.abs())  # 1 or 2 units in the last place
    # Next to its rounding, or beyond the squares that the dtype holds, a deviation says nothing.
    coarse = ~((deviation > 2 * resolution) & deviation.isfinite())
    scaled = [(part - mean) / deviation.where(~coarse, 1) for part in (train, *others)]
    if coarse.any():
        for part, values in zip((train, *others), scaled, strict=True):
            finer = _standardize_finely(train[:, coarse], part[:, coarse], varies=(high - low > resolution)[coarse])
            values[:, coarse] = finer.to(values.dtype)
    return tuple(
        values.to(torch.promote_types(part.dtype, train.dtype))
        for part, values in zip((train, *others), scaled, strict=True)
    )


def _standardize_finely(train: Tensor, part: Tensor, varies: Tensor) -> Tensor:
    """`standardize` of features (N, d) that vary by little or by very much, in differences to the first example.

    Such a difference is exact where the numbers are near each other; in units of the largest no square can overflow.
    """
    origin = train[0].double()
    unit = (train.double() - origin).abs().amax(0).where(varies, 1)
    deviation, mean = torch.std_mean((train.double() - origin) / unit, dim=0, correction=0)
    return ((part.double() - origin) / unit - mean) / deviation.where(varies, 1)
