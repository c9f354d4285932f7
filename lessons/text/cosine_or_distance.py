"""
Is the angle between two word vectors better than their distance?
=================================================================

A *word vector* is a list of numbers that stands for a word. It is learned from a text: words that stand beside the same
words get similar vectors. How near are two of them? We can measure their distance as with a ruler, the *L2* distance.
Or we look from the origin, where all numbers are 0, and measure the angle between them, by its *cosine*. ::

    L2        ‖a - b‖ = √((a₁ - b₁)² + (a₂ - b₂)² + …)       0 where both are equal
    dot       a · b = a₁ b₁ + a₂ b₂ + …                      the larger, the nearer
    cosine    a · b / (‖a‖ ‖b‖)                              1 in the same direction, 0 at a right angle

‖a‖ is the *length* of a, its distance from the origin. Take a frequent word, *cat*, and two rare ones: ::

    kitten (0.8, 0.6), length 1      to cat (3, 4), length 5          L2 4.05    cosine 0.96    dot 4.80
                                     to stone (0.8, -0.6), length 1   L2 1.20    cosine 0.28    dot 0.28

By L2 a kitten is nearer to a stone than to a cat. Why? L2 squared has a part from lengths, and one from the angle: ::

    ‖a - b‖² = (‖a‖ - ‖b‖)² + 2 ‖a‖ ‖b‖ (1 - cosine)         to cat: (1 - 5)² + 2 · 1 · 5 · 0.04 = 16.4

Training moves a word's vector each time that it meets the word. If the words beside it are of one kind, the moves add
up. So frequent words become long (Schakel and Wilson, 2015). L2 then holds frequent and rare words apart, whatever they
mean. The course notes say that the cosine is often better. They also *normalise* vectors: each is divided by its
length. Cat becomes (0.6, 0.8). At length 1 the formula reads ‖a - b‖² = 2 - 2 cosine. So L2, cosine and dot product put
words in one order. From kitten, the square to cat is now 0.08, to stone still 1.44.

But L2 does no harm between equal lengths. Suppose that some words of like meaning are as long as ours: is L2 as good?
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from dlnotes import data, lesson
from dlnotes.evidence import difference, identity, not_better
from dlnotes.lesson import answer, claim, limit, strips
from dlnotes.measuring import Measured
from dlnotes.randomness import stream
from dlnotes.text import SkipGram, Vocabulary, similarity, train_word_vectors, unit_vectors

# %%
# The experiment
# --------------
# We make up a text of 10 *classes* of 200 words. The class of a word alone sets the odds of the next class. So words of
# a class stand beside the same words, and count as alike. Within a class the second word comes half as often as the
# first, the third a third as often (*Zipf's law*). *Skip-gram* learns vectors by guessing, from each word, those beside
# it. Three *arms*, ways to compare, judge the same vectors: cosine, L2 and dot product. Of the 5 words nearest to a
# word, how many are of its class? *Rare* words are the half of a class that came least, *frequent* ones the tenth that
# came most. Is the frequent word nearest to a rare one of its class? In one more text, all words of a class are equally
# likely: both groups differ by chance. A *seed* draws all anew. In a real text classes are lists, such as colours.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "planted"  # the made-up text; or text8, text:PATH
    count: int = 200_000  # words of the planted text
    words: int = 200  # of each class
    exponent: float = 1.0  # of Zipf's law: at 0 all words of a class are equally likely
    epochs: int = 5  # passes over the text
    device: str = "cpu"  # where vectors are trained


QUICK = Config(count=20_000, words=20, epochs=2)
SEEDS = range(12)
DATA = ("planted", "text8", "text:PATH")
NEAREST, SHOWN = 5, 50  # neighbours that are compared; words of either class in the figure
GROUPS = ("frequent", "middle", "rare")  # by rank in its class: the first tenth, then up to the half, the rest


class Words(NamedTuple):
    """Words that have a class, the most frequent first: a row each."""

    vectors: Tensor
    counts: Tensor
    classes: Tensor
    groups: Tensor  # 0 for frequent words, 1 for middle ones, 2 for rare ones


def trial(config: Config, seed: int) -> Measured:
    words = learned(config, seed)
    measured = of_lengths(words) | of_one_word(words)
    for arm, scores in scores_of(words.vectors, words.vectors).items():
        scores.fill_diagonal_(-torch.inf)  # no word is its own neighbour
        right = (words.classes[scores.topk(NEAREST).indices] == words.classes[:, None]).double().mean(1)
        measured[f"all/{arm}/right"] = right.mean().item()
        measured |= {f"{name}/{arm}/right": right[words.groups == one].mean().item() for one, name in enumerate(GROUPS)}
    units = scores_of(*[unit_vectors(words.vectors)] * 2)
    one, other = (units[arm].topk(NEAREST + 1).indices for arm in ("cosine", "L2"))  # the first of them is itself
    measured["unit/differ"] = (one != other).double().mean().item()
    even = learned(replace(config, data="planted", exponent=0.0), seed)  # no real text is so
    for name, found in {"rare to frequent": words, "even": even}.items():
        rare, nearest = rare_to_frequent(found)
        for arm, best in nearest.items():
            measured[f"{name}/{arm}/right"] = (found.classes[best] == found.classes[rare]).double().mean().item()
    return measured


def learned(config: Config, seed: int) -> Words:
    if config.data == "planted":
        draws = stream(seed, "text")
        text = data.class_chain(config.count, words=config.words, exponent=config.exponent, generator=draws)
        ids, classes = text.ids, text.attributes[:, 0]
    else:
        ids, classes = read(config.data)
    model = SkipGram(len(classes), 32, window=2, generator=stream(seed, "weights")).to(config.device)
    train_word_vectors(model, ids, generator=stream(seed, "draws"), epochs=config.epochs, progress=False)
    counts = ids.bincount(minlength=len(classes))
    kept = counts.argsort(descending=True, stable=True)
    kept = kept[classes[kept] >= 0]
    counts, classes = counts[kept].double().clamp(min=1), classes[kept]  # a planted word may not have come at all
    same = classes[:, None] == classes
    ranks, sizes = same.tril(-1).sum(1), same.sum(1)
    return Words(
        model.vectors.cpu().double()[kept], counts, classes, (10 * ranks >= sizes).long() + (2 * ranks >= sizes)
    )


def read(name: str) -> tuple[Tensor, Tensor]:
    """A real text without words that come less than 5 times, and the class of each word, -1 for most."""
    vocabulary = Vocabulary.of(words := data.load_words(name))
    known = [[word for word in members if word in vocabulary] for members in data.word_categories().values()]
    if len(lists := [members for members in known if len(members) > NEAREST]) < 2:
        raise data.DataError(f"{name} has too few of the words that are judged, such as months, colours, animals")
    classes = torch.full((len(vocabulary),), -1)
    for number, members in enumerate(lists):
        classes[vocabulary.ids(members)] = number
    return vocabulary.encode(words), classes


def scores_of(words: Tensor, others: Tensor) -> dict[str, Tensor]:
    """How near each word is to each of the others, by each arm: the larger, the nearer."""
    cosine, distance, dot = similarity(words, others, "cosine"), similarity(words, others, "l2"), words @ others.T
    return {"cosine": cosine, "L2": distance, "dot": dot}


def rare_to_frequent(words: Words) -> tuple[Tensor, dict[str, Tensor]]:
    """The rare words, and the frequent word that is nearest to each of them, by each arm."""
    rare, frequent = ((words.groups == group).nonzero()[:, 0] for group in (2, 0))
    scores = scores_of(words.vectors[rare], words.vectors[frequent])
    return rare, {arm: frequent[score.argmax(1)] for arm, score in scores.items()}


def of_lengths(words: Words) -> Measured:
    """How length goes with the logarithm of count: their correlation, and means of 8 groups, frequent words first."""
    both = torch.stack([words.vectors.norm(dim=1), words.counts.log()])
    parts = both.tensor_split([round(both.shape[1] ** (part / 8)) for part in range(1, 8)], dim=1)
    lengths, logs = torch.stack([part.mean(1) for part in parts], 1)
    return {
        "correlation": torch.corrcoef(both)[0, 1].item(),
        "lengths": lengths.tolist(),
        "counts": logs.exp().tolist(),
    }


def of_one_word(words: Words) -> Measured:
    """For the figure: a rare word that L2 takes for one of another class, and both classes in a plane of their own."""
    rare, nearest = rare_to_frequent(words)
    found = torch.stack([rare, nearest["cosine"], nearest["L2"]])
    own, by_cosine, by_distance = words.classes[found]
    found = found[:, ((own == by_cosine) & (own != by_distance)).long().argmax()]
    members = [(words.classes == words.classes[one]).nonzero()[:, 0] for one in found[[0, 2]]]
    one, other = unit_vectors(torch.stack([unit_vectors(words.vectors)[each].mean(0) for each in members]))
    ranks = torch.linspace(0, words.classes.bincount().min() - 1, SHOWN).long()
    shown = torch.cat([found, *(each[ranks] for each in members)])
    x, y = unit_vectors(torch.stack([one + other, one - other])) @ words.vectors[shown].T
    x, y = x.round(decimals=3), y.round(decimals=3)
    return {"x": x.tolist(), "y": y.tolist(), "sizes": words.counts[shown].tolist()}


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, and *limits*, where we expect them to fail. The *margin* is the
# smallest difference that matters. Each sentence names it, but for length 1: there no neighbour may differ.

# fmt: off
PREDICTIONS = [
    claim("4.03", "rare to frequent", "For rare words, the nearest frequent word is of the same class in a share at "
          "least 0.05 larger by cosine than by L2.", lambda t: difference(t["rare to frequent/cosine/right"]
              - t["rare to frequent/L2/right"], margin=0.05), arms=("cosine", "L2")),
    claim("4.03", "length", "The length of vectors has a correlation above 0.5 with the logarithm of counts.",
          lambda t: difference(t["correlation"], margin=0.5), of="correlation"),
    limit("4.03", "among all", "Of the 5 nearest among all words, the share of the same class is not larger by 0.02 by "
          "cosine.", lambda t: not_better(difference(t["all/cosine/right"] - t["all/L2/right"], margin=0.02)),
          arms=("cosine", "L2"), because="some words of a class are as long as the one that asks"),
    limit("4.03", "equally frequent", "Where words of a class are equally likely, the frequent word nearest to a rare "
          "one is of its class in a share that is not larger by 0.05 by cosine.", lambda t: not_better(difference(
              t["even/cosine/right"] - t["even/L2/right"], margin=0.05)), arms=("cosine", "L2")),
    claim("4.04", "length 1", "Among vectors of length 1, the 5 nearest by L2 are the 5 nearest by cosine.",
          lambda t: identity(t["unit/differ"], tolerance=0.0), of="share of the 5 nearest that differ"),
    claim("4.04", "dot product", "Of the 5 nearest by dot product, a share at least 0.1 larger is of the same class if "
          "vectors are normalised, which makes it the cosine.", lambda t: difference(
              t["all/cosine/right"] - t["all/dot/right"], margin=0.1), arms=("cosine", "dot")),
]

ANSWERS = [
    answer("4.03", "Between rare and frequent words, yes: a rare word's nearest frequent word is right {rare to "
           "frequent:points} points more often by cosine. Among all words, or equally frequent ones, L2 is as good.",
           given={"rare to frequent": "supported", "among all": "supported", "equally frequent": "supported",
                  "text8/among all": "inconclusive"}),
    answer("4.04", "At length 1, L2 and cosine find the same nearest words. Without it, a share {dot product:points} "
           "points smaller of the nearest by dot product is of the same class.",
           given={"length 1": "supported", "dot product": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, one seed: vectors of two classes, in the plane of both mean directions. Larger dots are more frequent
# words. Each class begins where rare words lie together, and stretches out in a direction of its own. Two lines lead
# from a rare word to the nearest frequent one: by cosine to its own class, by L2 to the other. In the middle, the share
# right, a dot a seed. The first three groups ask for the 5 nearest among all words: L2 is as good. From rare to
# frequent it fails. The dot product prefers long vectors. On the right, mean length over count, a line a seed.


def figure(trials):
    drawing, (plane, shares, lengths) = plt.subplots(1, 3, figsize=(15, 4.8), width_ratios=[1, 1.2, 1])
    x, y, sizes = (trials[what][0] for what in ("x", "y", "sizes"))  # first a rare word, and what each arm finds
    plane.scatter(x[3:], y[3:], 8 + 4 * sizes[3:] ** 0.5, ["C0"] * SHOWN + ["C1"] * SHOWN, alpha=0.5, linewidths=0)
    for found, label, style in ((1, "nearest by cosine", "k-o"), (2, "nearest by L2", "k--o")):
        plane.plot(x[[0, found]], y[[0, found]], style, linewidth=1, label=label)
    plane.plot(0, 0, "k+", markersize=14, label="the origin")
    plane.set(title="Two classes, seen in a plane", xlabel="what both share", ylabel="what tells them apart")
    for place, arm in enumerate(("cosine", "L2", "dot")):
        groups = {name: trials[f"{name}/{arm}/right"] for name in (*GROUPS, "rare to frequent")}
        strips(shares, groups, color=f"C{place}", label=arm, shift=0.27 * (place - 1), width=0.2)
    shares.set(title="Share right", ylim=(0, 1.03))
    lengths.plot(trials["counts"].T, trials["lengths"].T, color="C0", linewidth=0.6, alpha=0.6)
    lengths.set(title="Length of vectors", xlabel="how often the word came", xscale="log")
    plane.legend(fontsize="small")
    shares.legend(fontsize="small", loc="lower left")
    return drawing


# %%
# Try it yourself
# ---------------
# Will more training help L2, or the cosine? Guess, then run
# `python -m lessons run cosine_or_distance --set epochs=20 --seeds 20-22`.
# And after a single pass, when most vectors are short? See "all" in the table: `--set epochs=1`

if __name__ == "__main__":
    lesson.main("cosine_or_distance")
