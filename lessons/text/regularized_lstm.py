"""
Where does dropout go in an LSTM?
=================================

An LSTM reads a text character by character. If it reads a short one forty times it learns it by heart, and the text
that follows surprises it: it over-fits. *L2 regularisation* pulls every weight towards 0, so that only what the text
asks for again and again stays large. *Dropout* zeroes each activation with probability p while training, and divides
the rest by 1 - p. The notes recommend both (rows 4.19, 4.20) and do not say where to drop. An LSTM hands on two lists
of numbers: the cell c, of which a forget gate f keeps a part, and the hidden state h, what the cell shows. ::

    x[t]   ─①─→ ┌──────┐ ─①─→ scores     ① inputs and outputs: used once, handed on to nobody
    h[t-1] ─②─→ │ LSTM │ ───→ h[t]       ② the hidden state, on its way into the gates
    c[t-1] ─③─→ └──────┘ ───→ c[t]       ③ the cell itself: c[t] = f · c[t-1] + what is new

What ③ drops is gone for good. Take two units whose cells hold 1, keep all (f = 1) and add nothing, with p = 0.25: ::

    step       0      1      2      3         unit 1 is kept at each step, unit 2 dropped at the second;
    unit 1     1    1.33   1.78   2.37        what is kept is divided by 0.75
    unit 2     1    1.33     0      0

A *mask* says what is dropped. A unit gets through twelve fresh masks with probability 0.75¹² = 0.03. So the
advice is *one mask* for a whole sequence, and never a fresh one at each step (Gal and Ghahramani, 2016). A plain
recurrent network needs that: h is all it carries. But in an LSTM the cell goes past ②: we expect only ③ to harm memory.
"""

from dataclasses import dataclass
from itertools import count, islice
from math import log
from typing import Any

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from dlnotes import data, lesson, linear
from dlnotes.deep import Dropout
from dlnotes.evidence import difference, not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, train_for
from dlnotes.randomness import stream
from dlnotes.text import LSTM, CharacterModel, Windows, next_character_loss
from dlnotes.training import Trainer, evaluate

# %%
# The experiment
# --------------
# A *seed* draws a stretch of text and first weights. What we compare, the *arms*, learn the same characters in the same
# order with one cure each: L2 or a place of dropout, of the strength out of six that was best on other seeds. We count
# *bits a character*, the mean of -log₂ of the right one's probability, on text that follows (without characters new
# there). "Stopped early" has no cure, and is judged at the moment when other text, for validation, took the fewest
# bits. "One mask" lasts for 20 characters, which are read at once. In a second task small LSTMs recall a symbol seen
# twelve steps before. Each dropout there has p = 0.25, and each arm its best learning rate.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "python_docs"  # or tiny_shakespeare, text8, text:PATH
    train: int = 5_000  # characters to learn from, as many as held_out or more
    held_out: int = 3_000  # characters behind them for validation, and as many for testing; a multiple of 20
    width: int = 64  # units of the LSTM that reads text
    steps: int = 200  # its steps, a multiple of 10
    delay: int = 12  # steps from a symbol to the question about it
    memory_steps: int = 250  # steps of the LSTM that remembers, of 16 sequences
    p: float = 0.25  # its dropout
    device: str = "cpu"


QUICK = Config(train=1_050, held_out=100, width=8, steps=20, delay=3, memory_steps=20)
SEEDS = range(12)
DATA = ("python_docs", "tiny_shakespeare", "text8", "text:PATH")
PLACES = OUTSIDE, FRESH, ONE = ("inputs and outputs", "state, fresh masks", "state, one mask")
FRESH_CELL = "cell, fresh masks"  # in the memory task


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured: Measured = {}
    arms = {"none": 0.0, **{arm: tuned[f"text/{arm}"] for arm in ("L2", *PLACES)}, "strong L2": 16 * tuned["text/L2"]}
    for arm, strength in arms.items():
        train, validation, test = zip(*read_on(config, seed, arm, strength), strict=True)
        measured |= {f"text/{arm}/train curve": list(train), f"text/{arm}/test curve": list(test)}
        measured[f"text/{arm}/bits"] = test[-1]
        if arm == "none":
            measured["text/stopped early/bits"] = min(zip(validation, test, strict=True))[1]
    for arm in ("none", *PLACES, FRESH_CELL):
        _, measured[f"memory/{arm}/accuracy"] = remember(config, seed, arm, tuned[f"memory/{arm}"], "test")
    return measured


