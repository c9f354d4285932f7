"""The character model beside the same of PyTorch's modules, and beside an LSTM written one gate after another."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.clock import interleaved, shares
from benchmarks.table import Row
from benchmarks.training import Run
from dlnotes.randomness import stream
from dlnotes.text import CharacterModel, next_character_loss

__all__ = ["rows"]

SYMBOLS, BATCH, WINDOW = 65, 64, 64  # the alphabet of Shakespeare's plays


def rows() -> Iterator[Row]:
    """The comparisons."""
    for units, goal, calls in ((128, 0.95, 3), (512, 1.3, 1)):
        ours = step(ours_of(units))
        what = f"a step of the character model, LSTM of {units} units: ours and torch.nn.LSTM"
        theirs = step(OfModules(nn.LSTM(units, units, batch_first=True), units))
        yield Row(what, interleaved(ours, theirs, calls=calls), goal, shares(ours, calls=calls))
    gates = step(OfModules(GateByGate(128), 128))
    what = "a step of the character model, LSTM of 128 units: ours and a loop over steps and gates"
    yield Row(what, interleaved(step(ours_of(128)), gates, calls=3), 4.0)
    what = "a step of the character model, plain layer of 128 units: ours and torch.nn.RNN"
    plain = step(OfModules(nn.RNN(128, 128, batch_first=True), 128))
    yield Row(what, interleaved(step(ours_of(128, cell="rnn")), plain, calls=3))


def ours_of(units: int, *, cell: Literal["lstm", "rnn"] = "lstm") -> CharacterModel:
    """Our model, whose embeddings are as wide as its state."""
    return CharacterModel(SYMBOLS, units, cell=cell, generator=stream(0, "weights"))


class OfModules(nn.Module):
    """The same of PyTorch's modules, as one writes it, around any recurrent layer."""

    def __init__(self, layer: nn.Module, units: int) -> None:
        super().__init__()
        self.embedding, self.layer, self.scores = nn.Embedding(SYMBOLS, units), layer, nn.Linear(units, SYMBOLS)

    def forward(self, ids: Tensor) -> Tensor:
        scores: Tensor = self.scores(self.layer(self.embedding(ids))[0])
        return scores


class GateByGate(nn.Module):
    """An LSTM as its formula reads: two matrices for each gate, one after another, at each step."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.of_input = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(4))
        self.of_state = nn.ModuleList(nn.Linear(hidden_size, hidden_size, bias=False) for _ in range(4))

    def forward(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden = cell = inputs.new_zeros(len(inputs), self.hidden_size)
        hiddens = []
        for now in inputs.unbind(1):
            sums = [one(now) + other(hidden) for one, other in zip(self.of_input, self.of_state, strict=True)]
            written, kept, shown = (sums[gate].sigmoid() for gate in (0, 1, 3))
            cell = kept * cell + written * sums[2].tanh()
            hidden = shown * cell.tanh()
            hiddens.append(hidden)
        return torch.stack(hiddens, 1), (hidden, cell)


def step(model: nn.Module) -> Run:
    """One step of training by PyTorch's Adam on a batch that stays the same."""
    ids = torch.randint(SYMBOLS, (BATCH, WINDOW + 1), generator=stream(0, "ids"))
    update = torch.optim.Adam(model.parameters(), lr=1e-4)

    def run() -> float:
        update.zero_grad()
        loss = next_character_loss(model(ids[:, :-1]), ids[:, 1:])
        loss.backward()
        update.step()
        return loss.item()

    return run
