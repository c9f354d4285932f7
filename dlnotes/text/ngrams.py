"""The models before networks: how often a symbol came after the few symbols before it, counted."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dlnotes.arguments import check_counts
from dlnotes.text.decoding import State, StepFunction

__all__ = ["NGrams"]

MOST = 20_000_000  # probabilities of a table


class NGrams:
    """The next symbol from the ``order - 1`` symbols before it, with the probabilities that were counted.

        p(c | a b) = count(a b c) / count(a b)        order 3, a trigram model

    Nothing is smoothed: what never came has no probability. After symbols that never came together, those farthest back
    are left out until what came next is known (backing off). At order 1 nothing is looked back at.

    Args:
        sequences: symbols of each sequence, without end symbol.
        order: 1 or more: 1 unigrams, 2 bigrams, 3 trigrams.
        end: the symbol that ends each sequence, and that stands before its first one; also the number of the others.

    Raises:
        ValueError: no sequences, an order or end below 1, symbols outside 0 to ``end`` - 1, or more than 20 million
            probabilities.

    Example:
        >>> model = NGrams([[0, 1, 0, 1], [0, 0, 1]], 2, end=2)
        >>> model.probabilities                # rows: after 0, after 1, at the beginning; columns: 0, 1, end
        tensor([[0.2500, 0.7500, 0.0000],
                [0.3333, 0.0000, 0.6667],
                [1.0000, 0.0000, 0.0000]], dtype=torch.float64)

    Source: Claude Shannon, "A mathematical theory of communication", 1948, section 3.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], order: int, *, end: int) -> None:
        check_counts(order=order, end=end)
        if (end + 1) ** order > MOST:
            raise ValueError(
                f"{end + 1} symbols have {(end + 1) ** order:,} runs of {order}: expected {MOST:,} at most"
            )
        if not len(sequences):
            raise ValueError("there must be one sequence or more to count in")
        self.order, self.end = order, end
        symbols = [one for sequence in sequences for one in sequence]
        if symbols and (min(symbols) < 0 or max(symbols) >= end):
            raise ValueError(f"symbols must be from 0 to {end - 1}, and they go from {min(symbols)} to {max(symbols)}")
        padded = [torch.tensor([*[end] * (order - 1), *sequence, end], device="cpu") for sequence in sequences]
        self.probabilities = _probabilities(torch.cat([one.unfold(0, order, 1) for one in padded]), end + 1)

    def begin(self, count: int) -> tuple[Tensor, Tensor]:
        """What a decoder starts so many sequences from: the end symbol (N,), and the symbols before it."""
        check_counts(count=count)
        everything = (self.end + 1) ** (self.order - 1) - 1  # the end symbol order - 1 times
        return torch.full((count,), self.end, device="cpu"), torch.full((count,), everything, device="cpu")

    def step_function(self) -> StepFunction:
        """What `dlnotes.text.decoding` writes with. Its state is the number of the symbols before, (N,).

        Raises:
            ValueError: when called, no state, or a symbol above the end symbol.

        Example:
            >>> from dlnotes.text import decoding
            >>> model = NGrams([[0, 1, 0, 1], [0, 0, 1]], 2, end=2)
            >>> decoding.greedy(model.step_function(), *model.begin(1), max_length=9, end=2).written()
            [[[0, 1, 2]]]
        """
        logs, contexts = self.probabilities.log(), (self.end + 1) ** (self.order - 1)

        def step(last: Tensor, state: State) -> tuple[Tensor, State]:
            if state is None:
                raise ValueError("there is no state to go on from: start from what begin gives")
            if last.max() > self.end:
                raise ValueError(f"symbols must be from 0 to {self.end}, and there is a {last.max()}")
            state = (state * (self.end + 1) + last) % contexts
            return logs[state], state

        return step


def _probabilities(runs: Tensor, symbols: int) -> Tensor:
    """Of each symbol (column) after each run of symbols (row), from all runs with the symbol after them (M, order)."""
    order = runs.shape[1]
    digits = symbols ** torch.arange(order - 1, -1, -1, device="cpu")
    counts = torch.bincount((runs * digits).sum(1), minlength=symbols**order).view(-1, symbols).double()
    totals = counts.sum(1, keepdim=True)
    if order == 1:
        return counts / totals
    return torch.where(totals > 0, counts / totals, _probabilities(runs[:, 1:], symbols).repeat(symbols, 1))
