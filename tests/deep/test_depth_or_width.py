"""Depth or width: what the lesson computes, and that it would not conclude it from less."""

import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from dlnotes.deep import MLP, count_parameters
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from dlnotes.training import Minibatches
from tests.trials import judged, reference, replaced


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("depth_or_width"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def tasks(lesson):
    return {target: lesson.task_of(lesson.QUICK, target, 1_000, judged=True) for target in lesson.TARGETS}


# The targets


def test_the_nested_target_is_a_tree_of_neighbours(lesson):
    row = torch.tensor([[0.5, 0.5, 0.25, -0.5, -1.0, 0.75, 0.0, 0.25]])
    # In pairs 0, 0.75, 0.75 and 0.75; of these 0.25 and -0.5; of these 0.75.
    assert lesson.nested(row).tolist() == [[0.75]]
    assert lesson.nested(row[:, :4]).tolist() == [[0.25]]
    assert lesson.nested(row[:, :2]).tolist() == [[0.0]]


def test_the_additive_target_is_a_sum_over_the_numbers(lesson):
    row = torch.tensor([[0.5, 0.5, 0.25, -0.5, -1.0, 0.75, 0.0, 0.25]])
    assert lesson.additive(row).tolist() == [[0 + 0 + 0.5 + 0 - 1 - 0.5 + 1 + 0.5]]


def test_three_small_hidden_layers_can_compute_the_nested_target(lesson):
    """The docstring says so: |a + b| is relu(a + b) + relu(-a - b)."""
    model = MLP([8, 8, 4, 2, 1], generator=stream(0, "replaced at once"), dtype=torch.float64)
    values = torch.tensor([[-1.0, -1.0]], dtype=torch.float64)  # 1 - |a + b| of the two halves of a pair
    for layer, pairs in zip(model.layers, (4, 2, 1, 0), strict=True):
        both = torch.eye(max(pairs, 1), dtype=torch.float64)
        if layer is model.layers[0]:
            sums, offset = torch.kron(both, torch.ones(1, 2, dtype=torch.float64)), 0.0
        elif pairs:
            sums, offset = torch.kron(both, torch.cat([values, values], dim=1)), 2.0
        else:
            sums, offset = values, 1.0
        halves = torch.tensor([[1.0], [-1.0]], dtype=torch.float64) if pairs else torch.ones(1, 1, dtype=torch.float64)
        layer.weight.data = torch.kron(both, halves) @ sums
        layer.bias.data = offset * halves.repeat(max(pairs, 1), 1).flatten()
    inputs = 2 * torch.rand(100, 8, generator=stream(0, "inputs"), dtype=torch.float64) - 1
    assert torch.allclose(model(inputs), lesson.nested(inputs), rtol=0, atol=1e-12)


def test_functions_are_measured_in_units_of_the_training_examples(lesson, tasks):
    for target in ("nested", "additive"):
        task = tasks[target]
        assert task.train.targets.mean().item() == pytest.approx(0, abs=1e-5)
        assert task.train.targets.std(correction=0).item() == pytest.approx(1, abs=1e-5)
        inputs, targets = task.held_out
        plain = lesson.FUNCTIONS[target](inputs)
        slope = (targets[1] - targets[0]) / (plain[1] - plain[0])
        assert torch.allclose(targets - targets[0], slope * (plain - plain[0]), atol=1e-4)
        assert inputs.abs().max() <= 1
        assert inputs.mean().item() == pytest.approx(0, abs=5 / np.sqrt(3 * inputs.numel()))


def test_rates_are_chosen_by_other_examples_than_judge(lesson, tasks):
    for target, judged_by in tasks.items():
        chosen_by = lesson.task_of(lesson.QUICK, target, 1_000, judged=False)
        assert torch.equal(chosen_by.train.inputs, judged_by.train.inputs)
        parts = (judged_by.train, judged_by.held_out, chosen_by.held_out)
        rows = [{tuple(row) for row in part.inputs[:, :100].tolist()} for part in parts]
        assert all(one.isdisjoint(other) for one, other in combinations(rows, 2))


# The networks


def test_all_depths_have_the_budget_within_two_percent(lesson, tasks):
    for target, budget in {"nested": 4_000, "additive": 4_000, "images": 16_000}.items():
        for depth in lesson.DEPTHS:
            model = lesson.network(tasks[target], depth, 0)
            assert len(model.layers) == depth + 1
            assert count_parameters(model) == pytest.approx(budget, rel=0.02)


def test_a_budget_that_cannot_be_kept_is_refused(lesson, tasks):
    with pytest.raises(ValueError, match="parameters, not 300"):  # one unit has 207
        lesson.network(tasks["images"]._replace(parameters=300), 1, 0)


def test_a_network_alone_learns_what_it_learns_beside_others(lesson, tasks):
    config = replace(lesson.QUICK, steps=8)
    for target, task in tasks.items():
        alone, *beside = (lesson.network(task, 3, 0) for _ in range(3))
        lesson.learn(config, task, alone, 0, rate=0.02)
        lesson.learn_side_by_side(config, task, beside, 0, rates=[0.01, 0.02])
        for one, other, third in zip(alone.parameters(), beside[1].parameters(), beside[0].parameters(), strict=True):
            assert torch.allclose(one, other, rtol=1e-3, atol=1e-4), target
            assert not torch.allclose(one, third, rtol=1e-3, atol=1e-4), target


def test_all_depths_see_the_same_batches(lesson, tasks):
    one, other = (lesson.batches(lesson.QUICK, tasks["nested"], 0) for _ in range(2))
    assert isinstance(one, Minibatches)
    for _ in range(10):
        assert all(torch.equal(a, b) for a, b in zip(next(one), next(other), strict=True))


def test_the_error_of_a_function_is_the_share_of_its_variance(lesson, tasks):
    inputs, targets = tasks["nested"].held_out
    model = lesson.network(tasks["nested"], 1, 0)
    for parameter in model.parameters():
        parameter.data.zero_()
    centred = lesson.Examples(inputs, 3 * (targets - targets.mean()))
    assert lesson.variance_left(model, centred) == pytest.approx(1, rel=1e-4)


def test_what_overflows_counts_as_a_constant_answer(lesson, tasks):
    for target, constant in {"nested": 1.0, "additive": 1.0, "images": 0.9}.items():
        task = tasks[target]
        model = lesson.network(task, 3, 0)
        lesson.learn(lesson.QUICK, task, model, 0, rate=1e6)  # and it does not raise
        assert lesson.at_most_constant(task, model, task.held_out) == pytest.approx(constant, abs=0.1)
        model.layers[-1].bias.data.fill_(torch.nan)
        assert lesson.at_most_constant(task, model, task.held_out) == constant
        better = task._replace(error=lambda *_: 0.25)
        assert lesson.at_most_constant(better, model, task.held_out) == 0.25


def test_a_network_learns_at_its_own_rate(lesson, monkeypatch):
    """The rate of another depth or target would make the comparison unfair, silently."""
    asked = []
    monkeypatch.setattr(lesson, "learn", lambda config, task, model, seed, *, rate: asked.append((model.widths, rate)))
    names = [f"{target}/{depth}" for target in ("nested", "additive", "images") for depth in lesson.DEPTHS]
    lesson.trial(replace(lesson.QUICK, test=20), 1_000, {name: place for place, name in enumerate(names)})
    assert [rate for _, rate in asked] == [*range(15)]
    assert [len(widths) - 2 for widths, _ in asked] == [*lesson.DEPTHS] * 3


# What the verdict rests on


def test_planted_differences_are_judged_by_the_point_on_the_right_arms():
    """Twice the point, to either side, with a spread that is small against it."""
    experiment, trials, _ = reference("depth_or_width")
    spread = np.linspace(-0.003, 0.003, len(trials.seeds))
    arms = {  # target, the depth that is better where the prediction is supported, the other
        "nested target": ("nested", 3, 1),
        "images": ("images", 3, 1),
        "additive target": ("additive", 1, 3),
        "too deep": ("nested", 3, 8),
        "too deep for images": ("images", 3, 8),
    }
    assert arms.keys() == {one.name for one in experiment.predictions}
    for name, (target, better, worse) in arms.items():
        for gap, verdict in ((0.02, "supported"), (-0.02, "refuted")):
            planted = {f"{target}/{worse}/error": trials[f"{target}/{better}/error"] + gap + spread}
            assert judged(experiment, name, replaced(trials, planted)).verdict == verdict, (name, gap)
