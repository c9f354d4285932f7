"""Recurrent layers: one set of weights for all steps of a sequence, and a state that is handed on from step to step."""

import math
from abc import abstractmethod
from typing import Any, Literal, TypeAlias

import torch
from torch import Generator, Tensor, nn

from dlnotes.arguments import check_counts, check_number, check_tensor
from dlnotes.deep.dropout import Dropout

__all__ = ["LSTM", "RNN", "State"]

State: TypeAlias = Tensor | tuple[Tensor, ...]
"""What is handed on: the hidden state (1, N, H) of an `RNN`; of an `LSTM` that and its cell, as a pair."""


class _Recurrent(nn.Module):
    """What `RNN` and `LSTM` share: weights for inputs and state, masks, and the walk along a sequence."""

    gates: int  # rows of weights, as multiples of the hidden size
    states: int  # tensors that are handed on

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        dropout: float,
        recurrent_dropout: float,
        variational: bool,
        generator: Generator,
        masks: Generator | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        check_counts(input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.variational = input_size, hidden_size, variational
        self.dropout = _dropout("dropout", dropout, masks)
        self.recurrent_dropout = _dropout("recurrent_dropout", recurrent_dropout, masks)
        options: dict[str, Any] = {"dtype": dtype, "device": torch.get_default_device()}
        rows = self.gates * hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, input_size, **options))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, hidden_size, **options))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows, **options))
        self.bias_hh_l0 = nn.Parameter(torch.empty(rows, **options))
        self.reset_parameters(generator)

    @property
    def masks(self) -> Generator | None:
        """The generator that masks are drawn from; None where there are none."""
        drops = (self.dropout, self.recurrent_dropout)
        return next((drop.generator for drop in drops if drop is not None), None)

    @torch.no_grad()
    def reset_parameters(self, generator: Generator) -> None:
        """Draw the weights anew, evenly from -1/√H to 1/√H as PyTorch does, and set the biases to 0."""
        half_width = 1 / math.sqrt(self.hidden_size)
        for weight in (self.weight_ih_l0, self.weight_hh_l0):
            drawn = torch.rand(weight.shape, generator=generator, dtype=weight.dtype, device=generator.device)
            weight.copy_(drawn.mul_(2).sub_(1).mul_(half_width))
        for bias in (self.bias_ih_l0, self.bias_hh_l0):
            bias.zero_()

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The hidden state after each step, (N, T, H), and the last state, to go on from."""
        check_tensor("inputs", inputs)
        if inputs.ndim != 3 or inputs.shape[2] != self.input_size or not inputs.shape[1]:
            raise ValueError(
                f"inputs must be [batch, time, {self.input_size}] with a step or more, not {list(inputs.shape)}"
            )
        return self.along(nn.functional.linear(self._dropped(inputs), self.weight_ih_l0), state)

    def along(self, weighed: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """What `forward` gives, for inputs that have been multiplied with the input weights already.

        Where inputs repeat, as the few letters of an alphabet do, their products are made once and looked up.

        Args:
            weighed: the products of inputs and input weights, ``inputs @ weight_ih_l0.T``, (N, T, gates · H).
            state: where to begin; zeros where not given.

        Raises:
            ValueError: a state of another batch size or number of units.
        """
        parts = self._parts(state, weighed)
        recurrent, biases = self.weight_hh_l0.t(), self.bias_ih_l0 + self.bias_hh_l0
        drop = self.recurrent_dropout if self.training else None
        mask = drop(torch.ones_like(parts[0])) if drop is not None and self.variational else None
        hiddens = []
        for one in (weighed + biases).unbind(1):
            hidden = parts[0]
            if drop is not None:
                hidden = drop(hidden) if mask is None else hidden * mask
            parts = self.step(torch.addmm(one, hidden, recurrent), *parts)
            hiddens.append(parts[0])
        last = tuple(part.unsqueeze(0) for part in parts)
        return self._dropped(torch.stack(hiddens, 1)), last if self.states > 1 else last[0]

    @abstractmethod
    def step(self, sums: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The next state, from the sums (N, gates · H) of weighed input, weighed hidden state and biases."""

    def _dropped(self, sequence: Tensor) -> Tensor:
        """A sequence (N, T, C) under dropout: a mask for each step, or one for all of them."""
        if self.dropout is None or not self.training:
            return sequence
        if self.variational:
            return sequence * self.dropout(torch.ones_like(sequence[:, :1]))
        masked: Tensor = self.dropout(sequence)
        return masked

    def _parts(self, state: State | None, weighed: Tensor) -> tuple[Tensor, ...]:
        """The tensors (N, H) of a state, or zeros."""
        batch = len(weighed)
        if state is None:
            # In the dtype of the weights, also under autocast: what is added up in a cell needs its digits.
            return (self.weight_hh_l0.new_zeros(batch, self.hidden_size),) * self.states
        parts = (state,) if isinstance(state, Tensor) else tuple(state)
        if len(parts) != self.states:
            expected = "a tensor, the hidden state" if self.states == 1 else "a pair, the hidden state and the cell"
            raise ValueError(f"the state must be {expected}, not {len(parts)} tensors")
        for part in parts:
            check_tensor("state", part)
            if part.shape != (1, batch, self.hidden_size):
                raise ValueError(
                    f"the state must be [1, {batch}, {self.hidden_size}], for {batch} sequences and "
                    f"{self.hidden_size} units, not {list(part.shape)}"
                )
        return tuple(part[0] for part in parts)

    def extra_repr(self) -> str:
        """The sizes, for ``print(layer)``."""
        return f"{self.input_size}, {self.hidden_size}{', variational' * self.variational}"


