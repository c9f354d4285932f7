"""
Does sampling several sequences save us from one bad choice?
============================================================

A model that says which word may come next can write. We draw a word with the probability that the model gives it, hand
it back as the next input, and go on: out comes a *sample*. But a word that is drawn stays. One unlucky draw may lead to
where no word fits, and the rest pays for it. The course notes' remedy: of several samples keep the most probable. ::

    log P(sequence) = log p(word 1) + log p(word 2, after word 1) + … + log p(last word, after all before it)

We add logarithms (natural ones), as a product of a hundred probabilities can be too small for a computer. Here is a
fork that misleads, a *garden path*. The first word of the broad way has probability 0.6, and each later one is any of
four, equally likely. The first word of the narrow way has 0.4, and each later one is certain. After three words: ::

    broad     0.6 × 1/4 × 1/4 = 0.0375   16 of them     log P = -3.28
    narrow    0.4 ×  1  ×  1  = 0.4      1 of it        log P = -0.92

The broad way is bad: its first word is likelier, but its sequences are less probable. A sample takes it in 6 of 10
cases, the best of several only if *all* do: 0.6² = 0.36 for two, 0.6⁸ = 0.017 for eight. Are we saved? If the broad way
of a longer path has 0.95, all of eight take it with 0.95⁸ = 0.66. And in a text each word may be a bad choice.

Sentences differ in length, and each word costs probability. The *grammar* below, a set of equally likely rules, makes
"the dog runs" with 1/4 × 1/2 × 1/4 × 1/3 = 1/96 (kind of sentence, no "that", animal, verb), "the dog that sees the cat
runs" with 1/4,608. Both are right; the longer one says more. So we keep short ones. Are they right more often?
"""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import nn

from dlnotes import data, lesson
from dlnotes.evidence import difference, no_difference, not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit
from dlnotes.linear import SGD, cosine_decay
from dlnotes.measuring import Measured, Tuned, grid, train_for
from dlnotes.randomness import stream
from dlnotes.text import CharacterModel, decoding, next_character_loss
from dlnotes.training import Minibatches, Trainer, evaluate

# %%
# The experiment
# --------------
# First four forks: the bad way has 0.6; or 0.95; or 0.2, but the good way forks again at each word; or again 0.6. Its
# later words are any of 32 (on the last fork certain), and it never leads back. Each try draws 16 samples; "best of 8"
# keeps the most probable of the first 8. *Greedy* search takes the likeliest word at each step. A *beam of two* keeps
# the two most probable beginnings: it asks the model about two sequences, not eight. Then a *recurrent* net, which
# reads word by word, learns sentences of the grammar and writes 16 at each try. We keep one by log P, or by log P a
# word (the mean). The grammar says which are right. The *arms*, ways to choose, share all that a *seed* draws.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    likely: float = 0.6  # probability of the bad way at a fork
    sure: float = 0.95  # the same where the bad way is nearly sure
    slip: float = 0.2  # the same where each word is a fork
    spread: int = 32  # words that may come next on the bad way
    length: int = 16  # words of a sequence
    tries: int = 2_000  # how often 16 samples are drawn
    train: int = 2_000  # sentences to learn from
    steps: int = 400  # training steps, 32 sentences each
    written: int = 200  # how often the net writes 16 sentences
    device: str = "cpu"  # where it is trained


