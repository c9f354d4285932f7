"""Cross-entropy and one-hot labels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jacrev, vmap
from torch.nn import functional as F
from torch.testing import assert_close

from dlnotes.linear import cross_entropy, log_softmax, one_hot, softmax
from tests import reference

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(count, classes, seed=0):
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))


@st.composite
def distributions(draw, classes=4):
    weights = torch.tensor(draw(st.lists(st.floats(0.01, 1), min_size=classes, max_size=classes)), dtype=torch.float64)
    return weights / weights.sum()


def distance(probabilities, label):
    """D(S, L) between two distributions: the scores log S have the softmax S."""
    return float(cross_entropy(probabilities.log()[None], label[None]))


# One-hot labels, by hand


def test_a_one_hot_label_has_a_single_one_at_the_place_of_its_class():
    expected = [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert one_hot(torch.tensor([2, 0, 3]), 4).tolist() == expected
    assert one_hot(torch.tensor(1), 2).tolist() == [0, 1]
    assert one_hot(torch.tensor([[0], [1]]), 2).tolist() == [[[1, 0]], [[0, 1]]]
    assert one_hot(torch.tensor([], dtype=torch.int64), 3).shape == (0, 3)


@given(st.lists(st.integers(0, 6), min_size=1))
def test_the_largest_place_of_a_one_hot_label_is_the_class_again(numbers):
    coded = one_hot(torch.tensor(numbers), 7, dtype=torch.float64)
    assert coded.tolist() == [reference.one_hot(number, 7) for number in numbers]
    assert coded.argmax(1).tolist() == numbers
    assert coded.sum(1).tolist() == [1] * len(numbers)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_labels_may_be_any_integers(dtype):
    numbers = torch.tensor([2, 0], dtype=dtype)
    assert one_hot(numbers, 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert cross_entropy(torch.zeros(2, 3), numbers) == pytest.approx(math.log(3))


def test_one_hot_labels_have_the_default_dtype_or_the_one_asked_for():
    assert one_hot(torch.tensor([0]), 2).dtype == torch.get_default_dtype()
    assert one_hot(torch.tensor([0]), 2, dtype=torch.float64).dtype == torch.float64


# Cross-entropy, by hand


def test_equal_scores_cost_the_logarithm_of_the_number_of_classes():
    assert cross_entropy(torch.zeros(4, 10), torch.tensor([0, 3, 9, 9])) == pytest.approx(2.302585, abs=1e-6)
    assert cross_entropy(torch.full((2, 8), 5.0), torch.tensor([7, 0])) == pytest.approx(3 * math.log(2))


def test_a_probability_of_three_quarters_costs_the_logarithm_of_four_thirds():
    scores = torch.tensor([[math.log(3), 0.0]])
    assert cross_entropy(scores, torch.tensor([0])) == pytest.approx(math.log(4 / 3))
    assert cross_entropy(scores, torch.tensor([1])) == pytest.approx(math.log(4))
    half_each = (math.log(4 / 3) + math.log(4)) / 2
    assert cross_entropy(scores, torch.tensor([[0.5, 0.5]])) == pytest.approx(half_each)


def test_a_label_without_any_probability_costs_infinitely_much():
    impossible = torch.tensor([[0.0, -math.inf]])
    assert cross_entropy(impossible, torch.tensor([1])) == math.inf
    assert cross_entropy(impossible, torch.tensor([[0.5, 0.5]])) == math.inf


def test_a_class_without_any_probability_costs_nothing_where_the_label_is_another():
    scores = torch.tensor([[0.0, -math.inf, 0.0]], requires_grad=True)
    loss = cross_entropy(scores, torch.tensor([[1.0, 0.0, 0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert scores.grad.tolist() == [[-0.5, 0.0, 0.5]]


def test_scores_as_large_as_a_thousand_cost_what_they_are_apart():
    scores = torch.tensor([[1000.0, 0.0]], requires_grad=True)
    loss = cross_entropy(scores, torch.tensor([1]))
    loss.backward()
    assert loss.item() == 1000
    assert scores.grad.tolist() == [[1.0, -1.0]]


# Slow twin, torch, gradients


def test_cross_entropy_is_minus_the_sum_of_labels_times_log_probabilities():
    scores, soft = normal(9, 5), softmax(normal(9, 5, seed=1))
    expected = reference.cross_entropy(scores.tolist(), soft.tolist())
    assert cross_entropy(scores, soft).item() == pytest.approx(expected, rel=1e-13)
    assert_close(cross_entropy(scores, soft), F.cross_entropy(scores, soft), rtol=1e-13, atol=0)


def test_class_numbers_cost_what_their_one_hot_labels_cost():
    scores, numbers = normal(9, 5), labels(9, 5)
    coded = one_hot(numbers, 5, dtype=torch.float64)
    assert_close(cross_entropy(scores, numbers), cross_entropy(scores, coded), rtol=1e-14, atol=0)
    assert_close(cross_entropy(scores, numbers), F.cross_entropy(scores, numbers), rtol=1e-13, atol=0)
    chosen = [reference.log_softmax(row)[number] for row, number in zip(scores.tolist(), numbers.tolist(), strict=True)]
    assert cross_entropy(scores, numbers).item() == pytest.approx(-sum(chosen) / 9, rel=1e-13)


@pytest.mark.parametrize("soft", [False, True])
def test_the_gradient_is_the_probabilities_minus_the_labels_by_the_number_of_examples(soft):
    scores = normal(6, 4).requires_grad_()
    numbers = labels(6, 4)
    targets = softmax(normal(6, 4, seed=1)) if soft else numbers
    coded = targets if soft else one_hot(numbers, 4, dtype=torch.float64)
    cross_entropy(scores, targets).backward()
    assert_close(scores.grad, (softmax(scores.detach()) - coded) / 6, rtol=0, atol=1e-15)
    assert gradcheck(lambda y: cross_entropy(y, targets), scores)


def test_the_gradient_reaches_soft_labels_too():
    targets = softmax(normal(3, 4, seed=1)).requires_grad_()
    assert gradcheck(lambda given: cross_entropy(normal(3, 4), given), targets)


def test_labels_of_zero_and_one_get_the_full_gradient():
    scores, targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    cross_entropy(scores, targets).backward()
    likely, unlikely = math.log(1 + math.exp(-1)) / 2, math.log(1 + math.exp(1)) / 2  # -log S / N: 0.3133 / 2 the first
    for row in targets.grad.tolist():
        assert row == pytest.approx([likely, unlikely], rel=1e-6)


def test_labels_of_zero_have_a_second_derivative_and_can_be_mapped_over():
    scores, targets = normal(3, 4).requires_grad_(), one_hot(labels(3, 4), 4, dtype=torch.float64).requires_grad_()
    assert gradgradcheck(cross_entropy, (scores, targets), torch.tensor(0.7, dtype=torch.float64, requires_grad=True))
    several = torch.stack([targets.detach(), targets.detach().flip(0)])
    mapped = torch.func.vmap(torch.func.grad(lambda given: cross_entropy(scores.detach(), given)))(several)
    expected = -F.log_softmax(scores.detach(), 1) / 3
    assert_close(mapped, torch.stack([expected, expected]), rtol=1e-12, atol=0)


def test_a_label_of_zero_without_any_probability_counts_nothing_and_gets_no_gradient():
    targets = torch.tensor([[1.0, 0.0, 0.0]], requires_grad=True)
    loss = cross_entropy(torch.tensor([[0.0, -math.inf, 0.0]]), targets)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert targets.grad[0].tolist() == pytest.approx([math.log(2), 0.0, math.log(2)], rel=1e-6)


# The mean


def test_the_loss_is_the_mean_of_the_losses_of_the_examples():
    scores, numbers = normal(8, 3), labels(8, 3)
    alone = [cross_entropy(scores[i : i + 1], numbers[i : i + 1]).item() for i in range(8)]
    assert max(alone) > 2 * min(alone)
    assert cross_entropy(scores, numbers).item() == pytest.approx(sum(alone) / 8, rel=1e-14)


def test_examples_that_all_come_twice_change_nothing_and_their_sum_would_double():
    scores, numbers = normal(8, 3), labels(8, 3)
    once, twice = (cross_entropy(scores.repeat(n, 1), numbers.repeat(n)) for n in (1, 2))
    assert_close(twice, once, rtol=1e-14, atol=0)
    sums = (F.cross_entropy(scores.repeat(n, 1), numbers.repeat(n), reduction="sum") for n in (1, 2))
    assert_close(once * 8, next(sums), rtol=1e-13, atol=0)
    assert_close(twice * 16, next(sums), rtol=1e-13, atol=0)


# What kind of distance it is


def test_the_distance_is_not_symmetric():
    sure, unsure = torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])
    assert distance(sure, unsure) == pytest.approx(1.204, abs=1e-3)
    assert distance(unsure, sure) == pytest.approx(0.693, abs=1e-3)


@given(distributions(), distributions())
def test_the_distance_is_least_at_the_label_itself_where_it_is_the_entropy(probabilities, label):
    entropy = float(-(label * label.log()).sum())
    assert distance(label, label) == pytest.approx(entropy, rel=1e-12)
    apart = float((probabilities - label).abs().sum())
    assert distance(probabilities, label) >= entropy + apart**2 / 2 - 1e-12  # Pinsker's inequality


@given(st.permutations(range(6)), st.permutations(range(4)))
def test_the_order_of_examples_and_of_classes_does_not_matter(examples, classes):
    scores, soft = normal(6, 4), softmax(normal(6, 4, seed=1))
    reordered = cross_entropy(scores[examples][:, classes], soft[examples][:, classes])
    assert_close(reordered, cross_entropy(scores, soft), rtol=1e-13, atol=0)


def test_scores_and_labels_are_not_modified():
    scores, soft, numbers = normal(3, 4), softmax(normal(3, 4, seed=1)), labels(3, 4)
    before = [scores.clone(), soft.clone(), numbers.clone()]
    cross_entropy(scores, soft)
    cross_entropy(scores, numbers)
    one_hot(numbers, 4)
    assert all(now.equal(then) for now, then in zip((scores, soft, numbers), before, strict=True))


# The quick way of class numbers, in single and double precision


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_class_numbers_cost_what_the_formula_says_up_to_rounding_with_all_gradients(dtype):
    """Our own log-softmax, where the label is; values of every size, and a score that rules its class out."""
    scores = (10 * normal(50, 7)).to(dtype)
    scores[3, 2] = scores[4, 0] = -math.inf
    numbers = labels(50, 7)
    numbers[3], numbers[4] = 1, 6
    found, expected = (scores.clone().requires_grad_() for _ in range(2))
    quick = cross_entropy(found, numbers)
    slow = -log_softmax(expected).gather(1, numbers[:, None]).mean()
    assert_close(quick, slow)
    quick.backward()
    slow.backward()
    assert_close(found.grad, expected.grad)


@pytest.mark.global_generator
def test_the_loss_of_class_numbers_has_second_derivatives_and_can_be_mapped_over():
    scores, numbers = normal(4, 3), labels(4, 3)
    assert gradcheck(lambda y: cross_entropy(y, numbers), scores.clone().requires_grad_())
    assert gradgradcheck(lambda y: cross_entropy(y, numbers), scores.clone().requires_grad_())
    probabilities = softmax(scores[0])
    hessian = jacrev(jacrev(lambda y: cross_entropy(y[None], numbers[:1])))(scores[0])
    with pytest.raises(
        (IndexError, RuntimeError), match="out of bounds"
    ):  # nobody can look at labels that are mapped over
        vmap(grad(cross_entropy))(torch.zeros(2, 4, 3), torch.full((2, 4), 3))
    assert_close(hessian, probabilities.diag() - probabilities.outer(probabilities))
    several, their_numbers = normal(5, 4, 3, seed=1), torch.stack([labels(4, 3, seed) for seed in range(5)])
    mapped = vmap(grad(cross_entropy))(several, their_numbers)
    for one, own, slope in zip(several, their_numbers, mapped, strict=True):
        assert_close(slope, (softmax(one) - one_hot(own, 3, dtype=one.dtype)) / 4)


def test_labels_of_half_precision_can_be_mapped_over_too():
    several, numbers = normal(5, 4, 3).half(), torch.stack([labels(4, 3, seed) for seed in range(5)])
    expected = torch.stack([cross_entropy(*pair) for pair in zip(several, numbers, strict=True)])
    assert torch.equal(vmap(cross_entropy)(several, numbers), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_up_in_single(dtype):
    """The mean of 100,000 examples; their sum and their number are beyond what float16 holds."""
    scores, numbers = normal(100_000, 3).to(dtype), labels(100_000, 3)
    expected = cross_entropy(scores.double(), numbers)
    assert_close(cross_entropy(scores, numbers).double(), expected, rtol=torch.finfo(dtype).eps, atol=0)


# Errors


@pytest.mark.parametrize("wrong", [-1, 3, 255, -100, -(2**63), 2**63 - 1])
def test_a_label_outside_the_classes_is_refused(wrong):
    numbers = torch.tensor([0, wrong, 2])
    message = f"labels must be from 0 to 2, but they go from {min(wrong, 0)} to {max(wrong, 2)}"
    with pytest.raises(ValueError, match=message):
        one_hot(numbers, 3)
    with pytest.raises(ValueError, match=message):
        cross_entropy(torch.zeros(3, 3), numbers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.complex64])
def test_labels_that_are_not_integers_are_refused(dtype):
    with pytest.raises(TypeError, match=f"labels must be integers, not {dtype}"):
        one_hot(torch.zeros(2, dtype=dtype), 2)
    with pytest.raises(TypeError, match=f"labels must be integers, not {dtype}"):
        cross_entropy(torch.zeros(2, 2), torch.zeros(2, dtype=dtype))


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 0), (2, 3, 4)])
def test_scores_that_are_not_a_batch_are_refused(shape):
    with pytest.raises(
        ValueError, match=rf"logits must have the shape \(N, K\) with N and K of 1 or more, not \({shape[0]},"
    ):
        cross_entropy(torch.zeros(shape), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(), (3,), (1,), (2, 1), (1, 4), (4, 2), (2, 4, 1)])
def test_targets_that_do_not_fit_the_scores_are_refused_not_broadcast(shape):
    with pytest.raises(ValueError, match=r"targets must have the shape \(2,\) .* or \(2, 4\) .*, not \("):
        cross_entropy(torch.zeros(2, 4), torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_probabilities_of_another_dtype_than_the_scores_are_refused(dtype):
    with pytest.raises(TypeError, match=f"must be torch.float32 as the logits, not {dtype}"):
        cross_entropy(torch.zeros(2, 4), torch.zeros(2, 4, dtype=dtype))


def test_scores_that_are_not_floating_point_are_refused():
    with pytest.raises(TypeError, match=r"logits must be floating point, not torch\.int64"):
        cross_entropy(torch.zeros(2, 4, dtype=torch.int64), torch.tensor([0, 1]))


def test_arrays_of_numpy_are_refused():
    with pytest.raises(
        TypeError, match=r"^labels must be a tensor, not a NumPy array: make it one by torch\.from_numpy"
    ):
        one_hot(np.array([0, 1]), 2)
    with pytest.raises(TypeError, match=r"^logits must be a tensor, not a NumPy array"):
        cross_entropy(np.zeros((2, 4)), torch.tensor([0, 1]))
    for targets in (np.array([0, 1]), np.zeros((2, 4), np.float32)):
        with pytest.raises(TypeError, match=r"^targets must be a tensor, not a NumPy array"):
            cross_entropy(torch.zeros(2, 4), targets)
