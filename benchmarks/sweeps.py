"""Sixteen networks trained side by side by one `Sweep`, beside one after another by `Trainer`; small ones and large."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import nn

from benchmarks.clock import interleaved, shares
from benchmarks.table import Row
from benchmarks.training import RATE, Run, sgd
from dlnotes.conv import ConvNet
from dlnotes.deep import MLP
from dlnotes.linear import cross_entropy
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, Trainer

__all__ = ["rows"]

MODELS, EXAMPLES, BATCH = 16, 2_000, 64

# A network by its widths (None: the convolutions below), the side of its images, and steps a round.
NETWORKS: dict[str, tuple[list[int] | None, int, int]] = {
    "softmax regression 196-10": ([196, 10], 14, 20),
    "MLP 196-64-10": ([196, 64, 10], 14, 20),
    "MLP 196-128-64-10, dropout 0.5": ([196, 128, 64, 10], 14, 10),
    "MLP 784-256-128-10": ([784, 256, 128, 10], 28, 3),
    "convolutions of 8 and 16 maps, 14 × 14": (None, 14, 5),
    "convolutions of 8 and 16 maps, 28 × 28": (None, 28, 3),
}


def rows() -> Iterator[Row]:
    """The comparisons."""
    for name, (widths, side, steps) in NETWORKS.items():
        images = torch.randn(EXAMPLES, 1, side, side, generator=stream(0, "images"))
        examples = images, torch.randint(10, (EXAMPLES,), generator=stream(0, "labels"))

        def networks(name: str = name, widths: list[int] | None = widths, side: int = side) -> list[nn.Module]:
            dropout = 0.5 if "dropout" in name else 0.0
            return [network(seed, widths, side, dropout) for seed in range(MODELS)]

        mine = side_by_side(networks(), examples, steps)
        ratio = interleaved(mine, one_after_another(networks(), examples, steps), calls=1)
        what = f"{MODELS} × {name}, batch {BATCH}: one sweep, and one after another"
        yield Row(what, ratio, None, shares(mine, calls=1))


def network(seed: int, widths: list[int] | None, side: int, dropout: float) -> nn.Module:
    """An `MLP`, or the convolutional network of the lessons."""
    chance = stream(seed, "weights")
    if widths:
        return MLP(widths, generator=chance, dropout=dropout, masks=stream(seed, "masks"))
    return ConvNet("5x5x8 max2 5x5x16 max2", inputs=(1, side, side), generator=chance)


def side_by_side(networks: list[nn.Module], examples: tuple[torch.Tensor, ...], steps: int) -> Run:
    """One sweep over all of them."""
    groups = [{"params": list(one.parameters()), "lr": RATE} for one in networks]
    sweep = Sweep(networks, cross_entropy, sgd(groups, lr=RATE), Minibatches(examples, BATCH, stream(0, "batches")))
    return lambda: sum(step.losses[0] for step in islice(sweep, steps))


def one_after_another(networks: list[nn.Module], examples: tuple[torch.Tensor, ...], steps: int) -> Run:
    """A trainer for each."""

    def trainer(one: nn.Module) -> Trainer:
        batches = Minibatches(examples, BATCH, stream(0, "batches"))
        return Trainer(one, cross_entropy, sgd(one.parameters(), lr=RATE), batches)

    trainers = [trainer(one) for one in networks]
    return lambda: sum(step.loss for one in trainers for step in islice(one, steps))
