"""Word vectors beside gensim's: the same text, the same settings, one thread on both sides. Here is the speed alone.

And what a second core is good for, on either side. `benchmarks.word_quality` trains both for longer and compares what
they learned.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any

import torch

from benchmarks.clock import interleaved
from benchmarks.table import Row
from dlnotes import data
from dlnotes.randomness import stream
from dlnotes.text import CBOW, SkipGram, WordTrainer

__all__ = ["ARMS", "DIM", "gensim_model", "in_lines", "rows"]

WORDS, VOCABULARY, DIM = 300_000, 26_000, 128
ARMS: dict[str, tuple[type[SkipGram] | type[CBOW], dict[str, Any], float | None]] = {
    "skip-gram": (SkipGram, {"tiles": 4, "cap": 2.0}, 2.5),
    "skip-gram, as it comes": (SkipGram, {}, None),
    "CBOW": (CBOW, {"tiles": 32, "shared": 64, "cap": math.inf}, 1.0),
}
"""Ours: the model, what differs from its own settings, and how many times gensim's speed it should have."""


def rows() -> Iterator[Row]:
    """The comparisons."""
    ids = text()
    words = [str(number) for number in ids.tolist()]
    for name, (kind, settings, goal) in ARMS.items():
        # Trained once before the clock runs, so that both begin with vectors that say something.
        ratio = interleaved(ours_of(kind, ids, settings), theirs_of(kind, words), calls=1, rounds=5)
        yield Row(f"{name} of {DIM} numbers, a pass over {WORDS:,} words: ours and gensim's", ratio, goal)
    yield from rows_of_two_cores(words)


def rows_of_two_cores(words: Sequence[str]) -> Iterator[Row]:
    """What a second core is good for: no goals, and of use where nothing else runs."""
    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        ratio = interleaved(
            lambda: list(processes.map(_pass, [0, 1])), lambda: list(map(_pass, [0, 1])), calls=1, rounds=5
        )
    yield Row("skip-gram of two seeds: in two processes at once, and in one after the other", ratio)
    ratio = interleaved(lambda: _pass(0, threads=2), lambda: _pass(0), calls=1, rounds=5)
    yield Row("skip-gram of one seed: with two threads of PyTorch, and with one", ratio)
    ratio = interleaved(theirs_of(SkipGram, words, workers=2), theirs_of(SkipGram, words), calls=1, rounds=5)
    yield Row("gensim's skip-gram: with two workers, and with one", ratio)


def text() -> torch.Tensor:
    """A text of words as frequent as those of a language."""
    return torch.multinomial(data.zipf(VOCABULARY), WORDS, replacement=True, generator=stream(0, "text"))


@cache
def _ours(seed: int) -> Callable[[], None]:
    kind, settings, _ = ARMS["skip-gram"]
    return ours_of(kind, text(), settings, seed)


def _pass(seed: int, threads: int = 1) -> None:
    torch.set_num_threads(threads)
    _ours(seed)()
    torch.set_num_threads(1)


def ours_of(
    kind: type[SkipGram] | type[CBOW], ids: torch.Tensor, settings: dict[str, Any], seed: int = 0
) -> Callable[[], None]:
    """A pass of ours."""
    draws = stream(seed, "draws")
    model = kind(VOCABULARY, DIM, generator=draws)

    def run() -> None:
        for _ in WordTrainer(model, ids, generator=draws, epochs=1, **settings):
            pass

    return run


def theirs_of(kind: type[SkipGram] | type[CBOW], words: Sequence[str], workers: int = 1) -> Callable[[], None]:
    """A pass of gensim's, on the same words."""
    lines = in_lines(words)
    model = gensim_model(kind, lines, min_count=1, seed=0, epochs=1, workers=workers)

    def run() -> None:
        model.train(lines, total_examples=len(lines), epochs=1)

    return run


def gensim_model(
    kind: type[SkipGram] | type[CBOW],
    lines: Sequence[Sequence[str]],
    *,
    min_count: int,
    seed: int,
    epochs: int,
    workers: int = 1,
) -> Any:
    """Gensim's model with its vocabulary, not trained yet: the settings that are ours too."""
    from gensim.models import Word2Vec

    settings = {"vector_size": DIM, "window": 5, "negative": 5, "sample": 1e-3, "workers": workers}
    model = Word2Vec(sg=int(kind is SkipGram), min_count=min_count, seed=seed, epochs=epochs, **settings)
    model.build_vocab(lines)
    return model


def in_lines(words: Sequence[str]) -> list[Sequence[str]]:
    """A text in pieces as long as gensim takes them."""
    return [words[begin : begin + 10_000] for begin in range(0, len(words), 10_000)]
