"""An epoch of 6,400 examples in batches of 128: ours, the loop by hand, the usual loop, and other libraries."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice, pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.clock import interleaved, shares
from benchmarks.table import Row
from dlnotes.deep import MLP
from dlnotes.linear import SGD, AdaGrad, LogisticClassifier, cross_entropy
from dlnotes.randomness import stream
from dlnotes.training import Loss, Minibatches, Trainer

__all__ = ["rows"]

EXAMPLES, BATCH, RATE, MOMENTUM = 6_400, 128, 0.01, 0.9
MODELS = {"softmax regression 784-10": (784, 10), "MLP 784-256-128-10": (784, 256, 128, 10)}

Epoch = Callable[[], object]
Optimizer = Callable[..., torch.optim.Optimizer]


def rows() -> Iterator[Row]:
    """The comparisons, for each of the two models."""
    sgd, torchs_sgd = partial(SGD, momentum=MOMENTUM), partial(torch.optim.SGD, momentum=MOMENTUM)
    for name, widths in MODELS.items():
        small = len(widths) == 2
        ours = trainer(model(widths), sgd, cross_entropy)
        pieces = trainer(torchs_model(widths), torchs_sgd, functional.cross_entropy)
        with_sgd = trainer(model(widths), torchs_sgd, cross_entropy)
        adagrad = trainer(model(widths), AdaGrad, cross_entropy)
        with_adagrad = trainer(model(widths), torch.optim.Adagrad, cross_entropy)
        for what, mine, theirs, goal in (
            ("Trainer and the loop by hand, both of PyTorch's pieces", pieces, by_hand(widths), 1 / 1.05),
            ("ours and the usual DataLoader loop", ours, data_loader(widths), 1.6 if small else 1.15),
            ("SGD and torch.optim.SGD, momentum 0.9", ours, with_sgd, 1),
            ("AdaGrad and torch.optim.Adagrad", adagrad, with_adagrad, 1),
            ("ours and scikit-learn's MLPClassifier", ours, scikit_learn(widths), 0.85 if small else 1.3),
            ("ours and Keras 3 on PyTorch", ours, keras(widths), 2),
        ):
            yield Row(f"{name}: {what}", interleaved(mine, theirs, calls=1), goal, shares(mine))


def examples() -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers to train on; what they are does not change how long it takes."""
    inputs = torch.randn(EXAMPLES, 784, generator=stream(0, "inputs"))
    return inputs, torch.randint(10, (EXAMPLES,), generator=stream(0, "targets"))


def model(widths: Sequence[int]) -> nn.Module:
    """Ours: linear layers with rectifiers between them, or a single one."""
    return MLP(widths, generator=stream(0, "weights")) if len(widths) > 2 else LogisticClassifier(*widths)


def torchs_model(widths: Sequence[int]) -> nn.Module:
    """The same of PyTorch's modules."""
    layers = [nn.Linear(before, after) for before, after in pairwise(widths)]
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])


def trainer(network: nn.Module, optimizer: Optimizer, loss: Loss) -> Epoch:
    """Ours: `Trainer` over `Minibatches`."""
    batches = Minibatches(examples(), BATCH, stream(0, "batches"))
    steps = Trainer(network, loss, optimizer(network.parameters(), lr=RATE), batches)
    return lambda: sum(step.loss for step in islice(steps, EXAMPLES // BATCH))


def by_hand(widths: Sequence[int]) -> Epoch:
    """The loop that one writes by hand when it has to be fast: one permutation a pass, rows taken by index."""
    network, (inputs, targets), chance = torchs_model(widths), examples(), stream(0, "batches")
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)

    def epoch() -> float:
        total, order = 0.0, torch.randperm(EXAMPLES, generator=chance)
        for start in range(0, EXAMPLES, BATCH):
            chosen = order[start : start + BATCH]
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(inputs[chosen]), targets[chosen])
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total

    return epoch


def data_loader(widths: Sequence[int]) -> Epoch:
    """The loop of most tutorials."""
    network, loader = torchs_model(widths), DataLoader(TensorDataset(*examples()), BATCH, shuffle=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)

    def epoch() -> float:
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total

    return epoch


def scikit_learn(widths: Sequence[int]) -> Epoch:
    """An epoch of scikit-learn: a call of ``fit`` that goes on from the last and ends after a pass."""
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    inputs, targets = (tensor.numpy() for tensor in examples())
    network: Any = MLPClassifier(
        widths[1:-1],
        solver="sgd",
        alpha=0,
        batch_size=BATCH,
        learning_rate_init=RATE,
        momentum=MOMENTUM,
        nesterovs_momentum=False,
        warm_start=True,
        max_iter=1,
    )

    def epoch() -> object:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one pass is not enough
            return network.fit(inputs, targets)

    return epoch


def keras(widths: Sequence[int]) -> Epoch:
    """An epoch of Keras with PyTorch below it."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    inputs, targets = (tensor.numpy() for tensor in examples())
    hidden = [keras.layers.Dense(width, activation="relu") for width in widths[1:-1]]
    network = keras.Sequential([keras.Input(widths[:1]), *hidden, keras.layers.Dense(widths[-1])])
    network.compile(
        keras.optimizers.SGD(RATE, momentum=MOMENTUM), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return lambda: network.fit(inputs, targets, batch_size=BATCH, verbose=0)
