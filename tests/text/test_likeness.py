"""Rows 4.03, 4.04 and 4.08: nearness of vectors, against loops over them in double precision."""

import math

import hypothesis.extra.numpy
import hypothesis.strategies
import numpy as np
import pytest
import torch
from hypothesis import given

from dlnotes.randomness import stream
from dlnotes.text import analogy, likeness, nearest, similarity, unit_vectors
from dlnotes.text.likeness import analogy_neighbours

MEASURES = ("cosine", "l2", "dot")


def drawn(rows, columns=5, purpose="vectors", seed=0, dtype=torch.float64):
    return torch.randn(rows, columns, generator=stream(seed, purpose), dtype=dtype)


def whole(rows, columns=3, purpose="vectors", seed=0):
    """Small whole numbers, of which many are equally near, to the last bit."""
    return torch.randint(-1, 2, (rows, columns), generator=stream(seed, purpose)).double()


def score(one, other, measure):
    """Of two lists of numbers, with sums that are right to the last bit."""
    product = math.fsum(x * y for x, y in zip(one, other, strict=True))
    if measure == "dot":
        return product
    if measure == "l2":
        return -math.dist(one, other)
    lengths = math.hypot(*one) * math.hypot(*other)
    return product / lengths if lengths else 0.0


def sorted_ids(scores, count, excluded=()):
    """The ids of the largest, by sorting all; of equal ones the lower first."""
    order = sorted(range(len(scores)), key=lambda each: (-scores[each], each))
    return [each for each in order if each not in excluded][:count]


# --- Similarity ---


@pytest.mark.parametrize("measure", MEASURES)
def test_similarity_is_a_loop_over_pairs(measure, device, seed):
    queries, vectors = drawn(4, purpose="queries", seed=seed), drawn(7, seed=seed)
    vectors[2], vectors[3] = queries[1], 0
    found = similarity(queries.to(device), vectors.to(device), measure)
    expected = [[score(one, other, measure) for other in vectors.tolist()] for one in queries.tolist()]
    torch.testing.assert_close(found.cpu(), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    assert measure == "l2" or found[0, 3] == 0
    assert measure != "l2" or found[1, 2] == 0


@pytest.mark.parametrize("size", [1e-30, 1e-42, 1.0, 1e30, 3e38])
def test_the_cosine_does_not_depend_on_lengths(size):
    vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 0.0]])
    found = similarity(vectors, size * vectors)
    expected = torch.tensor([[1.0, 0.6, 0.0], [0.6, 1.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(found, expected, rtol=1e-6 if size > 1e-40 else 0.01, atol=0)


def test_a_small_distance_far_from_0_is_not_lost():
    """In single precision, ‖q‖² + ‖v‖² − 2 q · v of these is 0 or 8 instead of 1."""
    vectors = torch.tensor([[1e4, 0.0], [1e4, 1.0], [1e4 + 1, 0.0]])
    expected = torch.tensor([[0, 1, 1], [1, 0, math.sqrt(2)], [1, math.sqrt(2), 0]])
    torch.testing.assert_close(similarity(vectors, vectors, "l2"), -expected)


def test_halves_do_not_overflow():
    vectors = torch.full((1, 100), 300.0, dtype=torch.float16)
    assert similarity(vectors, vectors).tolist() == [[1.0]]
    assert similarity(vectors, -vectors / 2, "l2").tolist() == [[-4500.0]]
    assert nearest(vectors, vectors, 1, measure="dot").scores.tolist() == [[9e6]]


@pytest.mark.parametrize("measure", MEASURES)
def test_gradients_are_those_of_differences(measure):
    queries, vectors = drawn(3, purpose="queries").requires_grad_(), drawn(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda *both: similarity(*both, measure), (queries, vectors))


@pytest.mark.parametrize("measure", MEASURES)
def test_gradients_at_0_are_finite(measure):
    vectors = torch.tensor([[1.0, 2.0], [0.0, 0.0]], requires_grad=True)
    similarity(vectors, vectors, measure).sum().backward()
    assert vectors.grad.isfinite().all()


# --- Row 4.04: unit vectors ---

FINITE = hypothesis.extra.numpy.arrays(
    np.float64,
    hypothesis.strategies.tuples(hypothesis.strategies.integers(2, 6), hypothesis.strategies.integers(1, 4)),
    elements=hypothesis.strategies.floats(-1e3, 1e3, allow_subnormal=False),
)


@given(FINITE)
def test_for_unit_vectors_the_squared_distance_is_2_minus_2_cosines(vectors):
    units = unit_vectors(torch.from_numpy(vectors))
    units = units[units.any(1)]
    torch.testing.assert_close(units.norm(dim=1), torch.ones(len(units), dtype=torch.float64))
    cosines = similarity(units, units)
    torch.testing.assert_close(similarity(units, units, "l2").square(), 2 - 2 * cosines, rtol=0, atol=1e-12)
    torch.testing.assert_close(similarity(units, units, "dot"), cosines, rtol=0, atol=1e-12)


@given(FINITE)
def test_unit_vectors_rank_alike_by_all_measures(vectors):
    units = unit_vectors(torch.from_numpy(vectors))
    units = units[units.any(1)]
    if not len(units):
        return
    cosines = similarity(units[:1], units)[0]
    for measure in MEASURES:
        ids = nearest(units[:1], units, len(units), measure=measure).ids[0]
        falls = cosines[ids].diff()
        assert (falls < 1e-12).all()  # what differs by less may be in any order


def test_without_normalizing_the_measures_disagree():
    """A long vector in the very direction, a short one beside it, a longer one at an angle."""
    query, vectors = torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0, 0.0], [0.9, 0.3], [9.0, 9.0]])
    best = {measure: nearest(query, vectors, 1, measure=measure).ids.item() for measure in MEASURES}
    assert best == {"cosine": 0, "l2": 1, "dot": 2}
    assert {nearest(query, unit_vectors(vectors), 1, measure=measure).ids.item() for measure in MEASURES} == {0}


