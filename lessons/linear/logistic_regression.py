"""
How does a computer learn to read letters?
==========================================

Nobody tells it what an A looks like. It is shown thousands of pictures, each with the right answer, and it begins
knowing nothing. The simplest machine that learns to read is a *logistic classifier*: four small pieces, and one way to
train them. A picture is a list x of numbers, one a pixel, from 0 (paper) to 1 (ink). Each letter has a list of
*weights*, one a pixel too: positive where its ink should be, negative where there should be none. ::

    scores           y = W x + b                      for each letter its weights, a row of W, and a *bias* in b
    probabilities    S = exp(y) / sum of exp(y)       *softmax*: all positive, 1 in total
    right answer     L = (0, 0, 1, …)                 *one-hot*: 1 for the right letter, 0 for all others
    loss             -Σ L log S = -log S[right]       *cross-entropy*, in *nats*; log is the natural logarithm, ln

Try it by hand, with pictures of four pixels and three letters, I, J and L. All weights are zero. The first picture is
an L, with ink everywhere but at the top right: x = (1, 0, 1, 1). ::

         score    probability    right    right - probability      after a step:    score    probability
    I      0          0.33         0            -0.33                               -1.33        0.02
    J      0          0.33         0            -0.33                               -1.33        0.02
    L      0          0.33         1             0.67                                2.67        0.96

The loss is -log 0.33 = 1.10 nats. Its *gradient* says how fast it grows with each weight: (probability - right) x in
each row of W. A step against it goes downhill: it adds (right - probability) x to each row, and as much without x to
the bias, times a *learning rate*, here 1. Now the L has a weight of 0.67 under each pixel of its ink. Its score is 3 ×
0.67 + 0.67 = 2.67, and the loss 0.04 nats. A J, (0, 1, 1, 1), would be called an L, too. Once shown, it pushes back.
That is all of training: average the loss over many pictures, step against its gradient, and again. Is it enough to read
typefaces that were never shown? And how long may a step be?
"""

import math
from dataclasses import dataclass, replace
from itertools import islice, pairwise, repeat

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.evidence import difference, identity, no_difference
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy, log_softmax, one_hot, softmax
from dlnotes.measuring import Measured, largest_error, train_for
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, accuracy, evaluate

# %%
# The experiment
# --------------
# A *seed* draws letters, A to J of 28 × 28 pixels, each bent a little and noisy. The letters to be tested on come in
# typefaces that training never saw. There are five *arms*, each a training from zero. *Gradient descent* averages over
# all training letters at each step, at the rate 1/L, 10/L or 100/L. L, here no label, is the most that the loss can
# curve: half of the largest eigenvalue of XᵀX / N, where X has a row for each letter, with a 1 for the bias (Böhning,
# 1992). *SGD* (stochastic gradient descent) takes 128 letters at a time, as the course does: once with the right
# labels, once with shuffled ones. We measure the loss and the *accuracy*, the share of unseen letters named right.


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
        if self.descent_steps < 2 or self.sgd_steps < 1:
            raise ValueError("descent_steps must be 2 or more, and sgd_steps 1 or more")


QUICK = Config(train=500, test=200, descent_steps=10, sgd_steps=50)
SEEDS = range(16)
LENGTHS = (1, 10, 100)  # steps of gradient descent, in units of 1/L


def trial(config: Config, seed: int) -> Measured:
    parts = data.load(config.data, seed, train=config.train, test=config.test).to(config.device)
    (inputs, labels), unseen = parts.train, parts.test
    measured = pieces(inputs[:500].cpu().double(), labels[:500].cpu(), stream(seed, "identities"))

    rows = nn.functional.pad(inputs.flatten(1).cpu().double(), (0, 1), value=1.0)
    safe = 1 / (torch.linalg.eigvalsh(rows.T @ rows / len(rows))[-1].item() / 2)  # 1/L
    for length in LENGTHS:
        model = LogisticClassifier(784, 10).to(config.device)
        descent = Trainer(model, cross_entropy, SGD(model.parameters(), lr=length * safe), repeat(parts.train))
        losses = [step.loss for step in islice(descent, config.descent_steps)]
        measured[f"steps of {length}/L/last loss"] = losses[-1]
        measured[f"steps of {length}/L/largest rise"] = max(b - a for a, b in pairwise(losses))
        measured[f"steps of {length}/L/test accuracy"] = accuracy(model, unseen)
        measured[f"steps of {length}/L/curve"] = losses

    order = torch.randperm(len(labels), generator=stream(seed, "shuffled labels")).to(config.device)
    for arm, targets in {"SGD": labels, "SGD, shuffled labels": labels[order]}.items():
        model = trained_by_sgd(config, seed, data.Examples(inputs, targets))
        measured[f"{arm}/test accuracy"] = accuracy(model, unseen)
    return measured


