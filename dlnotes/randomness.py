"""One seed, many streams: an independent random generator for each purpose.

Two arms of an experiment that differ in one thing must draw everything else alike. With one generator they cannot:
switch dropout on, and its masks shift every later draw, so that the batches change too. With a generator a purpose,
the arm with masks sees the same letters, the same first weights and the same batches as the arm without.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Generator, Tensor

__all__ = ["drawn_instead", "stream", "streams", "uniform"]

Draw = Callable[[Sequence[int]], Tensor]


def stream(seed: int, purpose: str) -> Generator:
    """The generator of one purpose under one seed: the same two arguments give the same draws.

    The generator lives on the CPU also where training happens elsewhere: what is drawn on the CPU and then moved is
    the same on every device, so that hardware never changes the statistics. PyTorch's CPU generator keeps 32 bits of
    its seed: among a thousand streams, two are the same with a probability of about one in ten thousand.

    Args:
        seed: the experiment's seed, 0 or larger.
        purpose: what is drawn, in a word: ``"weights"``, ``"batches"``.

    Raises:
        TypeError: the seed is not an ``int``, or the purpose not a ``str``.
        ValueError: the seed is negative or the purpose empty.

    Example:
        >>> import torch
        >>> torch.equal(torch.rand(3, generator=stream(7, "data")), torch.rand(3, generator=stream(7, "data")))
        True
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an int, not {type(seed).__name__} ({seed!r})")
    if seed < 0:
        raise ValueError(f"seed must be 0 or larger, not {seed}")
    if not isinstance(purpose, str):
        raise TypeError(f"a purpose must be a str such as 'weights', not {type(purpose).__name__} ({purpose!r})")
    if not purpose:
        raise ValueError("a purpose must not be empty: name what is drawn, such as 'weights'")
    # A cryptographic hash, because neighbouring seeds must not give related streams, and because Python's own
    # hash() of a text changes from process to process.
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def streams(seed: int, *purposes: str) -> dict[str, Generator]:
    """Independent generators, one for each purpose, from one seed.

    A stream depends on the seed and on its own name alone: asking for a further purpose changes no other stream.

    Args:
        seed: the experiment's seed, 0 or larger.
        purposes: what is drawn, a word each.

    Returns:
        A dictionary from purpose to generator, in the order asked for.

    Raises:
        TypeError: the seed is not an ``int``, or a purpose not a ``str``.
        ValueError: the seed is negative; no purpose is given; a purpose is empty or given twice.

    Example:
        >>> import torch
        >>> few, many = streams(3, "data"), streams(3, "masks", "data")
        >>> torch.equal(torch.rand(4, generator=few["data"]), torch.rand(4, generator=many["data"]))
        True
    """
    if not purposes:
        raise ValueError("streams needs at least one purpose, such as streams(0, 'weights', 'batches')")
    twice = {purpose for purpose in purposes if purposes.count(purpose) > 1}
    if twice:
        raise ValueError(f"each purpose is given once, but these come twice: {', '.join(sorted(map(repr, twice)))}")
    return {purpose: stream(seed, purpose) for purpose in purposes}


def uniform(shape: Sequence[int], generator: Generator) -> Tensor:
    """Uniform numbers from 0 to below 1, in single precision and on the generator's own device.

    A layer that draws with this function can be used in a `Sweep`, where each model draws from its own generator.

    Example:
        >>> uniform((2, 3), stream(0, "masks")).shape
        torch.Size([2, 3])
    """
    draw = _instead.get().get(generator)
    if draw is not None:
        return draw(shape)
    # The device is named because torch.set_default_device changes what a draw without one gives.
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float32)


# The rule warns of a mutable default, which all contexts would share. This one is never written to: `drawn_instead`
# sets another mapping, and the type, Mapping, has no way to write.
_instead: ContextVar[Mapping[Generator, Draw]] = ContextVar("instead", default={})  # noqa: B039


@contextmanager
def drawn_instead(draws: Mapping[Generator, Draw]) -> Iterator[None]:
    """Inside the ``with`` block, `uniform` asks these functions for the numbers of these generators, and of no others.

    Example:
        >>> masks = stream(0, "masks")
        >>> with drawn_instead({masks: torch.zeros}):
        ...     uniform((2,), masks)
        tensor([0., 0.])
    """
    before = _instead.set(draws)
    try:
        yield
    finally:
        _instead.reset(before)