def test_a_row_of_zeros_has_no_direction_and_stays():
    vectors = torch.tensor([[0.0, 0.0], [3.0, -4.0]])
    assert unit_vectors(vectors).tolist() == [[0.0, 0.0], [pytest.approx(0.6), pytest.approx(-0.8)]]


# --- Nearest ---


@pytest.mark.parametrize("block", [1, 20, 2**21])
@pytest.mark.parametrize("measure", ["l2", "dot"])
def test_the_nearest_are_those_of_a_sort_and_ties_go_to_the_lower_id(measure, block, device, monkeypatch, seed):
    monkeypatch.setattr(likeness, "BLOCK", block)
    queries, vectors = whole(11, purpose="queries", seed=seed), whole(9, seed=seed)
    exclude = torch.randint(9, (11, 2), generator=stream(seed, "exclude"))
    scores = [[score(one, other, measure) for other in vectors.tolist()] for one in queries.tolist()]
    for count in (1, 3, 7):
        for excluded in (None, exclude):
            on_device = None if excluded is None else excluded.to(device)
            found = nearest(queries.to(device), vectors.to(device), count, measure=measure, exclude=on_device)
            rows = [[]] * 11 if excluded is None else excluded.tolist()
            expected = [sorted_ids(row, count, without) for row, without in zip(scores, rows, strict=True)]
            assert found.ids.tolist() == expected
            for ids, given_scores, row in zip(expected, found.scores.tolist(), scores, strict=True):
                assert given_scores == pytest.approx([row[each] for each in ids], abs=1e-12)
    assert nearest(queries.to(device), vectors.to(device), 9, measure=measure).ids.shape == (11, 9)


