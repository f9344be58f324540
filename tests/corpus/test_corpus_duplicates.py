"""Duplicates: the first of each stays, and nothing that stays is a duplicate."""

from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.rows_for_tests import facts, trajectory
from tltrain.corpus.duplicates import find_duplicates
from tltrain.corpus.near import trigrams

LONG = "please book a table for two people at the italian restaurant on friday"
WORDS = ["please", "book", "cancel", "a", "table", "room", "for", "two", "three", "people"]
ROWS = st.lists(
    st.builds(
        trajectory,
        st.lists(
            st.sampled_from(["please", "book", "cancel", "a", "table", "room", "for", "two", "three", "people"]),
            max_size=7,
        ).map(" ".join),
        tools=st.sampled_from([("find",), ("find", "sum"), ()]),
        reply=st.sampled_from(["", "done"]),
    ),
    max_size=12,
).map(lambda rows: facts(*rows))


def stay(rows, threshold):
    gone = {found.row for found in find_duplicates(rows, near_threshold=threshold)}
    return [row for number, row in enumerate(rows) if number not in gone]


def test_the_first_of_equal_rows_stays():
    rows = facts(*(trajectory(query, id=str(n)) for n, query in enumerate(["x", "y", "X ", "x ", "y"])))
    # "X" is another row than "x": case may matter in what is trained
    assert [(found.row, found.kept, found.similarity) for found in find_duplicates(rows)] == [
        (3, 0, None),
        (4, 1, None),
    ]


def test_nearly_equal_queries_are_duplicates_only_over_the_same_tools():
    rows = facts(
        trajectory(LONG),
        trajectory(LONG.replace("please", "Please,"), reply="another answer"),
        trajectory(LONG.replace("friday", "monday")),
        trajectory(LONG.replace("friday", "monday"), tools=("find", "sum")),
        trajectory("something else"),
    )
    assert not find_duplicates(rows)
    found = find_duplicates(rows, near_threshold=0.8)
    assert [(each.row, each.kept) for each in found] == [(1, 0), (2, 0)]
    assert found[0].similarity == 1.0
    assert 0.8 < found[1].similarity < 1.0


def test_an_equal_row_names_a_row_that_stays():
    near = LONG.replace("friday", "monday")
    rows = facts(trajectory(LONG), trajectory(near), trajectory(near))
    assert [(found.row, found.kept) for found in find_duplicates(rows, near_threshold=0.8)] == [(1, 0), (2, 0)]


def test_rows_without_a_query_are_near_to_none():
    rows = facts(trajectory("", reply="a"), trajectory("", reply="b"))
    assert not find_duplicates(rows, near_threshold=0.1)


@settings(deadline=None)
@given(ROWS, st.sampled_from([None, 0.5, 0.8, 1.0]))
def test_what_stays_has_no_duplicates_left_and_each_removed_row_has_its_like(rows, threshold):
    duplicates = find_duplicates(rows, near_threshold=threshold)
    left = stay(rows, threshold)
    assert stay(left, threshold) == left
    gone = {found.row for found in duplicates}
    assert len(gone) == len(duplicates)
    for found in duplicates:
        assert found.kept not in gone
        assert found.kept < found.row
        one, other = rows[found.row], rows[found.kept]
        if found.similarity is None:
            assert one.key == other.key
        else:
            assert one.toolset == other.toolset


@settings(deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_which_contents_stay_does_not_depend_on_the_order(rows, rng):
    shuffled = rng.sample(rows, len(rows))
    assert {row.key for row in stay(shuffled, None)} == {row.key for row in stay(rows, None)}


@settings(deadline=None)
@given(ROWS)
def test_near_duplicates_are_all_found(rows):
    left = stay(rows, 0.8)
    for number, one in enumerate(left):
        for other in left[:number]:
            if one.query and other.query and one.toolset == other.toolset:
                a, b = trigrams(one.query), trigrams(other.query)
                assert len(a & b) / len(a | b) < 0.8
