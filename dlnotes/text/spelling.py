"""Words that nobody knows, said so that the reader sees what was meant."""

import difflib
from collections.abc import Collection, Iterable

__all__ = ["unknown_words"]

SHOWN = 5


def unknown_words(words: Iterable[str], known: Collection[str]) -> str:
    """A sentence on the words that are not known, each with the known spellings nearest to it.

    Args:
        words: those that are not known, in the order in which they came. The first few are named.
        known: all that are.

    Example:
        >>> print(unknown_words(["quen", "xyz"], ["king", "queen", "man"]))
        not in the vocabulary of 3 words: 'quen' (did you mean 'queen'?), 'xyz'
    """
    unknown = list(dict.fromkeys(words))
    said = [_with_spellings(word, known) for word in unknown[:SHOWN]]
    more = f" and {len(unknown) - SHOWN:,} more" if len(unknown) > SHOWN else ""
    return f"not in the vocabulary of {len(known):,} words: {', '.join(said)}{more}"


def _with_spellings(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3)
    return f"{word!r} (did you mean {', '.join(map(repr, close))}?)" if close else repr(word)
