"""Learning rates that fall: the schedules against their formulas, and against PyTorch's."""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, StepLR

from dlnotes.linear import SGD, AdaGrad, cosine_decay, exponential_decay, inverse_time_decay, step_decay

both = pytest.mark.parametrize("schedule", [exponential_decay, inverse_time_decay])


def optimizer(*rates):
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def rates(scheduler, steps):
    """The learning rate of the first group before each step."""
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def decayed(schedule, steps, *arguments, lr=1.0, **settings):
    return rates(schedule(optimizer(lr), *arguments, **settings), steps)


# Facts worked by hand


def test_exponential_decay_applies_its_factor_once_in_every_span_of_steps():
    assert decayed(exponential_decay, 4, 0.5, lr=0.8) == pytest.approx([0.8, 0.4, 0.2, 0.1])
    root = math.sqrt(0.5)
    assert decayed(exponential_decay, 5, 0.5, 2) == pytest.approx([1, root, 1 / 2, root / 2, 1 / 4])


def test_inverse_time_decay_divides_by_a_number_that_grows_evenly():
    assert decayed(inverse_time_decay, 4, 1.0, lr=6.0) == pytest.approx([6, 3, 2, 1.5])
    assert decayed(inverse_time_decay, 5, 1.0, 4)[4] == pytest.approx(1 / 2)
    assert decayed(inverse_time_decay, 3, 0.5) == pytest.approx([1, 2 / 3, 1 / 2])


def test_a_staircase_falls_only_where_a_span_of_steps_is_full():
    falling = decayed(exponential_decay, 7, 0.5, 3, staircase=True)
    assert falling == pytest.approx([1, 1, 1, 1 / 2, 1 / 2, 1 / 2, 1 / 4])
    falling = decayed(inverse_time_decay, 7, 1.0, 3, staircase=True)
    assert falling == pytest.approx([1, 1, 1, 1 / 2, 1 / 2, 1 / 2, 1 / 3])


def test_a_rate_that_does_not_decay_is_constant():
    assert decayed(exponential_decay, 5, 1.0, lr=0.3) == [0.3] * 5
    assert decayed(inverse_time_decay, 5, 0.0, lr=0.3) == [0.3] * 5


def test_step_decay_keeps_the_rate_and_lets_it_fall_where_a_span_is_full():
    assert decayed(step_decay, 7, 0.5, 3, lr=0.8) == pytest.approx([0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2])


def test_cosine_decay_falls_to_one_half_in_the_middle_and_stays_at_the_end():
    assert decayed(cosine_decay, 7, 4, lr=0.8) == pytest.approx(
        [0.8, 0.4 + 0.4 * math.sqrt(0.5), 0.4, 0.4 - 0.4 * math.sqrt(0.5), 0, 0, 0]
    )
    assert decayed(cosine_decay, 6, 2, lr=1.0, final=0.2) == pytest.approx([1, 0.6, 0.2, 0.2, 0.2, 0.2])


# Formulas, and torch


@pytest.mark.parametrize("span", [1.0, 2.5, 7])
def test_the_rates_are_those_of_the_formulas_for_fifty_steps(span):
    for staircase in (False, True):
        spans = [math.floor(t / span) if staircase else t / span for t in range(50)]
        found = decayed(exponential_decay, 50, 0.7, span, lr=0.1, staircase=staircase)
        assert found == pytest.approx([0.1 * 0.7**s for s in spans], rel=1e-12)
        found = decayed(inverse_time_decay, 50, 0.7, span, lr=0.1, staircase=staircase)
        assert found == pytest.approx([0.1 / (1 + 0.7 * s) for s in spans], rel=1e-12)


def test_exponential_decay_is_torchs_and_its_staircase_is_torchs_steps():
    smooth = rates(ExponentialLR(optimizer(0.1), 0.9), 50)
    assert decayed(exponential_decay, 50, 0.9, lr=0.1) == pytest.approx(smooth, rel=1e-12)
    stairs = rates(StepLR(optimizer(0.1), 7, 0.9), 50)
    assert decayed(exponential_decay, 50, 0.9, 7, lr=0.1, staircase=True) == pytest.approx(stairs, rel=1e-12)


def test_step_and_cosine_decay_are_torchs():
    stairs = rates(StepLR(optimizer(0.1), 7, 0.9), 50)
    assert decayed(step_decay, 50, 0.9, 7, lr=0.1) == pytest.approx(stairs, rel=1e-12)
    for final in (0.0, 0.1):
        wave = rates(CosineAnnealingLR(optimizer(0.5), 50, eta_min=0.5 * final), 51)
        assert decayed(cosine_decay, 51, 50, lr=0.5, final=final) == pytest.approx(wave, rel=1e-9, abs=1e-12)


