"""Depth or width: what the lesson computes, and that it would not conclude it from less."""

import sys
from dataclasses import replace
from itertools import combinations, islice

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

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
def examples(lesson):
    return {target: lesson.load(lesson.QUICK, target, 1_000, held_out="test") for target in lesson.TARGETS}


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


def test_functions_are_measured_in_units_of_the_training_examples(lesson, examples):
    for target in ("nested", "additive"):
        train, (inputs, targets) = examples[target]
        assert train.targets.mean().item() == pytest.approx(0, abs=1e-5)
        assert train.targets.std(correction=0).item() == pytest.approx(1, abs=1e-5)
        plain = getattr(lesson, target)(inputs)
        slope = (targets[1] - targets[0]) / (plain[1] - plain[0])
        assert torch.allclose(targets - targets[0], slope * (plain - plain[0]), atol=1e-4)
        assert inputs.abs().max() <= 1
        assert inputs.mean().item() == pytest.approx(0, abs=5 / np.sqrt(3 * inputs.numel()))


def test_rates_are_chosen_by_other_examples_than_judge(lesson, examples):
    for target, parts in examples.items():
        train, chosen_by = lesson.load(lesson.QUICK, target, 1_000, held_out="validation")
        assert torch.equal(train.inputs, parts[0].inputs)
        rows = [{tuple(row) for row in part.inputs[:, :100].tolist()} for part in (*parts, chosen_by)]
        assert all(one.isdisjoint(other) for one, other in combinations(rows, 2))


# The networks


def test_all_depths_have_the_budget_within_two_percent(lesson):
    for target, budget in {"nested": 4_000, "additive": 4_000, "images": 16_000}.items():
        for depth in lesson.DEPTHS:
            model = lesson.network(lesson.Config(), target, depth, 0)
            assert len(model.layers) == depth + 1
            assert count_parameters(model) == pytest.approx(budget, rel=0.02)


def test_a_budget_that_cannot_be_kept_is_refused(lesson):
    with pytest.raises(ValueError, match="parameters, not 300"):  # one unit has 217
        lesson.network(replace(lesson.Config(), parameters_of_images=300), "images", 1, 0)


def test_a_network_alone_learns_what_it_learns_beside_others(lesson, examples, monkeypatch):
    monkeypatch.setattr(lesson, "error_of", lambda target, model, unseen: parameters_to_vector(model.parameters()))
    for target, (train, _) in examples.items():
        slower, beside = lesson.tune(lesson.QUICK, 1_000, f"{target}/3", (0.01, 0.02))
        model = lesson.network(lesson.QUICK, target, 3, 1_000)
        lesson.train(lesson.QUICK, target, model, train, 1_000, rate=0.02)
        alone = parameters_to_vector(model.parameters())
        assert torch.allclose(alone, beside, rtol=1e-3, atol=1e-4), target
        assert not torch.allclose(alone, slower, rtol=1e-3, atol=1e-4), target


def test_all_depths_see_the_same_batches(lesson, monkeypatch):
    seen = []

    def kept(*given):
        seen.append([*islice(Minibatches(*given), lesson.QUICK.steps)])
        return seen[-1]

    monkeypatch.setattr(lesson, "Minibatches", kept)
    lesson.trial(replace(lesson.QUICK, test=20), 1_000, dict.fromkeys(lesson.TUNING, 0.01))
    assert len(seen) == 15
    for target in range(3):
        first, *others = seen[5 * target : 5 * target + 5]
        for batches in others:
            assert all(
                torch.equal(x, y)
                for one, other in zip(first, batches, strict=True)
                for x, y in zip(one, other, strict=True)
            )


def test_the_error_of_a_function_is_the_share_of_its_variance(lesson, examples):
    inputs, targets = examples["nested"][1]
    model = lesson.network(lesson.QUICK, "nested", 1, 0)
    for parameter in model.parameters():
        parameter.data.zero_()
    centred = lesson.Examples(inputs, targets - targets.mean())
    for scale in (1, 3):
        found = lesson.error_of("nested", model, lesson.Examples(inputs, scale * centred.targets))
        assert found == pytest.approx(1, rel=1e-4)


def test_what_overflows_counts_as_a_constant_answer(lesson, examples):
    for target, constant in {"nested": 1.0, "additive": 1.0, "images": 0.9}.items():
        train, unseen = examples[target]
        model = lesson.network(lesson.QUICK, target, 3, 0)
        lesson.train(lesson.QUICK, target, model, train, 0, rate=1e6)  # and it does not raise
        assert lesson.error_of(target, model, unseen) == pytest.approx(constant, abs=0.1)
        model.layers[-1].bias.data.fill_(torch.nan)
        assert lesson.error_of(target, model, unseen) == constant


def test_a_network_learns_at_its_own_rate(lesson, monkeypatch):
    """The rate of another depth or target would make the comparison unfair, silently."""
    asked = []
    monkeypatch.setattr(
        lesson,
        "train",
        lambda config, target, model, examples, seed, *, rate: asked.append((target, model.widths, rate)),
    )
    lesson.trial(replace(lesson.QUICK, test=20), 1_000, {name: place for place, name in enumerate(lesson.TUNING)})
    assert [rate for *_, rate in asked] == [*range(15)]
    assert [f"{target}/{len(widths) - 2}" for target, widths, _ in asked] == [*lesson.TUNING]


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
