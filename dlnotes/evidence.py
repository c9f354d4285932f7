"""From measured numbers to a verdict.

A lesson measures one number *d* for each seed, positive in the direction that the notes state, and declares before
the run a margin *m*: the smallest difference that matters. The functions here judge such numbers, each for one kind of
question:

    difference      is d larger than m?                          exact sign-flip test over the seeds
    ratio           is a / b larger than m?                      the same, on logarithms
    no_difference   is |d| smaller than m?                       two such tests, one for each side
    proportion      is a share larger than a given one?          exact binomial test
    simulation      is an estimate larger than m?                its own standard error
    identity        is an error never larger than a tolerance?   the largest error
    not_better      is d, or a / b, smaller than m?              the opposite of one of the first two

A `Finding` is a judgement as a sentence about a row of the notes, and `verdict_of_row` joins the findings of one row.
"""

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ALPHA",
    "MOST_SEEDS",
    "Finding",
    "Judgement",
    "at_least",
    "difference",
    "identity",
    "no_difference",
    "not_better",
    "proportion",
    "ratio",
    "simulation",
    "verdict_of_row",
]

ALPHA = 0.01
"""The largest probability with which chance alone may make a finding supported, or refuted."""

MOST_SEEDS = 20
"""The exact test tries all patterns of signs: a million for 20 seeds."""

SUPPORTED, REFUTED, INCONCLUSIVE, CONDITIONAL = "supported", "refuted", "inconclusive", "conditional"
BETTER, NOT_BETTER, THE_SAME = "better", "not better", "the same"


@dataclass(frozen=True)
class Judgement:
    """What the numbers say of one question.

    Attributes:
        verdict: ``supported``, ``refuted`` or ``inconclusive``.
        effect: the size that was found: the mean, the mean ratio, the share, the estimate, or the largest error.
        interval: where the true effect lies with a confidence of 98 %; the two ends.
        margin: the smallest effect that matters, declared before the run.
        p: the probability of numbers at least this favourable if the statement is not true by the margin.
        p_against: the same for the opposite statement.
        seeds: the number of each seed (of a proportion or a simulation: none).
        unit: how to read the effect: ``difference``, ``ratio``, ``share``, ``estimate`` or ``error``.
        expects: what supports it: an effect above the margin (``better``), one below it (``not better``), or one that
            the margin encloses on both sides (``the same``).
    """

    verdict: str
    effect: float
    interval: tuple[float, float]
    margin: float
    p: float
    p_against: float
    seeds: tuple[float, ...] = ()
    unit: str = "difference"
    expects: str = BETTER


@dataclass(frozen=True)
class Finding:
    """A judgement as a sentence about a row of the notes.

    Attributes:
        row: the row, such as ``"1.18"``.
        kind: ``claim``: the notes' statement in one setting; ``limit``: a setting in which it is predicted to fail.
        name: what it is called, in a word or two; no other finding of the lesson is called so.
        statement: what was tested, with its data and setting.
        judgement: what the numbers say.
        of: what the effect is an effect on, in words: "accuracy above chance".
        reading: which of several readings of the row it belongs to; empty where there is one.
        because: why it was predicted: a reason, or a source.
    """

    row: str
    kind: str
    name: str
    statement: str
    judgement: Judgement
    of: str = ""
    reading: str = ""
    because: str = ""

    @property
    def verdict(self) -> str:
        """The judgement's verdict."""
        return self.judgement.verdict

    def as_dict(self) -> dict[str, Any]:
        """The finding as one flat dictionary, for a results file. Numbers that are not finite become ``None``."""
        words = asdict(self)
        flat = {**words, **words.pop("judgement")}
        return {name: _finite_or_none(value) for name, value in flat.items() if name != "judgement"}


# ----------------------------------------------------------------------------------------------------------------
# Judgements
# ----------------------------------------------------------------------------------------------------------------


