"""
The rule of thirty
==================

**The question.** A change to a model flips thirty validation examples. Is that enough to believe in it?

**What the notes say.** If a change to the model flips the outcome for some 30 validation examples, one way or another,
its effect is usually statistically significant and can be relied on (1.13).

**What is measured.** The rule in two readings. *Net*: the change gains, or loses, 30 examples on balance. *Total*: 30
examples change at all. *On paper*: McNemar's test throws a coin for each example that changed, so that the binomial
distribution says when a net gain of 30 is significant, and how often luck alone passes the rule. *On images*: small
networks (196 pixels, 32 hidden units) learn from 500 images, and are judged on 3,000 validation images and on 3,000
fresh ones, all dealt out of the same pool. Five changes, each with six draws of the first weights, which are those of
the plain training where the network has as many units: twice the images, centred inputs, twice the hidden units, half
the learning rate, an L2 penalty. And no change at all: the fifteen pairs among the six plain trainings, which differ in
their first weights alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from dlnotes import data, lesson
from dlnotes.deep import MLP
from dlnotes.evidence import difference, identity, simulation
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import (
    SGD,
    cross_entropy,
    discordant,
    largest_disagreement,
    mcnemar_test,
    rule_of_thirty,
    split,
)
from dlnotes.measuring import Measured, Tuned, grid
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 500  # training images
    validation: int = 3_000  # validation images, and as many fresh ones
    hidden: int = 32  # units of the network
    trainings: int = 6  # draws of the first weights
    steps: int = 300  # steps of each training
    batch_size: int = 100  # images a step
    draws: int = 10_000  # throws of all coins, a seed
    device: str = "cpu"  # of the networks

    def __post_init__(self) -> None:
        if self.trainings < 2 or self.validation < 100:
            raise ValueError("trainings must be 2 or more, and validation 100 or more")


QUICK = Config(train=200, validation=500, trainings=3, steps=60, draws=200)
SEEDS = range(12)

CHANGES = ("twice the images", "centred inputs", "twice the units", "half the rate", "L2 penalty")
PENALTY = 0.001
DISAGREEMENTS = (30, 50, 100, 150, 218, 300, 500, 1_000, 2_000)  # examples that changed, for the coins
FAR = 1_000  # the disagreement at which luck is judged
ALPHA = 0.05

# %%
# The rate of the plain training is the best of twelve on four seeds that no verdict sees; each change starts from
# there. ``python -m lessons tune rule_of_thirty`` chooses it.

RATES = grid(2**-4, 2**1.5, per_octave=2)
TUNING_SEEDS = range(1_000, 1_004)

# %%
# One seed
# --------
# Each change has the same six draws of first weights and, where it has the same images, the same batches.


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    parts, lr = dealt(config, seed), tuned["plain"]
    plain, slow, penalised = trained(config, seed, parts, [(lr, 0.0), (lr / 2, 0.0), (lr, PENALTY)])
    answers = {"half the rate": slow, "L2 penalty": penalised}
    (answers["twice the images"],) = trained(config, seed, parts, [(lr, 0.0)], images=2 * config.train)
    (answers["centred inputs"],) = trained(config, seed, centred(parts, config.train), [(lr, 0.0)])
    (answers["twice the units"],) = trained(config, seed, parts, [(lr, 0.0)], hidden=2 * config.hidden)

    measured: Measured = {}
    for place, part in enumerate(("validation", "fresh")):
        labels = parts[1 + place][1]
        pairs = {change: zip(plain[place], answers[change][place], strict=True) for change in CHANGES}
        for name, both in {"no change": combinations(plain[place], 2), **pairs}.items():
            flips = [discordant(before, after, labels) for before, after in both]
            measured[f"{name}/{part}/gained"] = [float(flip.gained) for flip in flips]
            measured[f"{name}/{part}/lost"] = [float(flip.lost) for flip in flips]
    return measured | coins(config, seed) | on_paper()


Parts = list[tuple[Tensor, ...]]


def dealt(config: Config, seed: int) -> Parts:
    """Inputs and labels for training (twice as many as are needed), for validation, and fresh ones."""
    sizes = 2 * config.train, config.validation, config.validation
    images = data.load(config.data, seed, train=sum(sizes), validation=0, test=0, side=14, flat=True).train
    return split(images.to(config.device), sizes, generator=stream(seed, "parts"))


def centred(parts: Parts, images: int) -> Parts:
    """The same parts, each pixel minus its mean over the first training images."""
    mean = parts[0][0][:images].mean(0)
    return [(inputs - mean, labels) for inputs, labels in parts]


def trained(
    config: Config,
    seed: int,
    parts: Parts,
    settings: Sequence[tuple[float, float]],
    *,
    images: int | None = None,
    hidden: int | None = None,
) -> list[list[list[Tensor]]]:
    """For each rate and penalty: what each of the networks answers on validation and on fresh images, (N,) each."""
    learned = [part[: images or config.train] for part in parts[0]]
    networks = [
        [
            MLP([196, hidden or config.hidden, 10], generator=stream(seed, f"weights {draw}")).to(config.device)
            for draw in range(config.trainings)
        ]
        for _ in settings
    ]
    groups = [
        {"params": network.parameters(), "lr": lr, "weight_decay": penalty}
        for (lr, penalty), own in zip(settings, networks, strict=True)
        for network in own
    ]
    batches = Minibatches(learned, config.batch_size, stream(seed, "batches"))
    for _ in islice(
        Sweep([n for own in networks for n in own], cross_entropy, SGD(groups, lr=0.1), batches), config.steps
    ):
        pass
    with torch.no_grad():
        return [[[network(inputs).argmax(1) for network in own] for inputs, _ in parts[1:]] for own in networks]


# %%
# Luck alone, thrown and exact. Where two classifiers are equally good, each example that they do not agree on is a gain
# or a loss with probability ½.


def coins(config: Config, seed: int) -> Measured:
    """How often luck alone passes the rule, among so many examples that changed."""
    generator, shares = stream(seed, "coins"), []
    for changed in DISAGREEMENTS:
        gained = torch.binomial(torch.full((config.draws,), float(changed)), torch.tensor(0.5), generator=generator)
        passed = [rule_of_thirty(heads, changed - heads) for heads in range(changed + 1)]
        shares.append(torch.tensor(passed)[gained.long()].double().mean().item())
    return {"coins/passed": shares, f"coins/passed at {FAR}": shares[DISAGREEMENTS.index(FAR)]}


def luck(changed: int) -> float:
    """The same from the binomial distribution."""
    ways, of_these = 0, 1  # each binomial coefficient is made of the one before: to begin anew takes seconds
    for heads in range(changed + 1):
        ways += of_these if rule_of_thirty(heads, changed - heads) else 0
        of_these = of_these * (changed - heads) // (heads + 1)
    return ways / 2**changed


def on_paper() -> Measured:
    """What no data can change: where a net gain of 30 is significant, paired and not."""
    edge = largest_disagreement(30, ALPHA)
    within = [mcnemar_test((changed + 30) // 2, (changed - 30) // 2) for changed in range(30, edge + 1, 2)]
    return {
        "exact/edge": float(edge),
        "exact/largest p up to the edge": max(within),
        "exact/p beyond the edge": mcnemar_test((edge + 32) // 2, (edge - 28) // 2),
        "exact/largest z without pairing": max(unpaired(percent / 100) for percent in range(50, 96)),
    }


def unpaired(accuracy: float, *, ahead: int = 30, examples: int = 10_000) -> float:
    """By how many standard errors two accuracies differ that were found on two sets, the lower one being this."""
    higher = accuracy + ahead / examples
    variance = accuracy * (1 - accuracy) + higher * (1 - higher)
    return (higher - accuracy) / math.sqrt(variance / examples)


# %%
# Choosing the rate
# -----------------


def tune(config: Config, seed: int) -> Measured:
    parts = dealt(config, seed)
    answers = trained(config, seed, parts, [(lr, 0.0) for lr in RATES])
    labels = parts[1][1]
    wrong = [[(said != labels).double().mean().item() for said in own[0]] for own in answers]
    return {f"{config.data}/plain/{lr:.6g}": sum(own) / len(own) for lr, own in zip(RATES, wrong, strict=True)}


# %%
# What we expect
# --------------
# *Significant* is p ≤ 0.05 of the exact two-sided test. *Usually* is read as more than four times in five. *Can be
# relied on* is read as: the same change, made with other first weights, gains on fresh images where it gained, and
# loses where it lost. Whoever uses a test at 0.05 wants to be fooled in at most one of twenty cases.


def flips(trials, names, part):
    """The net gain and the number of examples that changed: each pair of classifiers of each seed, (S, pairs)."""
    gained, lost = (np.concatenate([trials[f"{name}/{part}/{way}"] for name in names], 1) for way in ("gained", "lost"))
    return gained - lost, gained + lost


def passes(trials, names, reading):
    net, total = flips(trials, names, "validation")
    return (abs(net) if reading == "net" else total) >= 30


def significant(trials, names):
    net, total = flips(trials, names, "validation")
    p = [mcnemar_test(int(n + d) // 2, int(n - d) // 2) for d, n in zip(net.flat, total.flat, strict=True)]
    return np.reshape(p, net.shape) <= ALPHA


def holds(trials, names):
    """Whether the next first weights gain on fresh images where these gained on validation; likewise for losses."""
    there = [np.roll(flips(trials, [name], "fresh")[0], -1, axis=1) for name in names]
    return flips(trials, names, "validation")[0] * np.concatenate(there, 1) > 0


def share(what, among):
    """The share of each seed, of the pairs that are in question; nan where there are none."""
    with np.errstate(invalid="ignore"):
        return (what & among).sum(1) / among.sum(1)


def thrown(trials):
    """How often luck alone passes at the largest disagreement that is judged: more often than in a quarter of cases?"""
    passed = trials[f"coins/passed at {FAR}"].mean()
    error = math.sqrt(max(passed * (1 - passed), 1e-9) / (len(trials.seeds) * trials.config.draws))
    return simulation(float(passed), error, margin=0.25)


# fmt: off
PREDICTIONS = [
    claim("1.13", "on paper", "A net gain of 30 has p ≤ 0.05 by the exact test, whichever number of examples from 30 "
          "to 218 changed.",
          lambda t: identity((t["exact/largest p up to the edge"] - ALPHA).clip(min=0) + abs(t["exact/edge"] - 218),
                             tolerance=0.0), reading="30 on balance"),
    claim("1.13", "twice the images", "Twice the training images gain over 30 of {validation:,} validation {data} on "
          "balance.",
          lambda t: difference(flips(t, ["twice the images"], "validation")[0].mean(1) - 30, margin=0.0),
          reading="30 on balance", of="net gain, minus 30"),
    claim("1.13", "net 30 significant", "Of five changes to a small network, those that gain or lose 30 of "
          "{validation:,} validation {data} on balance are significant in over 4 of 5 cases.",
          lambda t: difference(share(significant(t, CHANGES), passes(t, CHANGES, "net")) - 0.8, margin=0.0),
          reading="30 on balance", of="share that is significant, minus 0.8"),
    claim("1.13", "net 30 holds", "Of five changes to a small network, those that gain or lose 30 on balance have, "
          "with other first weights, the same sign on fresh {data} in over 4 of 5 cases.",
          lambda t: difference(share(holds(t, CHANGES), passes(t, CHANGES, "net")) - 0.8, margin=0.0),
          reading="30 on balance", of="share that holds, minus 0.8"),
    claim("1.13", "any 30 significant", "Of five changes to a small network, those in which 30 of {validation:,} "
          "validation {data} change at all are significant in over 4 of 5 cases.",
          lambda t: difference(share(significant(t, CHANGES), passes(t, CHANGES, "total")) - 0.8, margin=0.0),
          reading="30 that change at all", of="share that is significant, minus 0.8"),
    limit("1.13", "any two trainings", "Of {validation:,} validation {data} 30 change at all in any two trainings that "
          "differ in their first weights alone.",
          lambda t: difference(flips(t, ["no change"], "validation")[1].min(1) - 30, margin=0.0),
          reading="30 that change at all", of="smallest number of examples that changed, minus 30",
          because="two trainings of one network disagree on some percent of the images"),
    limit("1.13", "mere disagreement", "Two trainings that differ in their first weights alone, where 30 {data} change "
          "at all, differ significantly in fewer than half of the cases.",
          lambda t: difference(0.5 - share(significant(t, ["no change"]), passes(t, ["no change"], "total")),
                               margin=0.0),
          reading="30 that change at all", of="one half minus the share that is significant",
          because="30 that change at all are a disagreement, and no gain"),
    limit("1.13", "luck", "Luck alone nets 30 in more than a quarter of cases, where 1,000 examples changed.",
          thrown, reading="30 on balance", of="share of throws",
          because="the net of n coins has the deviation √n, so that beyond 218 of them 30 is within two deviations"),
    limit("1.13", "trainings apart", "Trainings that differ in their first weights alone are a net 30 of "
          "{validation:,} validation {data} apart in over 1 of 20 cases.",
          lambda t: difference(passes(t, ["no change"], "net").mean(1) - 0.05, margin=0.0),
          reading="30 on balance", of="share of pairs, minus 0.05",
          because="the test knows one chance only, which examples were drawn, and another training is another chance "
          "(Dietterich, 1998; Bouthillier et al., 2021)"),
    limit("1.13", "without pairing", "Without pairing, 30 more of 10,000 are under 1.96 standard errors at any "
          "accuracy from 0.5 to 0.95.",
          lambda t: identity((t["exact/largest z without pairing"] - 1.96).clip(min=0), tolerance=0.0),
          reading="30 on balance"),
]

ANSWERS = [
    answer("1.13", "Thirty on balance are significant in over 4 of 5 cases; whether they hold with other first "
           "weights stays open. Thirty that merely change say nothing: two trainings that differ in their first "
           "weights alone always change more.",
           given={"net 30 significant": "supported", "net 30 holds": "inconclusive", "any 30 significant": "refuted",
                  "any two trainings": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, the rule in the reading *total* takes all that is right of the upright line, and in the reading *net* all
# that is above the level one; the test takes what is above the curve. Where the level line meets the curve, at 218, the
# rule stops being the careful one of the two. On the right, each dot is a seed, and nothing was changed that anybody
# meant to change. In some seeds no pair of trainings passes, in others many more than coins would let pass at the same
# disagreement: the test is about these two networks, and says nothing of the next two from the same recipe.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4))
    gains = range(10, 61)
    left.plot([largest_disagreement(gain) for gain in gains], gains, color="0.4", label="p = 0.05")
    left.axhline(30, color="0.4", linestyle=":", label="30 net, or 30 in total")
    left.axvline(30, ymax=0.75, color="0.4", linestyle=":")
    for place, (marker, name) in enumerate(zip("osD^vP", ("no change", *CHANGES), strict=True)):
        net, total = flips(trials, [name], "validation")
        left.plot(total.ravel(), abs(net).ravel(), marker, color=f"C{place}", markersize=3, alpha=0.5, label=name)
    left.set_xscale("log")
    left.set_xlim(10, 1_000)
    left.set_xticks((10, 30, 100, 218, 1_000), ("10", "30", "100", "218", "1,000"))
    left.set_yscale("symlog", linthresh=10)
    left.set_yticks((0, 10, 30, 100, 300), ("0", "10", "30", "100", "300"))
    left.set_ylim(-0.5, 1_000)
    left.set_title(f"Pairs of networks on {trials.config.validation:,} {trials.config.data}")
    left.set_xlabel("examples that changed, b + c")
    left.set_ylabel("net gain or loss, |b - c|")
    left.minorticks_off()
    left.legend(fontsize="small", loc="upper left", ncols=2)

    counts = range(30, DISAGREEMENTS[-1] + 1, 10)
    right.plot(counts, [100 * luck(count) for count in counts], color="C1", label="luck alone, exactly")
    right.plot(DISAGREEMENTS, 100 * trials["coins/passed"].mean(0), "s", color="C1", label="luck alone, thrown")
    passed, (_, total) = passes(trials, ["no change"], "net").mean(1), flips(trials, ["no change"], "validation")
    right.plot(total.mean(1), 100 * passed, "o", color="C0", alpha=0.7, label="pairs of equal trainings, each seed")
    right.axhline(5, color="0.4", linestyle=":", label="1 of 20")
    right.set_xscale("log")
    right.set_xticks((30, 100, 218, 500, 1_000, 2_000), ("30", "100", "218", "500", "1,000", "2,000"))
    right.minorticks_off()
    right.set_title("How often nothing passes as a net gain of 30")
    right.set_xlabel("examples that changed, b + c")
    right.set_ylabel("pairs that pass (%)")
    right.legend(fontsize="small")
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("rule_of_thirty")
