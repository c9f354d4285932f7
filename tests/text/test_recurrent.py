"""Rows 4.09, 4.11, 4.12, 4.16 to 4.20: recurrent layers, against loops that anybody can read and against PyTorch."""

import math

import pytest
import torch
from torch import nn

from dlnotes.conv import PointwiseConv
from dlnotes.randomness import stream
from dlnotes.text import LSTM, RNN

DOUBLE = torch.float64
THEIRS = {
    "tanh": (RNN, {}, nn.RNN, {}),
    "relu": (RNN, {"nonlinearity": "relu"}, nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTM, {}, nn.LSTM, {}),
}


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=stream(seed, "numbers"), dtype=DOUBLE)


def pair(name, inputs=3, hidden=5):
    """One of ours and PyTorch's, with the same weights, biases too."""
    kind, ours, other, theirs = THEIRS[name]
    layer = kind(inputs, hidden, generator=stream(0, "weights"), dtype=DOUBLE, **ours)
    with torch.device("meta"):  # where nothing is drawn
        twin = other(inputs, hidden, batch_first=True, dtype=DOUBLE, **theirs)
    twin.to_empty(device="cpu")
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=number) / 2)
    twin.load_state_dict(layer.state_dict())
    return layer, twin


def flat(state):
    return torch.cat(state) if isinstance(state, tuple) else state


