"""Rows 4.12 to 4.14: gradients on their way back through time, against products of matrices that are written out."""

import pytest
import torch
from torch import nn

from dlnotes.randomness import stream
from dlnotes.text import LSTM, RNN, gates_through_time, gradient_norms, gradients_by_step

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
    """Against the matrices of one step from (h, c) to (h, c), multiplied out."""
    one, inputs = layer(LSTM), drawn(1, 4, 3)

    def step(number):
        def of(packed):
            _, (hidden, cell) = one(inputs[:, number : number + 1], tuple(packed.view(2, 1, 1, 5)))
            return torch.cat([hidden.flatten(), cell.flatten()])

        return of

    states, jacobians = [torch.zeros(10, dtype=DOUBLE)], []
    for number in range(4):
        jacobians.append(torch.func.jacrev(step(number))(states[-1]).detach())
        states.append(step(number)(states[-1]).detach())
    gradient, expected = torch.tensor([5**-0.5] * 5 + [0.0] * 5, dtype=DOUBLE), []
    for jacobian in reversed(jacobians):
        expected.insert(0, gradient.norm())
        gradient = gradient @ jacobian
    torch.testing.assert_close(gradient_norms(one, inputs)[0], torch.stack(expected), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("weight", "length"), [(3.0, 60), (0.3, 60)])
def test_lengths_that_single_precision_cannot_square_are_given(weight, length):
    """4.14: which is where a gradient that explodes or vanishes goes."""
    one = RNN(1, 1, nonlinearity="linear", generator=stream(0, "weights"))
    one.weight_hh_l0.data.fill_(weight)
    one.requires_grad_(False)  # also of a layer that does not learn
    norms = gradient_norms(one, torch.zeros(1, length, 1))
    expected = weight ** torch.arange(length - 1.0, -1, -1, dtype=DOUBLE)
    torch.testing.assert_close(norms[0], expected, rtol=1e-4, atol=0)


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
    one.dropout.eval()
    norms = gradient_norms(one, drawn(2, 6, 3))
    assert torch.equal(norms, gradient_norms(one, drawn(2, 6, 3)))  # without masks
    apart = gradients_by_step(layer(LSTM, recurrent_dropout=0.5, masks=stream(0, "masks")), drawn(2, 6, 3), torch.sum)
    without = gradients_by_step(layer(LSTM), drawn(2, 6, 3), torch.sum)
    assert all(torch.equal(apart[name], own) for name, own in without.items())
    assert one.training
    assert not one.dropout.training
    assert all(parameter.grad is None for parameter in one.parameters())
    with torch.no_grad():
        assert torch.equal(norms, gradient_norms(one, drawn(2, 6, 3)))


def test_a_direction_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"direction must be \[5\] or \[2, 5\], not \[4\]"):
        gradient_norms(layer(), drawn(2, 6, 3), drawn(4))


def test_the_gates_are_those_by_which_pytorchs_lstm_moves():
    """4.18: its own hidden states and cells, from the gates and the formula."""
    one, inputs = layer(LSTM, dropout=0.5, masks=stream(0, "masks")), drawn(2, 6, 3)
    theirs = nn.LSTM(3, 5, batch_first=True, dtype=DOUBLE, device="meta").to_empty(device="cpu")
    theirs.load_state_dict(one.state_dict())
    gates = gates_through_time(one, inputs)
    before = torch.zeros(2, 5, dtype=DOUBLE)
    for step in range(6):
        hiddens, (hidden, cell) = theirs(inputs[:, : step + 1])
        torch.testing.assert_close(gates.cell[:, step], cell[0], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(gates.output[:, step] * cell[0].tanh(), hidden[0], rtol=1e-12, atol=1e-14)
        writable = (cell[0] - gates.forget[:, step] * before) / gates.input[:, step]
        last = torch.zeros(2, 5, dtype=DOUBLE) if not step else hiddens[:, step - 1]
        sums = inputs[:, step] @ one.weight_ih_l0[10:15].T + last @ one.weight_hh_l0[10:15].T
        torch.testing.assert_close(writable, sums.tanh(), rtol=1e-10, atol=1e-12)
        before = cell[0]
    assert one.training


@pytest.mark.parametrize("shape", [(2, 6, 4), (2, 0, 3), (2, 3)])
def test_gates_of_inputs_that_the_layer_refuses_are_refused_by_it(shape):
    with pytest.raises(ValueError, match=r"inputs must be \[batch, time, 3\] with a step or more"):
        gates_through_time(layer(LSTM), torch.zeros(shape, dtype=DOUBLE))
