"""
A toy lesson
============

It measures what a seed draws, in no time, so that the runner can be tested with it.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib import pyplot as plt

from dlnotes import lesson
from dlnotes.evidence import difference
from dlnotes.lesson import answer, claim
from dlnotes.measuring import Measured
from dlnotes.randomness import stream


@dataclass(frozen=True)
class Config:
    """What can be set."""

    shift: float = 1.0  # the mean of what is measured
    points: int = 3  # of the curve
    sizes: tuple[int, ...] = (1, 2)
    loud: bool = False
    data: str = "letters"

    def __post_init__(self) -> None:
        if self.points < 0:
            raise ValueError(f"points must be 0 or more, not {self.points}")


QUICK = Config(points=2)
SEEDS = range(8)
TUNING_SEEDS = range(1_000, 1_003)


def trial(config: Config, seed: int) -> Measured:
    if seed == int(os.environ.get("TOY_WAITS_AT", -1)):
        Path(os.environ["TOY_WAITS"]).touch()
        time.sleep(600)
    if config.loud:
        torch.rand(1)
    if not config.points:
        raise ValueError("the curve is empty")
    drawn = torch.randn(config.points, generator=stream(seed, "noise"))
    return {"gain": config.shift + 0.1 * drawn[0].item(), "curve": drawn.tolist(), "never": float("nan")}


def tune(config: Config, seed: int) -> Measured:
    return {"slow/0.1": float("inf"), "slow/0.2": 3.0, "fast/0.1": 2.0, "fast/0.2": 1.0 + seed % 2}


PREDICTIONS = [
    claim(
        "1.18",
        "larger gain",
        "The gain on {points} points of {data} is larger than one half.",
        lambda t: difference(t["gain"], margin=0.5),
    )
]
ANSWERS = [answer("1.18", "The gain is {larger gain:.1f} on {data}.", given={"larger gain": "supported"})]


def figure(trials):
    drawing, axes = plt.subplots()
    axes.plot(trials["curve"].T)
    axes.set_title("What was drawn")
    return drawing


if __name__ == "__main__":
    lesson.main("toy")