QUICK = Config(tries=100, train=200, steps=10, written=20)
SEEDS = range(12)
COUNTS, LONGEST = (1, 2, 4, 8, 16), 40  # how many samples there are to choose from; most words of a sentence
# fmt: off
GRAMMAR = {
    "S": ["ONE LIVES .", "MANY LIVE .", "ONE SEES ANY .", "MANY SEE ANY ."], "ANY": ["ONE", "MANY"],
    "ONE": ["the BEAST", "the BEAST that SEES ANY"], "MANY": ["the BEASTS", "the BEASTS that SEE ANY"],
    "BEAST": ["dog", "cat", "bird", "mouse"], "BEASTS": ["dogs", "cats", "birds", "mice"],
    "LIVES": ["runs", "sleeps", "sings"], "LIVE": ["run", "sleep", "sing"],
    "SEES": ["sees", "hears", "likes"], "SEE": ["see", "hear", "like"],
}
# fmt: on
WORDS = sorted({word for rules in GRAMMAR.values() for word in " ".join(rules).split()} - set(GRAMMAR))
END = WORDS.index(".")  # the full stop: it counts as a word, and each sentence begins after one


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured: Measured = {}
    for name, path in forks(config).items():
        step, start = decoding.markov_step(path.transitions), torch.full((config.tries,), path.start)
        samples = decoding.sample(step, start, max_length=config.length, samples=16, generator=stream(seed, "draws"))
        arms = {f"best of {n}": decoding.Sequences(*(part[:, :n] for part in samples)).best_first() for n in COUNTS}
        arms["greedy"] = decoding.greedy(step, start[:1], max_length=config.length)
        arms["beam of 2"] = decoding.beam_search(step, start[:1], beams=2, max_length=config.length)
        for arm, found in arms.items():
            measured[f"{name}/{arm}/bad"] = np.isin(found.ids[:, 0, -1], path.bad).mean().item()
    train, _ = load(config, seed)
    net, draws = trained(config, seed, train, tuned["sentences"]).cpu(), stream(seed, "draws")
    step, begin = net.step_function(), net.begin(torch.full((config.written, 1), END))
    samples = decoding.sample(step, *begin, max_length=LONGEST, end=END, samples=16, generator=draws)
    return measured | judged(samples)


def judged(samples: decoding.Sequences) -> Measured:
    """Of the sentences kept by either rule: the share that is right by the grammar, and how many words they have."""
    texts = [[" ".join(WORDS[word] for word in row) for row in rows] for rows in samples.written()]
    right = torch.tensor([[data.is_sentence(text, GRAMMAR) for text in row] for row in texts]).double()
    words, log_probs, measured = samples.lengths, samples.log_probs, {}
    for rule, scores in {"best": log_probs, "mean": log_probs / words}.items():
        for n in COUNTS:
            kept = scores[:, :n].argmax(1, keepdim=True)
            measured[f"sentences/{rule} of {n}/right"] = right.gather(1, kept).mean().item()
            measured[f"sentences/{rule} of {n}/words"] = words.gather(1, kept).double().mean().item()
    short = words.gather(1, log_probs[:, :8].argmax(1, keepdim=True))  # of these 8 samples all that are as short:
    shares = [right[:, :8][words[:, :8] == count].mean().item() for count in short]
    return {**measured, "sentences/as short/right": sum(shares) / len(shares)}


def forks(config: Config) -> dict[str, data.GardenPath]:
    again = data.garden_path(config.slip, config.spread)
    again.transitions[again.good] = again.transitions[again.start]  # who is on the good way comes to the next fork
    fork, sure = (data.garden_path(p, config.spread) for p in (config.likely, config.sure))
    return {"fork": fork, "nearly sure": sure, "each word": again, "likelier": data.garden_path(config.likely, 1)}


def load(config: Config, seed: int) -> list[data.Examples]:
    """Sentences to train on, and as many to choose the rate by. The loss skips -100, which fills up short ones."""
    drawn = data.sentences(3 * config.train, GRAMMAR, generator=stream(seed, "sentences"))
    rows = [torch.tensor([END, *map(WORDS.index, text.split())]) for text in drawn]
    rows = [row for row in rows if len(row) <= LONGEST + 1]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100).to(config.device)
    return [data.Examples(part[:, :-1].clamp(min=0), part[:, 1:]) for part in ids.split(config.train)[:2]]


def trained(config: Config, seed: int, train: data.Examples, lr: float) -> CharacterModel:
    """A recurrent net that reads and writes words in place of characters."""
    net = CharacterModel(len(WORDS), 32, cell="rnn", generator=stream(seed, "weights")).to(config.device)
    optimizer = SGD(net.parameters(), lr=lr, momentum=0.9, max_norm=1.0)  # longer gradients are shortened to 1
    batches, scheduler = Minibatches(train, 32, stream(seed, "batches")), cosine_decay(optimizer, config.steps)
    train_for(Trainer(net, next_character_loss, optimizer, batches, scheduler=scheduler), config.steps)
    return net.requires_grad_(False)


