"""
Does AdaGrad make its learning rate decay by itself?
====================================================

A pixel in the middle of an image is dark in most letters, and its weights get a gradient at nearly every step. A pixel
at the edge is dark in few. Its weights wait: a weight's gradient is a multiple of its pixel, and white is near 0. One
learning rate for both is too large for the first, or too small for the second. AdaGrad (Duchi, Hazan and Singer, 2011)
gives each weight a rate of its own. It divides the common rate by √G, where G sums up all squared gradients so far. ::

    G ← G + g²        w ← w - α g / √G        g: the gradient at the weight w,  α: the learning rate,  G: 0 at first

The *rate of a weight* is its step over its gradient, α/√G. Here are four steps of two weights, at α = 1. ::

    often dark      g       3      4     12      0           seldom dark     g       0      0      2      0
                    √G      3      5     13     13                           √G      0      0      2      2
                    rate  0.33   0.20   0.08   0.08                          rate    ·      ·   0.50   0.50

No square is negative, so G never falls, and no rate ever rises. The course notes say (row 1.25) that AdaGrad makes the
learning rate decay on its own. Yet the formula knows no step number. It is the gradients that say how far a rate falls:

- They stay the same: after t steps G is t g², and step t is α/√t long.
- They fall by a tenth at each step, from g on: G stops at g²/(1 - 0.9²) = 5.3 g², and the rate at 0.44 α/g.
- There was a burst of 25, each 100 times as large as g: √G is 500 g, and the rate α/(500 g). G never forgets them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.evidence import at_least, identity, ratio
from dlnotes.lesson import answer, claim, curves, limit, strips
from dlnotes.linear import SGD, AdaGrad, LogisticClassifier, cross_entropy
from dlnotes.measuring import Measured, largest_error, steps_until
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer

# %%
# The experiment
# --------------
# Each *seed*, a number that all random draws start from, makes gradients for AdaGrad to step along: random ones, some
# that stay the same, some that fall. AdaGrad also trains a linear classifier on images. Last, SGD, momentum and AdaGrad
# go down a *bowl*, the quadratic loss ½ Σ h w² in 50 dimensions. We compare two *arms*: fresh, and after a burst of 25
# gradients of random signs, 100 times as large as at the start. We count steps to a 10,000th of the loss.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, mnist, not_mnist
    train: int = 500  # training images
    batch_size: int = 64  # images a step
    lr: float = 0.125  # the rate of AdaGrad in the training
    longest: int = 20_000  # most steps on a bowl
    device: str = "cpu"  # of the training


QUICK = Config(train=200, longest=400)
SEEDS = range(12)
ARMS = ("steps fresh", "steps after a burst")
Rule = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
ADAGRAD: Rule = partial(AdaGrad, lr=1.0)
RULES = dict[str, Rule](SGD=partial(SGD, lr=1.0), momentum=partial(SGD, lr=0.1, momentum=0.9), AdaGrad=ADAGRAD)
SHOWN = tuple(sorted({round(10 ** (tenth / 10)) for tenth in range(31)}))  # the steps at which the figure shows rates


def trial(config: Config, seed: int) -> Measured:
    generator = stream(seed, "gradients")
    normal = torch.randn(200, 20, generator=generator, dtype=torch.float64)
    random = list(normal * 10 ** (6 * torch.rand(200, 20, generator=generator, dtype=torch.float64) - 3))
    constant = torch.randn(20, generator=generator, dtype=torch.float64)
    without_epsilon = partial(AdaGrad, lr=1.0, eps=0.0)
    by_root = steps(without_epsilon, [constant] * 1_000) * torch.arange(1, 1_001).double().sqrt()[:, None]
    falling = rates(without_epsilon, [constant * 0.9**step for step in range(1_000)])
    stopped = falling[200:] * constant.abs().numpy() / np.sqrt(1 - 0.9**2)
    theirs = steps(partial(torch.optim.Adagrad, lr=1.0), random)
    gradients, moved = training(config, seed)
    in_training = rates(ADAGRAD, gradients)
    kept = np.fmin.accumulate(in_training)  # where no gradient came, the rate is what it was
    lit = ~np.isnan(kept[0])  # weights whose pixels the first minibatch lit
    median = np.median(kept[:, lit] / kept[0, lit], axis=1)
    measured: Measured = {
        "random/largest rise": largest_rise(rates(ADAGRAD, random)),
        "training/largest rise": largest_rise(in_training),
        "training/largest error": largest_error(config.lr * steps(ADAGRAD, gradients).sum(0), moved),
        "training/fall of the rate": float(1 / median[-1]),
        "training/fall of the rate from step 20": float(median[19] / median[-1]),
        "training/median rate": [float(median[step - 1]) for step in SHOWN if step <= 200],
        "constant/largest error": largest_error(by_root, constant.sign().expand_as(by_root)),
        "falling/largest error": float(np.abs(stopped - 1).max()),
        "PyTorch/largest error": largest_error(steps(ADAGRAD, random), theirs),
    }
    h = torch.logspace(-1, 0, 50, dtype=torch.float64)
    start = torch.randn(50, generator=stream(seed, "start"), dtype=torch.float64)
    signs = torch.randn(25, 50, generator=stream(seed, "burst"), dtype=torch.float64).sign()
    for name, rule in RULES.items():
        for arm, past in zip(ARMS, ([], list(100 * h * start * signs)), strict=True):
            losses = islice(on_bowl(rule, h, start, past), config.longest + 1)
            measured[f"bowl/{name}/{arm}"] = steps_until(1e-4, losses, relative=True)
    return measured


def steps(rule: Rule, gradients: Sequence[Tensor]) -> Tensor:
    """The steps downhill along given gradients, a row each; every one starts at zero, so that none is rounded."""
    w = nn.Parameter(torch.zeros_like(gradients[0]))
    running, taken = rule([w]), []
    for gradient in gradients:
        w.data.zero_()
        w.grad = gradient
        running.step()
        taken.append(-w.detach().clone())
    return torch.stack(taken)


def rates(rule: Rule, gradients: Sequence[Tensor]) -> NDArray[np.float64]:
    """Step over gradient, (T, weights); nan where a gradient is zero."""
    return (steps(rule, gradients) / torch.stack(tuple(gradients))).numpy()


def largest_rise(found: NDArray[np.float64]) -> float:
    """By what share a rate is ever above one that the same weight had before; 0 where it never is."""
    before = np.fmin.accumulate(found)[:-1]
    return max(float(np.nanmax(found[1:] / before)) - 1, 0.0)


def training(config: Config, seed: int) -> tuple[list[Tensor], Tensor]:
    """The gradients of a linear classifier that AdaGrad trains, and how far each weight has come downhill."""
    images = data.load(config.data, seed, train=config.train, test=0, side=14, flat=True)
    inputs, labels = images.train.to(config.device)
    model = LogisticClassifier(196, 10, dtype=torch.float64).to(config.device)
    batches = Minibatches((inputs.double(), labels), config.batch_size, stream(seed, "batches"))
    gradients = []
    for _ in islice(Trainer(model, cross_entropy, AdaGrad(model.parameters(), lr=config.lr), batches), 200):
        assert model.weight.grad is not None
        gradients.append(model.weight.grad.flatten().cpu())
    return gradients, -model.weight.detach().flatten().cpu()  # all weights started at 0


def on_bowl(rule: Rule, h: Tensor, start: Tensor, past: Sequence[Tensor]) -> Iterator[float]:
    """Twice the loss at the start and after each step, by an optimizer that has stepped along past gradients before."""
    w = nn.Parameter(start.clone())
    descending = rule([w])
    for gradient in past:
        w.grad = gradient
        descending.step()
    w.data.copy_(start)
    while True:
        w.grad = h * w.data
        yield torch.dot(w.grad, w.data).item()
        descending.step()


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, and *limits*, where AdaGrad is unlike a schedule. The *margin*, the
# smallest effect that matters, is in each sentence; what is exact has to hold up to 1e-12.

# fmt: off
PREDICTIONS = [
    claim("1.25", "random gradients", "No weight's rate rises along random gradients that span six powers of ten.",
          lambda t: identity(t["random/largest rise"], tolerance=1e-12)),
    claim("1.25", "training", "No weight's rate ever rises while AdaGrad trains a linear classifier on {data}.",
          lambda t: identity(np.maximum(t["training/largest rise"], t["training/largest error"]), tolerance=1e-12)),
    claim("1.25", "fall in training", "The median rate of a classifier of {data} falls by more than half in 200 steps.",
          lambda t: ratio(t["training/fall of the rate"], np.ones(len(t.seeds)), margin=2.0), of="first over last"),
    claim("1.25", "constant gradient", "Step t along a gradient that stays the same is α/√t long, for 1,000 steps.",
          lambda t: identity(t["constant/largest error"], tolerance=1e-12)),
    claim("1.25", "PyTorch", "AdaGrad's steps along random gradients are those of PyTorch's AdaGrad.",
          lambda t: identity(t["PyTorch/largest error"], tolerance=1e-12)),
    limit("1.25", "falling gradients", "Where gradients fall by a tenth at each step, the rate stops falling: from "
          "step 201 to 1,000 it is α √(1 - 0.9²) over the first gradient.",
          lambda t: identity(t["falling/largest error"], tolerance=1e-12), because="the sum of squares converges"),
    limit("1.25", "slow fall", "From step 20 to 200 the median rate of a linear classifier on {data} falls by a factor "
          "less than half as large as that of 1/√t.",
          lambda t: ratio(np.full(len(t.seeds), 10**0.5), t["training/fall of the rate from step 20"], margin=2.0),
          of="factor of 1/√t over that of the median rate", because="gradients shrink in training, so G grows slowly"),
    limit("1.25", "burst", "After a burst of 25 gradients, a hundred times as large as the first on the way, AdaGrad "
          "needs over ten times as many steps down a quadratic loss.",
          lambda t: ratio(at_least(t["bowl/AdaGrad/steps after a burst"], budget=t.config.longest),
                          t["bowl/AdaGrad/steps fresh"], margin=10.0), arms=reversed(ARMS), of="steps after over fresh",
          because="its rate is a 500th from then on (for this reason AdaDelta lets G forget: Zeiler, 2012)"),
]

ANSWERS = [
    answer("1.25", "Yes: no weight's rate ever rises; on {data} the median rate falls {fall in training}-fold in 200 "
           "steps. But gradients set the pace: with a burst of large ones AdaGrad needs {burst} times the steps.",
           given={"random gradients": "supported", "training": "supported", "fall in training": "supported",
                  "falling gradients": "supported", "slow fall": "supported", "burst": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: the rate of each pixel's weights (one a class) after 200 steps, and beside it the mean
# image. Where letters are often dark the rate has fallen far, at the edge it is still large; a pixel that was never
# dark would be grey. In the middle the median rate in training (red), a thin line a seed, and three made-up cases. It
# falls faster than 1/√t where gradients are larger than before, stops where they vanish, and drops at a burst for good.
# On the right what this costs, a dot a seed: SGD forgets a burst at once, momentum soon, and AdaGrad never.


def figure(trials):
    config, (drawing, (pixels, middle, right)) = trials.config, plt.subplots(1, 3, figsize=(14, 4.2))
    images = data.load(config.data, trials.seeds[0], train=config.train, test=0, side=14).train.inputs
    mean = pixels.inset_axes([-0.42, 0.6, 0.4, 0.4], xticks=[], yticks=[], frame_on=False)
    mean.imshow(images.mean((0, 1)).numpy(), cmap="Greys")
    sums = torch.stack(training(config, trials.seeds[0])[0]).square().sum(0)
    of_pixels = (config.lr / sums.sqrt()).view(10, 14, 14).median(0).values
    shown = pixels.imshow(np.ma.masked_invalid(of_pixels.numpy()), norm="log")
    drawing.colorbar(shown, ax=pixels, label="median over the ten classes")
    pixels.set(title="Rate of each pixel's weights after 200 steps", xticks=[], yticks=[], facecolor="0.85")

    at, fine = torch.arange(1_000, dtype=torch.float64), sorted({*SHOWN, *range(99, 111)})
    for label, gradients, style in (
        ("stay the same: 1/√t", at**0, "C0-"),
        ("fall by a tenth at each step", 0.9**at, "C1--"),
        ("are ×100 from step 100 to 109", torch.where((at - 103.5).abs() < 5, 100.0, 1.0), "C3-."),
    ):
        found = rates(ADAGRAD, list(gradients[:, None]))[:, 0]
        middle.plot(fine, [found[step - 1] for step in fine], style, label=label)
    curves(middle, SHOWN, trials["training/median rate"], label="are those of a classifier", color="C2", geometric=True)
    middle.set(title="Rate along gradients that …", xlabel="step", ylabel="rate, first = 1", xscale="log", yscale="log")
    middle.set_ylim(1e-4, 1.5)  # room for the legend below the curves
    middle.legend(loc="lower left")

    for shift, color, arm in zip((-0.15, 0.15), ("C0", "C3"), ARMS, strict=True):
        counts = {name: at_least(trials[f"bowl/{name}/{arm}"], budget=config.longest) for name in RULES}
        strips(right, counts, color=color, label=arm.removeprefix("steps "), shift=shift, width=0.2, geometric=True)
    right.set(title="Steps to a 10,000th of the loss on a bowl", ylabel="steps", yscale="log")
    right.legend(loc="upper left")
    return drawing


# %%
# Try it yourself
# ---------------
# Give each step all 500 images, so that gradients have no noise. Will the median rate still fall from step 20 to 200?
# `python -m lessons run adagrad --set batch_size=500 --seeds 1` and look at the red line.

if __name__ == "__main__":
    lesson.main("adagrad")
