"""
Do deep layers see higher-level features?
=========================================

Letters make words, words make phrases, phrases make a sentence. Much in nature is built in levels like that, say the
course notes (row 2.03), and the layers of a deep network capture it: the first sees the lowest level, the next what is
made of it, and so on up. But a network is told the class of a sentence, and nothing of words. Does it find them?

Nobody can look up the levels of nature. So we plant some (after Cagnetta et al., 2023): each symbol is written by a
pair of symbols of the level below, in one of several ways. The network sees the lowest row, the *signs*. An example: ::

    0 is written 01 or 10        1 is written 00 or 11        (here at each level)
    class                        1
    symbols between          1       1                1 by 11
    lowest symbols         0   0   1   1              1 by 00, 1 by 11
    signs                 01  10  11  00              0 by 01, 0 by 10, 1 by 11, 1 by 00

To read it, go up again pair by pair. No weighted sum of two signs does even the first step: 0 means that they differ.
A *linear probe* says what a layer shows: a weighted sum of its numbers, fitted to name the symbols. A level *peaks* in
the first layer whose probe is within 1 point of the best. Do higher levels peak in later layers?
"""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn.functional import one_hot

from dlnotes import lesson, linear
from dlnotes.deep import MLP
from dlnotes.evidence import difference, no_difference
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, train_for
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, accuracy

# %%
# The experiment
# --------------
# A *seed* is a number that all draws start from: the ways to write eight symbols, the examples, the first weights. Four
# *arms* share all of that. Three train on different labels: the class of the hierarchy; a class by a weighted sum of
# the inputs, which needs no hierarchy; the classes shuffled. One is not trained. Then probes read each level from the
# inputs and four hidden layers, all of one width. We count the symbols that they name right, in examples new to them.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    symbols: int = 8  # of each level, and so many classes
    ways: int = 4  # in which a symbol can be written, at most as many as there are symbols
    train: int = 8_192  # training examples, of the 131,072 that there are
    probe: int = 4_000  # examples that a probe is fitted to
    test: int = 2_000  # examples that it is judged by; drawn from the same, about one in 17 is trained on too
    hidden: int = 4  # hidden layers, each as wide as the inputs
    steps: int = 700  # steps of each network
    batch_size: int = 256  # examples a step
    lr: float = 0.2  # of momentum 0.9, falling to zero; of 0.05, 0.1 and 0.2 the best on two seeds that no verdict sees


QUICK = Config(train=1_000, probe=400, test=200, steps=50)
SEEDS = range(16)
LEVELS = ("signs", "lowest symbols", "symbols between", "class")  # from the inputs up
ARMS = ("untrained", "hierarchy", "sum", "shuffled")  # what the labels are


def trial(config: Config, seed: int) -> Measured:
    symbols, writing, generator = config.symbols, ways_to_write(config, seed), stream(seed, "examples")
    train, probe, test = (examples(writing, n, generator) for n in (config.train, config.probe, config.test))
    inputs, fitting, unseen = (encoded(part[0], symbols) for part in (train, probe, test))
    weights_of_sum = torch.randn(inputs.shape[1], symbols, generator=stream(seed, "sum"))
    order = torch.randperm(config.train, generator=stream(seed, "shuffle"))
    labels = {"hierarchy": train[-1][:, 0], "sum": (inputs @ weights_of_sum).argmax(1), "shuffled": train[-1][order, 0]}
    measured: Measured = {}
    for arm in ARMS:
        model = network(config, seed)
        if arm in labels:
            train_on(config, seed, model, inputs, labels[arm])
            measured[f"{arm}/training accuracy"] = accuracy(model, (inputs, labels[arm]))
        if arm == "hierarchy":
            measured[f"{arm}/test accuracy"] = accuracy(model, (unseen, test[-1][:, 0]))
        for level, name in enumerate(LEVELS):
            pairs = zip(stages(model, fitting), stages(model, unseen), strict=True)
            measured[f"{arm}/{name}"] = [probe_accuracy(*pair, probe[level], test[level], symbols) for pair in pairs]
    return measured


