"""The verb convert, from the command line."""

import json

import pytest

from formats.chat_rows import ROWS
from tltrain.cli.app import main
from tltrain.formats.read import read_trajectories


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS["ms_swift"]) + "{oops\n")
    return path


def run(capsys, *arguments):
    code = main(["convert", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_counts_and_losses_are_printed(capsys, data, tmp_path):
    out = tmp_path / "out" / "rows.parquet"
    code, printed, _ = run(capsys, data, "--to", "openai", "--out", out, "--json")
    facts = json.loads(printed)
    assert code == 0
    assert (facts["read as"], facts["written as"], facts["read"], facts["written"]) == ("ms_swift", "openai", 1, 1)
    assert facts["quarantined"] == 1
    assert any("rounded" in phrase for phrase in facts["lost"])
    assert json.loads((tmp_path / "out" / "rows.parquet.quarantine.jsonl").read_text())["line"] == 2
    assert len(read_trajectories(out).trajectories) == 1


def test_verdicts_mask_calls(capsys, data, tmp_path):
    verdicts = tmp_path / "verdicts.jsonl"
    row = {"id": "data:1", "call": 0, "tool": "forecast", "source": "x", "label": "error", "kind": "refused"}
    row |= {"blame": "world", "evidence": "", "start": 0, "end": 0, "rule": "r", "truth": None}
    verdicts.write_text(json.dumps(row) + "\n")
    out = tmp_path / "rows.jsonl"
    assert run(capsys, data, "--to", "tltrain", "--out", out, "--verdicts", verdicts)[0] == 0
    spans = json.loads(out.read_text())["messages"][1]["spans"]
    assert {"field": "tool_calls[0]", "start": 0, "end": None, "weight": 0.0} in spans
    assert json.loads(out.read_text())["messages"][1]["mask_reason"] == "error: refused"
    run(capsys, data, "--to", "tltrain", "--out", out, "--verdicts", verdicts, "--policy", "none")
    assert "mask_reason" not in json.loads(out.read_text())["messages"][1]


def test_verdicts_on_other_rows_are_refused_and_nothing_is_left(capsys, data, tmp_path):
    verdicts = tmp_path / "verdicts.jsonl"
    row = {"id": "other:1", "call": 0, "tool": "forecast", "source": "x", "label": "ok", "kind": None}
    row |= {"blame": "unknown", "evidence": "", "start": 0, "end": 0, "rule": "r", "truth": None}
    verdicts.write_text(json.dumps(row) + "\n")
    out = tmp_path / "rows.jsonl"
    code, _, said = run(capsys, data, "--to", "tltrain", "--out", out, "--verdicts", verdicts)
    assert code == 1
    assert "its verdicts are on other rows" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["--to", "trl", "--strict"], 1, "not JSON"),
        (["--to", "tlr"], 2, "did you mean trl"),
        (["--to", "toolbench"], 2, "can be read but not written"),
        (["--to", "trl", "--from", "verl"], 0, ""),
        (["--to", "trl", "--policy", "harsh"], 2, "--policy='harsh' is not known"),
        ([], 2, "convert needs FILE"),
    ],
)
def test_mistakes(capsys, data, tmp_path, extra, code, message):
    out = tmp_path / "rows.jsonl"
    if extra[-1:] == ["verl"]:
        data.write_text(json.dumps(ROWS["verl"][0]) + "\n")
    found, _, said = run(capsys, data, "--out", out, *extra)
    assert found == code
    assert message in said
    assert out.exists() is (code == 0)


def test_the_file_that_is_read_is_not_written_over(capsys, data):
    before = data.read_bytes()
    code, _, said = run(capsys, data, "--to", "trl", "--out", data)
    assert code == 2
    assert "is the file that is read" in said
    assert data.read_bytes() == before


def test_formats_are_listed(capsys):
    code, printed, _ = run(capsys, "--formats", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(printed)}
    assert rows["trl"]["writable"]
    assert not rows["toolbench"]["writable"]
    assert all(row["summary"] for row in rows.values())
    assert "toolbench" in run(capsys, "--formats")[1]
