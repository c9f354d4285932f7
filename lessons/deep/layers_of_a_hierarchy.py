"""
Layers of a hierarchy
=====================

**The question.** Where the inputs are built in levels, do the layers of a trained network follow the levels?

**What the notes say.** Many natural phenomena have a hierarchical structure, and the layers of a deep model capture it
(2.03).

**What is measured.** A planted hierarchy, where all is known: a class writes two symbols, each of these two further
ones, and each of these two signs, the eight inputs (the random hierarchy model of Cagnetta et al., 2023). Each symbol
can be written in four ways, which are pairs that no other symbol of its level is written by; the ways are drawn anew
for each seed. A network of four hidden layers learns the class from examples, and is told nothing of the symbols
between. Then a linear probe (ridge regression, in double precision, on examples of its own) reads the symbols of each
level from the inputs and from each hidden layer, which have equally many numbers. Where a level *peaks* is the first of
these whose probe is within 1 point of the best. The control has the same first weights and is not trained. Two further
networks differ in their labels alone: labels that are a sum over the inputs, and the classes shuffled. That nature
has such hierarchies is not tested here: there is one in these inputs because it was put there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn.functional import one_hot

from dlnotes import lesson, linear
from dlnotes.deep import MLP
from dlnotes.evidence import difference, no_difference
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, train_for
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, accuracy

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    symbols: int = 8  # of each level, and so many classes
    ways: int = 4  # in which a symbol can be written
    train: int = 8_192  # training examples, of the 131,072 that there are
    probe: int = 4_000  # examples that a probe is fitted to
    test: int = 2_000  # examples that it is judged by; drawn from the same, about one in 17 is trained on too
    hidden: int = 4  # hidden layers, each as wide as the inputs
    steps: int = 700  # steps of each network
    batch_size: int = 256  # examples a step
    lr: float = 0.2  # of momentum 0.9, falling to zero; of 0.05, 0.1 and 0.2 the best on two seeds that no verdict sees

    def __post_init__(self) -> None:
        if not 1 <= self.ways <= self.symbols:
            raise ValueError(f"ways must be from 1 to {self.symbols}, so that there is a pair for each")


QUICK = Config(train=1_000, probe=400, test=200, steps=50)
SEEDS = range(16)

LEVELS = ("signs", "lowest symbols", "symbols between", "class")  # from the inputs up
TRAINED = ("hierarchy", "sum", "shuffled")  # what the labels are
ARMS = ("untrained", *TRAINED)
TIE = 0.01  # accuracies as near as this are the same peak

# %%
# One seed
# --------
# The same inputs, first weights and batches for all arms; they differ in the labels, or in that there is no training.


def trial(config: Config, seed: int) -> Measured:
    writing, draws = ways_to_write(config, seed), stream(seed, "examples")
    train, probe, test = (examples(writing, n, draws) for n in (config.train, config.probe, config.test))
    inputs = encoded(train[0], config.symbols)
    ending = encoded(test[0], config.symbols)
    weights_of_sum = torch.randn(inputs.shape[1], config.symbols, generator=stream(seed, "sum"))
    order = torch.randperm(config.train, generator=stream(seed, "shuffle"))
    labels = {
        "hierarchy": train[-1][:, 0],
        "sum": (inputs @ weights_of_sum).argmax(1),
        "shuffled": train[-1][order, 0],
    }
    measured: Measured = {}
    for arm in ARMS:
        model = network(config, seed)
        if arm in TRAINED:
            learn(config, seed, model, inputs, labels[arm])
            measured[f"{arm}/training accuracy"] = accuracy(model, (inputs, labels[arm]))
        reading, judging = (stages(model, encoded(part[0], config.symbols)) for part in (probe, test))
        for level, name in enumerate(LEVELS):
            measured[f"{arm}/{name}"] = [
                probe_accuracy(fitted_to, judged_by, probe[level], test[level], config.symbols)
                for fitted_to, judged_by in zip(reading, judging, strict=True)
            ]
        if arm in ("hierarchy", "sum"):
            truth = test[-1][:, 0] if arm == "hierarchy" else (ending @ weights_of_sum).argmax(1)
            measured[f"{arm}/test accuracy"] = accuracy(model, (ending, truth))
    return measured


# %%
# The hierarchy
# -------------


def ways_to_write(config: Config, seed: int) -> list[Tensor]:
    """For each level from the class down, the pairs that its symbols are written by, (symbols, ways, 2)."""
    draws, found = stream(seed, "ways to write"), []
    for _ in range(len(LEVELS) - 1):
        pairs = torch.randperm(config.symbols**2, generator=draws)[: config.symbols * config.ways]
        pairs = pairs.reshape(config.symbols, config.ways)
        found.append(torch.stack([pairs // config.symbols, pairs % config.symbols], dim=-1))
    return found


def examples(writing: Sequence[Tensor], count: int, draws: torch.Generator) -> list[Tensor]:
    """Drawn examples: the symbols of each level from the inputs up, (N, 8), (N, 4), (N, 2), and the class, (N, 1)."""
    levels = [torch.randint(len(writing[0]), (count, 1), generator=draws)]
    for pairs in writing:
        above = levels[-1]
        way = torch.randint(pairs.shape[1], above.shape, generator=draws)
        levels.append(pairs[above, way].flatten(1))
    return levels[::-1]


def encoded(signs: Tensor, symbols: int) -> Tensor:
    """The inputs of the network: for each sign a one at its place among zeros, less the mean, (N, 8 · symbols)."""
    return one_hot(signs, symbols).flatten(1).float() - 1 / symbols


# %%
# Networks and probes
# -------------------


def network(config: Config, seed: int) -> MLP:
    width = 8 * config.symbols
    return MLP([width, *[width] * config.hidden, config.symbols], generator=stream(seed, "weights"))


def learn(config: Config, seed: int, model: MLP, inputs: Tensor, labels: Tensor) -> None:
    optimizer = SGD(model.parameters(), lr=config.lr, momentum=0.9)
    scheduler = linear.cosine_decay(optimizer, config.steps)
    batches = Minibatches((inputs, labels), config.batch_size, stream(seed, "batches"))
    train_for(Trainer(model, cross_entropy, optimizer, batches, scheduler=scheduler), config.steps)


@torch.no_grad()
def stages(model: MLP, inputs: Tensor) -> list[Tensor]:
    """The inputs, and what each hidden layer makes of them."""
    found = [inputs]
    for layer in list(model.layers)[:-1]:
        found.append(layer(found[-1]).relu())
    return found


def probe_accuracy(fitted_to: Tensor, judged_by: Tensor, symbols: Tensor, truth: Tensor, kinds: int) -> float:
    """How often a linear map, by ridge regression on symbols as ones among zeros, names the right symbol.

    Shape: activations (N, d) and (M, d), symbols (N, places) and (M, places); the mean is over places too.
    """
    mean, spread = fitted_to.double().mean(0), fitted_to.double().std(0)
    spread = torch.where(spread > 1e-6, spread, 1.0)  # a unit that is always silent says nothing, and harms nothing
    x, z = ((part.double() - mean) / spread for part in (fitted_to, judged_by))
    y = one_hot(symbols, kinds).double().flatten(1)
    w = torch.linalg.solve(x.T @ x + torch.eye(x.shape[1], dtype=x.dtype), x.T @ (y - y.mean(0)))
    scores = (z @ w + y.mean(0)).reshape(*truth.shape, kinds)
    return (scores.argmax(-1) == truth).double().mean().item()


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* a setting in which we expect it to
# fail.


def peak(accuracies):
    """The first stage, of the inputs (0) and the hidden layers, that is as good as the best. One number a seed."""
    return np.argmax(accuracies >= accuracies.max(1, keepdims=True) - TIE, axis=1)


def later(trials, arm):
    """By how many layers the class peaks later than the lowest symbols. One number a seed."""
    return peak(trials[f"{arm}/class"]) - peak(trials[f"{arm}/lowest symbols"])


def rank_agreement(trials, arm):
    """Spearman's correlation of the three hidden levels with the stage where each peaks; 0 where all peak in one."""
    from scipy.stats import rankdata

    peaks = np.stack([peak(trials[f"{arm}/{level}"]) for level in LEVELS[1:]], axis=1)
    ranks = rankdata(peaks, axis=1) - 2  # three levels: the mean rank is 2
    up = np.arange(-1, 2)
    sizes = np.sqrt((ranks**2).sum(1) * (up**2).sum())
    return np.divide(ranks @ up, sizes, out=np.zeros(len(peaks)), where=sizes > 0)


