"""The network of the lessons beside PyTorch's modules and Keras; layers made of patches beside PyTorch's kernels."""

import os
from collections.abc import Iterator
from itertools import islice

import torch
from torch import nn
from torch.nn import functional

from benchmarks.clock import interleaved, shares
from benchmarks.table import Row
from benchmarks.training import MOMENTUM, RATE, Optimizer, Run, sgd, torchs_sgd
from dlnotes.conv import Conv2d, ConvNet
from dlnotes.linear import cross_entropy
from dlnotes.randomness import stream
from dlnotes.training import Loss, Minibatches, Trainer

__all__ = ["rows"]

LAYERS, BATCH, CALLS = "5x5x8 max2 5x5x16 max2", 64, 10
EXAMPLES = 20 * BATCH
# The layers of that network: channels of what each is given, its kernels, and the side of its images.
CONVOLUTIONS = {"first": (1, 8, 28), "second": (8, 16, 14)}


def rows() -> Iterator[Row]:
    """The comparisons."""
    what = f"a step of {LAYERS}, 28 × 28, batch {BATCH}"
    ours, usual = step(ours_of(), sgd, cross_entropy), step(usual_network(), torchs_sgd, functional.cross_entropy)
    yield Row(
        f"{what}: ours and torch.nn in the usual order",
        interleaved(ours, usual, calls=CALLS),
        1.15,
        shares(ours, calls=CALLS),
    )
    alone = step(ours_of(), torchs_sgd, functional.cross_entropy)
    yield Row(
        f"{what}: our network and torch.nn's, both with PyTorch's loss and SGD", interleaved(alone, usual, calls=CALLS)
    )
    patches = step(ours_of(fused=False), sgd, cross_entropy)
    yield Row(f"{what}: ours of patches and torch.nn in the usual order", interleaved(patches, usual, calls=CALLS))
    fitted = trainer(ours_of())
    yield Row(
        f"a pass of {LAYERS}: ours and Keras 3 on PyTorch",
        interleaved(fitted, keras(), calls=1),
        1.5,
        shares(fitted, calls=1),
    )
    every: list[tuple[Run, Run]] = []
    for name, (channels, maps, side) in CONVOLUTIONS.items():
        mine, theirs = layers(channels, maps, side, with_input=name != "first")
        megabytes = BATCH * channels * 25 * side**2 * 4 / 1e6
        what = f"Conv2d of patches ({megabytes:.0f} MB) and conv2d, {name} layer, forward and backward"
        yield Row(what, interleaved(mine, theirs, calls=CALLS), 1 / 2.5, shares(mine, calls=CALLS))
        every.append((mine, theirs))
    together, kernels = (lambda side=side: [pair[side]() for pair in every] for side in (0, 1))
    yield Row("Conv2d of patches and conv2d, both layers", interleaved(together, kernels, calls=CALLS), 1 / 2.5)


def images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers to train on; what they are does not change how long it takes."""
    inputs = torch.randn(count, 1, 28, 28, generator=stream(0, "inputs"))
    return inputs, torch.randint(10, (count,), generator=stream(0, "targets"))


def ours_of(*, fused: bool = True) -> nn.Module:
    """Our network, of PyTorch's kernels or of patches."""
    return ConvNet(LAYERS, fused=fused, generator=stream(0, "weights"))


def usual_network() -> nn.Module:
    """The same function of PyTorch's modules, as one writes it."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 10),
    )


def step(network: nn.Module, optimizer: Optimizer, loss: Loss) -> Run:
    """One step of training on a batch that stays the same."""
    inputs, targets = images(BATCH)
    update = optimizer(network.parameters(), lr=1e-4)

    def run() -> float:
        update.zero_grad()
        found = loss(network(inputs), targets)
        found.backward()
        update.step()
        return found.item()

    return run


def trainer(network: nn.Module) -> Run:
    """A pass over all examples by `Trainer`."""
    batches = Minibatches(images(EXAMPLES), BATCH, stream(0, "batches"))
    steps = Trainer(network, cross_entropy, sgd(network.parameters(), lr=RATE), batches)
    return lambda: sum(one.loss for one in islice(steps, EXAMPLES // BATCH))


def keras() -> Run:
    """The same by Keras with PyTorch below it, in the order of channels that it prefers there."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    inputs, targets = (tensor.numpy() for tensor in images(EXAMPLES))
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((1, 28, 28)),
            layers.Conv2D(8, 5, padding="same", activation="relu", data_format="channels_first"),
            layers.MaxPooling2D(2, data_format="channels_first"),
            layers.Conv2D(16, 5, padding="same", activation="relu", data_format="channels_first"),
            layers.MaxPooling2D(2, data_format="channels_first"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    network.compile(
        keras.optimizers.SGD(RATE, momentum=MOMENTUM), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return lambda: network.fit(inputs, targets, batch_size=BATCH, epochs=1, verbose=0)


def layers(channels: int, maps: int, side: int, *, with_input: bool) -> tuple[Run, Run]:
    """A layer forward and backward, with its input's gradient or without: ours of patches, and PyTorch's kernel."""
    layer = Conv2d(channels, maps, 5, padding="same", generator=stream(0, "weights"))
    inputs = torch.randn(BATCH, channels, side, side, generator=stream(0, "inputs")).requires_grad_(with_input)
    slope = torch.randn(BATCH, maps, side, side, generator=stream(0, "slope"))
    learned = [*layer.parameters(), *[inputs] * with_input]

    def ours() -> object:
        return torch.autograd.grad(layer(inputs), learned, slope)

    def theirs() -> object:
        return torch.autograd.grad(functional.conv2d(inputs, layer.weight, layer.bias, padding=2), learned, slope)

    return ours, theirs
