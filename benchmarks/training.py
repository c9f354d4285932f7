"""Training: ours, the loop by hand, the usual loop, and other libraries; and the step of an optimizer by itself."""

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
from dlnotes.deep import MLP, descend
from dlnotes.linear import SGD, AdaGrad, LogisticClassifier, cross_entropy
from dlnotes.randomness import stream
from dlnotes.training import Loss, Minibatches, Trainer

__all__ = ["rows"]

EPOCHS, EXAMPLES, BATCH, RATE, MOMENTUM = 3, 6_400, 128, 0.01, 0.9
MODELS = {"softmax regression 784-10": (784, 10), "MLP 784-256-128-10": (784, 256, 128, 10)}
CALLS = 500  # of an optimizer's step

Run = Callable[[], object]
Optimizer = Callable[..., torch.optim.Optimizer]

sgd: Optimizer = partial(SGD, momentum=MOMENTUM)
torchs_sgd: Optimizer = partial(torch.optim.SGD, momentum=MOMENTUM)


def rows() -> Iterator[Row]:
    """The comparisons, for each of the two models."""
    for name, widths in MODELS.items():
        yield from trainings(f"training {name}", widths)
        yield from optimizer_steps(f"a step of the optimizer, {name}", widths)


def trainings(name: str, widths: Sequence[int]) -> Iterator[Row]:
    """Our way to train beside others."""
    small = len(widths) == 2
    pieces = trainer(torchs_model(widths), torchs_sgd, functional.cross_entropy)
    ours, scikit = trainer(model(widths), sgd, cross_entropy), scikit_learn(widths)
    for what, mine, theirs, goal in (
        ("Trainer and the loop by hand, both of PyTorch's pieces", pieces, by_hand(widths), 1 / 1.05),
        ("ours and the usual DataLoader loop", ours, data_loader(widths), 1.6 if small else 1.15),
        ("ours and Keras 3 on PyTorch", ours, keras(widths), 2),
        ("ours and scikit-learn's MLPClassifier", ours, scikit, None),
        ("descend and scikit-learn's MLPClassifier", descent(widths), scikit, 1.4 if small else 1.6),
        ("the matrix products alone and scikit-learn's MLPClassifier", products_of_training(widths), scikit, None),
    ):
        yield Row(f"{name}: {what}", interleaved(mine, theirs, calls=1), goal, shares(mine, calls=1))


def optimizer_steps(name: str, widths: Sequence[int]) -> Iterator[Row]:
    """Our optimizers beside PyTorch's: those it takes by itself on a CPU, and its fused ones."""
    for what, ours, theirs, goal in (
        ("SGD with momentum and PyTorch's", sgd, torchs_sgd, 1),
        ("SGD with momentum and PyTorch's fused", sgd, partial(torchs_sgd, fused=True), 1),
        ("AdaGrad and PyTorch's", AdaGrad, torch.optim.Adagrad, 1),
        ("AdaGrad and PyTorch's fused", AdaGrad, partial(torch.optim.Adagrad, fused=True), None),
    ):
        mine = step_of(ours, model(widths))
        ratio = interleaved(mine, step_of(theirs, model(widths)), calls=CALLS)
        yield Row(f"{name}: {what}", ratio, goal, shares(mine, calls=CALLS))


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


def trainer(network: nn.Module, optimizer: Optimizer, loss: Loss) -> Run:
    """Ours: `Trainer` over `Minibatches`."""
    batches = Minibatches(examples(), BATCH, stream(0, "batches"))
    steps = Trainer(network, loss, optimizer(network.parameters(), lr=RATE), batches)
    return lambda: sum(step.loss for step in islice(steps, EPOCHS * EXAMPLES // BATCH))


def descent(widths: Sequence[int]) -> Run:
    """Ours for an `MLP`, in place: `descend` over `Minibatches`; without a hidden layer it is softmax regression."""
    network, batches = MLP(widths, generator=stream(0, "weights")), Minibatches(examples(), BATCH, stream(0, "batches"))
    velocities = [torch.zeros_like(parameter) for parameter in network.parameters()]
    step = partial(descend, network, lr=RATE, momentum=MOMENTUM, velocities=velocities)
    return lambda: sum(step(*batch).item() for batch in islice(batches, EPOCHS * EXAMPLES // BATCH))


def products(widths: Sequence[int], batch: int) -> Run:
    """The matrix products of a step, which no way of writing it can do without."""
    network = MLP(widths, generator=stream(0, "weights"))
    weights = [parameter.detach() for parameter in network.parameters() if parameter.ndim == 2]
    inputs = torch.randn(batch, widths[0], generator=stream(0, "inputs"))

    def run() -> None:
        x = inputs
        for number, weight in enumerate(weights):
            y = x @ weight.T
            _ = y.T @ x
            if number:
                _ = y @ weight
            x = y

    return run


def products_of_training(widths: Sequence[int]) -> Run:
    """Those of all its steps."""
    step = products(widths, BATCH)

    def run() -> None:
        for _ in range(EPOCHS * EXAMPLES // BATCH):
            step()

    return run


def by_hand(widths: Sequence[int]) -> Run:
    """The loop that one writes by hand when it has to be fast: one permutation a pass, rows taken by index."""
    network, (inputs, targets), chance = torchs_model(widths), examples(), stream(0, "batches")
    optimizer = torchs_sgd(network.parameters(), lr=RATE)

    def run() -> float:
        total = 0.0
        for _ in range(EPOCHS):
            order = torch.randperm(EXAMPLES, generator=chance)
            for start in range(0, EXAMPLES, BATCH):
                chosen = order[start : start + BATCH]
                optimizer.zero_grad()
                outputs = network(inputs.index_select(0, chosen))
                loss = functional.cross_entropy(outputs, targets.index_select(0, chosen))
                loss.backward()
                optimizer.step()
                total += loss.item()
        return total

    return run


def data_loader(widths: Sequence[int]) -> Run:
    """The loop of most tutorials."""
    network, loader = torchs_model(widths), DataLoader(TensorDataset(*examples()), BATCH, shuffle=True)
    optimizer = torchs_sgd(network.parameters(), lr=RATE)

    def run() -> float:
        total = 0.0
        for _ in range(EPOCHS):
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss = functional.cross_entropy(network(inputs), targets)
                loss.backward()
                optimizer.step()
                total += loss.item()
        return total

    return run


def scikit_learn(widths: Sequence[int]) -> Run:
    """scikit-learn: a call of ``fit`` that goes on from the last one, without its penalty and its own early end."""
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
        max_iter=EPOCHS,
        n_iter_no_change=10**9,  # it counts on from call to call, and would end them after a pass
    )

    def run() -> object:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that so few passes are not enough
            return network.fit(inputs, targets)

    return run


def keras(widths: Sequence[int]) -> Run:
    """Keras with PyTorch below it."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    inputs, targets = (tensor.numpy() for tensor in examples())
    hidden = [keras.layers.Dense(width, activation="relu") for width in widths[1:-1]]
    network = keras.Sequential([keras.Input(widths[:1]), *hidden, keras.layers.Dense(widths[-1])])
    network.compile(
        keras.optimizers.SGD(RATE, momentum=MOMENTUM), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return lambda: network.fit(inputs, targets, batch_size=BATCH, epochs=EPOCHS, verbose=0)


def step_of(optimizer: Optimizer, network: nn.Module) -> Run:
    """One step of an optimizer along gradients that stay the same."""
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=stream(0, "gradients"))
    return optimizer(network.parameters(), lr=1e-6).step
