import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltrain.rollout.plan import batch_cost, plan_batches

LONG_A, LONG_B = [1] * 400, [2] * 400


def test_cost_by_hand():
    # 250 tokens, and 32 steps, each as dear as 20 tokens and one a row
    assert batch_cost(3, 250) == 250 + 32 * 23


def test_a_batch_is_as_large_as_may_be_and_cut_between_tool_lists():
    # 5 prompts on one tool list and 6 on another, mixed: two batches of at most 8, either list computed once
    prompts = [(LONG_A if number % 2 else LONG_B) + [3, number] for number in range(11)]
    batches = plan_batches(prompts, 8)
    assert [len(batch) for batch in batches] == [5, 6]
    assert all(len({prompts[index][0] for index in batch}) == 1 for batch in batches)
    assert len(plan_batches(prompts, 11)) == 1


def test_a_cache_is_at_most_half_padding():
    prompts = [[7] * 20 + [number] for number in range(5)] + [[7] * 20 + [9] * 900]
    assert sorted(map(len, plan_batches(prompts, 8))) == [2, 4]  # 921 + 21 tokens fill half of 2 * 921 places


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
    allowed = list(all_cuts(prompts, order, max_size))
    assert batches in allowed
    assert plan_cost(prompts, batches) == min(plan_cost(prompts, cut) for cut in allowed)


def all_cuts(prompts, order, max_size):
    for flags in itertools.product((False, True), repeat=max(0, len(order) - 1)):
        cuts = [0, *(place for place, flag in enumerate(flags, start=1) if flag), len(order)]
        batches = [order[start:end] for start, end in itertools.pairwise(cuts) if start < end]
        if all(len(batch) <= max_size and not wastes(prompts, batch) for batch in batches):
            yield batches


def wastes(prompts, batch):
    lengths = [len(prompts[index]) for index in batch]
    return sum(lengths) < len(batch) * max(lengths) / 2


def plan_cost(prompts, batches):
    total = 0
    for batch in batches:
        rows = {tuple(prompts[index][: length + 1]) for index in batch for length in range(len(prompts[index]))}
        total += len(rows) + 32 * (20 + len(batch))
    return total


@pytest.mark.parametrize("kind", [list, tuple])
def test_any_sequence_will_do(kind):
    assert plan_batches([kind([2, 1]), [1, 2]], 1) == [[1], [0]]
