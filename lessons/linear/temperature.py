"""
Scores, probabilities and temperature
=====================================

**The question.** Softmax turns scores into probabilities. How much do the probabilities depend on the *size* of the
scores?

**What the notes say.** Exponentiate the scores and divide by the sum (1.02). Multiply all scores by ten and the
probabilities get close to 0 or 1 (1.03); divide them by ten and they get close to uniform (1.04). The distance between
the probabilities and a label is their cross-entropy (1.05).

**What is measured.** Each seed draws 1,000 vectors of ten scores from a normal distribution. On each vector: the
entropy and the largest probability at ten times, once and a tenth of the scores; how far softmax and cross-entropy are
from PyTorch's; and two bounds, of which the text says where they come from. "Close to 0 or 1" is read as: the largest
probability is above 0.99.
"""

import math
from dataclasses import dataclass

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from dlnotes import lesson
from dlnotes.evidence import difference, identity
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import cross_entropy, one_hot, softmax
from dlnotes.measuring import Measured, largest_error
from dlnotes.randomness import streams

# %%
# Settings
# --------


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
        """The gap between the two largest scores above which ten times the scores are certain to come close."""
        return math.log(self.close / (1 - self.close) * (self.classes - 1)) / 10

    @property
    def small(self) -> float:
        """The gap below which they cannot."""
        return math.log(self.close / (1 - self.close)) / 10


QUICK = Config(vectors=100)
SEEDS = range(12)
SPREADS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)  # standard deviations of the scores, for the figure

# %%
# One seed
# --------
# With a gap *g* between the two largest of K scores, the largest probability p lies between two bounds, because each of
# the other K - 1 exponentials is at most exp(-g) times the largest, and one of them is exactly that:
#
#     1 / (1 + (K - 1) exp(-g))  ≤  p  ≤  1 / (1 + exp(-g))
#
# So p > 0.99 is certain for g > ln(99 (K - 1)) and impossible for g < ln(99); ten times the scores have ten times the
# gap. In the other direction the divergence from uniform is at most range² / 8
# (Hoeffding, 1963): an eighth of a hundredth of the squared range, after a division by ten.


def trial(config: Config, seed: int) -> Measured:
    chance = streams(seed, "scores", "labels")
    scores = torch.randn(config.vectors, config.classes, generator=chance["scores"], dtype=torch.float64)
    labels = torch.randint(config.classes, (config.vectors,), generator=chance["labels"])
    soft = softmax(torch.randn(config.vectors, config.classes, generator=chance["labels"], dtype=torch.float64))
    sharp, plain, flat = softmax(10 * scores), softmax(scores), softmax(scores / 10)

    top = scores.topk(2).values
    gap = top[:, 0] - top[:, 1]
    sure, hopeless = gap > config.clear, gap < config.small
    tied = scores.scatter(1, scores.topk(2).indices, scores.amax(1, keepdim=True).expand(-1, 2))
    wide = scores * 200 / (scores.amax(1) - scores.amin(1)).unsqueeze(1)  # the same scores over a range of 200

    return {
        # 1.02: the definition
        "softmax: far from PyTorch's": largest_error(softmax(scores), torch.softmax(scores, 1)),
        "softmax: far from a sum of 1": largest(plain.sum(1) - 1),
        "softmax: moved by adding a constant": largest_error(softmax(scores + 1_000), plain),
        # 1.03: ten times the scores
        "×10: entropy gained": largest((entropy(sharp) - entropy(plain)).clamp(min=0)),
        "×10: below close where the gap is clear": largest((config.close - sharp.amax(1)[sure]).clamp(min=0)),
        "×10: share of vectors that come close": (sharp.amax(1) > config.close).double().mean().item(),
        "×10: above close where the gap is small": largest((sharp.amax(1)[hopeless] - config.close).clamp(min=0)),
        "×10: largest probability of tied scores": softmax(10 * tied).amax().item(),
        # 1.04: a tenth of the scores
        "÷10: entropy lost": largest((entropy(plain) - entropy(flat)).clamp(min=0)),
        "÷10: divergence above the bound": largest((divergence(flat) - bound(scores / 10)).clamp(min=0)),
        "÷10: largest probability": flat.amax().item(),
        "÷10: mean largest probability over a range of 200": softmax(wide / 10).amax(1).mean().item(),
        # 1.05: cross-entropy
        "cross-entropy: far from PyTorch's": abs(
            cross_entropy(scores, labels).item() - torch.nn.functional.cross_entropy(scores, labels).item()
        ),
        "cross-entropy: gradient far from S - L": largest_error(
            gradient(scores, labels), plain - one_hot(labels, config.classes)
        ),
        "cross-entropy: below the label's entropy": largest((entropy(soft) - cross(plain, soft)).clamp(min=0)),
        "cross-entropy: asymmetry": (cross(plain, soft) - cross(soft, plain)).abs().mean().item(),
        # for the figure: the share of vectors with a probability above 0.99, as the scores' spread grows
        "curve ×10": [share_close(10 * spread * scores, config.close) for spread in SPREADS],
        "curve ×1": [share_close(spread * scores, config.close) for spread in SPREADS],
        "curve ÷10": [share_close(spread * scores / 10, config.close) for spread in SPREADS],
    }