def from_hidden_layers(trials, arm):
    """The best accuracy with which the symbols between are read from a hidden layer. One number a seed."""
    return trials[f"{arm}/symbols between"][:, 1:].max(1)


# fmt: off
PREDICTIONS = [
    claim("2.03", "class later", "Training on the class of a planted hierarchy moves the peak of the class over a "
          "layer further behind that of the lowest symbols.",
          lambda t: difference(later(t, "hierarchy") - later(t, "untrained"), margin=1.0),
          arms=("hierarchy", "untrained"),
          of="layers from the peak of the lowest symbols to that of the class, trained minus untrained"),
    claim("2.03", "ranks agree", "Higher levels of the hierarchy peak in later layers: the rank correlation over three "
          "levels is more than a half.",
          lambda t: difference(rank_agreement(t, "hierarchy"), margin=0.5),
          of="Spearman's correlation of level and peak"),
    claim("2.03", "symbols between", "Hidden layers show the symbols between, which no label names, over 5 points "
          "better than the inputs and an untrained network do.",
          lambda t: difference(from_hidden_layers(t, "hierarchy") - t["untrained/symbols between"].max(1), margin=0.05),
          arms=("hierarchy", "untrained"), of="accuracy of the best probe, trained minus untrained"),
    limit("2.03", "peaks of sum", "With labels that are a sum over the inputs, the class peaks within a layer of the "
          "lowest symbols.",
          lambda t: no_difference(later(t, "sum"), margin=1.0),
          of="layers from the peak of the lowest symbols to that of the class",
          because="labels that need no hierarchy do not bring it about, whatever the structure of the inputs"),
    limit("2.03", "peaks of shuffled", "With shuffled labels, the class peaks within a layer of the lowest symbols.",
          lambda t: no_difference(later(t, "shuffled"), margin=1.0),
          of="layers from the peak of the lowest symbols to that of the class",
          because="labels that need no hierarchy do not bring it about, whatever the structure of the inputs"),
    limit("2.03", "symbols of sum", "With labels that are a sum over the inputs, the hidden layers show the symbols "
          "between as well as untrained ones, within 5 points.",
          lambda t: no_difference(from_hidden_layers(t, "sum") - from_hidden_layers(t, "untrained"), margin=0.05),
          arms=("sum", "untrained"), of="accuracy of the best probe, trained minus untrained",
          because="labels that need no hierarchy do not bring it about, whatever the structure of the inputs"),
    limit("2.03", "symbols of shuffled", "With shuffled labels, the hidden layers show the symbols between as well as "
          "untrained ones, within 5 points.",
          lambda t: no_difference(from_hidden_layers(t, "shuffled") - from_hidden_layers(t, "untrained"), margin=0.05),
          arms=("shuffled", "untrained"), of="accuracy of the best probe, trained minus untrained",
          because="labels that need no hierarchy do not bring it about, whatever the structure of the inputs"),
]

