"""
Does sampling several sequences save us from one bad choice?
============================================================

A model that says which word may come next can write. We draw a word with the probability that the model gives it, hand
it back as the next input, and go on. But what is drawn stays. "The old man" is a likely beginning; if the truth was
"the old man the boats", all that follows it is odd. The model cannot take a word back.

The notes' remedy: write several sequences, and keep the one that is most probable as a whole. ::

    log P(sequence) = log p(first word) + log p(second, after the first) + … + log p(last, after all before it)

Why logarithms? A product of a hundred probabilities is too small for a computer's number; a sum is not. Here is a fork
that misleads, a *garden path*. With probability 0.6 we take the broad way, on which each next word is any of four. With
0.4 we take the narrow way, on which the next word is certain. Of three words each way, which sequence is probable? ::

    broad     0.6 × 1/4 × 1/4 = 0.0375   16 of them     log P = -3.28
    narrow    0.4 ×  1  ×  1  = 0.4      1 of it        log P = -0.92

A single sample is on the broad way in 6 of 10 cases. The best of several is there only if *all* of them are: 0.6² =
0.36 for two, 0.6⁸ = 0.017 for eight. Each further sample multiplies the risk by 0.6. Does that always save us? If the
broad way has 0.95, eight samples all take it with 0.95⁸ = 0.66. And a bad choice seldom has one place only.

Sentences bring another question, since they end by themselves. In the small grammar below, "the dog runs" has
probability 1/96, and "the dog that sees the cat runs" has 1/4,608. Both are right. The longer one is less probable
because it says more. So the most probable of several should be short. Is it also better?
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import nn

from dlnotes import data, lesson
from dlnotes.evidence import difference, no_difference, not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.linear import SGD, cosine_decay
from dlnotes.measuring import Measured, Tuned, grid, train_for
from dlnotes.randomness import stream
from dlnotes.text import CharacterModel, decoding, next_character_loss
from dlnotes.training import Minibatches, Trainer, evaluate

# %%
# The experiment
# --------------
# First four forks whose probabilities we set, so that no model is to blame; on the bad way each next word is any of 32.
# We draw 16 samples at each try, and "best of n" keeps the most probable of the first n. *Greedy* takes the likeliest
# word at each step. A *beam of two* keeps the two most probable beginnings at each step: it asks the model about two
# sequences, and best of 8 about eight. Then a small recurrent net learns words of sentences from the grammar. It
# writes, again 16 samples a try, and the grammar says which of them are right. All *arms*, the ways to choose, share
# net and samples. A *seed* draws sentences, first weights and samples.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    likely: float = 0.6  # probability of the bad way at a fork that misleads
    sure: float = 0.95  # the same at a fork where it is nearly sure
    slip: float = 0.2  # the same where each step is a fork
    spread: int = 32  # words that may come next on the bad way
    length: int = 16  # words of a sequence
    tries: int = 2_000  # times that 16 samples are drawn
    train: int = 2_000  # sentences to learn from
    units: int = 32  # numbers of the state of the net
    steps: int = 400  # its training steps, 32 sentences each
    written: int = 250  # times that it writes 16 sentences
    device: str = "cpu"  # where the net is trained


QUICK = Config(tries=100, train=200, units=8, steps=10, written=20)
SEEDS = range(12)
COUNTS, KEPT = (1, 2, 4, 8, 16), 8  # samples to choose from, and how many of them most predictions are about
MOST_WORDS, SHOWN = 40, 25  # of a sentence, with its full stop; tries that the figure shows
GRAMMAR = {
    "S": ["ONE LIVES", "MANY LIVE", "ONE SEES ANY", "MANY SEE ANY"],
    "ANY": ["ONE", "MANY"],
    "ONE": ["the BEAST", "the BEAST that SEES ANY"],
    "MANY": ["the BEASTS", "the BEASTS that SEE ANY"],
    **{"BEAST": ["dog", "cat", "bird", "mouse"], "BEASTS": ["dogs", "cats", "birds", "mice"]},
    **{"LIVES": ["runs", "sleeps", "sings"], "LIVE": ["run", "sleep", "sing"]},
    **{"SEES": ["sees", "hears", "likes"], "SEE": ["see", "hear", "like"]},
}
WORDS = [*sorted({word for rules in GRAMMAR.values() for rule in rules for word in rule.split()} - set(GRAMMAR)), "."]
END = WORDS.index(".")  # the full stop: what ends a sentence, and what each begins after


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured: Measured = {}
    for name, path in forks(config).items():
        step, start = decoding.markov_step(path.transitions), torch.full((config.tries,), path.start)
        samples = decoding.sample(step, start, max_length=config.length, samples=16, generator=stream(seed, "draws"))
        arms = {f"best of {count}": first(samples, count).best_first() for count in COUNTS}
        arms["greedy"] = decoding.greedy(step, start[:1], max_length=config.length)
        arms["beam of 2"] = decoding.beam_search(step, start[:1], beams=2, max_length=config.length)
        for arm, found in arms.items():
            ends = torch.isin(found.ids[:, 0, -1], torch.tensor(path.bad))
            measured[f"{name}/{arm}/bad"] = ends.double().mean().item()
    train, _, measured["sentences/real/words"] = load(config, seed)
    samples = write(config, seed, trained(config, seed, train, tuned["sentences"]))
    for count in COUNTS:
        measured |= judged(f"sentences/best of {count}", first(samples, count).best_first())
        measured |= judged(f"sentences/mean of {count}", first(samples, count).best_first(length_penalty=1.0))
    measured["sentences/as short/right"] = as_short(first(samples, KEPT))
    measured["sentences/shown/length"] = samples.lengths[:SHOWN, :KEPT].flatten().tolist()
    measured["sentences/shown/log P"] = samples.log_probs[:SHOWN, :KEPT].flatten().tolist()
    return measured


def forks(config: Config) -> dict[str, data.GardenPath]:
    found = {"misleading": data.garden_path(config.likely, config.spread)}
    found["nearly sure"] = data.garden_path(config.sure, config.spread)
    found["each step"] = data.garden_path(config.slip, config.spread)
    transitions = found["each step"].transitions
    transitions[found["each step"].good] = transitions[found["each step"].start]  # the good way forks again and again
    return found | {"likelier": data.garden_path(config.likely, 1)}  # a bad way that does not spread


def first(samples: decoding.Sequences, count: int) -> decoding.Sequences:
    """The first few samples of each try, in the order in which they were drawn."""
    return decoding.Sequences(*(part[:, :count] for part in samples))


def load(config: Config, seed: int) -> tuple[data.Examples, data.Examples, float]:
    """Sentences to learn from, as many to choose a rate by, and how many words all of them have on average."""
    drawn = data.sentences(3 * config.train, GRAMMAR, generator=stream(seed, "sentences"))
    rows = [[END, *map(WORDS.index, text.split()), END] for text in drawn]
    rows = [row for row in rows if len(row) <= MOST_WORDS]
    padded = nn.utils.rnn.pad_sequence(list(map(torch.tensor, rows)), batch_first=True, padding_value=-100)
    whole = data.Examples(padded[:, :-1].clamp(min=0), padded[:, 1:]).to(config.device)  # the loss leaves -100 out
    train, validation = (data.Examples(*(part.split(config.train)[place] for part in whole)) for place in (0, 1))
    return train, validation, float(np.mean([len(row) - 2 for row in rows]))


def trained(config: Config, seed: int, train: data.Examples, lr: float) -> CharacterModel:
    """A net whose symbols are words, after its steps."""
    net = CharacterModel(len(WORDS), config.units, cell="rnn", generator=stream(seed, "weights")).to(config.device)
    optimizer = SGD(net.parameters(), lr=lr, momentum=0.9, max_norm=1.0)  # longer gradients are shortened to 1
    batches, scheduler = Minibatches(train, 32, stream(seed, "batches")), cosine_decay(optimizer, config.steps)
    train_for(Trainer(net, next_character_loss, optimizer, batches, scheduler=scheduler), config.steps)
    return net.requires_grad_(False)


def write(config: Config, seed: int, net: CharacterModel) -> decoding.Sequences:
    """16 sentences at each try."""
    step, begin = net.cpu().step_function(), net.begin(torch.full((config.written, 1), END))
    return decoding.sample(step, *begin, max_length=MOST_WORDS, end=END, samples=16, generator=stream(seed, "draws"))


@cache
def is_right(row: tuple[int, ...]) -> bool:
    """Whether a sentence has ended, and the grammar makes it."""
    return row[-1] == END and data.is_sentence(" ".join(WORDS[place] for place in row[:-1]), GRAMMAR)


def judged(name: str, found: decoding.Sequences) -> Measured:
    """Of the sentences kept: the share that is right, their mean number of words, how many different ones there are."""
    rows = [tuple(kept) for kept, *_ in found.written()]
    words = [len(row) - (row[-1] == END) for row in rows]
    numbers = {"right": np.mean([*map(is_right, rows)]), "words": np.mean(words), "different": len(set(rows))}
    return {f"{name}/{what}": float(number) for what, number in numbers.items()}


def as_short(samples: decoding.Sequences) -> float:
    """The share that is right among samples that are as short as those kept, and not chosen by anything else."""
    right = {}
    for row in (tuple(row) for rows in samples.written() for row in rows):
        right.setdefault(len(row), []).append(is_right(row))
    return float(np.mean([np.mean(right[length]) for length in samples.best_first().lengths[:, 0].tolist()]))


TUNING = {"sentences": grid(0.08, 2.56)}
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    train, validation, _ = load(config, seed)
    nets = (trained(config, seed, train, lr) for lr in candidates)
    return [evaluate(net, validation, next_character_loss) for net in nets]


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes by row, and *limits*, where we expect them to fail. The *margin*, the
# smallest difference that matters, stands in each sentence. "Ends badly" means: on the bad way.

# fmt: off
PREDICTIONS = [
    claim("4.24", "one fork", "At a fork with a bad way of probability {likely}, best of 8 ends badly in fewer than "
          "5 % of tries.", lambda t: not_better(difference(t["misleading/best of 8/bad"], margin=0.05)),
          of="share that ends badly"),
    claim("4.24", "each sample", "At a fork with a bad way of probability {likely}, best of 4 ends badly in {likely}⁴ "
          "of tries, within a tenth.",
          lambda t: no_difference(np.log(t["misleading/best of 4/bad"] / t.config.likely**4), margin=np.log(1.1)),
          of="logarithm of the share over the one predicted"),
    limit("4.24", "nearly sure fork", "At a fork with a bad way of probability {sure}, best of 8 ends badly in more "
          "than half of tries.", lambda t: difference(t["nearly sure/best of 8/bad"], margin=0.5),
          of="share that ends badly", because="all eight take it with probability 0.95⁸"),
    limit("4.24", "beam", "At a fork with a bad way of probability {sure}, the share that ends badly is at least 0.5 "
          "larger for best of 8 than for a beam of two, which asks the model a quarter as often.",
          lambda t: difference(t["nearly sure/best of 8/bad"] - t["nearly sure/beam of 2/bad"], margin=0.5),
          arms=("best of 8", "beam of 2")),
    limit("4.24", "many forks", "With a bad way of probability {slip} at each of {length} words, the share that ends "
          "badly is at least 0.5 larger for best of 8 than for greedy search.",
          lambda t: difference(t["each step/best of 8/bad"] - t["each step/greedy/bad"], margin=0.5),
          arms=("best of 8", "greedy"), because="all choices of one sample must be good"),
    limit("4.24", "likelier bad way", "Where a bad way of probability {likely} does not spread, best of 8 ends badly "
          "in a share at least 0.2 larger than a single sample.",
          lambda t: difference(t["likelier/best of 8/bad"] - t["likelier/best of 1/bad"], margin=0.2),
          arms=("best of 8", "best of 1"), because="then a bad sequence is the most probable one"),
    claim("4.23", "right", "Best of 8 sentences is right in a share at least 0.1 larger than a single sample.",
          lambda t: difference(t["sentences/best of 8/right"] - t["sentences/best of 1/right"], margin=0.1),
          arms=("best of 8", "best of 1")),
    claim("4.23", "as short", "Best of 8 sentences is right in a share at least 0.02 larger than samples as short.",
          lambda t: difference(t["sentences/best of 8/right"] - t["sentences/as short/right"], margin=0.02),
          arms=("best of 8", "as short")),
    claim("4.23", "total", "Kept by log P, best of 8 is right in a share at least 0.1 larger than kept by the mean of "
          "log P over its words.",
          lambda t: difference(t["sentences/best of 8/right"] - t["sentences/mean of 8/right"], margin=0.1),
          arms=("best of 8", "mean of 8")),
    limit("4.23", "words", "A single sample has more than twice as many words as best of 8 sentences.",
          lambda t: ratio(t["sentences/best of 1/words"], t["sentences/best of 8/words"], margin=2.0),
          arms=("best of 1", "best of 8"), because="each further word costs probability (Murray and Chiang, 2018)"),
    limit("4.23", "different", "Single samples are more than twice as many different sentences as those that best of "
          "8 keeps.", lambda t: ratio(t["sentences/best of 1/different"], t["sentences/best of 8/different"],
                                      margin=2.0), arms=("best of 1", "best of 8")),
]

ANSWERS = [
    answer("4.23", "Best of 8 is right.", given={"right": "supported"}),
    answer("4.24", "Best of 8.", given={"one fork": "supported"}),
]
# fmt: on


def figure(trials):
    drawing, ((road, ends), (lengths, kept)) = plt.subplots(2, 2, figsize=(13, 8.5))
    path = data.garden_path(0.6, 4)
    height = {path.start: 0.0, path.good: 1.0} | {bad: -0.4 - 0.4 * place for place, bad in enumerate(path.bad)}
    for (before, after), chance in np.ndenumerate(path.transitions.numpy()):
        for word in range(3) if chance else ():
            if (word == 0) == (before == path.start):
                heights = [height[before], height[after]]
                road.plot([word, word + 1], heights, "o-", color="0.8", linewidth=0.8 + 6 * chance, zorder=1)
    start = torch.tensor([path.start])
    found = decoding.sample(
        decoding.markov_step(path.transitions), start, max_length=3, samples=4, generator=stream(4, "draws")
    )
    for place, (ids, log_prob) in enumerate(zip(found.ids[0].tolist(), found.log_probs[0].tolist(), strict=True)):
        best = log_prob == found.log_probs.max()
        heights = np.array([height[word] for word in (path.start, *ids)]) + 0.05 * (place - 1.5)
        road.plot(range(4), heights, color="C1" if best else "C0", linewidth=3 if best else 1.5)
        road.text(3.08, heights[-1], f"log P = {log_prob:.2f}" + ", kept" * best, va="center", fontsize="small")
    road.set(title="Four samples on a garden path (grey: the wider, the likelier)", xlabel="word", xlim=(-0.1, 3.9))
    road.set(xticks=range(4), yticks=[1, -1], yticklabels=["narrow", "broad"])
    return drawing


# %%
# Try it yourself
# ---------------

if __name__ == "__main__":
    lesson.main("one_bad_choice")
