"""
Can a softmax over all words be trained with a few of them?
===========================================================

A model that guesses the next word gives a score to each word that it knows. The *softmax* turns scores into
probabilities: take exp of each score, and divide by the sum. The loss is minus the logarithm of the *target*, the word
that did come. It falls if the target's score rises, or if the score of any other word falls: ::

    loss = log Σ exp(score of k) - score of the target          the sum is over all V words k

A model may know 100,000 words, and each step computes 100,000 scores and then their gradients, for one word that is
right. The sum is the costly part. *Sampled softmax* estimates it: keep the target, draw K other words, and leave out the
rest for this step. So 100,000 scores become K + 1. The course notes say no more. But a drawn word must also stand for
those that were not drawn. If a word is drawn with the probability q, it counts as 1/q words: ::

    sum ≈ exp(score of the target) + Σ exp(score of k) / q(k)   the sum is over the drawn words k, without the target

Here are four words with exp(score) = 8, 2, 2, 4. The sum is 16. The target is a, and we draw one word: ::

    word drawn               a      b      c      d       mean, each weighted by its q
    q                       1/2    1/4    1/8    1/8
    sum, each with 1/q       8      16     24     40      16
    sum, each as one word    8      10     10     12       9.25

With 1/q the sum is right on average; without, it is too small, and a rare word such as d is nearly forgotten. What this
does to training: each drawn word's score is pushed down. Frequent words are drawn often, and so are pushed down often.
The weight 1/q makes up for that (in code: log q is subtracted from the score). Without it, frequent words end too low.

One flaw stays. The loss is the logarithm of the sum, and its mean over the draws is 0.51, not log(16/8) = 0.69: the
logarithm cuts large sums more than it lifts small ones. The larger K is, the less an estimate varies, and the smaller
this flaw. So how large must K be?
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.evidence import not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.measuring import Measured, Tuned, grid, steps_until, train_for
from dlnotes.randomness import stream
from dlnotes.text import Embedding, SampledSoftmaxLoss, UnigramSampler, Vocabulary
from dlnotes.training import Minibatches, Trainer, evaluate

# %%
# The experiment
# --------------
# The text is made of 10,000 words of 10 classes. A word says which class may come next, and within a class the second
# word comes half as often as the first, the third a third as often (Zipf's law, as in real texts). So we know how well
# the best model can do. Ours has a vector for each word (its *embedding*), and scores the next word from the vector of
# the present one. The *arms* differ in one thing, how a step estimates the sum: over all words, or over 1, 8, 64 or 512
# drawn ones; and over 64 without 1/q. Words are drawn as often as they stand in the text. In each arm the output
# biases start at the logarithms of these shares, so a model begins as one that knows how frequent words are, and no
# more. AdaGrad trains, a rate tuned for each arm on other seeds. We judge by *perplexity* on unseen text, with all
# words in the sum: exp of the mean loss, among how many equally likely words the model seems to choose.
#
# Cost is counted in multiply-adds of the scores: for each word of the batch V or K + 1 scores, with one multiply-add
# for each number in a vector, and twice as many for the gradients. What seconds make of it depends on the machine:
# `benchmarks/README.md`.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "planted"  # the text: drawn by the lesson; or text8, text:PATH
    words: int = 10_000  # that a model knows, V; of a text the most frequent ones
    few: int = 100  # the same in a small vocabulary, to compare
    dim: int = 16  # numbers in each word's vector
    batch: int = 128  # words to guess in a step
    steps: int = 256  # training steps of each arm
    longer: int = 2  # times as many steps are made with 64 words, until they are as good as all
    test: int = 2_000  # unseen words to judge by
    start: float = 1e-5  # where AdaGrad's sums of squared gradients start
    device: str = "cpu"  # where the models are trained


QUICK = Config(words=600, batch=16, steps=8, test=100)
SEEDS = range(12)
DATA = ("planted", "text8", "text:PATH")
SAMPLED = {"all words": 0, "1 word": 1, "8 words": 8, "64 words": 64, "512 words": 512, "uncorrected": 64}


class Text(NamedTuple):
    """What a model learns from and is judged by: neighbouring words, the second to be guessed from the first."""

    train: data.Examples
    test: data.Examples
    counts: Tensor  # how often each word stands in the text to learn from, and once more: none has a share of 0
    best: float  # perplexity of a model that knows how the text was made; nan where nobody knows


class NextWord(nn.Module):
    """Guesses the next word from the present one."""

    def __init__(self, config: Config, text: Text, seed: int, sampled: int, correct: bool) -> None:
        super().__init__()
        sizes, weights = (len(text.counts), config.dim), stream(seed, "weights")
        self.words = Embedding(*sizes, generator=weights, sparse=True)
        how = {"sampler": UnigramSampler(text.counts), "correct": correct, "sparse": bool(sampled)}
        self.loss = SampledSoftmaxLoss(*sizes, sampled or 1, generator=weights, draws=stream(seed, "draws"), **how)
        self.loss.bias.data = (text.counts / text.counts.sum()).log()

    def forward(self, ids: Tensor) -> Tensor:
        return self.words(ids)

    def full_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.loss.scores(hidden), targets)


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured: Measured = {}
    for size, arms in (("many", tuple(SAMPLED)), ("few", ("64 words", "all words"))):
        text = load(config, size, seed)
        measured[f"{size}/best"] = text.best
        for arm in arms:
            model, losses = trained(config, text, seed, arm, tuned[f"{size}/{arm}"])
            measured |= {f"{size}/{arm}/perplexity": perplexity(config, losses), f"{size}/{arm}/losses": losses}
        measured |= speed(config, size, len(text.counts), measured)
    scores = model.loss.scores(model(torch.tensor([0], device=config.device)))  # after the most frequent word
    shares = text.counts / text.counts.sum()
    return measured | {"few/shown": scores[0].softmax(0).tolist(), "few/shares": shares.tolist()}


def speed(config: Config, size: str, words: int, measured: Measured) -> Measured:
    """Multiply-adds until the loss of the full softmax is reached; perplexities after equally many multiply-adds."""
    places, (full, sampled) = marks(config, "64 words"), (f"{size}/{arm}" for arm in ("all words", "64 words"))
    costs = {arm: multiply_adds(config, arm, words) for arm in ("all words", "64 words")}
    losses = measured[f"{full}/losses"]
    reached = steps_until(losses[-1], measured[f"{sampled}/losses"])  # the number of a mark, or nan
    steps = places[int(reached)] if reached == reached else math.nan
    equal = next(place for place, step in enumerate(places) if step * costs["all words"] >= config.steps * costs["64 words"])
    return {
        f"{full}/cost": float(config.steps * costs["all words"]),
        f"{sampled}/cost": steps * costs["64 words"],
        f"{full}/at equal cost": math.exp(losses[equal]),
        f"{sampled}/at equal cost": measured[f"{sampled}/perplexity"],
    }


def multiply_adds(config: Config, arm: str, words: int) -> int:
    """Of a step: to make the scores, and twice as many to make the gradients."""
    return 3 * config.batch * config.dim * (SAMPLED[arm] + 1 if SAMPLED[arm] else words)


def marks(config: Config, arm: str) -> list[int]:
    """After which steps an arm is judged."""
    first = [0, *(2**power for power in range(20) if 2**power < config.steps), config.steps]
    more = config.steps * (config.longer - 1)
    return first + [config.steps + more * part // 8 for part in range(1, 9)] * (arm == "64 words")


def perplexity(config: Config, losses: list[float]) -> float:
    """At the equal number of steps."""
    return math.exp(losses[marks(config, "all words").index(config.steps)])


def trained(
    config: Config, text: Text, seed: int, arm: str, lr: float, length: int = 20
) -> tuple[NextWord, list[float]]:
    """A model, and its loss over all words, on unseen text, at each mark."""
    model = NextWord(config, text, seed, SAMPLED[arm], arm != "uncorrected").to(config.device)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=lr, initial_accumulator_value=config.start)
    batches = Minibatches(text.train, config.batch, stream(seed, "batches"))
    trainer = Trainer(model, model.loss if SAMPLED[arm] else model.full_loss, optimizer, batches)
    losses = []
    for mark in marks(config, arm):
        train_for(trainer, mark - trainer.steps)
        losses.append(evaluate(model, text.test, model.loss))  # in evaluation mode it is the loss over all words
    return model.requires_grad_(False), losses


def load(config: Config, size: str, seed: int) -> Text:
    words, train = config.words if size == "many" else config.few, config.steps * config.longer * config.batch
    count, best = train + config.test + 1, math.nan
    if config.data == "planted":
        text = data.class_chain(count, words=words // 10, sharpness=4.0, generator=stream(seed, f"{size} words"))
        ids, best = text.ids, text.perplexity
    else:
        known = numbered(config.data, words)
        words = int(known.max()) + 1
        if words <= max(SAMPLED.values()) * (size == "many") or len(known) < count:
            raise data.DataError(f"{config.data} is too short")
        begin = int(torch.randint(len(known) - count + 1, (), generator=stream(seed, "stretch")))
        ids = known[begin : begin + count]
    pairs = data.Examples(ids[:-1].to(config.device), ids[1:].to(config.device))
    counts = ids[: train + 1].bincount(minlength=words) + 1.0
    return Text(*(data.Examples(*(part[a:b] for part in pairs)) for a, b in ((0, train), (train, count))), counts, best)


@cache
def numbered(name: str, words: int) -> Tensor:
    """The most frequent words of a text, by number, in their order; others are left out."""
    text = data.load_words(name)
    return Vocabulary.of(text, min_count=1, max_size=words).encode(text)


TUNING = {f"many/{arm}": grid(0.025, 0.4) for arm in SAMPLED} | {f"few/{arm}": grid(0.025, 0.4) for arm in ("64 words", "all words")}
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    size, arm = arm.split("/")
    text = load(config, size, seed)
    return [perplexity(config, trained(config, text, seed, arm, lr)[1]) for lr in candidates]
