"""
Is beam search better than greedy search?
=========================================

A net that writes gives each next symbol a probability. Multiplied along a sequence, these give the probability of the
whole; their natural logarithms add up, in *nats*. Which sequence shall we take? *Greedy search* takes the likeliest
symbol at each step and never looks back. Suppose that a net begins to say *knit* and knows three sounds: K, N and IH
(the i). The k is silent, but K looks likeliest. After a K nothing fits, and the probability is spread thin: ::

    first sound    then  K     N     IH          greedy search: K, then N     0.50 · 0.45 = 0.225
    K   0.50            0.20  0.45  0.35         beam of two:   N, then IH    0.40 · 0.90 = 0.36
    N   0.40            0.05  0.05  0.90
    IH  0.10            0.30  0.50  0.20         log P(sequence) = Σ log p(symbol | symbols before)

*Beam search* keeps the few best beginnings, the *beam*. A beam of two keeps K (0.50) and N (0.40), continues each by
every symbol, and of these six keeps the two best: N IH (0.36) and K N (0.225). A beam of one is greedy search; one of
eight asks the net as often as writing eight sequences does. A wider beam may even end with something less likely.

A beam usually finds *likelier* sequences. Are they *better*? Where one answer is right, they should be. Where many are,
as in a story, the likeliest text may be dull: Holtzman et al. (2020) saw it go round in circles. Wide beams made
translations worse (Koehn and Knowles, 2017): each symbol costs probability, and the likeliest was too short, often
empty (Stahlberg and Byrne, 2019). Words are short; trial runs showed no harm: a wide beam should neither hurt nor help.
"""

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
# One right answer: a net reads the letters of a word and writes its sounds, *phones*, up to an end mark. The CMU
# pronouncing dictionary says what is right. The *arms* are ways of choosing with the same net: a *sample* (each phone
# is drawn with its probability), greedy search, the *best* (likeliest) of 8 samples, and beams. We count words with all
# phones right. Open-ended: a net reads 50 characters of a text and writes 200 more, for 40 pieces of text. We count
# *repeats*: the share of *runs*, 8 characters in a row, that were written before. A *seed* draws weights, words and
# pieces. The learning rate on words is tuned on other seeds: greedy search is to get the fewest phones wrong.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "python_docs"  # the open text: or tiny_shakespeare, text8, text:PATH
    beams: int = 8  # beginnings that the beam keeps; samples that the likeliest one is taken from
    wide: int = 64  # beginnings that the wide beam keeps, on the first 500 test words
    words: int = 20_000  # to learn from
    test_words: int = 3_000  # to be judged on
    units: int = 96  # numbers in each net's state, its memory
    steps: int = 1_800  # training steps on words, 32 words each
    text_steps: int = 400  # training steps on text, 16 windows of 32 characters each
    device: str = "cpu"  # where nets are trained


QUICK = Config(wide=16, words=300, test_words=60, units=16, steps=40, text_steps=10)
SEEDS = range(12)
DATA = ("python_docs", "tiny_shakespeare", "text8", "text:PATH")
LONGEST, TEXTS, PROMPT, LENGTH = 20, 40, 50, 200  # phones at most; pieces of text, characters given and written
STEPS, SHOWN = 7, 105  # in the figure: steps of a beam of four, and characters of text
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
    return measured | tree(net, words.test, found["words/greedy"], found["words/beam 4"]) | on_text(config, seed, known)


def decoders(config: Config, seed: int) -> dict[str, partial[decoding.Sequences]]:
    """The arms. Each takes a net's step function, first symbols and state; it gives sequences, the chosen one first."""
    ways = {"greedy": partial(decoding.greedy), "sample": partial(decoding.sample, generator=stream(seed, "draws"))}
    ways["best"] = partial(decoding.best_of, samples=config.beams, generator=stream(seed, "more draws"))
    widths = {"beam 2": 2, "beam 4": 4, "beam": config.beams, "wide": config.wide}
    return ways | {arm: partial(decoding.beam_search, beams=width) for arm, width in widths.items()}


def load(config: Config, seed: int) -> tuple[data.Pronunciations, data.Text]:
    words = data.load_pronunciations(seed, train=config.words, validation=1_000, test=config.test_words)
    return words, data.load_text(config.data, seed, train=400_000, validation=0, test=TEXTS * (PROMPT + LENGTH))


def speaker(config: Config, seed: int, words: data.Pronunciations, lr: float) -> text.EncoderDecoder:
    net = text.EncoderDecoder(26, 39, config.units, generator=stream(seed, "weights")).to(config.device)
    order, steps = stream(seed, "batches"), config.steps
    text.train_encoder_decoder(net, *words.train, generator=order, steps=steps, batch_size=32, lr=lr)
    return net.cpu().requires_grad_(False)  # wherever it was trained, it speaks on the CPU


