"""
Is the angle between two word vectors better than their distance?
=================================================================

A *word vector* is a list of numbers that stands for a word. It is learned from a text, so that words with similar
neighbours get similar vectors. How similar are two of them? We can measure their *distance*, as with a ruler (*L2*). Or
we can look from the origin, where all numbers are 0, and measure the angle between them, by its *cosine*. ::

    L2        ‖a - b‖ = √((a₁ - b₁)² + (a₂ - b₂)² + …)           0 where they are equal
    dot       a · b = a₁ b₁ + a₂ b₂ + …                          the larger, the nearer
    cosine    a · b / (‖a‖ ‖b‖)                                  1 in one direction, 0 at a right angle

‖a‖ is the *length* of a, its distance from the origin. Take *cat*, a frequent word, and two rare ones: ::

    kitten  (0.8, 0.6)     cat  (3, 4)           kitten to cat      L2 4.05    cosine 0.96    dot 4.80
    length  1              length  5
                           stone  (0.8, -0.6)    kitten to stone    L2 1.20    cosine 0.28    dot 0.28
                           length  1

By L2 a kitten is nearer to a stone than to a cat. Why? A square of L2 has two parts, one of lengths and one of angles: ::

    ‖a - b‖² = (‖a‖ - ‖b‖)² + 2 ‖a‖ ‖b‖ (1 - cosine)             kitten to cat: 4² + 2 · 5 · 0.04 = 16.4 = 4.05²

So length matters, and what does it tell? Training moves a word's vector each time that the word is seen, mostly away
from the origin: frequent words become long (Schakel and Wilson, 2015). L2 then finds frequent and rare words different,
whatever they mean. The course notes say that the cosine often does better, and that vectors are to be *normalised*, each
divided by its length. Cat becomes (0.6, 0.8). For length 1 the formula reads ‖a - b‖² = 2 - 2 cosine: L2 puts words in
the same order as the cosine, and so does the dot product. Cat has now a squared distance of 0.08, the stone 1.44.

But the formula also says where length does no harm: between words that are about as frequent. Among hundreds of words
of its kind, does a word not find some as long as itself?
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
# We make up a text of 10 *classes* with 200 words each. The class of a word decides which class comes next, and nothing
# else does: words of a class have the same neighbours, and mean the same. Within a class the second word comes half as
# often as the first, the third a third as often (Zipf's law). *Skip-gram* learns the vectors: from each word it guesses
# those beside it, in a few *passes* over the text. Then four *arms* judge the same vectors: cosine, L2, dot product, and
# L2 after normalising. Is the nearest word of the same class? We ask it of all words; and for the rare half of each
# class among the frequent tenth. Is a *pair* of one class nearer than a pair of two? A *seed* draws the text, the first
# vectors and all else. Two checks: a text whose words of a class are all as frequent, and one pass of training. On a
# real text, classes are lists of words such as months or colours.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "planted"  # or text8, text:PATH
    count: int = 200_000  # words of the planted text
    classes: int = 10  # of planted words
    words: int = 200  # of each class
    exponent: float = 1.0  # of Zipf's law: at 0 all words of a class are as frequent
    dim: int = 32  # numbers of a vector
    window: int = 2  # how far neighbours may be
    epochs: int = 5  # passes over the text
    device: str = "cpu"  # where vectors are trained


QUICK = Config(count=20_000, words=20, dim=8, epochs=2)
SEEDS = range(12)
DATA = ("planted", "text8", "text:PATH")
NEAREST, SHOWN = 5, 50  # neighbours that are compared; words of either class in the figure, at most
GROUPS = ("frequent", "middle", "rare")  # by rank in its class: the first tenth, then up to the half, the rest


class Words(NamedTuple):
    """Words that have a class, the most frequent first: vectors (V, D), how often they came (V,), classes (V,)."""

    vectors: Tensor
    counts: Tensor
    classes: Tensor

    def groups(self) -> Tensor:
        """Whether each word is frequent, middle or rare in its class: 0, 1 or 2."""
        same = self.classes[:, None] == self.classes
        ranks, sizes = same.tril(-1).sum(1), same.sum(1)
        return (10 * ranks >= sizes.clamp(min=10)).long() + (2 * ranks >= sizes)


def trial(config: Config, seed: int) -> Measured:
    words = learned(config, seed)
    scores = scores_of(words)
    measured = of_lengths(words) | of_two_classes(words, scores)
    for arm, score in scores.items():
        measured |= {f"{what}/{arm}/right": share for what, share in judged(score, words).items()}
    cosine, unit = (scores[arm].topk(NEAREST).indices.sort().values for arm in ("cosine", "unit L2"))
    measured["unit/differ"] = (cosine != unit).double().mean().item()
    even = replace(config, data="planted", exponent=0.0)  # no real text is so
    for name, setting in {"even": even, "brief": replace(config, epochs=1)}.items():
        words = learned(setting, seed)
        for arm, score in scores_of(words).items():
            measured[f"{name}/{arm}/right"] = judged(score, words)["rare to frequent"]
    return measured


def learned(config: Config, seed: int) -> Words:
    if config.data == "planted":
        shape = {"classes": config.classes, "words": config.words, "exponent": config.exponent}
        text = data.class_chain(config.count, **shape, generator=stream(seed, "text"))
        ids, classes = text.ids, text.attributes[:, 0]
    else:
        ids, classes = read(config.data)
    model = SkipGram(len(classes), config.dim, window=config.window, generator=stream(seed, "weights"))
    model.to(config.device)
    train_word_vectors(model, ids, generator=stream(seed, "draws"), epochs=config.epochs, progress=False)
    counts = ids.bincount(minlength=len(classes))
    kept = counts.argsort(descending=True, stable=True)
    kept = kept[classes[kept] >= 0]
    return Words(model.vectors.cpu().double()[kept], counts[kept].double(), classes[kept])


def read(name: str) -> tuple[Tensor, Tensor]:
    """A real text, and the class of each of its words, -1 for most: all that come less than 5 times are left out."""
    words = data.load_words(name)
    vocabulary = Vocabulary.of(words)
    lists = [[word for word in members if word in vocabulary] for members in data.word_categories().values()]
    lists = [members for members in lists if len(members) > NEAREST]
    if len(lists) < 2:
        raise data.DataError(f"{name} has too few of the words that are judged: months, colours, family and the like")
    classes = torch.full((len(vocabulary),), -1)
    for number, members in enumerate(lists):
        classes[vocabulary.ids(members)] = number
    return vocabulary.encode(words), classes


def scores_of(words: Words) -> dict[str, Tensor]:
    """How near each word is to each, (V, V), by each arm; no word is its own neighbour."""
    plain, unit = words.vectors, unit_vectors(words.vectors)
    scores = {"cosine": similarity(plain, plain, "cosine"), "L2": similarity(plain, plain, "l2")}
    scores |= {"dot": similarity(plain, plain, "dot"), "unit L2": similarity(unit, unit, "l2")}
    return {arm: score.fill_diagonal_(-torch.inf) for arm, score in scores.items()}


def judged(scores: Tensor, words: Words) -> dict[str, float]:
    """The share of neighbours of the same class; and of pairs of one class that are nearer than a pair of two."""
    same, groups = words.classes[:, None] == words.classes, words.groups()
    right = same.gather(1, scores.topk(NEAREST).indices).double().mean(1)
    shares = {"all": right, **{name: right[groups == number] for number, name in enumerate(GROUPS)}}
    rare, frequent = (groups == 2).nonzero(), (groups == 0).nonzero()[:, 0]
    best = frequent[scores[rare, frequent].argmax(1)]
    shares["rare to frequent"] = (words.classes[best] == words.classes[rare[:, 0]]).double()
    one, other = torch.triu_indices(*same.shape, offset=1)
    alike, ranks = same[one, other], torch.from_numpy(rankdata(scores[one, other]))
    ones = int(alike.sum())
    above = ranks[alike].mean() - (ones + 1) / 2  # how many pairs of two classes a pair of one leaves behind
    return {name: share.mean().item() for name, share in shares.items()} | {
        "pairs": (above / (len(ranks) - ones)).item()
    }


def of_lengths(words: Words) -> Measured:
    """How length goes with how often a word came: the correlation, and means of words 1 to 3, 4 to 7 and so on."""
    lengths = words.vectors.norm(dim=1)
    both = torch.stack([lengths, words.counts.clamp(min=1).log()])
    ends = [round(len(lengths) ** (part / 8)) for part in range(1, 8)]
    means = {"lengths": lengths, "counts": words.counts.clamp(min=1)}
    curves = {name: [part.mean().item() for part in numbers.tensor_split(ends)] for name, numbers in means.items()}
    return {"length/correlation": torch.corrcoef(both)[0, 1].item(), **curves}


def of_two_classes(words: Words, scores: dict[str, Tensor]) -> Measured:
    """For the figure: the two classes that are hardest to tell apart, in a plane through the origin and their middles."""
    kinds = words.classes.unique()
    middles = unit_vectors(torch.stack([unit_vectors(words.vectors)[words.classes == kind].mean(0) for kind in kinds]))
    first, second = divmod(int(similarity(middles, middles).fill_diagonal_(-1).argmax()), len(kinds))
    plane = unit_vectors(torch.stack([middles[first] + middles[second], middles[first] - middles[second]]))
    members = [(words.classes == kinds[one]).nonzero()[:, 0] for one in (first, second)]
    size = min(SHOWN, *words.classes.bincount().tolist())
    shown = torch.cat([one[torch.linspace(0, len(one) - 1, size).long()] for one in members])
    groups, kind = words.groups()[shown], words.classes[shown]
    rare, frequent = (groups == 2).nonzero()[:, 0], (groups == 0).nonzero()[:, 0]
    nearest = {arm: frequent[scores[arm][shown[rare]][:, shown[frequent]].argmax(1)] for arm in ("cosine", "L2")}
    right = {arm: kind[best] == kind[rare] for arm, best in nearest.items()}
    example = int((right["cosine"].long() - right["L2"].long()).argmax())  # of a word for which they disagree, if any
    points = words.vectors[shown] @ plane.T
    marked = [rare[example].item(), nearest["cosine"][example].item(), nearest["L2"][example].item()]
    return {
        "shown/x": points[:, 0].tolist(),
        "shown/y": points[:, 1].tolist(),
        "shown/count": words.counts[shown].tolist(),
        "shown/marked": [float(one) for one in marked],
    }


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, and *limits*, where we expect them to fail. The *margin*, the smallest
# difference that matters, stands in each sentence.

# fmt: off
PREDICTIONS = [
    claim("4.03", "rare to frequent", "For a rare word the nearest frequent word is of its class in a share at least "
          "0.05 larger by cosine than by L2.", lambda t: difference(
              t["rare to frequent/cosine/right"] - t["rare to frequent/L2/right"], margin=0.05), arms=("cosine", "L2")),
    claim("4.03", "pairs", "A pair of one class is nearer than a pair of two in a share at least 0.02 larger by cosine "
          "than by L2.", lambda t: difference(t["pairs/cosine/right"] - t["pairs/L2/right"], margin=0.02),
          arms=("cosine", "L2")),
    claim("4.03", "length", "The correlation of a vector's length with the logarithm of its word's count is above 0.5.",
          lambda t: difference(t["length/correlation"], margin=0.5), of="correlation"),
    limit("4.03", "among all", "Of the 5 nearest among all words, the share of the same class is not larger by 0.02 by "
          "cosine than by L2.", lambda t: not_better(difference(t["all/cosine/right"] - t["all/L2/right"], margin=0.02)),
          arms=("cosine", "L2"), because="in a large class there are words that are as long as the one that asks"),
    limit("4.03", "evenly frequent", "Where words of a class are equally frequent, the share right for rare words is "
          "not larger by 0.05 by cosine than by L2.", lambda t: not_better(
              difference(t["even/cosine/right"] - t["even/L2/right"], margin=0.05)), arms=("cosine", "L2"),
          because="length then tells no frequency"),
    limit("4.03", "one pass", "After one pass over the text, the share right for rare words is not larger by 0.05 by "
          "cosine than by L2.", lambda t: not_better(
              difference(t["brief/cosine/right"] - t["brief/L2/right"], margin=0.05)), arms=("cosine", "L2"),
          because="rare words have not moved far enough to have a direction"),
    claim("4.04", "unit length", "Among vectors of length 1, the 5 nearest by L2 are the 5 nearest by cosine.",
          lambda t: identity(t["unit/differ"], tolerance=0.0), of="share of neighbours that differ"),
    claim("4.04", "dot product", "Of the 5 nearest by dot product, a share at least 0.1 larger is of the same class if "
          "vectors are normalised, which makes it the cosine.", lambda t: difference(
              t["all/cosine/right"] - t["all/dot/right"], margin=0.1), arms=("cosine", "dot")),
]

ANSWERS = [
    answer("4.03", "Where frequent words meet rare ones: a rare word's nearest frequent word is right {rare to "
           "frequent:points} points more often. Among all words, or equally frequent ones, L2 does as well.",
           given={"rare to frequent": "supported", "pairs": "supported", "among all": "supported",
                  "evenly frequent": "supported"}),
    answer("4.04", "For unit vectors L2 and cosine find the same neighbours, always. By dot product normalising makes "
           "{dot product:points} points more of them right.",
           given={"unit length": "supported", "dot product": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: two classes as seen in the plane of their middle directions (first seed; large dots came
# often). Each class is a fan from the origin, where rare words lie. A rare word (cross) and its nearest frequent word:
# by cosine in its own fan, by L2 in the other, which is shorter. In the middle, the share that is right, a dot a seed:
# among all words L2 is as good; from rare words to frequent ones it fails; the dot product picks long vectors. On the
# right, length over count, a thin line a seed.


def figure(trials):
    drawing, (plane, shares, lengths) = plt.subplots(1, 3, figsize=(15, 4.8), width_ratios=[1, 1.2, 1])
    x, y, counts, marked = (trials[f"shown/{what}"][0] for what in ("x", "y", "count", "marked"))
    colors = ["C0"] * (len(x) // 2) + ["C1"] * (len(x) // 2)
    plane.scatter(x, y, 8 + 4 * counts**0.5, colors, alpha=0.5, linewidths=0)
    query, *found = marked.astype(int)
    for arm, place, style in zip(("cosine", "L2"), found, ("-", "--"), strict=True):
        plane.plot(x[[query, place]], y[[query, place]], f"k{style}", linewidth=1, label=f"nearest by {arm}")
    plane.plot(x[query], y[query], "kX", markersize=9)
    plane.plot(0, 0, "k+", markersize=12)
    plane.set(title="Two classes, seen in a plane", aspect="equal")
    arms = ("cosine", "L2", "dot")
    for place, arm in enumerate(arms):
        groups = {
            name.replace(" to ", "\nto "): trials[f"{name}/{arm}/right"]
            for name in (*GROUPS, "rare to frequent", "pairs")
        }
        strips(shares, groups, color=f"C{place}", label=arm, shift=0.27 * (place - 1), width=0.2)
    shares.set(title="Share right", ylim=(0, 1.03))
    for count, length in zip(trials["counts"], trials["lengths"], strict=True):
        lengths.plot(count, length, color="C0", linewidth=0.6, alpha=0.6)
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