ANSWERS = [
    answer("2.03", "Where data have a hierarchy and the labels need it, yes: the class shows best {class later} "
           "layers behind the lowest symbols, and layers between show symbols that no label names. With labels that "
           "are a sum, or shuffled, nothing of it shows.",
           given={"class later": "supported", "symbols between": "supported", "peaks of sum": "supported",
                  "peaks of shuffled": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, the signs fade from layer to layer in both networks. What is made in their place, by training on the
# class alone, is first the lowest symbols, then those between, and last the class. On the right, a dot is a seed.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for place, level in enumerate(LEVELS):
        color, found = f"C{place}", trials[f"hierarchy/{level}"]
        left.plot(found.T, color=color, linewidth=0.4, alpha=0.3)
        left.plot(found.mean(0), color=color, marker="o", label=level)
        left.plot(trials[f"untrained/{level}"].mean(0), color=color, linestyle="--")
    left.plot([], [], color="0.4", linestyle="--", label="without training")
    left.set_xticks(range(found.shape[1]), ["inputs", *map(str, range(1, found.shape[1]))])
    left.set_ylim(0, 1.42)  # room for the legend
    left.set_yticks(np.linspace(0, 1, 6))
    left.set_title("What a linear probe reads, trained on the class")
    left.set_xlabel("hidden layer")
    left.set_ylabel("share of symbols read right (chance: 0.125)")
    left.legend(fontsize="small", loc="upper center", ncols=2)

    spread = np.linspace(-0.25, 0.25, len(trials.seeds))
    for place, arm in enumerate(ARMS):
        order = later(trials, arm)
        right.plot(place + spread, order, "o", color="C4", alpha=0.6)
        right.plot([place - 0.35, place + 0.35], [order.mean()] * 2, color="C4")
    right.axhline(0, color="0.4", linestyle=":")
    names = ["no training", "class of the\nhierarchy", "sum over\nthe inputs", "shuffled\nclasses"]
    right.set_xticks(range(len(ARMS)), names)
    right.set_title("How much later the class peaks: a dot a seed")
    right.set_xlabel("labels that the network learned from")
    right.set_ylabel("layers after the lowest symbols")
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("layers_of_a_hierarchy")
