"""Sequences whose truth is known, drawn from a generator: what recurrent networks are tried on.

Each is `Examples`: inputs with the sequence second, (N, T, ...), and targets. What an answer needs is known, and how
far back it lies; a text would not tell.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from dlnotes.arguments import check_number, check_tensor
from dlnotes.data.examples import Examples, check_count
from dlnotes.randomness import uniform

__all__ = [
    "GardenPath",
    "adding",
    "copy_memory",
    "delayed_recall",
    "garden_path",
    "is_sentence",
    "k_back",
    "markov_chain",
    "sentences",
    "transition_matrix",
]


def delayed_recall(count: int, delay: int, *, symbols: int = 8, distractors: int = 4, generator: Generator) -> Examples:
    """A symbol, then distractors, then a cue: which symbol was it? One answer, ``delay`` steps back.

    Args:
        count: examples.
        delay: steps from the symbol to the cue, 1 or more; between them lie ``delay - 1`` distractors.
        symbols: kinds of symbols, the classes.
        distractors: kinds of distractors, each as likely.
        generator: where they are drawn from.

    Shape:
        inputs (N, delay + 1, symbols + distractors + 1), one-hot, float32; targets (N,), int64.

    Example:
        >>> inputs, targets = delayed_recall(2, 3, generator=torch.Generator().manual_seed(0))
        >>> inputs.shape, bool((inputs[:, 0].argmax(1) == targets).all()), inputs[:, -1].argmax(1).tolist()
        (torch.Size([2, 4, 13]), True, [12, 12])

    Source: after Sepp Hochreiter and Jürgen Schmidhuber, "Long short-term memory", 1997, experiment 2.
    """
    _check(count, delay=delay, symbols=symbols, distractors=distractors)
    targets = _integers(symbols, (count,), generator)
    between = symbols + _integers(distractors, (count, delay - 1), generator)
    cue = torch.full_like(targets[:, None], symbols + distractors)
    return Examples(one_hot(torch.cat([targets[:, None], between, cue], 1), symbols + distractors + 1).float(), targets)


def copy_memory(count: int, delay: int, *, length: int = 10, symbols: int = 8, generator: Generator) -> Examples:
    """Some symbols, blanks, then a cue: write the symbols again in their order. Before the cue, write blanks.

    Args:
        count: examples.
        delay: blanks between the last symbol and the cue, 0 or more.
        length: symbols to be remembered.
        symbols: kinds of symbols; blank is the number after the last, the cue the one after that.
        generator: where they are drawn from.

    Shape:
        inputs (N, T, symbols + 2), one-hot, float32, with T = 2 · length + delay + 1; targets (N, T), int64, the symbol
        to be written at each step.

    Example:
        >>> inputs, targets = copy_memory(1, 2, length=3, generator=torch.Generator().manual_seed(0))
        >>> inputs[0].argmax(1).tolist(), targets[0].tolist()
        ([4, 7, 5, 8, 8, 9, 8, 8, 8], [8, 8, 8, 8, 8, 8, 4, 7, 5])

    Source: Martin Arjovsky, Amar Shah and Yoshua Bengio, "Unitary evolution recurrent neural networks", 2016.
    """
    _check(count, length=length, symbols=symbols)
    if type(delay) is not int or delay < 0:
        raise ValueError(f"delay must be an int of 0 or more, not {delay!r}")
    drawn = _integers(symbols, (count, length), generator)
    blank, cue = symbols, symbols + 1
    steps = 2 * length + delay + 1
    inputs, targets = torch.full((2, count, steps), blank, device=generator.device)
    inputs[:, :length], inputs[:, length + delay], targets[:, -length:] = drawn, cue, drawn
    return Examples(one_hot(inputs, symbols + 2).float(), targets)


def adding(count: int, length: int, *, generator: Generator) -> Examples:
    """Numbers from 0 to 1, two of them marked, one in either half: what is the sum of the two?

    Always answering 1 has a squared error of 1/6.

    Args:
        count: examples.
        length: numbers in a sequence, 2 or more.
        generator: where they are drawn from.

    Shape:
        inputs (N, length, 2), float32: the number, and 1 where it is marked; targets (N,), float32.

    Example:
        >>> inputs, targets = adding(1_000, 50, generator=torch.Generator().manual_seed(0))
        >>> numbers, marks = inputs.unbind(2)
        >>> bool(torch.allclose((numbers * marks).sum(1), targets)), marks.sum(1).unique().tolist()
        (True, [2.0])

    Source: after Sepp Hochreiter and Jürgen Schmidhuber, "Long short-term memory", 1997, experiment 4.
    """
    _check(count, length=length)
    if length < 2:
        raise ValueError(f"length must be 2 or more, so that there are two numbers to add, not {length}")
    numbers = uniform((count, length), generator)
    half = length // 2
    first = _integers(half, (count, 1), generator)
    second = half + _integers(length - half, (count, 1), generator)
    marks = torch.zeros_like(numbers).scatter_(1, torch.cat([first, second], 1), 1.0)
    return Examples(torch.stack([numbers, marks], 2), (numbers * marks).sum(1))


def k_back(count: int, length: int, back: int, *, symbols: int = 2, generator: Generator) -> Examples:
    """At each step, say which symbol came ``back`` steps before. Where none did, the target is -100.

    The symbols are independent and equally likely: who sees the present one alone is right in 1 of ``symbols`` cases,
    for any ``back`` of 1 or more.
    PyTorch's cross-entropy leaves targets of -100 out.

    Args:
        count: examples.
        length: symbols in a sequence.
        back: how far back the answer lies, from 0 to below ``length``.
        symbols: kinds of symbols.
        generator: where they are drawn from.

    Shape:
        inputs (N, length, symbols), one-hot, float32; targets (N, length), int64.

    Example:
        >>> inputs, targets = k_back(1, 6, 2, generator=torch.Generator().manual_seed(1))
        >>> inputs[0].argmax(1).tolist(), targets[0].tolist()
        ([1, 1, 0, 0, 1, 1], [-100, -100, 1, 1, 0, 0])
    """
    _check(count, length=length, symbols=symbols)
    if type(back) is not int or not 0 <= back < length:
        raise ValueError(f"back must be an int from 0 to {length - 1}, below the length of {length}, not {back!r}")
    drawn = _integers(symbols, (count, length), generator)
    targets = torch.full_like(drawn, -100)
    targets[:, back:] = drawn[:, : length - back]
    return Examples(one_hot(drawn, symbols).float(), targets)


def transition_matrix(symbols: int, *, sharpness: float = 2.0, generator: Generator) -> Tensor:
    """A random matrix of transition probabilities, (symbols, symbols): row i says what follows symbol i.

    Args:
        symbols: kinds of symbols.
        sharpness: standard deviation of the scores that a softmax makes probabilities of: at 0 all are equally likely,
            the larger the surer is the next symbol.
        generator: where they are drawn from.

    Example:
        >>> matrix = transition_matrix(3, generator=torch.Generator().manual_seed(0))
        >>> matrix.shape, bool(torch.allclose(matrix.sum(1), matrix.new_ones(3)))
        (torch.Size([3, 3]), True)
    """
    _check(0, symbols=symbols)
    check_number("sharpness", sharpness)
    if not math.isfinite(sharpness):
        raise ValueError(f"sharpness must be finite, not {sharpness}")
    scores = torch.randn(symbols, symbols, generator=generator, dtype=torch.float64, device=generator.device)
    return (sharpness * scores).softmax(1)


class GardenPath(NamedTuple):
    """A Markov chain that `garden_path` makes: what follows each symbol, and which symbol is which.

    Shape:
        transitions (K, K), float64, with K = spread + 2: row i says what follows symbol i.
    """

    transitions: Tensor
    start: int
    good: int
    bad: tuple[int, ...]  # the first of them is the way in


def garden_path(bad_probability: float, spread: int) -> GardenPath:
    """A Markov chain in which the likelier first step leads where every sequence is improbable.

    From ``start``, the chain steps into the bad branch with probability p, always to its first symbol; then each step
    goes to any of the ``spread`` bad symbols, each as likely. With probability 1 - p it steps to ``good`` and stays.
    For the T symbols after the start, with s for ``spread``:

        log P(good, ..., good) = log(1 - p)
        log P(a sequence in the bad branch) = log p - (T - 1) · log s, and there are s^(T - 1) of them

    The good sequence is the most probable one as soon as (T - 1) · log s > log(p / (1 - p)). For p above a half, taking
    the likelier step each time (greedily) misses it. A beam of two finds it where p / s < 1 - p: then it is ahead from
    the second step on. A sample is in the bad branch with probability p, and all of n samples are with probability p^n.
    So, where the good sequence is the most probable one, it is the best of n samples with probability 1 - p^n.

    Args:
        bad_probability: p, between 0 and 1; above a half, the garden path misleads.
        spread: symbols of the bad branch, 1 or more.

    Raises:
        TypeError: the probability is no number.
        ValueError: it is not between 0 and 1, or ``spread`` is not an int of 1 or more.

    Example:
        With p = 0.6 and s = 4, a bad sequence of T = 3 symbols has probability 0.6 / 4² = 0.0375, the good one 0.4. The
        probability that all of eight samples are bad is 0.6⁸ = 0.017.

        >>> path = garden_path(0.6, 4)
        >>> path.transitions[path.start].tolist(), path.transitions[path.bad[0]].tolist()
        ([0.0, 0.4, 0.6, 0.0, 0.0, 0.0], [0.0, 0.0, 0.25, 0.25, 0.25, 0.25])
        >>> generator = torch.Generator().manual_seed(2)
        >>> markov_chain(3, 4, path.transitions, first=path.start, generator=generator)[:, 1:].tolist()
        [[2, 4, 2], [1, 1, 1], [2, 4, 4]]

    Source: named after the sentences that lead their reader astray; Thomas G. Bever, "The cognitive basis for
    linguistic structures", 1970.
    """
    check_number("bad_probability", bad_probability)
    if not 0 < bad_probability < 1:
        raise ValueError(f"bad_probability must be between 0 and 1, not {bad_probability}")
    _check(0, spread=spread)
    start, good, first_bad = 0, 1, 2
    transitions = torch.zeros(spread + 2, spread + 2, dtype=torch.float64, device="cpu")
    transitions[start, good], transitions[start, first_bad] = 1 - bad_probability, bad_probability
    transitions[good, good] = 1.0
    transitions[first_bad:, first_bad:] = 1 / spread
    return GardenPath(transitions, start, good, tuple(range(first_bad, first_bad + spread)))


def markov_chain(
    count: int, length: int, transitions: Tensor, *, first: int | None = None, generator: Generator
) -> Tensor:
    """Sequences in which the next symbol depends on the present one alone, (N, length), int64.

    Where one matrix is given, the chain is *stationary*: the same at each step. Where one is given for each step, it
    *drifts*.

    Args:
        count: sequences.
        length: symbols in a sequence, 1 or more.
        transitions: probabilities of the next symbol by the present one: (K, K), or (length - 1, K, K) of each step.
        first: the symbol that each sequence begins with; None draws one evenly.
        generator: where they are drawn from.

    Raises:
        ValueError: another shape, rows that are not probabilities, or a first symbol that there is not.

    Example:
        >>> after = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> markov_chain(1, 5, after, generator=torch.Generator().manual_seed(0)).tolist()
        [[0, 1, 0, 1, 0]]
    """
    _check(count, length=length)
    check_tensor("transitions", transitions)
    if not transitions.is_floating_point():
        raise TypeError(f"transitions must be probabilities in floating point, not {transitions.dtype}")
    kinds = transitions.shape[-1] if transitions.ndim else 0
    if transitions.shape not in ((kinds, kinds), (length - 1, kinds, kinds)):
        raise ValueError(
            f"transitions must be [K, K], or [{length - 1}, K, K] for the steps of {length} symbols, "
            f"not {list(transitions.shape)}"
        )
    if not ((transitions >= 0).all() and torch.allclose(transitions.sum(-1), transitions.new_ones(()))):
        raise ValueError("each row of transitions must be probabilities: 0 or larger, with a sum of 1")
    if first is not None and (type(first) is not int or not 0 <= first < kinds):
        raise ValueError(f"first must be a symbol, an int from 0 to {kinds - 1}, not {first!r}")
    edges = transitions.expand(length - 1, kinds, kinds).cumsum(-1)
    chain = torch.empty(count, length, dtype=torch.int64, device=edges.device)
    chain[:, 0] = _integers(kinds, (count,), generator) if first is None else first
    drawn = torch.rand(length - 1, count, 1, generator=generator, dtype=edges.dtype, device=generator.device)
    for step in range(length - 1):
        after = edges[step, chain[:, step]]  # (N, K), cumulated
        chain[:, step + 1] = (drawn[step] >= after[:, :-1]).sum(1)
    return chain


def sentences(count: int, grammar: Mapping[str, Sequence[str]], *, start: str = "S", generator: Generator) -> list[str]:
    """Sentences of a small grammar, whose truth is known: each choice between its rules is as likely.

    Args:
        count: sentences.
        grammar: what each symbol may become, as texts of symbols and words between blanks. What has no rule is a word.
        start: the symbol that a sentence is made of.
        generator: where choices are drawn from.

    Raises:
        ValueError: the start has no rule, a symbol has an empty list of them, or a sentence does not end.

    Example:
        >>> grammar = {"S": ["N runs", "N sees N"], "N": ["the dog", "a cat"]}
        >>> sentences(3, grammar, generator=torch.Generator().manual_seed(0))
        ['a cat runs', 'the dog sees a cat', 'a cat sees a cat']
    """
    check_count("count", count)
    _check_grammar(grammar, start)
    found = []
    for _ in range(count):
        left, words, choices = [start], [], 0
        while left:
            symbol = left.pop()
            if symbol in grammar:
                rules = grammar[symbol]
                chosen = rules[int(_integers(len(rules), (), generator))]
                left.extend(reversed(chosen.split()))
                choices += 1
            else:
                words.append(symbol)
            if len(left) + len(words) + choices > 10_000:
                raise ValueError(f"a sentence from {start!r} did not end within 10,000 choices and words")
        found.append(" ".join(words))
    return found


def is_sentence(sentence: str, grammar: Mapping[str, Sequence[str]], start: str = "S") -> bool:
    """Whether a grammar makes a sentence: whether `sentences` could draw it, however rarely.

    The grammar may be ambiguous, nested, and recursive on either side. For each place and symbol, a table holds where
    the stretches end that the symbol can make from there. It is filled from the last place to the first; at each place
    all rules are tried, part by part, until none adds anything, so that left recursion ends.

    Args:
        sentence: words between blanks.
        grammar: what each symbol may become, as `sentences` takes it.
        start: the symbol that a sentence is made of.

    Raises:
        TypeError: the sentence is no text.
        ValueError: the start has no rule, or a symbol has an empty list of them.

    Example:
        >>> grammar = {"S": ["N runs", "N sees N"], "N": ["N and N", "the dog", "a cat"]}
        >>> is_sentence("the dog and a cat and a cat sees the dog", grammar), is_sentence("the dog sees", grammar)
        (True, False)

    Source: after the charts of Jay Earley, "An efficient context-free parsing algorithm", 1970.
    """
    if not isinstance(sentence, str):
        raise TypeError(f"a sentence must be a str, words between blanks, not {type(sentence).__name__}")
    _check_grammar(grammar, start)
    words = sentence.split()
    rules = [(symbol, rule.split()) for symbol, texts in grammar.items() for rule in texts]
    ends: list[dict[str, set[int]]] = [{symbol: set() for symbol in grammar} for _ in range(len(words) + 1)]
    for place in reversed(range(len(words) + 1)):
        grown = True
        while grown:
            grown = False
            for symbol, parts in rules:
                reached = {place}
                for part in parts:
                    if part in grammar:
                        reached = set().union(*(ends[begin][part] for begin in reached))
                    else:
                        reached = {begin + 1 for begin in reached if words[begin : begin + 1] == [part]}
                if not reached <= ends[place][symbol]:
                    ends[place][symbol] |= reached
                    grown = True
    return len(words) in ends[0][start]


def _check_grammar(grammar: Mapping[str, Sequence[str]], start: str) -> None:
    empty = [symbol for symbol, rules in grammar.items() if not rules or isinstance(rules, str)]
    if start not in grammar or empty:
        without = ", ".join(map(repr, empty or [start]))
        raise ValueError(f"each symbol needs a list of rules, and {without} has none")


def _integers(kinds: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Whole numbers from 0 to below ``kinds``, each as likely, on the generator's own device."""
    return torch.randint(kinds, shape, generator=generator, device=generator.device)


def _check(count: int, **sizes: int) -> None:
    check_count("count", count)
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise ValueError(f"{name} must be an int of 1 or more, not {size!r}")
