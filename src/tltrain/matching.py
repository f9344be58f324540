"""Pairing rows with columns at the least cost (the assignment problem)."""

from collections.abc import Sequence


def cheapest_pairs(costs: Sequence[Sequence[int]]) -> list[int]:
    """For each row, the column it is paired with: no column twice, and the sum of the costs the least there is.

    The Hungarian method with potentials; time grows with rows squared times columns. Of several cheapest pairings, the
    one found first is taken, always the same.

    Args:
        costs: rows of equal length, at least as many columns as rows.
    """
    num_columns = len(costs[0]) if costs else 0
    assert len(costs) <= num_columns or not costs, "more rows than columns"
    # Row 0 and column 0 stand for "none": rows and columns count from 1.
    row_potential = [0] * (len(costs) + 1)
    column_potential = [0] * (num_columns + 1)
    row_of = [0] * (num_columns + 1)
    for row in range(1, len(costs) + 1):
        row_of[0] = row
        column = 0
        slack: list[float] = [float("inf")] * (num_columns + 1)
        came_from = [0] * (num_columns + 1)
        is_used = [False] * (num_columns + 1)
        while row_of[column]:
            is_used[column] = True
            current, step, following = row_of[column], float("inf"), 0
            for other in range(1, num_columns + 1):
                if is_used[other]:
                    continue
                reduced = costs[current - 1][other - 1] - row_potential[current] - column_potential[other]
                if reduced < slack[other]:
                    slack[other], came_from[other] = reduced, column
                if slack[other] < step:
                    step, following = slack[other], other
            for other in range(num_columns + 1):
                if is_used[other]:
                    row_potential[row_of[other]] += int(step)
                    column_potential[other] -= int(step)
                else:
                    slack[other] -= step
            column = following
        while column:
            row_of[column] = row_of[came_from[column]]
            column = came_from[column]
    partner = {row: column - 1 for column, row in enumerate(row_of) if column and row}
    return [partner[row] for row in range(1, len(costs) + 1)]
