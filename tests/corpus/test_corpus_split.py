"""The split: whole tasks on one side, as near to the share as they allow."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.rows_for_tests import facts, trajectory
from tltrain.corpus.queries import make_key
from tltrain.corpus.split import choose_validation
from tltrain.errors import DataError

GROUPS = st.lists(st.integers(0, 9), min_size=2, max_size=40).map(lambda numbers: [make_key(str(n)) for n in numbers])


@settings(deadline=None)
@given(GROUPS.filter(lambda groups: len(set(groups)) > 1), st.floats(0.01, 0.99), st.integers(0, 5))
def test_both_sides_get_tasks_and_the_share_is_met_as_nearly_as_tasks_allow(groups, share, seed):
    chosen = choose_validation(groups, share=share, seed=seed)
    assert chosen == choose_validation(list(reversed(groups)), share=share, seed=seed)
    assert 0 < len(chosen) < len(set(groups))
    sizes = Counter(groups)
    num_rows = sum(sizes[group] for group in chosen)
    # Of any task that is left, taking it would not have brought the rows nearer; one task alone may miss by its size.
    assert abs(num_rows - share * len(groups)) <= max(sizes.values())


def test_the_share_is_exact_where_tasks_are_rows():
    groups = [make_key(str(number)) for number in range(200)]
    first = choose_validation(groups, share=0.1, seed=0)
    assert len(first) == 20
    assert choose_validation(groups, share=0.1, seed=1) != first


def test_a_task_mostly_stays_on_its_side_when_data_is_added():
    groups = [make_key(str(number)) for number in range(400)]
    before, after = (choose_validation(groups[:count], share=0.1, seed=0) for count in (300, 400))
    assert len(before & after) >= 25


def test_a_huge_task_is_passed_over():
    groups = [make_key("huge")] * 90 + [make_key(str(number)) for number in range(10)]
    for seed in range(20):
        assert len(choose_validation(groups, share=0.05, seed=seed)) == 5


def test_one_task_cannot_be_split():
    with pytest.raises(DataError, match="all 3 rows are of one task"):
        choose_validation([make_key("a")] * 3, share=0.5, seed=0)


def test_rows_are_of_one_task_by_query_and_tools_or_by_the_fields_asked_for():
    rows = facts(
        trajectory("Book it", reply="a"),
        trajectory("book it!", reply="b"),
        trajectory("book it", tools=("find", "sum")),
    )
    assert rows[0].group == rows[1].group != rows[2].group
    rows = facts(
        trajectory("a", template="t", at={"seed": 1}),
        trajectory("b", template="t", at={"seed": 1}),
        trajectory("a", template="t", at={"seed": 2}),
        trajectory("a", template="t"),
        group_fields=("template", "at.seed"),
    )
    assert rows[0].group == rows[1].group != rows[2].group
    assert [row.has_group_fields for row in rows] == [True, True, True, False]


def test_without_a_query_only_equal_rows_are_one_task():
    rows = facts(trajectory("", reply="a"), trajectory("", reply="a"), trajectory("", reply="b"))
    assert rows[0].group == rows[1].group != rows[2].group
