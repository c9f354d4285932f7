"""What happens in a recurrent layer over time: a gradient on its way back, what each step adds to it, the gates."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from dlnotes.text.recurrent import LSTM, RNN, State
from dlnotes.training import in_mode

__all__ = ["Gates", "gates_through_time", "gradient_norms", "gradients_by_step"]


def gradient_norms(layer: RNN | LSTM, inputs: Tensor, direction: Tensor | None = None) -> Tensor:
    """How long the gradient of the last hidden state is, on its way back, at the state of each step.

        ‖ ∂ (v · h[T]) / ∂ state[t] ‖ = ‖ v · J[T] · J[T-1] · … · J[t+1] ‖        J[t] = ∂ state[t] / ∂ state[t-1]

    A product of many matrices grows or shrinks by about the same factor a step: it explodes or vanishes. The state of
    an `LSTM` is its hidden state and its cell together.

    Args:
        layer: a recurrent layer; taken in evaluation mode, without dropout.
        inputs: sequences.
        direction: v, which way the last hidden state is looked at; 1/√H for each unit where not given.

    Shape:
        inputs (N, T, C), direction (H,) or (N, H); returns (N, T), float64, since such lengths go far: at the state
        after step 1, after step 2, … to the last, where it is the length of v.

    Raises:
        ValueError: as the layer does for such inputs; a direction of another size.

    Example:
        A unit that keeps half of what it had halves the gradient at each step back:

        >>> layer = RNN(1, 1, nonlinearity="linear", generator=torch.Generator())
        >>> _ = layer.weight_hh_l0.data.fill_(0.5)
        >>> gradient_norms(layer, torch.zeros(1, 4, 1))
        tensor([[0.1250, 0.2500, 0.5000, 1.0000]], dtype=torch.float64)

    Source: Razvan Pascanu, Tomas Mikolov and Yoshua Bengio, "On the difficulty of training recurrent neural networks",
    2013.
    """
    size = layer.hidden_size
    if direction is None:
        direction = layer.weight_hh_l0.new_full((size,), size**-0.5).detach()
    if direction.shape not in ((size,), (len(inputs), size)):
        raise ValueError(f"direction must be [{size}] or [{len(inputs)}, {size}], not {list(direction.shape)}")
    states: list[tuple[Tensor, ...]] = []
    state = None
    with in_mode(layer, training=False), torch.enable_grad():
        # The inputs ask for a gradient so that there is a path also where the weights are frozen.
        for step in inputs.detach().requires_grad_().split(1, dim=1):
            _, state = layer(step, state)
            states.append((state,) if isinstance(state, Tensor) else state)
        looked_at = (states[-1][0] * direction).sum()
        flat = [part for parts in states for part in parts]
        found = torch.autograd.grad(looked_at, flat, materialize_grads=True)
    squares = torch.stack([one[0].double().square().sum(1) for one in found])
    return squares.unflatten(0, (len(states), -1)).sum(1).sqrt().T


def gradients_by_step(
    layer: RNN | LSTM, inputs: Tensor, loss: Callable[[Tensor], Tensor], *, state: State | None = None
) -> dict[str, Tensor]:
    """What each step adds to the gradient of each weight: as if each step had weights of its own.

    Back-propagation through time adds these up, since all steps share their weights.

    Args:
        layer: a recurrent layer; taken in evaluation mode, without dropout.
        inputs: sequences.
        loss: takes the hidden states after each step, (N, T, H), and gives a scalar.
        state: where to begin; zeros where not given.

    Shape:
        inputs (N, T, C); returns, by the name of the parameter, (T, ...): the gradient that comes from each step.

    Raises:
        ValueError: as the layer does for such inputs.

    Example:
        >>> layer = RNN(2, 3, generator=torch.Generator().manual_seed(0))
        >>> inputs = torch.rand(4, 5, 2, generator=torch.Generator().manual_seed(0))
        >>> apart = gradients_by_step(layer, inputs, lambda hiddens: hiddens[:, -1].sum())
        >>> layer(inputs)[0][:, -1].sum().backward()
        >>> apart["weight_hh_l0"].shape, torch.allclose(apart["weight_hh_l0"].sum(0), layer.weight_hh_l0.grad)
        (torch.Size([5, 3, 3]), True)

    Source: Paul Werbos, "Backpropagation through time: what it does and how to do it", 1990.
    """
    copies, hiddens = [], []
    with in_mode(layer, training=False), torch.enable_grad():
        for step in inputs.split(1, dim=1):
            own = {name: one.detach().clone().requires_grad_() for name, one in layer.named_parameters()}
            outputs, state = functional_call(layer, own, (step, state))
            copies.append(own)
            hiddens.append(outputs)
        flat = [one for own in copies for one in own.values()]
        gradients = iter(torch.autograd.grad(loss(torch.cat(hiddens, 1)), flat, materialize_grads=True))
    by_step = [{name: next(gradients) for name in own} for own in copies]
    return {name: torch.stack([one[name] for one in by_step]) for name in by_step[0]}


class Gates(NamedTuple):
    """What an `LSTM` does at each step of a sequence, (N, T, H) each: gates from 0, shut, to 1, open, and the cell."""

    input: Tensor
    forget: Tensor
    output: Tensor
    cell: Tensor


def gates_through_time(layer: LSTM, inputs: Tensor) -> Gates:
    """The gates of an LSTM and its cell at each step, to be looked at.

        cell[t] = forget[t] · cell[t-1] + input[t] · (what could be written)        h[t] = output[t] · tanh(cell[t])

    Args:
        layer: taken in evaluation mode, without dropout, from a state of zeros.
        inputs: sequences.

    Shape:
        inputs (N, T, C); returns (N, T, H) each.

    Raises:
        ValueError: as the layer does for such inputs.

    Example:
        A forget gate whose sum is 3 keeps 95 % of the cell:

        >>> layer = LSTM(2, 4, forget_bias=3.0, generator=torch.Generator().manual_seed(0))
        >>> gates = gates_through_time(layer, torch.zeros(1, 5, 2))
        >>> gates.forget.shape, f"{gates.forget[0, 0, 0]:.2f}"
        (torch.Size([1, 5, 4]), '0.95')

    Source: Felix Gers, Jürgen Schmidhuber and Fred Cummins, "Learning to forget", 2000.
    """
    found, state = [], None
    with in_mode(layer, training=False), torch.no_grad():
        for step in inputs.split(1, dim=1):
            _, after = layer(step, state)
            hidden = layer.weight_hh_l0.new_zeros(len(step), layer.hidden_size) if state is None else state[0][0]
            outer = torch.nn.functional.linear(step[:, 0], layer.weight_ih_l0, layer.bias_ih_l0)
            sums = outer + torch.nn.functional.linear(hidden, layer.weight_hh_l0, layer.bias_hh_l0)
            written, kept, _, shown = layer.gates_of(sums)
            found.append((written, kept, shown, after[1][0]))
            state = after
    return Gates(*(torch.stack(parts, 1) for parts in zip(*found, strict=True)))
