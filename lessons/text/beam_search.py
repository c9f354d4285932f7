"""
Is beam search better than greedy search?
=========================================

A net that writes gives each next symbol a probability. Multiplied along a sequence, these are the probability of the
whole; their logarithms, in *nats*, add up. ::

    P(sequence) = p(first) · p(second | first) · …          log P = Σ log p(symbol | symbols before)

Which sequence shall we take? *Greedy search* takes the likeliest symbol at each step and never looks back. Suppose that
a net shall say *knit*, and knows three sounds: K, N and IH. It reads a k, and so begins with K. But after a K nothing
goes well with what is left, and its probability is spread thin: ::

    first        then   K     N     IH            greedy          K, then N      0.50 · 0.45 = 0.225
    K   0.50           0.20  0.45  0.35           beam of two     N, then IH     0.40 · 0.90 = 0.36
    N   0.40           0.05  0.05  0.90
    IH  0.10           0.30  0.50  0.20

*Beam search* puts off the decision. It keeps the few best beginnings, the *beam*: of width two, K (0.50) and N (0.40).
It continues each by every symbol, and of these six it keeps the two best: N IH (0.36) and K N (0.225). A beam of one is
greedy search; one of eight asks the net about eight beginnings at each step, as often as eight samples would. Nothing
is promised: what a narrow beam throws away may be what a wider one chooses, or the other way round.

So a beam finds *likelier* sequences, as a rule. Are they *better*? Where one answer is right, they should be. Where
many are, as in a story, the likeliest text may be a dull one: Holtzman et al. (2020) saw it go round in circles. And
wide beams made translations worse, not better (Koehn and Knowles, 2017), since the likeliest one was too short, often
empty (Stahlberg and Byrne, 2019). Trial runs on pronunciations showed no such harm; we expect wide beams to be useless.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from matplotlib import pyplot as plt

from dlnotes import data, lesson, text
from dlnotes.evidence import difference, no_difference, not_better
from dlnotes.lesson import answer, claim, limit, strips
from dlnotes.measuring import Measured, Tuned, grid
from dlnotes.randomness import stream
from dlnotes.text import decoding, distinct_ngrams, error_rate

# %%
# The experiment
# --------------
# One right answer: from a word's letters to its sounds, *phones*, as the CMU pronouncing dictionary has them. A net
# reads the letters and writes phones until it writes an end mark. The *arms* are ways of choosing, all of one net: a
# *sample* (each phone drawn with its probability), greedy search, the best (likeliest) of 8 samples, beams. We count
# words with all phones right. Open-ended: a net continues 40 pieces of
# text, without an end mark, and we count *repeats*: the share of its runs of 8 characters that it has written before.
# A *seed* draws weights, words and pieces of text. Learning rates are tuned on other seeds.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "python_docs"  # the open text: or tiny_shakespeare, text8, text:PATH
    beams: int = 8  # beginnings that the beam keeps, and samples that the best one is taken of
    wide: int = 64  # beginnings that the wide beam keeps, on 500 words
    words: int = 20_000  # to learn from
    test_words: int = 3_000  # to be judged on
    units: int = 96  # of each net's state
    steps: int = 1_800  # training steps on words, 32 words each
    text_steps: int = 400  # training steps on text, 16 windows of 32 characters each
    length: int = 200  # characters that each piece of text is continued by
    device: str = "cpu"  # where nets are trained


QUICK = Config(wide=16, words=300, test_words=60, units=16, steps=40, text_steps=10, length=40)
SEEDS = range(12)
DATA = ("python_docs", "tiny_shakespeare", "text8", "text:PATH")
LONGEST, TEXTS, PROMPT = 20, 40, 50  # phones of a word at most, pieces of text, characters of each that are given
STEPS, SHOWN = 7, 85  # in the figure: of a beam of four on a word, and characters of text
ARMS = ("sample", "greedy", "best", "beam 2", "beam 4", "beam")


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    words, known = load(config, seed)
    net, ways = speaker(config, seed, words, tuned["words"]), decoders(config, seed)
    some = data.Words(*(part[:500] for part in words.test))
    measured: Measured = {"words/dictionary/length": sum(map(len, words.test.sounds)) / len(words.test.sounds)}
    found = {}
    for name, asked, arms in (("words", words.test, ARMS), ("some words", some, ("beam", "wide"))):
        for arm in arms:
            found[f"{name}/{arm}"], judged = said(net, asked, ways[arm])
            measured |= {f"{name}/{arm}/{what}": number for what, number in judged.items()}
    measured |= tree(net, words.test, found["words/greedy"], found["words/beam 4"])
    return measured | on_text(config, seed, known)


def decoders(config: Config, seed: int) -> dict[str, Callable[..., decoding.Sequences]]:
    """The arms: from a step function, first symbols and a state to sequences, of which the first is the chosen one."""
    draws, more = stream(seed, "draws"), stream(seed, "more draws")
    ways = {"sample": partial(decoding.sample, generator=draws), "greedy": partial(decoding.greedy)}
    ways["best"] = partial(decoding.best_of, samples=config.beams, generator=more)
    widths = {"beam 2": 2, "beam 4": 4, "beam": config.beams, "wide": config.wide}
    return {**ways, **{arm: partial(decoding.beam_search, beams=width) for arm, width in widths.items()}}


def load(config: Config, seed: int) -> tuple[data.Pronunciations, data.Text]:
    words = data.load_pronunciations(seed, train=config.words, validation=1_000, test=config.test_words)
    test = TEXTS * (PROMPT + config.length)
    return words, data.load_text(config.data, seed, train=400_000, validation=4_000, test=test)


def speaker(config: Config, seed: int, words: data.Pronunciations, lr: float) -> text.EncoderDecoder:
    """A net that was trained to say words. Whatever it was trained on, it speaks on the CPU."""
    net = text.EncoderDecoder(26, 39, config.units, generator=stream(seed, "weights")).to(config.device)
    order, steps = stream(seed, "batches"), config.steps
    text.train_encoder_decoder(net, *words.train, generator=order, steps=steps, batch_size=32, lr=lr)
    return net.cpu().requires_grad_(False)


def said(net: text.EncoderDecoder, words: data.Words, decoder: Callable[..., decoding.Sequences]) -> tuple:
    """What the net says for each word, and how good that is."""
    found, nats, count = [], 0.0, len(words.sounds)
    for first in range(0, count, 500):  # faster than all at once
        start = net.begin(words.spellings[first : first + 500])
        chosen = decoder(net.step_function(), *start, max_length=LONGEST, end=net.end)
        found += [tuple(phone for phone in rows[0] if phone != net.end) for rows in chosen.written()]
        nats += chosen.log_probs[:, 0].sum().item()
    judged = {"right": sum(map(tuple.__eq__, found, words.sounds)) / count, "length": sum(map(len, found)) / count}
    return found, judged | {"phones wrong": error_rate(found, words.sounds), "log-probability": nats / count}


def tree(net: text.EncoderDecoder, words: data.Words, greedy: list, beam: list) -> Measured:
    """What a beam of four keeps at each step, of the first word of six phones that it mends."""
    tried = enumerate(zip(words.sounds, greedy, beam, strict=True))
    place = next((k for k, (right, one, other) in tried if one != right == other and len(right) == STEPS - 1), 0)
    start, kept, shares = net.begin([words.spellings[place]]), torch.full((STEPS, 5, STEPS), net.end), []
    kept[:, 4] = torch.tensor([*greedy[place], *[net.end] * STEPS])[:STEPS]  # a fifth row: what greedy search says
    for step in range(STEPS):
        beams = decoding.beam_search(net.step_function(), *start, beams=4, max_length=step + 1, end=net.end)
        kept[step, :4, : beams.ids.shape[2]] = beams.ids[0]
        shares += beams.log_probs[0].exp().tolist()
    return {"tree/word": float(place), "tree/kept": kept.flatten().tolist(), "tree/probabilities": shares}


def on_text(config: Config, seed: int, known: data.Text) -> Measured:
    measured: Measured = {}
    net = text.CharacterModel(len(known.alphabet), config.units, generator=stream(seed, "weights")).to(config.device)
    ids, steps = known.train.to(config.device), config.text_steps
    text.train_character_model(net, ids, steps=steps, batch_size=16, window=32, lr=1.0)
    step, pieces = net.cpu().requires_grad_(False).step_function(), known.test.view(TEXTS, -1)
    prompts, texts = pieces[:, :PROMPT], {"real": pieces[:, PROMPT:]}
    for arm in ("sample", "greedy", "beam"):
        decoder = decoders(config, seed)[arm]
        texts[arm] = decoder(step, *net.begin(prompts), max_length=config.length).ids[:, 0]
    for arm, ids in texts.items():
        scores = net(torch.cat([prompts, ids], 1))[:, PROMPT - 1 : -1]
        measured[f"text/{arm}/log-probability"] = -text.next_character_loss(scores.double(), ids).item()
        measured[f"text/{arm}/repeats"] = np.mean([1 - distinct_ngrams(one, 8) for one in ids.tolist()]).item()
        measured[f"text/{arm}/shown"] = ids[0, :SHOWN].tolist()
    return measured


TUNING = {"words": grid(0.0625, 1.0)}
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    """The share of phones that greedy search gets wrong on validation words: that favours it, if any."""
    words, _ = load(config, seed)
    nets = (speaker(config, seed, words, lr) for lr in candidates)
    return [said(net, words.validation, decoding.greedy)[1]["phones wrong"] for net in nets]


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, which call what beam search generates very good, in two readings, and
# *limits*, where we expect no good of it. The *margin*, the smallest difference that matters, is in each sentence.

ONE, OPEN = "one right answer", "open-ended text"


def gain(t, name, one, other, what="right"):
    return t[f"{name}/{one}/{what}"] - t[f"{name}/{other}/{what}"]


# fmt: off
PREDICTIONS = [
    claim("4.26", "over greedy", "A beam of {beams} gets at least 1 in 100 words more right than greedy search.",
          lambda t: difference(gain(t, "words", "beam", "greedy"), margin=0.01), arms=("beam", "greedy"), reading=ONE),
    claim("4.26", "over sampling", "A beam of {beams} gets at least 1 in 10 words more right than one sample.",
          lambda t: difference(gain(t, "words", "beam", "sample"), margin=0.1), arms=("beam", "sample"), reading=ONE),
    claim("4.26", "over several", "A beam of {beams} gets at least 1 in 100 words more right than the likeliest of "
          "{beams} samples.", lambda t: difference(gain(t, "words", "beam", "best"), margin=0.01),
          arms=("beam", "best"), reading=ONE),
    limit("4.26", "wider", "A beam of {wide} gets as many words right as one of {beams}, within half a point.",
          lambda t: no_difference(gain(t, "some words", "wide", "beam"), margin=0.005),
          arms=("wide", "beam"), reading=ONE, because="the likeliest sequence is nearly always in the narrower one"),
    claim("4.26", "repeats", "On {data}, repeats of a beam of {beams} exceed those of real text by less than a tenth "
          "of all runs.", lambda t: not_better(difference(gain(t, "text", "beam", "real", "repeats"), margin=0.1)),
          arms=("beam", "real"), reading=OPEN, of="share of repeats, minus that of real text"),
    limit("4.26", "likelier", "On {data}, the net gives text of a beam of {beams} a log-probability that is at least "
          "half a nat a character above that of real text.", lambda t: difference(
              gain(t, "text", "beam", "real", "log-probability"), margin=0.5),
          arms=("beam", "real"), reading=OPEN, because="a beam looks for likely text, and that need not be good text"),
]

ANSWERS = [
    answer("4.26", "Where one answer is right, yes: a beam of {beams} gets {over greedy:points} points more words "
           "right than greedy search. Open text goes in circles: {repeats:points} points more repeats than real text.",
           given={"over greedy": "supported", "repeats": "refuted"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# Above the thing itself: a beam of four says a word, a column a step, the likeliest beginnings on top, with their
# probabilities; pale ones are dropped later. The winner is orange, greedy search blue, black what they share. In the
# middle a dot and a line a seed. Left: words that are right; all lines rise from greedy search to the beam of {beams}.
# Right: repeats; greedy and beam search write little else. Below what that looks like.


def figure(trials):
    drawing, axes = plt.subplot_mosaic("tt;wo;ss", figsize=(13, 9), height_ratios=[1.4, 1.2, 0.5])
    words, known = load(trials.config, trials.seeds[0])
    spelling, right = (part[int(trials["tree/word"][0])] for part in words.test)
    names, end = [*words.phones, "end"], len(words.phones)
    rows = [list(map(tuple, row)) for row in trials["tree/kept"][0].astype(int).reshape(STEPS, 5, STEPS).tolist()]
    ends, before, shares = {"C1": (*right, end), "C0": rows[0][4]}, {(): -1.5}, iter(trials["tree/probabilities"][0])
    for step, row in enumerate(rows, 1):
        heights = {path[:step]: -rank for rank, path in reversed([*enumerate(row)])}
        for path, height in reversed(heights.items()):
            ways = [color for color, way in ends.items() if path == way[:step]]
            kept = any(path == last[:step] for last in rows[-1][:4])
            color = "black" if len(ways) == 2 else ways[0] if ways else "0.6" if kept else "0.85"
            axes["t"].plot([step - 1, step], [before[path[:-1]], height], color=color, zorder=1)
            pill = {"boxstyle": "round", "facecolor": color, "edgecolor": "white"}
            axes["t"].text(step, height, names[path[-1]], color="white", ha="center", va="center", bbox=pill)
            share = f"{next(shares):.2g}" if height > -4 else "dropped"
            axes["t"].text(step, height - 0.42, share, color="0.4", size="x-small", ha="center", va="center")
        before = heights
    axes["t"].text(0, -1.5, words.spelled(spelling), ha="center", va="center", weight="bold", backgroundcolor="white")
    said = [words.pronounced(phone for phone in path if phone != end) for path in ends.values()]
    axes["t"].set(title="A beam of four says {}; greedy search says {}".format(*said), xlim=(-0.4, STEPS + 0.3))
    texts = "real", "sample", "greedy", "beam"
    for place, name, arms, what in (("w", "words", ARMS, "right"), ("o", "text", texts, "repeats")):
        found = 100 * np.stack([trials[f"{name}/{arm}/{what}"] for arm in arms])
        beside = np.arange(len(arms))[:, None] + np.linspace(-0.2, 0.2, len(trials.seeds))
        axes[place].plot(beside, found, color="0.8", linewidth=0.6, zorder=0)
        strips(axes[place], dict(zip(arms, found, strict=True)))
    axes["w"].set(title="Words with all phones right, %")
    axes["o"].set(title="Open text: runs of 8 characters that are repeats, %")
    for row, arm in enumerate(texts):
        prompt, ids = known.test[PROMPT - 25 : PROMPT], torch.tensor(trials[f"text/{arm}/shown"][0]).long()
        for left, some, color in ((0.06, prompt, "0.6"), (0.25, ids, "black")):
            shown = known.written(some).replace("\n", "↵")
            axes["s"].text(left, -row, shown, color=color, family="monospace")
        axes["s"].text(0, -row, arm, color="0.3")
    axes["s"].set(title="Open text: what follows the grey characters", xlim=(0, 1), ylim=(-3.5, 0.8))
    axes["s"].axis("off")
    axes["t"].axis("off")
    return drawing


# %%
# Try it yourself
# ---------------
# A search adds no knowledge. How many points will a beam gain on a net that has made a tenth of the steps? Guess, then
# run `python -m lessons run beam_search --set steps=180 --seeds 7`. And does Shakespeare go in circles, where little
# repeats itself? `python -m lessons run beam_search --data tiny_shakespeare`

if __name__ == "__main__":
    lesson.main("beam_search")
