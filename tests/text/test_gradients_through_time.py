"""Gradients through time: arms that differ in the matrices of later steps, and numbers that are what they say."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from dlnotes.text import RNN, gradient_norms, gradients_by_step
from tests.trials import judged, reference, replaced

CONTROLS = {
    "orthogonal": "test_a_factor_beyond_the_margin_is_seen",
    "between": "test_a_factor_beyond_the_margin_is_seen",
}


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("gradients_through_time"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def config(lesson):
    return replace(lesson.QUICK, hidden=6, steps=8)


@pytest.fixture(scope="module")
def task(lesson, config):
    return lesson.Task(config, 1_000)


@pytest.fixture(scope="module")
def gaussian(lesson, config):
    return lesson.first_weights(config, 1_000)[0]


def as_layer(task, matrix, kind):
    """The recurrent layer of the library with the weights of a shared net, and what it reads."""
    config = task.config
    layer = RNN(config.symbols, config.hidden, nonlinearity=kind, dtype=torch.float64, generator=stream(0, "weights"))
    layer.weight_hh_l0.data.copy_(matrix)
    layer.weight_ih_l0.data.copy_(task.inputs.T)
    return layer, torch.nn.functional.one_hot(task.batches[0][0], config.symbols).double()


def loss_of(task):
    following = task.batches[0][1]
    return lambda hiddens: torch.nn.functional.cross_entropy((hiddens @ task.outputs).mT, following)


# What is measured


@pytest.mark.parametrize("kind", ["linear", "tanh"])
def test_lengths_are_those_of_the_library(task, gaussian, kind):
    norms, _ = task.back(kind, 1.3 * gaussian[:1])
    expected = gradient_norms(*as_layer(task, 1.3 * gaussian[0], kind)).log().mean(0).exp()
    torch.testing.assert_close(norms, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["linear", "tanh"])
def test_what_the_steps_add_is_what_the_library_finds(task, gaussian, kind):
    """4.12: and their sum is the gradient of the shared weights."""
    _, added = task.back(kind, gaussian[:1])
    layer, inputs = as_layer(task, gaussian[0], kind)
    apart = gradients_by_step(layer, inputs, loss_of(task))["weight_hh_l0"]
    torch.testing.assert_close(added, apart, rtol=1e-10, atol=1e-14)
    loss_of(task)(layer(inputs)[0]).backward()
    torch.testing.assert_close(added.sum(0), layer.weight_hh_l0.grad, rtol=1e-10, atol=1e-14)


def test_lengths_without_sharing_are_a_product_of_the_matrices_of_all_steps(task, gaussian):
    gradient, expected = torch.full((6,), 6**-0.5, dtype=torch.float64), []
    for matrix in gaussian.flip(0):
        expected.insert(0, gradient.norm().item())
        gradient = gradient @ matrix
    assert task.back("linear", gaussian)[0].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("u", [0.9, 1.1])
def test_one_unit_follows_the_table_of_the_lesson(lesson, config, u):
    """4.14: as the lesson's text says, to the digits that it prints."""
    task = lesson.Task(replace(config, hidden=1, steps=51), 0)
    norms = task.back("linear", torch.full((1, 1, 1), u, dtype=torch.float64))[0].flip(0)
    printed = {0.9: "1.00 0.90 0.81 0.35 0.12 0.005", 1.1: "1.00 1.10 1.21 2.59 6.73 117"}[u].split()
    for back, digits in zip((0, 1, 2, 10, 20, 50), printed, strict=True):
        assert f"{norms[back]:.{len(digits.partition('.')[2])}f}" == digits
        assert digits in lesson.__doc__


def test_two_steps_that_do_the_same_agree_and_their_updates_add_up():
    """4.13: the example by hand, u² + u² + u² at 0.9."""
    u = torch.tensor([0.9, 0.9, 0.9], dtype=torch.float64, requires_grad=True)
    u.prod().backward()
    assert u.grad.tolist() == pytest.approx([0.81] * 3)
    shared = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    (shared * shared * shared).backward()
    assert shared.grad.item() == pytest.approx(3 * 0.81)


def test_a_trial_writes_down_what_these_functions_find(lesson, config, task, gaussian):
    measured = lesson.trial(config, 1_000)
    for arm, first in {"shared": gaussian[:1], "separate": gaussian}.items():
        norms, added = task.back("tanh", 2 * first)
        assert measured[f"tanh 2/{arm}/factor"] == pytest.approx((norms[0] / norms[-1]).item() ** (1 / 7))
        pairs = [(added[step].flatten(), added[step + 1].flatten()) for step in range(1, 7)]
        cosines = [(one @ other / one.norm() / other.norm()).item() for one, other in pairs]
        assert measured[f"tanh 2/{arm}/cosine"] == pytest.approx(np.mean(cosines))
        assert measured[f"tanh 2/{arm}/norms"][0] == pytest.approx(1)  # the last state first
    assert measured["linear orthogonal/shared/factor"] == pytest.approx(1, abs=1e-12)
    assert 0 < measured["sum over steps/error"] < 1e-12


