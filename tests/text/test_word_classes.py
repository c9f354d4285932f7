"""Word classes: the example by hand, arms that differ in order alone, and what counts as pure, alike and shared."""

import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, logsigmoid, one_hot

from dlnotes import data
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from dlnotes.text import SkipGram, train_word_vectors


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("word_classes"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture
def english(tmp_path):
    """A text in which each listed word comes five times, but for the months: of these there are four, too few."""
    words = [word for category in data.word_categories().values() for word in category]
    rare = data.word_categories()["months"][4:]
    words = [word for word in words if word not in rare]
    opposites = [
        "large",
        "big",
        "small",
        "tiny",
        "early",
        "old",
        "late",
        "good",
        "increase",
    ]  # enough of the first topic alone
    path = tmp_path / "listed.txt"
    path.write_text(" ".join(5 * [*words, *opposites] + [*rare, "high", "low"]), encoding="utf-8")
    return f"text:{path}"


# The idea


def test_looking_up_a_row_is_a_product_with_a_one_hot_list():
    table = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.5, 0.6]])
    assert one_hot(torch.tensor(2), 4).tolist() == [0, 0, 1, 0]
    for word in range(4):
        assert torch.equal(one_hot(torch.tensor(word), 4).float() @ table, table[word])
    assert torch.equal(torch.nn.functional.embedding(torch.tensor(2), table), torch.tensor([0.3, 0.7]))


def test_the_formulas_are_gradient_descent_on_the_loss_of_skip_gram():
    draws = stream(0, "vectors")
    c, z, n = torch.randn(3, 5, generator=draws, dtype=torch.float64)
    c.requires_grad_()
    for loss, step in (
        (-logsigmoid(c @ z), (1 - (c @ z).sigmoid()) * z),
        (-logsigmoid(-c @ n), -(c @ n).sigmoid() * n),
    ):
        (gradient,) = torch.autograd.grad(loss, c)
        assert torch.allclose(-gradient, step, rtol=1e-12)


def test_one_step_by_hand_is_one_step_of_the_model():
    """Of the first word of each pair of sentences, with its two contexts; negatives are words of zeros."""
    contexts = torch.tensor([[1.0, 0], [1, 2], [1, -2]])  # the, purrs, barks: words 0 to 2; word 3 is in the middle
    found = []
    for last in (1, 1, 2):
        model = SkipGram(5, 2, window=1, generator=stream(0, "weights"))
        with torch.no_grad():
            model.weight.zero_()[6:9] = contexts
        model.learn(torch.tensor([[[0, 3, last]]]), torch.tensor([[[4]]]), lr=1.0)
        found.append(model.vectors[3])
    cat, kitten, dog = found
    assert [one.tolist() for one in found] == [[1, 1], [1, 1], [1, -1]]
    assert cosine_similarity(cat, kitten, dim=0).item() == pytest.approx(1)
    assert cosine_similarity(cat, dog, dim=0).item() == 0


# The arms


def test_the_arms_differ_in_the_order_of_the_words_alone(lesson, monkeypatch):
    seen, trainer = [], lesson.WordTrainer

    def noted(model, ids, *, generator, **settings):
        seen.append((ids, model.weight.detach().clone(), generator.get_state(), settings))
        return trainer(model, ids, generator=generator, **settings)

    monkeypatch.setattr(lesson, "WordTrainer", noted)
    lesson.trial(lesson.QUICK, 1_000)
    (text, *rest), (shuffled, *others) = seen
    assert torch.equal(text, lesson.load(lesson.QUICK, 1_000).ids)
    assert not torch.equal(text, shuffled)
    assert torch.equal(text.sort().values, shuffled.sort().values)
    assert all(map(torch.equal, rest[:2], others[:2]))
    assert rest[2] == others[2] == {"epochs": 2, "sample": 0.01}


def test_shuffled_words_have_chance_contexts(lesson):
    """Each class follows each as often as it comes; in the text, it does not."""
    known = lesson.load(replace(lesson.Config(), telling=0.0), 1_000)
    mixed = known.ids[torch.randperm(len(known.ids), generator=stream(1_000, "order"))]
    errors = []
    for ids in (known.ids, mixed):
        kinds = known.kinds[ids]
        pairs = (10 * kinds[:-1] + kinds[1:]).bincount(minlength=100).view(10, 10) / (len(ids) - 1)
        errors.append((pairs - pairs.sum(1, keepdim=True) * pairs.sum(0)).abs().max().item())
    assert errors[0] > 0.01 > 0.002 > errors[1]


