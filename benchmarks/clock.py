"""Times of two ways to do the same, taken in turn, so that a busy machine slows both down alike."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Ratio", "interleaved"]


class Ratio(NamedTuple):
    """How many times faster one way is than another: the median over rounds, and the smallest and largest."""

    median: float
    low: float
    high: float
    ours_us: float
    theirs_us: float

    def __str__(self) -> str:
        times = f"{self.ours_us:,.0f} µs against {self.theirs_us:,.0f}"
        return f"×{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]   {times}"


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], *, calls: int, rounds: int = 11) -> Ratio:
    """How many times faster ``ours`` is: the time of ``theirs`` over its own, in rounds that alternate."""

    def microseconds(call: Callable[[], object]) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls * 1e6

    for call in (ours, theirs):  # what is done only once is done before
        call()
    taken = []
    for number in range(rounds):
        if number % 2:
            first = microseconds(theirs)
            taken.append((microseconds(ours), first))
        else:
            taken.append((microseconds(ours), microseconds(theirs)))
    ratios = sorted(theirs / ours for ours, theirs in taken)
    medians = [statistics.median(column) for column in zip(*taken, strict=True)]
    return Ratio(statistics.median(ratios), ratios[0], ratios[-1], *medians)
