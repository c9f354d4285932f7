"""Times of two ways to do the same, taken in turn, so that a busy machine slows both down alike; and where one goes."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch.profiler import ProfilerActivity, profile

__all__ = ["Ratio", "interleaved", "ratio_of", "shares", "shares_of"]

ROUNDS = 11

_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "mkldnn_convolution", "convolution_backward"}
_MOVES = {"index_select", "gather", "copy", "fill", "zero", "cat", "stack"}


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


def shares(call: Callable[[], object], *, calls: int) -> dict[str, float]:
    """Which share of a call's time goes into matrix products, memory, other operators of PyTorch, and Python.

    From PyTorch's profiler: the quickest of several rounds with it and without it, in turns.
    """

    def microseconds() -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) * 1e6

    alone, watched, events = [], [], []
    for _ in range(5):
        alone.append(microseconds())
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            watched.append(microseconds())
        events.append([(one.key, one.count, one.self_cpu_time_total) for one in profiled.key_averages()])
    return shares_of(events[watched.index(min(watched))], alone=min(alone), watched=min(watched))


def shares_of(events: Sequence[tuple[str, int, float]], *, alone: float, watched: float) -> dict[str, float]:
    """The shares from the events of a profile: the name, the number of times and the microseconds of each.

    What the profiler costs itself, by which the time ``watched`` exceeds the time ``alone``, is the same for each
    event, and is taken off.
    """
    cost = max(0.0, watched - alone) / sum(count for _, count, _ in events)
    parts = dict.fromkeys(("products", "memory", "operators"), 0.0)
    for name, count, taken in events:
        if part := _part(name):
            parts[part] += max(0.0, taken - cost * count)
    parts["Python"] = max(0.0, alone - sum(parts.values()))
    return {name: part / sum(parts.values()) for name, part in parts.items()}


def _part(event: str) -> str | None:
    """Where the time of an event of the profiler belongs; None for an optimizer's step, which is marked as a whole."""
    if event.startswith("Optimizer."):
        return None
    operator = event.removeprefix("aten::").rstrip("_")  # addmm_ is addmm in place
    return "products" if operator in _PRODUCTS else "memory" if operator in _MOVES else "operators"
