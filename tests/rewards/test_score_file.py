import json
from pathlib import Path

import pytest

from shared import data_file
from tltrain.cli import main
from tltrain.errors import DataError, UsageError
from tltrain.rewards import RewardTable
from tltrain.rewards.compare import CompareConfig
from tltrain.rewards.score_file import score_file, summarize
from tltrain.types import Json

TOOLS: Json = [{"name": "f", "params": ["a", "b"], "required": ["a"]}, {"name": "g", "params": []}]


def score(tmp_path: Path, *rows: object, syntax: str = "python") -> list[dict[str, Json]]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return list(score_file(path, syntax))


def row(pred: str, gold: str | None = "f(a=1)", **others: object) -> dict[str, object]:
    return {"id": "r", "tools": TOOLS, "gold": gold, "pred": pred} | others


def test_published_vectors_agree():
    path = data_file("reward_vectors.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    results = list(score_file(path))
    assert [(result["id"], result["reward"], result["kind"]) for result in results] == [
        (row["id"], row["reference_reward"], row["category"]) for row in rows
    ]
    assert len(rows) == 282


def test_calls_that_the_published_reward_misreads_are_read():
    path = data_file("reward_reference_bugs.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(result["id"], result["reward"]) for result in score_file(path)] == [
        (row["id"], row["expected_reward"]) for row in rows
    ]


def test_right_calls_of_the_published_vectors_earn_full_marks(tmp_path: Path):
    rows = [json.loads(line) for line in data_file("reward_vectors.jsonl").read_text().splitlines()]
    assert {result["reward"] for result in score(tmp_path, *({**row, "pred": row["gold"]} for row in rows))} == {1}


def test_a_result_has_reward_kind_and_breakdown(tmp_path: Path):
    assert score(tmp_path, row("f(b=1, c=2)")) == [
        {
            "id": "r",
            "reward": -1.8,
            "kind": "param_hallucination+param_redundant+param_missing",
            "breakdown": {"param_hallucination": -0.8, "param_redundant": -0.5, "param_missing": -0.5},
        }
    ]


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "f", "params": ["a", "b"]},
        {"name": "f", "parameters": ["a", "b"]},
        {"name": "f", "params": {"type": "object", "properties": {"a": {}, "b": {}}}, "description": "-"},
        {"name": "f", "parameters": {"properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]}},
        {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {}, "b": {}}}}},
    ],
)
def test_tools_may_list_names_or_carry_a_schema(tmp_path: Path, tool: Json):
    results = score(tmp_path, *(row(pred, tools=[tool]) for pred in ("f(a=1, b=2)", "f(a=1, c=2)", "f(1)")))
    assert [result["reward"] for result in results] == [-0.5, -0.8, 1]


def test_hermes_rows(tmp_path: Path):
    gold = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    preds = (gold, gold.replace("1", "2"), "Sure. " + gold, "f(a=1)")
    results = score(tmp_path, *(row(pred, gold) for pred in preds), syntax="hermes")
    assert [result["reward"] for result in results] == [1, -0.25, -2, -2]


def test_arguments_may_be_given_by_position(tmp_path: Path):
    results = score(tmp_path, row("f(1)"), row("f(a=1)", "f(1)"), row("f(1, 2, 3)"), row("h(1)"))
    assert [result["reward"] for result in results] == [1, 1, -2, -2]


def test_where_no_call_is_right(tmp_path: Path):
    results = score(tmp_path, row("All done.", None), row("f(a=1)", None), row("f(a=", None))
    assert [(result["reward"], result["kind"]) for result in results] == [
        (1, "all_right"),
        (-2, "unwanted_call"),
        (-2, "unwanted_call"),
    ]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("f(a=1)", "f(a="), "gold: not one python call: expected a value"),
        (row("f(a=1)", ""), "gold: not one python call: there is no call"),
        ({"tools": TOOLS, "gold": "f(a=1)"}, "pred: Field required"),
        ({"tools": TOOLS, "pred": "f(a=1)"}, "gold: Field required"),
        ({"gold": "f(a=1)", "pred": "f(a=1)"}, "tools: Field required"),
        (row("f(a=1)", tools="f"), "tools: Input should be a valid list"),
        (row("f(a=1)", tools=[{"params": []}]), "tools.0.name: Field required"),
        (row("f(a=1)", tools=[{"name": "f", "params": [1]}]), "tools.0.params"),
        (row("f(a=1)", tools=[{"name": "f", "params": {"a": {}}}]), "a JSON Schema, which has 'properties'"),
        (row("f(a=1)", tools=["f"]), "tools.0: Input should be a valid dictionary"),
        ({**row("x"), "pred": None}, "pred: Input should be a valid string"),
        ({**row("x"), "pred": {"name": "f"}}, "pred: Input should be a valid string"),
        ("{broken", "rows.jsonl"),
        ("[1]", "rows.jsonl"),
    ],
)
def test_a_bad_row_is_reported_and_the_next_one_scored(tmp_path: Path, bad: object, message: str):
    error, good = score(tmp_path, bad, row("f(a=1)"))
    assert message in str(error["error"])
    assert error["line"] == 1
    assert "reward" not in error
    assert good["reward"] == 1


def test_rows_without_id_are_named_by_their_line(tmp_path: Path):
    anonymous = {key: value for key, value in row("f(a=1)").items() if key != "id"}
    results = score(tmp_path, row("f()"), "", anonymous, {**anonymous, "id": 0})
    assert [result["id"] for result in results] == ["r", 3, 0]


def test_summary_keeps_errors_out_of_the_mean(tmp_path: Path):
    results = score(tmp_path, row("f(a=1)"), row("f(a=2)"), "{broken", row("f(a=1)"))
    assert summarize(results) == {
        "num_rows": 4,
        "num_errors": 1,
        "mean_reward": (1 - 0.25 + 1) / 3,
        "kinds": {"all_right": 2, "content_mismatch": 1},
    }
    assert summarize(results[2:3])["mean_reward"] is None


def test_the_table_and_the_syntax_are_used(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row("f(a=2)")))
    assert next(score_file(path, table=RewardTable(content=-9)))["reward"] == -9
    with pytest.raises(UsageError, match="pythn"):
        next(score_file(path, "pythn"))
    with pytest.raises(DataError, match="no such file"):
        next(score_file(tmp_path / "absent.jsonl"))


def test_alternatives_and_several_right_calls(tmp_path: Path):
    either, both = {"any_of": ["f(a=1)", "g()"]}, ["f(a=1)", "f(a=2)"]
    results = score(
        tmp_path,
        row("g()", either),
        row("f(a=2)", either),
        row("f(a=2)\nf(a=1)", both),
        row("f(a=1)", both),
        row("f(a=1)\nf(a=3)", both),
        row("f(a=1)\nf(a=2)\ng()", both),
        row("Sure.\nf(a=1)\nf(a=2)", both),
    )
    assert [result["reward"] for result in results] == [1, -0.25, 1, -0.5, (1 - 0.25) / 2, -2, -2]
    assert results[3]["breakdown"] == {"all_right": 0.5, "missing_call": -1}


def test_values_are_compared_as_asked(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row("f(a='X ')", "f(a='x')")))
    assert next(score_file(path, compare=CompareConfig(text="folded")))["reward"] == 1
    assert main(["reward", "score", str(path), "--set", "compare.text=folded", "--set", "reward.right=3"]) == 0