def test_the_moments_are_on_the_way_of_one_training(lesson):
    config = replace(lesson.QUICK, count=20_000, passes=5)
    known = lesson.load(config, 1_000)
    moments = list(lesson.training(config, 1_000, known.ids, len(known.kinds)))
    assert len(moments) == len(lesson.MOMENTS)
    whole = SkipGram(len(known.kinds), 8, window=2, generator=stream(1_000, "weights"))
    first = whole.vectors.clone()
    settings = {"epochs": 5, "sample": 0.01, "progress": False}
    train_word_vectors(whole, known.ids, generator=stream(1_000, "training"), **settings)
    assert torch.equal(moments[-1], whole.vectors)
    moved = [(vectors - first).norm().item() for vectors in moments]
    assert moved == sorted(moved)
    assert moved[-2] < 0.99 * moved[-1]


# What is measured


def test_purity_is_that_of_the_five_nearest_by_the_cosine(lesson):
    vectors, kinds = torch.randn(40, 3, generator=stream(0, "vectors")), torch.arange(40) % 3
    found = lesson.purity(vectors, kinds)
    for word in range(40):
        cosines = [cosine_similarity(vectors[word], other, dim=0).item() for other in vectors]
        nearest = sorted((other for other in range(40) if other != word), key=lambda other: -cosines[other])[:5]
        assert found[word] == pytest.approx(sum(int(kinds[other] == kinds[word]) for other in nearest) / 5)
    longer = vectors * torch.rand(40, 1, generator=stream(0, "lengths")).add(0.1)
    assert torch.equal(lesson.purity(longer, kinds), found)


def test_the_sign_is_that_of_the_nearest_word_of_the_same_topic(lesson):
    angles = torch.tensor([0.0, 10, 25, 30, 5, 90, 180, 12]).deg2rad()
    vectors = torch.stack([angles.cos(), angles.sin()], 1)
    topics, signs = torch.tensor([0, 0, 0, 0, 1, 1, 1, -1]), torch.tensor([0, 0, 1, 1, 0, 0, 1, -1])
    known = lesson.Known(torch.arange(8), topics, topics, signs)
    # Topic 0: 0° and 10° are +, 25° and 30° are -. Topic 1: 5° and 90° are +, and 180° is - and nearest to 90°.
    assert lesson.same_sign(vectors, known) == pytest.approx(6 / 7)


def test_a_vector_is_shared_where_another_is_the_same_but_for_a_hundredth(lesson):
    vectors = torch.tensor([[10.0, 0], [10, 0.05], [0, 1], [0, 1.02], [-3, 0], [-30, 0]])
    assert lesson.shared(vectors, 0.01) == pytest.approx(2 / 6)
    assert lesson.shared(vectors[[0, 0, 4, 4, 5, 5]], 0.01) == 1.0
    assert lesson.shared(vectors[2:], 0.01) == 0.0  # the same direction is not the same vector
    assert lesson.shared(vectors, 0.1) == pytest.approx(4 / 6)


def test_that_words_come_within_a_tenth_is_haste_and_not_likeness(lesson):
    """As the lesson says of trial runs: shuffled words are nearer still, and all come apart as they are trained."""
    config = replace(lesson.Config(), words=10, count=4_000)
    known, found = lesson.load(config, 1_000), {}
    mixed = known.ids[torch.randperm(len(known.ids), generator=stream(1_000, "order"))]
    for passes in (5, 20):
        for arm, ids in {"text": known.ids, "shuffled": mixed}.items():
            *_, vectors = lesson.training(replace(config, passes=passes), 1_000, ids, len(known.kinds))
            found[arm, passes] = lesson.shared(vectors[known.kinds >= 0], 0.1)
    assert found["shuffled", 5] > found["text", 5] > found["text", 20]
    assert found["shuffled", 5] > found["shuffled", 20]


def test_clustering_makes_a_set_of_which_words_share_the_members(lesson):
    """The second reading can be found, where it is true: each vector is replaced by the nearest of ten."""
    vectors, members = torch.randn(2, 200, 4, generator=stream(0, "vectors"))
    members = members[:10]
    assert lesson.shared(vectors, 0.01) == 0.0
    assert lesson.shared(members[torch.cdist(vectors, members).argmin(1)], 0.01) > 0.9


