"""`tltrain inspect` and `tltrain explain` on the command line."""

import json
import subprocess
import sys

import pytest
from inspection_samples import MASKED, RIGHT, UNREADABLE, WRONG, write_rows
from page_reader import read_page

from tltrain.cli import main


@pytest.fixture
def data(tmp_path):
    return write_rows(tmp_path / "data.jsonl", RIGHT, WRONG, UNREADABLE, MASKED)


def test_inspect_writes_one_page_and_says_what_it_holds(data, tmp_path, capsys):
    assert main(["inspect", str(data), "--out", str(tmp_path / "page.html"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["page"] == str(tmp_path / "page.html")
    assert result["counts"] == {
        "num_rows": 4,
        "num_calls": 5,
        "num_blocked": 3,
        "num_skipped": 0,
        "labels": {"ok": 3, "error": 2},
    }
    assert result["num_bytes"] == (tmp_path / "page.html").stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "page.html"]


def test_the_policy_decides_what_the_page_shows_as_blocked(data, tmp_path):
    assert main(["inspect", str(data), "--out", str(tmp_path / "page.html"), "--policy", "none"]) == 0
    index = read_page(tmp_path / "page.html").index
    assert [index["verdicts"][place][3] for place in index["call_verdicts"]] == ["", "", "", "format", "file"]
    assert index["policy"] == "policy none"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--out", "page"], 2, "ends in .html"),
        (["--out", "page.html", "--policy", "lenien"], 2, "did you mean lenient?"),
        (["--out", "page.html", "--verdicts", "none.jsonl"], 1, "none.jsonl: no such file of verdicts"),
        (["--out", "page.html", "--model", "/no/such/model"], 1, "model folder /no/such/model: not found"),
    ],
)
def test_mistakes_are_named_and_leave_no_page(data, tmp_path, monkeypatch, capsys, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", str(data), *arguments]) == code
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_explain_shows_verdict_rule_evidence_blame_and_what_is_trained(data, capsys):
    assert main(["explain", str(data), "--row", "wrong"]) == 0
    shown = capsys.readouterr().out
    assert "✓ call 0  find   ok" in shown
    assert "✗ call 1  find   error" in shown
    assert "«Error: no such thing»" in shown
    assert "blame: " in shown
    assert "under policy paper" in shown
    assert "Sorry." in shown


def test_explain_shows_one_call_alone(data, capsys):
    assert main(["explain", str(data), "--row", "wrong", "--call", "0", "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)["calls"]
    assert (shown["call"], shown["arguments"], shown["feedback"]) == (0, {"what": "a"}, '{"found": 1}')
    assert (shown["verdict"]["label"], shown["is_trained"], shown["blocked"]) == ("ok", True, [])
    assert main(["explain", str(data), "--row", "wrong", "--call", "0"]) == 0
    assert "Sorry." not in capsys.readouterr().out


def test_explain_names_the_nearest_rows_and_the_calls_that_there_are(data, capsys):
    assert main(["explain", str(data), "--row", "wrnog"]) == 1
    assert "has no row 'wrnog'; the nearest are wrong" in capsys.readouterr().err
    assert main(["explain", str(data), "--row", "wrong", "--call", "2"]) == 2
    assert "row 'wrong' has calls 0 to 1" in capsys.readouterr().err


def test_explain_keeps_the_terminal_safe_and_shows_what_the_file_masks(tmp_path, capsys):
    masked = json.loads(json.dumps(MASKED))
    masked["messages"][2]["content"] = "\x1b[31mred\x07"
    assert main(["explain", str(write_rows(tmp_path / "data.jsonl", masked)), "--row", "masked"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\ufffd[31mred\ufffd" in shown
    assert "by the file" in shown


def test_without_a_model_nothing_heavy_is_loaded(data, tmp_path):
    script = (
        "import sys; from tltrain.cli import main\n"
        f"assert main(['inspect', {str(data)!r}, '--out', {str(tmp_path / 'p.html')!r}]) == 0\n"
        f"assert main(['explain', {str(data)!r}, '--row', 'wrong', '--json']) == 0\n"
        "print(sorted({'torch', 'transformers', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stderr.splitlines()[-1] == "[]"
