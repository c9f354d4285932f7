"""A network that says which character comes next, and its training on a text that is far longer than its memory."""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init

from dlnotes.arguments import check_counts, check_tensor
from dlnotes.linear.losses import cross_entropy
from dlnotes.linear.optimizers import SGD
from dlnotes.linear.schedules import cosine_decay
from dlnotes.text.decoding import StepFunction
from dlnotes.text.recurrent import LSTM, RNN, State
from dlnotes.text.runs import finish_run
from dlnotes.training import Trainer, in_mode

__all__ = ["CharacterModel", "Windows", "bits_per_character", "next_character_loss", "train_character_model"]


class CharacterModel(nn.Module):
    """Scores of the next character, from all characters before it: an embedding, a recurrent layer, a linear one.

        scores[t] = V h[t] + a        h[t] the state after characters 0 to t

    Each character has a row of the embedding, and so the products of input weights and embeddings can be made once for
    the alphabet and looked up: the same function, with half of the multiplications where state and embedding are
    equally wide.

    To train on windows of a long text in its order (truncated back-propagation through time), call `carry_state`: while
    training, each call then begins where the call before ended, without its gradient. The state that is carried is a
    buffer, and so part of every checkpoint.

    Args:
        symbols: characters of the alphabet.
        hidden_size: units of the recurrent layer.
        embedding_size: numbers of a character's embedding; as many as units where not given.
        cell: ``"lstm"`` or ``"rnn"``.
        generator: where the first weights are drawn from. Embeddings are standard normal, the other weights even from
            -1/√H to 1/√H.
        dtype: of the parameters; PyTorch's default where not given.
        settings: of the recurrent layer, such as ``forget_bias``, ``dropout`` with ``masks``, ``variational``.

    Shape:
        ids (N, T), int64; returns scores (N, T, symbols).

    Raises:
        ValueError: sizes below 1, an unknown cell, or settings that the layer refuses; when called, ids that are not
            [batch, time], or outside the alphabet; while state is carried, another batch size.
        TypeError: when called, ids that are not whole numbers.

    Example:
        >>> model = CharacterModel(27, 32, generator=torch.Generator().manual_seed(0))
        >>> model(torch.tensor([[3, 1, 4, 1, 5]])).shape
        torch.Size([1, 5, 27])

    Source: Andrej Karpathy, Justin Johnson and Li Fei-Fei, "Visualizing and understanding recurrent networks", 2015.
    """

    def __init__(
        self,
        symbols: int,
        hidden_size: int = 128,
        *,
        embedding_size: int | None = None,
        cell: Literal["lstm", "rnn"] = "lstm",
        generator: Generator,
        dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        width = hidden_size if embedding_size is None else embedding_size
        check_counts(symbols=symbols, hidden_size=hidden_size, embedding_size=width)
        if cell not in ("lstm", "rnn"):
            raise ValueError(f'cell must be "lstm" or "rnn", not {cell!r}')
        layer: Any = LSTM if cell == "lstm" else RNN
        self.symbols = symbols
        for name in CARRIED:  # named from the start, so that a trainer finds what it has to restore
            self.register_buffer(name, None)
        self.register_load_state_dict_pre_hook(_leave_carried)
        options: dict[str, Any] = {"dtype": dtype, "device": torch.get_default_device()}
        self.embedding = nn.Parameter(torch.empty(symbols, width, **options))
        self.recurrent: LSTM | RNN = layer(width, hidden_size, generator=generator, dtype=dtype, **settings)
        self.scores = skip_init(nn.Linear, hidden_size, symbols, **options)
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: Generator) -> None:
        """Draw the weights anew."""
        self.recurrent.reset_parameters(generator)
        embedding, weight = self.embedding, self.scores.weight
        embedding.copy_(torch.randn(embedding.shape, generator=generator, dtype=weight.dtype, device=generator.device))
        even = torch.rand(weight.shape, generator=generator, dtype=weight.dtype, device=generator.device)
        weight.copy_(even.mul_(2).sub_(1).div_(math.sqrt(self.recurrent.hidden_size)))
        self.scores.bias.zero_()

    def forward(self, ids: Tensor) -> Tensor:
        """The scores of the character after each, (N, T, symbols)."""
        carried = self._carried if self.training else ()
        if not carried:
            return self.read(ids)[0]
        # Copies, because what is carried is written over before the gradient has gone back.
        parts = tuple(part.clone() for part in carried)
        scores, state = self.read(ids, parts if len(parts) > 1 else parts[0])
        for kept, part in zip(carried, (state,) if isinstance(state, Tensor) else state, strict=True):
            kept.copy_(part.detach())
        return scores

    def read(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The scores (N, T, symbols), and the state to go on from. What is carried is neither read nor changed.

        Example:
            Reading a text in two pieces is reading it at once:

            >>> model = CharacterModel(5, 8, generator=torch.Generator().manual_seed(0))
            >>> ids = torch.tensor([[0, 3, 1, 4, 2, 2]])
            >>> first, state = model.read(ids[:, :2])
            >>> second, _ = model.read(ids[:, 2:], state)
            >>> torch.allclose(torch.cat([first, second], 1), model(ids), atol=1e-6)
            True
        """
        check_symbols("ids", ids, self.symbols)
        layer = self.recurrent
        if layer.dropout is not None and layer.training:  # each input has a mask of its own: nothing to look up
            outputs, state = layer(nn.functional.embedding(ids, self.embedding), state)
        else:
            table = nn.functional.linear(self.embedding, layer.weight_ih_l0)
            outputs, state = layer.along(nn.functional.embedding(ids, table), state)
        scores: Tensor = self.scores(outputs)
        return scores, state

    @torch.no_grad()
    def step_function(self) -> StepFunction:
        """What `dlnotes.text.decoding` writes with: one step of the model as it is now, without dropout.

        The weights are copied: where the model is trained further, ask for the function again.

        Raises:
            ValueError: when called, no state.

        Example:
            >>> from dlnotes.text import decoding
            >>> model = CharacterModel(5, 8, generator=torch.Generator().manual_seed(0))
            >>> prompt = torch.tensor([[0, 3, 1]])
            >>> found = decoding.greedy(model.step_function(), *model.begin(prompt), max_length=4)
            >>> found.ids.shape
            torch.Size([1, 1, 4])
        """
        layer = self.recurrent
        table = nn.functional.linear(self.embedding, layer.weight_ih_l0, layer.bias_ih_l0 + layer.bias_hh_l0)
        recurrent = layer.weight_hh_l0.t().clone()
        weight, bias = self.scores.weight.clone(), self.scores.bias.clone()

        def step(last: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
            if state is None:
                raise ValueError("there is no state to go on from: start from what begin gives")
            state = layer.step(torch.addmm(table[last], state[0], recurrent), *state)
            return nn.functional.linear(state[0], weight, bias).log_softmax(1), state

        return step

    @torch.no_grad()
    def begin(self, prompts: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Read prompts (N, T), and give what a decoder starts from: their last symbols (N,), and the state before them.

        Raises:
            ValueError, TypeError: as the model, when called.
        """
        check_symbols("prompts", prompts, self.symbols)
        layer = self.recurrent
        if prompts.shape[1] == 1:
            return prompts[:, 0], (layer.weight_hh_l0.new_zeros(len(prompts), layer.hidden_size),) * layer.states
        with in_mode(self, training=False):
            _, state = self.read(prompts[:, :-1])
        return prompts[:, -1], tuple(part[0] for part in ((state,) if isinstance(state, Tensor) else state))

    def carry_state(self, batch_size: int | None) -> None:
        """From now on carry the state of so many sequences from call to call, beginning with zeros; None: no longer.

        What is carried belongs to one process: a model that is wrapped in ``DistributedDataParallel`` needs
        ``broadcast_buffers=False``. A model that carries nothing loads the weights of one that does.

        Raises:
            ValueError: a batch size below 1.

        Example:
            >>> model = CharacterModel(5, 8, generator=torch.Generator().manual_seed(0))
            >>> ids = torch.tensor([[0, 3, 1, 4, 2, 2]])
            >>> whole = model(ids)
            >>> model.carry_state(1)
            >>> torch.allclose(torch.cat([model(ids[:, :2]), model(ids[:, 2:])], 1), whole, atol=1e-6)
            True
        """
        if batch_size is not None:
            check_counts(batch_size=batch_size)
        for name in CARRIED[: self.recurrent.states]:
            zeros = self.embedding.detach().new_zeros(1, batch_size or 0, self.recurrent.hidden_size)
            setattr(self, name, None if batch_size is None else zeros)

    @property
    def _carried(self) -> tuple[Tensor, ...]:
        return tuple(part for name in CARRIED if (part := getattr(self, name)) is not None)


CARRIED = ("carried_hidden", "carried_cell")


def _leave_carried(model: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before loading: leave out what another model carried where this one carries nothing."""
    for name in CARRIED:
        if getattr(model, name) is None:
            state_dict.pop(prefix + name, None)


def check_symbols(name: str, ids: Tensor, symbols: int) -> None:
    """Refuse what is not [batch, time], or not made of the numbers of so many symbols.

    Raises:
        ValueError, TypeError: with the name, what was expected and what came.
    """
    check_tensor(name, ids)
    if ids.ndim != 2 or not ids.numel():
        raise ValueError(f"{name} must be [batch, time], with one or more of each, not {list(ids.shape)}")
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name} must be int64, the places of characters in the alphabet, not {ids.dtype}")
    if ids.is_meta:
        return
    lowest, highest = torch.stack(ids.aminmax()).tolist()  # one wait for a GPU, not two
    if lowest < 0 or highest >= symbols:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"{name} must be from 0 to {symbols - 1}, the alphabet's, and there is a {wrong}")


class Windows:
    """An endless stream of windows of a text in its order, for `carry_state`: (ids, the ids after them).

    Each row of a batch reads on from where it was: row r begins at r/N of the text, goes on into the part where the
    next row began, and at the text's end from the start. Nothing is drawn: the state is one number.

    Args:
        ids: the text, (characters,).
        batch_size: rows, N.
        window: characters of a row that are read at once, and that a gradient goes back through.

    Shape:
        batches of ids (N, window) and targets (N, window), each the character after.

    Raises:
        ValueError: sizes below 1, or a text that is shorter than a window and one character for each row.
        TypeError: a text that is no tensor.

    Example:
        >>> windows = Windows(torch.arange(10), 2, 3)
        >>> for _ in range(2):
        ...     ids, targets = next(windows)
        ...     print(ids.tolist(), targets.tolist())
        [[0, 1, 2], [5, 6, 7]] [[1, 2, 3], [6, 7, 8]]
        [[3, 4, 5], [8, 9, 0]] [[4, 5, 6], [9, 0, 1]]
    """

    def __init__(self, ids: Tensor, batch_size: int, window: int) -> None:
        check_tensor("ids", ids)
        check_counts(batch_size=batch_size, window=window)
        if ids.ndim != 1 or len(ids) < batch_size * (window + 1):
            raise ValueError(
                f"the text must be [characters], {batch_size * (window + 1):,} or more for {batch_size} rows of "
                f"{window} and the one after, not {list(ids.shape)}"
            )
        self._ids, self._batch_size, self._window, self._position = ids, batch_size, window, 0
        begins = torch.arange(batch_size, device=ids.device)[:, None] * (len(ids) // batch_size)
        self._places = begins + torch.arange(window + 1, device=ids.device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        rows = self._ids[(self._places + self._position) % len(self._ids)]
        self._position = (self._position + self._window) % len(self._ids)
        return rows[:, :-1], rows[:, 1:]

    def state_dict(self) -> dict[str, int]:
        """The position, and the sizes that it was taken with."""
        sizes = {"characters": len(self._ids), "batch_size": self._batch_size, "window": self._window}
        return {"position": self._position, **sizes}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to where ``state`` was taken.

        Raises:
            ValueError: it was taken with another text length, batch size or window, or is no state of windows.
        """
        here = self.state_dict()
        differ = [name for name, size in here.items() if name != "position" and state.get(name) != size]
        if differ or "position" not in state:
            said = [f"{name} {state.get(name)} and not {here[name]}" for name in differ]
            raise ValueError(f"this state is of other windows: {', '.join(said) or 'it has no position'}")
        self._position = state["position"]


def next_character_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of the next characters, in nats: scores (N, T, K), targets (N, T).

    Targets of -100 are left out, as by PyTorch: they fill up what is shorter than its batch mates.

    Raises:
        ValueError: targets of another shape, outside 0 to K - 1, or all left out.

    Example:
        >>> next_character_loss(torch.zeros(2, 3, 10), torch.zeros(2, 3, dtype=torch.int64))
        tensor(2.3026)
    """
    if scores.ndim != 3 or targets.shape != scores.shape[:2]:
        raise ValueError(
            f"scores must be [batch, time, symbols] and targets [batch, time], not {list(scores.shape)} and "
            f"{list(targets.shape)}"
        )
    flat, wanted = scores.flatten(0, 1), targets.flatten()
    counted = wanted != LEFT_OUT
    if not counted.all():
        flat, wanted = flat[counted], wanted[counted]
        if not len(wanted):
            raise ValueError(f"there must be a target that counts, and all of them are {LEFT_OUT}")
    return cross_entropy(flat, wanted)


LEFT_OUT = -100  # what PyTorch's losses ignore, unless they are told another number


def train_character_model(
    model: CharacterModel,
    ids: Tensor,
    *,
    steps: int = 2_000,
    batch_size: int = 64,
    window: int = 64,
    lr: float = 1.0,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    max_norm: float = 1.0,
    checkpoint: str | os.PathLike[str] | None = None,
    save_every: int = 100,
) -> list[float]:
    """Train a character model by truncated back-propagation through time: SGD with momentum, clipped, rate to 0.

    The text is read in its order in `Windows`; the state is carried from window to window, the gradient is not. With a
    ``checkpoint``, the run is saved there now and then and at its end; where the file is there already, the same call
    goes on from it, to the bits of one that was never interrupted. It begins with no state, leaves the model without,
    and in the mode in which it was found.

    Args:
        model: trained in place.
        ids: the text, (characters,), int64.
        steps: windows to train on, counted from the first, also where a checkpoint is gone on from.
        batch_size: rows that read the text at places of their own.
        window: characters that a gradient goes back through.
        lr: the learning rate at the start; it falls along half a cosine wave.
        momentum: what is kept of the past steps, from 0 to below 1.
        weight_decay: the strength of the L2 penalty on all parameters.
        max_norm: the length to which a longer gradient is shortened.
        checkpoint: a file to save the run in and to go on from.
        save_every: steps from one save to the next.

    Returns:
        The loss of each step that this call made, in nats a character.

    Raises:
        ValueError: a text shorter than its windows, ids outside the alphabet, sizes below 1; a checkpoint of another
            run: another text, model or setting, which is named.
        CheckpointError: the file is damaged.
        DivergedError: the loss is no longer finite.

    Example:
        >>> ids = torch.tensor([0, 1, 2, 3] * 50)
        >>> model = CharacterModel(4, 16, generator=torch.Generator().manual_seed(0))
        >>> losses = train_character_model(model, ids, steps=60, batch_size=4, window=8)
        >>> losses[0] > 1.3, losses[-1] < 0.1
        (True, True)
    """
    check_counts(steps=steps, save_every=save_every)
    windows = Windows(ids, batch_size, window)
    check_symbols("ids", ids[None], model.symbols)
    settings = {
        "model": repr(model),
        "text": hashlib.sha256(ids.cpu().numpy().tobytes()).hexdigest(),
        "steps": steps,
        "batch_size": batch_size,
        "window": window,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "max_norm": max_norm,
    }
    optimizer = SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay, max_norm=max_norm)
    masks = model.recurrent.masks
    model.carry_state(batch_size)
    try:
        with in_mode(model, training=True):
            trainer = Trainer(
                model,
                next_character_loss,
                optimizer,
                windows,
                scheduler=cosine_decay(optimizer, steps),
                generators={} if masks is None else {"masks": masks},
            )
            return finish_run(trainer, steps, settings, checkpoint, save_every)
    finally:
        model.carry_state(None)


@torch.no_grad()
def bits_per_character(model: CharacterModel, ids: Tensor, *, window: int = 256) -> float:
    """How many bits a model needs for a character of a text, read from its start with the state carried on.

        bits = - 1/n Σ log₂ p(character | all before it)          perplexity = 2 ^ bits

    The first character is given. The model is read in evaluation mode, and given back in the mode it was found in.

    Args:
        model: any `CharacterModel`.
        ids: the text, (characters,), two or more.
        window: characters that are read at once; it bounds the memory and does not change the result.

    Raises:
        ValueError: a text of fewer than two characters, ids outside the alphabet, or a window below 1.

    Example:
        >>> model = CharacterModel(8, 16, generator=torch.Generator().manual_seed(0))
        >>> _ = model.scores.weight.data.zero_()
        >>> bits_per_character(model, torch.arange(8))
        3.0
    """
    check_tensor("ids", ids)
    check_counts(window=window)
    if ids.ndim != 1 or len(ids) < 2:
        raise ValueError(f"the text must be [characters], two or more, not {list(ids.shape)}")
    state, nats = None, 0.0
    with in_mode(model, training=False):
        for begin in range(0, len(ids) - 1, window):
            piece = ids[begin : begin + window + 1]
            scores, state = model.read(piece[None, :-1], state)
            nats += cross_entropy(scores[0].double(), piece[1:]).item() * (len(piece) - 1)
    return nats / (len(ids) - 1) / math.log(2)
