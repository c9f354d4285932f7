"""
Logistic regression from end to end
===================================

**The question.** Four small pieces (an affine map, softmax, one-hot labels, cross-entropy) and one way to train them:
is that all it takes to read letters in typefaces that were never seen?

**What the notes say.** A logistic classifier scores an input by a weight product plus a bias (1.01). Scores go through
softmax and are compared with one-hot labels (1.07) by cross-entropy (1.06); the loss is its mean over the training set
(1.08); training follows the gradient of that loss downhill (1.09).

**What is measured.** Each seed draws its own typefaces, letters and batches. Gradient descent on all training letters
with the step sizes 1/L, 10/L and 100/L, where L bounds the curvature of the loss: how the loss falls, and whether it
ever rises. SGD in 3,001 steps of 128 at the rate 0.5, as the course has it: accuracy on unseen typefaces, and the same
with shuffled labels. The same training written with PyTorch's own pieces: how far the weights are apart.
"""

import math
from dataclasses import dataclass
from itertools import islice, pairwise, repeat

import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.evidence import difference, identity, no_difference
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy, log_softmax, one_hot
from dlnotes.measuring import Measured, largest_error, train_for
from dlnotes.randomness import streams
from dlnotes.training import Minibatches, Trainer, accuracy, evaluate

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, mnist, not_mnist
    train: int = 4_000  # training examples
    test: int = 2_000  # test examples: for letters, of typefaces that training never saw
    descent_steps: int = 200  # steps of gradient descent on all training examples
    sgd_steps: int = 3_001  # steps of SGD, as in the course
    batch_size: int = 128  # examples a step of SGD, as in the course
    lr: float = 0.5  # learning rate of SGD, as in the course
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.descent_steps < 2 or self.sgd_steps < 1 or self.train < 500:
            raise ValueError("descent_steps must be 2 or more, sgd_steps 1 or more, and train 500 or more")


QUICK = Config(train=500, test=200, descent_steps=10, sgd_steps=50)
SEEDS = range(16)
LENGTHS = (1, 10, 100)  # step sizes of gradient descent, in units of 1/L

# %%
# One seed
# --------
# The loss of a linear softmax classifier curves at most by L = λ / 2, where λ is the largest eigenvalue of XᵀX / N and
# each row of X is an example with a 1 for the bias (Böhning, 1992). A step of 1/L can therefore never go up.


def trial(config: Config, seed: int) -> Measured:
    chance = streams(seed, "batches", "shuffled labels", "identities")
    parts = data.load(config.data, seed, train=config.train, test=config.test).to(config.device)
    (inputs, labels), unseen = parts.train, parts.test
    measured = identities(inputs[:500].cpu().double(), labels[:500].cpu(), chance["identities"])

    # Gradient descent: all examples at each step, three step sizes.
    longest = 1 / curvature(inputs)
    for length in LENGTHS:
        model = LogisticClassifier(784, 10).to(config.device)
        descent = Trainer(model, cross_entropy, SGD(model.parameters(), lr=length * longest), repeat(parts.train))
        losses = [step.loss for step in islice(descent, config.descent_steps)]
        measured[f"descent {length}/L/last loss"] = losses[-1]
        measured[f"descent {length}/L/largest rise"] = max(b - a for a, b in pairwise(losses))
        measured[f"descent {length}/L/test accuracy"] = accuracy(model, unseen)
        measured[f"descent {length}/L/curve"] = losses

    # SGD: the same model, a few examples at each step. Then the same with labels that mean nothing.
    order = torch.randperm(len(labels), generator=chance["shuffled labels"]).to(config.device)
    for arm, targets in {"SGD": labels, "SGD, shuffled labels": labels[order]}.items():
        model = LogisticClassifier(784, 10).to(config.device)
        batches = Minibatches((inputs, targets), config.batch_size, streams(seed, "batches")["batches"])
        sgd = Trainer(model, cross_entropy, SGD(model.parameters(), lr=config.lr), batches)
        train_for(sgd, config.sgd_steps)
        measured[f"{arm}/train accuracy"] = accuracy(model, (inputs, targets))
        measured[f"{arm}/test accuracy"] = accuracy(model, unseen)
    return measured


