"""Cosine or distance: the example by hand, who is frequent and who is rare, and arms that judge the same vectors."""

import math
import sys
from dataclasses import replace

import pytest
import torch

from dlnotes.data import DataError, word_categories
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from dlnotes.text import similarity, unit_vectors

ARMS = ("cosine", "L2", "dot")
KITTEN, CAT, STONE = (torch.tensor([pair], dtype=torch.float64) for pair in ((0.8, 0.6), (3.0, 4.0), (0.8, -0.6)))


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("cosine_or_distance"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def fans(lesson):
    """Two classes of 20 words in two directions; the frequent words are long, but for those of the second class."""
    angles = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(20) + 0.1 * (torch.arange(40) / 40) ** 2.5
    lengths = torch.linspace(9, 1, 40, dtype=torch.float64)
    lengths[1:4:2] = 2.0
    vectors = lengths[:, None] * torch.stack([angles.cos(), angles.sin()], 1)
    groups = torch.tensor([0, 0, 0, 0] + [1] * 16 + [2] * 20)
    return lesson.Words(vectors, torch.linspace(900, 1, 40).double(), torch.arange(40) % 2, groups)


# The idea


def test_by_distance_a_kitten_is_nearer_to_a_stone_than_to_a_cat_and_by_cosine_it_is_not(lesson):
    found = lesson.scores_of(KITTEN, torch.cat([CAT, STONE]))
    shown = {arm: [round(score, 2) for score in scores[0].tolist()] for arm, scores in found.items()}
    assert shown == {"cosine": [0.96, 0.28], "L2": [-4.05, -1.2], "dot": [4.8, 0.28]}
    assert [vector.norm().item() for vector in (KITTEN, CAT, STONE)] == pytest.approx([1, 5, 1])


def test_a_squared_distance_is_one_of_lengths_and_one_of_the_angle():
    assert (KITTEN - CAT).square().sum().item() == pytest.approx(16.4)
    lengths, angle = (1 - 5) ** 2, 2 * 1 * 5 * (1 - 0.96)
    assert lengths + angle == pytest.approx(16.4)
    a, b = torch.randn(2, 50, 7, generator=stream(0, "vectors"), dtype=torch.float64)
    one, other, cosines = a.norm(dim=1), b.norm(dim=1), similarity(a, b).diagonal()
    parts = (one - other) ** 2 + 2 * one * other * (1 - cosines)
    torch.testing.assert_close((a - b).square().sum(1), parts, rtol=1e-12, atol=0)


def test_at_length_1_a_kitten_is_nearer_to_a_cat_by_each_measure(lesson):
    cat, stone = unit_vectors(CAT), unit_vectors(STONE)
    assert cat[0].tolist() == pytest.approx([0.6, 0.8])
    assert (KITTEN - cat).square().sum().item() == pytest.approx(0.08)
    assert (KITTEN - stone).square().sum().item() == pytest.approx(1.44)
    for scores in lesson.scores_of(KITTEN, torch.cat([cat, stone])).values():
        assert scores[0, 0] > scores[0, 1]


# The experiment


def test_a_tenth_of_each_class_is_frequent_and_a_half_is_rare(lesson):
    words = lesson.learned(lesson.QUICK, 1_000)
    assert words.vectors.shape == (200, 32)
    assert (words.counts.diff() <= 0).all()
    for one in range(10):
        here = words.classes == one
        groups, counts = words.groups[here], words.counts[here]
        assert groups.bincount().tolist() == [2, 8, 10]
        assert counts[groups == 0].min() >= counts[groups == 1].max()
        assert counts[groups == 1].min() >= counts[groups == 2].max()


def test_counts_belong_to_the_words_of_the_text(lesson):
    words = lesson.learned(lesson.QUICK, 1_000)
    text = lesson.data.class_chain(20_000, words=20, exponent=1.0, generator=stream(1_000, "text"))
    for one in range(10):
        counts = torch.tensor([int((text.ids == word).sum()) for word in (text.attributes[:, 0] == one).nonzero()])
        assert sorted(counts.clamp(min=1).tolist(), reverse=True) == words.counts[words.classes == one].tolist()


def test_the_words_of_a_class_are_equally_frequent_in_one_more_text_alone(lesson, monkeypatch):
    seen, learned = [], lesson.learned

    def noted(config, seed):
        seen.append(learned(config, seed))
        return seen[-1]

    monkeypatch.setattr(lesson, "learned", noted)
    lesson.trial(lesson.QUICK, 1_000)
    ratios = []
    for words in seen:
        large = words.counts[words.classes == words.classes[0]]  # the class of the most frequent word
        ratios.append((large.max() / large.min()).item())
    assert len(ratios) == 2
    assert ratios[0] > 10  # 20 by Zipf's law
    assert ratios[1] < 2


def test_a_vectors_length_changes_what_distance_and_dot_product_say_and_not_the_cosine(lesson):
    vectors = torch.randn(30, 5, generator=stream(0, "vectors"), dtype=torch.float64)
    lengths = torch.linspace(0.2, 5, 30, dtype=torch.float64)[:, None]
    plain, scaled = (lesson.scores_of(each, each) for each in (vectors, lengths * vectors))
    assert tuple(plain) == ARMS
    torch.testing.assert_close(plain["cosine"], scaled["cosine"])
    torch.testing.assert_close(scaled["L2"], -torch.cdist(lengths * vectors, lengths * vectors), rtol=0, atol=1e-6)
    torch.testing.assert_close(scaled["dot"], lengths * plain["dot"] * lengths.T)
    one, other = (unit_vectors(each) for each in (vectors, lengths * vectors))
    for arm in ARMS:
        torch.testing.assert_close(lesson.scores_of(one, one)[arm], lesson.scores_of(other, other)[arm])


def test_the_nearest_frequent_word_is_that_of_a_loop(lesson, fans):
    rare, nearest = lesson.rare_to_frequent(fans)
    assert rare.tolist() == list(range(20, 40))
    for place, word in enumerate(rare.tolist()):
        query, others = fans.vectors[word], fans.vectors[:4]
        by = {
            "cosine": [(query @ other / query.norm() / other.norm()).item() for other in others],
            "L2": [-math.dist(query.tolist(), other.tolist()) for other in others],
            "dot": [(query @ other).item() for other in others],
        }
        for arm, scores in by.items():
            assert nearest[arm][place] == scores.index(max(scores)), (arm, word)


def test_where_a_class_is_short_distance_takes_it_for_the_nearest(lesson, fans, monkeypatch):
    monkeypatch.setattr(lesson, "learned", lambda config, seed: fans)
    measured = lesson.trial(lesson.QUICK, 0)
    shares = {arm: measured[f"rare to frequent/{arm}/right"] for arm in ARMS}
    assert shares["cosine"] == 1.0
    assert shares["L2"] < 0.8
    assert shares["dot"] == 0.5  # the longest word of all is the answer to every question
    assert measured["unit/differ"] == 0.0
    assert measured["correlation"] == pytest.approx(
        torch.corrcoef(torch.stack([fans.vectors.norm(dim=1), fans.counts.log()]))[0, 1].item()
    )
    assert (measured["x"][0], measured["sizes"][0]) != (measured["x"][1], measured["sizes"][1])


def test_the_share_among_all_words_is_that_of_a_loop_without_the_word_itself(lesson, monkeypatch):
    draws = stream(0, "vectors")
    vectors = torch.randn(40, 3, generator=draws, dtype=torch.float64)
    classes, groups = torch.arange(40) % 4, torch.arange(40) // 14
    words = lesson.Words(vectors, torch.linspace(99, 1, 40).double(), classes, groups)
    monkeypatch.setattr(lesson, "learned", lambda config, seed: words)
    measured, shares = lesson.trial(lesson.QUICK, 0), []
    for one in range(40):
        others = sorted((math.dist(vectors[one], vectors[other]), other) for other in range(40) if other != one)
        shares.append(sum(int(classes[other] == classes[one]) for _, other in others[:5]) / 5)
    assert measured["all/L2/right"] == pytest.approx(sum(shares) / 40)
    assert measured["middle/L2/right"] == pytest.approx(sum(shares[14:28]) / 14)


def test_a_seed_gives_the_same_vectors_again_and_another_seed_others(lesson):
    one, again, other = (lesson.learned(lesson.QUICK, seed).vectors for seed in (1_000, 1_000, 1_001))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


# Real texts


def test_a_real_text_is_judged_by_the_words_of_lists(lesson, tmp_path):
    lists = {name: word_categories()[name] for name in ("months", "colours", "family")}
    text = " ".join(" ".join([*words, "the"]) for words in (*lists["months"], *lists["colours"]) for words in [[words]])
    path = tmp_path / "text.txt"
    path.write_text(" ".join([text] * 6 + ["mother"] * 9), encoding="utf-8")
    ids, classes = lesson.read(f"text:{path}")
    assert len(ids) == 6 * 2 * (len(lists["months"]) + len(lists["colours"])) + 9
    assert classes.tolist().count(0) == len(lists["months"])
    assert classes.tolist().count(1) == len(lists["colours"])
    assert classes.tolist().count(-1) == 2  # "the", and one word of family is too few
    measured = lesson.trial(replace(lesson.QUICK, data=f"text:{path}"), 1_000)
    assert 0 <= measured["all/cosine/right"] <= 1


def test_a_text_without_such_words_is_refused(lesson, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat " * 50, encoding="utf-8")
    with pytest.raises(DataError, match="too few of the words that are judged"):
        lesson.read(f"text:{path}")