@pytest.mark.parametrize("name", THEIRS)
def test_outputs_states_and_gradients_are_pytorchs(name):
    layer, twin = pair(name)
    inputs = drawn(4, 6, 3, seed=9)
    found = []
    for one in (layer, twin):
        sequence = inputs.clone().requires_grad_()
        first, state = one(sequence[:, :4])
        second, last = one(sequence[:, 4:], state)  # goes on from where it was
        (second.pow(3).sum() + first.sum() + flat(last).pow(2).sum()).backward()
        found.append([first, second, flat(last), sequence.grad, *(each.grad for each in one.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-12)


@pytest.mark.parametrize("name", THEIRS)
def test_a_state_dict_goes_either_way(name):
    layer, twin = pair(name)
    kind = type(layer)
    other = kind(3, 5, generator=stream(1, "weights"), dtype=DOUBLE)
    other.load_state_dict(twin.state_dict())
    assert all(torch.equal(other.state_dict()[each], one) for each, one in layer.state_dict().items())


def test_the_plain_layer_is_its_formula():
    """4.11: the state is handed on from step to step, and is all that is."""
    layer = pair("tanh")[0].requires_grad_(False)
    inputs, state = drawn(2, 7, 3), torch.zeros(2, 5, dtype=DOUBLE)
    outputs, last = layer(inputs)
    for step in range(7):
        sums = [
            [
                sum(layer.weight_ih_l0[unit, k] * inputs[row, step, k] for k in range(3))
                + sum(layer.weight_hh_l0[unit, k] * state[row, k] for k in range(5))
                + layer.bias_ih_l0[unit]
                + layer.bias_hh_l0[unit]
                for unit in range(5)
            ]
            for row in range(2)
        ]
        state = torch.tensor([[math.tanh(one) for one in row] for row in sums], dtype=DOUBLE)
        torch.testing.assert_close(outputs[:, step].detach(), state, rtol=0, atol=1e-12)
    assert torch.equal(last[0], outputs[:, -1])


def test_the_lstm_is_its_formula():
    layer, _ = pair("lstm")
    inputs, hidden, cell = drawn(2, 7, 3), torch.zeros(2, 5, dtype=DOUBLE), torch.zeros(2, 5, dtype=DOUBLE)
    outputs, (last, last_cell) = layer(inputs)
    named = {
        gate: [weight.chunk(4)[place] for weight in layer.parameters()] for place, gate in enumerate("ifgo")
    }  # weights of inputs, of the state, and the two biases
    for step in range(7):
        sums = {gate: inputs[:, step] @ w.T + hidden @ u.T + b + c for gate, (w, u, b, c) in named.items()}
        i, f, o = (1 / (1 + torch.exp(-sums[gate])) for gate in "ifo")
        cell = f * cell + i * torch.tanh(sums["g"])
        hidden = o * torch.tanh(cell)
        torch.testing.assert_close(outputs[:, step], hidden, rtol=0, atol=1e-12)
    torch.testing.assert_close(last_cell[0], cell, rtol=0, atol=1e-12)
    assert torch.equal(last[0], outputs[:, -1])


@pytest.mark.parametrize("kind", [RNN, LSTM])
def test_there_are_as_many_parameters_for_any_length(kind):
    """4.09: the same weights learn from every step of 1 as of 1,000, and there are no others."""
    layer, shapes = kind(3, 5, generator=stream(0, "weights")), []
    for length in (1, 1_000):
        layer.zero_grad()
        outputs, _ = layer(torch.ones(1, length, 3))
        assert outputs.shape == (1, length, 5)
        outputs.sum().backward()
        shapes.append({name: each.grad.shape for name, each in layer.named_parameters() if each.grad.any()})
        if length == 1:  # the state before the first step is 0: the recurrence has nothing to learn from
            shapes[-1]["weight_hh_l0"] = layer.weight_hh_l0.shape
    assert shapes[0] == shapes[1] == {name: each.shape for name, each in layer.named_parameters()}


def test_without_recurrence_it_is_a_convolution_of_width_1():
    """4.09: shared over time as a convolution is over space."""
    layer = RNN(3, 5, nonlinearity="relu", generator=stream(0, "weights"), dtype=DOUBLE)
    layer.weight_hh_l0.data.zero_()
    layer.bias_ih_l0.data.copy_(drawn(5))
    convolution = PointwiseConv(3, 5, generator=stream(0, "weights"), dtype=DOUBLE)
    convolution.weight.data.copy_(layer.weight_ih_l0[..., None, None])
    convolution.bias.data.copy_(layer.bias_ih_l0)
    inputs = drawn(4, 6, 3)
    maps = convolution(inputs.transpose(1, 2)[..., None]).relu()  # time as height
    torch.testing.assert_close(layer(inputs)[0], maps[..., 0].transpose(1, 2), rtol=0, atol=1e-12)


def test_the_gradient_of_shared_weights_is_the_sum_over_the_steps():
    """4.12: with a copy of the weights for each step, the copies' gradients add up to the shared one."""
    layer, _ = pair("tanh")
    inputs = drawn(4, 6, 3)
    layer(inputs)[0].pow(2).sum().backward()
    copies = [layer.weight_hh_l0.detach().clone().requires_grad_() for _ in range(6)]
    state, loss = torch.zeros(4, 5, dtype=DOUBLE), 0
    for step, recurrent in enumerate(copies):
        weighed = inputs[:, step] @ layer.weight_ih_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0
        state = torch.tanh(weighed + state @ recurrent.T)
        loss = loss + state.pow(2).sum()
    loss.backward()
    torch.testing.assert_close(layer.weight_hh_l0.grad, sum(one.grad for one in copies), rtol=0, atol=1e-12)


@pytest.mark.parametrize("forget_bias", [-2.0, 0.0, 1.0, 3.0])
def test_along_the_cell_a_gradient_is_multiplied_by_the_forget_gate_alone(forget_bias):
    """4.18: with no weights, the cell's gradient shrinks by σ(bias) a step."""
    layer = LSTM(1, 4, forget_bias=forget_bias, generator=stream(0, "weights"), dtype=DOUBLE)
    layer.weight_ih_l0.data.zero_()
    layer.weight_hh_l0.data.zero_()
    cell = drawn(1, 2, 4).requires_grad_()
    _, (_, last) = layer(torch.zeros(2, 20, 1, dtype=DOUBLE), (torch.zeros(1, 2, 4, dtype=DOUBLE), cell))
    (gradient,) = torch.autograd.grad(last.sum(), cell)
    expected = (1 / (1 + math.exp(-forget_bias))) ** 20
    torch.testing.assert_close(gradient, torch.full_like(gradient, expected), rtol=1e-12, atol=0)


def test_first_weights_are_even_and_biases_0_but_the_forget_gates():
    layer = LSTM(30, 50, forget_bias=2.5, generator=stream(0, "weights"))
    for weight in (layer.weight_ih_l0, layer.weight_hh_l0):
        assert weight.abs().max() <= 1 / math.sqrt(50)
        assert weight.std().item() == pytest.approx(1 / math.sqrt(150), rel=0.03)
    assert layer.bias_ih_l0.tolist() == [0.0] * 50 + [2.5] * 50 + [0.0] * 100
    assert not layer.bias_hh_l0.any()


# ----------------------------------------------------------------------------------------------------------------
# Dropout
# ----------------------------------------------------------------------------------------------------------------


def masked(kind=RNN, seed=0, **settings):
    """A layer with dropout, and with biases, so that nothing is 0 by itself."""
    masks = stream(seed, "masks")
    return biased(kind(3, 40, generator=stream(0, "weights"), masks=masks, dtype=DOUBLE, **settings))


def biased(layer):
    layer.bias_hh_l0.data.copy_(drawn(*layer.bias_hh_l0.shape))
    return layer


@pytest.mark.parametrize("kind", [RNN, LSTM])
@pytest.mark.parametrize("variational", [False, True])
def test_in_evaluation_nothing_is_dropped(kind, variational):
    layer = masked(kind, dropout=0.5, recurrent_dropout=0.5, variational=variational).eval()
    plain = biased(kind(3, 40, generator=stream(0, "weights"), dtype=DOUBLE))
    assert torch.equal(layer(drawn(2, 6, 3))[0], plain(drawn(2, 6, 3))[0])


@pytest.mark.parametrize("kind", [RNN, LSTM])
def test_the_state_that_is_handed_on_is_whole_where_outputs_are_dropped(kind):
    """Dropout on inputs and outputs alone leaves the memory as it is (Zaremba et al., 2014)."""
    layer = masked(kind, dropout=0.5)
    nothing = torch.zeros(2, 6, 3, dtype=DOUBLE)  # zeros stay zeros under a mask
    outputs, state = layer(nothing)
    plain, last = biased(kind(3, 40, generator=stream(0, "weights"), dtype=DOUBLE))(nothing)
    assert torch.equal(flat(state), flat(last))
    kept = outputs != 0
    assert 0.4 < kept.double().mean() < 0.6
    torch.testing.assert_close(outputs[kept], 2 * plain[kept], rtol=1e-12, atol=0)


def test_a_variational_mask_is_the_same_at_every_step_and_another_for_each_sequence():
    layer = masked(LSTM, dropout=0.5, variational=True)
    kept = layer(drawn(30, 6, 3))[0] != 0
    assert torch.equal(kept, kept[:, :1].expand_as(kept))
    assert len({tuple(row.tolist()) for row in kept[:, 0]}) == 30
    fresh = masked(LSTM, dropout=0.5)(drawn(30, 6, 3))[0] != 0
    assert not torch.equal(fresh, fresh[:, :1].expand_as(fresh))


@pytest.mark.parametrize("variational", [False, True])
def test_a_dropped_unit_of_the_state_is_not_seen_by_the_next_step(variational):
    """With the identity as recurrence and no input, what is left of a state shows which units were masked."""
    layer = masked(nonlinearity="linear", recurrent_dropout=0.5, variational=variational)
    layer.bias_hh_l0.data.zero_()
    nn.init.eye_(layer.weight_hh_l0)
    begin = torch.ones(1, 2, 40, dtype=DOUBLE)
    outputs, _ = layer(torch.zeros(2, 5, 3, dtype=DOUBLE), begin)
    survivors = (outputs != 0).double().mean((0, 2))
    if variational:  # who survives once survives always, and is doubled each time
        assert survivors.unique().numel() == 1
        assert set(outputs[:, -1].unique().tolist()) == {0.0, 32.0}
    else:  # half of the rest at each step
        assert survivors[0] > 0.3
        assert survivors[-1] < 0.15


def test_masks_have_a_generator_of_their_own():
    layer = masked(dropout=0.3, recurrent_dropout=0.3)
    again, other = masked(dropout=0.3, recurrent_dropout=0.3), masked(dropout=0.3, recurrent_dropout=0.3, seed=1)
    inputs = drawn(2, 6, 3)
    first = layer(inputs)[0]
    assert torch.equal(first, again(inputs)[0])
    assert not torch.equal(first, other(inputs)[0])
    assert torch.equal(layer.weight_hh_l0, other.weight_hh_l0)


# ----------------------------------------------------------------------------------------------------------------
# What is refused
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RNN, LSTM])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_size": 0}, "input_size must be an int of 1 or more, not 0"),
        ({"hidden_size": 2.5}, "hidden_size must be an int of 1 or more, not 2.5"),
        ({"dropout": 1.5}, "dropout must be a probability from 0 to 1, not 1.5"),
        ({"recurrent_dropout": 0.5}, "recurrent_dropout=0.5 draws masks: give the generator"),
    ],
)
def test_settings_are_refused_by_name(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"input_size": 3, "hidden_size": 5, "generator": stream(0, "weights")} | settings)


