"""Learning rates that fall: the schedules against their formulas, and against PyTorch's."""

import copy
import math
import pickle
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import ChainedScheduler, CosineAnnealingLR, ExponentialLR, LinearLR, SequentialLR, StepLR

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


def test_without_a_staircase_the_rates_fall_at_each_step():
    for schedule in (exponential_decay, inverse_time_decay):
        falling = decayed(schedule, 9, 0.5, 4)
        assert all(later < earlier for earlier, later in pairwise(falling))
        assert falling == decayed(schedule, 9, 0.5, 4, staircase=False)


def test_a_cosine_that_leaves_all_of_the_rate_is_constant():
    assert decayed(cosine_decay, 9, 4, lr=0.3, final=1) == pytest.approx([0.3] * 9, rel=1e-15)
    assert decayed(cosine_decay, 9, 4, lr=0.3, final=1.0)[-1] == 0.3


@pytest.mark.parametrize("span", [1.0, 2.5, 7])
def test_the_rates_are_those_of_the_formulas_for_fifty_steps(span):
    for staircase in (False, True) if span == int(span) else (False,):
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
@given(rate=st.floats(0.01, 1), span=st.integers(1, 20))
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


# One schedule after another


def set_rate(one, *values):
    for group, value in zip(one.param_groups, values, strict=True):
        group["lr"] = value


FIRST = {**EACH, "torch's steps": lambda one: StepLR(one, 3, 0.5), "torch's warm-up": lambda one: LinearLR(one, 0.1)}


@pytest.mark.parametrize("steps", [0, 5])
@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("name", EACH)
def test_a_second_schedule_starts_from_the_rates_that_are_set_by_hand(name, first, steps):
    used = optimizer(0.8, 0.4)
    rates(FIRST[first](used), steps)
    set_rate(used, 0.3, 0.1)
    second = EACH[name](used)
    assert second.get_last_lr() == second.base_lrs == [0.3, 0.1]
    assert rates(second, 20) == rates(EACH[name](optimizer(0.3)), 20)


@pytest.mark.parametrize("name", EACH)
def test_a_second_schedule_starts_from_the_rates_that_the_first_one_left(name):
    used = optimizer(0.8)
    rates(exponential_decay(used, 0.5), 3)
    assert rates(EACH[name](used), 20) == rates(EACH[name](optimizer(0.1)), 20)


def test_the_rate_may_be_a_tensor():
    used = optimizer(torch.tensor(0.8))
    rates(exponential_decay(used, 0.5), 3)
    used.param_groups[0]["lr"].fill_(0.5)
    second = exponential_decay(used, 0.5)
    found = []
    for _ in range(3):
        found.append(float(used.param_groups[0]["lr"]))
        used.step()
        second.step()
    assert found == [0.5, 0.25, 0.125]


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("through", [lambda state: state, lambda state: pickle.loads(pickle.dumps(state))])
@pytest.mark.parametrize("optimizer_first", [True, False])
def test_a_fresh_optimizer_and_a_fresh_schedule_go_on_from_a_checkpoint(name, through, optimizer_first):
    whole = rates(EACH[name](optimizer(1.0)), 20)
    first = EACH[name](optimizer(1.0))
    rates(first, 8)
    states = through(copy.deepcopy((first.optimizer.state_dict(), first.state_dict())))
    fresh = optimizer(1.0)
    if optimizer_first:
        fresh.load_state_dict(states[0])
    second = EACH[name](fresh)
    fresh.load_state_dict(states[0])
    second.load_state_dict(states[1])
    assert rates(second, 12) == whole[8:]


PEERS = {  # the schedulers of torch with the same rates
    "exponential": lambda one: ExponentialLR(one, 0.7 ** (1 / 3)),
    "step": lambda one: StepLR(one, 3, 0.7),
    "cosine": lambda one: CosineAnnealingLR(one, 15, eta_min=0.08),
}


def driven(make, steps=12):
    """The rates of an optimizer that starts at 0.8, driven by the scheduler that is made for it."""
    one = optimizer(0.8)
    scheduler, found = make(one), []
    for _ in range(steps):
        found.append(one.param_groups[0]["lr"])
        one.step()
        scheduler.step()
    return found


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("name", PEERS)
def test_torch_chains_a_warm_up_and_ours_as_it_chains_its_own(name):
    def chained(schedule):
        return lambda one: SequentialLR(one, [LinearLR(one, 0.1, total_iters=4), schedule(one)], [4])

    found = driven(chained(EACH[name]))
    assert found == pytest.approx(driven(chained(PEERS[name])), rel=1e-12)
    assert found[4] == pytest.approx(0.8)


@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_torch_chains_several_of_ours_each_from_the_first_rate():
    def chained(one):
        return SequentialLR(one, [step_decay(one, 0.5, 2), cosine_decay(one, 4)], [5])

    whole = driven(chained)
    assert whole[:5] == pytest.approx([0.8, 0.8, 0.4, 0.4, 0.2])
    assert whole[5:] == pytest.approx(driven(lambda one: cosine_decay(one, 4), 7), abs=1e-15)


def test_torch_applies_ours_and_its_own_together():
    def together(one):
        return ChainedScheduler([step_decay(one, 0.5, 2), StepLR(one, 100)], one)

    assert driven(together, 7) == driven(lambda one: step_decay(one, 0.5, 2), 7)


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


@pytest.mark.parametrize("span", [1000 / 30, 0.5, 2.0000001])
def test_a_staircase_of_a_fraction_of_a_step_is_refused(span):
    for make in (
        lambda: step_decay(optimizer(0.1), 0.5, span),
        lambda: exponential_decay(optimizer(0.1), 0.5, span, staircase=True),
        lambda: inverse_time_decay(optimizer(0.1), 0.5, span, staircase=True),
    ):
        with pytest.raises(ValueError, match=f"decay_steps must be a whole number of steps .*, not {span}"):
            make()
    for schedule in (exponential_decay, inverse_time_decay):
        assert decayed(schedule, 2, 0.5, span)[1] < 1


def test_a_whole_number_of_steps_may_be_a_float():
    assert decayed(step_decay, 70, 0.5, 30.0) == decayed(step_decay, 70, 0.5, 30)


@pytest.mark.parametrize("wrong", ["0.5", None, True, [1]])
def test_settings_that_are_no_numbers_are_refused(wrong):
    came = f"must be a number, not {type(wrong).__name__}"
    for schedule in (exponential_decay, inverse_time_decay):
        with pytest.raises(TypeError, match=f"^decay_rate {came}"):
            schedule(optimizer(0.1), wrong)
        with pytest.raises(TypeError, match=f"^decay_steps {came}"):
            schedule(optimizer(0.1), 0.5, wrong)
    with pytest.raises(TypeError, match=f"^decay_steps {came}"):
        step_decay(optimizer(0.1), 0.5, wrong)
    with pytest.raises(TypeError, match=f"^decay_steps {came}"):
        cosine_decay(optimizer(0.1), wrong)
    with pytest.raises(TypeError, match=f"^final {came}"):
        cosine_decay(optimizer(0.1), 4, final=wrong)
