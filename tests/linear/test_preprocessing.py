"""Splitting examples up, and scaling them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from dlnotes.linear import split, standardize
from tests import reference


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=chance(seed), dtype=torch.float64)


# Splitting


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(0, 3))
def test_the_parts_have_the_sizes_asked_for_and_share_no_example(sizes, left_over):
    numbers = torch.arange(sum(sizes) + left_over)
    parts = [part for (part,) in split((numbers,), sizes, generator=chance())]
    assert [len(part) for part in parts] == sizes
    dealt = torch.cat(parts).tolist()
    assert len(set(dealt)) == len(dealt) == sum(sizes)
    assert set(dealt) <= set(numbers.tolist())


def test_inputs_stay_with_their_targets():
    targets = torch.arange(100)
    for inputs, their_targets in split((targets * 10.0, targets), (60, 30, 10), generator=chance()):
        assert inputs.equal(their_targets * 10.0)


def test_the_examples_are_shuffled_by_the_generator_and_by_nothing_else():
    numbers = (torch.arange(100),)
    first, again, other = (split(numbers, (50,), generator=chance(seed))[0][0] for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)
    assert not first.equal(first.sort().values)


def test_the_parts_are_copies():
    numbers = torch.arange(10)
    (part,) = split((numbers,), (10,), generator=chance())[0]
    part.zero_()
    assert numbers.equal(torch.arange(10))


@pytest.mark.parametrize("sizes", [(-1, 2), (5, 6), (11,)])
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(ValueError, match=rf"0 or larger and sum to at most 10 examples, not \[{sizes[0]}"):
        split((torch.arange(10),), sizes, generator=chance())


@pytest.mark.parametrize("lengths", [(3, 4), ()])
def test_tensors_of_different_lengths_and_no_tensors_are_refused(lengths):
    with pytest.raises(ValueError, match=rf"one equal first dimension, got \[{', '.join(map(str, lengths))}\]"):
        split([torch.zeros(length) for length in lengths], (1,), generator=chance())


def test_each_example_is_as_likely_as_any_other_to_be_in_a_part(seed):
    generator, draws, examples = chance(seed), 2_000, 10
    counts = torch.zeros(examples)
    for _ in range(draws):
        counts[split((torch.arange(examples),), (2, 3), generator=generator)[1][0]] += 1
    deviation = math.sqrt(draws * 0.3 * 0.7)
    assert (counts - 0.3 * draws).abs().max() < 5 * deviation


# Scaling


def test_one_and_three_become_minus_one_and_one():
    train, test = standardize(torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [2.0], [3.0]]))
    assert train.tolist() == [[-1.0], [1.0]]
    assert test.tolist() == [[3.0], [0.0], [1.0]]


def test_the_scaling_is_measured_on_the_training_examples_alone():
    train, test = normal(20, 3), 100 + 50 * normal(8, 3, seed=1)
    expected = reference.standardize(train.tolist(), test.tolist())
    for part, values in zip(standardize(train, test), expected, strict=True):
        assert_close(part, torch.tensor(values, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    assert standardize(train)[0].equal(standardize(train, test)[0])


def test_each_feature_gets_mean_zero_and_variance_one():
    scales = torch.tensor([1e-3, 1.0, 255.0], dtype=torch.float64)
    (train,) = standardize(normal(50, 3) * scales + 100 * scales)
    assert_close(train.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert_close(train.square().mean(0), torch.ones(3, dtype=torch.float64), rtol=1e-12, atol=0)


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_units_and_zero_points_do_not_matter(scale, shift):
    train, test = normal(20, 3), normal(8, 3, seed=1)
    changed = standardize(train * scale + shift, test * scale + shift)
    assert_close(changed, standardize(train, test), rtol=1e-8, atol=1e-8)


def test_the_order_of_training_examples_does_not_matter():
    train, order = normal(20, 3), torch.randperm(20, generator=chance())
    assert_close(standardize(train[order])[0], standardize(train)[0][order], rtol=0, atol=1e-13)


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1e-6, -255.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_feature_that_never_changes_in_training_is_shifted_and_not_scaled(value, dtype):
    constant = torch.full((1_000, 1), value, dtype=dtype)
    train, test = standardize(constant, constant[:3] + 1)
    resolution = 10 * torch.finfo(dtype).eps * max(1, abs(value))
    assert_close(train, torch.zeros_like(train), rtol=0, atol=resolution)
    assert_close(test, torch.ones_like(test), rtol=0, atol=resolution)


def test_a_feature_that_changes_by_rounding_alone_is_not_scaled():
    train = torch.tensor([[0.1 + 0.2], [0.3], [0.3]], dtype=torch.float64)
    assert train[0] != train[1]
    assert_close(standardize(train, train + 1)[1], torch.ones_like(train), rtol=0, atol=1e-15)


def test_a_feature_that_changes_a_little_is_scaled():
    train = torch.tensor([[1000.0], [1000.1]], dtype=torch.float32)
    assert_close(standardize(train)[0], torch.tensor([[-1.0], [1.0]]), rtol=0, atol=1e-3)


UNITS = [-math.sqrt(2), -math.sqrt(1 / 2), 0, math.sqrt(1 / 2), math.sqrt(2)]  # 0, 1, 2, 3 and 4, standardised


@pytest.mark.parametrize(
    ("dtype", "base", "step"),
    [
        (torch.float32, 1e7, 1),
        (torch.float32, 1e7, 2),
        (torch.float16, 2_048, 2),
        (torch.float16, 60_000, 32),
        (torch.bfloat16, 256, 2),
        (torch.float64, 2**53, 2),
    ],
)
def test_a_feature_that_changes_by_a_few_units_in_its_last_place_is_scaled(dtype, base, step):
    whole = base + step * torch.arange(5)
    train = whole.to(dtype)[:, None]
    assert train.squeeze().long().equal(whole.long())
    both = torch.cat([torch.ones_like(train), train], 1)  # beside a feature that does not change
    for scaled in (standardize(train)[0], standardize(train, train)[1], standardize(both)[0][:, 1:]):
        assert scaled.dtype == dtype
        assert_close(scaled.squeeze().double(), torch.tensor(UNITS).double(), rtol=torch.finfo(dtype).eps, atol=1e-7)
    ahead = standardize(train, (whole + 2 * step).to(dtype)[:, None])[1]
    assert ahead[0].item() == 0
    assert ahead[2].item() == pytest.approx(math.sqrt(2), rel=torch.finfo(dtype).eps)


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, -255.7, 1e-6, 30_000.1])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_feature_that_never_changes_gives_exactly_zero(value, dtype):
    for count in (3, 100_001):
        assert not standardize(torch.full((count, 2), value, dtype=dtype))[0].any()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (torch.float16, 6e4),
        (torch.float16, 1e-6),
        (torch.bfloat16, 1e30),
        *((torch.float32, value) for value in (1e30, 1e-30, 3e38)),
        *((torch.float64, value) for value in (1e200, 1e-200)),
    ],
)
def test_a_feature_whose_squares_the_dtype_does_not_hold_is_scaled(dtype, value):
    (scaled,) = standardize(torch.tensor([[-value], [0.0], [value]], dtype=dtype))
    expected = torch.tensor([[-math.sqrt(1.5)], [0.0], [math.sqrt(1.5)]], dtype=torch.float64)
    assert_close(scaled.double(), expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-7)


def test_features_that_change_by_little_are_scaled_beside_others_and_have_gradients():
    train = torch.stack([1e7 + torch.arange(5.0), torch.arange(5.0), torch.ones(5)], 1).requires_grad_()
    weight = torch.tensor([1.0, 4.0, 2.0, 0.0, 3.0])
    standardize(train)[0].T.mul(weight).sum().backward()
    near, plain, constant = train.grad.T
    assert plain.any()
    assert_close(near, plain)
    assert_close(constant, weight - 2)


def test_a_feature_that_is_nan_somewhere_is_nan_everywhere():
    train, test = standardize(torch.tensor([[math.nan, 1.0], [1.0, 3.0]]), torch.ones(1, 2))
    assert train.isnan().tolist() == [[True, False], [True, False]]
    assert test[0, 0].isnan()


def test_a_single_training_example_is_shifted_to_zero():
    assert standardize(torch.tensor([[3.0, 4.0]]))[0].tolist() == [[0.0, 0.0]]


def test_images_keep_their_shape_and_their_dtype_and_are_not_modified():
    train, test = normal(10, 1, 4, 4), normal(3, 1, 4, 4, seed=1)
    before = train.clone(), test.clone()
    scaled = standardize(train, test)
    assert [part.shape for part in scaled] == [train.shape, test.shape]
    assert scaled[1].equal(standardize(train.flatten(1), test.flatten(1))[1].view(3, 1, 4, 4))
    assert train.equal(before[0])
    assert test.equal(before[1])
    assert standardize(train.float())[0].dtype == torch.float32


def test_a_part_without_examples_stays_empty_and_an_empty_training_part_is_refused():
    assert standardize(torch.ones(2, 3), torch.ones(0, 3))[1].shape == (0, 3)
    with pytest.raises(ValueError, match="standardize needs at least one training example"):
        standardize(torch.ones(0, 3))


def test_parts_of_another_shape_are_refused_not_broadcast():
    with pytest.raises(ValueError, match=r"each example must have the shape \(3,\) as in training, not \(1,\)"):
        standardize(torch.ones(2, 3), torch.ones(2, 1))


def test_examples_that_are_not_floating_point_are_refused():
    with pytest.raises(TypeError, match=r"examples must be floating point, not torch\.uint8"):
        standardize(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.uint8))


def test_arrays_of_numpy_are_refused():
    def cut(array):
        return split((array,), (1,), generator=chance())

    for function in (standardize, lambda array: standardize(torch.ones(2, 3), array), cut):
        with pytest.raises(
            TypeError, match=r"^examples must be a tensor, not a NumPy array: make it one by torch\.from"
        ):
            function(np.ones((2, 3), np.float32))
