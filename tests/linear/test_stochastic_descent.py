"""Gradient descent or SGD: what can be said exactly, and that the lesson would not conclude it from less."""

import math
import sys
from dataclasses import replace
from itertools import islice, pairwise, repeat

import numpy as np
import pytest
import torch
from torch import nn

from dlnotes.data import Examples
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer
from tests.trials import judged, reference, replaced

CONTROLS = {"advantage on copies": "test_copies_that_bring_nothing_refute_that_the_advantage_grows"}


@pytest.fixture(scope="module")
def lesson():
    torch.set_num_threads(1)  # fixtures of the module come before the one that does so for each test
    experiment = experiment_of(contents.lesson_named("stochastic_descent"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def measured(lesson):
    config = replace(lesson.QUICK, passes=30)
    return lesson.trial(config, 1_000, tuned_settings(contents.lesson_named("stochastic_descent"), config).values)


@pytest.fixture(scope="module")
def task(lesson):
    """128 examples of 196 numbers, some dark and some light, and the best fit."""
    inputs = torch.rand(128, 196, generator=stream(3, "inputs"))
    targets = torch.randint(10, (128,), generator=stream(3, "targets"))
    return lesson.Task(Examples(inputs, targets), *lesson.minimum(Examples(inputs, targets), 0.01))


def classifier(seed):
    model = LogisticClassifier(196, 10, dtype=torch.float64)
    model.weight.data.normal_(0, 0.1, generator=stream(seed, "weights"))
    model.bias.data.normal_(0, 0.1, generator=stream(seed, "biases"))
    return model


def slope(loss, model):
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])


# What the notes state


