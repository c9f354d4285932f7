"""Decoding: from a model that says how probable each next symbol is to a sequence of symbols.

A model is known here by its step function alone. It takes the last symbol of each sequence and what the model
remembers of the symbols before, and returns the log-probabilities of the next ones and what is remembered now::

    log_probs, state = step(last, state)        # last (N,), int64; log_probs (N, V)

The state is a tensor, a tuple of such states, or None. Each of its tensors has a row for each sequence: the hidden
state of a recurrent net (N, H), or all symbols so far (N, T) for a model that reads them anew.
`CharacterModel`, `EncoderDecoder` and `NGrams` have a method that gives theirs.

Every function gives `Sequences`: K of them for each of N prompts. Probabilities are multiplied along a sequence, that
is, their logarithms are added: in single precision, a product of 100 probabilities of a third is 0.

>>> import torch
>>> from dlnotes.text import decoding
>>> chances = torch.tensor([[0.1, 0.6, 0.3], [0.4, 0.3, 0.3], [0.0, 0.1, 0.9]])   # a row for each last symbol
>>> step = decoding.markov_step(chances)
>>> start = torch.tensor([0])
>>> decoding.greedy(step, start, max_length=3).ids.tolist()
[[[1, 0, 1]]]
>>> found = decoding.beam_search(step, start, beams=2, max_length=3)
>>> found.ids[0, 0].tolist(), round(found.log_probs[0, 0].exp().item(), 3)
([2, 2, 2], 0.243)

Greedy search takes 1, the likelier first symbol, and its sequence has 0.6 · 0.4 · 0.6 = 0.144. Beam search keeps 2 as
well, which pays from the second step on.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Generator, Tensor

from dlnotes.arguments import check_counts, check_number, check_tensor

__all__ = [
    "Beam",
    "Sequences",
    "State",
    "StepFunction",
    "beam_search",
    "beam_steps",
    "best_of",
    "exhaustive",
    "greedy",
    "markov_step",
    "sample",
]

State: TypeAlias = Any
"""What a model remembers: a tensor with a row for each sequence, a tuple of such states, or None."""

StepFunction: TypeAlias = Callable[[Tensor, State], tuple[Tensor, State]]
"""From the last symbols (N,) and the state: log-probabilities of the next symbols (N, V), and the next state."""

MOST = 2**20  # sequences that an exhaustive search compares


class Sequences(NamedTuple):
    """K sequences for each of N prompts.

    Shape:
        ids (N, K, T), int64, without the prompt; after the end symbol comes nothing but end symbols. lengths (N, K),
        int64, the end symbol counted. log_probs (N, K): log P(sequence | prompt) by the model, in nats; float64, but
        float32 on Apple's GPUs, which have no float64.

    Example:
        >>> ids, lengths = torch.tensor([[[4, 9, 9], [5, 6, 9]]]), torch.tensor([[2, 3]])
        >>> two = Sequences(ids, lengths, torch.tensor([[-1.0, -1.2]]))
        >>> two.written()
        [[[4, 9], [5, 6, 9]]]
        >>> two.best_first(length_penalty=1.0).written()      # -1.2 / 3 is more than -1.0 / 2
        [[[5, 6, 9], [4, 9]]]
    """

    ids: Tensor
    lengths: Tensor
    log_probs: Tensor

    def written(self) -> list[list[list[int]]]:
        """The symbols of each sequence of each prompt, up to its end symbol."""
        return [
            [row[:length] for row, length in zip(rows, lengths, strict=True)]
            for rows, lengths in zip(self.ids.tolist(), self.lengths.tolist(), strict=True)
        ]

    def best_first(self, length_penalty: float = 0.0) -> "Sequences":
        """The same, those of the highest score first: log P / length ** length_penalty.

        Raises:
            ValueError: a penalty that is not finite.
        """
        _check_penalty(length_penalty)
        order = _scores(self.log_probs, self.lengths, length_penalty).sort(dim=1, descending=True, stable=True).indices
        ids = self.ids.gather(1, order[:, :, None].expand(self.ids.shape))
        return Sequences(ids, self.lengths.gather(1, order), self.log_probs.gather(1, order))


def greedy(
    step: StepFunction, start: Tensor, state: State = None, *, max_length: int, end: int | None = None
) -> Sequences:
    """The likeliest symbol at each step: one sequence for each prompt.

    Args:
        step: the model's step function.
        start: the last symbol of each prompt, (N,), int64.
        state: what the model remembers of the symbols before.
        max_length: symbols at most.
        end: the symbol that ends a sequence; None where nothing does.

    Raises:
        ValueError: no prompt, a length below 1, an end symbol outside the vocabulary, or a step function that does not
            give log-probabilities: rows of numbers whose exponentials add up to 1.
        TypeError: a start that is no tensor of whole numbers.

    Example:
        >>> step = markov_step(torch.tensor([[0.2, 0.8], [0.3, 0.7]]))
        >>> found = greedy(step, torch.tensor([0, 1]), max_length=4)
        >>> found.ids[:, 0].tolist(), found.log_probs.exp().flatten()
        ([[1, 1, 1, 1], [1, 1, 1, 1]], tensor([0.2744, 0.2401], dtype=torch.float64))
    """
    return _one_by_one(step, start, state, max_length, end, lambda log_probs: log_probs.argmax(1))


def sample(
    step: StepFunction,
    start: Tensor,
    state: State = None,
    *,
    max_length: int,
    end: int | None = None,
    samples: int = 1,
    temperature: float = 1.0,
    generator: Generator,
) -> Sequences:
    """Each symbol drawn with the probability that the model gives it, and fed back: K sequences in the order drawn.

        P(symbol) ∝ p(symbol) ** (1 / temperature)

    At temperature 1 a sequence comes as often as the model says it is probable (ancestral sampling). A lower one comes
    nearer to greedy search, a higher one to drawing blindly. ``log_probs`` are the model's own, at temperature 1.

    Args:
        step: the model's step function.
        start: the last symbol of each prompt, (N,), int64.
        state: what the model remembers of the symbols before.
        max_length: symbols at most.
        end: the symbol that ends a sequence; None where nothing does.
        samples: K, sequences for each prompt.
        temperature: above 0.
        generator: where symbols are drawn from, on the device of ``start``.

    Raises:
        ValueError, TypeError: as `greedy`; fewer samples than 1, a temperature that is not finite and above 0.

    Example:
        >>> step = markov_step(torch.tensor([[0.2, 0.8], [0.3, 0.7]]))
        >>> draws = torch.Generator().manual_seed(0)
        >>> found = sample(step, torch.tensor([0]), max_length=1, samples=10_000, generator=draws)
        >>> round(found.ids.double().mean().item(), 2)
        0.8

    Source: Alex Graves, "Generating sequences with recurrent neural networks", 2013.
    """
    check_counts(samples=samples)
    check_number("temperature", temperature)
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be finite and above 0, not {temperature}")

    def draw(log_probs: Tensor) -> Tensor:
        # The highest is brought to 0 first: divided by a small temperature, all would be -inf.
        wide = log_probs.to(_wide(start))
        sharpened = (wide - wide.amax(1, keepdim=True)) / temperature
        return torch.multinomial(sharpened.exp(), 1, generator=generator)[:, 0]

    _check_start(start)
    rows = torch.arange(len(start), device=start.device).repeat_interleave(samples)
    found = _one_by_one(step, start[rows], _select(state, rows), max_length, end, draw)
    return Sequences(*(part.reshape(len(start), samples, *part.shape[2:]) for part in found))


def best_of(
    step: StepFunction,
    start: Tensor,
    state: State = None,
    *,
    max_length: int,
    end: int | None = None,
    samples: int,
    temperature: float = 1.0,
    length_penalty: float = 0.0,
    generator: Generator,
) -> Sequences:
    """Sample several sequences, and put those first that are most probable as a whole.

    Where sequences end by themselves, the most probable one tends to be short: each further symbol costs probability.
    A ``length_penalty`` of 1 compares the mean log-probability of a symbol instead.

    Args:
        step: the model's step function.
        start: the last symbol of each prompt, (N,), int64.
        state: what the model remembers of the symbols before.
        max_length: symbols at most.
        end: the symbol that ends a sequence; None where nothing does.
        samples: K, sequences for each prompt.
        temperature: above 0, of the draws.
        length_penalty: the power of the length that log P is divided by: 0 for none.
        generator: where symbols are drawn from, on the device of ``start``.

    Raises:
        ValueError, TypeError: as `sample`; a penalty that is not finite.

    Example:
        >>> step = markov_step(torch.tensor([[0.2, 0.8], [0.3, 0.7]]))
        >>> draws = torch.Generator().manual_seed(0)
        >>> best_of(step, torch.tensor([0]), max_length=3, samples=20, generator=draws).ids[0, 0].tolist()
        [1, 1, 1]

    Source: Kenton Murray and David Chiang, "Correcting length bias in neural machine translation", 2018.
    """
    _check_penalty(length_penalty)
    found = sample(
        step,
        start,
        state,
        max_length=max_length,
        end=end,
        samples=samples,
        temperature=temperature,
        generator=generator,
    )
    return found.best_first(length_penalty)


class Beam(NamedTuple):
    """What beam search keeps at one step, the best first.

    Shape:
        tokens (N, K), int64, the symbol that was added. parents (N, K), int64, the place in the step before of what it
        was added to. log_probs (N, K), float64, of the whole sequence. lengths (N, K), int64. ended (N, K), bool:
        what is not continued.
    """

    tokens: Tensor
    parents: Tensor
    log_probs: Tensor
    lengths: Tensor
    ended: Tensor


@torch.no_grad()
def beam_search(
    step: StepFunction,
    start: Tensor,
    state: State = None,
    *,
    beams: int,
    max_length: int,
    end: int | None = None,
    length_penalty: float = 0.0,
) -> Sequences:
    """Follow several candidates at once, and keep the few with the highest score at each step.

        score(sequence) = (Σ log p(symbol | symbols before)) / length ** length_penalty

    Each candidate is continued by every symbol, and of all these the ``beams`` best are kept. A candidate that has
    ended is no longer continued: it keeps its score, and its place while that is among the best. One beam is greedy
    search; as many as there are sequences are an exhaustive search. Between the two there is no promise: a wider beam
    may end with a less probable sequence, since the winner's beginning can be pushed out by beginnings that turn out
    worse. Which of equally good candidates are kept is not defined, as with ``torch.topk``.

    Args:
        step: the model's step function.
        start: the last symbol of each prompt, (N,), int64.
        state: what the model remembers of the symbols before.
        beams: K, candidates that are kept.
        max_length: symbols at most.
        end: the symbol that ends a sequence; None where nothing does.
        length_penalty: above 0 favours longer sequences; 1 is the mean log-probability of a symbol.

    Returns:
        K sequences for each prompt, the best first; fewer where the vocabulary to the power of the length is less.
        Those with a log-probability of -inf fill up the others, and mean nothing.

    Raises:
        ValueError, TypeError: as `greedy`; fewer beams than 1, a penalty that is not finite. That exponentials add up
            to 1 is checked at the first step alone, which is fast, and at later ones that there is no nan.

    Example:
        After 0, symbol 1 is likelier, and after 2 it is clearer how to go on:

        >>> step = markov_step(torch.tensor([[0.0, 0.6, 0.4], [0.4, 0.3, 0.3], [0.0, 0.1, 0.9]]))
        >>> for beams in (1, 2):
        ...     found = beam_search(step, torch.tensor([0]), beams=beams, max_length=2)
        ...     print(found.ids[0, 0].tolist(), round(found.log_probs[0, 0].exp().item(), 2))
        [1, 0] 0.24
        [2, 2] 0.36

    Sources: Bruce Lowerre, "The HARPY speech recognition system", 1976; Ilya Sutskever, Oriol Vinyals and Quoc Le,
    "Sequence to sequence learning with neural networks", 2014.
    """
    _check_search(start, beams, max_length, length_penalty)
    kept = list(_beam_steps(step, start, state, beams, max_length, end, length_penalty))
    last = kept[-1]
    places = torch.arange(last.tokens.shape[1], device=start.device).expand(last.tokens.shape)
    backwards = []
    for beam in reversed(kept):  # from each last symbol to the first
        backwards.append(beam.tokens.gather(1, places))
        places = beam.parents.gather(1, places)
    return Sequences(torch.stack(backwards[::-1], 2), last.lengths, last.log_probs)


def beam_steps(
    step: StepFunction,
    start: Tensor,
    state: State = None,
    *,
    beams: int,
    max_length: int,
    end: int | None = None,
    length_penalty: float = 0.0,
) -> Iterator[Beam]:
    """Beam search step by step, to look at what is kept and what it was made of; it stops when all have ended.

    Args:
        step: the model's step function.
        start: the last symbol of each prompt, (N,), int64.
        state: what the model remembers of the symbols before.
        beams: K, candidates that are kept.
        max_length: symbols at most.
        end: the symbol that ends a sequence; None where nothing does.
        length_penalty: as for `beam_search`.

    Raises:
        ValueError, TypeError: as `beam_search`.

    Example:
        >>> step = markov_step(torch.tensor([[0.0, 0.6, 0.4], [0.4, 0.3, 0.3], [0.0, 0.1, 0.9]]))
        >>> for beam in beam_steps(step, torch.tensor([0]), beams=2, max_length=2):
        ...     print(beam.tokens[0].tolist(), beam.parents[0].tolist(), beam.log_probs[0].exp())
        [1, 2] [0, 0] tensor([0.6000, 0.4000], dtype=torch.float64)
        [2, 0] [1, 0] tensor([0.3600, 0.2400], dtype=torch.float64)
    """
    _check_search(start, beams, max_length, length_penalty)
    return torch.no_grad()(_beam_steps)(step, start, state, beams, max_length, end, length_penalty)


def _beam_steps(
    step: StepFunction,
    start: Tensor,
    state: State,
    beams: int,
    max_length: int,
    end: int | None,
    length_penalty: float,
) -> Iterator[Beam]:
    # At first one candidate for each prompt, which has no symbol yet.
    tokens = start.long()[:, None]
    lengths, ended = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
    totals = torch.zeros_like(tokens, dtype=_wide(start))
    prompts = torch.arange(len(start), device=start.device)[:, None]
    for number in range(1, max_length + 1):
        # The model is asked about candidates that have not ended, and its state has a row for each of these alone.
        last = tokens.flatten() if end is None else tokens[~ended]
        log_probs, state = step(last, state)
        if number == 1:
            _check(log_probs, len(last), end)
        else:  # of numbers that are no log-probabilities, nan alone is looked for from now on: below
            _check_shape(log_probs, len(last))
        candidates = _continued(totals, log_probs, ended, end)
        lengths = lengths + ~ended
        symbols = log_probs.shape[1]
        scores = candidates
        if length_penalty:
            scores = _scores(candidates, lengths.repeat_interleave(symbols, 1), length_penalty)
        places = scores.topk(min(beams, scores.shape[1])).indices
        parents, tokens = places // symbols, places % symbols
        totals, lengths = candidates.gather(1, places), lengths.gather(1, parents)
        if math.isnan(totals.sum()):  # topk puts nan first
            raise ValueError(f"the step function must give log-probabilities, and at step {number} it gave nan")
        rows = prompts * ended.shape[1] + parents
        if end is None:
            ended = torch.zeros_like(tokens, dtype=torch.bool)
            state = _select(state, rows.flatten())
        else:
            asked = (~ended).flatten().cumsum(0) - 1  # the row of the state for each candidate before
            ended = ended.gather(1, parents) | (tokens == end) | (totals == -torch.inf)
            state = _select(state, asked[rows[~ended]])
        yield Beam(tokens, parents, totals, lengths, ended)
        if end is not None and ended.all():
            return


def _continued(totals: Tensor, log_probs: Tensor, ended: Tensor, end: int | None) -> Tensor:
    """The log-probability of each candidate with each symbol after it, (N, K · V)."""
    if end is None:
        follows = log_probs.view(*totals.shape, -1)
    else:
        follows = log_probs.new_full((*totals.shape, log_probs.shape[1]), -torch.inf)
        follows[~ended] = log_probs
        follows[:, :, end].masked_fill_(ended, 0)  # what has ended stays as it is
    return (totals[:, :, None] + follows).flatten(1)


@torch.no_grad()
def exhaustive(
    step: StepFunction,
    start: Tensor,
    state: State = None,
    *,
    max_length: int,
    end: int | None = None,
    length_penalty: float = 0.0,
) -> Sequences:
    """All sequences that there are, the best first.

    Where nothing ends, their number is the vocabulary to the power of the length: it is for small ones, to see what
    other searches miss.

    Args:
        step: the model's step function.
        start: the last symbol of each prompt, (N,), int64.
        state: what the model remembers of the symbols before.
        max_length: symbols at most.
        end: the symbol that ends a sequence; None where nothing does.
        length_penalty: as for `beam_search`.

    Raises:
        ValueError, TypeError: as `beam_search`; more than a million sequences.

    Example:
        >>> step = markov_step(torch.tensor([[0.0, 0.6, 0.4], [0.4, 0.3, 0.3], [0.0, 0.1, 0.9]]))
        >>> found = exhaustive(step, torch.tensor([0]), max_length=2)
        >>> found.ids[0, :3].tolist(), found.log_probs[0, :3].exp()
        ([[2, 2], [1, 0], [1, 1]], tensor([0.3600, 0.2400, 0.1800], dtype=torch.float64))
    """
    _check_start(start)
    check_counts(max_length=max_length)
    _check_penalty(length_penalty)
    prompts, last = len(start), start.long()
    ids = last.new_empty(prompts, 1, 0)
    totals = torch.zeros(prompts, 1, dtype=_wide(start), device=start.device)
    done: list[Sequences] = []
    for length in range(1, max_length + 1):
        log_probs, state = step(last, state)
        _check(log_probs, len(last), end)
        symbols = log_probs.shape[1]
        # Each sequence, followed by each symbol.
        follows = torch.arange(symbols, device=start.device).repeat(ids.shape[1]).expand(prompts, -1)
        ids = torch.cat([ids.repeat_interleave(symbols, 1), follows[:, :, None]], 2)
        totals = (totals[:, :, None] + log_probs.to(totals.dtype).view(prompts, -1, symbols)).flatten(1)
        goes_on = follows[0] != (-1 if end is None else end)
        if length == max_length:
            goes_on = torch.zeros_like(goes_on)
        complete = ids[:, ~goes_on]
        padded = torch.nn.functional.pad(complete, (0, max_length - length), value=-1 if end is None else end)
        done.append(Sequences(padded, torch.full_like(complete[:, :, 0], length), totals[:, ~goes_on]))
        if not goes_on.any():
            break
        count = prompts * int(goes_on.sum()) * symbols
        if count > MOST:  # before the model is asked about them
            raise ValueError(
                f"exhaustive search compares {MOST:,} sequences at most, and there are {count:,} of length "
                f"{length + 1} already ({symbols} symbols, {prompts} prompts): take fewer steps, or beam_search"
            )
        rows = torch.arange(len(last), device=start.device).repeat_interleave(symbols)
        kept = goes_on.repeat(prompts)
        ids, totals, state, last = (
            ids[:, goes_on],
            totals[:, goes_on],
            _select(state, rows[kept]),
            follows.flatten()[kept],
        )
    return Sequences(*(torch.cat(parts, 1) for parts in zip(*done, strict=True))).best_first(length_penalty)


def markov_step(transitions: Tensor) -> StepFunction:
    """The step function of a Markov chain, whose next symbol depends on the last one alone. It has no state.

    Args:
        transitions: the probability of each next symbol (column) after each symbol (row), (V, V).

    Raises:
        ValueError: not square, or rows that are no probabilities that add up to 1.
        TypeError: no tensor.

    Example:
        >>> step = markov_step(torch.tensor([[0.0, 1.0], [0.5, 0.5]]))
        >>> step(torch.tensor([1]), None)[0].exp()
        tensor([[0.5000, 0.5000]])
    """
    check_tensor("transitions", transitions)
    if transitions.ndim != 2 or transitions.shape[0] != transitions.shape[1] or not len(transitions):
        raise ValueError(f"transitions must be square, [symbols, symbols], not {list(transitions.shape)}")
    if not ((transitions >= 0).all() and ((transitions.sum(1) - 1).abs() < 1e-5).all()):
        raise ValueError("each row of transitions must be probabilities that add up to 1")
    logs = transitions.log()

    def step(last: Tensor, state: State) -> tuple[Tensor, State]:
        if last.max() >= len(logs):
            raise ValueError(f"symbols must be from 0 to {len(logs) - 1}, and there is a {last.max()}")
        return logs[last], state

    return step


@torch.no_grad()
def _one_by_one(
    step: StepFunction,
    start: Tensor,
    state: State,
    max_length: int,
    end: int | None,
    choose: Callable[[Tensor], Tensor],
) -> Sequences:
    """One sequence for each prompt, its symbols chosen (N,) from log-probabilities (N, V) as they come."""
    _check_start(start)
    check_counts(max_length=max_length)
    last = start.long()
    ended = torch.zeros_like(last, dtype=torch.bool)
    lengths, totals = torch.zeros_like(last), torch.zeros_like(last, dtype=_wide(start))
    symbols = []
    for _ in range(max_length):
        log_probs, state = step(last, state)
        _check(log_probs, len(last), end)
        last = choose(log_probs)
        if end is not None:
            last = torch.where(ended, end, last)
        chosen = log_probs.gather(1, last[:, None])[:, 0].to(totals.dtype)
        totals += torch.where(ended, 0.0, chosen)
        lengths += ~ended
        symbols.append(last)
        if end is not None:
            ended |= last == end
            if ended.all():
                break
    return Sequences(torch.stack(symbols, 1)[:, None], lengths[:, None], totals[:, None])


def _select(state: State, rows: Tensor) -> State:
    """The rows of a state, in the order in which they are named."""
    if isinstance(state, Tensor):
        return state.index_select(0, rows)
    if state is None:
        return None
    if not isinstance(state, tuple | list):
        raise TypeError(f"a state must be a tensor, a tuple of states, or None, not {type(state).__name__}")
    return tuple(_select(part, rows) for part in state)


def _scores(log_probs: Tensor, lengths: Tensor, length_penalty: float) -> Tensor:
    return log_probs / lengths.to(log_probs.dtype) ** length_penalty


def _wide(start: Tensor) -> torch.dtype:
    """The dtype in which log-probabilities are added up. Apple's GPUs know no float64."""
    return torch.float32 if start.device.type == "mps" else torch.float64


