"""
Can a softmax over all words be trained with a few of them?
===========================================================

A model that guesses the next word gives a score to every word it knows. The *softmax* turns scores into probabilities:
it takes exp of each score and divides by the sum. The *target* is the word that did come. The loss is minus the
logarithm of its probability. It falls when the score of the target rises, or when any other score falls. ::

    loss = log Σ exp(score of k) - score of the target          the sum is over all V words k

With 100,000 words each guess costs 100,000 scores. *Sampled softmax* draws K words at random. A step scores only these
and the target: K + 1 scores. The course notes say no more. But the drawn words must also stand for the others. Let q be
the chance that a word is among those drawn. If it is, it should count as 1/q words: ::

    sum ≈ exp(score of the target) + Σ exp(score of k) / q(k)   the sum is over the drawn words k except the target

Words a to d have exp(score) = 8, 2, 2 and 4, in all 16. We draw one. The target is a; drawn, it adds nothing more: ::

    word drawn               a      b      c      d       mean (each column counts by its q)
    q                       1/2    1/4    1/8    1/8
    sum, each with 1/q       8      16     24     40      16
    sum, each as one word    8      10     10     12       9.25

With 1/q the mean is the true sum. Without it the mean is too small. Also, a step lowers the scores of the words that it
drew, so it lowers frequent words too often. Dividing by q makes up for that.

Two flaws stay. Estimates from few words vary, so steps go astray. And the loss takes their logarithm, whose mean is too
small: the mean of log(sum/8) is 0.51, the true loss log(16/8) = 0.69. Both shrink as K grows. How large must it be?
"""

import math
from collections import namedtuple
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from dlnotes import data, lesson
from dlnotes.evidence import not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.linear import AdaGrad
from dlnotes.measuring import Measured, Tuned, grid, steps_until, train_for
from dlnotes.randomness import stream
from dlnotes.text import Embedding, SampledSoftmaxLoss, UnigramSampler, Vocabulary
from dlnotes.training import Minibatches, Trainer, evaluate

# %%
# The experiment
# --------------
# We make a text with 10,000 different words in 10 classes. The class of a word sets the chances of the next one. In a
# class the second word is half as frequent as the first, the third a third (*Zipf's law*, as in real texts). So we know
# what the best model can do. Ours has a vector for each word, its *embedding*, and scores the next word by that of the
# present one. The *arms* differ in how a step estimates the sum: from 1, 8, 64 or 512 drawn words, from 64 without 1/q,
# or from all. Frequent words are drawn more often. All arms start as one model that knows only how frequent words are.
# Arms 64 and "all" also take 100 words. AdaGrad trains, with a rate tuned for each arm on other *seeds* (each draws
# text, weights and batches). We judge on unseen text, with all words, by *perplexity*, exp of the mean loss.
#
# *Cost* counts *multiply-adds*. A guess takes V or K + 1 scores of 16 multiply-adds each, and twice that for the
# gradients. Seconds depend on the machine: see `benchmarks/README.md`.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "planted"  # the text: drawn by the lesson; or text8, text:PATH
    words: int = 10_000  # words a model knows, V; of a real text the most frequent ones
    few: int = 100  # V in the second text, with few words
    dim: int = 16  # numbers in the vector of a word
    batch: int = 100  # guesses in a step
    steps: int = 256  # training steps of each arm
    longer: int = 2  # the arm with 64 drawn words trains on, to this many times the steps
    test: int = 1_000  # guesses to judge by, on unseen text
    start: float = 1e-5  # where AdaGrad's sums of squares start
    device: str = "cpu"  # where the models are trained


QUICK = Config(words=600, batch=16, steps=8, test=100)
SEEDS = range(12)
DATA = ("planted", "text8", "text:PATH")
ARMS = {"1 word": 1, "8 words": 8, "64 words": 64, "512 words": 512, "uncorrected": 64, "all words": 0}  # K; 0 is all
SIZES = {"many": tuple(ARMS), "few": ("64 words", "all words")}  # the arms with either vocabulary
Text = namedtuple("Text", ["train", "test", "shares", "best"])  # pairs of words, frequencies, least perplexity


