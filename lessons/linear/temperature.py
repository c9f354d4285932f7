"""
What does temperature do to softmax?
====================================

A classifier gives each class a score, which may be any number. *Softmax* makes probabilities of them (row 1.02 of the
course notes): raise e to each score, and divide by the sum. Multiply the scores by ten, and see what happens. ::

    S(y)ᵢ = exp(yᵢ) / Σⱼ exp(yⱼ)         scores               probabilities
                                         2     1     0       0.665   0.245   0.090
                           ten times    20    10     0       1.000   0.000   0.000
                             a tenth   0.2   0.1     0       0.367   0.332   0.301

The order stays, but the size of the scores says how sure the probabilities are. Only differences count: a lead of 1
makes a class e = 2.7 times as likely as another, a lead of 10 makes it 22,026 times, a lead of 0.1 only 1.1 times. To
divide all scores by T is to set the *temperature* to T. Row 1.03 says that ten times the scores (T = 0.1) give
probabilities close to 0 or 1, and row 1.04 that a tenth of them (T = 10) gives nearly uniform ones.

Must it be so? No factor breaks a tie: the scores 20, 20 and 0 become 0.5, 0.5 and 0. And a tenth of 300, 100 and 0 is
30, 10 and 0, which is still sure. What counts is the lead g of the largest score over the second, *after* scaling. Of K
classes, the second is exp(-g) times as likely as the first, and no other is more likely. So the largest probability p
is least where all the others are as likely as the second, and most where none but the second counts. ::

    1 / (1 + (K - 1) exp(-g))  ≤  p  ≤  1 / (1 + exp(-g))

The *label* L of an example is 1 for the right class and 0 for the others. Row 1.05 calls the *cross-entropy* D(S, L) =
-Σ Lᵢ ln Sᵢ a distance. If the second class of the table is right, it is -ln 0.245 = 1.41 *nats* (the unit of natural
logarithms), and at ten times the scores 10 nats: to be sure and wrong is costly.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from dlnotes import lesson
from dlnotes.evidence import difference, identity
from dlnotes.lesson import answer, claim, curves, limit
from dlnotes.linear import cross_entropy, one_hot, softmax
from dlnotes.measuring import Measured, largest_error
from dlnotes.randomness import streams

# %%
# The experiment
# --------------
# Each *seed* (the number that all draws follow from) draws 1,000 vectors of ten scores from a normal distribution, and
# labels. We compare the probabilities at ten times the scores, at the scores, and at a tenth. Their *entropy*, the sum
# of all -p ln p, says how flat they are: 0 where one class has everything, ln 10 = 2.3 nats where all have the same. By
# what it falls short of ln 10 they *diverge* from uniform, at most an eighth of the squared range of the scores
# (Hoeffding, 1963). A vector is "close to 0 or 1" if its largest probability is above 0.99.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    vectors: int = 1_000  # score vectors that a seed draws
    classes: int = 10  # scores in a vector
    close: float = 0.99  # a probability above this counts as close to 1

    def __post_init__(self) -> None:
        if self.vectors < 2 or self.classes < 3 or not 0.5 < self.close < 1:
            raise ValueError("vectors must be 2 or more, classes 3 or more, and close between 0.5 and 1")

    @property
    def clear(self) -> float:
        """The lead above which ten times the scores are certain to come close."""
        return math.log(self.close / (1 - self.close) * (self.classes - 1)) / 10

    @property
    def small(self) -> float:
        """The lead below which they cannot."""
        return math.log(self.close / (1 - self.close)) / 10


QUICK = Config(vectors=100)
SEEDS = range(12)
SPREADS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)  # standard deviations of the scores, for the figure


def trial(config: Config, seed: int) -> Measured:
    generators, shape = streams(seed, "scores", "labels"), (config.vectors, config.classes)
    scores = torch.randn(shape, generator=generators["scores"], dtype=torch.float64)
    labels = torch.randint(config.classes, (config.vectors,), generator=generators["labels"])
    soft = softmax(torch.randn(shape, generator=generators["labels"], dtype=torch.float64))  # labels between 0 and 1
    sharp, plain, flat = softmax(10 * scores), softmax(scores), softmax(scores / 10)
    top = scores.topk(2)
    lead = top.values[:, 0] - top.values[:, 1]
    tied = scores.scatter(1, top.indices, scores.amax(1, keepdim=True).expand(-1, 2))
    wide = scores * 200 / (scores.amax(1) - scores.amin(1)).unsqueeze(1)  # the same scores over a range of 200
    bound = ((scores / 10).amax(1) - (scores / 10).amin(1)) ** 2 / 8
    by_pytorch = torch.nn.functional.cross_entropy(scores, labels)
    by_hand = plain - one_hot(labels, config.classes)
    return {
        "softmax/largest error": largest_error(softmax(scores), torch.softmax(scores, 1)),
        "softmax/largest error of the sum": largest_error(plain.sum(1), torch.ones_like(lead)),
        "softmax/largest change by a constant": largest_error(softmax(scores + 1_000), plain),
        "×10/entropy gained": largest(entropy(sharp) - entropy(plain)),
        "×10/short of close at a clear lead": largest(config.close - sharp.amax(1)[lead > config.clear]),
        "×10/share of vectors that come close": share_close(10 * scores, config.close),
        "×10/beyond close at a small lead": largest(sharp.amax(1)[lead < config.small] - config.close),
        "×10/largest probability of a tie": softmax(10 * tied).amax().item(),
        "÷10/entropy lost": largest(entropy(plain) - entropy(flat)),
        "÷10/divergence above the bound": largest(math.log(config.classes) - entropy(flat) - bound),
        "÷10/mean largest probability over a range of 200": softmax(wide / 10).amax(1).mean().item(),
        "cross-entropy/error": largest_error(cross_entropy(scores, labels), by_pytorch),
        "cross-entropy/largest error of the gradient": largest_error(gradient(scores, labels), by_hand),
        "cross-entropy/below the label's entropy": largest(entropy(soft) - cross(plain, soft)),
        "cross-entropy/mean change when exchanged": (cross(plain, soft) - cross(soft, plain)).abs().mean().item(),
        "×10/curve": [share_close(10 * spread * scores, config.close) for spread in SPREADS],
        "×1/curve": [share_close(spread * scores, config.close) for spread in SPREADS],
        "÷10/curve": [share_close(spread * scores / 10, config.close) for spread in SPREADS],
    }


def largest(excess: Tensor) -> float:
    """The largest excess; 0 where there is none."""
    return torch.nn.functional.pad(excess.clamp(min=0), (0, 1)).amax().item()


def entropy(probabilities: Tensor) -> Tensor:
    """The entropy of each row, in nats."""
    return torch.special.entr(probabilities).sum(1)


def cross(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy D(S, L) of each row, in nats, of labels that may be any probabilities."""
    return -(labels * probabilities.log()).sum(1)


