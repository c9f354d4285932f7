"""Single steps of SGD and many: what can be said exactly, and that the lesson would not conclude it from less."""

import math
import sys
from itertools import islice

import pytest
import torch
from torch import nn

from dlnotes.data import Examples
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.linear import LogisticClassifier
from dlnotes.randomness import stream
from dlnotes.training import Minibatches
from tests.trials import judged, reference, replaced


@pytest.fixture(scope="module")
def lesson():
    torch.set_num_threads(1)  # fixtures of the module come before the one that does so for each test
    experiment = experiment_of(contents.lesson_named("gradient_noise"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def measured(lesson):
    return lesson.trial(lesson.QUICK, 1_000)


@pytest.fixture(scope="module")
def examples():
    """128 examples of 196 numbers, some dark and some light."""
    inputs = torch.rand(128, 196, generator=stream(3, "inputs"))
    return Examples(inputs.double(), torch.randint(10, (128,), generator=stream(3, "targets")))


def classifier(seed):
    model = LogisticClassifier(196, 10, dtype=torch.float64)
    model.weight.data.normal_(0, 0.1, generator=stream(seed, "weights"))
    model.bias.data.normal_(0, 0.1, generator=stream(seed, "biases"))
    return model


def slope(loss, model):
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])


# What the notes state


def test_the_gradients_of_one_pass_average_to_the_full_gradient_though_each_is_far_from_it(lesson, examples):
    model = classifier(4)
    full = slope(nn.functional.cross_entropy(model(examples.inputs), examples.targets), model)
    one_pass = islice(Minibatches(examples, 8, stream(4, "batches")), 16)
    each = torch.stack(
        [slope(nn.functional.cross_entropy(model(inputs), labels), model) for inputs, labels in one_pass]
    )
    assert (each - full).norm(dim=1).min() > 0.5 * full.norm()
    torch.testing.assert_close(each.mean(0), full, rtol=0, atol=1e-14)
    assert lesson.error_of_a_pass(model, examples, seed=4) < 1e-14
    assert (each[:-1].mean(0) - full).abs().amax() > 1e-4  # what the check would say of a pass that is not whole


# The pieces of the lesson


def test_the_gradient_of_each_example_is_the_one_that_pytorch_finds(lesson, examples):
    model = classifier(6)
    found = lesson.gradients(model, examples, 0.3)
    for row in (0, 17, 127):
        loss = nn.functional.cross_entropy(model(examples.inputs[row : row + 1]), examples.targets[row : row + 1])
        penalty = 0.15 * sum(parameter.square().sum() for parameter in model.parameters())
        torch.testing.assert_close(found[row], slope(loss + penalty, model))


def test_the_minimum_is_one(lesson, examples):
    """With the gradient g the loss is at most ‖g‖² / 2λ above its lowest: here a millionth of what it was."""
    model = LogisticClassifier(196, 10, dtype=torch.float64)
    best, lowest = lesson.minimum(examples, 0.01)
    assert lesson.excess(model, examples, lowest, 0.01) == pytest.approx(1, abs=1e-12)
    nn.utils.vector_to_parameters(best, model.parameters())
    assert lesson.excess(model, examples, lowest, 0.01) == 0
    assert lesson.gradients(model, examples, 0.01).mean(0).square().sum() / 0.02 < 1e-6 * (math.log(10) - lowest)
    for factor in (0.999, 1.001):
        nn.utils.vector_to_parameters(best * factor, model.parameters())
        assert lesson.excess(model, examples, lowest, 0.01) > 0


def test_the_cosines_and_the_share_uphill_are_those_of_gradients_worked_out_by_hand(lesson):
    """The four of the lesson's text, 64 times over; then with as many that point the other way, and are shorter."""
    single = torch.tensor([[1.0, 9], [1, -7], [1, -9], [1, 7]], dtype=torch.float64).repeat(64, 1)
    found = lesson.compared(single, stream(0, "order"), "here")
    assert found["here/1/mean cosine"] == pytest.approx((1 / math.sqrt(82) + 1 / math.sqrt(50)) / 2)
    assert found["here/256/mean cosine"] == pytest.approx(1)
    assert found["here/1/share uphill"] == 0
    against = lesson.compared(torch.cat([single, -single / 4]), stream(0, "order"), "here")
    assert against["here/1/share uphill"] == 0.5


def test_the_more_examples_the_smaller_the_noise_and_a_pass_leads_to_where_the_minimum_is(lesson, measured):
    for where in ("start", "later"):
        cosines = [measured[f"{where}/{size}/mean cosine"] for size in lesson.SIZES]
        assert cosines == sorted(cosines)
        assert cosines[-1] < 1
    ways = [measured[f"later/{way}/cosine to the minimum"] for way in ("1 step", "100 steps", "a pass")]
    assert ways == sorted(ways)
    assert ways[0] > 0
    assert 0 < measured["later/a pass/excess loss gone"] < 1


def test_a_pass_takes_each_example_once(lesson, monkeypatch):
    steps = []
    walk = lesson.walk

    def counted(config, model, batches, number, *, lr):
        steps.append((number, lr))
        walk(config, model, batches, number, lr=lr)

    monkeypatch.setattr(lesson, "walk", counted)
    lesson.trial(lesson.QUICK, 1_001)
    assert steps == [(20, 1 / 8), (100, 1 / 256), (412, 1 / 256)]


# The verdict


def test_a_random_walk_would_not_be_called_a_way_to_the_minimum():
    """A sum of random directions is a random direction."""
    experiment, trials, _ = reference("gradient_noise")
    drawn = torch.randn(len(trials.seeds), 1_970, generator=stream(0, "directions"))[:, 0]
    control = replaced(trials, {"later/a pass/cosine to the minimum": drawn.div(math.sqrt(1_970)).numpy()})
    assert judged(experiment, "taken together", control).verdict == "refuted"