def guesser(config: Config, text: Text, seed: int, arm: str) -> Any:
    """A model that gives the vector of the present word, and has in it what scores the next word."""
    words, weights, draws = len(text.shares), stream(seed, "weights"), stream(seed, "draws")
    how: Any = {"sampler": UnigramSampler(text.shares), "correct": arm != "uncorrected"}
    model: Any = Embedding(words, config.dim, generator=weights)
    model.output = SampledSoftmaxLoss(words, config.dim, ARMS[arm] or 1, generator=weights, draws=draws, **how)
    model.output.bias.data.copy_(text.shares.log())
    model.output.train(ARMS[arm] > 0)  # in evaluation mode it has all words in the sum
    return model.to(config.device)


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured: Measured = {}
    for size, arms in SIZES.items():
        text, losses, costs = load(config, size, seed), {}, {}
        for arm in arms:
            places, costs[arm] = marks(config, arm == "64 words"), multiply_adds(config, arm, len(text.shares))
            model, losses[arm] = trained(config, text, seed, arm, tuned[f"{size}/{arm}"], places)
            measured[f"{size}/{arm}/perplexity"] = math.exp(losses[arm][len(marks(config)) - 1])
            measured[f"{size}/{arm}/losses"] = losses[arm]
        measured[f"{size}/all words/cost"] = float(config.steps * costs["all words"])
        reached = steps_until(losses["all words"][-1], losses["64 words"])  # the number of a mark, or nan
        steps = math.nan if math.isnan(reached) else marks(config, longer=True)[int(reached)] or 1  # one at least
        measured |= {f"{size}/64 words/cost": float(steps * costs["64 words"]), f"{size}/best": text.best}
    shown = model.output.scores(model.weight[0]).softmax(0)  # after the most frequent word
    return measured | {"few/shown": shown.tolist(), "few/shares": text.shares.tolist()}


def trained(config: Config, text: Text, seed: int, arm: str, lr: float, places: list[int]) -> tuple:
    """A trained model, and its losses on unseen text, over all words, after each number of steps in `places`."""
    model = guesser(config, text, seed, arm)
    optimizer = AdaGrad(model.parameters(), lr=lr, initial_accumulator_value=config.start)
    batches, losses = Minibatches(text.train, config.batch, stream(seed, "batches")), []
    trainer = Trainer(model, model.output, optimizer, batches)
    for steps in places:
        train_for(trainer, steps - trainer.steps)
        losses.append(evaluate(model, text.test, model.output))
    return model.requires_grad_(False), losses


