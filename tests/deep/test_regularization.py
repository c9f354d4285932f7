"""L2 regularisation: the penalty equals the link where the notes say so, and effective degrees of freedom."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import skip_init

from dlnotes import deep, linear
from dlnotes.deep import MLP, effective_degrees_of_freedom, l2, l2_penalty, weight_decay_groups
from dlnotes.linear import SGD, GradientDescent, adagrad_scaling, cross_entropy
from dlnotes.randomness import stream


def draw(*shape, purpose="inputs"):
    return torch.randn(shape, generator=stream(0, purpose), dtype=torch.float64)


def after_twelve_steps(optimizer_of, strength=0.0):
    """The weights of a small network; the penalty is in the loss where a strength is given."""
    model = MLP([5, 4, 3], generator=stream(0, "weights"), dtype=torch.float64)
    optimizer = optimizer_of(model)
    targets = torch.arange(9) % 3
    for _ in range(12):
        optimizer.zero_grad()
        loss = cross_entropy(model(draw(9, 5)), targets)
        loss = loss + l2_penalty([layer.weight for layer in model.layers], strength)
        loss.backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


def test_the_penalty_is_half_the_squared_norm_and_its_gradient_the_weights():
    w = [draw(3, 2).requires_grad_(), draw(4, purpose="other").requires_grad_()]
    penalty = l2_penalty(w, 0.3)
    penalty.backward()
    assert penalty.item() == pytest.approx(0.15 * sum(one.square().sum().item() for one in w))
    for one in w:
        torch.testing.assert_close(one.grad, 0.3 * one.detach())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_penalty_in_the_loss_is_the_link_and_torchs_weight_decay(momentum):
    penalty = after_twelve_steps(lambda model: SGD(model.parameters(), lr=0.1, momentum=momentum), 0.2)
    link = after_twelve_steps(lambda model: SGD(weight_decay_groups(model, 0.2), lr=0.1, momentum=momentum))
    theirs = after_twelve_steps(
        lambda model: torch.optim.SGD(weight_decay_groups(model, 0.2), lr=0.1, momentum=momentum)
    )
    without = after_twelve_steps(lambda model: SGD(model.parameters(), lr=0.1, momentum=momentum))
    torch.testing.assert_close(link, penalty)
    torch.testing.assert_close(link, theirs)
    assert (link[0] - without[0]).norm() > 0.1 * without[0].norm()


def test_behind_adagrads_division_the_order_says_whether_it_is_penalty_or_decay():
    penalty = after_twelve_steps(lambda model: GradientDescent(model.parameters(), adagrad_scaling(), lr=0.1), 0.2)
    before = after_twelve_steps(
        lambda model: GradientDescent(weight_decay_groups(model, 0.2), l2(0.0), adagrad_scaling(), lr=0.1)
    )
    behind = after_twelve_steps(
        lambda model: GradientDescent(weight_decay_groups(model, 0.2), adagrad_scaling(), l2(0.0), lr=0.1)
    )
    torch.testing.assert_close(before, penalty)
    assert (behind[0] - before[0]).norm() > 0.05 * before[0].norm()


def test_weights_pay_and_biases_do_not():
    layers = (nn.Conv2d, (1, 2, 3)), (nn.LayerNorm, (4,)), (nn.Linear, (4, 2))
    model = nn.Sequential(*(skip_init(kind, *sizes) for kind, sizes in layers))
    model[2].weight.requires_grad_(False)
    heavy, light = weight_decay_groups(model, 0.1)
    assert [tuple(one.shape) for one in heavy["params"]] == [(2, 1, 3, 3)]
    assert [tuple(one.shape) for one in light["params"]] == [(2,), (4,), (4,), (2,)]
    assert (heavy["weight_decay"], light["weight_decay"]) == (0.1, 0.0)


def test_l2_is_the_link_of_chapter_1():
    assert deep.l2 is linear.l2


@pytest.mark.parametrize("strength", [0.01, 1.0, 30.0])
def test_effective_degrees_of_freedom_are_the_trace_of_the_matrix_that_fits(strength):
    X = draw(20, 6)
    fit = X @ torch.linalg.inv(X.T @ X + strength * torch.eye(6, dtype=torch.float64)) @ X.T
    assert effective_degrees_of_freedom(X, strength) == pytest.approx(fit.trace().item(), rel=1e-12)


def test_they_fall_from_the_rank_to_none():
    X = draw(20, 3) @ draw(3, 6, purpose="mix")
    assert effective_degrees_of_freedom(X, 0.0) == pytest.approx(3)
    falling = [effective_degrees_of_freedom(X, 10.0**power) for power in range(-6, 12, 2)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == pytest.approx(3, abs=1e-4)
    assert falling[-1] < 1e-6
    assert effective_degrees_of_freedom(torch.zeros(4, 2), 0.0) == 0.0


def test_a_direction_that_is_small_counts_and_one_that_is_rounding_does_not():
    wide = (draw(60_000, 2) * torch.tensor([1_000.0, 1.0])).float()
    assert effective_degrees_of_freedom(wide, 1.0) == pytest.approx(2, abs=1e-4)
    assert effective_degrees_of_freedom((draw(200, 3) @ draw(3, 6, purpose="mix")).float(), 0.0) == 3
    for size in (1e200, 1e-200):
        assert effective_degrees_of_freedom(size * torch.eye(2, dtype=torch.float64), 0.0) == 2
    assert effective_degrees_of_freedom(1e200 * torch.eye(2, dtype=torch.float64), 1.0) == 2
    assert effective_degrees_of_freedom(torch.empty(0, 3), 1.0) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_strength_next_to_zero_leaves_the_rank_and_not_more(dtype):
    ranks = {
        2: torch.arange(1.0, 10).view(3, 3),
        3: draw(20, 3) @ draw(3, 6, purpose="mix"),
        5: draw(300, 5) @ draw(5, 80, purpose="mix"),
    }
    for rank, matrix in ranks.items():
        for strength in (0.0, 1e-300, 1e-100, 1e-36):
            assert effective_degrees_of_freedom(matrix.to(dtype), strength) == pytest.approx(rank, abs=1e-9)
            assert effective_degrees_of_freedom(matrix.to(dtype).T, strength) == pytest.approx(rank, abs=1e-9)


def test_a_small_direction_counts_without_a_strength_too():
    wide = (draw(60_000, 2) * torch.tensor([1_000.0, 1.0])).float()
    assert effective_degrees_of_freedom(wide, 0.0) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_penalty_of_half_precision_does_not_overflow(dtype):
    w = torch.full((4,), 300.0, dtype=dtype, requires_grad=True)
    penalty = l2_penalty([w], 0.5)
    penalty.backward()
    assert penalty.item() == pytest.approx(0.25 * 4 * 300**2)
    assert w.grad.tolist() == [150.0] * 4


@pytest.mark.parametrize("strength", [-0.1, math.inf, math.nan])
def test_a_strength_that_is_negative_or_not_finite_is_refused(strength):
    message = "strength of L2 regularisation must be 0 or larger and finite"
    with pytest.raises(ValueError, match=message):
        l2_penalty([torch.ones(1)], strength)
    with pytest.raises(ValueError, match=message):
        weight_decay_groups(skip_init(nn.Linear, 2, 2), strength)
    with pytest.raises(ValueError, match=message):
        effective_degrees_of_freedom(torch.eye(2), strength)


def test_nothing_to_regularise_is_refused():
    with pytest.raises(ValueError, match="at least one tensor"):
        l2_penalty([], 0.1)
    with pytest.raises(ValueError, match="a matrix"):
        effective_degrees_of_freedom(torch.ones(3), 0.1)
    with pytest.raises(ValueError, match="finite numbers"):
        effective_degrees_of_freedom(torch.full((2, 2), math.inf), 0.1)
    for dtype in (torch.int64, torch.complex64, torch.bfloat16):
        with pytest.raises(TypeError, match=f"must be float32 or float64, not {dtype}"):
            effective_degrees_of_freedom(torch.eye(2, dtype=dtype), 0.1)


def test_arguments_are_not_changed():
    w = draw(3, 2)
    before = copy.deepcopy(w)
    l2_penalty([w], 0.5)
    effective_degrees_of_freedom(w, 0.5)
    assert torch.equal(w, before)


@pytest.mark.parametrize("strength", ["0.1", None, True])
def test_a_strength_that_is_no_number_and_what_is_no_tensor_are_refused(strength):
    message = f"^the strength of L2 regularisation must be a number, not {type(strength).__name__}"
    with pytest.raises(TypeError, match=message):
        l2_penalty([torch.ones(1)], strength)
    with pytest.raises(TypeError, match=message):
        weight_decay_groups(skip_init(nn.Linear, 2, 2), strength)
    with pytest.raises(TypeError, match=message):
        effective_degrees_of_freedom(torch.eye(2), strength)
    with pytest.raises(TypeError, match=r"^inputs must be a tensor, not a NumPy array"):
        effective_degrees_of_freedom(torch.eye(2).numpy(), 0.1)
    with pytest.raises(TypeError, match=r"^each weight must be a tensor, not a NumPy array"):
        l2_penalty([torch.eye(2).numpy()], 0.1)
