"""
Can a network write by feeding on its own words?
================================================

Some networks read a text and say how probable each next symbol is, a letter or a word. To make one write, draw a symbol
with the probability that it gives, show it that symbol as if it had read it, and ask again.

Take a model made by hand, of b, a, n and a full stop that ends a word. It gives each next symbol a probability: ::

    after a full stop    b 1                  after b    a 1
    after a              n 0.6    . 0.4       after n    a 1

A word comes as often as the product of its steps says: ba is a share of 0.4 of all words, bana 0.6 · 0.4 = 0.24, banana
0.6 · 0.6 · 0.4 = 0.144; the other steps are certain. Two shortcuts spoil this. If you always take the likeliest symbol,
you get banananana… without end, since after an a the n is likelier each time. And if the model does not read what it
draws, its letters do not fit. Reading "bana.", it may write "ba.an": a full stop, then on from the n that it reads.

Without shortcuts the writing is as good as the model. The course notes call it "pretty good", which needs a measure. We
take a *grammar*, rules that make sentences. Verbs agree with nouns across *relative clauses*, here in brackets: ::

    the cat [ that the dogs hear ] sleeps        the cats [ that the dog [ that the birds see ] likes ] sleep

A sentence is *valid* if the rules can make it. Copies always are, so we also ask whether sentences are *new*: not among
those learned from. An LSTM, a network with a memory of all that it read, competes with tables of counts. *Trigrams* say
how often each word came after each two, 5-grams after each four, unigrams how often it came. At "dogs hear" trigrams
have forgotten the cat; an LSTM need not. But its mistakes are fed back, too: it gets to places unseen in training.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Generator, Tensor, nn

from dlnotes import data, lesson
from dlnotes.evidence import difference, not_better
from dlnotes.lesson import answer, claim, limit, reference_line, strips
from dlnotes.linear import SGD, cosine_decay
from dlnotes.measuring import Measured, train_for
from dlnotes.randomness import stream
from dlnotes.text import CharacterModel, NGrams, decoding, next_character_loss
from dlnotes.training import Minibatches, Trainer

# %%
# The experiment
# --------------
# First the model made by hand writes, in three *arms*. "Drawn": it reads each symbol that it has drawn. "Unread": it
# draws while it reads the text of the first arm. "Likeliest": it takes the likeliest symbol each time, and reads that.
# Where a word comes more often than its product says, those too many are *astray*, as a share of all words. Next an
# LSTM and tables of counts learn from the same sentences, and write with the same random numbers. *Unread*, the LSTM
# draws while it reads what it wrote before. *Hot*, it draws by the square roots of its probabilities (a *temperature*
# of 2): rare words come more often. Each *seed* draws other sentences, first weights and writing.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    symbols: int = 100_000  # that the model made by hand writes
    sentences: int = 4_000  # to learn from; those of more than 24 words are left out
    written: int = 800  # sentences that each arm writes
    units: int = 64  # of the LSTM
    steps: int = 400  # its training steps, 64 sentences each
    lr: float = 2.0  # its learning rate at first, chosen on other seeds; it falls to 0 along half a cosine wave
    temperature: float = 2.0  # 1: draws by the probabilities as they are; above: by more even ones
    device: str = "cpu"  # where the LSTM is trained


QUICK = Config(symbols=2_000, sentences=200, written=40, units=8, steps=10)
SEEDS = range(12)

CHAIN = torch.tensor([[0, 1, 0, 0], [0, 0, 0.6, 0.4], [0, 1, 0, 0], [1, 0, 0, 0]])  # after b, a, n and the full stop
PROMISED = {"ba" + "na" * more: 0.4 * 0.6**more for more in range(60)}  # the product of each word
GRAMMAR = {  # capitals become one of their rules; a rule that stands there three times is drawn three times as often
    "S": ["ONE sleeps", "ONE SEES ANY", "MANY sleep", "MANY SEE ANY"],
    "ANY": ["ONE", "MANY"],
    "ONE": ["the CAT"] * 3 + ["the CAT that SEES ANY", "the CAT that ONE SEES", "the CAT that MANY SEE"],
    "MANY": ["the CATS"] * 3 + ["the CATS that SEE ANY", "the CATS that ONE SEES", "the CATS that MANY SEE"],
    "CAT": ["cat", "dog", "bird", "child"],
    "CATS": ["cats", "dogs", "birds", "children"],
    "SEES": ["sees", "hears", "likes"],
    "SEE": ["see", "hear", "like"],
}
WORDS = sorted({word for rules in GRAMMAR.values() for rule in rules for word in rule.split()} - set(GRAMMAR))
END, LENGTH = len(WORDS), 25  # the symbol that ends a sentence and begins the next; symbols of a sentence at most
TABLES = {"unigrams": 1, "trigrams": 3, "5-grams": 5}  # words in a row that are counted
CLAUSES, FITTING = ("0", "1", "2", "3 or more"), range(8, 13)  # relative clauses; words of a sentence in the figure
valid = cache(partial(data.is_sentence, grammar=GRAMMAR))


def trial(config: Config, seed: int) -> Measured:
    measured: Measured = {f"{arm}/astray": astray(ids) for arm, ids in by_hand(config, seed).items()}
    learned, fresh = (sentences(config, seed, purpose) for purpose in ("sentences", "fresh"))
    measured["grammar/new"] = float(np.mean(~np.isin(fresh, learned)))
    arms = {name: write(NGrams([*map(coded, learned)], order, end=END), config, seed) for name, order in TABLES.items()}
    net = trained(config, seed, learned)
    arms |= {"LSTM": write(net, config, seed), "hot LSTM": write(net, config, seed, config.temperature)}
    arms["unread LSTM"] = unread(net, arms["LSTM"], END, stream(seed, "unread words"))
    for arm, ids in arms.items():
        written = in_words(ids)
        good, clauses = np.array([*map(valid, written)]), np.array([text.count("that") for text in written]).clip(max=3)
        measured[f"{arm}/valid"] = float(good.mean())
        measured[f"{arm}/new"] = float(np.mean(good & ~np.isin(written, learned)))
        for count, name in enumerate(CLAUSES):
            measured[f"{arm}/{name}/valid"] = float(good[clauses == count].mean()) if count in clauses else np.nan
        fitting = [text for text in written if "…" not in text and len(text.split()) in FITTING]
        measured[f"{arm}/shown"] = [float(word) for text in [*fitting, "", "", ""][:3] for word in coded(text, 13)]
    return measured


def by_hand(config: Config, seed: int) -> dict[str, Tensor]:
    """What the model made by hand writes in each way, (100, T)."""
    step, start, length = decoding.markov_step(CHAIN), torch.full((100,), 3), config.symbols // 100
    drawn = decoding.sample(step, start, max_length=length, generator=stream(seed, "letters")).ids[:, 0]
    anew = unread(CHAIN.log().__getitem__, drawn, 3, stream(seed, "unread letters"))
    return {"drawn": drawn, "unread": anew, "likeliest": decoding.greedy(step, start, max_length=length).ids[:, 0]}


def astray(ids: Tensor) -> float:
    words = [word for row in ids.tolist() for word in "".join("ban."[letter] for letter in row).split(".")[:-1]]
    return 1 - sum(min(p, words.count(word) / max(1, len(words))) for word, p in PROMISED.items())


def unread(model: Callable[[Tensor], Tensor], ids: Tensor, end: int, generator: Generator) -> Tensor:
    """What a model draws at each place of a text that it reads, (N, T), by its scores; nothing of it is read."""
    probabilities = model(nn.functional.pad(ids, (1, 0), value=end)[:, :-1]).softmax(-1)
    return torch.multinomial(probabilities.flatten(0, 1), 1, generator=generator).view_as(ids)


def write(model: CharacterModel | NGrams, config: Config, seed: int, temperature: float = 1.0) -> Tensor:
    """Sentences, each word drawn and fed back, (N, T)."""
    count = config.written
    begin = model.begin(count) if isinstance(model, NGrams) else model.begin(torch.full((count, 1), END))
    sample = partial(decoding.sample, max_length=LENGTH, end=END, generator=stream(seed, "draws"))
    return sample(model.step_function(), *begin, temperature=temperature).ids[:, 0]


def sentences(config: Config, seed: int, purpose: str) -> list[str]:
    made = data.sentences(config.sentences, GRAMMAR, generator=stream(seed, purpose))
    return [sentence for sentence in made if len(sentence.split()) < LENGTH]


def coded(sentence: str, length: int = 0) -> list[int]:
    row = [WORDS.index(word) for word in sentence.split()]
    return row + [END] * (length - len(row))


def in_words(ids: Tensor) -> list[str]:
    """Rows of numbers as sentences. One that has not ended gets dots for its end, and is not valid."""
    rows = [row[: row.index(END)] if END in row else [*row, -1] for row in ids.tolist()]
    return [" ".join([*WORDS, "…"][one] for one in row) for row in rows]


def trained(config: Config, seed: int, learned: list[str]) -> CharacterModel:
    ids = torch.tensor([[END, *coded(sentence, LENGTH)] for sentence in learned]).to(config.device)
    targets = ids[:, 1:].masked_fill((ids[:, 1:] == END).cumsum(1) > 1, -100)  # nothing is asked behind the end
    net = CharacterModel(END + 1, config.units, generator=stream(seed, "weights")).to(config.device)
    batches = Minibatches(data.Examples(ids[:, :-1], targets), min(64, len(ids)), stream(seed, "batches"))
    optimizer = SGD(net.parameters(), lr=config.lr, momentum=0.9, max_norm=1.0)  # longer gradients are shortened to 1
    scheduler = cosine_decay(optimizer, config.steps)
    train_for(Trainer(net, next_character_loss, optimizer, batches, scheduler=scheduler), config.steps)
    return net.cpu().requires_grad_(False)


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, and *limits*, where we expect the writing to fail. The *margin*, the
# smallest difference that matters, stands in each sentence.

# fmt: off
PREDICTIONS = [
    claim("4.21", "by hand", "If a model made by hand reads what it draws, less than 0.02 of its words are astray.",
          lambda t: not_better(difference(t["drawn/astray"], margin=0.02)), of="share of words too many"),
    claim("4.21", "feeding back", "If a model made by hand does not read what it draws, at least 0.2 more is astray.",
          lambda t: difference(t["unread/astray"] - t["drawn/astray"], margin=0.2), arms=("unread", "drawn")),
    claim("4.21", "own words", "An LSTM's share of valid sentences is at least 0.3 larger if it reads what it draws.",
          lambda t: difference(t["LSTM/valid"] - t["unread LSTM/valid"], margin=0.3), arms=("LSTM", "unread LSTM")),
    limit("4.21", "likeliest", "If the likeliest symbol is fed back, at least 0.2 more is astray than if one is drawn.",
          lambda t: difference(t["likeliest/astray"] - t["drawn/astray"], margin=0.2), arms=("likeliest", "drawn")),
    claim("4.22", "most", "More than three in four of the sentences that an LSTM writes are valid.",
          lambda t: difference(t["LSTM/valid"], margin=0.75), of="share valid"),
    claim("4.22", "trigrams", "The share of valid sentences is at least 0.3 larger for an LSTM than for trigrams.",
          lambda t: difference(t["LSTM/valid"] - t["trigrams/valid"], margin=0.3), arms=("LSTM", "trigrams")),
    claim("4.22", "new", "The share of valid and new sentences is at least 0.2 larger for an LSTM than for 5-grams.",
          lambda t: difference(t["LSTM/new"] - t["5-grams/new"], margin=0.2), arms=("LSTM", "5-grams")),
    limit("4.22", "hot", "An LSTM's share of valid sentences is at least 0.2 smaller at a temperature of "
          "{temperature:g} than at 1.", lambda t: difference(t["LSTM/valid"] - t["hot LSTM/valid"], margin=0.2),
          arms=("LSTM", "hot LSTM"), because="what is improbable was seldom seen in training (Holtzman et al., 2020)"),
    limit("4.22", "clauses", "An LSTM's share of valid sentences is at least 0.2 smaller among those with three "
          "relative clauses or more than among those with none.",
          lambda t: difference(t["LSTM/0/valid"] - t["LSTM/3 or more/valid"], margin=0.2), arms=("0", "3 or more")),
]

ANSWERS = [
    answer("4.21", "Yes: draw and feed back, and words come as often as the model says. An LSTM that does not read "
           "what it draws writes {own words:points} points fewer valid sentences; taking the likeliest goes round in "
           "circles.", given={"by hand": "supported", "own words": "supported", "likeliest": "supported"}),
    answer("4.22", "Yes: {most:.0%} of a trained LSTM's sentences obey the grammar, {trigrams:points} points more than "
           "of trigrams'. A temperature of {temperature:g} costs {hot:points}, three clauses or more {clauses:points}.",
           given={"most": "supported", "trigrams": "supported", "hot": "supported", "clauses": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# Above, the first three sentences of 8 to 12 words of each arm, for one seed (✓: valid). Equal draws make some alike.
# Below, a dot a seed. On the left, by hand: what is drawn and read is hardly astray; the likeliest never end a word, so
# all is. In the middle the share of sentences valid, and of those also new. Half of the grammar's own are new (dotted).
# An LSTM comes near, 5-grams mostly copy. On the right, each clause costs an LSTM more than the last.


def figure(trials):
    drawing, axes = plt.subplot_mosaic("aaa;bcd", figsize=(14, 7.5), height_ratios=[1, 1.5], width_ratios=[2, 4, 3])
    arms = (*TABLES, "LSTM", "hot LSTM", "unread LSTM")
    axes["a"].set(title="Sentences that each arm wrote", xlim=(0, 3), ylim=(9.6, 0.3))
    axes["a"].set_axis_off()
    for place, arm in enumerate(arms):
        axes["a"].text(place % 3, place // 3 * 5 + 1, arm, fontweight="bold")
        for line, text in enumerate(in_words(torch.tensor(trials[f"{arm}/shown"][0]).long().view(3, -1)), 2):
            mark, color = ("✓", "C0") if valid(text) else ("✗", "C2")
            axes["a"].text(place % 3, place // 3 * 5 + line, f"{mark} {text}", color=color)
    strips(axes["b"], {arm: trials[f"{arm}/astray"] for arm in ("drawn", "unread", "likeliest")}, color="C5")
    for color, what, label in (("C0", "valid", "valid"), ("C3", "new", "valid and new")):
        strips(axes["c"], {arm.replace(" ", "\n"): trials[f"{arm}/{what}"] for arm in arms}, color=color, label=label)
    reference_line(axes["c"], trials["grammar/new"].mean(), "new, of the\ngrammar's\nown")
    for place, (arm, color) in enumerate({"trigrams": "C4", "5-grams": "C1", "LSTM": "C0"}.items()):
        shares = {count: trials[f"{arm}/{count}/valid"] for count in CLAUSES}
        strips(axes["d"], shares, color=color, label=arm, shift=0.25 * (place - 1), width=0.2)
    axes["b"].set(title="By hand: share of words astray")
    axes["c"].set(title="Share of sentences", ylim=(-0.03, 1.03))
    axes["d"].set(title="Share of sentences valid, by relative clauses", xlabel="relative clauses", ylim=(-0.03, 1.03))
    axes["c"].legend(loc="upper left")
    axes["d"].legend(loc="center left")
    return drawing


# %%
# Try it yourself
# ---------------
# At a temperature of 0.5 an LSTM squares its probabilities. Will more of its sentences be valid? Before you trust the
# total, see each number of clauses in the table: `python -m lessons run generating --set temperature=0.5 --seeds 7`.
# And with how little training is an LSTM no better than 5-grams? Guess, and try `--set steps=40`.

if __name__ == "__main__":
    lesson.main("generating")