def trained_by_sgd(config: Config, seed: int, examples: data.Examples) -> LogisticClassifier:
    model = LogisticClassifier(784, 10).to(config.device)
    batches = Minibatches(examples, config.batch_size, stream(seed, "batches"))
    train_for(Trainer(model, cross_entropy, SGD(model.parameters(), lr=config.lr), batches), config.sgd_steps)
    return model


def pieces(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Measured:
    """How far each piece is from its definition, at random weights and in double precision."""
    model = LogisticClassifier(784, 10, dtype=torch.float64)
    at_zero = evaluate(model, (inputs, labels), cross_entropy)
    model.weight.data = torch.randn(10, 784, generator=generator, dtype=torch.float64)
    model.bias.data = torch.randn(10, generator=generator, dtype=torch.float64)
    other, flat, hot = inputs.flip(0), inputs.flatten(1), one_hot(labels, 10, dtype=torch.float64)
    scores, origin = model(inputs), model(torch.zeros_like(inputs))
    each = -log_softmax(scores)[range(len(labels)), labels]
    return {
        "scores/error": largest_error(scores, (flat[:, None] * model.weight).sum(2) + model.bias),
        "affine/error": largest_error(model(inputs + other) - model(other), scores - origin),
        "one-hot loss/error": largest_error(cross_entropy(scores, hot), each.mean()),
        "labels back/share wrong": (hot.argmax(1) != labels).double().mean().item(),
        "mean loss/error": largest_error(cross_entropy(scores, labels), each.mean()),
        "twice/error": largest_error(cross_entropy(model(flat.repeat(2, 1)), labels.repeat(2)), each.mean()),
        "zero weights/error": abs(at_zero - math.log(10)),
        "PyTorch/error": largest_error(*trained_twice(flat, labels)),
    }


def trained_twice(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The weights after 50 steps of gradient descent, by our pieces and by PyTorch's."""
    ours = LogisticClassifier(784, 10, dtype=torch.float64)
    theirs = nn.utils.skip_init(nn.Linear, 784, 10, dtype=torch.float64)
    theirs.load_state_dict(ours.state_dict())  # the parameters have the same names
    train_for(Trainer(ours, cross_entropy, SGD(ours.parameters(), lr=0.1), repeat((inputs, labels))), 50)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    train_for(Trainer(theirs, nn.functional.cross_entropy, optimizer, repeat((inputs, labels))), 50)
    return ours.weight.detach(), theirs.weight.detach()


# %%
# What we expect
# --------------
# Written before the run. A *claim* is what the course notes say, by the number of its row; a *limit* is where we expect
# it to fail. Each sentence says how much counts: that is its *margin*. What must be exact may be off by rounding.


def exactly(name, tolerance=1e-10):
    return lambda t: identity(t[name], tolerance=tolerance)


# fmt: off
PREDICTIONS = [
    claim("1.01", "scores", "The scores are W x + b.", exactly("scores/error")),
    claim("1.01", "affine map", "The scores f are affine: f(x + z) - f(z) = f(x) - f(0).", exactly("affine/error")),
    claim("1.06", "learning", "Trained by SGD, a linear classifier gets over 55 % of unseen {data} right.",
          lambda t: difference(t["SGD/test accuracy"] - 0.1, margin=0.45), of="accuracy above chance"),
    claim("1.06", "PyTorch's weights", "PyTorch's pieces have our weights after 50 steps.", exactly("PyTorch/error")),
    claim("1.06", "shuffled labels", "Trained on shuffled labels, a classifier gets 5 to 15 % of unseen {data} right.",
          lambda t: no_difference(t["SGD, shuffled labels/test accuracy"] - 0.1, margin=0.05),
          of="accuracy above chance", because="it is the labels that are learned"),
    claim("1.07", "one-hot labels", "Cross-entropy against a one-hot label is -log of the label's probability.",
          exactly("one-hot loss/error")),
    claim("1.07", "labels back", "The place of the one gives the label back.", exactly("labels back/share wrong", 0.0)),
    claim("1.08", "mean", "The loss is the mean over the examples.", exactly("mean loss/error")),
    claim("1.08", "examples twice", "Examples that all come twice leave the loss as it is.", exactly("twice/error")),
    claim("1.08", "zero weights", "The loss is ln 10 where all weights are zero.", exactly("zero weights/error")),
    claim("1.09", "never up", "Gradient descent with steps of 1/L never raises the loss ({data}, single precision).",
          lambda t: identity(t["steps of 1/L/largest rise"].clip(min=0), tolerance=1e-6),
          because="L bounds the curvature (Böhning, 1992)"),
    claim("1.09", "downhill", "{descent_steps} steps of 1/L lower the loss on {data} by more than 1 nat.",
          lambda t: difference(math.log(10) - t["steps of 1/L/last loss"], margin=1.0), of="fall of the loss, in nats"),
    limit("1.09", "too long", "Steps of 100/L raise the loss on {data}, somewhere by more than 1 nat.",
          lambda t: difference(t["steps of 100/L/largest rise"], margin=1.0), of="largest rise, in nats",
          because="the gradient says where down is, and not how far"),
]

ANSWERS = [
    answer("1.01", "Yes, by construction: the score of each class is a weighted sum of the inputs plus a bias.",
           given={"scores": "supported", "affine map": "supported"}),
    answer("1.06", "Yes. On unseen {data} the classifier is right {learning:points} points more often than guessing; "
           "trained on shuffled labels it only guesses. PyTorch's own pieces learn the same weights.",
           given={"learning": "supported", "PyTorch's weights": "supported", "shuffled labels": "supported"}),
    answer("1.07", "Yes. Against a one-hot label cross-entropy is -log of the right class's probability.",
           given={"one-hot labels": "supported", "labels back": "supported"}),
    answer("1.08", "Yes. The loss is an average: it stays the same if each example comes twice. For ten classes, with "
           "all weights at zero, it is ln 10.",
           given={"mean": "supported", "examples twice": "supported", "zero weights": "supported"}),
    answer("1.09", "With small steps, yes: {descent_steps} of them take {downhill} nats off the loss on {data} and "
           "never raise it. Steps 100 times as long do, by {too long} nats at worst.",
           given={"never up": "supported", "downhill": "supported", "too long": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On top the thing itself: unseen letters, and below them the weights that SGD learned from others in 500 steps. Ink on
# blue speaks for the letter of the column, ink on red against it. Beside them is an unseen letter that the classifier
# is not sure of, with its ten scores and the probabilities that softmax makes of them. Below, a line or a dot a seed,
# dotted what guessing gives: ten times the safe step is faster. A hundred times leaps over the valley, yet ends lowest:
# too long a step breaks the promise never to rise, not always the result. Accuracy moves with the typefaces left out.


def figure(trials):
    config, seed = trials.config, trials.seeds[0]
    names = "ABCDEFGHIJ" if config.data in ("letters", "not_mnist") else "0123456789"
    train, _, (inputs, labels) = data.load(config.data, seed, train=config.train, test=config.test)
    model = trained_by_sgd(replace(config, sgd_steps=min(config.sgd_steps, 500), device="cpu"), seed, train)
    drawing, panels = plt.subplot_mosaic("SSSSSPPP;LLLLAAAA", figsize=(12.5, 7), height_ratios=(3, 4))
    shown, one, left, right = panels.values()
    pictures = torch.hstack([inputs[labels == label][:2, 0].flatten(0, 1) for label in range(10)])
    weights = torch.hstack(model.weight.detach().view(10, 28, 28).unbind())
    weights /= 2 * weights.abs().max()
    shown.imshow(np.vstack([plt.get_cmap("Greys")(pictures.numpy()), plt.get_cmap("RdBu")(0.5 + weights.numpy())]))
    shown.set(title="Unseen pictures, and the weights of each class", yticks=[])
    shown.set_xticks(28 * np.arange(10) + 14, names)
    shown.grid(visible=False)
    scores = model(inputs).detach()
    unsure = int((softmax(scores).amax(1) - 0.6).abs().argmin())
    one.bar(range(10), softmax(scores)[unsure].numpy())[int(labels[unsure])].set_color("C1")
    one.set_xticks(range(10), [f"{name}\n{y:.1f}" for name, y in zip(names, scores[unsure], strict=True)], size=8)
    one.set(title="One of them; orange is right", ylim=(0, 1), xlabel="class, and its score", ylabel="probability")
    one.inset_axes((0.72, 0.66, 0.28, 0.34), xticks=[], yticks=[]).imshow(inputs[unsure, 0].numpy(), cmap="Greys")

    arms = {f"steps of {length}/L": f"{config.descent_steps} steps\nof {length}/L" for length in LENGTHS}
    for color, arm in enumerate(arms):
        curves(left, range(1, 10**6), trials[f"{arm}/curve"], label=arm, color=f"C{color}", geometric=True)
    reference_line(left, math.log(10), "ln 10")
    left.set(title="Loss on training pictures", xlabel="step", ylabel="nats", xscale="log", yscale="log")
    left.legend()
    arms |= {"SGD": f"{config.sgd_steps:,} steps\nof SGD", "SGD, shuffled labels": "SGD, labels\nshuffled"}
    strips(right, {words: 100 * trials[f"{arm}/test accuracy"] for arm, words in arms.items()})
    reference_line(right, 10, "guessing")
    right.set(title="Unseen pictures that are named right", ylabel="accuracy (%)", ylim=(0, 100))
    return drawing


# %%
# Try it yourself
# ---------------
# How many unseen letters are read right after only 30 steps of SGD, each on 128 letters? Guess, then run `python -m
# lessons run logistic_regression --set sgd_steps=30 --seeds 2`. And if there are 500 training letters in place of
# 4,000, which way does the loss on them go, and which way the accuracy on unseen ones? `--set train=500 --seeds 2`

if __name__ == "__main__":
    lesson.main("logistic_regression")