class RNN(_Recurrent):
    """The plain recurrent layer: the next state is one layer of the input and of the state before.

        h[t] = tanh(W x[t] + U h[t-1] + b)

    The same W, U and b serve at every step, so that it has as many parameters for any length. Weights have the names
    and shapes of ``torch.nn.RNN`` with one layer and ``batch_first``: a ``state_dict`` of one loads into the other.

    Args:
        input_size: numbers of an input.
        hidden_size: H, units of the state.
        nonlinearity: ``"tanh"``, ``"relu"``, or ``"linear"`` for none.
        dropout: the share of inputs and of outputs that is dropped while training. Neither is handed on to the next
            step (Zaremba et al., 2014).
        recurrent_dropout: the share of the state that is dropped on its way to the next step.
        variational: one mask for all steps of a call (Gal and Ghahramani, 2016), not a fresh one at each.
        generator: where the first weights are drawn from: evenly between ±1/√H, PyTorch's choice. For others, fill
            ``weight_hh_l0`` by ``torch.nn.init.orthogonal_`` or ``eye_``. Biases start at 0.
        masks: where the masks are drawn from, if there are any.
        dtype: of the parameters; PyTorch's default where not given.

    Shape:
        inputs (N, T, C), state (1, N, H); returns (N, T, H) and (1, N, H). weight_ih_l0 (H, C), weight_hh_l0 (H, H),
        bias_ih_l0 and bias_hh_l0 (H), of which only the sum b matters.

    Raises:
        ValueError: sizes below 1, an unknown nonlinearity, a probability outside 0 to 1, dropout without ``masks``;
            when called, inputs that are not [batch, time, C], or a state of another batch size.
        TypeError: probabilities that are no numbers; when called, inputs that are no tensor.

    Example:
        A unit that keeps half of what it had, and adds its input:

        >>> layer = RNN(1, 1, nonlinearity="linear", generator=torch.Generator())
        >>> _ = layer.weight_ih_l0.data.fill_(1.0), layer.weight_hh_l0.data.fill_(0.5)
        >>> outputs, state = layer(torch.tensor([[[8.0], [0.0], [0.0], [1.0]]]))
        >>> outputs.flatten().tolist(), state.item()
        ([8.0, 4.0, 2.0, 2.0], 2.0)

    Source: Jeffrey Elman, "Finding structure in time", 1990.
    """

    gates, states = 1, 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: Literal["tanh", "relu", "linear"] = "tanh",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        variational: bool = False,
        generator: Generator,
        masks: Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if nonlinearity not in _NONLINEARITIES:
            raise ValueError(f"nonlinearity must be one of {', '.join(_NONLINEARITIES)}, not {nonlinearity!r}")
        super().__init__(input_size, hidden_size, dropout, recurrent_dropout, variational, generator, masks, dtype)
        self.nonlinearity = nonlinearity

    def step(self, sums: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The next hidden state, from the sums (N, H)."""
        return (_NONLINEARITIES[self.nonlinearity](sums),)


_NONLINEARITIES: dict[str, Any] = {"tanh": torch.tanh, "relu": torch.relu, "linear": lambda sums: sums}


class LSTM(_Recurrent):
    """Long short-term memory: a cell that is added to, and gates that say what is kept, written and shown.

        i, f, o = σ(W x[t] + U h[t-1] + b)      input, forget and output gate, from 0 to 1, each with its own W, U, b
        g       = tanh(W x[t] + U h[t-1] + b)   what could be written
        c[t]    = f · c[t-1] + i · g            the cell
        h[t]    = o · tanh(c[t])                what is shown

    From cell to cell there is no matrix and no squashing: along this path a gradient is multiplied by f alone, and
    where the forget gate is open (f near 1) it neither vanishes nor explodes. Weights have the names, the shapes and
    the order of gates (i, f, g, o) of ``torch.nn.LSTM`` with one layer and ``batch_first``.

    Args:
        input_size: numbers of an input.
        hidden_size: H, units of the state and of the cell.
        forget_bias: the first bias of the forget gates; 1 keeps 73 % of the cell from step to step, 0 half.
        dropout, recurrent_dropout, variational, generator, masks, dtype: as for `RNN`.

    Shape:
        inputs (N, T, C), state a pair of (1, N, H), hidden state and cell; returns (N, T, H) and such a pair.
        weight_ih_l0 (4H, C), weight_hh_l0 (4H, H), bias_ih_l0 and bias_hh_l0 (4H), of which only the sum b matters.

    Raises:
        ValueError, TypeError: as `RNN`; a forget bias that is no finite number.

    Example:
        >>> layer = LSTM(3, 5, forget_bias=2.0, generator=torch.Generator().manual_seed(0))
        >>> outputs, (hidden, cell) = layer(torch.zeros(2, 7, 3))
        >>> outputs.shape, hidden.shape, cell.shape
        (torch.Size([2, 7, 5]), torch.Size([1, 2, 5]), torch.Size([1, 2, 5]))
        >>> theirs = nn.LSTM(3, 5, batch_first=True)
        >>> theirs.load_state_dict(layer.state_dict())
        <All keys matched successfully>

    Sources: Sepp Hochreiter and Jürgen Schmidhuber, "Long short-term memory", 1997; Felix Gers et al., "Learning to
    forget", 2000, for the forget gate; Rafal Jozefowicz et al., 2015, for its bias of 1.
    """

    gates, states = 4, 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        variational: bool = False,
        generator: Generator,
        masks: Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_number("forget_bias", forget_bias)
        if not math.isfinite(forget_bias):
            raise ValueError(f"forget_bias must be finite, not {forget_bias}")
        self.forget_bias = float(forget_bias)
        super().__init__(input_size, hidden_size, dropout, recurrent_dropout, variational, generator, masks, dtype)

    def reset_parameters(self, generator: Generator) -> None:
        """Draw the weights anew, and set the biases to 0, those of the forget gates to ``forget_bias``."""
        super().reset_parameters(generator)
        self.bias_ih_l0.data[self.hidden_size : 2 * self.hidden_size] = self.forget_bias

    def gates_of(self, sums: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Input gate, forget gate, what could be written and output gate, (N, H) each, from the sums (N, 4H)."""
        written, kept, candidate, shown = sums.chunk(4, -1)
        return written.sigmoid(), kept.sigmoid(), candidate.tanh(), shown.sigmoid()

    def step(self, sums: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The next hidden state and cell, from the sums (N, 4H)."""
        written, kept, candidate, shown = self.gates_of(sums)
        cell = kept * state[1] + written * candidate
        return shown * cell.tanh(), cell


def _dropout(name: str, p: float, masks: Generator | None) -> Dropout | None:
    check_number(name, p)
    if not 0 <= p <= 1:
        raise ValueError(f"{name} must be a probability from 0 to 1, not {p}")
    if not p:
        return None
    if masks is None:
        raise ValueError(f"{name}={p} draws masks: give the generator that they come from, as masks=")
    return Dropout(p, generator=masks)