def largest(errors: Tensor) -> float:
    return errors.abs().amax().item() if errors.numel() else 0.0


def cross(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy D(S, L) of each row, in nats."""
    return -(labels * probabilities.log()).sum(1)


def entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(1)


def divergence(probabilities: Tensor) -> Tensor:
    """The divergence from the uniform distribution of each row, in nats."""
    return math.log(probabilities.shape[1]) - entropy(probabilities)


def bound(scores: Tensor) -> Tensor:
    return (scores.amax(1) - scores.amin(1)) ** 2 / 8


def gradient(scores: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each row's cross-entropy with respect to its scores."""
    scores = scores.clone().requires_grad_()
    (cross_entropy(scores, labels) * len(scores)).backward()
    return scores.grad if scores.grad is not None else scores


def share_close(scores: Tensor, close: float) -> float:
    return (softmax(scores).amax(1) > close).double().mean().item()


# %%
# What we expect
# --------------
# Written before the run. One counter-example refutes an identity or a bound; rounding explains errors of 1e-12 in
# double precision. A limit is shown where its number stays on the predicted side.


def exactly(errors):
    return identity(errors, tolerance=1e-12)


# fmt: off
PREDICTIONS = [
    claim("1.02", "PyTorch's softmax", "Softmax equals PyTorch's.",
          lambda t: exactly(t["softmax: far from PyTorch's"])),
    claim("1.02", "sum of 1", "The probabilities sum to 1.",
          lambda t: exactly(t["softmax: far from a sum of 1"])),
    claim("1.02", "added constant", "Adding 1,000 to all scores changes no probability.",
          lambda t: exactly(t["softmax: moved by adding a constant"])),
    claim("1.03", "sharper", "Ten times the scores never gives more entropy, for {classes} scores from a normal "
          "distribution.",
          lambda t: exactly(t["×10: entropy gained"])),
    claim("1.03", "clear gap", "Ten times the scores gives a probability above {close} wherever the two largest differ "
          "by more than {clear:.4f}.",
          lambda t: exactly(t["×10: below close where the gap is clear"])),
    limit("1.03", "small gap", "Ten times the scores gives no probability above {close} where the two largest differ "
          "by less than {small:.4f}.",
          lambda t: exactly(t["×10: above close where the gap is small"]),
          because="ten times so small a gap is below ln(p / (1 - p))"),
    limit("1.03", "half", "Fewer than 48 in 100 vectors of {classes} scores from a normal distribution get a "
          "probability above {close} by a factor of ten.",
          lambda t: difference(0.5 - t["×10: share of vectors that come close"], margin=0.02),
          of="one half minus the share",
          because="in more than half of the cases the gap is too small, or hardly larger"),
    limit("1.03", "ties", "Two equal largest scores have a probability of one half or less, whatever the scale.",
          lambda t: exactly((t["×10: largest probability of tied scores"] - 0.5).clip(min=0)),
          because="any factor leaves a tie a tie"),
    claim("1.04", "flatter", "A tenth of the scores never gives less entropy, for {classes} scores from a normal "
          "distribution.",
          lambda t: exactly(t["÷10: entropy lost"])),
    claim("1.04", "bound", "A tenth of the scores is within (range / 10)² / 8 nats of uniform.",
          lambda t: exactly(t["÷10: divergence above the bound"])),
    limit("1.04", "wide range", "Scores over a range of 200 keep a mean largest probability above 0.5 at a tenth.",
          lambda t: difference(t["÷10: mean largest probability over a range of 200"] - 0.5, margin=0.0),
          of="mean largest probability, minus one half", because="a tenth of hundreds is still a wide range"),
    claim("1.05", "PyTorch's cross-entropy", "Cross-entropy equals PyTorch's.",
          lambda t: exactly(t["cross-entropy: far from PyTorch's"])),
    claim("1.05", "gradient", "The gradient of cross-entropy with respect to the scores is S - L.",
          lambda t: exactly(t["cross-entropy: gradient far from S - L"])),
    claim("1.05", "least value", "Cross-entropy is never below the entropy of the label, its value where S = L.",
          lambda t: exactly(t["cross-entropy: below the label's entropy"])),
    limit("1.05", "asymmetry", "Exchanging probabilities and labels changes cross-entropy by more than 0.1 nats on "
          "average.",
          lambda t: difference(t["cross-entropy: asymmetry"], margin=0.1),
          of="change, in nats", because="a distance would be symmetric"),
]

ANSWERS = [
    answer("1.02", "Yes. Softmax gives probabilities that sum to 1, and only the differences between scores count.",
           given={"PyTorch's softmax": "supported", "sum of 1": "supported", "added constant": "supported"}),
    answer("1.03", "Sharper, always; near 0 or 1 only where the largest score stands clear. A lead of {clear:.2f} is "
           "enough for a probability above {close}, and fewer than half of the vectors of {classes} normal scores "
           "have it. Ties never do.",
           given={"sharper": "supported", "clear gap": "supported", "half": "supported", "ties": "supported"}),
    answer("1.04", "Flatter, always, and near uniform where the scores lay close together: within (range / 10)² / 8 "
           "nats. Scores that span 200 still give one class more than half of the probability.",
           given={"flatter": "supported", "bound": "supported", "wide range": "supported"}),
    answer("1.05", "As a loss, yes: it is least at the label itself, and its gradient is S - L. As a distance, no: "
           "exchanging the two changes it, by {asymmetry} nats on average.",
           given={"gradient": "supported", "least value": "supported", "asymmetry": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# The factor ten is nothing special: what counts is the spread of the scores after it. All three curves are one curve,
# moved sideways.


def figure(trials):
    drawing, axes = plt.subplots(figsize=(7, 4))
    for name, marker, words in (("×10", "o", "ten times"), ("×1", "s", "as drawn"), ("÷10", "^", "a tenth")):
        curves = trials[f"curve {name}"]
        axes.plot(SPREADS, curves.T, color="0.85", linewidth=0.8, zorder=1)
        axes.plot(SPREADS, curves.mean(0), marker=marker, label=f"scores {words}")
    axes.axvline(1, color="0.4", linestyle=":", label="the spread that is judged")
    axes.set_xscale("log")
    axes.set_title(f"How often one class of ten gets a probability above {trials.config.close}")
    axes.set_xlabel("standard deviation of the scores before scaling")
    axes.set_ylabel("share of score vectors")
    axes.legend()
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("temperature")
