"""Rows 4.12 to 4.14: gradients on their way back through time, against products of matrices that are written out."""

import pytest
import torch
from torch import nn

from dlnotes.randomness import stream
from dlnotes.text import LSTM, RNN, gradient_norms, gradients_by_step

DOUBLE = torch.float64


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=stream(seed, "numbers"), dtype=DOUBLE)


def layer(kind=RNN, hidden=5, **settings):
    return kind(3, hidden, generator=stream(0, "weights"), dtype=DOUBLE, **settings)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "linear"])
def test_a_gradient_is_a_product_of_as_many_matrices_as_there_are_steps(nonlinearity):
    """4.14: with J = diag(φ') U at each step."""
    one, inputs = layer(nonlinearity=nonlinearity), drawn(2, 6, 3)
    direction = drawn(5, seed=1)
    outputs = one(inputs)[0].detach()
    slopes = {"tanh": 1 - outputs**2, "relu": (outputs > 0).double(), "linear": torch.ones_like(outputs)}[nonlinearity]
    expected = torch.empty(2, 6, dtype=DOUBLE)
    for row in range(2):
        gradient = direction
        for step in reversed(range(6)):
            expected[row, step] = gradient.norm()
            gradient = (gradient * slopes[row, step]) @ one.weight_hh_l0.detach()
    torch.testing.assert_close(gradient_norms(one, inputs, direction), expected, rtol=1e-12, atol=0)


def test_of_an_lstm_hidden_state_and_cell_count():
    one, inputs = layer(LSTM), drawn(2, 4, 3)
    states, state = [], None
    for step in range(4):
        _, state = one(inputs[:, step : step + 1], state)
        states.append(state)
    (states[-1][0] / 5**0.5).sum().backward(inputs=[part for state in states for part in state])
    expected = torch.stack(
        [sum(0 if part.grad is None else part.grad[0].square().sum(1) for part in state).sqrt() for state in states],
        dim=1,
    )
    torch.testing.assert_close(gradient_norms(one, inputs), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(expected[:, -1], torch.ones(2, dtype=DOUBLE))


@pytest.mark.parametrize("radius", [0.8, 1.0, 1.2])
def test_a_linear_orthogonal_recurrence_multiplies_by_its_radius_at_each_step(radius):
    """4.14: either to infinity or to zero, or neither, at 1."""
    one = layer(hidden=8, nonlinearity="linear")
    nn.init.orthogonal_(one.weight_hh_l0, gain=radius, generator=stream(0, "orthogonal"))
    norms = gradient_norms(one, drawn(3, 50, 3))
    expected = radius ** torch.arange(49.0, -1, -1, dtype=DOUBLE)
    torch.testing.assert_close(norms, expected.expand(3, 50), rtol=1e-10, atol=0)


@pytest.mark.parametrize("kind", [RNN, LSTM])
def test_what_the_steps_add_is_the_gradient_of_the_shared_weights(kind):
    """4.12: in the sum, and each of them is that of a copy of its own."""
    one, inputs = layer(kind), drawn(4, 6, 3)

    def loss(hiddens):
        return (hiddens * torch.arange(1.0, 7, dtype=DOUBLE)[:, None]).pow(2).sum()

    apart = gradients_by_step(one, inputs, loss)
    loss(one(inputs)[0]).backward()
    for name, parameter in one.named_parameters():
        assert apart[name].shape == (6, *parameter.shape)
        torch.testing.assert_close(apart[name].sum(0), parameter.grad, rtol=1e-11, atol=1e-11)
    assert not apart["weight_hh_l0"][0].any()  # the first step has seen no state yet


def test_a_step_that_the_loss_does_not_see_adds_nothing():
    apart = gradients_by_step(layer(), drawn(4, 6, 3), lambda hiddens: hiddens[:, 2].sum())
    assert apart["weight_ih_l0"][2].any()
    assert not apart["weight_ih_l0"][3:].any()


def test_the_layer_is_left_as_it_was():
    one = layer(dropout=0.5, masks=stream(0, "masks"))
    norms = gradient_norms(one, drawn(2, 6, 3))
    assert torch.equal(norms, gradient_norms(one, drawn(2, 6, 3)))  # without masks
    assert one.training
    assert all(parameter.grad is None for parameter in one.parameters())
    with torch.no_grad():
        assert torch.equal(norms, gradient_norms(one, drawn(2, 6, 3)))


def test_a_direction_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"direction must be \[5\] or \[2, 5\], not \[4\]"):
        gradient_norms(layer(), drawn(2, 6, 3), drawn(4))
