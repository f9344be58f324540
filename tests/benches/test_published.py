import pytest

from tltrain.benches.published import COLUMNS, published_rows


def test_rows_of_each_set():
    counts = {name: len(published_rows(name)) for name in (*COLUMNS, "cases")}
    # NexusRaven-2 has no ToolEyes scores, and the ablation none on BFCL
    assert counts == {"toolalpaca": 18, "rotbench": 18, "bfcl": 10, "tooleyes": 17, "cases": 0}


def test_a_row_of_each_place():
    rows = {row.model: row.scores for row in published_rows("tooleyes")}
    assert rows["TL-CodeLLaMA-2 7B"] == rows["all three"] == {"DE": 0.82, "CE": 4.84, "VA": 77.75}
    assert published_rows("bfcl")[2].scores == {"TS": 95.42, "PI": 93.33, "CF": 86.67}


@pytest.mark.parametrize(
    ("name", "num_cases", "num_odd"), [("rotbench", 105, 0), ("bfcl", 240, 0), ("toolalpaca", 114, 4)]
)
def test_values_are_shares_of_the_cases_that_the_notes_name(name, num_cases, num_odd):
    values = {value for row in published_rows(name) for value in row.scores.values()}
    odd = [value for value in values if round(100 * round(value * num_cases / 100) / num_cases, 2) != value]
    assert len(odd) == num_odd