def ways_to_write(config: Config, seed: int) -> list[Tensor]:
    """For each level from the class down, the pairs that its symbols are written by, (symbols, ways, 2)."""
    generator, found, n = stream(seed, "ways to write"), [], config.symbols
    for _ in LEVELS[1:]:
        pairs = torch.randperm(n**2, generator=generator)[: n * config.ways].view(n, config.ways)
        found.append(torch.stack([pairs // n, pairs % n], dim=-1))
    return found


def examples(writing: list[Tensor], count: int, generator: torch.Generator) -> list[Tensor]:
    """Drawn examples: the symbols of each level from the inputs up, (N, 8), (N, 4), (N, 2), and the class, (N, 1)."""
    levels = [torch.randint(len(writing[0]), (count, 1), generator=generator)]
    for pairs in writing:
        way = torch.randint(pairs.shape[1], levels[-1].shape, generator=generator)
        levels.append(pairs[levels[-1], way].flatten(1))
    return levels[::-1]


def encoded(signs: Tensor, symbols: int) -> Tensor:
    """The inputs of the network: for each sign a one at its place among zeros, less the mean, (N, 8 · symbols)."""
    return one_hot(signs, symbols).flatten(1).float() - 1 / symbols


def network(config: Config, seed: int) -> MLP:
    width = 8 * config.symbols
    return MLP([width, *[width] * config.hidden, config.symbols], generator=stream(seed, "weights"))


def train_on(config: Config, seed: int, model: MLP, inputs: Tensor, labels: Tensor) -> None:
    optimizer = SGD(model.parameters(), lr=config.lr, momentum=0.9)
    scheduler = linear.cosine_decay(optimizer, config.steps)
    batches = Minibatches((inputs, labels), config.batch_size, stream(seed, "batches"))
    train_for(Trainer(model, cross_entropy, optimizer, batches, scheduler=scheduler), config.steps)


def stages(model: MLP, inputs: Tensor) -> list[Tensor]:
    """The inputs, and what each hidden layer makes of them."""
    found = [inputs]
    for layer in list(model.layers)[:-1]:
        found.append(layer(found[-1]).relu().detach())
    return found


def probe_accuracy(fitted_to: Tensor, judged_by: Tensor, symbols: Tensor, truth: Tensor, kinds: int) -> float:
    """How often a linear map, fitted by ridge regression, names the right symbols: (N, places) and (M, places)."""
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
# Written before the run. A *claim* is the notes' statement in one setting; in a *limit* we expect it to fail, as the
# labels need no levels. The *margin*, the smallest difference that matters, is a layer, or 5 points of accuracy. A
# *rank correlation* is 1 where levels and peaks are in the same order, and -1 where it is reversed.


def peak(accuracies):
    """The first stage, of the inputs (0) and the hidden layers, within 1 point of the best. One number a seed."""
    return np.argmax(accuracies >= accuracies.max(1, keepdims=True) - 0.01, axis=1)


def later(trials, arm):
    return peak(trials[f"{arm}/class"]) - peak(trials[f"{arm}/lowest symbols"])


def rank_agreement(trials, arm):
    """Spearman's correlation of the three hidden levels with the stage where each peaks; 0 where all peak in one."""
    peaks = np.stack([peak(trials[f"{arm}/{level}"]) for level in LEVELS[1:]], axis=1)
    ranks = np.sign(peaks[:, :, None] - peaks[:, None]).sum(2) / 2  # -1, 0 and 1, or means of them
    return (ranks[:, 2] - ranks[:, 0]) / np.sqrt(np.maximum(2 * (ranks**2).sum(1), 1e-9))


def from_hidden_layers(trials, arm):
    return trials[f"{arm}/symbols between"][:, 1:].max(1)


# fmt: off
PREDICTIONS = [
    claim("2.03", "class later", "Training on the class moves its peak over a layer further behind the lowest symbols.",
          lambda t: difference(later(t, "hierarchy") - later(t, "untrained"), margin=1.0),
          arms=("hierarchy", "untrained"), of="layers between the peaks, trained minus untrained"),
    claim("2.03", "ranks agree", "Higher levels peak in later layers: the rank correlation of three is over a half.",
          lambda t: difference(rank_agreement(t, "hierarchy"), margin=0.5), of="correlation of level and peak"),
    claim("2.03", "symbols between", "Hidden layers show the symbols between, which no label names, over 5 points "
          "better than the inputs and an untrained network do.",
          lambda t: difference(from_hidden_layers(t, "hierarchy") - t["untrained/symbols between"].max(1), margin=0.05),
          arms=("hierarchy", "untrained"), of="accuracy of the best probe, trained minus untrained"),
    limit("2.03", "peaks of sum", "With labels by sums of inputs the class peaks within a layer of the lowest symbols.",
          lambda t: no_difference(later(t, "sum"), margin=1.0), of="layers between the peaks"),
    limit("2.03", "peaks of shuffled", "With shuffled labels, the class peaks within a layer of the lowest symbols.",
          lambda t: no_difference(later(t, "shuffled"), margin=1.0), of="layers between the peaks"),
    limit("2.03", "symbols of sum", "With labels by sums of inputs, hidden layers show the symbols between as well "
          "as untrained ones do, within 5 points.",
          lambda t: no_difference(from_hidden_layers(t, "sum") - from_hidden_layers(t, "untrained"), margin=0.05),
          arms=("sum", "untrained"), of="accuracy of the best probe, trained minus untrained"),
    limit("2.03", "symbols of shuffled", "With shuffled labels, the hidden layers show the symbols between as well as "
          "untrained ones, within 5 points.",
          lambda t: no_difference(from_hidden_layers(t, "shuffled") - from_hidden_layers(t, "untrained"), margin=0.05),
          arms=("shuffled", "untrained"), of="accuracy of the best probe, trained minus untrained"),
]

ANSWERS = [
    answer("2.03", "Yes, where inputs have levels and the class needs them: the class is read best {class later} "
           "layers later than the lowest symbols. With labels that need no levels, or shuffled ones, no layer later.",
           given={"class later": "supported", "peaks of sum": "supported", "peaks of shuffled": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: an example from its class down to the signs, and the network's input: a column a sign,
# black at its number. In the middle what probes read with training on the class and (dashed) without. A sum of inputs
# names many symbols here, but not all. The signs fade in both. In their place training makes first the lowest symbols,
# then those between, last the class. On the right a dot a seed: only the classes of the hierarchy draw the peaks apart.


def figure(trials):
    drawing, (tree, left, right) = plt.subplots(1, 3, figsize=(15, 4.5), width_ratios=[4, 5, 4])
    show_example(tree, trials.config, trials.seeds[0])
    for place, level in enumerate(LEVELS):
        found = 100 * trials[f"hierarchy/{level}"]
        curves(left, range(found.shape[1]), found, label=level, color=f"C{place}")
        left.plot(100 * trials[f"untrained/{level}"].mean(0), color=f"C{place}", linestyle="--")
    reference_line(left, 100 / trials.config.symbols, "guess")
    left.set(title="What a linear probe reads", xlabel="hidden layer (0: inputs)", ylabel="% right", ylim=(0, 140))
    left.set(xticks=range(found.shape[1]), yticks=range(0, 101, 20))
    left.legend(loc="upper center", ncols=2)  # above the data
    strips(right, {arm: later(trials, arm) for arm in ARMS})
    right.set(title="How much later the class peaks", xlabel="labels", ylabel="layers after the lowest symbols")
    return drawing


def show_example(axes, config, seed):
    levels = examples(ways_to_write(config, seed), 1, stream(seed, "example that is shown"))
    for level, symbols in enumerate(levels):
        for place, symbol in enumerate(symbols[0].tolist()):
            x, y, half = (place + 0.5) * 2**level, 6.5 + 2 * level, 2**level / 4
            if level:
                axes.plot([x - half, x, x + half], [y - 2, y, y - 2], color="0.7", zorder=1)
            axes.text(x, y, symbol, color="w", ha="center", va="center", bbox={"boxstyle": "circle", "fc": f"C{level}"})
    axes.imshow(np.eye(config.symbols)[levels[0][0]].T, cmap="Greys", extent=(0, 8, 0, 5.5), aspect="auto", vmin=-0.1)
    axes.set(title="One example, and its input", xlim=(-0.1, 8.1), ylim=(0, 13.5), xticks=[])
    axes.set_yticks([2.75, 6.5, 8.5, 10.5, 12.5], ["input", *LEVELS])


# %%
# Try it yourself
# ---------------
# Give the network an eighth of the examples. It knows their classes by heart, but how many new ones will it get right?
# And will it still make the levels? Guess: `python -m lessons run layers_of_a_hierarchy --set train=1000 --seeds 1`

if __name__ == "__main__":
    lesson.main("layers_of_a_hierarchy")