def said(net: text.EncoderDecoder, words: data.Words, decoder: partial[decoding.Sequences]) -> tuple:
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
    """What a beam of four keeps at each step of the first word of six phones that it, not greedy search, gets right."""
    tried = enumerate(zip(words.sounds, greedy, beam, strict=True))
    place = next((k for k, (right, one, other) in tried if one != right == other and len(right) == STEPS - 1), 0)
    start, kept, shares = net.begin([words.spellings[place]]), [], []
    for step in range(1, STEPS + 1):
        beams = decoding.beam_search(net.step_function(), *start, beams=4, max_length=step, end=net.end)
        kept += [[*path, *[net.end] * STEPS][:STEPS] for path in (*beams.ids[0].tolist(), greedy[place])]
        shares += beams.log_probs[0].exp().tolist()
    return {"tree/word": float(place), "tree/kept": np.ravel(kept).tolist(), "tree/probabilities": shares}


def on_text(config: Config, seed: int, known: data.Text) -> Measured:
    measured: Measured = {}
    net = text.CharacterModel(len(known.alphabet), config.units, generator=stream(seed, "weights")).to(config.device)
    text.train_character_model(net, known.train.to(config.device), steps=config.text_steps, batch_size=16, window=32)
    step, pieces = net.cpu().requires_grad_(False).step_function(), known.test.view(TEXTS, -1)
    prompts, texts = pieces[:, :PROMPT], {"real": pieces[:, PROMPT:]}
    for arm in ("sample", "greedy", "beam"):
        texts[arm] = decoders(config, seed)[arm](step, *net.begin(prompts), max_length=LENGTH).ids[:, 0]
    for arm, ids in texts.items():
        scores = net(torch.cat([prompts, ids], 1))[:, PROMPT - 1 : -1]
        measured[f"text/{arm}/log-probability"] = -text.next_character_loss(scores.double(), ids).item()
        measured[f"text/{arm}/repeats"] = np.mean([1 - distinct_ngrams(one, 8) for one in ids.tolist()]).item()
        measured[f"text/{arm}/shown"] = ids[0, :SHOWN].tolist()
    return measured


TUNING = {"words": grid(0.0625, 1.0)}
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    (words, _), greedy = load(config, seed), decoders(config, seed)["greedy"]
    nets = (speaker(config, seed, words, lr) for lr in candidates)
    return [said(net, words.validation, greedy)[1]["phones wrong"] for net in nets]


# %%
# What we expect
# --------------
# Written before the run. The notes' "very good sequences" can mean right answers or good open text: we test *claims* in
# either sense. *Limits* are where we expect failure. The *margin*, the smallest difference that matters, is in each.

ONE, OPEN = "one right answer", "open-ended text"

# fmt: off
PREDICTIONS = [
    claim("4.26", "over greedy", "A beam of {beams} gets at least 1 in 100 words more right than greedy search.",
          lambda t: difference(t["words/beam/right"] - t["words/greedy/right"], margin=0.01),
          arms=("beam", "greedy"), reading=ONE, of="share of words right, minus greedy search's"),
    claim("4.26", "over sampling", "A beam of {beams} gets at least 1 in 10 words more right than one sample.",
          lambda t: difference(t["words/beam/right"] - t["words/sample/right"], margin=0.1),
          arms=("beam", "sample"), reading=ONE, of="share of words right, minus the sample's"),
    claim("4.26", "over several", "A beam of {beams} gets at least 1 in 100 words more right than the likeliest of "
          "{beams} samples.", lambda t: difference(t["words/beam/right"] - t["words/best/right"], margin=0.01),
          arms=("beam", "best"), reading=ONE, of="share of words right, minus the likeliest sample's"),
    limit("4.26", "wider", "A beam of {wide} gets as many words right as one of {beams}, within 1 in 200.",
          lambda t: no_difference(t["some words/wide/right"] - t["some words/beam/right"], margin=0.005),
          arms=("wide", "beam"), reading=ONE, because="the likeliest sequence is nearly always in the narrower beam"),
    claim("4.26", "repeats", "On {data}, repeats by a beam of {beams} exceed those of real text by less than 1 in 10 "
          "runs of 8 characters.", arms=("beam", "real"), reading=OPEN, of="share of repeats, minus real text's",
          judge=lambda t: not_better(difference(t["text/beam/repeats"] - t["text/real/repeats"], margin=0.1))),
    limit("4.26", "likelier", "On {data}, a net finds what it writes by a beam of {beams} likelier than real text, by "
          "over half a nat a character.", arms=("beam", "real"), reading=OPEN, judge=lambda t:
          difference(t["text/beam/log-probability"] - t["text/real/log-probability"], margin=0.5)),
]