def difference(d: ArrayLike, *, margin: float) -> Judgement:
    """Judge whether a paired difference is larger than a margin.

    Supported where the one-sided exact sign-flip test of d - m has p ≤ 0.01, refuted where that of m - d has. The test
    asks how often the mean would be as large if each seed's sign were a coin's: exact for differences that are
    symmetric around m under the null hypothesis, whatever their distribution. Skewed ones can be called supported more
    often than in 1 % of cases (about 4.5 % for exponential ones), and refuted too: where the mean of log-normal ones is
    exactly m, up to a tenth of the experiments say so. With fewer than 7 seeds no verdict is possible.

    Args:
        d: one number a seed, positive in the stated direction.
        margin: m, in the unit of ``d``: the smallest difference that matters, 0 or larger.

    Raises:
        ValueError: no numbers, more than 20, or a margin that is negative or not finite.

    Example:
        >>> judged = difference([0.8, 1.1, 0.9, 1.3, 1.0, 0.7, 1.2, 0.9], margin=0.5)
        >>> judged.verdict, round(judged.effect, 4), judged.p
        ('supported', 0.9875, 0.00390625)

    Source: Ronald A. Fisher, "The Design of Experiments", 1935, section 21.
    """
    numbers = _numbers(d)
    _check_margin(margin, least=0.0)
    if not np.isfinite(numbers).all():
        return _not_judged(numbers, margin)
    p, p_against = _sign_flips(_beyond(numbers, margin))
    return Judgement(
        _verdict(p, p_against),
        float(numbers.mean()),
        _t_interval(numbers),
        margin,
        p,
        p_against,
        tuple(numbers.tolist()),
    )


def ratio(numerator: ArrayLike, denominator: ArrayLike, *, margin: float) -> Judgement:
    """Judge whether a paired ratio is larger than a margin, on logarithms.

    Args:
        numerator: one positive number a seed.
        denominator: one positive number a seed.
        margin: the smallest ratio that matters, 1 or larger: 1.1 for "by a tenth".

    Returns:
        A judgement whose effect, interval and seeds are ratios; the effect is their geometric mean.

    Raises:
        ValueError: sequences of different length, numbers that are not positive, or a margin below 1.

    Example:
        >>> judged = ratio([300, 400, 350, 500, 310, 420, 390, 380], [100] * 8, margin=2)
        >>> judged.verdict, round(judged.effect, 2)
        ('supported', 3.77)
    """
    above, below = _numbers(numerator), _numbers(denominator)
    if above.shape != below.shape:
        raise ValueError(f"a ratio needs one number a seed above and below, got {len(above)} and {len(below)}")
    if (above <= 0).any() or (below <= 0).any():
        raise ValueError("a ratio is judged on logarithms: all numbers must be positive")
    _check_margin(margin, least=1.0)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is judged as such
        judged = difference(np.log(above / below), margin=math.log(margin))
        effect, low, high = (float(end) for end in np.exp([judged.effect, *judged.interval]))
        seeds = tuple((above / below).tolist())
    return Judgement(
        judged.verdict,
        effect,
        (low, high),
        margin,
        judged.p,
        judged.p_against,
        seeds,
        "ratio",
    )


def not_better(judged: Judgement) -> Judgement:
    """The opposite of a judgement: is the effect smaller than the margin?

    Supported where the judgement is refuted, and refuted where it is supported. That no effect is there is not asked:
    of a ratio with a margin of 1.1 this says "not better by a tenth".

    Args:
        judged: what `difference` or `ratio` gave.

    Raises:
        ValueError: a judgement of another kind.

    Example:
        >>> judged = not_better(ratio([100, 101, 99, 100, 102, 98, 100, 101], [100] * 8, margin=1.1))
        >>> judged.verdict, round(judged.effect, 2), judged.margin
        ('supported', 1.0, 1.1)
    """
    if judged.unit not in ("difference", "ratio") or judged.expects != BETTER:
        raise ValueError(f"only a difference or a ratio has an opposite, and no judgement of {judged.expects!r}")
    opposite = {SUPPORTED: REFUTED, REFUTED: SUPPORTED, INCONCLUSIVE: INCONCLUSIVE}
    return replace(judged, verdict=opposite[judged.verdict], p=judged.p_against, p_against=judged.p, expects=NOT_BETTER)