@pytest.mark.parametrize(
    ("bias", "error", "message"),
    [
        (math.nan, ValueError, "forget_bias must be finite, not nan"),
        ("much", TypeError, "forget_bias must be a number, not str"),
    ],
)
def test_a_forget_bias_that_is_no_number_is_refused(bias, error, message):
    with pytest.raises(error, match=message):
        LSTM(3, 5, forget_bias=bias, generator=stream(0, "weights"))


def test_an_unknown_nonlinearity_is_refused():
    with pytest.raises(ValueError, match="nonlinearity must be one of tanh, relu, linear, not 'sine'"):
        RNN(3, 5, nonlinearity="sine", generator=stream(0, "weights"))


@pytest.mark.parametrize(
    ("inputs", "state", "message"),
    [
        (torch.zeros(2, 6, 4), None, r"inputs must be \[batch, time, 3\] .* not \[2, 6, 4\]"),
        (torch.zeros(2, 0, 3), None, r"with a step or more, not \[2, 0, 3\]"),
        (torch.zeros(6, 3), None, r"not \[6, 3\]"),
        (torch.zeros(2, 6, 3), torch.zeros(1, 4, 5), r"\[1, 2, 5\], for 2 sequences and 5 units, not \[1, 4, 5\]"),
        (torch.zeros(2, 6, 3), (torch.zeros(1, 2, 5),) * 2, "the state must be a tensor, the hidden state, not 2"),
    ],
)
def test_inputs_and_states_that_do_not_fit_are_refused(inputs, state, message):
    with pytest.raises(ValueError, match=message):
        RNN(3, 5, generator=stream(0, "weights"))(inputs, state)


