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

**The smallest difference that matters.** Learning: half of the way from chance (0.1) to certainty, that is 0.45.
Descent: one nat of the 2.30 at the start. Shuffled labels: five points from chance. Identities: rounding.

**What would refute it.** Accuracy nearer to chance than to certainty, a step of 1/L that raises the loss, or weights
that differ from PyTorch's. Predicted limit of 1.09: the gradient says where down is and not how far, so a step a
hundred times as long as 1/L makes the loss rise.

**Time.** `python -m lessons` says what it took.
"""

import math
from dataclasses import dataclass
from itertools import islice, pairwise, repeat

import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.evidence import claim, difference, identity, limit, no_difference
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy, log_softmax, one_hot
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


def trial(config: Config, seed: int) -> dict[str, float | list[float]]:
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
        for _ in islice(sgd, config.sgd_steps):
            pass
        measured[f"{arm}/train accuracy"] = accuracy(model, (inputs, targets))
        measured[f"{arm}/test accuracy"] = accuracy(model, unseen)
    return measured


def curvature(inputs: Tensor) -> float:
    """L: half the largest eigenvalue of XᵀX / N, with a column of ones for the bias."""
    rows = nn.functional.pad(inputs.flatten(1).cpu().double(), (0, 1), value=1.0)
    return torch.linalg.eigvalsh(rows.T @ rows / len(rows))[-1].item() / 2


# %%
# The pieces, each against its definition and against PyTorch's, in double precision.


def identities(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, float | list[float]]:
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
            "1.01: far from x Wᵀ + b": far(scores, (flat[:, None] * model.weight).sum(2) + model.bias),
            "1.01: far from additive": far(model(inputs + other) - model(other), scores - origin),
            "1.07: far from -log S[label]": far(cross_entropy(scores, hot), each.mean()),
            "1.07: labels not recovered": (hot.argmax(1) != labels).double().mean().item(),
            "1.08: far from the mean of each example's": far(cross_entropy(scores, labels), each.mean()),
            "1.08: moved by taking each example twice": far(doubled, each.mean()),
            "1.08: far from ln 10 at zero weights": abs(at_zero - math.log(10)),
            "1.06: weights far from PyTorch's": far(*trained_twice(inputs, labels)),
        }


def far(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().amax().item()


@torch.enable_grad()
def trained_twice(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The weights after 50 steps of gradient descent, by our pieces and by PyTorch's."""
    ours = LogisticClassifier(784, 10, dtype=torch.float64)
    theirs = nn.utils.skip_init(nn.Linear, 784, 10, dtype=torch.float64)
    theirs.load_state_dict(ours.state_dict())  # the parameters have the same names
    for _ in islice(Trainer(ours, cross_entropy, SGD(ours.parameters(), lr=0.1), repeat((inputs, labels))), 50):
        pass
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(theirs(inputs.flatten(1)), labels).backward()
        optimizer.step()
    return ours.weight.detach(), theirs.weight.detach()


# %%
# What settles it
# ---------------


def findings(trials):
    where = trials.config.data
    exact = 1e-10
    return [
        claim("1.01", "the scores are x Wᵀ + b", identity(trials["1.01: far from x Wᵀ + b"], tolerance=exact)),
        claim(
            "1.01",
            "the map is affine: f(x + z) - f(z) = f(x) - f(0)",
            identity(trials["1.01: far from additive"], tolerance=exact),
        ),
        claim(
            "1.06",
            f"SGD on the four pieces comes more than half of the way from chance to certainty on unseen {where}",
            difference(trials["SGD/test accuracy"] - 0.1, margin=0.45),
            of="accuracy above chance",
        ),
        claim(
            "1.06",
            "its weights are those of PyTorch's Linear and cross_entropy after 50 steps",
            identity(trials["1.06: weights far from PyTorch's"], tolerance=exact),
        ),
        claim(
            "1.06",
            "it is the labels that are learned: trained on shuffled ones it stays within 5 points of chance",
            no_difference(trials["SGD, shuffled labels/test accuracy"] - 0.1, margin=0.05),
            of="accuracy above chance",
        ),
        claim(
            "1.07",
            "against a one-hot label, cross-entropy is -log of the label's probability",
            identity(trials["1.07: far from -log S[label]"], tolerance=exact),
        ),
        claim(
            "1.07",
            "the place of the one gives the label back",
            identity(trials["1.07: labels not recovered"], tolerance=0.0),
        ),
        claim(
            "1.08",
            "the loss is the mean over the examples",
            identity(trials["1.08: far from the mean of each example's"], tolerance=exact),
        ),
        claim(
            "1.08",
            "so that taking each example twice changes nothing",
            identity(trials["1.08: moved by taking each example twice"], tolerance=exact),
        ),
        claim(
            "1.08",
            "and is ln 10 where all weights are zero",
            identity(trials["1.08: far from ln 10 at zero weights"], tolerance=exact),
        ),
        claim(
            "1.09",
            f"gradient descent with steps of 1/L never raises the loss ({where}, single precision)",
            identity(trials["descent 1/L/largest rise"].clip(min=0), tolerance=1e-6),
        ),
        claim(
            "1.09",
            f"and lowers it by more than 1 nat in {trials.config.descent_steps} steps",
            difference(math.log(10) - trials["descent 1/L/last loss"], margin=1.0),
            of="fall of the loss, in nats",
        ),
        limit(
            "1.09",
            "steps of 100/L raise the loss, somewhere by more than 1 nat",
            difference(trials["descent 100/L/largest rise"], margin=1.0),
            of="largest rise, in nats",
        ),
    ]


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