def gradient(scores: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each row's cross-entropy with respect to its scores."""
    scores = scores.clone().requires_grad_()
    return torch.autograd.grad(cross_entropy(scores, labels) * len(scores), scores)[0]


def share_close(scores: Tensor, close: float) -> float:
    return (softmax(scores).amax(1) > close).double().mean().item()


# %%
# What we expect
# --------------
# Written before the run. A *claim* is a statement of the notes, a *limit* a case in which it should fail. One
# counter-example refutes an identity or a bound: the *margin* is 1e-12, for rounding. 48 of 100 is a half less 2.


def exactly(errors):
    return identity(errors, tolerance=1e-12)


# fmt: off
PREDICTIONS = [
    claim("1.02", "PyTorch's softmax", "Softmax equals PyTorch's.", lambda t: exactly(t["softmax/largest error"])),
    claim("1.02", "sum of 1", "The probabilities sum to 1.", lambda t: exactly(t["softmax/largest error of the sum"])),
    claim("1.02", "added constant", "Adding 1,000 to all scores changes no probability.",
          lambda t: exactly(t["softmax/largest change by a constant"])),
    claim("1.03", "sharper", "Ten times the scores never gives more entropy, for {classes} normal scores.",
          lambda t: exactly(t["×10/entropy gained"])),
    claim("1.03", "clear gap", "Ten times the scores gives a probability above {close} wherever the two largest of "
          "{classes} differ by more than {clear:.4f}.",
          lambda t: exactly(t["×10/short of close at a clear lead"])),
    limit("1.03", "small gap", "Ten times the scores gives no probability above {close} where the two largest differ "
          "by less than {small:.4f}.",
          lambda t: exactly(t["×10/beyond close at a small lead"]), because="then the second takes too large a share"),
    limit("1.03", "half", "Ten times the scores gives a probability above {close} in fewer than 48 of 100 "
          "vectors of {classes} normal scores.",
          lambda t: difference(0.5 - t["×10/share of vectors that come close"], margin=0.02),
          of="one half minus the share", because="in more than half of the vectors the lead is too small"),
    limit("1.03", "ties", "Two equal largest scores have a probability of one half or less, whatever the scale.",
          lambda t: exactly((t["×10/largest probability of a tie"] - 0.5).clip(min=0)), because="a tie stays a tie"),
    claim("1.04", "flatter", "A tenth of the scores never gives less entropy, for {classes} normal scores.",
          lambda t: exactly(t["÷10/entropy lost"])),
    claim("1.04", "bound", "Softmax of a tenth of the scores is at most (range / 10)² / 8 nats from uniform.",
          lambda t: exactly(t["÷10/divergence above the bound"])),
    limit("1.04", "wide range", "A tenth of scores that span 200 gives a largest probability above 0.5, on average.",
          lambda t: difference(t["÷10/mean largest probability over a range of 200"] - 0.5, margin=0.0),
          of="mean largest probability, minus one half", because="a tenth of hundreds is still a wide range"),
    claim("1.05", "PyTorch's cross-entropy", "Cross-entropy equals PyTorch's.",
          lambda t: exactly(t["cross-entropy/error"])),
    claim("1.05", "gradient", "The gradient of cross-entropy with respect to the scores is probabilities minus label.",
          lambda t: exactly(t["cross-entropy/largest error of the gradient"])),
    claim("1.05", "least value", "Cross-entropy with a label is lowest where the probabilities equal the label.",
          lambda t: exactly(t["cross-entropy/below the label's entropy"])),
    limit("1.05", "asymmetry", "Exchanging probabilities and labels changes cross-entropy by over 0.1 nats on average.",
          lambda t: difference(t["cross-entropy/mean change when exchanged"], margin=0.1),
          of="change, in nats", because="a distance would be symmetric"),
]

ANSWERS = [
    answer("1.02", "Yes. Softmax gives probabilities that sum to 1, and only the differences between scores count.",
           given={"PyTorch's softmax": "supported", "sum of 1": "supported", "added constant": "supported"}),
    answer("1.03", "Sharper, always. Close to 0 or 1 only where one score leads clearly: {classes} normal scores, "
           "times ten, give a probability above {close} in fewer than 48 of 100 cases, and never in a tie.",
           given={"sharper": "supported", "clear gap": "supported", "half": "supported", "ties": "supported"}),
    answer("1.04", "Flatter, always. Close to uniform only where the scores were close to each other: a tenth of "
           "scores that span 200 still gives one class more than half of the probability, on average.",
           given={"flatter": "supported", "bound": "supported", "wide range": "supported"}),
    answer("1.05", "As a loss, yes: it is least where probabilities and label agree. As a distance, no: exchanging "
           "the two changes it, by {asymmetry} nats (natural logarithms) on average.",
           given={"gradient": "supported", "least value": "supported", "asymmetry": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: the probabilities that softmax makes of one vector of ten scores, at three scales. Ten
# times the scores leave one class, a tenth leaves all alike. In the middle a dot for each vector of all seeds: the lead
# of its largest score, and the probability of that class at ten times the scores. All lie between the two bounds. Left
# of both dotted lines none can be above 0.99, and right of them all must be. On the right the scores are spread out
# before they are scaled, a thin line a seed: the three curves are one, moved sideways by factors of ten.


def figure(trials):
    config, (drawing, (left, middle, right)) = trials.config, plt.subplots(1, 3, figsize=(14, 4))
    shape = config.vectors, config.classes
    drawn = [torch.randn(shape, generator=streams(s, "scores")["scores"], dtype=torch.float64) for s in trials.seeds]
    looks = (("×10", "ten times", 10, "-"), ("×1", "as drawn", 1, "--"), ("÷10", "a tenth", 0.1, "-."))
    for place, (arm, words, factor, dashes) in enumerate(looks):
        shares = softmax(factor * drawn[0][:1])[0].numpy()
        left.bar(np.arange(config.classes) + 0.27 * (place - 1), shares, width=0.25, color=f"C{place}", label=words)
        curves(right, SPREADS, trials[f"{arm}/curve"], label=words, color=f"C{place}", linestyle=dashes)
    left.set_xticks(range(config.classes), [f"{score:.1f}" for score in drawn[0][0].tolist()])
    left.set(title="What softmax makes of one vector", xlabel="score of each class", ylabel="probability")
    right.set(title=f"Vectors with a probability above {config.close}", ylabel="share of vectors", xscale="log")
    right.set_xlabel("standard deviation of the scores before scaling")
    scores = torch.cat(drawn)
    top, lead = scores.topk(2).values, np.linspace(0, 1.2, 100)
    middle.plot(top[:, 0] - top[:, 1], softmax(10 * scores).amax(1), ".", color="0.7", markersize=1.5, rasterized=True)
    middle.plot(lead, 1 / (1 + np.exp(-10 * lead)), "C3", label="upper bound")
    middle.plot(lead, 1 / (1 + (config.classes - 1) * np.exp(-10 * lead)), "C3--", label="lower bound")
    for certain in (config.small, config.clear):
        middle.axvline(certain, color="0.4", linestyle=":")
    middle.set(title="Ten times the scores", xlabel="lead before scaling", ylabel="largest probability", xlim=(0, 1.2))
    for axes in (left, middle, right):
        axes.legend()
    return drawing


# %%
# Try it yourself
# ---------------
# With a hundred classes, does one of them come close to 1 more often, or less? Think of the lead of the largest score.
# `python -m lessons run temperature --set classes=100 --seeds 1`

if __name__ == "__main__":
    lesson.main("temperature")
