"""A trainer for images that is ready to call."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from torch import Generator, Tensor, nn
from torch.utils.data import Dataset

from dlnotes.linear.losses import cross_entropy
from dlnotes.linear.optimizers import SGD
from dlnotes.linear.schedules import cosine_decay
from dlnotes.minibatches import Minibatches, limit_batch_size
from dlnotes.training import Trainer

__all__ = ["train_classifier"]


def train_classifier(
    model: nn.Module,
    examples: Sequence[Tensor] | Dataset[Any],
    *,
    generator: Generator,
    steps: int = 2_000,
    batch_size: int = 64,
    lr: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    max_norm: float = 1.0,
    change: Callable[[Tensor], Tensor] | None = None,
) -> list[float]:
    """Train a classifier of images: SGD with momentum on the cross-entropy, clipped, with a rate that falls to 0.

    A few lines over `Trainer`. The gradient of a kernel is a sum over all places of the image. At a rate that learns
    fast, the first ones are so long that kernels are thrown where their ReLU is 0 for every image, and stay there:
    that is why gradients are shortened. The rate follows half a cosine wave (`linear.cosine_decay`).

    Args:
        model: gives scores of shape (N, K), such as a `ConvNet`. Trained in place.
        examples: ``(images, targets)``, with class numbers as targets; or a map-style ``Dataset``, as `Minibatches`
            takes it.
        generator: what the order of the examples is drawn from.
        steps: minibatches to train on.
        batch_size: examples a batch; all of them where there are fewer.
        lr: the learning rate at the start.
        momentum: what is kept of the past steps, from 0 to below 1.
        weight_decay: the strength of the L2 penalty.
        max_norm: the length to which a longer gradient, of all weights together, is shortened; inf leaves it.
        change: what is done to the images of each batch, such as ``lambda images: augment(images, moves)``.

    Returns:
        The loss of each step, in nats.

    Raises:
        ValueError: examples of different lengths or none, steps or a batch size below 1.
        TypeError: examples that are not tensors, or a batch size that is not an ``int``.
        DivergedError: the loss is no longer finite.

    Example:
        >>> import torch
        >>> from dlnotes.conv import ConvNet
        >>> images, labels = torch.rand(20, 1, 8, 8, generator=torch.Generator()), torch.arange(20) % 10
        >>> model = ConvNet("3x3x8 max2", inputs=(1, 8, 8), generator=torch.Generator().manual_seed(0))
        >>> losses = train_classifier(model, (images, labels), generator=torch.Generator(), steps=100)
        >>> len(losses), losses[-1] < losses[0] / 2
        (100, True)
    """
    batches: Iterator[tuple[Tensor, ...]] = Minibatches(examples, limit_batch_size(batch_size, examples), generator)
    if change is not None:
        batches = ((change(images), *rest) for images, *rest in batches)
    optimizer = SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay, max_norm=max_norm)
    model.train()
    trainer = Trainer(model, cross_entropy, optimizer, batches, scheduler=cosine_decay(optimizer, steps))
    return [step.loss for step in islice(trainer, steps)]
