"""Choosing settings: the same candidates for each arm, on seeds that no verdict sees."""

import math
from collections.abc import Mapping
from typing import Any

from dlnotes.lesson.experiment import Experiment
from dlnotes.measuring import Measured
from dlnotes.training import DivergedError

__all__ = ["scores_of", "winners_of"]


def scores_of(experiment: Experiment, config: Any, seed: int) -> Measured:
    """The score of each candidate of each arm on one seed, as ``"arm/candidate"``; nan where the training diverged.

    A lesson that has `TUNING`, the candidates of each arm, gives one score for each of them:
    ``tune(config, seed, arm, candidates)``. One whose arms depend on each other has a ``tune(config, seed)`` that gives
    all.

    Raises:
        ValueError: an arm has another number of scores than of candidates, or a candidate more than six digits.
    """
    assert experiment.tune is not None
    if experiment.tuning is None:
        return experiment.tune(config, seed)
    scores: Measured = {}
    for arm, candidates in experiment.tuning.items():
        found = _scores(experiment, config, seed, arm, candidates)
        if len(found) != len(candidates):
            raise ValueError(f"tune gave {len(found)} scores for the {len(candidates)} candidates of {arm!r}")
        if any(float(f"{one:.6g}") != one for one in candidates):
            raise ValueError(f"candidates are kept in six digits, as `grid` gives them: not {candidates} of {arm!r}")
        scores |= {f"{arm}/{one:.6g}": score for one, score in zip(candidates, found, strict=True)}
    return scores


def _scores(experiment: Experiment, config: Any, seed: int, arm: str, candidates: Any) -> list[float]:
    """The scores of one arm. A call that diverges is made again, a candidate at a time, to find out which do."""
    assert experiment.tune is not None
    try:
        return [float(score) for score in experiment.tune(config, seed, arm, candidates)]
    except DivergedError:
        if len(candidates) == 1:
            return [math.nan]
    return [score for one in candidates for score in _scores(experiment, config, seed, arm, (one,))]


def winners_of(scores: Mapping[str, Any], data: str | None) -> dict[str, str]:
    """The candidate of each arm with the lowest mean score; one that was not finite on some seed cannot win.

    An arm that none of its candidates wins is left out.

    Args:
        scores: of each ``"arm/candidate"``, an array with a score a seed.
        data: the data set, whose name a lesson may have put in front of its arms.
    """
    best: dict[str, tuple[float, str]] = {}
    for name, values in scores.items():
        arm, _, candidate = name.removeprefix(f"{data}/").rpartition("/")
        mean = float(values.mean())
        if math.isfinite(mean) and (arm not in best or mean < best[arm][0]):
            best[arm] = mean, candidate
    return {arm: candidate for arm, (_, candidate) in best.items()}