def test_a_cell_of_another_batch_size_is_refused():
    layer = LSTM(3, 5, generator=stream(0, "weights"))
    with pytest.raises(ValueError, match=r"\[1, 2, 5\], for 2 sequences and 5 units, not \[1, 4, 5\]"):
        layer(torch.zeros(2, 6, 3), (torch.zeros(1, 2, 5), torch.zeros(1, 4, 5)))
    with pytest.raises(ValueError, match="the state must be a pair, the hidden state and the cell, not 1 tensors"):
        layer(torch.zeros(2, 6, 3), torch.zeros(1, 2, 5))


def test_under_autocast_a_cell_keeps_its_digits():
    """Many small steps add up, although the gates are computed in bfloat16."""
    layer = LSTM(1, 1, forget_bias=20.0, generator=stream(0, "weights"))
    for parameter in (layer.weight_ih_l0, layer.weight_hh_l0):
        parameter.data.zero_()
    layer.bias_hh_l0.data.copy_(torch.tensor([20.0, 0.0, 0.005, 0.0]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        _, (_, cell) = layer(torch.zeros(1, 2_000, 1))
    assert cell.dtype == torch.float32
    assert cell.item() == pytest.approx(10, rel=0.02)


@pytest.mark.parametrize("kind", [RNN, LSTM])
def test_a_layer_can_be_built_without_memory_and_reset(kind):
    with torch.device("meta"):
        layer = kind(3, 5, generator=stream(0, "weights"))
    assert all(parameter.is_meta for parameter in layer.parameters())
    layer.to_empty(device="cpu").reset_parameters(stream(0, "weights"))
    fresh = kind(3, 5, generator=stream(0, "weights"))
    assert all(torch.equal(one, other) for one, other in zip(layer.parameters(), fresh.parameters(), strict=True))
