import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tltrain.benches import statistics
from tltrain.benches.statistics import (
    bootstrap_interval,
    mcnemar_test,
    paired_difference,
    ratio_difference,
    ratio_interval,
)
from tltrain.errors import DataError, UsageError


def test_interval_of_a_share_is_that_of_the_binomial():
    # 50 of 100 right: a resampled share is Binomial(100, 0.5) / 100, whose 2.5% and 97.5% points are 40 and 60
    interval = bootstrap_interval([1.0] * 50 + [0.0] * 50, num_resamples=20_000, seed=0)
    assert (interval.mean, interval.low, interval.high, interval.n) == (0.5, 0.4, 0.6, 100)


def test_agrees_with_resampling_written_out():
    generator = random.Random(1)
    values = [generator.gauss(3, 2) for _ in range(40)]
    means = sorted(math.fsum(generator.choices(values, k=40)) / 40 for _ in range(20_000))
    interval = bootstrap_interval(values, num_resamples=20_000, seed=2)
    # the spread of the mean is 2 / sqrt(40) = 0.3; a tail point out of 20,000 is good to about 0.3 * 0.02
    assert interval.mean == pytest.approx(math.fsum(values) / 40)
    assert interval.low == pytest.approx(means[500], abs=0.025)
    assert interval.high == pytest.approx(means[19_500], abs=0.025)


def test_covers_the_truth_about_as_often_as_it_says():
    # 400 experiments of 60 throws of a coin with 0.3; the percentile interval is known to be a little narrow
    throws = np.random.default_rng(0).random((400, 60)) < 0.3
    intervals = [bootstrap_interval(list(row.astype(float)), confidence=0.9, seed=i) for i, row in enumerate(throws)]
    assert 0.85 <= np.mean([interval.low <= 0.3 <= interval.high for interval in intervals]) <= 0.95


def test_none_is_left_out_and_counted():
    interval = bootstrap_interval([1.0, None, 0.0, None, True], seed=0)
    assert interval.mean == pytest.approx(2 / 3)
    assert (interval.n, interval.num_missing) == (3, 2)


def test_zero_is_measured():
    interval = bootstrap_interval([0.0, False], seed=0)
    assert (interval.mean, interval.low, interval.high, interval.n, interval.num_missing) == (0, 0, 0, 2, 0)


@pytest.mark.parametrize("values", [[], [None, None]])
def test_never_over_zero_cases(values):
    with pytest.raises(DataError, match=f"none of {len(values)} cases"):
        bootstrap_interval(values, seed=0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_named(value):
    with pytest.raises(DataError, match="value 2 is"):
        bootstrap_interval([1.0, None, value], seed=0)


@pytest.mark.parametrize("options", [{"confidence": 0.0}, {"confidence": 95}, {"num_resamples": 0}])
def test_options_out_of_range_are_named(options):
    with pytest.raises(UsageError, match=f"{next(iter(options))}="):
        bootstrap_interval([1.0], seed=0, **options)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(0, 2**31))
def test_laws(values, seed):
    interval = bootstrap_interval(values, num_resamples=200, seed=seed)
    slack = 1e-9 * max(1.0, max(map(abs, values)))
    assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack
    assert interval.mean == pytest.approx(math.fsum(values) / len(values), rel=1e-9, abs=slack)
    assert bootstrap_interval(values[::-1], num_resamples=200, seed=seed) == interval
    same = bootstrap_interval([values[0]] * len(values), num_resamples=200, seed=seed)
    assert same.low == same.mean == same.high


def test_higher_confidence_is_wider_and_seeds_differ():
    values = [random.Random(0).random() for _ in range(7)] + [0.3, 0.9, 0.1]
    narrow, wide = (bootstrap_interval(values, confidence=c, seed=0) for c in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_blocks_change_nothing(monkeypatch):
    values = [0.1, 0.2, 0.4, 0.8]
    whole = bootstrap_interval(values, num_resamples=1001, seed=3)
    monkeypatch.setattr(statistics, "_MAX_COUNTS_AT_ONCE", 40)  # 10 resamples at a time, the last block of 1
    assert bootstrap_interval(values, num_resamples=1001, seed=3) == whole


def test_pairs_cancel_what_makes_a_case_hard():
    # second is always 0.1 below first, though cases differ by up to 9: every resampled difference is 0.1
    first = [float(i % 10) for i in range(50)]
    second = [x - 0.1 for x in first]
    interval = paired_difference(first, second, seed=0)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.1, 0.1, 0.1), abs=1e-12)


