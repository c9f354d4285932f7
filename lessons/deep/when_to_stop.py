"""
When should I stop training?
============================

Give a network 500 letters, a fifth of them with a wrong label: an A that is called a G. First it finds what most A's
have in common, and gets better at letters that it has never seen. When little is left to find, it learns the wrong
labels by heart. Its loss on the training letters keeps falling, and on unseen letters it now gets worse.

The best moment lies in between. *Early stopping* looks for it with a *validation set*: images that the network does not
learn from. We measure the loss on them now and then, and want to stop where it is lowest. But nobody who stands at the
lowest point knows it. Each step of training is a little random, so that the curve is jagged: it rises, and may still
fall below what it was. A rule has to say how long it waits (its *patience*), and which weights it keeps. ::

    stop at the first evaluation t with  t - best(t) ≥ patience        best(t): where the loss was lowest up to t
    then go back to the weights of best(t)

    evaluation         1     2     3     4     5     6     7     8     9    10
    validation loss  0.90  0.70  0.80  0.60  0.65  0.70  0.61  0.50  0.55  0.56

    patience 1     stops at 3, since 0.80 is no better than 0.70, and goes back to 2: a loss of 0.70
    patience 3     stops at 7, after three that are no better than 0.60, and goes back to 4: 0.60
    patience 10    is still waiting at 10, and has kept the weights of 8: 0.50

The course notes (row 2.04) end training "as soon as" the validation set shows no improvement, and say nothing of going
back. Taken at their word, they stop at 3, too, but keep the weights of 3: a loss of 0.80. We evaluate after each pass
through the training images; after each step would be the stricter reading, and we try it as well.

Losses are in nats: -ln of the probability that is given to the right letter. Guessing among ten costs ln 10 = 2.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from dlnotes import data, lesson
from dlnotes.data import Examples
from dlnotes.deep import MLP, EarlyStopping
from dlnotes.evidence import difference, no_difference, ratio
from dlnotes.lesson import answer, claim, curves, limit, strips
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, evaluate

# %%
# The experiment
# --------------
# A *seed* draws letters, wrong labels, first weights and batches, and trains one network with one hidden layer for 200
# passes. The *arms* are rules that read this one run, as if it had ended where they say: they differ in nothing else.
# We count steps until a rule stops, and test the weights that it keeps on 2,000 letters. Validation and test letters
# have right labels and typefaces of their own. Another network learns from 4,000 right labels, for as many steps.


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
    lr: float = 0.05  # with momentum 0.9: a common choice, and not tuned, since all rules read the same run

    def __post_init__(self) -> None:
        if self.few % self.batch_size or self.plenty % self.batch_size:
            raise ValueError("a pass must be a whole number of steps")


QUICK = Config(few=200, plenty=400, validation=100, test=200, width=32, evaluations=16)
SEEDS = range(16)
DATA = ("letters", "fashion_mnist", "not_mnist")
PATIENCE = (1, 3, 10)
SETTINGS = ("few, wrong", "plenty, right")


def trial(config: Config, seed: int) -> Measured:
    measured: Measured = {}
    steps = config.evaluations * config.few // config.batch_size
    for setting, count, wrong in zip(SETTINGS, (config.few, config.plenty), (config.wrong, 0.0), strict=True):
        sizes = {"train": count, "validation": config.validation, "test": config.test}
        train, validation, test = data.load(config.data, seed, **sizes, side=14, flat=True)
        train = Examples(train.inputs, mislabelled(train.targets, wrong, seed))
        run = all_rules(config, seed, train, validation, test, steps)
        measured |= {f"{setting}/{name}": value for name, value in run.items()}
    return measured


def mislabelled(labels: Tensor, share: float, seed: int) -> Tensor:
    """A copy in which that share of the labels is one of the nine others."""
    generator, changed = stream(seed, "wrong labels"), round(share * len(labels))
    chosen = torch.randperm(len(labels), generator=generator)[:changed]
    labels = labels.clone()
    labels[chosen] = (labels[chosen] + torch.randint(1, 10, (changed,), generator=generator)) % 10
    return labels


def all_rules(config: Config, seed: int, train: Examples, validation: Examples, test: Examples, steps: int) -> Measured:
    """One run to the end, and what each rule makes of it: when it stops, and how good the weights are that it keeps."""
    model = MLP([196, config.width, 10], generator=stream(seed, "weights"))
    batches = Minibatches(train, config.batch_size, stream(seed, "batches"))
    trainer = Trainer(model, cross_entropy, SGD(model.parameters(), lr=config.lr, momentum=0.9), batches)
    a_pass = len(train.targets) // config.batch_size

    each_step, stopped = EarlyStopping(model, patience=1), False
    measured, looks = {}, []
    for step in islice(trainer, steps):
        if not stopped:
            stopped = each_step.should_stop(evaluate(model, validation, cross_entropy))
            if stopped or step.number == steps:  # where the rule never stops, the end of the run does
                measured = {"each step/steps": step.number, "each step/loss": loss_and_accuracy(model, test)[0]}
        if step.number % a_pass == 0:
            looks.append((evaluate(model, validation, cross_entropy), *loss_and_accuracy(model, test)))
    losses, test_losses, accuracies = map(list, zip(*looks, strict=True))
    for rule, (end, kept) in stops(losses).items():
        measured[f"{rule}/steps"], measured[f"{rule}/step of the weights kept"] = end * a_pass, kept * a_pass
        measured[f"{rule}/loss"], measured[f"{rule}/accuracy"] = test_losses[kept - 1], accuracies[kept - 1]
    return measured | {"validation curve": losses, "test curve": test_losses}


@torch.no_grad()
def loss_and_accuracy(model: MLP, examples: Examples) -> tuple[float, float]:
    scores = model(examples.inputs)
    right = scores.argmax(1) == examples.targets
    return cross_entropy(scores, examples.targets).item(), right.double().mean().item()


def stops(losses: Sequence[float]) -> dict[str, tuple[int, int]]:
    """For each rule: the evaluation at which it stops, and the one whose weights it keeps, counted from 1."""
    found = {"to the end": (len(losses), len(losses))}
    for patience in PATIENCE:
        stopper = EarlyStopping(torch.nn.Identity(), patience)
        end = next((at for at, loss in enumerate(losses, 1) if stopper.should_stop(loss)), len(losses))
        found[f"patience {patience}"] = (end, stopper.best_evaluation)
    end, _ = found["patience 1"]
    return found | {"notes' rule": (end, end)}


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* a setting in which we expect it to
# fail. The *margin*, the smallest difference that matters, stands in each: a point of accuracy is an image in 100.

NOISY = "a validation curve is noisy, so that the first bump is seldom the last"


def saved(t, setting, rule, by):
    return t[f"{setting}/{rule}/loss"] - t[f"{setting}/{by}/loss"]


# fmt: off
PREDICTIONS = [
    claim("2.04", "patience", "On {few} {data}, {wrong:.0%} mislabelled, patience 10 with the best weights restored "
          "ends with a test loss over 0.05 nats below that of training to the end.",
          lambda t: difference(saved(t, "few, wrong", "to the end", by="patience 10"), margin=0.05),
          arms=("to the end", "patience 10"), of="test loss at the end minus that of patience 10"),
    claim("2.04", "accuracy", "On {few} {data}, {wrong:.0%} mislabelled, patience 10 ends with a test accuracy over 1 "
          "point above that of training to the end.",
          lambda t: difference(t["few, wrong/patience 10/accuracy"] - t["few, wrong/to the end/accuracy"], margin=0.01),
          arms=("patience 10", "to the end"), of="accuracy of patience 10 minus that at the end"),
    claim("2.04", "half the steps", "On {few} {data}, {wrong:.0%} mislabelled, patience 10 takes less than half of the "
          "steps of {evaluations} passes.",
          lambda t: ratio(t["few, wrong/to the end/steps"], t["few, wrong/patience 10/steps"], margin=2.0),
          arms=("to the end", "patience 10"), of="steps to the end over steps of patience 10"),
    claim("2.04", "first bump", "On {few} {data}, {wrong:.0%} mislabelled, the notes' rule (stop at the first pass "
          "without improvement) ends with a test loss over 0.05 nats below that of training to the end.",
          lambda t: difference(saved(t, "few, wrong", "to the end", by="notes' rule"), margin=0.05),
          arms=("to the end", "notes' rule"), of="test loss at the end minus that of the notes' rule"),
    limit("2.04", "too soon", "On {few} {data}, {wrong:.0%} mislabelled, the notes' rule, evaluated after each pass, "
          "ends with a test loss over 0.05 nats above that of patience 10.",
          lambda t: difference(saved(t, "few, wrong", "notes' rule", by="patience 10"), margin=0.05),
          arms=("notes' rule", "patience 10"), of="test loss of the notes' rule minus that of patience", because=NOISY),
    limit("2.04", "each step", "On {few} {data}, {wrong:.0%} mislabelled, the notes' rule, evaluated after each step, "
          "ends with a test loss over 0.05 nats above that of patience 10.",
          lambda t: difference(saved(t, "few, wrong", "each step", by="patience 10"), margin=0.05),
          arms=("each step", "patience 10"), of="test loss of the notes' rule minus that of patience", because=NOISY),
    limit("2.04", "little to gain", "On {plenty:,} {data} with right labels, training to the end has the test loss of "
          "patience 10, within 0.05 nats.",
          lambda t: no_difference(saved(t, "plenty, right", "to the end", by="patience 10"), margin=0.05),
          arms=("to the end", "patience 10"), of="test loss at the end minus that of patience 10",
          because="there are no wrong labels to learn by heart, and many images"),
]

ANSWERS = [
    answer("2.04", "Yes, with patience: on {few} {data}, a fifth mislabelled, stopping after 10 passes without gain "
           "gives a loss {patience:.2f} nats below that of 200 passes. Stopping after one loses {too soon:.2f} nats.",
           given={"patience": "supported", "too soon": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: the validation loss of the first seed. Each square is where a rule stops, each dot the
# weights that it keeps. The notes' rule ends at the first rise; patience 10 waits through many, and goes back. In the
# middle the test loss of all seeds, a thin line each, with a dot for what two rules keep: after some passes it climbs,
# as the wrong labels are learned by heart. On the right a dot a seed for each rule. Patience 1 differs from the notes'
# rule after each pass only in going back, which gains little: most is gained by waiting. Looking after each step stops
# far too soon. On 4,000 right labels the end is hardly worse than the best.


def figure(trials):
    config, setting, colors = trials.config, SETTINGS[0], {"notes' rule": "C1", "patience 10": "C2"}
    drawing, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.2), width_ratios=(4, 4, 5))
    losses = list(trials[f"{setting}/validation curve"][0])
    shown = stops(losses)["patience 10"][0] + 10
    left.plot(range(1, len(losses[:shown]) + 1), losses[:shown], ".-", color="0.6", linewidth=1, markersize=3)
    for rule, color in colors.items():
        end, kept = stops(losses)[rule]
        left.plot(end, losses[end - 1], "s", color=color, fillstyle="none", markersize=12, label=f"{rule} stops")
        left.plot(kept, losses[kept - 1], "o", color=color, markersize=6, label=f"{rule} keeps")
    left.set(title=f"Validation loss, seed {trials.seeds[0]}", xlabel="pass", ylim=(None, 1.5))

    curves(middle, range(1, config.evaluations + 1), trials[f"{setting}/test curve"], label="mean", color="0.5")
    for rule, color in colors.items():
        kept = trials[f"{setting}/{rule}/step of the weights kept"] / (config.few // config.batch_size)
        middle.plot(kept, trials[f"{setting}/{rule}/loss"], "o", color=color, alpha=0.6, label=f"{rule} keeps")
    middle.set(title=f"Test loss on {config.few} {config.data}, some mislabelled", xlabel="pass", xscale="log")

    names = {"each step": "notes,\neach step", "notes' rule": "notes,\neach pass"}
    names |= {f"patience {patience}": f"patience\n{patience}" for patience in PATIENCE} | {"to the end": "to the\nend"}
    labels = (f"{config.few}, some mislabelled", f"{config.plenty:,}, labels right")
    for shift, color, setting, label in zip((-0.2, 0.2), ("C0", "C3"), SETTINGS, labels, strict=True):
        groups = {words: trials[f"{setting}/{rule}/loss"] for rule, words in names.items()}
        strips(right, groups, color=color, label=label, shift=shift, width=0.25)
    right.set(title="Test loss of the weights that a rule keeps")
    for axes in (left, middle, right):
        axes.set_ylabel("nats")
        axes.legend()
    return drawing


# %%
# Try it yourself
# ---------------
# At a fifth of the learning rate the curve is smoother. Does stopping at the first rise give away more, or less?
# `python -m lessons run when_to_stop --set lr=0.01 --seeds 3`. Is the curve jagged because 200 images are few? Guess
# what patience 10 gains from ten times as many: `--set validation=2000 --seeds 3`

if __name__ == "__main__":
    lesson.main("when_to_stop")