class Point(nn.Module):
    """A number to be fitted: the loss of an example t is (w - t)² / 2."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def forward(self, targets):
        return (self.w - targets).square().mean() / 2


def walk(point, batches, steps, lr):
    """Where a number is after each step."""
    trainer = Trainer(point, lambda loss, _: loss, SGD(point.parameters(), lr=lr), ((b, b) for (b,) in batches))
    return [point.w.item() for _ in islice(trainer, steps)]


def test_on_copies_of_one_example_sgd_makes_the_steps_of_gradient_descent_at_a_64th_of_the_cost(seed):
    copies = (torch.full((64,), 3.0, dtype=torch.float64),)
    single = walk(Point(1.0), Minibatches(copies, 1, stream(seed, "batches")), 10, lr=0.5)
    full = walk(Point(1.0), repeat(copies), 10, lr=0.5)
    assert single == full
    assert full[:3] == [2.0, 2.5, 2.75]


def test_at_a_constant_rate_sgd_keeps_a_distance_and_gradient_descent_does_not(seed):
    """Two examples, -1 and 1, from 0, the minimum: the first step of a pass ends α / (2 - α) away, or more."""
    examples, distance = (torch.tensor([-1.0, 1.0], dtype=torch.float64),), 0.5 / 1.5
    sgd = walk(Point(0.0), Minibatches(examples, 1, stream(seed, "batches")), 200, lr=0.5)
    assert min(abs(w) for w in sgd[::2]) >= distance - 1e-12
    assert max(abs(w) for w in sgd[1::2]) <= distance + 1e-12  # a pass comes back: that is what reshuffling gains
    assert abs(walk(Point(5.0), repeat(examples), 60, lr=0.5)[-1]) < 1e-15


def test_the_gradients_of_one_pass_average_to_the_full_gradient_though_each_is_far_from_it(lesson, task):
    examples, model = Examples(task.examples.inputs.double(), task.examples.targets), classifier(4)
    full = slope(nn.functional.cross_entropy(model(examples.inputs), examples.targets), model)
    one_pass = islice(Minibatches(examples, 8, stream(4, "batches")), 16)
    each = torch.stack(
        [slope(nn.functional.cross_entropy(model(inputs), labels), model) for inputs, labels in one_pass]
    )
    assert (each - full).norm(dim=1).min() > 0.5 * full.norm()
    torch.testing.assert_close(each.mean(0), full, rtol=0, atol=1e-14)
    assert lesson.partition_error(model, examples, seed=4) < 1e-14
    assert (each[:-1].mean(0) - full).abs().amax() > 1e-4  # what the check would say of a pass that is not whole


def test_over_copies_the_full_gradient_is_that_of_the_originals(task):
    model, (inputs, targets) = classifier(5), (task.examples.inputs.double(), task.examples.targets)
    once = slope(cross_entropy(model(inputs), targets), model)
    torch.testing.assert_close(slope(cross_entropy(model(inputs.repeat(20, 1)), targets.repeat(20)), model), once)


# The pieces of the lesson


def test_the_gradient_of_each_example_is_the_one_that_pytorch_finds(lesson, task):
    model, examples = classifier(6), Examples(task.examples.inputs.double(), task.examples.targets)
    found = lesson.gradients(model, examples, 0.3)
    for row in (0, 17, 127):
        loss = nn.functional.cross_entropy(model(examples.inputs[row : row + 1]), examples.targets[row : row + 1])
        penalty = 0.15 * sum(parameter.square().sum() for parameter in model.parameters())
        torch.testing.assert_close(found[row], slope(loss + penalty, model))


def test_the_minimum_is_one(lesson, task):
    """With the gradient g the loss is at most ‖g‖² / 2λ above its lowest: here a thousandth of the tight target."""
    model = LogisticClassifier(196, 10, dtype=torch.float64)
    nn.utils.vector_to_parameters(task.best, model.parameters())
    examples = Examples(task.examples.inputs.double(), task.examples.targets)
    gradient = lesson.gradients(model, examples, 0.01).mean(0)
    assert gradient.square().sum() / 0.02 < 1e-3 * lesson.TARGETS["tight"] * (math.log(10) - task.lowest)
    assert lesson.share_left(model, task._replace(examples=examples), 0.01) == 0
    assert lesson.share_left(LogisticClassifier(196, 10), task, 0.01) == pytest.approx(1, abs=1e-6)
    for factor in (0.999, 1.001):
        nn.utils.vector_to_parameters(task.best * factor, model.parameters())
        assert lesson.share_left(model, task._replace(examples=examples), 0.01) > 0


def test_the_loss_that_is_watched_holds_the_penalty_that_the_steps_do(lesson, task):
    """So gradient descent on it falls towards the minimum of the same loss, and to no other."""
    config = lesson.Config()
    seen, left = lesson.race(config, 0, task, "all", [0.05], until=0.0, most=128 * 3_000)
    shares = [share for (share,) in left]
    assert shares == sorted(shares, reverse=True)
    assert -1e-6 < shares[-1] < 0.01
    assert seen[:3] == [128, 256, 384]


def test_the_loss_is_looked_at_by_the_examples_seen_alone(lesson):
    class Counter:
        def __init__(self):
            self.number = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.number += 1
            return self

    for cost in (8, 32, 2_560):
        steps = list(islice(lesson.looks(Counter(), cost), 100))
        assert steps[:20] == list(range(1, 21))  # up to the twentieth, each step is a growth by a twentieth
        assert all(1.05 * before <= after < 1.05 * before + 1 for before, after in pairwise(steps))


def test_an_arm_has_arrived_at_the_first_look_that_finds_it_there(lesson):
    left = [[0.5, 0.9], [0.1, 0.8], [0.2, 0.7]]
    assert lesson.arrivals([8.0, 16.0, 24.0], left, 0.1)[0] == 16
    assert math.isnan(lesson.arrivals([8.0, 16.0, 24.0], left, 0.1)[1])


def test_side_by_side_and_alone_a_rate_needs_the_same_examples(lesson, task):
    config, until = lesson.Config(), 0.5
    rates = [0.02, 0.01]
    both = lesson.arrivals(*lesson.race(config, 1, task, 32, rates, until=until, most=1e5), until)
    alone = [
        lesson.arrivals(*lesson.race(config, 1, task, 32, [rate], until=until, most=1e5), until)[0] for rate in rates
    ]
    assert both[0] == alone[0] < alone[1]
    assert both[1] == alone[1] or alone[1] > 1.5 * alone[0]  # what needs more than that is not waited for


def test_a_rate_that_diverges_does_not_arrive(lesson, task):
    seen, left = lesson.race(lesson.Config(), 1, task, 32, [1e30], until=0.1, most=1e5)
    assert math.isnan(lesson.arrivals(seen, left, 0.1)[0])


def test_the_others_are_cut_off_at_a_multiple_of_what_gradient_descent_needs(lesson):
    config = lesson.Config()
    assert lesson.allowed(config, {}, "few", "tight") == 256_000
    assert lesson.allowed(config, {}, "many", "loose") == 5_120_000
    assert lesson.allowed(config, {"few/tight/all": 1_000.0}, "few", "tight") == 10_000
    assert lesson.allowed(config, {"few/tight/all": 100_000.0}, "few", "tight") == 256_000
    assert lesson.allowed(config, {"few/tight/all": math.nan}, "few", "tight") == 256_000


def test_copies_cost_full_gradients_so_many_times_as_much_and_the_arms_differ(lesson, measured):
    assert measured["copies/loose/all"] == lesson.QUICK.copies * measured["few/loose/all"]
    for name in ("few", "copies", "many"):
        needed = [measured[f"{name}/loose/{size}"] for size in lesson.SIZES]
        assert len(set(needed)) == 3
        assert all(count % int(size) == 0 for count, size in zip(needed[1:], lesson.SIZES[1:], strict=True))
        assert needed[0] % 128 == 0
    assert math.isnan(measured["few/tight/all"])  # 30 passes do not reach the tight target
    assert len({tuple(measured[f"{run}/curve"]) for run in ("few/tight/all", "few/tight/32", "few/loose/32")}) == 3


def test_a_pass_of_small_steps_leads_to_where_the_minimum_is(lesson, measured):
    """By the law of large numbers: what 1,970 noisy numbers hide in one step shows in the sum of many."""
    assert measured["weights"] == 1_970
    assert measured["near/1/mean cosine"] < measured["near/32/mean cosine"] < measured["near/256/mean cosine"] < 1
    assert measured["near/1/mean cosine to the minimum"] > 0
    assert measured["pass/cosine to the minimum"] > measured["100 steps/cosine to the minimum"] > 0


# The verdict


def test_copies_that_bring_nothing_refute_that_the_advantage_grows():
    experiment, trials, _ = reference("stochastic_descent")
    full, before = trials["copies/loose/all"], trials["few/loose/all"] / trials["few/loose/32"]
    for growth, verdict in ((1, "refuted"), (5, "refuted"), (20, "supported"), (1 / 20, "refuted")):
        control = replaced(trials, {"copies/loose/32": full / (growth * before)})
        found = judged(experiment, "advantage on copies", control)
        assert (found.verdict, found.effect) == (verdict, pytest.approx(growth))


def test_a_winner_that_does_not_arrive_is_inconclusive_and_a_loser_is_counted_as_cut_off():
    experiment, trials, _ = reference("stochastic_descent")
    missing = np.full(len(trials.seeds), np.nan)
    for name, winner, loser in (
        ("many examples", "many/loose/32", "many/loose/all"),
        ("batches of 32", "few/tight/all", "few/tight/32"),
        ("batches of 8", "few/tight/all", "few/tight/8"),
    ):
        assert judged(experiment, name, replaced(trials, {winner: missing})).verdict == "inconclusive"
        assert judged(experiment, name, replaced(trials, {loser: missing})).verdict == "supported"


def test_a_random_walk_would_not_be_called_a_way_to_the_minimum():
    """A sum of random directions is a random direction."""
    experiment, trials, _ = reference("stochastic_descent")
    drawn = torch.randn(len(trials.seeds), 1_970, generator=stream(0, "directions"))[:, 0]
    control = replaced(trials, {"pass/cosine to the minimum": drawn.div(math.sqrt(1_970)).numpy()})
    assert judged(experiment, "taken together", control).verdict == "refuted"
