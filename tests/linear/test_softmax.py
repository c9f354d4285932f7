"""Softmax and its logarithm: what they are, what changes nothing, and what a temperature does."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from dlnotes.linear import log_softmax, softmax
from tests import reference

NOTES = torch.tensor([3.0, 1.0, 0.2], dtype=torch.float64)
both = pytest.mark.parametrize("function", [softmax, log_softmax])
scores = st.lists(st.floats(-50, 50), min_size=2, max_size=8)
temperatures = st.floats(0.1, 100)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def entropy(logits, temperature=1.0):
    return float(-(softmax(logits, temperature) * log_softmax(logits, temperature)).sum())


# Facts worked by hand


def test_the_scores_of_the_notes_become_836_113_and_51_of_a_thousand():
    assert softmax(NOTES).mul(1000).round().tolist() == [836, 113, 51]


def test_ten_times_the_scores_of_the_notes_is_one_class_alone():
    assert [f"{p:.0e}" for p in softmax(10 * NOTES).tolist()] == ["1e+00", "2e-09", "7e-13"]


def test_a_tenth_of_the_scores_of_the_notes_is_nearly_uniform():
    assert softmax(NOTES / 10).mul(1000).round().tolist() == [388, 318, 294]


def test_scores_that_are_next_to_equal_stay_next_to_uniform_at_ten_times_their_size():
    assert softmax(10 * tensor([1, 1, 0.99])).mul(1000).round().tolist() == [344, 344, 311]


def test_the_odds_of_two_classes_are_the_exponential_of_the_difference_of_their_scores():
    certain, other = softmax(tensor([math.log(3), 0.0])).tolist()
    assert (certain, other) == pytest.approx((0.75, 0.25), abs=1e-15)


def test_equal_scores_share_equally():
    assert softmax(torch.full((8,), -7.5)).tolist() == [0.125] * 8
    assert softmax(torch.tensor([3.0])).tolist() == [1.0]


def test_a_score_of_minus_infinity_has_no_probability_and_takes_none_from_the_others():
    logits = tensor([1.0, -math.inf, 1.0])
    assert softmax(logits).tolist() == [0.5, 0.0, 0.5]
    assert log_softmax(logits).tolist() == [-math.log(2), -math.inf, -math.log(2)]


# Slow twin, torch, gradients


@pytest.mark.parametrize("temperature", [1.0, 0.1, 10.0])
def test_softmax_exponentiates_and_divides_by_the_sum(temperature):
    logits = normal(20, 7)
    expected = [reference.softmax(row, temperature) for row in logits.tolist()]
    assert_close(softmax(logits, temperature), tensor(expected), rtol=0, atol=1e-14)
    assert_close(softmax(logits, temperature), torch.softmax(logits / temperature, -1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 10.0])
def test_log_softmax_is_the_logarithm_of_softmax(temperature):
    logits = normal(20, 7)
    expected = [reference.log_softmax(row, temperature) for row in logits.tolist()]
    assert_close(log_softmax(logits, temperature), tensor(expected), rtol=0, atol=1e-13)
    assert_close(log_softmax(logits, temperature), torch.log_softmax(logits / temperature, -1), rtol=0, atol=1e-13)


@both
@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_the_classes_lie_along_the_dimension_asked_for(function, dim):
    logits = normal(3, 4, 5)
    assert_close(function(logits, dim=dim), getattr(torch, function.__name__)(logits, dim), rtol=0, atol=1e-14)


@both
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_gradients_are_those_of_finite_differences(function, temperature):
    logits = normal(3, 4).requires_grad_()
    assert gradcheck(lambda y: function(y, temperature, dim=0), logits)
    assert gradgradcheck(lambda y: function(y, temperature, dim=0), logits, normal(3, 4, seed=1).requires_grad_())


@both
@pytest.mark.parametrize("value", [1.0, 0.5])
def test_a_temperature_gets_the_gradient_of_the_plain_formula_also_where_it_is_one(function, value):
    logits, weight = normal(3, 4), normal(3, 4, seed=1)
    found, expected = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for _ in range(2))
    (function(logits, found) * weight).sum().backward()
    (getattr(torch, function.__name__)(logits / expected, -1) * weight).sum().backward()
    assert_close(found.grad, expected.grad, rtol=1e-12, atol=0)
    assert gradcheck(lambda temperature: function(logits, temperature), found)


# Large and small numbers


def test_scores_that_would_overflow_give_what_smaller_ones_with_the_same_differences_give():
    large = torch.tensor([1000.0, 999.0])
    assert not (large.exp() / large.exp().sum()).isfinite().any()
    assert softmax(large).equal(softmax(torch.tensor([1.0, 0.0])))
    assert log_softmax(-large).equal(log_softmax(torch.tensor([0.0, 1.0])))


@both
def test_large_scores_at_a_small_temperature_do_not_overflow(function):
    assert function(torch.tensor([3e38, 3e38]), 0.1).equal(function(torch.zeros(2)))


def test_log_softmax_is_finite_where_the_probability_is_smaller_than_the_smallest_number():
    logits = tensor([0.0, -1000.0])
    assert softmax(logits)[1] == 0
    assert log_softmax(logits).tolist() == [0.0, -1000.0]


@both
def test_scores_without_a_finite_largest_give_nan_as_in_torch(function):
    for logits in (torch.tensor([math.inf, 0.0]), torch.tensor([-math.inf, -math.inf])):
        assert function(logits).isnan().all()
        assert getattr(torch, function.__name__)(logits, -1).isnan().all()


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_stays(function, dtype):
    logits = normal(5, 4).to(dtype)
    assert function(logits, 2.0).dtype == dtype
    expected = function(logits.double(), 2.0)
    assert_close(function(logits, 2.0).double(), expected, rtol=0, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_hundred_thousand_classes_in_half_precision_share_equally(dtype):
    logits = torch.zeros(100_000, dtype=dtype, requires_grad=True)
    softmax(logits)[0].backward()
    rounding = {"rel": torch.finfo(dtype).eps, "abs": 3e-8}  # half of the smallest number of float16
    assert softmax(logits)[0].item() == pytest.approx(1e-5, **rounding)
    assert logits.grad[0].item() == pytest.approx(1e-5, **rounding)
    assert log_softmax(logits)[0].item() == pytest.approx(-math.log(100_000), **rounding)


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once_at_the_end_in_values_and_gradients(function, dtype):
    logits, weight = normal(40, 1_000).to(dtype), normal(40, 1_000, seed=1).to(dtype)
    found, expected = logits.clone().requires_grad_(), logits.double().requires_grad_()
    value, exact = function(found, 0.5), function(expected, 0.5)
    (value * weight).sum().backward()
    (exact * weight.double()).sum().backward()
    for half, double in ((value, exact), (found.grad, expected.grad)):
        assert half.dtype == dtype
        assert_close(half.double(), double, rtol=torch.finfo(dtype).eps, atol=2e-7)  # next to the smallest of float16


@both
def test_scores_of_half_precision_may_lie_further_apart_than_its_largest_number(function):
    logits = torch.tensor([60_000.0, -60_000.0], dtype=torch.float16)
    expected = function(logits.double(), 1e4)
    assert expected.isfinite().all()
    assert_close(function(logits, 1e4).double(), expected, rtol=1e-3, atol=2e-7)


@both
def test_under_autocast_half_precision_stays_single_as_in_torch(function, device):
    logits = normal(5, 4).to(device).to(torch.bfloat16)
    with torch.autocast(device, dtype=torch.bfloat16):
        assert function(logits).dtype == torch.float32
    assert function(logits).dtype == torch.bfloat16


# What changes nothing


@given(scores, temperatures)
def test_softmax_gives_probabilities_in_the_order_of_the_scores(values, temperature):
    probabilities = softmax(tensor(values), temperature)
    assert (probabilities >= 0).all()
    assert math.isclose(probabilities.sum(), 1.0, abs_tol=1e-14)
    assert (probabilities[tensor(values).argsort()].diff() >= 0).all()


@both
@given(scores, st.floats(-1e3, 1e3))
def test_adding_a_constant_to_all_scores_changes_nothing(function, values, constant):
    assert_close(function(tensor(values) + constant), function(tensor(values)), rtol=1e-11, atol=1e-11)


@both
@given(scores, temperatures)
def test_a_temperature_divides_the_scores(function, values, temperature):
    divided = function(tensor(values) / temperature)
    assert_close(function(tensor(values), temperature), divided, rtol=1e-12, atol=1e-12)


@both
@given(st.permutations(range(6)))
def test_reordering_the_classes_reorders_the_probabilities(function, order):
    logits = normal(6)
    assert_close(function(logits[order]), function(logits)[order], rtol=0, atol=1e-15)


@both
def test_an_example_does_not_depend_on_its_batch_mates_and_is_not_modified(function):
    logits = normal(6, 5)
    before, together = logits.clone(), function(logits, 0.5)
    assert logits.equal(before)
    assert together.equal(torch.stack([function(row, 0.5) for row in logits]))


# What a temperature does: 1.03 and 1.04


@given(scores, st.floats(1.1, 100))
def test_larger_scores_are_never_less_certain(values, factor):
    assert entropy(tensor(values) * factor) <= entropy(tensor(values)) + 1e-12
    assert softmax(tensor(values) * factor).max() >= softmax(tensor(values)).max() - 1e-12


@given(scores)
def test_ten_times_the_scores_is_near_zero_and_one_where_the_gap_is_large_and_nowhere_else(values):
    logits = tensor(values)
    first, second = logits.topk(2).values.tolist()
    gap = 10 * (first - second)
    largest = softmax(logits, temperature=0.1).max()
    assume(not math.isclose(gap, math.log(99)))
    if gap > math.log(99 * (len(values) - 1)) + 1e-9:
        assert largest > 0.99
    if gap < math.log(99):
        assert largest < 0.99


@given(st.integers(1, 5), st.integers(1, 5))
def test_no_scale_parts_equal_scores(ties, others):
    logits = torch.cat([torch.ones(ties), torch.zeros(others)])
    assert softmax(logits * 1e6).tolist() == pytest.approx([1 / ties] * ties + [0] * others)


@given(scores)
def test_a_tenth_of_the_scores_is_uniform_up_to_an_eighth_of_their_squared_range(values):
    logits = tensor(values)
    divergence = math.log(len(values)) - entropy(logits, temperature=10.0)
    assert divergence <= (logits.max() - logits.min()).div(10).square() / 8 + 1e-12


def test_a_tenth_of_widely_ranging_scores_is_still_one_class_alone():
    assert softmax(tensor([200.0, 0.0, 0.0]) / 10)[0] > 0.999_999


# Errors


@both
@pytest.mark.parametrize("temperature", [0, 0.0, -1.5, math.inf, math.nan])
def test_a_temperature_that_is_not_positive_and_finite_is_refused(function, temperature):
    with pytest.raises(ValueError, match=f"temperature must be larger than 0 and finite, not {temperature}"):
        function(NOTES, temperature)


@both
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_scores_that_are_not_floating_point_are_refused(function, dtype):
    with pytest.raises(TypeError, match=f"logits must be floating point, not {dtype}"):
        function(torch.ones(2, dtype=dtype))


@both
def test_a_temperature_that_the_dtype_cannot_hold_is_refused_and_the_smallest_that_it_holds_is_not(function):
    for dtype in (torch.float32, torch.float64):
        smallest = torch.finfo(dtype).tiny
        assert function(torch.tensor([smallest, 0.0], dtype=dtype), smallest).equal(
            function(torch.tensor([1.0, 0.0], dtype=dtype))
        )
        with pytest.raises(ValueError, match=rf"{dtype} holds nothing below {smallest:.2g}"):
            function(torch.ones(3, dtype=dtype), temperature=0.999 * smallest)


@both
@pytest.mark.parametrize(
    ("temperature", "came"),
    [("1", "str"), (None, "NoneType"), (True, "bool"), (torch.ones(2), r"a tensor of shape \(2,\)"), (1j, "complex")],
)
def test_a_temperature_that_is_no_number_is_refused(function, temperature, came):
    with pytest.raises(TypeError, match=f"^temperature must be a number, not {came}"):
        function(NOTES, temperature)


@both
def test_scores_that_are_no_tensor_are_refused(function):
    with pytest.raises(
        TypeError, match=r"^logits must be a tensor, not a NumPy array: make it one by torch\.from_nump"
    ):
        function(np.ones(3))
    with pytest.raises(TypeError, match=r"^logits must be a tensor, not list: make it one by torch\.tensor"):
        function([1.0, 2.0])