def test_noise_is_what_differs_from_batch_to_batch(lesson, config, task, monkeypatch):
    def init(self, config, seed):
        self.__dict__ |= task.__dict__ | {"batches": [task.batches[0]] * 3}

    monkeypatch.setattr(lesson.Task, "__init__", init)
    assert lesson.trial(config, 1_000)["batches/separate/noise"] == pytest.approx(0, abs=1e-20)


def test_a_step_at_the_largest_rate_does_no_harm_and_one_at_twice_the_rate_does(lesson, task, gaussian):
    for first in (gaussian[:1], gaussian):
        gradient = torch.func.grad(task.loss)(first, task.batches[0])
        before, rate = task.loss(first, task.batches[0]), task.rate(first, gradient)
        assert task.loss(first - rate * gradient, task.batches[0]) <= before
        assert task.loss(first - 2 * rate * gradient, task.batches[0]) > before
        assert lesson.RATES[0] < rate < lesson.RATES[-1]


def test_the_largest_rates_of_the_reference_run_are_not_the_end_of_the_list(lesson):
    trials = reference("gradients_through_time")[1]
    for arm in lesson.ARMS:
        assert (trials[f"first step/{arm}/rate"] > lesson.RATES[0]).all()
        assert (trials[f"first step/{arm}/rate"] < lesson.RATES[-1]).all()


@pytest.mark.parametrize(
    ("name", "net", "margin"), [("orthogonal", "linear orthogonal", 1.01), ("between", "tanh 2", 1.05)]
)
def test_a_factor_beyond_the_margin_is_seen(name, net, margin):
    experiment, trials, _ = reference("gradients_through_time")
    where = f"{net}/shared/factor"

    def verdict(factor):
        return judged(experiment, name, replaced(trials, {where: np.full(12, factor)})).verdict

    assert [verdict(factor) for factor in (margin**2, margin**-2)] == ["refuted", "refuted"]
    assert [verdict(factor) for factor in (margin**0.5, 1.0, margin**-0.5)] == ["supported"] * 3


# The arms


def test_the_arms_differ_in_the_matrices_of_later_steps_alone(lesson, config, task, monkeypatch):
    """4.13: symbols, inputs, outputs and the first matrix are the same."""
    seen = []
    forward = lesson.Task.forward

    def noted(self, kind, matrices, batch):
        matrices = list(matrices)
        if not torch._C._functorch.is_functorch_wrapped_tensor(matrices[0]):
            seen.append((kind, torch.stack(matrices).detach(), batch, self))
        return forward(self, kind, matrices, batch)

    monkeypatch.setattr(lesson.Task, "forward", noted)
    lesson.trial(config, 1_000)
    nets = 2 * len(lesson.RADII) + 1
    for shared, separate in zip(seen[: 2 * nets : 2], seen[1 : 2 * nets : 2], strict=True):
        assert shared[0] == separate[0]
        assert shared[2] is separate[2]
        assert shared[3] is separate[3]
        assert torch.equal(shared[1], shared[1][:1].expand(8, -1, -1))
        assert torch.equal(shared[1][0], separate[1][0])
        assert len({matrix.sum().item() for matrix in separate[1]}) == 8


def test_all_matrices_have_the_spectral_radius_that_they_are_called_by(lesson, config):
    gaussian, orthogonal = lesson.first_weights(config, 1_000)
    for matrices in (gaussian, orthogonal):
        assert matrices.shape == (8, 6, 6)
        assert np.abs(np.linalg.eigvals(matrices.numpy())).max(1) == pytest.approx(1, abs=1e-9)
    assert (orthogonal @ orthogonal.mT - torch.eye(6)).abs().max() < 1e-12


def test_a_seed_draws_one_chain_for_all_batches_and_the_next_symbol_is_the_target(lesson, config, task):
    symbols, following = task.batches[0]
    assert symbols.shape == following.shape == (4, 8)
    assert torch.equal(symbols[:, 1:], following[:, :-1])
    assert len(task.batches) == 3
    assert not torch.equal(task.batches[0][0], task.batches[1][0])
    again = lesson.Task(config, 1_000)
    assert torch.equal(again.batches[2][1], task.batches[2][1])
