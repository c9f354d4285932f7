"""From one sequence to another, of another length: a net that reads, and a net that writes what it makes of it."""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init

from dlnotes.arguments import check_counts
from dlnotes.linear.optimizers import SGD
from dlnotes.linear.schedules import cosine_decay
from dlnotes.randomness import stream
from dlnotes.text.characters import LEFT_OUT, CharacterModel, check_symbols, next_character_loss
from dlnotes.text.decoding import StepFunction
from dlnotes.text.recurrent import LSTM
from dlnotes.text.runs import finish_run
from dlnotes.training import Trainer, in_mode

__all__ = ["EncoderDecoder", "PairBatches", "train_encoder_decoder"]


class EncoderDecoder(nn.Module):
    """One LSTM reads the source, another writes the target, and all that it is told is the state at the source's end.

        hidden, cell = the encoder's, after the last symbol of the source
        the decoder starts from tanh(A hidden + a) and tanh(B cell + b)
        scores[t]    = of target t, from the targets 0 to t - 1 and that start

    The decoder is a `CharacterModel` of the target's symbols and of one more, which begins and ends every target.

    Args:
        source_symbols: symbols that a source is made of.
        target_symbols: symbols that a target is made of; the end symbol is the number after the last.
        hidden_size: H, units of either LSTM.
        embedding_size: numbers of a symbol's embedding, on either side.
        generator: where the first weights are drawn from. Embeddings are standard normal, other weights even from
            -1/√H to 1/√H.
        dtype: of the parameters; PyTorch's default where not given.

    Shape:
        sources (N, S) and the targets before each (N, T), which begin with the end symbol, int64; returns scores
        (N, T, target_symbols + 1).

    Raises:
        ValueError: sizes below 1; when called, sources or targets that are not [batch, time], or outside the symbols.
        TypeError: when called, symbols that are no whole numbers.

    Example:
        >>> from dlnotes.text import decoding
        >>> model = EncoderDecoder(26, 39, 32, generator=torch.Generator().manual_seed(0))
        >>> model(torch.tensor([[2, 0, 19]]), torch.tensor([[39, 17, 3, 28]])).shape
        torch.Size([1, 4, 40])
        >>> step, words = model.step_function(), model.begin([[2, 0, 19], [3, 14]])
        >>> found = decoding.beam_search(step, *words, beams=4, end=model.end, max_length=5)
        >>> found.ids.shape
        torch.Size([2, 4, 5])

    Sources: Ilya Sutskever, Oriol Vinyals and Quoc Le, "Sequence to sequence learning with neural networks", 2014;
    Kyunghyun Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine
    translation", 2014, for the layer with tanh between the two.
    """

    def __init__(
        self,
        source_symbols: int,
        target_symbols: int,
        hidden_size: int = 128,
        *,
        embedding_size: int = 64,
        generator: Generator,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(source_symbols=source_symbols, target_symbols=target_symbols, embedding_size=embedding_size)
        self.source_symbols, self.end = source_symbols, target_symbols
        options: dict[str, Any] = {"dtype": dtype, "device": torch.get_default_device()}
        self.embedding = nn.Parameter(torch.empty(source_symbols, embedding_size, **options))
        self.encoder = LSTM(embedding_size, hidden_size, generator=generator, dtype=dtype)
        self.hidden = skip_init(nn.Linear, hidden_size, hidden_size, **options)
        self.cell = skip_init(nn.Linear, hidden_size, hidden_size, **options)
        self.decoder = CharacterModel(
            target_symbols + 1, hidden_size, embedding_size=embedding_size, generator=generator, dtype=dtype
        )
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: Generator) -> None:
        """Draw the weights anew."""
        weight = self.embedding
        weight.copy_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype, device=generator.device))
        self.encoder.reset_parameters(generator)
        for layer in (self.hidden, self.cell):
            even = torch.rand(layer.weight.shape, generator=generator, dtype=weight.dtype, device=generator.device)
            layer.weight.copy_(even.mul_(2).sub_(1).div_(math.sqrt(self.encoder.hidden_size)))
            layer.bias.zero_()
        self.decoder.reset_parameters(generator)

    def extra_repr(self) -> str:
        """The two alphabets, for ``print(model)``, and so that a checkpoint knows its model."""
        return f"{self.source_symbols}, {self.end}"

    def forward(self, sources: Tensor, before: Tensor) -> Tensor:
        """The scores of each target, (N, T, target_symbols + 1), from the source and from the targets before it."""
        return self.decoder.read(before, self.encode(sources))[0]

    def encode(self, sources: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder starts from, a pair of (1, N, H), for sources of one length (N, S)."""
        check_symbols("sources", sources, self.source_symbols)
        table = nn.functional.linear(self.embedding, self.encoder.weight_ih_l0)
        _, (hidden, cell) = self.encoder.along(nn.functional.embedding(sources, table))
        return self.hidden(hidden).tanh(), self.cell(cell).tanh()

    @torch.no_grad()
    def begin(self, sources: Sequence[Sequence[int]]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Read sources of any lengths, and give what a decoder starts from: the end symbol (N,), and the state.

        Raises:
            ValueError: no source, an empty one, or symbols that there are not.
        """
        if not len(sources) or not all(len(source) for source in sources):
            raise ValueError("sources must be one or more, each of one symbol or more")
        device = self.embedding.device
        lengths = torch.tensor([len(source) for source in sources], device="cpu")
        states = tuple(self.embedding.new_empty(len(sources), self.encoder.hidden_size) for _ in range(2))
        with in_mode(self, training=False):
            for length in lengths.unique().tolist():  # those of one length together
                rows = (lengths == length).nonzero()[:, 0]
                symbols = torch.tensor([list(sources[row]) for row in rows.tolist()], device=device)
                for state, part in zip(states, self.encode(symbols), strict=True):
                    state[rows.to(device)] = part[0]
        return torch.full((len(sources),), self.end, device=device), states

    def step_function(self) -> StepFunction:
        """What `dlnotes.text.decoding` writes with: one step of the decoder as it is now, in copies of its weights."""
        return self.decoder.step_function()


class PairBatches:
    """An endless stream of batches of pairs whose sources are of one length: (sources, targets before, targets).

    So nothing has to be filled up on the side that is read. Targets are filled up with -100, which the loss leaves out.
    The order of the pairs, and that of the batches, is drawn anew for each pass; each pass gives every pair once.

    Args:
        sources: symbols of each source.
        targets: symbols of each target, without end symbol.
        batch_size: pairs of a batch at most. The last batch of each length is smaller.
        end: the symbol that begins and ends each target.
        generator: where the seed of the order is drawn from, once.
        device: where batches are wanted.

    Shape:
        batches of sources (N, S), targets before (N, T) and targets (N, T), int64.

    Raises:
        ValueError: no pairs, not as many sources as targets, an empty one, or a batch size below 1.

    Example:
        >>> order = torch.Generator().manual_seed(0)
        >>> batches = PairBatches([[1, 2], [3, 4]], [[5], [6, 7]], 2, end=9, generator=order)
        >>> for part in next(batches):
        ...     print(part.tolist())
        [[1, 2], [3, 4]]
        [[9, 5, 9], [9, 6, 7]]
        [[5, 9, -100], [6, 7, 9]]
    """

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        batch_size: int,
        *,
        end: int,
        generator: Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        check_counts(batch_size=batch_size)
        if not len(sources) or len(sources) != len(targets):
            raise ValueError(f"there must be as many sources as targets, not {len(sources)} and {len(targets)}")
        if not all(len(source) for source in sources) or not all(len(target) for target in targets):
            raise ValueError("sources and targets must have one symbol or more each")
        self._lengths = torch.tensor([len(source) for source in sources], device="cpu")
        self._target_lengths = torch.tensor([len(target) + 1 for target in targets], device="cpu")
        self._sources = _filled(sources, self._lengths, 0).to(device)
        self._before = _filled([[end, *target] for target in targets], self._target_lengths, end).to(device)
        self._targets = _filled([[*target, end] for target in targets], self._target_lengths, LEFT_OUT).to(device)
        self._batch_size = batch_size
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        self._go_to(seed, number=0, position=0)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor, Tensor]:
        if self._position >= len(self._rows):
            self._go_to(self._seed, self._pass + 1, 0)
        rows = self._rows[self._position]
        source, target = int(self._lengths[rows[0]]), int(self._target_lengths[rows].max())
        batch = self._sources[rows, :source], self._before[rows, :target], self._targets[rows, :target]
        self._position += 1
        return batch

    def _go_to(self, seed: int, number: int, position: int) -> None:
        generator = stream(seed, f"pass {number}")
        order = torch.randperm(len(self._lengths), generator=generator, device="cpu")
        order = order[self._lengths[order].sort(stable=True).indices]
        _, counts = self._lengths.unique(return_counts=True)
        batches = [rows for group in order.split(counts.tolist()) for rows in group.split(self._batch_size)]
        shuffled = torch.randperm(len(batches), generator=generator, device="cpu").tolist()
        self._rows = [batches[place] for place in shuffled]
        self._seed, self._pass, self._position = seed, number, position

    def state_dict(self) -> dict[str, int]:
        """The seed, the pass and the position in it, and the two sizes."""
        sizes = {"pairs": len(self._lengths), "batch_size": self._batch_size}
        return {"seed": self._seed, "pass": self._pass, "position": self._position, **sizes}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to where ``state`` was taken.

        Raises:
            ValueError: it was taken with another number of pairs or batch size, or is no state of such batches.
        """
        here = self.state_dict()
        differ = [name for name in ("pairs", "batch_size") if state.get(name) != here[name]]
        if differ or not here.keys() <= state.keys():
            said = [f"{name} {state.get(name)} and not {here[name]}" for name in differ]
            raise ValueError(f"this state is of other batches: {', '.join(said) or 'it has no position'}")
        self._go_to(state["seed"], state["pass"], state["position"])


def _filled(sequences: Sequence[Sequence[int]], lengths: Tensor, value: int) -> Tensor:
    """Sequences of these lengths as the rows of a tensor, filled up at their ends."""
    rows = torch.full((len(sequences), int(lengths.max())), value, device="cpu")
    rows[torch.arange(rows.shape[1], device="cpu") < lengths[:, None]] = _flat(sequences)
    return rows


def _flat(sequences: Sequence[Sequence[int]]) -> Tensor:
    """The symbols of all sequences, one after another."""
    return torch.tensor([symbol for sequence in sequences for symbol in sequence], device="cpu")


def train_encoder_decoder(
    model: EncoderDecoder,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    *,
    generator: Generator,
    steps: int = 2_000,
    batch_size: int = 64,
    lr: float = 1.0,
    momentum: float = 0.9,
    max_norm: float = 1.0,
    checkpoint: str | os.PathLike[str] | None = None,
    save_every: int = 100,
) -> list[float]:
    """Train an encoder-decoder to give each target when it is shown the targets before: SGD with momentum, clipped.

    The learning rate falls to 0 along half a cosine wave. With a ``checkpoint``, the run is saved there now and then
    and at its end; where the file is there already, the same call goes on from it, to the bits of one that was never
    interrupted.

    Args:
        model: trained in place, and left in the mode in which it was found.
        sources: symbols of each source.
        targets: symbols of each target, without end symbol.
        generator: where the order of the batches is drawn from.
        steps: batches to train on, counted from the first, also where a checkpoint is gone on from.
        batch_size: pairs of a batch at most; their sources are of one length.
        lr: the learning rate at the start.
        momentum: what is kept of the past steps, from 0 to below 1.
        max_norm: the length to which a longer gradient is shortened.
        checkpoint: a file to save the run in and to go on from.
        save_every: steps from one save to the next.

    Returns:
        The loss of each step that this call made, in nats a symbol, end symbols counted.

    Raises:
        ValueError: sources and targets that `PairBatches` refuses, symbols that the model does not have, counts below
            1; a checkpoint of another run, with what differs.
        CheckpointError: the file is damaged.
        DivergedError: the loss is no longer finite.

    Example:
        Learn to write a word backwards:

        >>> words = [[a, b, c] for a in range(4) for b in range(4) for c in range(4)]
        >>> backwards = [word[::-1] for word in words]
        >>> model = EncoderDecoder(4, 4, 32, embedding_size=8, generator=torch.Generator().manual_seed(0))
        >>> order = torch.Generator().manual_seed(1)
        >>> losses = train_encoder_decoder(model, words, backwards, generator=order, steps=150, lr=0.5)
        >>> losses[0] > 1.5, losses[-1] < 0.05
        (True, True)
    """
    check_counts(steps=steps, save_every=save_every)
    batches = PairBatches(
        sources, targets, batch_size, end=model.end, generator=generator, device=model.embedding.device
    )
    for name, symbols, sequences in (("sources", model.source_symbols, sources), ("targets", model.end, targets)):
        check_symbols(name, _flat(sequences)[None], symbols)
    settings = {
        "model": repr(model),
        "pairs": hashlib.sha256(repr([*map(list, sources), *map(list, targets)]).encode()).hexdigest(),
        "steps": steps,
        "batch_size": batch_size,
        "lr": lr,
        "momentum": momentum,
        "max_norm": max_norm,
    }
    optimizer = SGD(model.parameters(), lr=lr, momentum=momentum, max_norm=max_norm)
    with in_mode(model, training=True):
        trainer = Trainer(model, next_character_loss, optimizer, batches, scheduler=cosine_decay(optimizer, steps))
        return finish_run(trainer, steps, settings, checkpoint, save_every)
