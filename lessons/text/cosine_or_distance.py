"""
Is the angle between two word vectors better than their distance?
=================================================================

A *word vector* is a list of numbers that stands for a word. It is learned from a text, so that words with similar
neighbours get similar vectors. How near are two of them? We can measure their distance as with a ruler, the *L2*
distance. Or we look from the origin, where all numbers are 0, and measure the angle between them, by its *cosine*. ::

    L2        ‖a - b‖ = √((a₁ - b₁)² + (a₂ - b₂)² + …)       0 where both are equal
    dot       a · b = a₁ b₁ + a₂ b₂ + …                      the larger, the nearer
    cosine    a · b / (‖a‖ ‖b‖)                              1 in the same direction, 0 at a right angle

‖a‖ is the *length* of a, its distance from the origin. Take a frequent word, *cat*, and two rare ones: ::

    kitten (0.8, 0.6), length 1      to cat (3, 4), length 5          L2 4.05    cosine 0.96    dot 4.80
                                     to stone (0.8, -0.6), length 1   L2 1.20    cosine 0.28    dot 0.28

By L2 a kitten is nearer to a stone than to a cat. Why? The square of L2 has two parts, of lengths and of the angle: ::

    ‖a - b‖² = (‖a‖ - ‖b‖)² + 2 ‖a‖ ‖b‖ (1 - cosine)         to cat: (1 - 5)² + 2 · 1 · 5 · 0.04 = 16.4

What does length tell? Training moves a word's vector each time that it meets the word. So the vectors of frequent words
become long, if their neighbours agree (Schakel and Wilson, 2015). L2 then holds frequent and rare words apart, whatever
they mean. The course notes say that the cosine is often better, and that vectors are *normalised* first, divided by
their length. Cat becomes (0.6, 0.8). Among vectors of length 1 the formula reads ‖a - b‖² = 2 - 2 cosine, so that L2
and cosine, and the dot product, put words in one order: cat now has 0.08, stone 1.44.

The formula also says where length does no harm: between words of the same length. Is it not enough if a few words of
its kind are as frequent as the word that asks?
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import pyplot as plt
from scipy.stats import rankdata
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
# We make up a text of 10 *classes*, with 200 words each. The class of a word decides which class comes next, and
# nothing else does: words of a class have the same neighbours, and mean the same. Within a class the second word comes
# half as often as the first, the third a third as often (*Zipf's law*). *Skip-gram* learns the vectors: from each word
# it guesses those beside it, in five *passes* over the text. Then three *arms* judge the same vectors, by cosine, L2
# and dot product. Of the 5 words that are nearest to each, how many are of its class? And is the nearest *frequent*
# word, of the tenth of each class that came most often, right for a *rare* one, of the half that came least? How often
# is a *pair* of one class nearer than a pair of two? A *seed* draws the text, the first vectors and all else. We also
# try a text in which words of a class are equally frequent, and a training of one pass. On a real text the classes are
# short lists, such as months and colours.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "planted"  # or text8, text:PATH
    count: int = 200_000  # words of the planted text
    words: int = 200  # of each class
    exponent: float = 1.0  # of Zipf's law: at 0 all words of a class are as frequent
    dim: int = 32  # numbers of a vector
    epochs: int = 5  # passes over the text
    device: str = "cpu"  # where vectors are trained


QUICK = Config(count=20_000, words=20, dim=8, epochs=2)
SEEDS = range(12)
DATA = ("planted", "text8", "text:PATH")
NEAREST, SHOWN = 5, 50  # neighbours that are compared; words of either class in the figure, at most
ARMS = {"cosine": "cosine", "L2": "l2", "dot": "dot"}
GROUPS = ("frequent", "middle", "rare")  # by rank in its class: the first tenth, then up to the half, the rest


class Words(NamedTuple):
    """Words that have a class, the most frequent first."""

    vectors: Tensor  # (V, D)
    counts: Tensor  # (V,), how often each came
    classes: Tensor  # (V,)
    groups: Tensor  # (V,), 0 for frequent words, 1 for middle ones, 2 for rare ones


def trial(config: Config, seed: int) -> Measured:
    words = learned(config, seed)
    measured = of_lengths(words) | of_one_word(words)
    for arm in ARMS:
        scores = scores_of(words.vectors, arm)
        measured[f"pairs/{arm}/right"] = right_pairs(scores, words.classes)
        right = (words.classes[scores.topk(NEAREST).indices] == words.classes[:, None]).double().mean(1)
        measured[f"all/{arm}/right"] = right.mean().item()
        measured |= {f"{name}/{arm}/right": right[words.groups == one].mean().item() for one, name in enumerate(GROUPS)}
    alike = [scores_of(unit_vectors(words.vectors), arm).topk(NEAREST).indices for arm in ("cosine", "L2")]
    measured["unit/differ"] = (alike[0] != alike[1]).double().mean().item()
    even = replace(config, data="planted", exponent=0.0)  # no real text is so
    brief = learned(replace(config, epochs=1), seed)
    for name, found in {"rare to frequent": words, "even": learned(even, seed), "brief": brief}.items():
        for arm in ARMS:
            rare, best = rare_to_frequent(found, arm)
            measured[f"{name}/{arm}/right"] = (found.classes[best] == found.classes[rare]).double().mean().item()
    return measured


def learned(config: Config, seed: int) -> Words:
    if config.data == "planted":
        shape = {"words": config.words, "exponent": config.exponent}
        text = data.class_chain(config.count, **shape, generator=stream(seed, "text"))
        ids, classes = text.ids, text.attributes[:, 0]
    else:
        ids, classes = read(config.data)
    model = SkipGram(len(classes), config.dim, window=2, generator=stream(seed, "weights")).to(config.device)
    train_word_vectors(model, ids, generator=stream(seed, "draws"), epochs=config.epochs, progress=False)
    counts = ids.bincount(minlength=len(classes))
    kept = counts.argsort(descending=True, stable=True)
    kept = kept[classes[kept] >= 0]
    counts, classes = counts[kept].double().clamp(min=1), classes[kept]  # a planted word may not have come at all
    same = classes[:, None] == classes
    ranks, sizes = same.tril(-1).sum(1), same.sum(1)
    groups = (10 * ranks >= sizes.clamp(min=10)).long() + (2 * ranks >= sizes)
    return Words(model.vectors.cpu().double()[kept], counts, classes, groups)


def read(name: str) -> tuple[Tensor, Tensor]:
    """A real text, and the class of each of its words, -1 for most: all that come less than 5 times are left out."""
    words = data.load_words(name)
    vocabulary = Vocabulary.of(words)
    lists = [[word for word in members if word in vocabulary] for members in data.word_categories().values()]
    lists = [members for members in lists if len(members) > NEAREST]
    if len(lists) < 2:
        raise data.DataError(f"{name} has too few of the words that are judged, such as months, colours, animals")
    classes = torch.full((len(vocabulary),), -1)
    for number, members in enumerate(lists):
        classes[vocabulary.ids(members)] = number
    return vocabulary.encode(words), classes


def scores_of(vectors: Tensor, arm: str) -> Tensor:
    """How near each word is to each, (V, V); none is its own neighbour."""
    return similarity(vectors, vectors, ARMS[arm]).fill_diagonal_(-torch.inf)


def right_pairs(scores: Tensor, classes: Tensor) -> float:
    """How often a pair of one class is nearer than a pair of two: over all such pairs of pairs, by their ranks."""
    one, other = torch.triu_indices(*scores.shape, offset=1)
    alike, ranks = classes[one] == classes[other], torch.from_numpy(rankdata(scores[one, other]))
    ones = int(alike.sum())
    return ((ranks[alike].mean() - (ones + 1) / 2) / (len(ranks) - ones)).item()


def rare_to_frequent(words: Words, arm: str) -> tuple[Tensor, Tensor]:
    """The rare words, and for each of them the nearest frequent one."""
    rare, frequent = ((words.groups == group).nonzero()[:, 0] for group in (2, 0))
    return rare, frequent[similarity(words.vectors[rare], words.vectors[frequent], ARMS[arm]).argmax(1)]


def of_lengths(words: Words) -> Measured:
    """How length goes with count: their correlation, and means of the first words, of the next ones and so on."""
    both = torch.stack([words.vectors.norm(dim=1), words.counts.log()])
    parts = both.tensor_split([round(both.shape[1] ** (part / 8)) for part in range(1, 8)], dim=1)
    lengths, logs = torch.stack([part.mean(1) for part in parts], 1).tolist()
    return {"length/correlation": torch.corrcoef(both)[0, 1].item(), "lengths": lengths, "logs": logs}


def of_one_word(words: Words) -> Measured:
    """For the figure: a rare word that L2 takes for one of another class, and both classes in a plane of their own."""
    (rare, turned), (_, near) = (rare_to_frequent(words, arm) for arm in ("cosine", "L2"))
    kinds = words.classes[torch.stack([rare, turned, near])]
    place = ((kinds[0] == kinds[1]) & (kinds[0] != kinds[2])).long().argmax()
    members = [(words.classes == one).nonzero()[:, 0] for one in kinds[[0, 2], place]]
    one, other = unit_vectors(torch.stack([unit_vectors(words.vectors)[each].mean(0) for each in members]))
    size = min(SHOWN, *words.classes.bincount().tolist())
    some = [each[torch.linspace(0, len(each) - 1, size).long()] for each in members]
    shown = torch.cat([rare[place, None], turned[place, None], near[place, None], *some])
    points = words.vectors[shown] @ unit_vectors(torch.stack([one + other, one - other])).T
    return {"x": points[:, 0].tolist(), "y": points[:, 1].tolist(), "sizes": words.counts[shown].tolist()}


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, and *limits*, where we expect them to fail. The *margin*, the smallest
# difference that matters, stands in each sentence.

# fmt: off
PREDICTIONS = [
    claim("4.03", "rare to frequent", "For rare words, the nearest frequent word is of the same class in a share at "
          "least 0.05 larger by cosine than by L2.", lambda t: difference(t["rare to frequent/cosine/right"]
              - t["rare to frequent/L2/right"], margin=0.05), arms=("cosine", "L2")),
    claim("4.03", "pairs", "The share of pairs of one class that are nearer than a pair of two is at least 0.02 larger "
          "by cosine than by L2.", lambda t: difference(t["pairs/cosine/right"] - t["pairs/L2/right"], margin=0.02),
          arms=("cosine", "L2")),
    claim("4.03", "length", "The length of vectors has a correlation above 0.5 with the logarithm of counts.",
          lambda t: difference(t["length/correlation"], margin=0.5), of="correlation"),
    limit("4.03", "among all", "Of the 5 nearest among all words, the share of the same class is not larger by 0.02 by "
          "cosine.", lambda t: not_better(difference(t["all/cosine/right"] - t["all/L2/right"], margin=0.02)),
          arms=("cosine", "L2"), because="in a large class, some words are as long as the one that asks"),
    limit("4.03", "equally frequent", "Where words of a class are equally frequent, the share of nearest words that are "
          "right is not larger by 0.05 by cosine.", lambda t: not_better(difference(
              t["even/cosine/right"] - t["even/L2/right"], margin=0.05)), arms=("cosine", "L2")),
    limit("4.03", "one pass", "After one pass over the text, the share of rare words whose nearest frequent word is "
          "right is not larger by 0.05 by cosine.", lambda t: not_better(difference(
              t["brief/cosine/right"] - t["brief/L2/right"], margin=0.05)), arms=("cosine", "L2")),
    claim("4.04", "length 1", "Among vectors of length 1, the 5 nearest by L2 are the 5 nearest by cosine.",
          lambda t: identity(t["unit/differ"], tolerance=0.0), of="share of neighbours that differ"),
    claim("4.04", "dot product", "Of the 5 nearest by dot product, a share at least 0.1 larger is of the same class if "
          "vectors are normalised, which makes it the cosine.", lambda t: difference(
              t["all/cosine/right"] - t["all/dot/right"], margin=0.1), arms=("cosine", "dot")),
]

ANSWERS = [
    answer("4.03", "Between rare and frequent words, yes: by cosine the nearest frequent word is right {rare to "
           "frequent:points} points more often. Among all words, or equally frequent ones, L2 is as good.",
           given={"rare to frequent": "supported", "among all": "supported", "equally frequent": "supported"}),
    answer("4.04", "At length 1 the nearest words by L2 and by cosine are the same ones. Without it, {dot "
           "product:points} points fewer of the nearest by dot product are of the same class.",
           given={"length 1": "supported", "dot product": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself, of one seed: two classes, each a fan from the origin, in the plane of their middle
# directions. Large dots are frequent words. A cross is a rare word, and lines lead to the frequent word that is nearest:
# by cosine in its own fan; by L2 in the other, where it is as short. In the middle, the share right, a dot a seed.
# Frequent, middle and rare words find their like among all words, by L2 too. From rare words to frequent ones L2 fails.
# The dot product picks long vectors, whatever they mean. On the right, length over count, a line a seed.


def figure(trials):
    drawing, (plane, shares, lengths) = plt.subplots(1, 3, figsize=(15, 4.8), width_ratios=[1, 1.2, 1])
    x, y, sizes = (trials[what][0] for what in ("x", "y", "sizes"))
    colors = np.repeat(["C0", "C1"], len(x) // 2)[: len(x) - 3]  # the first three are the word that asks, and two found
    plane.scatter(x[3:], y[3:], 8 + 4 * sizes[3:] ** 0.5, colors, alpha=0.5, linewidths=0)
    for found, label, style in ((1, "nearest by cosine", "k-o"), (2, "nearest by L2", "k--o")):
        plane.plot(x[[0, found]], y[[0, found]], style, linewidth=1, label=label)
    plane.plot(x[0], y[0], "kX", markersize=9, label="a rare word")
    plane.plot(0, 0, "k+", markersize=14, label="the origin")
    plane.set(title="Two classes, seen in a plane", aspect="equal")
    for place, arm in enumerate(ARMS):
        groups = {name: trials[f"{name}/{arm}/right"] for name in (*GROUPS, "rare to frequent", "pairs")}
        groups = {name.replace(" to ", "\nto "): share for name, share in groups.items()}
        strips(shares, groups, color=f"C{place}", label=arm, shift=0.27 * (place - 1), width=0.2)
    shares.set(title="Share right", ylim=(0, 1.03))
    lengths.plot(np.exp(trials["logs"].T), trials["lengths"].T, color="C0", linewidth=0.6, alpha=0.6)
    lengths.set(title="Length of vectors", xlabel="how often the word came", xscale="log")
    for axes in (plane, shares):
        axes.legend(fontsize="small")
    return drawing


# %%
# Try it yourself
# ---------------
# Will more training help L2? Guess, then run `python -m lessons run cosine_or_distance --set epochs=20 --seeds 20-22`.
# And how uneven must frequencies be? Zipf's law with half the exponent: `--set exponent=0.5 --seeds 20-22`

if __name__ == "__main__":
    lesson.main("cosine_or_distance")