def test_fifths_go_from_the_rarest_words_to_the_most_frequent(lesson, monkeypatch):
    """A purity that is the word's own count."""
    known = lesson.load(lesson.QUICK, 1_000)
    counts = known.ids.bincount(minlength=len(known.kinds))[known.kinds >= 0].double()
    monkeypatch.setattr(lesson, "purity", lambda vectors, kinds: counts)
    measured = lesson.trial(lesson.QUICK, 1_000)
    fifths = np.array_split(np.sort(counts.numpy()), 5)
    assert measured["text/fifths"] == pytest.approx([fifth.mean() for fifth in fifths])
    assert measured["fifths/seen"] == pytest.approx([np.exp(np.log(fifth).mean()) for fifth in fifths])
    assert measured["text/rarest/purity"] == measured["text/fifths"][0]
    assert measured["text/frequent/purity"] == measured["text/fifths"][4]
    assert measured["text/purity"] == measured["text/moments"][-1] == pytest.approx(counts.mean().item())


def test_the_plane_keeps_what_lies_in_a_plane(lesson):
    angles = torch.rand(12, generator=stream(0, "angles"), dtype=torch.float64) * 6
    flat = torch.stack([angles.cos(), angles.sin()], 1)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=stream(0, "turn"), dtype=torch.float64)).Q[:2]
    points = torch.tensor(lesson.plane(7 * flat @ turn), dtype=torch.float64).view(12, 2)
    assert torch.allclose(torch.cdist(points, points), torch.cdist(flat, flat))
    assert points.var(0).diff() < 0


# The words


def test_planted_words_are_judged_if_they_came_and_are_no_markers(lesson):
    config = replace(lesson.Config(), count=2_000)
    known = lesson.load(config, 1_000)
    text = data.class_chain(2_000, words=200, telling=0.02, generator=stream(1_000, "text"))
    assert torch.equal(known.ids, text.ids)
    came = set(text.ids.tolist())
    assert len(came) < 2_000
    for word, (kind, sign) in enumerate(text.attributes.tolist()):
        expected = (kind, sign) if word in came and kind >= 0 else (-1, -1)
        assert (known.kinds[word], known.signs[word]) == expected
    assert known.topics is known.kinds


def test_words_of_a_real_text_are_known_by_lists(lesson, english):
    known = lesson.load(replace(lesson.Config(), data=english), 1_000)
    kinds = {word: known.kinds[place].item() for place, word in enumerate(known.names)}
    for kind, (name, words) in enumerate(data.word_categories().items()):
        for word in words:
            assert kinds.get(word, -1) == (-1 if name == "months" else kind)
    assert set(kinds.values()) == {-1, *range(1, 12)}
    signs = {word: known.signs[place].item() for place, word in enumerate(known.names) if known.topics[place] == 0}
    assert signs == {"large": 0, "big": 0, "small": 1, "tiny": 1}
    assert known.topics.unique().tolist() == [-1, 0]
    words = data.load_words(english)
    counts = Counter(words)
    assert [known.names[one] for one in known.ids] == [word for word in words if counts[word] >= 5]
    shown = [known.names[word] for word in lesson.shown(known)]
    assert len(shown) == 36
    assert all(len({kinds[word] for word in shown[place : place + 6]}) == 1 for place in range(0, 36, 6))


def test_a_seed_reads_a_stretch_of_a_long_text(lesson, english):
    words = data.load_words(english)
    config = replace(lesson.Config(), data=english, train=len(words) - 9)
    found = {tuple(lesson.load(config, seed).ids.tolist()) for seed in range(1_000, 1_006)}
    assert len(found) > 1


def test_a_text_without_the_listed_words_is_refused(lesson, tmp_path):
    path = tmp_path / "other.txt"
    path.write_text("the cat purrs, and the kitten purrs. " * 50, encoding="utf-8")
    with pytest.raises(data.DataError, match="expected a longer English text"):
        lesson.load(replace(lesson.Config(), data=f"text:{path}"), 1_000)


def test_lists_of_opposites_have_four_words_a_side_and_each_word_once(lesson):
    sides = [side.split() for topic in lesson.OPPOSITES.split(",") for side in topic.split("/")]
    assert [len(side) for side in sides] == [4] * 12
    assert max(Counter(word for side in sides for word in side).values()) == 1


def test_markers_that_come_often_tell_opposites_apart(lesson):
    """So that opposites are near is due to their contexts, and not to what is measured."""
    config = replace(lesson.Config(), words=20, count=20_000, dim=8)
    found = []
    for telling in (0.02, 0.5):
        known = lesson.load(replace(config, telling=telling), 1_000)
        *_, vectors = lesson.training(config, 1_000, known.ids, len(known.kinds))
        found.append(lesson.same_sign(vectors, known))
    assert found[0] < 0.6 < 0.85 < found[1]
