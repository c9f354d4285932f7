"""
When to stop
============

**The question.** Training ends when the validation set shows no improvement any more. How soon is "no more"?

**What the notes say.** Early stopping follows the performance on the validation set during training, and ends training
as soon as it no longer improves (2.04).

**What is measured.** Loss and accuracy on test letters, and the steps spent, of a network with one hidden layer that
learns from 500 letters, a fifth of them with a wrong label: it can learn them by heart. Validation and test labels are
right, and the three parts share no typeface. There is one training run a seed, and all rules read it, so that they
differ in the rule alone: to the end of 200 passes; the notes' rule at its word, which stops at the first evaluation
that is no better than the best before it and keeps the weights that it has then; and a patience of 1, 3 and 10
evaluations, after which the best weights are restored. The loss on 200 validation letters is looked at after each pass;
"as soon as" could also mean after each step, which is the notes' rule once more. And all of it on 4,000 letters with
right labels, for as many steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from dlnotes import data, lesson
from dlnotes.data import Examples
from dlnotes.deep import MLP, EarlyStopping
from dlnotes.evidence import difference, no_difference, ratio
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, evaluate

# %%
# Settings
# --------
# Rate, momentum and interval are those that the library gives its early stopping, and common ones; they were not tuned.
# No two arms could want different ones, since all of them read the same run.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    few: int = 500  # training images, some with wrong labels
    wrong: float = 0.2  # share of those whose label is wrong
    plenty: int = 4_000  # training images of the run with right labels
    validation: int = 200  # validation images: where there are few to learn from, there are few of these
    test: int = 2_000  # test images
    width: int = 128  # units of the hidden layer
    evaluations: int = 200  # of the run with few images, one a pass
    batch_size: int = 50  # images a step
    lr: float = 0.05  # with momentum 0.9

    def __post_init__(self) -> None:
        if self.few % self.batch_size or self.plenty % self.batch_size:
            raise ValueError("a pass must be a whole number of steps")


QUICK = Config(few=200, plenty=400, validation=100, test=200, width=32, evaluations=16)
SEEDS = range(16)
DATA = ("letters", "fashion_mnist", "not_mnist")

PATIENCE = (1, 3, 10)
RULES = ("to the end", "notes' rule", *(f"patience {patience}" for patience in PATIENCE))
SETTINGS = ("few, wrong", "plenty, right")

# %%
# One seed
# --------


def trial(config: Config, seed: int) -> Measured:
    measured: Measured = {}
    steps = config.evaluations * config.few // config.batch_size
    for setting, count, wrong in zip(SETTINGS, (config.few, config.plenty), (config.wrong, 0.0), strict=True):
        train, validation, test = data.load(
            config.data, seed, train=count, validation=config.validation, test=config.test, side=14, flat=True
        )
        train = Examples(train.inputs, with_wrong_labels(train.targets, wrong, seed))
        found = one_run(config, seed, train, validation, test, steps)
        measured |= {f"{setting}/{name}": value for name, value in found.items()}
    return measured


def with_wrong_labels(labels: Tensor, share: float, seed: int) -> Tensor:
    """A copy in which that share of the labels is one of the nine others."""
    chance, changed = stream(seed, "wrong labels"), round(share * len(labels))
    chosen = torch.randperm(len(labels), generator=chance)[:changed]
    found = labels.clone()
    found[chosen] = (found[chosen] + torch.randint(1, 10, (changed,), generator=chance)) % 10
    return found


# %%
# One run, read by all rules
# --------------------------
# Each stopper is told every validation loss, and what it says is noted the first time that it says "stop". The run goes
# on: what comes later is not seen by a rule that has stopped.


def one_run(config: Config, seed: int, train: Examples, validation: Examples, test: Examples, steps: int) -> Measured:
    model = MLP([196, config.width, 10], generator=stream(seed, "weights"))
    batches = Minibatches(train, config.batch_size, stream(seed, "batches"))
    trainer = Trainer(model, cross_entropy, SGD(model.parameters(), lr=config.lr, momentum=0.9), batches)
    a_pass = len(train.targets) // config.batch_size

    each_step, looked = EarlyStopping(model, patience=1), False
    measured: Measured = {}
    losses, test_losses, accuracies = [], [], []
    for step in islice(trainer, steps):
        if not looked:
            looked = each_step.should_stop(evaluate(model, validation, cross_entropy))
            if looked or step.number == steps:  # a run in which it never stops is stopped by its end
                loss, right = loss_and_accuracy(model, test)
                measured |= {"each step/steps": step.number, "each step/loss": loss, "each step/accuracy": right}
        if step.number % a_pass == 0:
            losses.append(evaluate(model, validation, cross_entropy))
            loss, right = loss_and_accuracy(model, test)
            test_losses.append(loss)
            accuracies.append(right)
    for rule, (stopped, given_back) in read(losses).items():
        measured[f"{rule}/steps"] = stopped * a_pass
        measured[f"{rule}/given back"] = given_back * a_pass
        measured[f"{rule}/loss"] = test_losses[given_back - 1]
        measured[f"{rule}/accuracy"] = accuracies[given_back - 1]
    return measured | {"validation curve": losses, "test curve": test_losses}


@torch.no_grad()
def loss_and_accuracy(model: MLP, examples: Examples) -> tuple[float, float]:
    """Both from the same scores: to compute those is most of the work."""
    scores = model(examples.inputs)
    right = scores.argmax(1) == examples.targets
    return cross_entropy(scores, examples.targets).item(), right.double().mean().item()


def read(losses: Sequence[float]) -> dict[str, tuple[int, int]]:
    """For each rule: the evaluation at which it stops, and the one whose weights it gives back, counted from 1."""
    found = {"to the end": (len(losses), len(losses))}
    for patience in PATIENCE:
        stopper = EarlyStopping(torch.nn.Identity(), patience)
        # A run that ends before the patience does is stopped by its end.
        stopped = next((at for at, loss in enumerate(losses, 1) if stopper.should_stop(loss)), len(losses))
        found[f"patience {patience}"] = (stopped, stopper.best_evaluation)
    stopped, _ = found["patience 1"]
    return found | {"notes' rule": (stopped, stopped)}


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* a setting in which we expect it to
# fail.


def less_loss(t, setting, one, other):
    """How much less test loss the second rule has than the first."""
    return t[f"{setting}/{one}/loss"] - t[f"{setting}/{other}/loss"]


# fmt: off
PREDICTIONS = [
    claim("2.04", "patience", "A patience of 10 with the best weights restored ends over 0.05 nats of test loss below "
          "training to the end ({few} {data}, {wrong:.0%} mislabelled).",
          lambda t: difference(less_loss(t, "few, wrong", "to the end", "patience 10"), margin=0.05),
          arms=("to the end", "patience 10"), of="test loss at the end minus that of patience 10"),
    claim("2.04", "accuracy", "A patience of 10 is right on over 1 point more of the test images than training to the "
          "end ({few} {data}, {wrong:.0%} mislabelled).",
          lambda t: difference(t["few, wrong/patience 10/accuracy"] - t["few, wrong/to the end/accuracy"], margin=0.01),
          arms=("patience 10", "to the end"), of="accuracy of patience 10 minus that at the end"),
    claim("2.04", "half the steps", "A patience of 10 takes less than half of the steps of {evaluations} passes ({few} "
          "{data}, {wrong:.0%} mislabelled).",
          lambda t: ratio(t["few, wrong/to the end/steps"], t["few, wrong/patience 10/steps"], margin=2.0),
          arms=("to the end", "patience 10"), of="steps to the end over steps of patience 10"),
    claim("2.04", "first bump", "The notes' rule at its word, to stop at the first evaluation without improvement, "
          "ends over 0.05 nats of test loss below training to the end ({few} {data}, {wrong:.0%} mislabelled).",
          lambda t: difference(less_loss(t, "few, wrong", "to the end", "notes' rule"), margin=0.05),
          arms=("to the end", "notes' rule"), of="test loss at the end minus that of the notes' rule"),
    limit("2.04", "too soon", "The notes' rule, looking after each pass, ends over 0.05 nats of test loss above a "
          "patience of 10 ({few} {data}, {wrong:.0%} mislabelled).",
          lambda t: difference(less_loss(t, "few, wrong", "notes' rule", "patience 10"), margin=0.05),
          arms=("notes' rule", "patience 10"), of="test loss of the notes' rule minus that of patience 10",
          because="a validation curve is noisy, so that the first bump is seldom the last"),
    limit("2.04", "each step", "The notes' rule, looking after each step, ends over 0.05 nats of test loss above a "
          "patience of 10 ({few} {data}, {wrong:.0%} mislabelled).",
          lambda t: difference(less_loss(t, "few, wrong", "each step", "patience 10"), margin=0.05),
          arms=("each step", "patience 10"), of="test loss of the notes' rule at each step minus that of patience 10",
          because="a validation curve is noisy, so that the first bump is seldom the last"),
    limit("2.04", "little to gain", "Training to the end on {plenty:,} {data} with right labels ends within 0.05 nats "
          "of the test loss of a patience of 10.",
          lambda t: no_difference(less_loss(t, "plenty, right", "to the end", "patience 10"), margin=0.05),
          arms=("to the end", "patience 10"), of="test loss at the end minus that of patience 10",
          because="no wrong label is there to be learned by heart, and the images are many"),
]

ANSWERS = [
    answer("2.04", "Yes, with some patience. On {few} {data}, a fifth of them mislabelled, waiting 10 passes and "
           "taking the best weights ends {patience:.2f} nats below training to the end, in {half the steps} times "
           "fewer steps. The notes' rule stops at the first bump, too soon; on {plenty:,} right labels there is "
           "little to gain.",
           given={"patience": "supported", "half the steps": "supported", "too soon": "supported",
                  "little to gain": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, the test loss falls within some passes and then climbs as the wrong labels are learned by heart; a dot is
# where a rule left off on one seed. On the right, the same end points for all rules. The patience of 1 with the best
# weights restored is not judged, and shows which part of the difference is restoring and which is waiting: most of it
# is waiting, but that waiting alone is worth 0.05 nats these seeds do not show.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    a_pass = trials.config.few // trials.config.batch_size
    curves = trials["few, wrong/test curve"]
    at = a_pass * np.arange(1, curves.shape[1] + 1)
    left.plot(at, curves.T, color="0.5", linewidth=0.4, alpha=0.4)
    left.plot(at, curves.mean(0), color="0.2", label="mean over seeds")
    for color, rule in (("C1", "notes' rule"), ("C2", "patience 10")):
        left.plot(
            trials[f"few, wrong/{rule}/given back"],
            trials[f"few, wrong/{rule}/loss"],
            "o",
            color=color,
            alpha=0.6,
            label=f"weights given back by {rule}",
        )
    left.set_xscale("log")
    left.set_title(f"{trials.config.few} {trials.config.data}, some labels wrong: a line a seed")
    left.set_xlabel("step")
    left.set_ylabel("test loss, nats")
    left.legend()

    rules = ("each step", "notes' rule", "patience 1", "patience 3", "patience 10", "to the end")
    for shift, color, setting in ((-0.15, "C0", SETTINGS[0]), (0.15, "C3", SETTINGS[1])):
        for place, rule in enumerate(rules):
            losses = trials[f"{setting}/{rule}/loss"]
            label = f"{setting} labels" if not place else None
            spread = shift + np.linspace(-0.1, 0.1, len(losses))
            right.plot(losses, place + spread, "o", color=color, alpha=0.5, label=label)
            right.plot([losses.mean()] * 2, [place + shift - 0.14, place + shift + 0.14], color=color)
    names = ("notes' rule,\neach step", "notes' rule,\neach pass", *rules[2:])
    right.set_yticks(range(len(rules)), names)
    right.invert_yaxis()
    right.set_title("Test loss of the weights that a rule gives back")
    right.set_xlabel("test loss, nats")
    right.legend(loc="center right")
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("when_to_stop")
