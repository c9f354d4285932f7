"""The words that a model knows, by number: the most frequent ones first."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import repeat

import numpy as np
import torch
from torch import Generator, Tensor

from dlnotes.arguments import check_counts, check_number, check_tensor
from dlnotes.text.spelling import unknown_words

__all__ = ["Vocabulary", "keep_probabilities", "noise_probabilities"]


class Vocabulary:
    """The words of a text with their counts, numbered by falling count; ties are in alphabetical order.

    Args:
        counts: how often each word came.
        min_count: words that came less often are left out.
        max_size: how many words are kept at most, the most frequent ones; None is no limit.

    Attributes:
        words: the words: the place of each is its number, its *id*.
        counts: how often each came, (V,), int64, on the CPU.

    Raises:
        TypeError: a word is not a str, or the counts are not those of words.
        ValueError: a count that is no whole number of 0 or more, or fewer than two words that are left.

    Example:
        >>> vocabulary = Vocabulary.of("the cat sees the dog and the dog sees a cat".split(), min_count=2)
        >>> vocabulary.words, vocabulary.counts.tolist()
        (('the', 'cat', 'dog', 'sees'), [3, 2, 2, 2])
        >>> vocabulary.encode(["the", "big", "dog"]), vocabulary.decode([0, 2]), "big" in vocabulary
        (tensor([0, 2]), ['the', 'dog'], False)
    """

    def __init__(self, counts: Mapping[str, int], *, min_count: int = 1, max_size: int | None = None) -> None:
        check_counts(min_count=min_count, **({} if max_size is None else {"max_size": max_size}))
        if not isinstance(counts, Mapping):
            raise TypeError(
                f"counts must be a mapping from words to counts, not {type(counts).__name__}: "
                "Vocabulary.of counts the words of a text"
            )
        for word, count in counts.items():
            if not isinstance(word, str):
                raise TypeError(f"a word must be a str, not {type(word).__name__} ({word!r})")
            if type(count) is not int or count < 0:
                raise ValueError(f"the count of {word!r} must be an int of 0 or more, not {count!r}")
        frequent = [(word, count) for word, count in counts.items() if count >= min_count]
        kept = sorted(frequent, key=lambda entry: (-entry[1], entry[0]))[:max_size]
        if len(kept) < 2:
            raise ValueError(_too_few(len(counts), len(frequent), min_count))
        self.words = tuple(word for word, _ in kept)
        self.counts = torch.tensor([count for _, count in kept], dtype=torch.int64, device="cpu")
        self._ids = {word: number for number, word in enumerate(self.words)}

    @classmethod
    def of(cls, words: Iterable[str], min_count: int = 5, max_size: int | None = None) -> "Vocabulary":
        """The vocabulary of a text, given as its words one after another.

        Example:
            >>> Vocabulary.of(["to", "be", "or", "not", "to", "be"], min_count=1, max_size=2)
            Vocabulary(2 words: 'be', 'to')
        """
        return cls(Counter(_words(words)), min_count=min_count, max_size=max_size)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __repr__(self) -> str:
        more = ", ..." if len(self) > 3 else ""
        return f"Vocabulary({len(self):,} words: {', '.join(map(repr, self.words[:3]))}{more})"

    def id(self, word: str) -> int:
        """The number of a word.

        Raises:
            ValueError: the word is not known; the message names the spellings nearest to it.

        Example:
            >>> Vocabulary({"king": 3, "queen": 2}).id("quen")
            Traceback (most recent call last):
            ValueError: not in the vocabulary of 2 words: 'quen' (did you mean 'queen'?)
        """
        if word not in self._ids:
            raise ValueError(unknown_words([word], self.words))
        return self._ids[word]

    def ids(self, words: Iterable[str]) -> Tensor:
        """The numbers of words that have to be known, int64.

        Raises:
            ValueError: words are not known; the message names them and the spellings nearest to them.
        """
        words = list(_words(words))
        if unknown := [word for word in words if word not in self._ids]:
            raise ValueError(unknown_words(unknown, self.words))
        return torch.tensor([self._ids[word] for word in words], dtype=torch.int64, device="cpu")

    def encode(self, words: Iterable[str]) -> Tensor:
        """The numbers of the words of a text, int64. Unknown words are left out, as if they did not stand there."""
        numbers = np.fromiter(map(self._ids.get, _words(words), repeat(-1)), np.int64)
        return torch.from_numpy(numbers[numbers >= 0])

    def decode(self, ids: Tensor | Iterable[int]) -> list[str]:
        """The words that have these numbers.

        Raises:
            ValueError: a number is that of no word.
        """
        numbers = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        if wrong := [number for number in numbers if not 0 <= number < len(self)]:
            raise ValueError(f"ids must be from 0 to {len(self) - 1}, and there is a {wrong[0]}")
        return [self.words[number] for number in numbers]

    def keep_probabilities(self, sample: float) -> Tensor:
        """With which probability each word stays when frequent words are thinned out, (V,), float64.

            keep(w) = min(1, √(t / f(w)) + t / f(w))        t for ``sample``

        f(w) is the word's share of all words that were counted and kept. A word of share t stays always, and so does
        any up to 2.6 times as frequent.

        Args:
            sample: t, above 0; 0.001 is usual for a corpus of a billion words, more for a smaller one.

        Example:
            By hand, for t = 0.125 and shares of a half: √0.25 + 0.25 = 0.75.

            >>> Vocabulary({"the": 8, "cat": 8}).keep_probabilities(0.125).tolist()
            [0.75, 0.75]

        Source: Tomas Mikolov et al., "Distributed representations of words and phrases and their compositionality",
        2013, section 2.3. The paper has √(t / f) alone; this is what their program word2vec computes.
        """
        check_number("sample", sample)
        if not (sample > 0 and math.isfinite(sample)):
            raise ValueError(f"sample must be a finite number above 0, not {sample}")
        return keep_probabilities(self.counts, float(sample))

    def subsample(self, ids: Tensor, sample: float, generator: Generator) -> Tensor:
        """A text without some of its frequent words: each word stays or goes by itself.

        Args:
            ids: the words of a text, (N,).
            sample: as for `keep_probabilities`.
            generator: where it is drawn from which words stay.

        Returns:
            The ids that stay, in their order, on their device.

        Example:
            >>> vocabulary = Vocabulary({"the": 900, "cat": 50, "sat": 50})
            >>> text = torch.arange(3).repeat(1_000)
            >>> vocabulary.subsample(text, 0.05, torch.Generator().manual_seed(0)).bincount().tolist()
            [289, 1000, 1000]
        """
        check_tensor("ids", ids)
        if ids.ndim != 1 or ids.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"ids must be int64 or int32 of shape [N], not {ids.dtype} of {list(ids.shape)}")
        if len(ids) and not 0 <= ids.min() <= ids.max() < len(self):
            raise ValueError(f"ids must be from 0 to {len(self) - 1}, and they go from {ids.min()} to {ids.max()}")
        keep = self.keep_probabilities(sample).to(ids.device)[ids]
        drawn = torch.rand(len(ids), generator=generator, dtype=torch.float64, device=generator.device)
        return ids[drawn.to(ids.device) < keep]

    def noise(self, power: float = 0.75) -> Tensor:
        """Probabilities from which words are drawn that did not stand there (negative sampling), (V,), float64.

            p(w) = count(w)^power / Σ_v count(v)^power

        At 1 they are the words' shares, at 0 all are equally likely; in between, rare words come more often than in
        the text.

        Example:
            >>> Vocabulary({"the": 81, "cat": 16}).noise() * 35        # 81^0.75 = 27 and 16^0.75 = 8
            tensor([27.0000,  8.0000], dtype=torch.float64)

        Source: Tomas Mikolov et al., "Distributed representations of words and phrases and their compositionality",
        2013, section 2.2.
        """
        check_number("power", power)
        if not math.isfinite(power):
            raise ValueError(f"power must be finite, not {power}")
        return noise_probabilities(self.counts, float(power))


def keep_probabilities(counts: Tensor, sample: float) -> Tensor:
    """As `Vocabulary.keep_probabilities`, from counts alone. A word that never came is kept, and so are all at ∞."""
    relative = sample / (counts.double() / counts.sum())
    return (relative.sqrt() + relative).clamp(max=1.0)


def noise_probabilities(counts: Tensor, power: float = 0.75) -> Tensor:
    """As `Vocabulary.noise`, from counts alone. A word that never came has probability 0, at a power above 0."""
    return (power * counts.double().log()).softmax(0)  # by logarithms: no power overflows


def _words(words: Iterable[str]) -> Iterable[str]:
    """The words, unless they are one text, whose characters nobody means."""
    if isinstance(words, str):
        raise TypeError("words must be several, such as a list of them, not one str: split the text first")
    return words


def _too_few(there: int, frequent: int, min_count: int) -> str:
    if not there:
        return "there are no words to make a vocabulary of: expected a text of two different words or more"
    if there == 1:
        return "a vocabulary needs two different words or more, and there is one"
    if frequent < 2:
        return (
            f"a vocabulary needs two words or more, and of {there:,} words {frequent} came {min_count:,} times or "
            "more: give a lower min_count or a longer text"
        )
    return "a vocabulary needs two words or more: give a max_size of 2 or more, not 1"