def at_least(steps: ArrayLike, *, budget: float) -> NDArray[np.float64]:
    """Steps until a target, with the budget in the place of those that are nan: it took at least as many.

    For the side of a comparison that is predicted to need more. On the other side a missing number stays nan, so that
    nothing is concluded from it.

    Example:
        >>> at_least([30, float("nan")], budget=600).tolist()
        [30.0, 600.0]
    """
    return np.nan_to_num(_numbers(steps), nan=budget)


def no_difference(d: ArrayLike, *, margin: float) -> Judgement:
    """Judge whether a paired difference is smaller than a margin to both sides.

    Supported where the sign-flip tests of m + d and of m - d both have p ≤ 0.01; refuted where either bound is
    exceeded at 0.005. A large p of an ordinary test would be no evidence for this: here the burden lies on equality.

    Args:
        d: one number a seed. For a ratio give its logarithm, and that of the margin.
        margin: m, in the unit of ``d``, larger than 0.

    Raises:
        ValueError: no numbers, or a margin that is not positive and finite.

    Example:
        >>> no_difference([0.1, -0.2, 0.0, 0.1, -0.1, 0.2, 0.0, -0.1], margin=0.5).verdict
        'supported'

    Source: Donald J. Schuirmann, "A comparison of the two one-sided tests procedure and the power approach", 1987.
    """
    numbers = _numbers(d)
    _check_margin(margin, least=0.0)
    if not margin:
        raise ValueError("a margin of 0 can never show that there is no difference: say what would not matter")
    if not np.isfinite(numbers).all():
        return replace(_not_judged(numbers, margin), expects=THE_SAME)
    above_the_lower, below_the_lower = _sign_flips(_beyond(numbers, -margin))
    above_the_upper, below_the_upper = _sign_flips(_beyond(numbers, margin))
    p = max(above_the_lower, below_the_upper)
    # Two chances to be refuted by luck, so each counts twice.
    p_against = min(1.0, 2 * min(above_the_upper, below_the_lower))
    return Judgement(
        _verdict(p, p_against),
        float(numbers.mean()),
        _t_interval(numbers),
        margin,
        p,
        p_against,
        tuple(numbers.tolist()),
        expects=THE_SAME,
    )


def proportion(successes: int, trials: int, *, above: float) -> Judgement:
    """Judge whether a share is larger than a given one, by exact binomial tests.

    Args:
        successes: how many of the trials succeeded.
        trials: how many independent trials there were, 1 or more.
        above: the share to exceed, between 0 and 1.

    Returns:
        A judgement whose effect is the share found, with its exact (Clopper-Pearson) interval.

    Raises:
        ValueError: counts that do not fit each other, or a share outside (0, 1).

    Example:
        >>> proportion(58, 60, above=0.8).verdict
        'supported'
    """
    successes, trials = operator.index(successes), operator.index(trials)  # NumPy's integers too, and no floats
    if not (trials > 0 and 0 <= successes <= trials):
        raise ValueError(f"expected 0 ≤ successes ≤ trials and at least one trial, got {successes} of {trials}")
    if not 0 < above < 1:
        raise ValueError(f"above must be between 0 and 1, not {above}")
    from scipy.stats import binomtest

    test = binomtest(successes, trials, above, alternative="greater")
    against = binomtest(successes, trials, above, alternative="less")
    around = binomtest(successes, trials, above).proportion_ci(1 - 2 * ALPHA)
    p, p_against = float(test.pvalue), float(against.pvalue)
    interval = float(around.low), float(around.high)
    return Judgement(_verdict(p, p_against), successes / trials, interval, above, p, p_against, unit="share")