def marks(config: Config, longer: bool = False) -> list[int]:
    """The steps after which a model is judged."""
    more = [config.steps + (config.longer - 1) * config.steps * part // 4 for part in range(1, 5)]
    return [0, *(step for step in (2, 8, 32, 128) if step < config.steps), config.steps, *more * longer]


def multiply_adds(config: Config, arm: str, words: int) -> int:
    """Of a step: once for the scores, twice for their gradients."""
    return 3 * config.batch * config.dim * (ARMS[arm] + 1 if ARMS[arm] else words)


def load(config: Config, size: str, seed: int) -> Text:
    words, best = config.words if size == "many" else config.few, math.nan
    count = 1 + (train := config.steps * config.longer * config.batch) + config.test
    if config.data == "planted":
        text = data.class_chain(count, words=words // 10, sharpness=4.0, generator=stream(seed, f"{size} words"))
        ids, best = text.ids, text.perplexity
    else:
        known = numbered(config.data, words)
        if len(known) < count or known.max() + 1 < words:
            raise data.DataError(f"{config.data} is too short: expected {count:,} words, {words:,} of them different")
        begin = int(torch.randint(len(known) - count + 1, (), generator=stream(seed, "stretch")))
        ids = known[begin : begin + count]
    counts = ids[: train + 1].bincount(minlength=words) + 1.0
    before, after = ids[:-1].to(config.device), ids[1:].to(config.device)
    parts = (data.Examples(before[part], after[part]) for part in (slice(train), slice(train, None)))
    return Text._make([*parts, counts / counts.sum(), best])


@cache
def numbered(name: str, words: int) -> Tensor:
    """The most frequent words of a text, in their order, as numbers; others are left out."""
    return Vocabulary.of(text := data.load_words(name), min_count=1, max_size=words).encode(text)


TUNING = {f"{size}/{arm}": grid(0.025, 0.8) for size, arms in SIZES.items() for arm in arms}  # rates to choose from
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    size, _, arm = arm.partition("/")
    text = load(config, size, seed)
    return [trained(config, text, seed, arm, lr, [config.steps])[1][0] for lr in candidates]


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, and *limits*, where we expect them to fail. The *margin*, the smallest
# difference that matters, stands in each sentence.

# fmt: off
PREDICTIONS = [
    claim("4.06", "as good", "With {words:,} words, drawing 64 reaches the loss of all for less than half of the "
          "multiply-adds.", lambda t: ratio(t["many/all words/cost"], t["many/64 words/cost"], margin=2.0),
          arms=("all words", "64 words")),
    limit("4.06", "few words", "With {few} words, drawing 64 reaches the loss of all for more than half of the "
          "multiply-adds.",
          lambda t: not_better(ratio(t["few/all words/cost"], t["few/64 words/cost"], margin=2.0)),
          arms=("all words", "64 words"), because="65 of 100 scores are left (see also Grave et al., 2017)"),
    claim("4.07", "512 words", "After equal steps, 512 drawn words give a perplexity at most 2 % above that of all.",
          lambda t: not_better(ratio(t["many/512 words/perplexity"], t["many/all words/perplexity"], margin=1.02)),
          arms=("512 words", "all words")),
    limit("4.07", "64 words", "After equal steps, 64 drawn words give a perplexity more than 2 % above that of all.",
          lambda t: ratio(t["many/64 words/perplexity"], t["many/all words/perplexity"], margin=1.02),
          arms=("64 words", "all words"), because="estimates from few words vary (Chen, Grangier and Auli, 2016)"),
    limit("4.07", "8 words", "After equal steps, 8 drawn words give a perplexity more than 2 % above that of all.",
          lambda t: ratio(t["many/8 words/perplexity"], t["many/all words/perplexity"], margin=1.02),
          arms=("8 words", "all words")),
    limit("4.07", "plain", "After equal steps with 64 drawn words, perplexity without 1/q is more than 2 % above that "
          "with it.", lambda t: ratio(t["many/uncorrected/perplexity"], t["many/64 words/perplexity"], margin=1.02),
          arms=("uncorrected", "64 words"), because="what is drawn often is lowered often (Gao et al., 2021)"),
]

ANSWERS = [
    answer("4.06", "Yes, if words are many: drawing 64 of {words:,} reaches the loss of all with {as good} times fewer "
           "multiply-adds. Of {few} words it takes {few words} times fewer.",
           given={"as good": "supported", "few words": "supported", "text8/few words": "inconclusive"}),
    answer("4.07", "With 512 drawn words it is no worse: {512 words:.2f} times the perplexity of all at equal steps. "
           "With 8 it is {8 words:.2f} times (64: undecided). Without 1/q, 64 give {plain:.2f} times that with it.",
           given={"512 words": "supported", "64 words": "inconclusive", "8 words": "supported", "plain": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left are the probabilities of 100 words after the most frequent one, by a model trained with all. Eight words
# are drawn (orange), and each stands for 1/q words. In the middle is perplexity over cost, a line a seed: sampling is
# ahead by far. On the right is a dot a seed, all arms after equally many steps: there, fewer words are worse.


def figure(trials):
    config, (drawing, (thing, falls, equal)) = trials.config, plt.subplots(1, 3, figsize=(19, 4.8))
    shown, shares = (torch.tensor(trials[f"few/{what}"][0]) for what in ("shown", "shares"))
    ids, q = UnigramSampler(shares).sample(8, stream(5, "draws"))
    thing.bar(range(len(shown)), shown, color=["C1" if k in ids else "0.75" for k in range(len(shown))], width=1.0)
    for place, weight in zip(ids.tolist(), (1 / q).tolist(), strict=True):
        thing.text(place, 1.1 * shown[place], f"×{weight:.1f}", ha="center", rotation=90, fontsize="small")
    title = f"Eight words that stand for 100: Σ p/q = {(shown[ids] / q).sum():.2f}"
    thing.set(title=title, yscale="log", ylim=(None, 1), xlabel="words, by falling frequency", ylabel="probability")
    for place, arm in enumerate(ARMS):
        cost = [multiply_adds(config, arm, config.words) * step for step in marks(config, arm == "64 words")[1:]]
        curves(falls, cost, np.exp(trials[f"many/{arm}/losses"][:, 1:]), label=arm, color=f"C{place}", geometric=True)
    strips(equal, {arm.split()[0]: trials[f"many/{arm}/perplexity"] for arm in ARMS}, color="C0", geometric=True)
    if config.data == "planted":
        reference_line(equal, trials["many/best"].mean(), "best\npossible")
    falls.set(title="Perplexity over cost", xlabel="multiply-adds", xscale="log", yscale="log")
    equal.set(title="Perplexity after equal steps", xlabel="words drawn in a step", yscale="log")
    falls.legend(fontsize="small")
    return drawing


# %%
# Try it yourself
# ---------------
# AdaGrad divides a gradient by the root of the sum of its squares so far. If the sums start at 0, even tiny ones make
# full steps, for each word in the sum. Who loses? `python -m lessons run sampled_words --set start=0 --seeds 20-22`

if __name__ == "__main__":
    lesson.main("sampled_words")
