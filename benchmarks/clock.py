"""Times of two ways to do the same, taken in turn, so that a busy machine slows both down alike; and where one goes."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from torch.profiler import ProfilerActivity, profile

__all__ = ["Ratio", "interleaved", "shares"]

ROUNDS = 11

_PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::mv", "aten::dot"}
_MOVES = {"aten::index_select", "aten::gather", "aten::copy_", "aten::fill_", "aten::zero_", "aten::cat", "aten::stack"}


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


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], *, calls: int, rounds: int = ROUNDS) -> Ratio:
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
    return ratio_of(taken)


def ratio_of(taken: list[tuple[float, float]]) -> Ratio:
    """The ratio from the times of each round, ours and theirs, in microseconds."""
    ratios = sorted(theirs / ours for ours, theirs in taken)
    medians = [statistics.median(column) for column in zip(*taken, strict=True)]
    return Ratio(statistics.median(ratios), ratios[0], ratios[-1], *medians)


def shares(call: Callable[[], object]) -> dict[str, float]:
    """Which share of a call's time goes into matrix products, memory, other operators of PyTorch, and Python.

    From PyTorch's profiler, which costs about a microsecond an operator: the last two are a little too large.
    """
    call()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        start = time.perf_counter()
        call()
        whole = (time.perf_counter() - start) * 1e6
    times = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    parts = dict.fromkeys(("products", "memory", "operators", "Python"), 0.0)
    for name, taken in times.items():
        parts[_part(name)] += taken
    parts["Python"] += max(0.0, whole - sum(parts.values()))
    return {name: part / sum(parts.values()) for name, part in parts.items()}


def _part(name: str) -> str:
    if name in _PRODUCTS:
        return "products"
    if name in _MOVES:
        return "memory"
    return "Python" if name.startswith("Optimizer.") else "operators"  # an optimizer's step is marked as a whole