def test_paired_difference_by_hand():
    # pairs (1, 0) and (1, 1) and (0, 1) and (1, 0) count: 1 + 0 - 1 + 1 = 1, over 4
    first, second = [1, 1, 0, 1, None, 1], [0, True, 1, 0, 1, None]
    interval = paired_difference(first, second, seed=0)
    assert (interval.mean, interval.n, interval.num_missing) == (0.25, 4, 2)
    swapped = paired_difference(second, first, seed=0)
    assert swapped.mean == -0.25


def test_pairs_need_the_same_cases():
    with pytest.raises(DataError, match="first has 1 cases, second has 2"):
        paired_difference([1.0], [1.0, 0.0], seed=0)
    with pytest.raises(DataError, match="none of 2 cases"):
        paired_difference([1.0, None], [None, 0.0], seed=0)


def test_ratio_by_hand():
    # 1 of 2, 0 of 1, 3 of 5: 4 of 8; the cluster without any unit is left out
    interval = ratio_interval([1, 0, 0, 3], [2, 0, 1, 5], seed=0)
    assert (interval.mean, interval.n, interval.num_missing) == (0.5, 3, 1)
    # three draws of three clusters: the least is 0 of 3, the most 3 of 5 each time
    widest = ratio_interval([1, 0, 0, 3], [2, 0, 1, 5], confidence=0.9999, num_resamples=20_000, seed=0)
    assert (widest.low, widest.high) == pytest.approx((0, 0.6))


def test_ratio_of_clusters_of_one_is_the_plain_interval():
    values = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    assert ratio_interval(values, [1] * 7, seed=5) == bootstrap_interval(values, seed=5)


def test_ratio_agrees_with_resampling_written_out():
    generator = random.Random(4)
    clusters = [(generator.randint(0, size), size) for size in (generator.randint(1, 6) for _ in range(40))]
    ratios = []
    for _ in range(10_000):
        drawn = generator.choices(clusters, k=40)
        ratios.append(sum(x for x, _ in drawn) / sum(n for _, n in drawn))
    ratios.sort()
    interval = ratio_interval(*zip(*clusters, strict=True), num_resamples=10_000, seed=1)
    # the spread of the ratio is about 0.05; a tail point out of 10,000 is good to a tenth of that
    assert interval.low == pytest.approx(ratios[250], abs=0.005)
    assert interval.high == pytest.approx(ratios[9_750], abs=0.005)


def test_units_that_are_alike_within_clusters_widen_the_interval():
    # 10 conversations of 10 calls, all right or all wrong: 10 observations, not 100
    clustered = ratio_interval([10] * 5 + [0] * 5, [10] * 10, seed=0)
    single = ratio_interval([1] * 50 + [0] * 50, [1] * 100, seed=0)
    assert clustered.mean == single.mean == 0.5
    assert clustered.high - clustered.low == pytest.approx(10**0.5 * (single.high - single.low), rel=0.15)


@pytest.mark.parametrize(
    ("numerators", "denominators", "message"),
    [
        ([], [], "all of 0 clusters"),
        ([0, 0], [0, 0], "all of 2 clusters"),
        ([1], [1, 2], "numerators has 1 clusters, denominators has 2"),
        ([1, 1], [1, -1], "cluster 1 is"),
        ([math.nan], [1], "cluster 0 is"),
    ],
)
def test_ratios_that_cannot_be_are_refused(numerators, denominators, message):
    with pytest.raises(DataError, match=message):
        ratio_interval(numerators, denominators, seed=0)


