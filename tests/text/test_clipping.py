"""Clipping: nets that differ in their limit alone, what counts as blowing up, and the formula by hand."""

import math
import sys
from itertools import islice, product

import numpy as np
import pytest
import torch
from torch import nn

from dlnotes import data
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.linear import SGD, cross_entropy
from dlnotes.randomness import stream
from dlnotes.text import clip_by_global_norm
from dlnotes.training import DivergedError, Trainer


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("clipping"))
    return sys.modules[experiment.trial.__module__]


def vector(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def some_gradients(size):
    """Those of three tensors, with the norm ``size`` over all of them."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((4, 3), (4,), (2, 2, 2))]
    norm = torch.cat([one.flatten() for one in drawn]).norm()
    return [one * size / norm for one in drawn]


def joined(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


# The idea: the numbers of the docstring


def gradient_on_the_cliff(w):
    return 20 * w**19 * (w**20 - 1)


def test_the_gradients_of_the_cliff_are_those_of_the_table():
    w = vector(0.5, 0.9, 1.0, 1.05, 1.1).requires_grad_()
    (gradients,) = torch.autograd.grad((0.5 * (w**20 - 1) ** 2).sum(), w)
    found = [f"{one:.{digits}f}" for one, digits in zip(gradients.tolist(), (5, 1, 0, 0, 0), strict=True)]
    assert found == ["-0.00004", "-2.4", "0", "84", "701"]
    assert gradients.tolist() == pytest.approx([gradient_on_the_cliff(one) for one in w.tolist()])


def test_one_step_without_clipping_crosses_the_valley_and_ten_clipped_steps_walk_down():
    thrown = 1.1 - 0.002 * gradient_on_the_cliff(1.1)
    assert thrown == pytest.approx(-0.3, abs=0.002)
    assert gradient_on_the_cliff(thrown) == pytest.approx(2.5e-9, rel=0.02)
    path = [torch.nn.Parameter(vector(1.1))]
    optimizer = SGD(path, lr=0.002, max_norm=5.0)
    found = []
    for _ in range(10):
        path[0].grad = gradient_on_the_cliff(path[0].detach())
        optimizer.step()
        found.append(path[0].item())
    assert found[:2] == pytest.approx([1.09, 1.08])
    assert found[-1] == pytest.approx(1.0, abs=1e-9)


def test_clipping_by_hand(lesson):
    assert torch.allclose(lesson.clip([vector(3, 4)], 1.0)[0], vector(0.6, 0.8))
    assert torch.equal(lesson.clip([vector(0.3, 0.4)], 1.0)[0], vector(0.3, 0.4))
    assert [one.item() for one in lesson.clip([vector(3), vector(4)], 1.0)] == pytest.approx([0.6, 0.8])
    assert torch.equal(vector(3, 4).clamp(-1, 1), vector(1, 1))  # by value: another direction


# The formula


@pytest.mark.parametrize("size", [0.5, 1.0, 1.0 + 1e-9, 7.0, 1e6])
def test_the_formula_keeps_the_direction_and_no_norm_is_larger_than_the_limit(lesson, size):
    gradients = some_gradients(size)
    before, clipped = joined(gradients), joined(lesson.clip(gradients, 1.0))
    assert torch.allclose(clipped / clipped.norm(), before / size, rtol=0, atol=1e-12)
    assert clipped.norm().item() == pytest.approx(min(size, 1.0), rel=1e-12)


@pytest.mark.parametrize(("size", "limit"), list(product((0.5, 7.0, 1e4), (0.25, 1.0, 5.0))))
def test_the_formula_is_clip_grad_norm_of_pytorch_and_the_link_of_the_library(lesson, size, limit):
    parameters = [nn.Parameter(torch.zeros_like(one)) for one in some_gradients(size)]
    for parameter, gradient in zip(parameters, some_gradients(size), strict=True):
        parameter.grad = gradient
    ours = joined(lesson.clip(some_gradients(size), limit))
    optimizer = lesson.GradientDescent(parameters, clip_by_global_norm(limit), lr=1.0)
    optimizer.step()
    assert torch.allclose(joined(parameters), -ours, rtol=1e-12, atol=0)
    nn.utils.clip_grad_norm_(parameters, limit)  # which adds 1e-6 to the norm
    theirs = joined([parameter.grad for parameter in parameters])
    assert ((theirs - ours).norm() / ours.norm()).item() <= 1.01e-6 / min(size, 1.0)


def lengths(limit, *, momentum, steps=100):
    """How long the steps are that SGD makes along a steady gradient of norm 5, with the rate 0.1."""
    w = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = SGD([w], lr=0.1, momentum=momentum, max_norm=limit)
    found = []
    for _ in range(steps):
        before, w.grad = w.detach().clone(), vector(3, 4)
        optimizer.step()
        found.append((w.detach() - before).norm().item())
    return found


def test_clipped_gradients_are_clipped_steps_for_plain_sgd_and_not_with_momentum(lesson):
    (step,) = lesson.clip([-0.1 * vector(3, 4)], 0.1 * 1.0)  # the notes' formula, with Δmax = α · limit
    assert lengths(1.0, momentum=0.0, steps=3) == pytest.approx([step.norm().item()] * 3)
    assert lengths(1.0, momentum=0.9)[-1] == pytest.approx(10 * step.norm().item(), rel=1e-4)


def test_the_measured_steps_are_those_of_the_library_with_clipping_and_momentum(lesson):
    config, seed = lesson.QUICK, 1_000
    model = lesson.Recall(config, "ReLU", seed).double()
    weights = {name: one.detach().clone() for name, one in model.named_parameters()}
    inputs, targets = data.delayed_recall(20 * config.batch_size, config.delay, generator=stream(seed, "batches"))
    optimizer, longest = SGD(model.parameters(), lr=1.0, momentum=0.9, max_norm=1.0), 0.0
    for place in range(20):
        model.load_state_dict(weights)  # all gradients are those at the start
        own = slice(place * config.batch_size, (place + 1) * config.batch_size)
        optimizer.zero_grad()
        cross_entropy(model(inputs[own].double()), targets[own]).backward()
        optimizer.step()
        moved = joined(model.parameters()).detach() - joined(weights.values())
        longest = max(longest, moved.norm().item())
    assert lesson.by_formula(config, seed)["formula/longest step with momentum"] == pytest.approx(longest, rel=1e-9)


# The arms


@pytest.mark.parametrize("net", ["ReLU", "tanh"])
def test_each_net_of_a_stack_is_trained_as_it_would_be_alone_with_its_own_limit(lesson, net):
    config = lesson.QUICK
    _, losses = lesson.trained(config, 1_000, net, 4, tuple(lesson.ARMS))
    settings = list(product(lesson.ARMS.values(), lesson.RATES))
    assert losses.shape == (config.steps, len(settings))
    for place in (4, 7, 12, 15, 20, 31):
        limit, lr = settings[place]
        model, generator = lesson.Recall(config, net, 1_000), stream(1_000, "batches")
        batches = (data.delayed_recall(config.batch_size, 4, generator=generator) for _ in range(config.steps))
        alone = Trainer(model, cross_entropy, SGD(model.parameters(), lr=lr, max_norm=limit), batches)
        assert losses[:, place].tolist() == pytest.approx([step.loss for step in alone], rel=1e-3)


def test_the_arms_are_called_what_they_are(lesson):
    assert list(lesson.ARMS.items()) == [("none", math.inf), ("limit 5", 5.0), ("limit 1", 1.0), ("limit 0.25", 0.25)]
    assert (lesson.RATES[1], lesson.RATES[4], lesson.RATES[-1]) == (0.001, 0.03, 1.0)  # that predictions speak of


def test_all_nets_start_alike_and_a_limit_that_is_never_reached_changes_nothing(lesson, monkeypatch):
    monkeypatch.setattr(lesson, "ARMS", {"none": math.inf, "limit 1": 1.0, "huge": 1e6})
    models, losses = lesson.trained(lesson.QUICK, 1_000, "ReLU", 4, ("none", "huge", "limit 1"))
    assert (losses[0] == losses[0, 0]).all()
    rates = len(lesson.RATES)
    stable = slice(0, 5)  # without clipping
    assert losses[:, stable] == pytest.approx(losses[:, rates : rates + 5], rel=1e-6)
    assert not np.allclose(losses[:, stable], losses[:, 2 * rates : 2 * rates + 5], rtol=1e-4)
    assert len({id(model) for model in models}) == 3 * rates


def test_the_relu_net_starts_at_a_multiple_of_the_identity_and_the_tanh_net_small(lesson):
    config = lesson.Config()
    weights = lesson.Recall(config, "ReLU", 1_000).layer.weight_hh_l0
    assert torch.equal(weights, 1.1 * torch.eye(32))
    weights = lesson.Recall(config, "tanh", 1_000).layer.weight_hh_l0
    assert 0.95 * 32**-0.5 < weights.abs().max().item() <= 32**-0.5


# What is measured


def test_a_loss_blows_up_where_it_ever_rises_above_ten_times_the_first_or_is_no_number(lesson, monkeypatch):
    """Not where it only ends high: also where it comes back."""
    columns = {
        "stays": [2.0, 3.0, 1.0], "comes back": [2.0, 21.0, 1.0], "diverges": [2.0, math.nan, math.nan],
        "nearly": [2.0, 20.0, 1.0], "late": [2.0, 2.0, 1e9],
    }  # fmt: skip
    losses = np.array([*columns.values(), *([columns["stays"]] * 3)]).T

    def planted(config, seed, net, delay, arms):
        models = [lesson.Recall(config, net, seed) for _ in range(8 * len(arms))]
        models[2].head.bias.data.fill_(math.nan)
        return models, np.tile(losses, len(arms))

    monkeypatch.setattr(lesson, "trained", planted)
    measured = lesson.trial(lesson.QUICK, 1_000)
    for arm in lesson.ARMS:
        assert measured[f"ReLU/{arm}/rates that blow up"] == 3
        assert measured[f"ReLU/{arm}/highest loss"] == [1.5, 10.5, 1e6, 10.0, 1e6, 1.5, 1.5, 1.5]
    assert measured["ReLU/none/accuracy"][2] == 1 / 8  # no number is no answer
    assert measured["tanh, 2 steps/limit 1/best"] == max(measured["tanh, 2 steps/limit 1/accuracy"])


def test_answers_are_counted_on_questions_that_no_net_was_trained_on(lesson, monkeypatch):
    asked, draw = [], data.delayed_recall

    def noted(count, delay, *, generator):
        examples = draw(count, delay, generator=generator)
        asked.append((count, delay, examples.inputs, generator.initial_seed()))
        return examples

    monkeypatch.setattr(lesson.data, "delayed_recall", noted)
    config = lesson.QUICK
    lesson.trial(config, 1_000)
    tests = [one for one in asked if one[0] == config.test]
    assert [one[1] for one in tests] == [config.delay, config.delay, 2]
    batches = torch.cat([one[2] for one in asked if one[0] == config.batch_size and one[1] == config.delay])
    assert len(batches) == 2 * config.steps * config.batch_size  # of ReLU nets and of tanh nets
    half = len(batches) // 2
    assert torch.equal(batches[:half], batches[half:])  # the same
    assert not torch.equal(batches[: config.batch_size], batches[config.batch_size : 2 * config.batch_size])
    assert not {one[3] for one in tests} & {one[3] for one in asked if one[0] != config.test}


def test_a_relu_net_that_is_not_clipped_diverges_at_a_large_rate(lesson):
    """That is what the lesson is about, and a single trainer says it by an error."""
    config, generator = lesson.Config(units=16), stream(2_000, "batches")
    model = lesson.Recall(config, "ReLU", 2_000)
    batches = (data.delayed_recall(16, 20, generator=generator) for _ in range(50))
    trainer = Trainer(model, cross_entropy, SGD(model.parameters(), lr=1.0), batches)
    first, worst = None, 0.0
    try:
        for step in islice(trainer, 50):
            first = first or step.loss
            worst = max(worst, step.loss)
    except DivergedError:
        worst = math.inf
    assert worst > 10 * first