TUNING, TUNING_SEEDS = {"sentences": grid(0.08, 2.56)}, range(1_000, 1_003)  # rates to choose from, on other seeds


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    train, validation = load(config, seed)
    return [evaluate(trained(config, seed, train, lr), validation, next_character_loss) for lr in candidates]


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, and *limits*, where we expect them to fail. The *margin*, the smallest
# difference that matters, stands in each sentence. To "end badly" is to be on the bad way at the last word.

# fmt: off
PREDICTIONS = [
    claim("4.23", "right", "The most probable of 8 sentences is right in a share at least 0.1 larger than single ones.",
          lambda t: difference(t["sentences/best of 8/right"] - t["sentences/best of 1/right"], margin=0.1),
          arms=("best of 8", "best of 1")),
    claim("4.23", "as short", "Of 8 sentences the most probable is right in a share at least 0.02 larger than all that "
          "are as short.", lambda t: difference(t["sentences/best of 8/right"] - t["sentences/as short/right"],
                                                margin=0.02), arms=("best of 8", "as short")),
    claim("4.23", "total", "The best of 8 by log P is right in a share at least 0.1 larger than that by log P a word.",
          lambda t: difference(t["sentences/best of 8/right"] - t["sentences/mean of 8/right"], margin=0.1),
          arms=("best of 8", "mean of 8")),
    limit("4.23", "words", "A single sentence has more than twice as many words as the most probable of 8.",
          lambda t: ratio(t["sentences/best of 1/words"], t["sentences/best of 8/words"], margin=2.0),
          arms=("best of 1", "best of 8"), because="each further word costs probability (Murray and Chiang, 2018)"),
    claim("4.24", "one fork", "With a bad way of probability {likely}, best of 8 ends badly in under 5 % of tries.",
          lambda t: not_better(difference(t["fork/best of 8/bad"], margin=0.05)), of="share that ends badly"),
    claim("4.24", "each sample", "With a bad way of probability {likely}, best of 4 ends badly in {likely}⁴ of tries, "
          "within a tenth.", lambda t: no_difference(np.log(t["fork/best of 4/bad"] / t.config.likely**4),
                                                     margin=np.log(1.1)), of="logarithm of the share over that power"),
    limit("4.24", "nearly sure fork", "With a bad way of probability {sure}, the share that ends badly is at least 0.5 "
          "larger for best of 8 than for a beam of two.", lambda t: difference(t["nearly sure/best of 8/bad"]
              - t["nearly sure/beam of 2/bad"], margin=0.5), arms=("best of 8", "beam of 2")),
    limit("4.24", "many forks", "With a bad way of probability {slip} at each of {length} words, the share that ends "
          "badly is at least 0.5 larger for best of 8 than for greedy search.",
          lambda t: difference(t["each word/best of 8/bad"] - t["each word/greedy/bad"], margin=0.5),
          arms=("best of 8", "greedy"), because="a sample must draw the good word each time; greedy search takes it"),
    limit("4.24", "likelier bad way", "Where a bad way of probability {likely} does not spread, the share that ends "
          "badly is at least 0.2 larger for best of 8 than for one sample.", lambda t: difference(
              t["likelier/best of 8/bad"] - t["likelier/best of 1/bad"], margin=0.2), arms=("best of 8", "best of 1")),
]