def load(config: Config, seed: int) -> tuple[int, Tensor, list[data.Examples]]:
    """Size of the alphabet, text to learn from, and three to watch in 20 rows each: some of it, and two behind it."""
    length, held_out = config.train + 2 * config.held_out, config.held_out
    alphabet, stretch, *_ = data.load_text(config.data, seed, train=length + length // 5, validation=0, test=0)
    train, behind = stretch[: config.train], stretch[config.train :]
    behind = behind[torch.isin(behind, train)][: 2 * held_out]  # what never came cannot be learned
    rows = torch.cat([train[:held_out], behind]).view(3, 20, -1).to(config.device)
    return len(alphabet), train.to(config.device), [data.Examples(one[:, :-1], one[:, 1:]) for one in rows]


def settings_of(seed: int, arm: str, p: float) -> dict[str, Any]:
    where, share = "dropout" if arm == OUTSIDE else "recurrent_dropout", p if arm in PLACES else 0.0
    draws = {"generator": stream(seed, "weights"), "masks": stream(seed, "masks")}
    return {where: share, "variational": arm == ONE, **draws}


def trainer_of(model: CharacterModel, loss: Any, batches: Any, steps: int, lr: float, decay: float = 0.0) -> Trainer:
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=decay, max_norm=1.0)
    return Trainer(model, loss, optimizer, batches, scheduler=linear.cosine_decay(optimizer, steps))  # the rate: to 0


