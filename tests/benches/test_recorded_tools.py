import json

import pytest
from policies import TextPolicy
from public_sets import write_public_sets

from tltrain.benches.public_config import PublicEvalConfig
from tltrain.benches.public_run import evaluate_public, score_again
from tltrain.benches.recorded_tools import FILE, read_recording
from tltrain.benches.tool_answers import NO_ANSWER
from tltrain.errors import DataError


def write(request):
    """Calls the first tool with the name of the query's length, then once more, then finishes with what it read."""
    heard = [message.content for message in request.messages if message.role == "tool"]
    if len(heard) == 2:
        return f"finish(answer={' '.join(heard)!r})"
    return f"{request.tools[0].name}(key='{'ab'[len(heard)]}')"


def run(tmp_path, name, **settings):
    sets = tmp_path / "sets"
    if not sets.exists():
        write_public_sets(sets)
    config = PublicEvalConfig(benches=("tooleyes",), allow_changed=True, **settings)
    out = tmp_path / name
    result = evaluate_public(config, data_dir=sets, model="m", out=out, policy=TextPolicy(write))
    return result.scores.benches["tooleyes"], [json.loads(line) for line in (out / "tooleyes.jsonl").open()]


def test_a_run_is_recorded_and_played_back(tmp_path):
    scores, rows = run(tmp_path, "first")
    recorded = [json.loads(line) for line in (tmp_path / "first" / FILE).open()]
    assert {row["arguments"]["key"] for row in recorded} == {"a", "b"}
    assert all(row.keys() == {"tool", "arguments", "feedback", "error"} for row in recorded)
    for row in recorded:
        row["feedback"] = f"live {row['arguments']['key']}"
    replay = tmp_path / "live.jsonl"
    replay.write_text("".join(f"{json.dumps(row)}\n" for row in recorded))
    played, rows = run(tmp_path, "second", tooleyes_replay=replay, tooleyes_missing="unanswered")
    assert {row["answer"] for row in rows} == {"live a live b"}
    assert any(f"{2 * len(rows)} calls were answered from a recording; 0 are not" in note for note in played.notes)
    assert played.scores == scores.scores
    # judged again without the file that was played back
    replay.unlink()
    before = (tmp_path / "second" / "tooleyes.jsonl").read_text()
    again = score_again(tmp_path / "second", data_dir=tmp_path / "sets", allow_changed=True)
    assert again.benches["tooleyes"] == played
    assert (tmp_path / "second" / "tooleyes.jsonl").read_text() == before


@pytest.mark.parametrize("missing", ["simulate", "unanswered"])
def test_calls_that_are_not_recorded(tmp_path, missing):
    _, simulated = run(tmp_path, "first")
    lines = (tmp_path / "first" / FILE).read_text().splitlines(keepends=True)
    replay = tmp_path / "half.jsonl"
    replay.write_text("".join(line for line in lines if json.loads(line)["arguments"]["key"] == "a"))
    scores, rows = run(tmp_path, "second", tooleyes_replay=replay, tooleyes_missing=missing)
    number = len(rows)
    how = "were simulated" if missing == "simulate" else "got no answer"
    told = f"Tools: {number} calls were answered from a recording; {number} are not in it, and {how}."
    assert told in scores.notes[0]
    if missing == "simulate":
        assert rows == simulated
    else:
        assert all(row["answer"].endswith(NO_ANSWER) and row["num_failed"] == 1 for row in rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "tooleyes_replay: there is no file"),
        ("", r"calls\.jsonl is empty"),
        ('{"tool": "f", "arguments": {}, "feedback": "x"}\n{"tool": "f", "arguments": []}\n', r"calls\.jsonl:2: argum"),
        ('{"tool": "f", "arguments": {}}\n', r"calls\.jsonl:1: feedback: Field required"),
        ("{\n", r"calls\.jsonl"),
    ],
)
def test_recordings_that_cannot_be_read(tmp_path, text, message):
    path = tmp_path / "calls.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_recording(path)