ANSWERS = [
    answer("4.26", "With one right answer, yes: a beam gets {over greedy:points} points more words right than greedy "
           "search, {over several:points} more than the likeliest of {beams} samples. Open text goes in circles: "
           "{repeats:points} points more repeats than real text.",
           given={"over greedy": "supported", "over several": "supported", "repeats": "refuted"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# Above, a beam of four says a word. A column is a step; the likeliest beginnings, with probabilities, are on top; pale
# ones are dropped later. Orange, third at step four, wins; blue is greedy search, black what they share. In the middle
# a dot and a line a seed. Left, every line rises from greedy search to a beam of two. Right, greedy and beam search
# write little but repeats; real text repeats the blanks of tables. Below is what that looks like (↵ is a new line).


def figure(trials):
    drawing, axes = plt.subplot_mosaic("tt;wo;ss", figsize=(13, 8.5), height_ratios=[1.4, 1.2, 0.4])
    words, known = load(trials.config, trials.seeds[0])
    spelling = words.test.spellings[int(trials["tree/word"][0])]
    names, end = [*words.phones, "end"], len(words.phones)
    shares, kept = trials["tree/probabilities"][0].reshape(STEPS, 4), trials["tree/kept"][0].reshape(STEPS, 5, STEPS)
    rows, before = [list(map(tuple, row)) for row in kept.astype(int).tolist()], {(): -1.5}
    ends = {"C1": rows[-1][0], "C0": rows[0][4]}
    for step, row in enumerate(rows, 1):
        heights = {path[:step]: float(-rank) for rank, path in reversed([*enumerate(row)])}
        for path, height in heights.items():
            ways = [color for color, way in ends.items() if path == way[:step]]
            lives = any(path == last[:step] for last in rows[-1][:4])
            color = "black" if len(ways) == 2 else ways[0] if ways else "0.45" if lives else "0.72"
            label = names[path[-1]] + (f"  {shares[step - 1, int(-height)]:.2g}" if height > -4 else "  dropped")
            pill = {"boxstyle": "round", "facecolor": color, "edgecolor": "white"}
            axes["t"].plot([step - 1, step], [before[path[:-1]], height], color=color, zorder=1)
            axes["t"].text(step, height, label, color="white", ha="center", va="center", bbox=pill)
        before = heights
    axes["t"].text(0, -1.5, words.spelled(spelling), ha="center", va="center", weight="bold", backgroundcolor="white")
    said = [words.pronounced(phone for phone in path if phone != end) for path in ends.values()]
    axes["t"].set(title="A beam of four says {}; greedy search says {}".format(*said))
    texts = "real", "sample", "greedy", "beam"
    for panel, name, arms, what in (("w", "words", ARMS, "right"), ("o", "text", texts, "repeats")):
        found = 100 * np.stack([trials[f"{name}/{arm}/{what}"] for arm in arms])
        beside = np.arange(len(arms))[:, None] + np.linspace(-0.2, 0.2, len(trials.seeds))
        axes[panel].plot(beside, found, color="0.8", linewidth=0.6, zorder=0)
        strips(axes[panel], dict(zip(arms, found, strict=True)))
    for line, arm in enumerate(texts):
        shown = known.test[PROMPT - 25 : PROMPT], torch.tensor(trials[f"text/{arm}/shown"][0]).long()
        written = f"{arm:8}" + " | ".join(map(known.written, shown)).replace("\n", "↵")
        axes["s"].text(0, -line, written, family="monospace", size=9)
    axes["w"].set_title("Words with all phones right, %")
    axes["o"].set_title("Open text: runs of 8 characters that are repeats, %")
    axes["s"].set(title="Open text: how one piece goes on after the bar", ylim=(-3.5, 0.8))
    axes["s"].axis("off"), axes["t"].axis("off")
    return drawing


# %%
# Try it yourself
# ---------------
# After a tenth of the training, how long are the words that greedy search, a beam and a wide one say? Guess, and see
# each `length` in the table: `python -m lessons run beam_search --set steps=180 --seeds 7`. Shakespeare hardly ever
# repeats himself. Will a net that read him? `python -m lessons run beam_search --data tiny_shakespeare --seeds 7`

if __name__ == "__main__":
    lesson.main("beam_search")