# What holds for all


@both
@given(rate=st.floats(0.01, 1), span=st.floats(0.5, 20))
def test_rates_never_grow_and_a_staircase_is_never_below_the_slope(schedule, rate, span):
    slope = decayed(schedule, 30, rate, span)
    stairs = decayed(schedule, 30, rate, span, staircase=True)
    for falling in (slope, stairs):
        assert falling == sorted(falling, reverse=True)
        assert falling[0] == 1
        assert falling[-1] > 0
    assert all(step >= smooth for step, smooth in zip(stairs, slope, strict=True))


def test_inverse_time_rates_sum_up_without_bound_and_exponential_ones_do_not():
    thousand, ten_thousand = (sum(decayed(inverse_time_decay, steps, 1.0)) for steps in (1_000, 10_000))
    assert ten_thousand - thousand == pytest.approx(math.log(10), abs=1e-3)
    assert sum(rate**2 for rate in decayed(inverse_time_decay, 10_000, 1.0)) < math.pi**2 / 6
    assert sum(decayed(exponential_decay, 1_000, 0.9)) == pytest.approx(10)


@both
def test_each_group_falls_from_its_own_rate(schedule):
    scheduler = schedule(optimizer(0.8, 0.2), 0.5, 3)
    rates(scheduler, 5)
    first, second = scheduler.get_last_lr()
    assert 0 < first < 0.8
    assert first == pytest.approx(4 * second)
    assert [group["lr"] for group in scheduler.optimizer.param_groups] == [first, second]


@both
@pytest.mark.parametrize("kind", [SGD, AdaGrad, torch.optim.AdamW])
def test_any_optimizer_can_be_scheduled(schedule, kind):
    scheduler = schedule(kind([nn.Parameter(torch.zeros(1))], lr=0.4), 0.5, 2)
    assert rates(scheduler, 9) == decayed(schedule, 9, 0.5, 2, lr=0.4)


@both
def test_a_schedule_goes_on_from_its_state(schedule):
    whole = decayed(schedule, 20, 0.7, 3)
    first = schedule(optimizer(1.0), 0.7, 3)
    assert rates(first, 8) == whole[:8]
    second = schedule(optimizer(1.0), 0.7, 3)
    second.load_state_dict(first.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    assert rates(second, 12) == whole[8:]


EACH = {
    "exponential": lambda one: exponential_decay(one, 0.7, 3),
    "inverse time": lambda one: inverse_time_decay(one, 0.7, 3),
    "step": lambda one: step_decay(one, 0.7, 3),
    "cosine": lambda one: cosine_decay(one, 15, final=0.1),
}


@pytest.mark.parametrize("name", EACH)
def test_a_scheduler_can_be_copied_and_pickled_and_goes_on(name):
    whole = rates(EACH[name](optimizer(1.0)), 20)
    first = EACH[name](optimizer(1.0))
    assert rates(first, 8) == whole[:8]
    for twin in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert rates(twin, 12) == whole[8:]


# Errors


@pytest.mark.parametrize("rate", [0, -0.5, 1.01, math.inf, math.nan])
def test_exponential_decay_refuses_a_factor_outside_zero_to_one(rate):
    with pytest.raises(ValueError, match=f"decay_rate must be larger than 0 and at most 1, not {rate}"):
        exponential_decay(optimizer(0.1), rate)


@pytest.mark.parametrize("rate", [-0.1, math.inf, math.nan])
def test_inverse_time_decay_refuses_a_negative_rate(rate):
    with pytest.raises(ValueError, match=f"decay_rate must be 0 or larger and finite, not {rate}"):
        inverse_time_decay(optimizer(0.1), rate)


@both
@pytest.mark.parametrize("span", [0, -2, math.inf, math.nan])
def test_a_span_of_steps_that_is_not_positive_is_refused(schedule, span):
    with pytest.raises(ValueError, match=f"decay_steps must be larger than 0 and finite, not {span}"):
        schedule(optimizer(0.1), 0.5, span)


@pytest.mark.parametrize("span", [0, -2, math.inf, math.nan])
def test_a_cosine_needs_a_length(span):
    with pytest.raises(ValueError, match=f"decay_steps must be larger than 0 and finite, not {span}"):
        cosine_decay(optimizer(0.1), span)


@pytest.mark.parametrize("final", [-0.1, 1.1, math.nan])
def test_what_a_cosine_leaves_is_a_share(final):
    with pytest.raises(ValueError, match=f"final must be a share from 0 to 1, not {final}"):
        cosine_decay(optimizer(0.1), 10, final=final)