def _check(log_probs: Tensor, rows: int, end: int | None) -> None:
    """Refuse what is not log-probabilities of so many rows, or has no such end symbol."""
    _check_shape(log_probs, rows)
    if end is not None and not (type(end) is int and 0 <= end < log_probs.shape[1]):
        raise ValueError(f"end must be a symbol from 0 to {log_probs.shape[1] - 1}, not {end}")
    sums = log_probs.exp().sum(1)
    if not bool(((sums - 1).abs() < (1e-3 if log_probs.dtype.itemsize > 2 else 0.1)).all()):  # nan is not below either
        farthest = max(sums.tolist(), key=lambda one: abs(one - 1) if one == one else float("inf"))
        raise ValueError(
            f"the step function must give log-probabilities, whose exponentials add up to 1, and here they add up to "
            f"{farthest:.4g}: did you forget log_softmax?"
        )


def _check_shape(log_probs: Tensor, rows: int) -> None:
    check_tensor("the log-probabilities of the step function", log_probs)
    if log_probs.ndim != 2 or len(log_probs) != rows or not log_probs.shape[1]:
        raise ValueError(
            f"the step function must give log-probabilities [{rows}, symbols], not {list(log_probs.shape)}"
        )


def _check_start(start: Tensor) -> None:
    check_tensor("start", start)
    if start.ndim != 1 or not len(start):
        raise ValueError(f"start must be [prompts], the last symbol of one prompt or more, not {list(start.shape)}")
    if start.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"start must be int64, the numbers of symbols, not {start.dtype}")
    if start.min() < 0:
        raise ValueError(f"start must be numbers of symbols, from 0 up, and there is a {start.min()}")


def _check_search(start: Tensor, beams: int, max_length: int, length_penalty: float) -> None:
    _check_start(start)
    check_counts(beams=beams, max_length=max_length)
    _check_penalty(length_penalty)


def _check_penalty(length_penalty: float) -> None:
    check_number("length_penalty", length_penalty)
    if not abs(length_penalty) < float("inf"):
        raise ValueError(f"length_penalty must be finite, not {length_penalty}")
