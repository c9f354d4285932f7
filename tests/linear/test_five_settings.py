"""The five hyper-parameters of SGD: where each has its place, and that the lesson would not conclude it from less."""

import inspect
import math
import sys
from dataclasses import replace

import pytest
import torch

from dlnotes import linear
from dlnotes.data import Examples
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from dlnotes.training import Minibatches
from tests.trials import reference, replaced

RATE = 0.125
CONTROLS = {"small batches": "test_a_change_must_do_more_than_another_order_of_batches_does"}


@pytest.fixture(scope="module")
def lesson():
    torch.set_num_threads(1)  # fixtures of the module come before the one that does so for each test
    experiment = experiment_of(contents.lesson_named("five_settings"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def train(lesson):
    return lesson.load(lesson.QUICK, 1_000)


@pytest.fixture
def end(lesson, train):
    """The parameters after ten steps, as one vector: `end()` of the base, `end(momentum=0.9)` of a change."""

    def run(*, budget=10, examples=train, **change):
        config, setting = replace(lesson.QUICK, steps=budget), lesson.Setting(**change)
        ((model, _),) = lesson.trained(config, 1_000, examples, [setting], base_rate=RATE)
        return flat(model)

    return run


@pytest.fixture
def start(lesson):
    return flat(lesson.network(lesson.QUICK, 1_000, math.sqrt(2)))


def flat(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


# What the notes state


def test_the_library_has_a_place_for_each_of_the_five_and_for_what_is_not_listed():
    def settings(function, *given):
        return set(inspect.signature(function).parameters) - set(given)

    listed = {"lr", "momentum"}
    assert settings(linear.SGD, "parameters") == listed | {"weight_decay", "max_norm"}
    assert settings(Minibatches, "examples") == {"batch_size"} | {"generator", "drop_last"}
    assert settings(linear.initialize, "module") == {"initializer"}
    optimizer = linear.SGD([torch.zeros(1, requires_grad=True)], lr=0.8)
    for schedule in (linear.cosine_decay(optimizer, 2), linear.exponential_decay(optimizer, 0.5, 2)):
        assert schedule.base_lrs == [0.8]  # the initial rate is the optimizer's, the decay is the schedule's
    trained = settings(linear.train_classifier, "model", "examples", "generator")
    assert trained == listed | {"batch_size"} | {"steps", "weight_decay"}


@pytest.mark.parametrize(
    "change",
    [{"rate": 1 / 4}, {"decay": True}, {"momentum": 0.9}, {"batch_size": 16}, {"gain": math.sqrt(2) / 10}],
    ids=str,
)
def test_each_of_the_five_changes_where_ten_steps_lead(start, end, change):
    base = end()
    assert torch.equal(base, end())  # to the last bit: nothing but the change can be the cause
    moved = base - start
    assert (end(**change) - base).norm() > 0.01 * moved.norm()


@pytest.mark.parametrize("change", [{"steps": 1 / 2}, {"weight_decay": 0.01}, {"max_norm": 0.25}], ids=str)
def test_runs_that_agree_in_all_five_can_end_apart(start, end, change):
    base, moved = end(), end() - start
    assert (end(**change) - base).norm() > 0.001 * moved.norm()


# The pieces of the lesson


def test_a_change_is_of_one_setting_and_no_two_are_the_same(lesson):
    base = lesson.Setting()
    changes = [*lesson.FIVE.values(), *lesson.NOT_LISTED.values()]
    fields = [[name for name in vars(base) if getattr(one, name) != getattr(base, name)] for one in changes]
    assert fields[:5] == [["rate"], ["decay"], ["momentum"], ["batch_size"], ["gain"]]
    assert fields[5:] == [["steps"], ["weight_decay"], ["max_norm"]]
    assert list(lesson.BASE.values()) == [base, replace(base, order="other batches")]


def test_one_step_is_as_long_as_the_rate_and_the_clipped_norm_say(start, end):
    full = end(budget=1)
    assert torch.allclose(end(budget=1, rate=1 / 4) - start, (full - start) / 4, rtol=1e-3, atol=1e-7)
    clipped = end(budget=1, max_norm=0.25)
    assert (full - start).norm() > 0.25 * RATE
    assert (clipped - start).norm().item() == pytest.approx(0.25 * RATE, rel=1e-3)


def test_first_weights_a_tenth_as_large_are_the_same_draws(lesson):
    large, small = (flat(lesson.network(lesson.QUICK, 1_000, gain)) for gain in (math.sqrt(2), math.sqrt(2) / 10))
    assert torch.allclose(small, large / 10)
    assert large[: 196 * 16].std().item() == pytest.approx(math.sqrt(2 / 196), rel=0.05)


def test_half_of_the_steps_is_the_base_on_its_way(end):
    assert torch.equal(end(steps=1 / 2), end(budget=5))


def test_the_decay_is_the_librarys_and_ends_at_zero(lesson):
    decaying, optimizer = lesson.Setting(decay=True), linear.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = linear.cosine_decay(optimizer, 7)
    for made in range(8):
        assert lesson.rate_left(decaying, 7, made) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()
    assert lesson.rate_left(decaying, 7, 7) == 0


def test_side_by_side_each_run_ends_where_it_would_alone(lesson, train, end):
    """Also the decay, which one of several has, and the clipping, whose norm must not span them."""
    settings = [*lesson.BASE.values(), *lesson.FIVE.values(), *lesson.NOT_LISTED.values()]
    runs = lesson.trained(replace(lesson.QUICK, steps=10), 1_000, train, settings, base_rate=RATE)
    for setting, (model, losses) in zip(settings, runs, strict=True):
        assert len(losses) == 10 * setting.steps
        assert torch.allclose(flat(model), end(**vars(setting)), rtol=1e-4, atol=1e-6), setting
    ends = [flat(model) for model, _ in runs]
    assert all((one - other).norm() > 1e-3 for place, one in enumerate(ends) for other in ends[:place])


def test_batches_of_16_see_an_eighth_of_the_examples(end, train):
    """With two steps of 16, no example but the first 32 of the order can matter."""
    order = Minibatches((torch.arange(1_000),), 16, stream(1_000, "batches"))
    seen = torch.cat([next(order)[0] for _ in range(2)])
    blank = torch.ones(1_000, 1)
    blank[seen] = 0
    darkened = Examples(train.inputs * (1 - blank), train.targets)
    assert torch.equal(end(budget=2, batch_size=16), end(budget=2, batch_size=16, examples=darkened))
    assert not torch.equal(end(budget=2), end(budget=2, examples=darkened))


def test_a_run_that_diverges_keeps_finite_weights(end):
    assert end(budget=100, rate=1e6).isfinite().all()


def test_the_loss_is_the_mean_over_the_watched_training_images(lesson, train):
    model = lesson.network(lesson.QUICK, 1_000, 1.0)
    more = Examples(torch.cat([train.inputs, 0 * train.inputs[:500]]), torch.cat([train.targets, train.targets[:500]]))
    right = torch.nn.functional.cross_entropy(model(train.inputs), train.targets).item()
    assert lesson.loss_of(model, more) == pytest.approx(right, rel=1e-5)


# What the verdict rests on


@pytest.mark.parametrize("luck", [1.0, 1.3, 1 / 1.3])
def test_a_change_must_do_more_than_another_order_of_batches_does(lesson, luck):
    """Twice the margin in the stated direction is enough where luck is not on that side; twice the loss always is."""
    experiment, trials, _ = reference("five_settings")
    base, stated = trials["the base"], dict.fromkeys(lesson.FIVE | lesson.NOT_LISTED, 1.0) | {"momentum 0.9": -1.0}

    def supported(share):
        arrays = {"the base, other order of batches": base * luck}
        arrays |= {name: base * share**direction for name, direction in stated.items()}
        planted = replaced(trials, arrays)
        return [one.arms[0] for one in experiment.predictions if one.judge(planted).verdict == "supported"]

    assert supported(1.21) == [name for name, direction in stated.items() if luck**direction <= 1]
    assert supported(2.0) == list(stated)
    assert supported(1.0) == supported(1 / 1.21) == []