def test_difference_of_ratios_by_hand():
    # first 1 of 2 and 1 of 2: 2 of 4; second 0 of 1 and 3 of 4: 3 of 5; the cluster without any unit is left out
    interval = ratio_difference([(1, 2), (0, 0), (1, 2)], [(0, 1), (0, 0), (3, 4)], seed=0)
    assert interval.mean == pytest.approx(3 / 5 - 2 / 4)
    assert (interval.n, interval.num_missing) == (2, 1)
    # two draws of two clusters: twice the first gives 0 - 1/2, twice the last 3/4 - 1/2
    assert (interval.low, interval.high) == pytest.approx((-0.5, 0.25))


def test_difference_of_ratios_with_denominators_of_one_is_the_paired_difference():
    first, second = [1, 1, 0, 1, 0, 0, 1], [0, 1, 1, 1, 0, 1, 1]
    interval = ratio_difference([(x, 1) for x in first], [(x, 1) for x in second], num_resamples=20_000, seed=3)
    plain = paired_difference(second, first, num_resamples=20_000, seed=4)
    assert interval.mean == pytest.approx(plain.mean)
    # the spread of the mean is 0.27; neighbouring values of a resampled mean are 1/7 apart
    assert (interval.low, interval.high) == pytest.approx((plain.low, plain.high), abs=1e-12)


def test_difference_of_ratios_agrees_with_resampling_written_out():
    generator = random.Random(4)
    sizes = [(generator.randint(1, 6), generator.randint(0, 6)) for _ in range(40)]
    clusters = [((generator.randint(0, a), a), (generator.randint(0, b), b)) for a, b in sizes]
    differences = []
    for _ in range(10_000):
        drawn = generator.choices(clusters, k=40)
        (a, b), (c, d) = ([sum(side[part] for side in sides) for part in (0, 1)] for sides in zip(*drawn, strict=True))
        differences.append(c / d - a / b)
    differences.sort()
    interval = ratio_difference(*zip(*clusters, strict=True), num_resamples=10_000, seed=1)
    # the spread is about 0.06; a tail point out of 10,000 is good to a tenth of that
    assert interval.low == pytest.approx(differences[250], abs=0.006)
    assert interval.high == pytest.approx(differences[9_750], abs=0.006)


def test_resamples_in_which_one_side_has_nothing_are_left_out():
    # only the first cluster has calls of the second side: a resample without it has no ratio of that side
    interval = ratio_difference([(1, 1), (0, 1), (0, 1)], [(1, 1), (0, 0), (0, 0)], seed=0)
    assert interval.mean == pytest.approx(2 / 3)
    # of what is left, 0 (the first cluster alone, three times) to 2/3 (once)
    assert (interval.low, interval.high) == pytest.approx((0, 2 / 3))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([], [], "one side of 0 clusters"),
        ([(1, 1)], [(0, 0)], "one side of 1 clusters"),
        ([(1, 1)], [], "first has 1 clusters, second has 0"),
        ([(1, 1)], [(1, -1)], "cluster 0 is"),
        ([(1, 1), (math.nan, 1)], [(1, 1), (1, 1)], "cluster 1 is"),
    ],
)
def test_differences_that_cannot_be_are_refused(first, second, message):
    with pytest.raises(DataError, match=message):
        ratio_difference(first, second, seed=0)


def test_mcnemar_is_the_sum_over_all_outcomes_of_as_many_coins():
    for only_first, only_second in itertools.product(range(7), range(7)):
        num, seen = only_first + only_second, abs(only_first - only_second)
        throws = list(itertools.product((1, -1), repeat=num))
        extreme = sum(abs(sum(throw)) >= seen for throw in throws)
        assert mcnemar_test(only_first, only_second) == float(Fraction(extreme, len(throws)))


def test_mcnemar_of_counts_beyond_floats():
    # 2 to the 6,000 is no float; by the normal approximation with the usual half a case: z = 199 / sqrt(6000)
    approximate = math.erfc(199 / math.sqrt(6000) / math.sqrt(2))
    assert mcnemar_test(3100, 2900) == pytest.approx(approximate, rel=1e-3)
    assert mcnemar_test(3000, 3000) == mcnemar_test(0, 0) == 1
    assert mcnemar_test(1000, 0) == 2.0**-999
    with pytest.raises(DataError, match="neither may be negative"):
        mcnemar_test(3, -1)