def curvature(inputs: Tensor) -> float:
    """L: half the largest eigenvalue of XᵀX / N, with a column of ones for the bias."""
    rows = nn.functional.pad(inputs.flatten(1).cpu().double(), (0, 1), value=1.0)
    return torch.linalg.eigvalsh(rows.T @ rows / len(rows))[-1].item() / 2


# %%
# The pieces, each against its definition and against PyTorch's, in double precision.


def identities(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Measured:
    model = LogisticClassifier(784, 10, dtype=torch.float64)
    at_zero = evaluate(model, (inputs, labels), cross_entropy)
    model.weight.data = torch.randn(10, 784, generator=generator, dtype=torch.float64)
    model.bias.data = torch.randn(10, generator=generator, dtype=torch.float64)
    other, flat, hot = inputs.flip(0), inputs.flatten(1), one_hot(labels, 10, dtype=torch.float64)
    with torch.no_grad():
        scores = model(inputs)
        origin = model(torch.zeros_like(inputs))
        each = -log_softmax(scores)[range(len(labels)), labels]
        doubled = cross_entropy(model(inputs.repeat(2, 1, 1, 1)), labels.repeat(2))
        return {
            "1.01: far from x Wᵀ + b": largest_error(scores, (flat[:, None] * model.weight).sum(2) + model.bias),
            "1.01: far from additive": largest_error(model(inputs + other) - model(other), scores - origin),
            "1.07: far from -log S[label]": largest_error(cross_entropy(scores, hot), each.mean()),
            "1.07: labels not recovered": (hot.argmax(1) != labels).double().mean().item(),
            "1.08: far from the mean of each example's": largest_error(cross_entropy(scores, labels), each.mean()),
            "1.08: moved by taking each example twice": largest_error(doubled, each.mean()),
            "1.08: far from ln 10 at zero weights": abs(at_zero - math.log(10)),
            "1.06: weights far from PyTorch's": largest_error(*trained_twice(inputs, labels)),
        }


@torch.enable_grad()
def trained_twice(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The weights after 50 steps of gradient descent, by our pieces and by PyTorch's."""
    ours = LogisticClassifier(784, 10, dtype=torch.float64)
    theirs = nn.utils.skip_init(nn.Linear, 784, 10, dtype=torch.float64)
    theirs.load_state_dict(ours.state_dict())  # the parameters have the same names
    train_for(Trainer(ours, cross_entropy, SGD(ours.parameters(), lr=0.1), repeat((inputs, labels))), 50)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(theirs(inputs.flatten(1)), labels).backward()
        optimizer.step()
    return ours.weight.detach(), theirs.weight.detach()


# %%
# What we expect
# --------------
# Written before the run. Rounding explains errors of 1e-10 in double precision.


def exactly(errors):
    return identity(errors, tolerance=1e-10)


# fmt: off
PREDICTIONS = [
    claim("1.01", "scores", "The scores are x Wᵀ + b.", lambda t: exactly(t["1.01: far from x Wᵀ + b"])),
    claim("1.01", "affine map", "The map is affine, so that f(x + z) - f(z) = f(x) - f(0).",
          lambda t: exactly(t["1.01: far from additive"])),
    claim("1.06", "learning", "SGD on the four pieces comes more than half of the way from chance to certainty on "
          "unseen {data}.",
          lambda t: difference(t["SGD/test accuracy"] - 0.1, margin=0.45), of="accuracy above chance"),
    claim("1.06", "PyTorch's weights", "The weights after 50 steps are those of PyTorch's Linear and cross_entropy.",
          lambda t: exactly(t["1.06: weights far from PyTorch's"])),
    claim("1.06", "shuffled labels", "A classifier trained on shuffled labels stays within 5 points of chance on "
          "unseen {data}.",
          lambda t: no_difference(t["SGD, shuffled labels/test accuracy"] - 0.1, margin=0.05),
          of="accuracy above chance", because="it is the labels that are learned"),
    claim("1.07", "one-hot labels", "Cross-entropy against a one-hot label is -log of the label's probability.",
          lambda t: exactly(t["1.07: far from -log S[label]"])),
    claim("1.07", "labels back", "The place of the one gives the label back.",
          lambda t: identity(t["1.07: labels not recovered"], tolerance=0.0)),
    claim("1.08", "mean", "The loss is the mean over the examples.",
          lambda t: exactly(t["1.08: far from the mean of each example's"])),
    claim("1.08", "examples twice", "Taking each example twice leaves the loss as it is.",
          lambda t: exactly(t["1.08: moved by taking each example twice"])),
    claim("1.08", "zero weights", "The loss is ln 10 where all weights are zero.",
          lambda t: exactly(t["1.08: far from ln 10 at zero weights"])),
    claim("1.09", "never up", "Gradient descent with steps of 1/L never raises the loss ({data}, single precision).",
          lambda t: identity(t["descent 1/L/largest rise"].clip(min=0), tolerance=1e-6),
          because="L bounds the curvature (Böhning, 1992)"),
    claim("1.09", "downhill", "{descent_steps} steps of 1/L lower the loss on {data} by more than 1 nat.",
          lambda t: difference(math.log(10) - t["descent 1/L/last loss"], margin=1.0), of="fall of the loss, in nats"),
    limit("1.09", "too long", "Steps of 100/L raise the loss on {data}, somewhere by more than 1 nat.",
          lambda t: difference(t["descent 100/L/largest rise"], margin=1.0), of="largest rise, in nats",
          because="the gradient says where down is, and not how far"),
]

ANSWERS = [
    answer("1.01", "Yes, by construction: each score is a weighted sum of the inputs plus a bias.",
           given={"scores": "supported", "affine map": "supported"}),
    answer("1.06", "Yes. On unseen {data} the four pieces come {learning:points} points above guessing, with the "
           "weights that PyTorch's own pieces learn; on shuffled labels the same training learns nothing.",
           given={"learning": "supported", "PyTorch's weights": "supported", "shuffled labels": "supported"}),
    answer("1.07", "Yes. Against a one-hot label cross-entropy is minus the logarithm of a single probability, and "
           "the label can be read back.",
           given={"one-hot labels": "supported", "labels back": "supported"}),
    answer("1.08", "Yes. The loss is an average: it does not move when each example is taken twice, and with ten "
           "classes it starts at ln 10 where all weights are zero.",
           given={"mean": "supported", "examples twice": "supported", "zero weights": "supported"}),
    answer("1.09", "Yes, if the steps are small. Steps of 1/L, where L is the largest curvature, never went up and "
           "took {downhill} nats off the loss in {descent_steps} steps; steps a hundred times as long raise it, at "
           "worst by {too long} nats.",
           given={"never up": "supported", "downhill": "supported", "too long": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, ten times the safe step is faster and may stumble; a hundred times leaps over the valley, and yet ends
# lowest on these images, which a plane can separate: too long a step breaks the promise of descent, not always the
# result.
# On the right, each dot is a seed with typefaces of its own: which faces are held out moves a linear classifier by
# points, and no accuracy on letters means much without that spread.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for color, length in zip(("C0", "C1", "C2"), LENGTHS, strict=True):
        curves = trials[f"descent {length}/L/curve"]
        steps = range(1, curves.shape[1] + 1)
        left.plot(steps, curves.T, color=color, linewidth=0.5, alpha=0.3)
        left.plot(steps, curves.mean(0), color=color, label=f"steps of {length}/L")
    left.axhline(math.log(10), color="0.4", linestyle=":", label="ln 10, the loss of knowing nothing")
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_title("Gradient descent: the loss over all training examples")
    left.set_xlabel("step")
    left.set_ylabel("mean cross-entropy (nats)")
    left.legend()

    arms = [f"descent {length}/L" for length in LENGTHS] + ["SGD", "SGD, shuffled labels"]
    for place, arm in enumerate(arms):
        reached = trials[f"{arm}/test accuracy"]
        right.plot([place] * len(reached), reached, "o", color=f"C{place}", alpha=0.6)
        right.plot([place - 0.25, place + 0.25], [reached.mean()] * 2, color=f"C{place}")
    right.axhline(0.1, color="0.4", linestyle=":")
    names = [f"{trials.config.descent_steps} steps\nof {length}/L" for length in LENGTHS]
    names += [f"{trials.config.sgd_steps:,} steps\nof SGD", "shuffled\nlabels"]
    right.set_xticks(range(len(arms)), names)
    right.set_title(f"Accuracy on unseen {trials.config.data}: each seed, and the mean")
    right.set_ylabel("share classified right (chance: 0.1)")
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("logistic_regression")
