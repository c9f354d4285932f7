"""Word vectors beside gensim's: the same text, the same settings, one thread on both sides. Here is the speed alone.

`benchmarks.word_quality` trains both for longer and compares what they learned.
"""

from collections.abc import Callable, Iterator, Sequence
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
    "CBOW": (CBOW, {"tiles": 32}, 1.0),
}
"""Ours: the model, what differs from its own settings, and how many times gensim's speed it should have."""


def rows() -> Iterator[Row]:
    """The comparisons."""
    ids = torch.multinomial(data.zipf(VOCABULARY), WORDS, replacement=True, generator=stream(0, "text"))
    text = [str(number) for number in ids.tolist()]
    for name, (kind, settings, goal) in ARMS.items():
        # Trained once before the clock runs, so that both begin with vectors that say something.
        ratio = interleaved(ours_of(kind, ids, settings), theirs_of(kind, text), calls=1, rounds=5)
        yield Row(f"{name} of {DIM} numbers, a pass over {WORDS:,} words: ours and gensim's", ratio, goal)


def ours_of(kind: type[SkipGram] | type[CBOW], ids: torch.Tensor, settings: dict[str, Any]) -> Callable[[], None]:
    """A pass of ours."""
    draws = stream(0, "draws")
    model = kind(VOCABULARY, DIM, generator=draws)

    def run() -> None:
        for _ in WordTrainer(model, ids, generator=draws, epochs=1, **settings):
            pass

    return run


def theirs_of(kind: type[SkipGram] | type[CBOW], text: Sequence[str]) -> Callable[[], None]:
    """A pass of gensim's, on the same words."""
    lines = in_lines(text)
    model = gensim_model(kind, lines, min_count=1, seed=0, epochs=1)

    def run() -> None:
        model.train(lines, total_examples=len(lines), epochs=1)

    return run


def gensim_model(
    kind: type[SkipGram] | type[CBOW], lines: Sequence[Sequence[str]], *, min_count: int, seed: int, epochs: int
) -> Any:
    """Gensim's model with its vocabulary, not trained yet: the settings that are ours too."""
    from gensim.models import Word2Vec

    settings = {"vector_size": DIM, "window": 5, "negative": 5, "sample": 1e-3, "workers": 1}
    model = Word2Vec(sg=int(kind is SkipGram), min_count=min_count, seed=seed, epochs=epochs, **settings)
    model.build_vocab(lines)
    return model


def in_lines(text: Sequence[str]) -> list[Sequence[str]]:
    """A text in pieces as long as gensim takes them."""
    return [text[begin : begin + 10_000] for begin in range(0, len(text), 10_000)]
