import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltrain.engine.prefix_tree import common_prefix_length
from tltrain.rollout.plan import batch_cost, plan_batches

LONG_A, LONG_B = [1] * 400, [2] * 400


def test_cost_by_hand():
    # 100 shared, then 3 rows padded to 50; 32 steps, each as dear as 20 tokens and one a row
    assert batch_cost(3, shared=100, shortest=120, longest=150) == 100 + 3 * 50 + 32 * 23
    # equal prompts: the last token of each is its own
    assert batch_cost(2, shared=150, shortest=150, longest=150) == 149 + 2 * 1 + 32 * 22
    # a lone prompt shares nothing
    assert batch_cost(1, shared=150, shortest=150, longest=150) == 150 + 32 * 21


def test_another_tool_list_begins_another_batch():
    # 5 prompts on one tool list and 6 on another, mixed, in batches of at most 8: a batch of 8 would share nothing
    prompts = [(LONG_A if number % 2 else LONG_B) + [3, number] for number in range(11)]
    batches = plan_batches(prompts, 8)
    assert [len(batch) for batch in batches] == [5, 6]
    assert all(len({prompts[index][0] for index in batch}) == 1 for batch in batches)


def test_short_prompts_share_a_batch_though_they_begin_differently():
    prompts = [[number] * 5 for number in range(8)]
    assert plan_batches(prompts, 8) == [list(range(8))]


def test_a_long_prompt_pads_no_others():
    prompts = [[7] * 20 + [number] for number in range(5)] + [[7] * 20 + [9] * 900]
    assert sorted(map(len, plan_batches(prompts, 8))) == [1, 5]


def test_nothing_to_plan():
    assert plan_batches([], 4) == []


prompt_lists = st.lists(
    st.builds(lambda head, tail: [head] * 60 + tail, st.integers(0, 2), st.lists(st.integers(0, 3), max_size=60)),
    max_size=7,
)


@given(prompt_lists, st.integers(1, 5))
def test_the_plan_is_the_cheapest_cut_of_the_sorted_order(prompts, max_size):
    batches = plan_batches(prompts, max_size)
    order = [index for batch in batches for index in batch]
    assert sorted(order) == list(range(len(prompts)))
    assert [prompts[index] for index in order] == sorted(prompts)
    assert all(len(batch) <= max_size for batch in batches)
    assert plan_cost(prompts, batches) == min(plan_cost(prompts, cut) for cut in all_cuts(order, max_size))


def all_cuts(order, max_size):
    for flags in itertools.product((False, True), repeat=max(0, len(order) - 1)):
        cuts = [0, *(place for place, flag in enumerate(flags, start=1) if flag), len(order)]
        batches = [order[start:end] for start, end in itertools.pairwise(cuts) if start < end]
        if all(len(batch) <= max_size for batch in batches):
            yield batches


def plan_cost(prompts, batches):
    total = 0
    for batch in batches:
        rows = [prompts[index] for index in batch]
        shared, longest = common_prefix_length(rows), max(map(len, rows))
        total += shared + len(rows) * (longest - shared) + 32 * (20 + len(rows))
    return total


@pytest.mark.parametrize("kind", [list, tuple])
def test_any_sequence_will_do(kind):
    assert plan_batches([kind([2, 1]), [1, 2]], 1) == [[1], [0]]