def read_on(config: Config, seed: int, arm: str, strength: float) -> list[list[float]]:
    """Train on the text, and ten times on the way take the bits of the three texts that are watched."""
    symbols, train, watched = load(config, seed)
    model = CharacterModel(symbols, config.width, **settings_of(seed, arm, strength)).to(config.device)
    model.carry_state(50)  # places of the text are read at once, 20 characters of each
    batches, decay = Windows(train, 50, 20), strength if "L2" in arm else 0.0
    trainer = trainer_of(model, next_character_loss, batches, config.steps, 1.0, decay)
    steps = (step for step in islice(trainer, config.steps) if step.number % (config.steps // 10) == 0)
    return [[evaluate(model, text, next_character_loss) / log(2) for text in watched] for _ in steps]


def remember(config: Config, seed: int, arm: str, lr: float, part: str) -> tuple[float, float]:
    """Train to name the first symbol after distractors and a question: loss and accuracy on 512 fresh sequences."""
    settings, draws = settings_of(seed, arm, config.p), stream(seed, "batches")
    model = CharacterModel(13, 32, forget_bias=3.0, **settings).to(config.device)  # at first f = 0.95
    if arm == FRESH_CELL:
        layer: Any = model.recurrent
        layer.drop = Dropout(config.p, generator=settings["masks"])  # a part of the layer: no masks in evaluation
        layer.step = lambda sums, hidden, cell: LSTM.step(layer, sums, hidden, layer.drop(cell))
    batches = (sequences(config, 16, draws) for _ in count())
    trainer = trainer_of(model, lambda out, right: cross_entropy(out[:, -1], right), batches, config.memory_steps, lr)
    train_for(trainer, config.memory_steps)
    inputs, targets = sequences(config, 512, stream(seed, part))
    scores = model.eval()(inputs)[:, -1]
    return cross_entropy(scores, targets).item(), (scores.argmax(1) == targets).double().mean().item()


def sequences(config: Config, number: int, generator: torch.Generator) -> data.Examples:
    inputs, targets = data.delayed_recall(number, config.delay, generator=generator)
    return data.Examples(inputs.argmax(2), targets).to(config.device)


# %%
# `python -m lessons tune regularized_lstm` chooses by validation loss. For the state it took the largest p, 0.9.
TUNING = {"text/L2": grid(0.0005, 0.016), **{f"text/{place}": (0.15, 0.3, 0.45, 0.6, 0.75, 0.9) for place in PLACES}}
TUNING |= {f"memory/{arm}": grid(0.01, 0.32) for arm in ("none", *PLACES, FRESH_CELL)}
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    task, arm = arm.split("/")
    if task == "text":
        return [read_on(config, seed, arm, strength)[-1][1] for strength in candidates]
    return [remember(config, seed, arm, lr, "validation")[0] for lr in candidates]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is what the notes state, a *limit* where we expect it to fail. The *margin*, the
# least that matters, is a twentieth of the bits. Recall, where a guess is right in 1 of 8 cases, counts as kept if it
# loses less than 0.1 of accuracy, and as broken beyond 0.3. Each place of dropout is one way to read row 4.20.

BITS, LOST = "bits without it over bits with it", "accuracy without it minus that with it"

# fmt: off
PREDICTIONS = [
    claim("4.19", "L2", "L2 saves a twentieth of an LSTM's bits on new text ({data}, {train:,} learned).",
          lambda t: ratio(t["text/none/bits"], t["text/L2/bits"], margin=1.05), arms=("none", "L2"), of=BITS),
    limit("4.19", "too strong", "L2 of 16 times its best strength costs a twentieth more bits on new text ({data}).",
          lambda t: ratio(t["text/strong L2/bits"], t["text/none/bits"], margin=1.05), arms=("strong L2", "none")),
    limit("4.19", "or stop", "L2 saves less than a twentieth of the bits of stopping early, on new text ({data}).",
          lambda t: not_better(ratio(t["text/stopped early/bits"], t["text/L2/bits"], margin=1.05)),
          arms=("stopped early", "L2"), of=BITS),
    claim("4.20", "outside", "Dropout on inputs and outputs saves a twentieth of an LSTM's bits on new text ({data}).",
          lambda t: ratio(t["text/none/bits"], t[f"text/{OUTSIDE}/bits"], margin=1.05), arms=("none", OUTSIDE),
          reading=OUTSIDE, of=BITS),
    claim("4.20", "recall outside", "Dropout of {p:g} on inputs and outputs keeps an LSTM's recall of {delay} steps.",
          lambda t: not_better(difference(t["memory/none/accuracy"] - t[f"memory/{OUTSIDE}/accuracy"], margin=0.1)),
          arms=("none", OUTSIDE), reading=OUTSIDE, of=LOST),
    claim("4.20", "fresh masks", "Fresh masks on the state h save a twentieth of an LSTM's bits on new text ({data}).",
          lambda t: ratio(t["text/none/bits"], t[f"text/{FRESH}/bits"], margin=1.05), arms=("none", FRESH),
          reading=FRESH, of=BITS),
    claim("4.20", "recall fresh", "Fresh masks of {p:g} on the state h keep an LSTM's recall of {delay} steps.",
          lambda t: not_better(difference(t["memory/none/accuracy"] - t[f"memory/{FRESH}/accuracy"], margin=0.1)),
          arms=("none", FRESH), reading=FRESH, of=LOST, because="the cell goes past them"),
    limit("4.20", "cell", "Fresh masks of {p:g} on the cell break an LSTM's recall of {delay} steps.",
          lambda t: difference(t["memory/none/accuracy"] - t[f"memory/{FRESH_CELL}/accuracy"], margin=0.3),
          arms=("none", FRESH_CELL), reading=FRESH, of=LOST),
    claim("4.20", "one mask", "One mask on the state h saves a twentieth of an LSTM's bits on new text ({data}).",
          lambda t: ratio(t["text/none/bits"], t[f"text/{ONE}/bits"], margin=1.05), arms=("none", ONE),
          reading=ONE, of=BITS),
    claim("4.20", "recall one", "One mask of {p:g} on the state h keeps an LSTM's recall of {delay} steps.",
          lambda t: not_better(difference(t["memory/none/accuracy"] - t[f"memory/{ONE}/accuracy"], margin=0.1)),
          arms=("none", ONE), reading=ONE, of=LOST),
]

ANSWERS = [
    answer("4.19", "Undecided: L2 saves an LSTM {L2:fewer} of the bits on unseen text, not surely a twentieth, hardly "
           "more than stopping early does. At 16 times its strength it takes {too strong:.1f} times the bits of none.",
           given={"L2": "inconclusive", "or stop": "supported", "too strong": "supported"}),
    answer("4.20", "Yes, on inputs and outputs: {outside:fewer} fewer bits on unseen text. A twentieth is open on "
           "Shakespeare and Wikipedia, and on the state h. All keep memory; fresh masks on the cell cost {cell:points} "
           "points of recall.", given={"outside": "supported", "tiny_shakespeare/outside": "inconclusive",
           "text8/outside": "inconclusive", "recall outside": "supported", "fresh masks": "inconclusive",
           "recall fresh": "supported", "cell": "supported", "one mask": "inconclusive", "recall one": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: eight units over twelve steps, white where dropped; a cell that was dropped once stays
# empty. Second, bits a character, a thin line a seed: without a cure they rise on unseen text and fall on learned text.
# Third, a dot a seed: above the line a cure saves bits. On the right, only masks on the cell end in guessing.


def figure(trials):
    config, (drawing, (masks, left, middle, right)) = trials.config, plt.subplots(1, 4, figsize=(17, 4))
    kept = (torch.rand(8, 12, generator=stream(0, "masks")) >= config.p).double()
    masks.imshow(torch.cat([kept, kept[:, :1].expand(8, 12), kept.cumprod(1)]).numpy(), cmap="Blues", vmax=1.5)
    masks.hlines([7.5, 15.5], -0.5, 11.5, color="black")
    masks.set_yticks([3.5, 11.5, 19.5], ["fresh\nmasks", "one\nmask", "a cell\nunder fresh\nmasks"])
    masks.set(title="Eight units: kept (blue) or dropped", xlabel="step", xticks=[], aspect="auto")
    for color, arm in (("C0", "none"), ("C1", "L2"), ("C2", "inputs and outputs")):
        for place, dashes in (("test", "-"), ("train", "--")):
            values, label = trials[f"text/{arm}/{place} curve"], f"{arm}, {'unseen' if place == 'test' else 'learned'}"
            curves(left, range(10, 101, 10), values, label=label, color=color, linestyle=dashes)
    cures, arms = ("L2", "strong L2", "stopped early", *PLACES), ("none", *PLACES, FRESH_CELL)
    strips(middle, {arm.replace(" ", "\n"): trials["text/none/bits"] / trials[f"text/{arm}/bits"] for arm in cures})
    strips(right, {arm.replace(" ", "\n"): trials[f"memory/{arm}/accuracy"] for arm in arms}, color="C3")
    reference_line(middle, 1, "equal")
    reference_line(right, 1 / 8, "guess")
    left.set(title="Bits a character", xlabel="% of the steps", ylim=(1, 6.5))
    middle.set(title="Unseen text: bits without a cure / bits with it")
    right.set(title=f"Recall after {config.delay} steps: share that is right", ylim=(0, 1.05))
    left.legend(fontsize="small")
    return drawing


# %%
# Try it yourself
# ---------------
# Drop half (p = 0.5) in the recall, and train on the text for a quarter of the steps. Which cures pay? Which forget?
# `python -m lessons run regularized_lstm --set p=0.5 steps=50 --seeds 7`

if __name__ == "__main__":
    lesson.main("regularized_lstm")