ANSWERS = [
    answer("4.23", "The most probable of 8 sentences is grammatical {right:points} points more often than a single "
           "one, {as short:points} more than all of its length. But each word costs probability: single ones are "
           "{words} times as long.", given={"right": "supported", "as short": "supported", "words": "supported"}),
    answer("4.24", "The best of 8 samples avoids one bad choice of probability {likely} ({one fork:.1%} end badly), "
           "but not of {sure} ({nearly sure fork:.0%}; a beam of two: none) or {slip} at each word ({many forks:.0%}).",
           given={"one fork": "supported", "nearly sure fork": "supported", "many forks": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: in grey a hundred samples on the garden path above, in colour four. In the middle the
# share that ends badly, a thin line a seed; dotted: that all n samples do, pⁿ (p = 1 - 0.8¹⁶ where each word forks);
# dots: a beam of two, greedy search. Where the bad way does not spread it rises: what is kept is what the model
# believes, not what is good. On the right the sentence kept, of one (where the lines meet) to 16: by log P shorter and
# more often right, by log P a word longer. Crosses, one a seed: all samples that are as short as the best of 8.


def figure(trials):
    config, (drawing, (road, ends, kept)) = trials.config, plt.subplots(1, 3, figsize=(15, 4.8))
    step, start = decoding.markov_step(data.garden_path(0.6, 4).transitions), torch.zeros(1, dtype=torch.int64)
    found = decoding.sample(step, start, max_length=3, samples=100, generator=stream(5, "draws"))
    heights = np.array([0, 1, -0.4, -0.8, -1.2, -1.6])[nn.functional.pad(found.ids[0], (1, 0))]
    road.plot(heights.T, color="0.4", alpha=0.02, linewidth=7)
    for place, log_prob in enumerate(found.log_probs[0, :4].tolist()):
        best = place == found.log_probs[0, :4].argmax()
        line = heights[place] + 0.04 * place
        road.plot(line, "o-", color="C1" if best else "C0", linewidth=2.5 if best else 1.2)
        road.text(3.08, line[-1], f"log P = {log_prob:.2f}" + ", kept" * best, va="center", fontsize="small")
    road.set(title="Samples on a garden path", xlabel="words", xlim=(-0.1, 3.9), xticks=range(4))
    road.set_yticks([1, -1], ["narrow", "broad"])
    likely, sure, slip = config.likely, config.sure, config.slip
    labels = f"bad way {likely}", f"bad way {sure}", f"{slip} at each word", f"{likely}, no spread"
    for place, (name, label) in enumerate(zip(forks(config), labels, strict=True)):
        shares = np.stack([trials[f"{name}/best of {n}/bad"] for n in COUNTS], 1)
        curves(ends, range(5), shares, label=label, color=f"C{place}")
        others = [trials[f"{name}/{arm}/bad"].mean() for arm in ("beam of 2", "greedy")]
        ends.plot(np.array([5.5, 7]) + 0.12 * (place - 1.5), others, "o", color=f"C{place}")
    ends.plot(np.array([likely, sure, 1 - (1 - slip) ** config.length]) ** np.array([COUNTS]).T, "k:", linewidth=1)
    ends.set(title="Share that ends badly (dotted: pⁿ)", xlabel="best of n samples, or another search")
    ends.set_xticks([*range(5), 5.5, 7], [*map(str, COUNTS), "beam", "greedy"])
    for place, (rule, said) in enumerate({"best": "log P", "mean": "log P a word"}.items()):
        x, y = (np.stack([trials[f"sentences/{rule} of {n}/{what}"] for n in COUNTS]) for what in ("words", "right"))
        kept.plot(x, y, color=f"C{place}", linewidth=0.4, alpha=0.35)
        kept.plot(x.mean(1), y.mean(1), "o-", color=f"C{place}", label=f"by {said}")
    kept.plot(trials["sentences/best of 8/words"], trials["sentences/as short/right"], "kx", label="samples as short")
    kept.set(title="Kept of 1, 2, 4, 8 and 16 sentences", xlabel="words, with the full stop", ylabel="share right")
    for axes in (ends, kept):
        axes.legend(fontsize="small")
    return drawing


# %%
# Try it yourself
# ---------------
# On the fork of 0.95 a beam of two escapes: after two words each bad beginning has 0.95/32, less than 0.05. And with 8
# words in place of 32? Work it out, then run `python -m lessons run one_bad_choice --set spread=8 --seeds 20-22`. After
# four times the training, what is left to gain by the best of 8? `--set steps=1600 --seeds 20-22`

if __name__ == "__main__":
    lesson.main("one_bad_choice")
