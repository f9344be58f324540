import random
from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st

from tltrain.engine.prefix_tree import (
    MIN_SHARED,
    MIN_TRUNK,
    build_tree,
    common_length,
    plan_micro_batches,
    plan_trunks,
)

STEM = list(range(100, 100 + MIN_SHARED))
SEQUENCES = st.lists(
    st.lists(st.sampled_from([[1], [2], [3], STEM, STEM[:5]]), min_size=1, max_size=5).map(
        lambda parts: [token for part in parts for token in part]
    ),
    min_size=1,
    max_size=8,
)
"""Few tokens and one long stem, so that beginnings meet often."""


@given(st.lists(st.integers(0, 1), max_size=40), st.lists(st.integers(0, 1), max_size=40))
def test_common_length_is_that_of_a_plain_loop(first, second):
    length = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    assert common_length(first, second) == (min(len(first), len(second)) if length is None else length)


@given(SEQUENCES, st.booleans())
def test_every_sequence_can_be_read_off_its_rows(sequences, share):
    tree = build_tree(sequences, share=share)
    for number, sequence in enumerate(sequences):
        rows = tree.rows(number)
        assert [tree.ids[row] for row in rows] == sequence
        assert [tree.positions[row] for row in rows] == list(range(len(sequence)))
    assert len(tree.ids) <= sum(map(len, sequences))
    # segments tile the rows, and name those before them
    assert [segment.start for segment in tree.segments[1:]] == [segment.end for segment in tree.segments[:-1]]
    for path in tree.paths:
        for place, number in enumerate(path):
            assert tree.segments[number].before == path[:place]


def test_common_beginnings_stand_once_at_every_level():
    deep = [*STEM, *range(200, 200 + MIN_SHARED)]
    sequences = [[*deep, 1], [*deep, 2, 2], [*STEM, 3], [*deep], [*deep, 1]]
    tree = build_tree(sequences)
    # the stem, what the deep ones add, and the ends 1, 2 2 and 3
    assert len(tree.ids) == MIN_SHARED + MIN_SHARED + 1 + 2 + 1
    assert tree.paths[0] == tree.paths[4]
    assert tree.paths[3] == tree.paths[0][:-1]
    assert len(build_tree(sequences, share=False).ids) == sum(map(len, sequences))


def test_short_common_beginnings_are_copied():
    tree = build_tree([[*STEM[:-1], 1], [*STEM[:-1], 2]])
    assert len(tree.ids) == 2 * MIN_SHARED


@given(SEQUENCES, st.integers(1, 80), st.booleans())
def test_micro_batches_hold_every_sequence_once_and_keep_to_the_limit(sequences, limit, share):
    plan = plan_micro_batches(sequences, limit, share=share)
    assert sorted(number for group in plan for number in group) == list(range(len(sequences)))
    for group in plan:
        members = sorted(sequences[number] for number in group)
        shared = [common_length(one, other) if share else 0 for one, other in pairwise(members)]
        assert sum(map(len, members)) - sum(shared) <= limit or len(group) == 1


def test_micro_batches_are_cut_where_the_least_is_shared():
    rng = random.Random(0)
    first, second = [[rng.randrange(50) for _ in range(30)] for _ in range(2)]
    sequences = [[*stem, number] for number in range(4) for stem in (first, second)]
    plan = plan_micro_batches(sequences, 40)
    # 34 tokens each: 30 shared and 4 own; any other cut would run a stem twice
    assert sorted(sorted(group) for group in plan) == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert len(plan_micro_batches(sequences, 40, share=False)) == 8


def tokens_saved(plan) -> int:
    return sum(trunk * (len(groups) - 1) for trunk, groups in plan)


def test_groups_that_begin_alike_share_a_trunk_that_ends_before_any_target():
    rng = random.Random(0)
    first, second = ([rng.randrange(50) for _ in range(length)] for length in (100, 200))
    sequences = [[*stem, *(rng.randrange(50) for _ in range(60))] for stem in (first, second) for _ in range(5)]
    targets = [*([130] * 5), *([130] * 4), 121]
    groups = plan_micro_batches(sequences, 300)
    plan = plan_trunks(sequences, groups, targets)
    assert [group for _, groups in plan for group in groups] == groups
    assert len(plan) == 2
    for trunk, groups in plan:
        members = [number for group in groups for number in group]
        assert len({number // 5 for number in members}) == 1
        # the state before a first target is not the trunk's
        assert trunk == (120 if members[0] >= 5 else 100)


@given(SEQUENCES, st.integers(1, 80), st.data())
def test_no_other_way_to_join_groups_saves_more(sequences, limit, data):
    sequences = [[*range(300, 364), *sequence] for sequence in sequences] + sequences
    targets = [data.draw(st.integers(1, len(sequence))) for sequence in sequences]
    groups = plan_micro_batches(sequences, limit)[:6]
    plan = plan_trunks(sequences, groups, targets)
    for trunk, own in plan:
        members = [number for group in own for number in group]
        assert trunk == 0 or trunk >= MIN_TRUNK
        assert all(sequences[number][:trunk] == sequences[members[0]][:trunk] for number in members)
        assert all(trunk < targets[number] for number in members)
    most = 0
    for cuts in product([False, True], repeat=len(groups) - 1):
        runs = [[groups[0]]]
        for group, is_cut in zip(groups[1:], cuts, strict=True):
            runs = [*runs, [group]] if is_cut else [*runs[:-1], [*runs[-1], group]]
        saved = 0
        for run in runs:
            members = [number for group in run for number in group]
            trunk = min(targets[number] - 1 for number in members)
            trunk = min([trunk, *(common_length(sequences[members[0]], sequences[number]) for number in members)])
            saved += trunk * (len(run) - 1) if trunk >= MIN_TRUNK else 0
        most = max(most, saved)
    assert tokens_saved(plan) == most
