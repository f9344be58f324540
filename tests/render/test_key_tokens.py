import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import data_file
from tltrain.render.key_tokens import key_tokens_file, name_key_positions

NAMES = st.lists(st.sampled_from("ab_"), min_size=1, max_size=5)


def write_rows(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def row(**changed: object) -> dict[str, object]:
    pieces = {"get_user": ["get", "_", "user"], "get_user_by_id": ["get", "_", "user", "_", "by", "_", "id"]}
    return {
        "id": "r1",
        "tool_pieces": pieces,
        "gold_tool": "get_user",
        "call_pieces": ["get", "_", "user", "(", "id", "=", "1", ")"],
    } | changed


@pytest.mark.parametrize(
    ("name", "others", "expected"),
    [
        (["get", "P", "apers", "By"], [["get", "P", "aper", "Details"], ["finish"]], (0, 2)),
        (["finish"], [["get", "P"]], (0,)),
        (["get", "_", "user"], [["get", "_", "user", "_", "by"]], (0, 3)),
        (["get", "_", "user", "_", "by"], [["get", "_", "user"]], (0, 3)),
        (["get", "_", "user", "("], [["get", "_", "user", "_", "by"]], (0, 3)),
        (["get", "_", "user"], [], (0,)),
        (["get", "_", "user"], [["get", "_", "user"]], (0,)),
        (["a", "b", "c"], [["b"], ["a", "x"], ["a", "b", "y"], ["a", "z"]], (0, 1, 2)),
    ],
    ids=["leaves", "alone", "is_prefix", "has_prefix", "with_next_token", "single_tool", "itself", "two_branchings"],
)
def test_key_positions_are_the_branching_points_along_the_name(name, others, expected):
    assert name_key_positions(name, others) == expected


@given(name=NAMES, others=st.lists(NAMES, max_size=6))
def test_key_positions_tell_the_name_from_every_other(name, others):
    positions = name_key_positions(name, others)
    for other in others:
        if other != name:
            differs = [at for at in positions if name[at : at + 1] != other[at : at + 1]]
            assert differs, "some key position must rule this name out"
    # No position is idle: after the first, each is where a name that agreed up to there ends or goes elsewhere.
    for at in positions[1:]:
        assert any(other[:at] == name[:at] and other[at : at + 1] != name[at : at + 1] for other in others)


def test_vectors_of_rotbench_agree_exactly():
    path = data_file("pkt_vectors.jsonl")
    expected = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = list(key_tokens_file(path, w_max=9.0))
    assert len(found) == 30
    for want, got in zip(expected, found, strict=True):
        assert got == {
            "id": want["id"],
            "key_positions": want["key_positions"],
            "n_key": want["n_key"],
            "n_nonkey": want["n_nonkey"],
            "weight": min(max(want["weight_raw"], 1.0), 9.0),
        }


def test_the_figure_of_the_paper_agrees(tmp_path):
    figure = json.loads(data_file("pkt_figure_example.json").read_text(encoding="utf-8"))
    rows = [
        {"id": number, "tool_pieces": figure["tools"]} | {key: call[key] for key in ("gold_tool", "call_pieces")}
        for number, call in enumerate(figure["calls"])
    ]
    found = list(key_tokens_file(write_rows(tmp_path / "figure.jsonl", *rows)))
    fields = ("key_positions", "n_key", "n_nonkey")
    assert [[got[key] for key in fields] for got in found] == [
        [call[key] for key in fields] for call in figure["calls"]
    ]
    assert [got["weight"] for got in found] == [9.0, 9.0, 9.0]  # 23 / 2, 18 / 2 and 49 / 1, at most 9


def test_w_max_bounds_the_weight(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", row())
    # K = {get, (}, so 6 / 2 = 3.
    assert [got["weight"] for w_max in (9.0, 2.0) for got in key_tokens_file(path, w_max)] == [3.0, 2.0]


def test_a_name_piece_merged_with_the_bracket_is_followed(tmp_path):
    pieces = {"get_a": ["get", "_", "a"], "get_b": ["get", "_", "b"]}
    merged = row(tool_pieces=pieces, gold_tool="get_a", call_pieces=["get", "_", "a(", ")"])
    (got,) = key_tokens_file(write_rows(tmp_path / "rows.jsonl", merged))
    assert (got["key_positions"], got["n_key"], got["n_nonkey"]) == ([0, 2], 2, 2)


@pytest.mark.parametrize(
    ("bad", "fragment"),
    [
        ("{", "not JSON"),
        ("[1]", "array"),
        (row(gold_tool="delete"), "gold_tool='delete'"),
        (row(call_pieces=[]), "call_pieces"),
        (row(call_pieces=["find", "("]), "call_pieces begins"),
        (row(tool_pieces={"get_user": "get"}), "tool_pieces.get_user"),
        (row(tool_pieces={"get_user": []}), "gold_tool='get_user'"),
        ({"id": "r2"}, "tool_pieces"),
    ],
)
def test_a_bad_row_is_reported_by_its_line_and_the_others_are_read(tmp_path, bad, fragment):
    found = list(key_tokens_file(write_rows(tmp_path / "rows.jsonl", row(id=1), bad, row(id=3))))
    assert [got.get("id") for got in found] == [1, None, 3]
    assert found[1].keys() == {"line", "error"}
    assert found[1]["line"] == 2
    assert fragment in found[1]["error"]
