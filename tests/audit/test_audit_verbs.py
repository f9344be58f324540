import io
import json

import pytest

from generate.chat_server import completion, serve
from tltrain.cli import main
from tltrain.formats.openai_chat import row_from_trajectory
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory


def write(path, *feedback):
    rows = []
    for number, text in enumerate(feedback):
        messages = (
            Message(role=Role.USER, content="Go."),
            Message(role=Role.ASSISTANT, calls=(ToolCall(name="find"),)),
            Message(role=Role.TOOL, content=text),
        )
        rows.append(row_from_trajectory(Trajectory(id=f"t{number}", tools=(Tool(name="find"),), messages=messages)))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def audited(tmp_path):
    """An audit with two groups of doubtful feedback, of 2 calls and 1 call."""
    data = write(tmp_path / "data.jsonl", "No results for 'a'", "No results for 'b'", "{}", "[1, 2]", "HTTP 503")
    assert main(["audit", str(data), "--out", str(tmp_path / "out")]) == 0
    return tmp_path


def labels_of(path):
    return [json.loads(line)["label"] for line in path.read_text().splitlines()]


def test_the_audit_prints_its_tables(audited, capsys):
    assert main(["audit", str(audited / "data.jsonl"), "--out", str(audited / "again")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "service_failure tool find unknown 1" in shown
    assert "unknown 5 1 3 20.0%" in shown
    assert "strict 4 4 4" in shown
    assert "2 ambiguous find No results for <name>" in shown


def test_the_audit_says_what_never_trains_and_where_no_row_has_a_call(tmp_path, capsys):
    data = write(tmp_path / "data.jsonl", "[1, 2]", "[1, 2]")
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows[1]["messages"][1]["tool_calls"][0]["function"]["arguments"] = '{"a'
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["audit", str(data), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "calls that cannot be read 1; they never train" in " ".join(shown.out.split())
    assert "no row has a call" not in shown.err
    data.write_text(json.dumps({"messages": [{"role": "user", "content": "Hi"}]}) + "\n")
    assert main(["audit", str(data), "--out", str(tmp_path / "none")]) == 0
    shown = capsys.readouterr()
    assert "cannot be read" not in shown.out
    assert "no row has a call" in shown.err


def test_rules_are_listed(capsys, tmp_path):
    pack = tmp_path / "pack.yaml"
    pack.write_text("rules: [{name: nack, patterns: ['^NACK'], kind: refused}]")
    assert main(["audit", "rules", "--set", f"packs=[{pack}]", "--set", "off=[rate_limit]", "--json"]) == 0
    rules = {rule["name"]: rule for rule in json.loads(capsys.readouterr().out)}
    assert rules["nack"]["patterns"] == "^NACK"
    assert (rules["not_found"]["reach"], rules["not_found"]["blame"]) == ("notice", "world")
    assert {"call:type", "then:apology", "status_code"} <= rules.keys()
    assert "rate_limit" not in rules
    assert main(["audit", "rules"]) == 0
    assert "missing_argument" in capsys.readouterr().out


def test_a_wrong_name_in_off_is_refused(capsys):
    assert main(["audit", "rules", "--set", "off=[rate_limits]"]) == 2
    assert "did you mean rate_limit?" in capsys.readouterr().err


def test_preview_counts_and_shows_what_changes(audited, capsys):
    arguments = ["audit", "preview", str(audited / "data.jsonl"), "--set", "off=[nothing_found]"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["num_calls"], found["num_changed"]) == (5, 2)
    assert found["labels"] == {"ambiguous": [3, 1], "ok": [1, 3], "error": [1, 1]}
    assert found["changes"] == {"ambiguous -> ok": 2}
    assert [example["trajectory"] for example in found["examples"]] == ["t0", "t1"]
    assert found["examples"][0]["feedback"] == "No results for 'a'"
    assert main([*arguments, "--examples", "1"]) == 0
    shown = capsys.readouterr().out
    assert "2 of 5 verdicts change" in shown
    assert "t0, call 0 (find)" in shown
    assert "t1" not in shown


def test_preview_against_a_file_of_settings(audited, capsys):
    against = audited / "mine.yaml"
    against.write_text("off: [nothing_found]\n")
    assert main(["audit", "preview", str(audited / "data.jsonl"), "--against", str(against), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changes"] == {"ok -> ambiguous": 2}


def test_labels_by_hand_are_used_again(audited, capsys, monkeypatch):
    labels = audited / "labels.jsonl"
    monkeypatch.setattr("sys.stdin", io.StringIO("x\ne\nrefused\ns\n"))
    assert main(["audit", "label", str(audited / "out"), "--labels", str(labels), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["labelled"] == 1
    assert "1 of 2: find, 2 times ambiguous" in shown.err
    again = ["audit", str(audited / "data.jsonl"), "--out", str(audited / "b"), "--labels", str(labels), "--json"]
    assert main(again) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["kinds"] == {"refused": 2, "service_failure": 1}
    assert summary["rules"]["label:hand"] == 2


def test_quitting_keeps_what_was_said(audited, monkeypatch):
    labels = audited / "labels.jsonl"
    monkeypatch.setattr("sys.stdin", io.StringIO("o\nq\n"))
    assert main(["audit", "label", str(audited / "out"), "--labels", str(labels)]) == 0
    assert labels_of(labels) == ["ok"]


def test_blank_labels_wait_for_an_editor(audited, capsys):
    labels = audited / "labels.jsonl"
    assert main(["audit", "label", str(audited / "out"), "--labels", str(labels), "--blank", "--max-groups", "1"]) == 0
    assert labels_of(labels) == [None]
    assert capsys.readouterr().out.split("\n")[0].split() == ["to", "be", "filled", "in", "1"]
    assert main(["audit", "label", str(audited / "out"), "--labels", str(labels), "--blank"]) == 0
    assert labels_of(labels) == [None, None]


def test_a_judge_labels_what_it_can(audited, capsys):
    labels = audited / "labels.jsonl"
    answers = iter([completion('{"label": "error", "kind": "refused"}'), completion("hm")])
    with serve(lambda _: next(answers)) as endpoint:
        settings = ["--set", f"base_url={endpoint.url}", "--set", "model=m", "--set", "max_retries=0"]
        arguments = ["audit", "label", str(audited / "out"), "--labels", str(labels), "--judge", *settings, "--json"]
        assert main(arguments) == 0
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert (told["labelled"], told["left open"], told["without a readable answer"]) == (1, 1, 1)
    assert "no label: 'hm'" in shown.err
    assert labels_of(labels) == ["error"]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--judge", "--blank"], "exclude each other"),
        (["--set", "model=m"], "add --judge"),
        (["--judge", "--set", "model=m"], "base_url is missing"),
    ],
)
def test_wrong_usage_of_label(audited, extra, said, capsys):
    assert main(["audit", "label", str(audited / "out"), "--labels", str(audited / "l"), *extra]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_an_audit_is_refused(tmp_path, capsys):
    assert main(["audit", "label", str(tmp_path), "--labels", str(tmp_path / "l")]) == 1
    assert "doubtful.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["rules", "preview", "label"])
def test_every_verb_has_help_with_an_example(verb, capsys):
    assert main(["audit", verb, "--help"]) == 0
    assert f"Example: tltrain audit {verb}" in " ".join(capsys.readouterr().out.split())


def test_settings_of_reading_reach_the_audit(tmp_path, capsys):
    data = tmp_path / "data.jsonl"
    data.write_text(write(tmp_path / "good.jsonl", "[1]").read_text() + "{broken\n")
    assert main(["audit", str(data), "--out", str(tmp_path / "a"), "--strict"]) == 1
    assert f"{data}:2" in capsys.readouterr().err
    assert main(["audit", str(data), "--out", str(tmp_path / "b"), "--format", "odd"]) == 2
    assert "odd" in capsys.readouterr().err
