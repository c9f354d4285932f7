"""A step of back-propagation written by hand, the loss, and a layer of dropout, beside PyTorch's."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from benchmarks.clock import interleaved, shares
from benchmarks.table import Row
from benchmarks.training import Run, products, torchs_model
from dlnotes.deep import MLP, Dropout, backpropagate, descend
from dlnotes.linear import SGD, cross_entropy
from dlnotes.randomness import stream

__all__ = ["rows"]

WIDTHS, BATCH, RATE, CALLS = [784, 256, 128, 10], 64, 0.01, 200


def rows() -> Iterator[Row]:
    """The comparisons."""
    inputs = torch.randn(BATCH, WIDTHS[0], generator=stream(0, "inputs"))
    targets = torch.randint(WIDTHS[-1], (BATCH,), generator=stream(0, "targets"))

    def autograd(momentum: float) -> Run:
        network = torchs_model(WIDTHS)
        optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=momentum)

        def run() -> float:
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(inputs), targets)
            loss.backward()
            optimizer.step()
            return loss.item()

        return run

    def at_once(momentum: float) -> Run:
        network = MLP(WIDTHS, generator=stream(0, "weights"))
        velocities = [torch.zeros_like(parameter) for parameter in network.parameters()]
        return lambda: descend(network, inputs, targets, lr=RATE, momentum=momentum, velocities=velocities).item()

    def by_hand(momentum: float) -> Run:
        network = MLP(WIDTHS, generator=stream(0, "weights"))
        optimizer = SGD(network.parameters(), lr=RATE, momentum=momentum)

        def run() -> float:
            loss = backpropagate(network, inputs, targets)
            optimizer.step()
            return loss.item()

        return run

    for what, mine, theirs, goal in (
        ("descend and autograd", at_once(0.0), autograd(0.0), 1.4),
        ("descend and autograd, with momentum", at_once(0.9), autograd(0.9), 1.4),
        ("backpropagate and SGD, and autograd", by_hand(0.0), autograd(0.0), None),
        ("its matrix products alone and autograd", products(WIDTHS, BATCH), autograd(0.0), None),
    ):
        ratio = interleaved(mine, theirs, calls=CALLS)
        yield Row(f"a step of MLP 784-256-128-10, batch {BATCH}: {what}", ratio, goal, shares(mine, calls=CALLS))
    scores = torch.randn(128, 10, generator=stream(0, "scores"), requires_grad=True)
    labels = torch.randint(10, (128,), generator=stream(0, "labels"))
    mine = partial(forward_and_backward, partial(cross_entropy, targets=labels), scores)
    peer = partial(forward_and_backward, partial(functional.cross_entropy, target=labels), scores)
    ratio = interleaved(mine, peer, calls=CALLS)
    yield Row("cross_entropy and PyTorch's of 128 × 10, forward and backward", ratio, 0.7, shares(mine, calls=CALLS))
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
