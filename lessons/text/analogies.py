"""
Is king - man + woman = queen?
==============================

A *word vector* is a list of numbers that stands for a word. Training changes the numbers until they predict the words
around it in a text. So words with similar neighbours get similar vectors. Now suppose that a word is two things: a
*root*, what it is about, and a *role*, the form that the root takes. Here person and ruler are roots, male and female
are roles. If a vector is one part for the role plus one part for the root, two numbers are enough: ::

    a   man    (1, 1)        c   king   (1, 4)        the first number: 1 is male, 3 is female
    b   woman  (3, 1)        d   queen  (3, 4)        the second one: 1 is a person, 4 is a ruler

    king - man + woman = c - a + b = (1 - 1 + 3, 4 - 1 + 1) = (3, 4)

That is queen. The step from man to woman is (2, 0), and so is the step from king to queen: the four words are corners
of a parallelogram. The course notes say that this solves *analogies*: if a is to b as c is to d, d lies near b - a + c.

But words also have something of their own: kings have thrones, men have beards. Give each word a number of its own, s,
where the others have 0: man is (1, 1, s, 0, 0, 0). The sum b - a + c is (3, 4, -s, s, s, 0). Queen, (3, 4, 0, 0, 0, s),
differs from it by s four times; king, (1, 4, 0, 0, s, 0), by 2 once and by s twice. By Pythagoras: ::

    from the sum to queen   √(s² + s² + s² + s²) = 2 s           s = 1:  2.00      s = 2:  4.00
    from the sum to king    √(2² + s² + s²)                      s = 1:  2.45      s = 2:  3.46

With s = 2, king - man + woman is nearest to king! The usual programs do not show it: a, b and c are *left out* of the
possible answers, mostly without saying so. Queen is then the best of the rest. But queen may also be just the word most
like king. Then no arithmetic was needed. So we ask with and without a, b and c, and compare with a look at c alone.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from dlnotes import data, lesson
from dlnotes.evidence import difference, not_better
from dlnotes.lesson import answer, claim, curves, limit, strips
from dlnotes.measuring import Measured
from dlnotes.randomness import stream
from dlnotes.text import SkipGram, Vocabulary, analogy, nearest, train_word_vectors, unit_vectors

# %%
# The experiment
# --------------
# We *plant* what words mean. Each of 20 roots has a word for each of 4 roles. Around a word stand two *markers* of its
# root and two of its role, made-up words too. One marker in five is a random one instead. Then we change one thing.
# Words get something of their own: up to 0.8 of a role's markers give way to a marker that only this word has. Or
# *nothing is shared*: each root shuffles its words' roles once the questions are set. Or there are two roles: d is then
# the only other word of c's root. *Skip-gram*, a usual method, trains the vectors. Near now means a small angle.
#
# In a question, a and b have one root, c and d another; a and c have one role, b and d another. We ask in four *ways*
# which of the 80 words is nearest: to the *sum* b - a + c; to the sum, with a, b and c left out; to c or to b alone,
# with all three left out. Each *seed* draws a text and first vectors. Real texts have pairs such as king, queen.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "planted"  # or text8, text:PATH: words of a real text
    count: int = 40_000  # planted words to learn from, markers too
    roots: int = 20  # what planted words are about
    roles: int = 4  # words of each root
    noise: float = 0.2  # share of markers replaced by any marker
    own: float = 0.8  # largest share of a role's markers that give way to the word's own
    questions: int = 500  # of all analogies among planted words, so many are asked
    vocabulary: int = 10_000  # of a real text: so many most frequent words
    dim: int = 64  # numbers of a vector
    epochs: int = 4  # passes over the text
    lr: float = 0.1  # learning rate at first


QUICK = Config(count=4_000, roots=5, questions=50, dim=16)
SEEDS = range(12)
DATA = ("planted", "text8", "text:PATH")
OWN = {"nothing own": 0.0, "a quarter": 0.25, "half": 0.5, "three quarters": 0.75, "much own": 1.0}  # times `own`
SETTINGS, WAYS = (*OWN, "nothing shared", "two roles"), ("all words", "left out", "near c", "near b")
DRAWN = "nothing own", "much own", "nothing shared"  # settings whose differences are drawn


def trial(config: Config, seed: int) -> Measured:
    if config.data != "planted":
        return of_text(config, seed)
    measured: Measured = {}
    for name in SETTINGS:
        text, ids = planted(config, seed, name)
        chosen = torch.randperm(len(text.questions()), generator=stream(seed, "questions"))[: config.questions]
        words = text.roots * text.roles  # they stand before the markers; then comes a marker of each word's own
        vectors = trained(config, seed, ids, text.words + words, sample=np.inf)[:words]
        measured |= judged(name, vectors, text.questions()[chosen])
        measured[f"{name}/differences"] = in_the_plane(vectors[:: text.roles], vectors[1 :: text.roles])
    return measured


def planted(config: Config, seed: int, name: str) -> tuple[data.CrossedWords, Tensor]:
    """What words mean, and a text of them. The settings of a seed differ in one thing each."""
    roots, roles, draws = config.roots, 2 if name == "two roles" else config.roles, stream(seed, "text")
    text = data.crossed_attributes(config.count, roots=roots, roles=roles, noise=config.noise, generator=draws)
    labels, words = torch.arange(text.words), roots * roles
    if name == "nothing shared":
        shuffled = torch.rand(roots, roles, generator=stream(seed, "shuffling")).argsort(1)
        labels[:words] = (shuffled + roles * torch.arange(roots)[:, None]).flatten()
    sentences = labels[text.ids[: len(text.ids) // 5 * 5]].view(-1, 5)  # the word stands third
    replaced = torch.rand(sentences.shape, generator=stream(seed, "own")) < config.own * OWN.get(name, 0.0)
    of_roles = sentences >= text.words - 5 * roles  # the last markers, five for each role
    return text, torch.where(replaced & of_roles, text.words + sentences[:, 2:3], sentences).flatten()


def of_text(config: Config, seed: int) -> Measured:
    """The same of a real text, stored as much own and by kinds of pairs; the rest is nan."""
    read, questions = data.load_words(config.data), {}
    if len(set(read)) < 2:
        raise data.DataError(f"{config.data} has one word, again and again: expected a text")
    vocabulary = Vocabulary.of(read, min_count=1, max_size=config.vocabulary)
    for relation, pairs in data.word_pairs().items():
        known = [pair for pair in pairs if all(word in vocabulary for word in pair)]
        if len(known) > 1:
            questions[relation] = torch.stack([vocabulary.ids([*one, *other]) for one, other in permutations(known, 2)])
    if not questions:
        raise data.DataError(f"{config.data} has no two of our word pairs: expected a longer text, in English")
    vectors = trained(config, seed, vocabulary.encode(read), len(vocabulary), sample=1e-3)
    measured: Measured = {f"{name}/{way}/right": np.nan for name in SETTINGS for way in WAYS}
    for relation, asked in questions.items():
        measured |= judged(relation, vectors, asked)
    first = next(iter(questions.values()))[:, :2].unique(dim=0)
    measured["much own/differences"] = in_the_plane(*vectors[first].unbind(1))
    return measured | judged("much own", vectors, torch.cat([*questions.values()]))


def trained(config: Config, seed: int, ids: Tensor, words: int, sample: float) -> Tensor:
    model = SkipGram(words, config.dim, window=2, generator=stream(seed, "weights"))
    settings: dict = {"epochs": config.epochs, "lr": config.lr, "sample": sample, "progress": False}
    if len(ids) > 1_000_000:
        settings |= {"tiles": 4, "cap": 2.0}  # as `WordTrainer` advises
    train_word_vectors(model, ids, generator=stream(seed, "training"), **settings)
    return model.vectors


def judged(name: str, vectors: Tensor, questions: Tensor) -> Measured:
    """The share of questions (rows of a, b, c, d) that each way answers with d, and the sum with a, b or c."""
    asked, (_, b, c, d) = questions[:, :3], questions.unbind(1)
    among_all = analogy(vectors, asked, exclude=False)
    answers = [among_all, analogy(vectors, asked)]
    answers += [nearest(vectors[one], vectors, 1, exclude=asked).ids[:, 0] for one in (c, b)]
    right = {f"{name}/{way}/right": one == d for way, one in zip(WAYS, answers, strict=True)}
    right[f"{name}/all words/asked"] = (among_all[:, None] == asked).any(1)
    return {what: found.double().mean().item() for what, found in right.items()}


def in_the_plane(start: Tensor, end: Tensor) -> list[float]:
    """Differences of unit vectors, (N, D), in the plane that keeps most of their squared length: x and y of each."""
    differences = unit_vectors(end) - unit_vectors(start)
    flat = differences @ torch.linalg.svd(differences, full_matrices=False).Vh[:2].T
    return (flat * torch.where(flat.sum(0) < 0, -1.0, 1.0)).flatten().tolist()


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, and *limits*, where we expect them to fail. The *margin*, the smallest
# difference that matters, stands in each sentence. A real text counts as words with much of their own.

# fmt: off
PREDICTIONS = [
    claim("4.08", "adding", "Where words have nothing of their own, the word nearest to the sum is right in a share at "
          "least 0.05 larger than the one nearest to c, with no word left out for the sum.",
          lambda t: difference(t["nothing own/all words/right"] - t["nothing own/near c/right"], margin=0.05),
          arms=("all words", "near c")),
    claim("4.08", "left out", "Where words have much of their own, the sum with a, b and c left out is right in a "
          "share at least 0.05 larger than the word nearest to c.", lambda t: difference(
              t["much own/left out/right"] - t["much own/near c/right"], margin=0.05), arms=("left out", "near c")),
    claim("4.08", "nearest b", "Where words have much of their own, the sum with a, b and c left out is right in a "
          "share at least 0.05 larger than the word nearest to b.", lambda t: difference(
              t["much own/left out/right"] - t["much own/near b/right"], margin=0.05), arms=("left out", "near b")),
    limit("4.08", "all words", "Where words have much of their own and none is left out for the sum, the sum is right "
          "in a share at least 0.05 smaller than the word nearest to c.", lambda t: difference(
              t["much own/near c/right"] - t["much own/all words/right"], margin=0.05), arms=("near c", "all words"),
          because="the sum is nearest to words of the question (Linzen, 2016; Rogers, Drozd and Li, 2017)"),
    limit("4.08", "asked", "Where words have much of their own, the word nearest to the sum is a, b or c in more than "
          "half of the questions.", lambda t: difference(t["much own/all words/asked"], margin=0.5),
          of="share of questions answered with a, b or c", because="Nissim, van Noord and van der Goot, 2020"),
    limit("4.08", "nothing shared", "The sum with a, b and c left out is right in a share at least 0.3 larger where "
          "roots share their roles than where nothing is shared.", lambda t: difference(
              t["nothing own/left out/right"] - t["nothing shared/left out/right"], margin=0.3),
          arms=("nothing own", "nothing shared")),
    limit("4.08", "two roles", "Where a root has two words only, the sum with a, b and c left out is right in a share "
          "less than 0.1 larger than the word nearest to c.", lambda t: not_better(difference(
              t["two roles/left out/right"] - t["two roles/near c/right"], margin=0.1)), arms=("left out", "near c")),
]

ANSWERS = [
    answer("4.08", "Yes, if words are root and role alone. With much of their own, leave out a, b, c ({asked:.0%} of "
           "all answers): {left out:points} points above the nearest to c (Wikipedia: {text8/left out:points}).",
           given={"adding": "supported", "left out": "supported", "asked": "supported", "text8/left out": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, for one seed, an arrow is the step from a root's first word to its second, in the plane that shows most
# of them. With nothing of their own, they nearly agree. With much, most of each points out of the plane. With nothing
# shared, they disagree. In the middle, a dot is a seed. On the right, a thin line is a seed (of a real text: kinds of
# pairs). The more words have of their own, the more often the sum is nearest to a, b or c (dashed).


def figure(trials):
    real = trials.config.data != "planted"
    drawing, (arrows, settings, right) = plt.subplots(1, 3, figsize=(16, 5), width_ratios=[0.9, 1.2, 1.2])
    for place, name in enumerate(["much own"] if real else DRAWN):
        x, y = trials[f"{name}/differences"][0].reshape(-1, 2).T
        arrows.quiver(0 * x, 0 * x - 1.9 * place, x, y, angles="xy", scale_units="xy", scale=1, color="C5", width=0.006)
        arrows.text(1.3, -1.9 * place, name, va="center")
    arrows.set(title="From the first word of a pair to the second", xlim=(-1, 2.4), ylim=(-4.8, 1), aspect="equal")
    arrows.set_axis_off()
    labels = {"the sum, all words": "C3", "the sum, without a, b, c": "C0", "nearest to c": "C1", "nearest to b": "0.6"}
    relations = [name for name in data.word_pairs() if f"{name}/near c/right" in trials]
    shares, tall = [trials.config.own * part for part in OWN.values()], {"ylim": (-0.03, 1.3), "yticks": [0, 0.5, 1]}
    for place, (way, (label, color)) in enumerate(zip(WAYS, labels.items(), strict=True)):
        shown = {name: trials[f"{name}/{way}/right"] for name in (*SETTINGS, *relations)}
        panels = {settings: ["much own"], right: relations} if real else {settings: [*DRAWN, "two roles"]}
        for axes, names in panels.items():
            groups = {name.replace(" ", "\n"): shown[name] for name in names}
            strips(axes, groups, color=color, label=label, shift=0.2 * (place - 1.5), width=0.15)
        if not real:
            curves(right, shares, np.stack([shown[name] for name in OWN], 1), label=label, color=color)
    if not real:
        taken = np.stack([trials[f"{name}/all words/asked"] for name in OWN], 1)
        curves(right, shares, taken, label="the sum is nearest to a, b, c", color="0.2", linestyle="--")
        right.set(xlabel="share of a role's markers that give way to the word's own")
    settings.set(title="Share of answers that are right", **tall)
    right.set(title="The same, by kind of pairs" if real else "The same, by how much words have of their own", **tall)
    for axes in (settings, right):
        axes.legend(fontsize="small", loc="upper center", ncols=2)
        axes.tick_params(axis="x", labelsize=6.5 if real else None)
    return drawing


# %%
# Try it yourself
# ---------------
# With s = 1.2 by hand, is queen or king nearer to the sum? At which s do they tie? Then guess: if four markers in five
# are random and words have nothing of their own, does it matter whether a, b and c are left out?
# `python -m lessons run analogies --set noise=0.8 --seeds 20-22`. And if vectors have only 16 numbers? `--set dim=16`

if __name__ == "__main__":
    lesson.main("analogies")
