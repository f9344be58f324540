"""Caps and weights: exact counts, the same rows for the same seed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tltrain.corpus.queries import make_key
from tltrain.corpus.sampling import choose_rows, count_copies

KEYS = [make_key(str(number)) for number in range(60)]


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 70), st.integers(0, 3))
def test_so_many_rows_are_chosen_and_fewer_are_among_more(num_keys, num_rows, seed):
    chosen = choose_rows(KEYS[:num_keys], num_rows, seed=seed)
    assert len(chosen) == min(num_keys, num_rows)
    assert chosen == sorted(set(chosen))
    assert set(choose_rows(KEYS[:num_keys], num_rows // 2, seed=seed)) <= set(chosen)


@settings(deadline=None)
@given(st.integers(0, 60), st.floats(0.001, 5), st.integers(0, 3))
def test_copies_are_even_and_their_number_is_that_of_the_weight(num_keys, weight, seed):
    copies = count_copies(KEYS[:num_keys], weight, seed=seed)
    assert sum(copies) == int(weight * num_keys + 0.5)
    assert max(copies, default=0) - min(copies, default=0) <= 1


@pytest.mark.parametrize(("weight", "total", "least"), [(1, 4, 1), (0.5, 2, 0), (2.5, 10, 2), (3, 12, 3), (0.1, 0, 0)])
def test_the_arithmetic_of_weights(weight, total, least):
    copies = count_copies(KEYS[:4], weight, seed=0)
    assert (sum(copies), min(copies)) == (total, least)


def test_the_choice_depends_on_seed_and_contents_not_on_the_order():
    chosen = {KEYS[place] for place in choose_rows(KEYS, 20, seed=0)}
    backwards = KEYS[::-1]
    assert {backwards[place] for place in choose_rows(backwards, 20, seed=0)} == chosen
    assert {KEYS[place] for place in choose_rows(KEYS, 20, seed=1)} != chosen
