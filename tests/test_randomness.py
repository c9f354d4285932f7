"""Streams: what a draw depends on (its seed and its purpose) and what it does not (everything else)."""

import itertools
import math

import pytest
import torch

from dlnotes.randomness import drawn_instead, stream, streams, uniform


def draws(seed, purpose, count=5):
    return torch.rand(count, generator=stream(seed, purpose))


# What a stream depends on


def test_the_same_seed_and_purpose_give_the_same_draws(seed):
    assert torch.equal(draws(seed, "weights"), draws(seed, "weights"))


def test_another_seed_or_another_purpose_gives_other_draws(seed):
    several = [(seed, "weights"), (seed + 1, "weights"), (seed, "batches"), (seed, "weight"), (seed, "Weights")]
    for one, other in itertools.combinations(several, 2):
        assert not torch.equal(draws(*one), draws(*other))


def test_a_seed_and_a_purpose_that_begins_with_a_digit_do_not_run_into_each_other():
    assert not torch.equal(draws(1, "1st"), draws(11, "st"))


@pytest.mark.parametrize(
    ("number", "purpose", "expected"),
    [(0, "weights", 133441691874178746), (1, "weights", 5164344575451445340), (0, "batches", 2312056721596985416)],
)
def test_the_streams_are_those_that_the_committed_results_were_made_with(number, purpose, expected):
    assert stream(number, purpose).initial_seed() == expected


def test_a_stream_does_not_depend_on_which_others_are_asked_for(seed):
    alone = torch.rand(5, generator=streams(seed, "batches")["batches"])
    chance = streams(seed, "masks", "batches", "noise")
    torch.rand(100, generator=chance["masks"])
    assert torch.equal(torch.rand(5, generator=chance["batches"]), alone)


def test_streams_are_named_by_their_purposes_in_the_order_asked_for():
    assert list(streams(0, "weights", "batches", "data")) == ["weights", "batches", "data"]


def test_a_stream_is_on_the_cpu_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    assert streams(0, "weights")["weights"].device.type == "cpu"
    assert torch.equal(torch.get_rng_state(), before)


# Independence

# 4 seeds of 4 purposes make 120 pairs, and a hundred seeds 12,000: beyond 5.5 standard errors lies 1 in 26 million.
FAR = 5.5


def test_neighbouring_seeds_and_similar_purposes_are_not_correlated(seed):
    count = 4_000
    purposes = ("weights", "weight", "batches", "a")
    rows = [torch.randn(count, generator=stream(seed + near, name)) for near in range(4) for name in purposes]
    correlations = torch.corrcoef(torch.stack(rows)).fill_diagonal_(0)
    assert correlations.abs().max() < FAR / math.sqrt(count)


def test_the_first_draws_of_a_thousand_neighbouring_seeds_are_uniform_and_not_correlated(seed):
    count = 1_000
    first = torch.stack([draws(count * seed + near, "data", 1) for near in range(count)]).squeeze(1)
    assert abs(first.mean() - 1 / 2) < FAR * math.sqrt(1 / 12 / count)
    # The variance of (u - 1/2)² is 1/80 - 1/144 = 1/180.
    assert abs((first - 1 / 2).square().mean() - 1 / 12) < FAR * math.sqrt(1 / 180 / count)
    assert abs(torch.corrcoef(torch.stack([first[:-1], first[1:]]))[0, 1]) < FAR / math.sqrt(count)


def descend(weights, batches, masks, draw_masks, steps=20):
    """Twenty steps of noisy descent; the masks are drawn, where asked for, and not used."""
    w = torch.randn(3, generator=weights)
    for _ in range(steps):
        if draw_masks:
            torch.rand(7, generator=masks)
        w -= 0.1 * (w - torch.randn(3, generator=batches))
    return w


def test_the_null_experiment_arms_that_differ_only_in_an_unused_stream_differ_by_exactly_zero(seed):
    with_masks, without = (
        descend(**streams(seed, "weights", "batches", "masks"), draw_masks=draw) for draw in (True, False)
    )
    assert (with_masks - without).abs().max() == 0

    # The control: with one generator for everything the same two arms drift apart.
    shared = (
        descend(one, one, one, draw_masks=draw)
        for draw, one in ((True, stream(seed, "all")), (False, stream(seed, "all")))
    )
    assert not torch.equal(*shared)


# Errors


@pytest.mark.parametrize("wrong", [1.0, "1", True, None, torch.tensor(1)])
def test_a_seed_that_is_not_an_int_is_a_type_error(wrong):
    with pytest.raises(TypeError, match="seed must be an int"):
        stream(wrong, "weights")


@pytest.mark.parametrize("wrong", [1, b"weights", None])
def test_a_purpose_that_is_not_a_text_is_a_type_error(wrong):
    with pytest.raises(TypeError, match="purpose must be a str"):
        streams(0, wrong)


def test_a_negative_seed_is_a_value_error():
    with pytest.raises(ValueError, match="0 or larger, not -1"):
        streams(-1, "weights")


def test_an_empty_purpose_is_a_value_error():
    with pytest.raises(ValueError, match="must not be empty"):
        stream(0, "")


def test_no_purpose_is_a_value_error():
    with pytest.raises(ValueError, match="at least one purpose"):
        streams(0)


def test_a_purpose_given_twice_is_a_value_error_that_names_it():
    with pytest.raises(ValueError, match="come twice: 'data'"):
        streams(0, "data", "weights", "data")


def test_uniform_numbers_are_those_of_torch_rand_whatever_the_defaults():
    expected = torch.rand(3, 2, generator=stream(0, "x"), dtype=torch.float32)
    with torch.device("meta"):
        assert torch.equal(uniform((3, 2), stream(0, "x")), expected)


def test_a_draw_instead_lasts_as_long_as_its_block_and_counts_for_its_generator_alone():
    one, other = stream(0, "one"), stream(0, "other")
    first, second = uniform((2,), stream(0, "one")), uniform((2,), stream(0, "other"))
    with drawn_instead({one: torch.zeros}):
        assert torch.equal(uniform((2,), one), torch.zeros(2))
        assert torch.equal(uniform((2,), other), second)
    with pytest.raises(ZeroDivisionError), drawn_instead({one: lambda shape: 1 / 0}):
        uniform((2,), one)
    assert torch.equal(uniform((2,), one), first)