def test_the_nearest_by_cosine_are_those_of_a_sort(device, seed):
    queries, vectors = drawn(6, purpose="queries", seed=seed), drawn(20, seed=seed)
    found = nearest(queries.to(device), vectors.to(device), 20)
    scores = [[score(one, other, "cosine") for other in vectors.tolist()] for one in queries.tolist()]
    assert found.ids.tolist() == [sorted_ids(row, 20) for row in scores]
    assert found.ids.dtype == torch.int64
    assert found.scores.diff().le(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_vector_and_its_copies_are_equally_near(dtype, seed):
    vectors = drawn(40, 300, seed=seed, dtype=dtype)
    for copies in ([3, 17, 30, 25], [39, 8, 1, 20], [4, 5, 6, 7]):
        vectors[copies] = vectors[copies[-1]].clone()
        found = nearest(vectors[copies], vectors, 4, measure="l2")
        assert found.ids.tolist() == [sorted(copies)] * 4
        assert not found.scores.any()


def test_all_words_of_a_vocabulary_are_asked_for_in_blocks(monkeypatch):
    monkeypatch.setattr(likeness, "BLOCK", 1000)
    sizes = []
    top = likeness._top
    monkeypatch.setattr(likeness, "_top", lambda scores, count: sizes.append(scores.numel()) or top(scores, count))
    vectors = drawn(90)
    found = nearest(vectors, vectors, 1)
    assert found.ids.flatten().tolist() == list(range(90))
    assert max(sizes) <= 1000
    assert sum(sizes) == 90 * 90


def test_no_query_has_no_neighbours():
    assert nearest(drawn(0), drawn(3), 2).ids.shape == (0, 2)


# --- Analogies ---

WORDS = ["man", "woman", "king", "queen", "boy", "girl", "child"]
MEANING = torch.tensor(
    [[1, 0, 0], [-1, 0, 0], [1, 1, 0], [-1, 1, 0], [1, 0, 1], [-1, 0, 1], [0, 0, 1.0]], dtype=torch.float64
)


def ids(*words):
    return torch.tensor([[WORDS.index(word) for word in words]])


def test_a_man_is_to_a_king_as_a_woman_is_to_a_queen():
    for settings in ({}, {"method": "multiply"}, {"measure": "l2", "normalize": False}, {"measure": "dot"}):
        answer = analogy(MEANING, ids("man", "king", "woman"), **settings)
        assert answer.tolist() == [WORDS.index("queen")], settings


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("exclude", [False, True])
def test_3cosadd_is_a_loop(measure, normalize, exclude, device, seed):
    vectors = drawn(12, seed=seed)
    questions = torch.randint(12, (30, 3), generator=stream(seed, "questions"))
    settings = {"measure": measure, "normalize": normalize, "exclude": exclude}
    found = analogy_neighbours(vectors.to(device), questions.to(device), 4, **settings)
    rows = [[x / math.hypot(*row) for x in row] for row in vectors.tolist()] if normalize else vectors.tolist()
    for place, (a, b, c) in enumerate(questions.tolist()):
        wanted = [rows[b][k] - rows[a][k] + rows[c][k] for k in range(5)]
        scores = [score(wanted, row, measure) for row in rows]
        assert found.ids[place].tolist() == sorted_ids(scores, 4, {a, b, c} if exclude else ())
        assert found.scores[place].tolist() == pytest.approx([scores[each] for each in found.ids[place]], abs=1e-12)
    answers = analogy(vectors.to(device), questions.to(device), **settings)
    assert answers.tolist() == found.ids[:, 0].tolist()


@pytest.mark.parametrize("exclude", [False, True])
def test_3cosmul_is_a_loop(exclude, seed):
    vectors = drawn(12, seed=seed)
    questions = torch.randint(12, (30, 3), generator=stream(seed, "questions"))
    found = analogy_neighbours(vectors, questions, 4, method="multiply", exclude=exclude)
    rows = vectors.tolist()
    for place, (a, b, c) in enumerate(questions.tolist()):
        near = [[(1 + score(rows[other], row, "cosine")) / 2 for row in rows] for other in (a, b, c)]
        scores = [to_b * to_c / (to_a + 0.001) for to_a, to_b, to_c in zip(*near, strict=True)]
        assert found.ids[place].tolist() == sorted_ids(scores, 4, {a, b, c} if exclude else ())


def test_the_nearest_of_all_is_often_a_word_of_the_question():
    """A small step from a to b: c itself is nearest to b − a + c."""
    vectors = torch.tensor([[0.0, 1.0, 0.0], [0.1, 1.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.0, 1.0]])
    questions = torch.tensor([[0, 1, 2]])
    assert analogy(vectors, questions, exclude=False).tolist() == [2]
    assert analogy(vectors, questions).tolist() == [3]


def test_questions_may_be_32_bit_numbers():
    assert analogy(MEANING, ids("man", "king", "woman").int()).tolist() == [3]


# --- What is refused ---


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda v: similarity(v.tolist(), v), TypeError, "queries must be a tensor, not list"),
        (lambda v: similarity(v.long(), v), TypeError, "queries must be of floating point, not torch.int64"),
        (lambda v: similarity(v.float(), v), TypeError, "of one type, not torch.float32 and torch.float64"),
        (lambda v: similarity(v[0], v), ValueError, r"queries must be rows of one number or more, \(rows, D\), not"),
        (lambda v: similarity(v[:, :0], v), ValueError, "queries must be rows of one number or more"),
        (lambda v: similarity(v[:, :2], v), ValueError, r"queries must be \(Q, 5\), as long as the vectors, not"),
        (lambda v: similarity(v, v, "l1"), ValueError, 'measure must be "cosine", "l2" or "dot", not \'l1\''),
        (lambda v: nearest(v, v, 0), ValueError, "count must be an int of 1 or more, not 0"),
        (lambda v: nearest(v, v, 5), ValueError, "count must be at most the 4 of 4 vectors, not 5"),
        (
            lambda v: nearest(v, v, 4, exclude=torch.arange(4)[:, None]),
            ValueError,
            "count must be at most the 3 of 4 vectors without the 1 excluded, not 4",
        ),
        (lambda v: nearest(v, v, 1, exclude=torch.arange(4)), ValueError, r"exclude must be \(4, any\), not \(4,\)"),
        (lambda v: nearest(v, v, 1, exclude=torch.zeros(4, 1)), TypeError, "exclude must be ids, int64 or int32, not"),
        (lambda v: nearest(v, v, 1, exclude=torch.full((4, 1), 4)), ValueError, "from 0 to 3, and there is a 4"),
        (lambda v: nearest(v / 0, v, 1), ValueError, "queries must be finite, and row 0 is not"),
        (
            lambda v: nearest(v, v.index_fill(0, torch.tensor([2]), torch.nan), 1),
            ValueError,
            "vectors must be finite, and row 2 is not",
        ),
        (lambda v: analogy(v, torch.zeros(2, 4).long()), ValueError, r"questions must be \(any, 3\), not \(2, 4\)"),
        (lambda v: analogy(v, torch.tensor([[0, 1, -1]])), ValueError, "from 0 to 3, and there is a -1"),
        (lambda v: analogy(v, torch.tensor([[0, 1, 2]]), method="subtract"), ValueError, "not 'subtract'"),
        (
            lambda v: analogy(v, torch.tensor([[0, 1, 2]]), method="multiply", measure="dot"),
            ValueError,
            'method "multiply" is of cosines',
        ),
        (lambda v: analogy(v / 0, torch.tensor([[0, 1, 2]]), method="multiply"), ValueError, "vectors must be finite"),
        (lambda v: unit_vectors(v[0]), ValueError, "vectors must be rows of one number or more"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(drawn(4))
