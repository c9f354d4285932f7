"""The rows of the benchmarks, as they are printed, kept and shown on the page."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.clock import ROUNDS, Ratio

__all__ = ["Row", "kept", "page"]

MARK = "<!-- `make bench` writes what follows -->\n"


class Row(NamedTuple):
    """A comparison: what is over what, the ratio of times, what it should be, and where our time goes."""

    what: str
    ratio: Ratio
    goal: float | None = None
    shares: Mapping[str, float] | None = None

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"   goal {self.goal:.2f}: {'met' if self.met else 'MISSED'}"
        return f"{self.what}\n  {self.ratio}{goal}"

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None where there is none."""
        return None if self.goal is None else self.ratio.median >= self.goal


def kept(rows: Sequence[Row], environment: Mapping[str, Any]) -> dict[str, Any]:
    """What is written to results.json."""
    return {"environment": dict(environment), "rounds": ROUNDS, "rows": [_plain(row) for row in rows]}


def _plain(row: Row) -> dict[str, Any]:
    ratio = {name: round(value, 4) for name, value in row.ratio._asdict().items()}
    shares = None if row.shares is None else {name: round(share, 3) for name, share in row.shares.items()}
    return {
        "what": row.what,
        **ratio,
        "goal": None if row.goal is None else round(row.goal, 4),
        "met": row.met,
        "shares": shares,
    }


def page(text: str, content: Mapping[str, Any]) -> str:
    """The page with its table made anew from what was kept; what stands above the mark is written by hand.

    Raises:
        ValueError: the mark is missing.
    """
    before, mark, _ = text.partition(MARK)
    if not mark:
        raise ValueError(f"the page lacks the line {MARK.strip()}, below which the table stands")
    measured = ", ".join(f"{name} {value}" for name, value in content["environment"].items())
    lines = [
        f"{before}{mark}",
        f"Measured with {measured}; medians of {content['rounds']} rounds.",
        "",
        "| ours and theirs | theirs over ours: median [ends] | ours, theirs (ms) | goal | | where ours goes (%) |",
        "|---|---|---|---|---|---|",
        *map(_line, content["rows"]),
    ]
    return "\n".join(lines) + "\n"


def _line(row: Mapping[str, Any]) -> str:
    ratio = f"{row['median']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    times = f"{row['ours_us'] / 1e3:,.3g}, {row['theirs_us'] / 1e3:,.3g}"
    goal = "" if row["goal"] is None else f"{row['goal']:.2f}"
    met = {None: "", True: "met", False: "**missed**"}[row["met"]]
    shares = ", ".join(f"{name} {100 * share:.0f}" for name, share in (row["shares"] or {}).items())
    return f"| {row['what']} | {ratio} | {times} | {goal} | {met} | {shares} |"
