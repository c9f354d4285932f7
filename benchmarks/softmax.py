"""A step of an output layer over many symbols: sampled softmax beside the full one, and beside one written by hand."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.clock import interleaved, shares
from benchmarks.table import Row
from dlnotes.randomness import stream
from dlnotes.text import SampledSoftmaxLoss

__all__ = ["rows"]

DIM, BATCH, SAMPLED, RATE = 128, 1_024, 512, 0.1
FEW, MANY = 10_000, 1_000_000
FLAT = 1.5  # times as long may a step with a hundred times as many symbols take
SIZES = {1_000: (None, 5), 10_000: (None, 3), 100_000: (100.0, 1)}  # symbols: the goal and the calls of a round

Step = Callable[[], float]


def rows() -> Iterator[Row]:
    """The comparisons."""
    what = f"a step of the output layer, {DIM} numbers, batches of {BATCH:,}"
    for symbols, (goal, calls) in SIZES.items():
        ours, theirs = sampled(symbols), full(symbols)
        ratio = interleaved(ours, theirs, calls=calls, **({"rounds": 3} if symbols == max(SIZES) else {}))
        yield Row(f"{what}, {symbols:,} symbols: {SAMPLED} sampled and all", ratio, goal, shares(ours, calls=5))
    for symbols in (FEW, max(SIZES), MANY):
        ratio = interleaved(sampled(symbols), by_hand(symbols), calls=5)
        yield Row(f"{what}, {symbols:,} symbols: {SAMPLED} sampled, ours and nn.Embedding by hand", ratio)
    ratio = interleaved(sampled(MANY), sampled(FEW), calls=5)
    yield Row(f"{what}, {SAMPLED} sampled: of {MANY:,} symbols and of {FEW:,}", ratio, 1 / FLAT)


def batch(symbols: int) -> tuple[Tensor, Tensor]:
    """Hidden states that want a gradient, and targets: the lowest symbols are frequent, as the sampler has it."""
    targets = torch.rand(BATCH, generator=stream(0, "targets"), dtype=torch.float64)
    hidden = torch.randn(BATCH, DIM, generator=stream(0, "hidden"))
    return hidden.requires_grad_(), log_uniform(targets, symbols)


def log_uniform(uniform: Tensor, symbols: int) -> Tensor:
    """Symbols by falling frequency, of numbers from 0 to 1."""
    return (torch.exp(math.log(symbols + 1) * uniform).long() - 1).clamp_(max=symbols - 1)


def sampled(symbols: int) -> Step:
    """Ours, with sparse gradients."""
    loss = SampledSoftmaxLoss(
        symbols, DIM, SAMPLED, generator=stream(0, "weights"), draws=stream(0, "draws"), sparse=True
    )
    hidden, targets = batch(symbols)
    return stepped(lambda: loss(hidden, targets), hidden, loss)


def full(symbols: int) -> Step:
    """The softmax over all symbols, as one writes it."""
    layer = nn.utils.skip_init(nn.Linear, DIM, symbols)
    first_weights(layer)
    hidden, targets = batch(symbols)
    return stepped(lambda: functional.cross_entropy(layer(hidden), targets), hidden, layer)


def by_hand(symbols: int) -> Step:
    """Sampled softmax as one writes it: as many draws with replacement, corrected, and sparse embeddings."""
    table, bias = (nn.Embedding(symbols, width, sparse=True, _weight=torch.empty(symbols, width)) for width in (DIM, 1))
    both = nn.ModuleList([table, bias])
    first_weights(both)
    hidden, targets = batch(symbols)
    draws = stream(0, "draws")

    def loss() -> Tensor:
        ids = log_uniform(torch.rand(SAMPLED, generator=draws, dtype=torch.float64), symbols)
        expected = SAMPLED * torch.log1p(1 / (ids + 1)) / math.log(symbols + 1)
        of_target = (hidden * table(targets)).sum(1) + bias(targets)[:, 0]
        of_others = hidden @ table(ids).T + bias(ids)[:, 0] - expected.log()
        of_others = of_others.masked_fill(ids == targets[:, None], -math.inf)
        scores = torch.cat([of_target[:, None], of_others], 1)
        return functional.cross_entropy(scores, torch.zeros_like(targets))

    return stepped(loss, hidden, both)


def first_weights(module: nn.Module) -> None:
    """Weights drawn as ours are."""
    generator = stream(0, "weights")
    for parameter in module.parameters():
        parameter.data.uniform_(-1, 1, generator=generator).div_(math.sqrt(DIM))


def stepped(loss: Callable[[], Tensor], hidden: Tensor, layer: nn.Module) -> Step:
    """A step of training: loss, gradients of the hidden states and of the layer, and SGD."""
    optimizer = torch.optim.SGD(layer.parameters(), lr=RATE)

    def step() -> float:
        optimizer.zero_grad()
        hidden.grad = None
        value = loss()
        value.backward()
        optimizer.step()
        return value.item()

    return step