def simulation(estimate: float, standard_error: float, *, margin: float) -> Judgement:
    """Judge whether a simulated quantity is larger than a margin, by its own standard error.

    For estimates over so many draws that they are normal: thousands, not a dozen seeds.

    Args:
        estimate: what was found.
        standard_error: its standard error, larger than 0.
        margin: the smallest value that matters.

    Raises:
        ValueError: a standard error that is not positive, or a margin that is not finite.

    Example:
        >>> simulation(0.52, 0.005, margin=0.5).verdict
        'supported'
    """
    if standard_error <= 0:
        raise ValueError(f"standard_error must be larger than 0, not {standard_error}")
    _check_margin(margin, least=-math.inf)
    if not (math.isfinite(estimate) and math.isfinite(standard_error)):
        return Judgement(INCONCLUSIVE, estimate, (math.nan, math.nan), margin, 1.0, 1.0, unit="estimate")
    from scipy.stats import norm

    z = (estimate - margin) / standard_error
    reach = float(norm.isf(ALPHA)) * standard_error
    p, p_against = float(norm.sf(z)), float(norm.cdf(z))
    interval = estimate - reach, estimate + reach
    return Judgement(_verdict(p, p_against), estimate, interval, margin, p, p_against, unit="estimate")


def identity(errors: ArrayLike, *, tolerance: float) -> Judgement:
    """Judge whether an identity holds: no error may be larger than the tolerance.

    One counter-example refutes an identity, and no number of examples proves it: the proof is in the lesson's text,
    and this checks that the software agrees with it.

    Args:
        errors: the largest absolute error of each seed.
        tolerance: what rounding may explain, 0 or larger; in the unit of the errors.

    Returns:
        A judgement whose effect is the largest error of all.

    Raises:
        ValueError: no numbers, or a tolerance that is negative or not finite.

    Example:
        >>> identity([0.0, 1e-16, 2e-16], tolerance=1e-12).verdict
        'supported'
    """
    numbers = _numbers(errors)
    _check_margin(tolerance, least=0.0)
    if not np.isfinite(numbers).all():
        return replace(_not_judged(numbers, tolerance), unit="error", expects=THE_SAME)
    holds = bool((numbers <= tolerance).all())
    verdict, p, p_against = (SUPPORTED, 0.0, 1.0) if holds else (REFUTED, 1.0, 0.0)
    largest, smallest = float(numbers.max()), float(numbers.min())
    seeds = tuple(numbers.tolist())
    return Judgement(verdict, largest, (smallest, largest), tolerance, p, p_against, seeds, "error", THE_SAME)


# ----------------------------------------------------------------------------------------------------------------
# Rows
# ----------------------------------------------------------------------------------------------------------------


