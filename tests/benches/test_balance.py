from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tltrain.benches.balance import choose_balanced

keys_and_limit = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=25).flatmap(
    lambda keys: st.tuples(st.just(keys), st.integers(0, len(keys)))
)


def test_rare_kinds_come_whole_before_frequent_ones_repeat():
    keys = [("often",)] * 50 + [("seldom",)] * 2 + [("middling",)] * 10
    chosen = Counter(keys[index][0] for index in choose_balanced(keys, 14, seed=0))
    assert chosen == {"often": 6, "middling": 6, "seldom": 2}


def test_kinds_within_kinds():
    keys = [("a", str(number % 3)) for number in range(30)] + [("b", "0")] * 30
    chosen = Counter(keys[index] for index in choose_balanced(keys, 12, seed=0))
    assert chosen == {("a", "0"): 2, ("a", "1"): 2, ("a", "2"): 2, ("b", "0"): 6}


def test_which_of_equals_is_up_to_the_seed():
    keys = [("a",)] * 100
    assert choose_balanced(keys, 5, seed=0) == choose_balanced(keys, 5, seed=0)
    assert choose_balanced(keys, 5, seed=0) != choose_balanced(keys, 5, seed=1)
    assert choose_balanced(keys, None, seed=1) == list(range(100))


@given(keys_and_limit, st.integers(0, 3))
def test_laws(drawn, seed):
    keys, limit = drawn
    chosen = choose_balanced(keys, limit, seed=seed)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == limit
    if limit:  # a smaller choice is a part of a larger one
        assert set(choose_balanced(keys, limit - 1, seed=seed)) < set(chosen)
    # no kind has two more than another that still has some left
    counts, available = (Counter(key[0] for key in part) for part in ([keys[i] for i in chosen], keys))
    for kind in available:
        assert counts[kind] == available[kind] or counts[kind] >= max(counts.values(), default=0) - 1
