"""How sure a score is: bootstrap intervals of shares and of their differences, and an exact test on pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tltrain.errors import DataError, UsageError

_MAX_COUNTS_AT_ONCE = 1 << 22
"""Counts held in memory at a time; 32 MiB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A mean over cases, or a ratio over clusters, and the range that resampling gives it; same unit as the values."""

    mean: float
    low: float
    high: float
    n: int
    """Cases (or pairs, or clusters) behind the mean, at least 1."""
    num_missing: int
    """Cases (or pairs, or clusters) left out because a value is not measured."""


def bootstrap_interval(
    values: Sequence[float | None], *, confidence: float = 0.95, num_resamples: int = 2000, seed: int
) -> Interval:
    """Mean of the measured values with its percentile bootstrap interval.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13. Drawing n cases with replacement
    is one multinomial draw of how often each distinct value comes up, so 0/1 scores cost two counts a resample
    however many cases there are, and the order of the cases does not matter.

    Cases must be independent: calls of one conversation are not, so give one value a conversation. Equal values give
    an interval of no width: resampling cannot show what no case shows.

    Args:
        values: one a case, in any unit; True and False count as 1 and 0; None is not measured and left out.
        confidence: share of resampled means inside the interval, in (0, 1).
        num_resamples: how many means are resampled; at least 1.
        seed: the same values and seed give the same interval.

    Raises:
        DataError: no value is measured, or one is not finite.
        UsageError: confidence or num_resamples is out of range.
    """
    _check_options(confidence, num_resamples)
    measured = np.array([value for value in values if value is not None], dtype=np.float64)
    if not len(measured):
        raise DataError(f"none of {len(values)} cases has a value; a mean over 0 cases is not reported")
    if not np.isfinite(measured).all():
        position = next(i for i, value in enumerate(values) if value is not None and not np.isfinite(value))
        raise DataError(f"value {position} is {values[position]}; values must be finite; use None for not measured")
    distinct, counts = np.unique(measured, return_counts=True)
    means = _resample_sums(distinct[:, None], counts, num_resamples, seed)[:, 0] / len(measured)
    low, high = _percentiles(means, confidence)
    return Interval(
        mean=float(counts @ distinct / len(measured)),
        low=low,
        high=high,
        n=len(measured),
        num_missing=len(values) - len(measured),
    )


def paired_difference(
    first: Sequence[float | None],
    second: Sequence[float | None],
    *,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int,
) -> Interval:
    """Mean of first minus second over the same cases, with its percentile bootstrap interval.

    Pairs are resampled, so what makes a case hard for both cancels; an interval without 0 says the two differ. A pair
    with a None on either side is left out and counted.

    Args:
        first: one value a case.
        second: one value a case, in the order of `first`.
        confidence: as in `bootstrap_interval`.
        num_resamples: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.

    Raises:
        DataError: the two have different lengths, no pair is measured, or a value is not finite.
        UsageError: confidence or num_resamples is out of range.
    """
    if len(first) != len(second):
        raise DataError(
            f"first has {len(first)} cases, second has {len(second)}; pairs need the same cases in the same order; "
            "match them by case id first"
        )
    differences = [
        None if one is None or other is None else float(one) - float(other)
        for one, other in zip(first, second, strict=True)
    ]
    return bootstrap_interval(differences, confidence=confidence, num_resamples=num_resamples, seed=seed)


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int,
) -> Interval:
    """Sum of numerators over sum of denominators, with its percentile bootstrap interval over clusters.

    For shares of things that come in clusters, such as wrong calls among the calls of conversations: whole clusters
    are resampled, because what stands in one cluster is alike. With denominators of 1 it is `bootstrap_interval`.

    Args:
        numerators: one a cluster, such as its number of wrong calls.
        denominators: one a cluster, such as its number of calls; a cluster with 0 says nothing and is left out.
        confidence: as in `bootstrap_interval`.
        num_resamples: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.

    Returns:
        The ratio as mean; n counts the clusters behind it, num_missing those left out.

    Raises:
        DataError: the two have different lengths, every denominator is 0, or a value is not finite or a denominator
            negative.
        UsageError: confidence or num_resamples is out of range.
    """
    _check_options(confidence, num_resamples)
    if len(numerators) != len(denominators):
        raise DataError(
            f"numerators has {len(numerators)} clusters, denominators has {len(denominators)}; give one each"
        )
    pairs = np.array([numerators, denominators], dtype=np.float64).T
    for position, (numerator, denominator) in enumerate(pairs):
        if not (np.isfinite(numerator) and np.isfinite(denominator) and denominator >= 0):
            raise DataError(
                f"cluster {position} is {numerator} of {denominator}; both must be finite, the second not negative"
            )
    measured = pairs[pairs[:, 1] > 0]
    if not len(measured):
        raise DataError(f"all of {len(pairs)} clusters have denominator 0; a ratio over nothing is not reported")
    distinct, counts = np.unique(measured, axis=0, return_counts=True)
    sums = _resample_sums(distinct, counts, num_resamples, seed)
    low, high = _percentiles(sums[:, 0] / sums[:, 1], confidence)
    return Interval(
        mean=float(measured[:, 0].sum() / measured[:, 1].sum()),
        low=low,
        high=high,
        n=len(measured),
        num_missing=len(pairs) - len(measured),
    )


def ratio_difference(
    first: Sequence[tuple[float, float]],
    second: Sequence[tuple[float, float]],
    *,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int,
) -> Interval:
    """Ratio of second minus ratio of first, as in `ratio_interval`, with its paired percentile bootstrap interval.

    Source: as for `bootstrap_interval`. A cluster is drawn with both sides of it, so what makes it hard for both
    cancels; an interval without 0 says the two differ. Resamples in which one side has nothing to share, so that it
    has no ratio, are left out.

    Args:
        first: (numerator, denominator) of each cluster, such as right cases and cases, or errors and calls.
        second: the same of the other side, in the order of `first`.
        confidence: as in `bootstrap_interval`.
        num_resamples: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.

    Returns:
        n counts the clusters with a denominator on either side, num_missing those without.

    Raises:
        DataError: the two have different lengths, all denominators of a side are 0, or a value is not finite or a
            denominator negative.
        UsageError: confidence or num_resamples is out of range.
    """
    _check_options(confidence, num_resamples)
    if len(first) != len(second):
        raise DataError(
            f"first has {len(first)} clusters, second has {len(second)}; pairs need the same clusters in one order"
        )
    rows = np.array([(*one, *other) for one, other in zip(first, second, strict=True)], dtype=np.float64).reshape(-1, 4)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1) | (rows[:, [1, 3]] < 0).any(axis=1))
    if len(bad):
        raise DataError(f"cluster {bad[0]} is {rows[bad[0]].tolist()}; all must be finite, denominators not negative")
    measured = rows[(rows[:, [1, 3]] > 0).any(axis=1)]
    totals = measured.sum(axis=0)
    if not (totals[1] and totals[3]):
        raise DataError(f"one side of {len(rows)} clusters has denominators of 0 alone; it has no ratio")
    distinct, counts = np.unique(measured, axis=0, return_counts=True)
    sums = _resample_sums(distinct, counts, num_resamples, seed)
    sums = sums[(sums[:, [1, 3]] > 0).all(axis=1)]
    differences = sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1]
    mean = float(totals[2] / totals[3] - totals[0] / totals[1])
    low, high = _percentiles(differences, confidence) if len(differences) else (mean, mean)
    return Interval(mean=mean, low=low, high=high, n=len(measured), num_missing=len(rows) - len(measured))


def mcnemar_test(num_only_first: int, num_only_second: int) -> float:
    """Two-sided exact p-value of McNemar's test of whether two are right equally often on the same cases.

    Source: McNemar 1947, Psychometrika 12, doi:10.1007/BF02295996, in its exact form (Agresti 2013, Categorical Data
    Analysis, section 11.1): under the null hypothesis each of the n cases that only one has right is either's with
    probability 1/2, so the smaller count is Binomial(n, 1/2), and p = min(1, 2 P(X <= smaller)).

    Cases must be independent; where several belong to one conversation the p-value is too small.

    Args:
        num_only_first: cases that only the first has right.
        num_only_second: cases that only the second has right.

    Returns:
        p in (0, 1]; 1 where no case tells the two apart.

    Raises:
        DataError: a count is negative.
    """
    if num_only_first < 0 or num_only_second < 0:
        raise DataError(f"counts of cases are {num_only_first} and {num_only_second}; neither may be negative")
    num, smaller = num_only_first + num_only_second, min(num_only_first, num_only_second)
    term = total = 1  # binomial coefficients, exact whatever the size
    for k in range(1, smaller + 1):
        term = term * (num - k + 1) // k
        total += term
    # Both may be too large for a float, their quotient is not.
    return float(min(Fraction(1), Fraction(2 * total, 1 << num)))


def _check_options(confidence: float, num_resamples: int) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"confidence={confidence} must lie between 0 and 1; use for example 0.95")
    if num_resamples < 1:
        raise UsageError(f"num_resamples={num_resamples} must be at least 1; use for example 2000")


def _resample_sums(
    distinct: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], num_resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """Column sums of resampled rows, [num_resamples, columns].

    Args:
        distinct: the rows that occur, [rows, columns].
        counts: how often each occurs, [rows].
        num_resamples: how many times to draw as many rows as there are, with replacement.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    num_cases = int(counts.sum())
    block = max(1, _MAX_COUNTS_AT_ONCE // len(distinct))
    sizes = [min(block, num_resamples - start) for start in range(0, num_resamples, block)]
    return np.concatenate([rng.multinomial(num_cases, counts / num_cases, size) @ distinct for size in sizes])


def _percentiles(values: npt.NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """The ends of the middle `confidence` of the values."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