def verdict_of_row(findings: Iterable[Finding]) -> str:
    """Join the findings of one row.

    - ``refuted``: at least one claim is refuted, also after Holm's correction for the number of claims;
    - ``conditional``: all claims are supported, and at least one predicted limit was shown: it holds, and not
      everywhere;
    - ``supported``: all claims are supported, and no limit was predicted, or none was shown;
    - ``inconclusive``: anything else.

    Where the findings belong to several readings, each reading is judged so. A statement that holds in one and is
    refuted in another is ``conditional``: on what is meant. One that holds in all is supported, or conditional if it
    is so in any. One that is refuted in all is refuted, and anything else is inconclusive.

    Raises:
        ValueError: the findings are of several rows, some have a reading and others none, or a reading has no claim.

    Example:
        >>> more, fewer = difference([3, 4, 3, 5, 4, 3, 4, 4], margin=1), difference([-2] * 8, margin=1)
        >>> holds = Finding("1.18", "claim", "long", "In a long valley it is faster.", more)
        >>> fails = Finding("1.18", "limit", "round", "In a round bowl it is slower.", more)
        >>> verdict_of_row([holds]), verdict_of_row([holds, fails])
        ('supported', 'conditional')
        >>> one = Finding("2.12", "claim", "mistakes", "It makes fewer.", more, reading="mistakes")
        >>> other = Finding("2.12", "claim", "gap", "Its gap is smaller.", fewer, reading="gap")
        >>> verdict_of_row([one, other])
        'conditional'

    Source: Sture Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    findings = list(findings)
    readings = {finding.reading: [one for one in findings if one.reading == finding.reading] for finding in findings}
    if len({finding.row for finding in findings}) != 1 or (len(readings) > 1 and "" in readings):
        raise ValueError(f"expected the findings of one row, each with a reading or none, not {findings}")
    verdicts = {_verdict_of_reading(those) for those in readings.values()}
    if len(verdicts) == 1:
        return verdicts.pop()
    holds = verdicts & {SUPPORTED, CONDITIONAL}
    return CONDITIONAL if holds and (REFUTED in verdicts or verdicts == holds) else INCONCLUSIVE


def _verdict_of_reading(findings: Sequence[Finding]) -> str:
    claims = [finding.judgement for finding in findings if finding.kind == "claim"]
    limits = [finding.judgement for finding in findings if finding.kind == "limit"]
    if not claims:
        raise ValueError(f"a verdict needs a claim, and there is none among {findings}")
    # Holm's procedure rejects anything at all exactly if it rejects the smallest p.
    if any(one.verdict == REFUTED for one in claims) and min(one.p_against for one in claims) <= ALPHA / len(claims):
        return REFUTED
    if any(one.verdict != SUPPORTED for one in claims):
        return INCONCLUSIVE
    return CONDITIONAL if any(one.verdict == SUPPORTED for one in limits) else SUPPORTED


# ----------------------------------------------------------------------------------------------------------------
# Statistics
# ----------------------------------------------------------------------------------------------------------------


def _beyond(numbers: NDArray[np.float64], margin: float) -> tuple[float, ...]:
    """The numbers minus the margin, and 0 where they differ by rounding alone."""
    rounding = 100 * np.finfo(float).eps * np.maximum(np.abs(numbers), abs(margin))
    return tuple(np.where(np.abs(numbers - margin) <= rounding, 0.0, numbers - margin).tolist())


@cache
def _sign_flips(d: tuple[float, ...]) -> tuple[float, float]:
    """The shares of sign patterns for which the mean is at least, and at most, the one that was found."""
    if len(d) > MOST_SEEDS:
        raise ValueError(f"the exact test tries all sign patterns, of {MOST_SEEDS} seeds at most, not {len(d)}")
    # Each number doubles the patterns. SciPy's permutation_test gives the same and takes a hundred times as long.
    sums = np.zeros(1)
    for one in d:
        sums = np.concatenate([sums + one, sums - one])
    means, found = sums / len(d), sum(d) / len(d)
    # Two means tie where they differ by rounding, which is as large as the data are: the mean found may be near 0.
    rounding = 100 * np.finfo(float).eps * max(map(abs, d))
    return float((means >= found - rounding).mean()), float((means <= found + rounding).mean())


def _t_interval(d: NDArray[np.float64]) -> tuple[float, float]:
    """Student's interval that leaves out 1 % on either side."""
    mean, spread = float(d.mean()), float(d.std(ddof=1)) if len(d) > 1 else math.inf
    if not spread:
        return mean, mean
    from scipy.stats import t

    reach = float(t.isf(ALPHA, max(len(d) - 1, 1))) * spread / math.sqrt(len(d))
    return mean - reach, mean + reach


def _verdict(p: float, p_against: float) -> str:
    if p <= ALPHA:
        return SUPPORTED
    return REFUTED if p_against <= ALPHA else INCONCLUSIVE


def _not_judged(numbers: NDArray[np.float64], margin: float) -> Judgement:
    """What is said of numbers that are not all finite: shown, and not judged."""
    return Judgement(INCONCLUSIVE, math.nan, (math.nan, math.nan), margin, 1.0, 1.0, tuple(numbers.tolist()))


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(f"expected one number a seed, got an array of shape {numbers.shape}")
    return numbers


def _check_margin(margin: float, *, least: float) -> None:
    if not (math.isfinite(margin) and margin >= least):
        bound = f" of at least {least:g}" if math.isfinite(least) else ""
        raise ValueError(f"a margin must be a finite number{bound}, not {margin}")


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite_or_none(one) for one in value]
    return value
