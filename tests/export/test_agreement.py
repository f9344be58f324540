"""What counts as the same."""

from dataclasses import replace

import pytest

from tltrain.export.agreement import Expected, Found, count_agreeing, find_problem, largest_difference

EXPECTED = Expected(
    name="a", text="Hello", ids=[1, 2], tokens=[7, 8, 9], logprobs=[-0.5, -1.0, -0.25], margins=[3.0, 0.001, 3.0]
)
SAME = Found(
    text="Hello", ids=[1, 2], logprobs=[-0.5, -1.0, -0.25], top=[7, 8, 9], next_difference=0.0, tokens=[7, 8, 9]
)


def test_the_same_is_the_same():
    assert find_problem(EXPECTED, SAME, dtype="float32") is None
    assert (largest_difference(EXPECTED, SAME), count_agreeing(EXPECTED, SAME)) == (0.0, 3)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"text": "Hullo"}, "the chat template writes it otherwise: 'Hello' became 'Hullo'"),
        ({"ids": [1, 3]}, "its token ids differ from place 1 on: [2] and [3]"),
        ({"ids": [1, 2, 2]}, "its token ids differ from place 2 on: [] and [2]"),
        ({"logprobs": [-0.5, -1.002, -0.25]}, "a log-prob differs by 0.002, and float32 may differ by 0.001"),
        ({"logprobs": [-0.5, float("nan"), -0.25]}, "a log-prob differs by inf, and float32 may differ by 0.001"),
        ({"next_difference": 0.01}, "a log-prob of the next token differs by 0.01; 0.001 is allowed"),
        ({"top": [7, 8, 1]}, "token 2 of the answer is 1 in place of 9, which leads by 3"),
        ({"tokens": [7, 8]}, "the greedy answer differs from token 2 on: [9] and []"),
        ({"tokens": [1, 8, 9]}, "the greedy answer differs from token 0 on: [7, 8, 9] and [1, 8, 9]"),
    ],
)
def test_what_differs_is_named(changed, problem):
    assert find_problem(EXPECTED, replace(SAME, **changed), dtype="float32") == problem


def test_a_tie_may_be_broken_otherwise():
    # the second token leads by 0.001, and two log-probs may move by 0.001 each
    other = replace(SAME, top=[7, 1, 9], tokens=[7, 1, 4])
    assert find_problem(EXPECTED, other, dtype="float32") is None
    assert count_agreeing(EXPECTED, other) == 2


def test_half_precision_counts_answers_and_bounds_logprobs():
    off = replace(SAME, logprobs=[-0.5, -1.9, -0.25], next_difference=5.0, tokens=[1, 8])
    assert find_problem(EXPECTED, off, dtype="bfloat16") is None
    assert find_problem(EXPECTED, off, dtype="float16") == "a log-prob differs by 0.9, and float16 may differ by 0.25"
    turned = replace(off, top=[1, 8, 9])
    assert (
        find_problem(EXPECTED, turned, dtype="bfloat16") == "token 0 of the answer is 1 in place of 7, which leads by 3"
    )
