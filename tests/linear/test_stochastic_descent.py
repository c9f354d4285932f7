"""SGD and gradient descent: what can be said exactly, and that the lesson would not conclude it from less."""

import math
import sys
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
    tuned = tuned_settings(contents.lesson_named("stochastic_descent"), lesson.QUICK).values
    return lesson.trial(lesson.QUICK, 1_000, tuned)


@pytest.fixture(scope="module")
def task(lesson):
    """128 examples of 196 numbers, some dark and some light, and the lowest loss."""
    inputs = torch.rand(128, 196, generator=stream(3, "inputs"))
    examples = Examples(inputs, torch.randint(10, (128,), generator=stream(3, "targets")))
    return examples, lesson.minimum(examples, 0.01)[1]


def train(lesson, task, size, rates, *, goal, budget=1e5, grace=1.0, seed=1):
    return lesson.train(lesson.Config(), seed, task, size, rates, goal, budget, grace)


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


def test_over_copies_the_full_gradient_is_that_of_the_originals(task):
    inputs, targets = task[0].inputs.double(), task[0].targets
    model = LogisticClassifier(196, 10, dtype=torch.float64)
    model.weight.data.normal_(0, 0.1, generator=stream(5, "weights"))

    def gradient(copies):
        loss = cross_entropy(model(inputs.repeat(copies, 1)), targets.repeat(copies))
        return torch.autograd.grad(loss, model.weight)[0]

    torch.testing.assert_close(gradient(20), gradient(1))


# The pieces of the lesson


def test_the_minimum_is_one(lesson, task):
    """With the gradient g the loss is at most ‖g‖² / 2λ above its lowest: here a thousandth of the tight target."""
    model = LogisticClassifier(196, 10, dtype=torch.float64)
    examples = Examples(task[0].inputs.double(), task[0].targets)
    best, lowest = lesson.minimum(task[0], 0.01)
    nn.utils.vector_to_parameters(best, model.parameters())
    squares = sum(parameter.square().sum() for parameter in model.parameters())
    loss = nn.functional.cross_entropy(model(examples.inputs), examples.targets) + 0.005 * squares
    assert lesson.loss(model, examples, 0.01) == lowest == pytest.approx(loss.item(), rel=1e-12)
    gradient = nn.utils.parameters_to_vector(torch.autograd.grad(loss, list(model.parameters())))
    assert gradient.square().sum() / 0.02 < 1e-3 * lesson.TARGETS["tight"] * (math.log(10) - lowest)
    assert lesson.loss(LogisticClassifier(196, 10), task[0], 0.01) == pytest.approx(math.log(10), abs=1e-6)
    for factor in (0.999, 1.001):
        nn.utils.vector_to_parameters(best * factor, model.parameters())
        assert lesson.loss(model, examples, 0.01) > lowest


def test_the_loss_that_is_watched_holds_the_penalty_that_the_steps_do(lesson, task):
    """So gradient descent on it falls towards the minimum of the same loss, and to no other."""
    _, read, (shares,) = train(lesson, task, "all", (0.05,), goal=0.0, budget=128 * 3_000)
    assert shares == sorted(shares, reverse=True)
    assert -1e-6 < shares[-1] < 0.01
    assert read[:3] == [128, 256, 384]
    assert shares[0] == pytest.approx(1, abs=0.05)


def test_the_loss_is_looked_at_by_the_examples_read_alone(lesson, task):
    for size, cost in (("8", 8), ("32", 32), ("all", 128)):
        _, read, _ = train(lesson, task, size, (0.01,), goal=0.0, budget=200 * cost)
        steps = [examples / cost for examples in read]
        assert steps[:20] == list(range(1, 21))  # up to the twentieth, each step is a growth by a twentieth
        assert all(1.05 * before <= after < 1.05 * before + 1 for before, after in pairwise(steps))
        assert 200 <= steps[-1] < 211


def test_a_rate_has_arrived_at_the_first_look_that_finds_it_there(lesson, task):
    (needed, never), read, (shares, others) = train(lesson, task, "32", (0.02, 1e-6), goal=0.5, grace=1.5)
    assert shares[read.index(needed)] <= 0.5 < min(shares[: read.index(needed)])
    assert math.isnan(never)
    assert min(others) > 0.5
    assert 1.5 * needed <= read[-1] < 1.6 * needed


def test_side_by_side_and_alone_a_rate_needs_the_same_examples(lesson, task):
    both, *_ = train(lesson, task, "32", (0.02, 0.01), goal=0.5, grace=3.0)
    alone = [train(lesson, task, "32", (rate,), goal=0.5)[0][0] for rate in (0.02, 0.01)]
    assert both == alone
    assert alone[0] < alone[1]


def test_a_rate_that_diverges_does_not_arrive(lesson, task):
    ((needed,), *_) = train(lesson, task, "32", (1e30,), goal=0.1, budget=3_200)
    assert math.isnan(needed)


def test_copies_cost_full_gradients_so_many_times_as_much_and_the_arms_differ(lesson, measured):
    assert measured["copies/loose/all/examples"] == 4 * measured["few/loose/all/examples"]
    for name in ("few", "copies", "many"):
        full, *batches = (measured[f"{name}/loose/{size}/examples"] for size in lesson.SIZES)
        assert len({full, *batches}) == 3
        assert [batches[0] % 32, batches[1] % 8] == [0, 0]
    assert math.isnan(measured["many/loose/all/examples"])  # the budget of a quick run does not reach the loose target
    assert math.isnan(measured["few/tight/all/examples"])  # nor the tight one
    assert len({tuple(measured[f"{run}/curve"]) for run in lesson.CURVES}) == 3


def test_full_gradients_over_copies_would_need_what_is_counted_for_them(lesson, task):
    examples, lowest = task
    copies = Examples(examples.inputs.repeat(4, 1), examples.targets.repeat(4))
    once, four = (train(lesson, (one, lowest), "all", (0.1,), goal=0.3)[0][0] for one in (examples, copies))
    assert four == 4 * once


# The verdict


def test_copies_that_bring_nothing_refute_that_the_advantage_grows():
    experiment, trials, _ = reference("stochastic_descent")
    full = trials["copies/loose/all/examples"]
    before = trials["few/loose/all/examples"] / trials["few/loose/32/examples"]
    for growth, verdict in ((1, "refuted"), (5, "refuted"), (20, "supported"), (1 / 20, "refuted")):
        control = replaced(trials, {"copies/loose/32/examples": full / (growth * before)})
        found = judged(experiment, "advantage on copies", control)
        assert (found.verdict, found.effect) == (verdict, pytest.approx(growth))


def test_a_winner_that_does_not_arrive_is_inconclusive_and_a_loser_counts_with_its_budget():
    experiment, trials, _ = reference("stochastic_descent")
    missing = np.full(len(trials.seeds), np.nan)
    for name, winner, loser in (
        ("many examples", "many/loose/32", "many/loose/all"),
        ("batches of 32", "few/tight/all", "few/tight/32"),
        ("batches of 8", "few/tight/all", "few/tight/8"),
    ):
        assert judged(experiment, name, replaced(trials, {f"{winner}/examples": missing})).verdict == "inconclusive"
        assert judged(experiment, name, replaced(trials, {f"{loser}/examples": missing})).verdict == "supported"
