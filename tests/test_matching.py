from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from tltrain.matching import cheapest_pairs


def matrices(draw):
    num_rows = draw(st.integers(0, 4))
    num_columns = draw(st.integers(num_rows, 5))
    row = st.lists(st.integers(0, 20), min_size=num_columns, max_size=num_columns)
    return draw(st.lists(row, min_size=num_rows, max_size=num_rows))


@given(st.composite(matrices)())
def test_no_other_pairing_costs_less(costs):
    partners = cheapest_pairs(costs)
    assert len(set(partners)) == len(partners) == len(costs)
    num_columns = len(costs[0]) if costs else 0
    cost = sum(row[partner] for row, partner in zip(costs, partners, strict=True))
    assert cost == min(
        sum(row[column] for row, column in zip(costs, chosen, strict=True))
        for chosen in permutations(range(num_columns), len(costs))
    )


def test_the_first_of_equal_pairings_is_taken():
    assert cheapest_pairs([[0, 0, 0], [0, 0, 0]]) == [0, 1]
    assert cheapest_pairs([[1, 0], [0, 9]]) == [1, 0]
