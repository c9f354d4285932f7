"""A step of back-propagation written by hand, the loss, and a layer of dropout, beside PyTorch's."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from benchmarks.clock import interleaved, shares
from benchmarks.table import Row
from benchmarks.training import torchs_model
from dlnotes.deep import MLP, Dropout, backpropagate, descend
from dlnotes.linear import SGD, cross_entropy
from dlnotes.randomness import stream

__all__ = ["rows"]

WIDTHS, BATCH, RATE, CALLS = [784, 256, 128, 10], 64, 0.01, 200


def rows() -> Iterator[Row]:
    """The comparisons; among them the products of a step, which no way of writing it can do without."""
    inputs = torch.randn(BATCH, WIDTHS[0], generator=stream(0, "inputs"))
    targets = torch.randint(WIDTHS[-1], (BATCH,), generator=stream(0, "targets"))
    usual = torchs_model(WIDTHS)
    theirs = torch.optim.SGD(usual.parameters(), lr=RATE)
    one, other = (MLP(WIDTHS, generator=stream(0, "weights")) for _ in range(2))
    ours = SGD(one.parameters(), lr=RATE)
    weights = [parameter.detach() for parameter in other.parameters() if parameter.ndim == 2]

    def autograd() -> float:
        theirs.zero_grad()
        loss = functional.cross_entropy(usual(inputs), targets)
        loss.backward()
        theirs.step()
        return loss.item()

    def by_hand() -> float:
        loss = backpropagate(one, inputs, targets)
        ours.step()
        return loss.item()

    def at_once() -> float:
        return descend(other, inputs, targets, lr=RATE).item()

    def products() -> None:
        x = inputs
        for number, weight in enumerate(weights):
            y = x @ weight.T
            _ = y.T @ x
            if number:
                _ = y @ weight
            x = y

    for what, mine, goal in (
        ("descend", at_once, 1.4),
        ("backpropagate and SGD", by_hand, None),
        ("its matrix products alone", products, None),
    ):
        ratio = interleaved(mine, autograd, calls=CALLS)
        yield Row(
            f"a step of MLP 784-256-128-10, batch {BATCH}: {what} and autograd", ratio, goal, shares(mine, calls=CALLS)
        )
    scores = torch.randn(128, 10, generator=stream(0, "scores"), requires_grad=True)
    labels = torch.randint(10, (128,), generator=stream(0, "labels"))
    mine = partial(forward_and_backward, partial(cross_entropy, targets=labels), scores)
    peer = partial(forward_and_backward, partial(functional.cross_entropy, target=labels), scores)
    ratio = interleaved(mine, peer, calls=CALLS)
    yield Row("cross_entropy and PyTorch's of 128 × 10, forward and backward", ratio, None, shares(mine, calls=CALLS))
    for shape in ((128, 256), (64, 1024)):
        activations = torch.randn(shape, generator=stream(0, "activations"), requires_grad=True)
        mine = partial(forward_and_backward, Dropout(0.5, generator=stream(0, "masks")), activations)
        peer = partial(forward_and_backward, nn.Dropout(0.5), activations)
        ratio = interleaved(mine, peer, calls=CALLS)
        yield Row(
            f"Dropout and nn.Dropout of {shape[0]} × {shape[1]}, forward and backward",
            ratio,
            1,
            shares(mine, calls=CALLS),
        )


def forward_and_backward(layer: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> None:
    """What a step does with a layer."""
    layer(inputs).sum().backward()
