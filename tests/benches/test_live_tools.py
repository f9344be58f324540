"""ToolEyes with tools that are really called."""

import json
import os
import signal
from pathlib import Path

import pytest
from policies import TextPolicy
from public_sets import write_public_sets
from pydantic import ValidationError

from tltrain.benches.live_tools import LiveTools
from tltrain.benches.public_config import PublicEvalConfig
from tltrain.benches.public_run import evaluate_public, score_again
from tltrain.benches.recorded_tools import FILE
from tltrain.benches.tool_answers import LIVE_FILE, NO_TOOL
from tltrain.cli import main
from tltrain.errors import UsageError
from tltrain.stage import Reuse
from tltrain.taxonomy import FeedbackKind
from tltrain.types import ToolCall

COUNTER = """
from pathlib import Path
LOG = Path(__file__).with_suffix(".log")

def look(key):
    print("looking")
    with LOG.open("a") as log:
        log.write(key)
    return f"{key} for the {len(LOG.read_text())}th time"
"""
TALK = [
    "look(key='a')",
    "look(key='a')",
    "look(kex='a')",
    "list(key='a')",
    "ask_to_user(question='Why?')",
    "finish(answer='x')",
]


def tools(folder: Path, code: str, *, timeout_s: float = 5, max_chars: int = 100) -> LiveTools:
    path = folder / "my_tools.py"
    path.write_text(code)
    return LiveTools(path, timeout_s=timeout_s, max_chars=max_chars)


def ask(live: LiveTools, name: str = "look", **arguments: object):
    return live.execute(ToolCall(name=name, arguments=arguments), "Tool_Library/Look/Look")


def talk(request):
    return TALK[sum(message.role == "assistant" for message in request.messages)]


def run(
    folder: Path, name: str, code: str | None = COUNTER, *, policy: TextPolicy | None = None, reuse=Reuse.REFUSE, **more
):
    sets, path = folder / "sets", folder / "my_tools.py"
    if not sets.exists():
        write_public_sets(sets)
    if code is not None:
        path.write_text(code)
        more["tooleyes_tools"] = path
    config = PublicEvalConfig(benches=("tooleyes",), allow_changed=True, batch_size=1, **more)
    chosen = policy or TextPolicy(talk)
    out = folder / name
    result = evaluate_public(config, data_dir=sets, model="m", out=out, policy=chosen, reuse=reuse)
    rows = [json.loads(line) for line in (out / "tooleyes.jsonl").open()]
    said = [[each["content"] for each in row["messages"] if each["role"] == "tool"] for row in rows]
    return result.scores.benches["tooleyes"], said


@pytest.mark.parametrize(
    ("body", "text", "error"),
    [
        ("return 'plain'", "plain", None),
        (
            "return {'name': 'Zoë', 'day': __import__('datetime').date(2025, 1, 2)}",
            '{"name": "Zoë", "day": "2025-01-02"}',
            None,
        ),
        ("return None", "null", None),
        ("return 'x' * 200 + key", "x" * 100, None),
        ("return chr(0xd800)", "?", None),
        ("return {}[key]", "KeyError: 'a'", FeedbackKind.UNCATEGORISED),
        ("raise ValueError(f'{key} is no number')", "ValueError: a is no number", FeedbackKind.TYPE_OR_VALUE),
        (
            "raise __import__('urllib.error').error.URLError('gone')",
            "urllib.error.URLError: <urlopen error gone>",
            FeedbackKind.SERVICE_FAILURE,
        ),
        ("raise SystemExit(3)", "SystemExit: 3", FeedbackKind.UNCATEGORISED),
        ("__import__('time').sleep(9)", "TimeoutError: no answer within 0.2 s", FeedbackKind.SERVICE_FAILURE),
        ("return NotImplemented", None, None),
    ],
)
def test_what_a_function_gives_is_the_answer(tmp_path, body, text, error):
    live = tools(tmp_path, f"def look(key):\n    {body}", timeout_s=0.2)
    found = ask(live, key="a")
    assert (found and found.text, found and found.error) == (text, error)


@pytest.mark.parametrize(
    ("arguments", "text", "error"),
    [
        ({"kex": "a"}, "look() got an unexpected keyword argument 'kex'", FeedbackKind.UNEXPECTED_ARGUMENT),
        ({}, "look() missing 1 required positional argument: 'key'", FeedbackKind.MISSING_ARGUMENT),
    ],
)
def test_wrong_arguments_get_the_error_of_python(tmp_path, arguments, text, error):
    found = ask(tools(tmp_path, "def look(key): return key"), **arguments)
    assert (found.text.startswith(f"TypeError: {text}"), found.error) == (True, error)


def test_one_function_for_all_tools_may_ask_for_the_set(tmp_path):
    code = "def call(name, arguments): return [name, arguments]"
    assert ask(tools(tmp_path, code), key="a").text == '["look", {"key": "a"}]'
    code = "async def call(name, arguments, tool_set): return tool_set\ndef look(key): return 'own'"
    live = tools(tmp_path, code)
    assert (ask(live, key="a").text, ask(live, "other").text) == ("own", "Tool_Library/Look/Look")
    assert ask(tools(tmp_path, "def see(): return 1"), key="a") is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (None, "tooleyes_tools=.* is no file; name a Python file with a function for each tool, or one call"),
        ("import nothing_of_the_kind", "cannot be run: ModuleNotFoundError"),
        ("x = 1\n_f = print", "has no function; it must have a function for each tool"),
    ],
)
def test_files_that_cannot_be_used_are_refused_before_anything_is_written(tmp_path, code, said):
    if code is None:
        with pytest.raises(UsageError, match=said):
            run(tmp_path, "out", None, tooleyes_tools=tmp_path / "none.py")
    else:
        with pytest.raises(UsageError, match=said):
            run(tmp_path, "out", code)
    assert not (tmp_path / "out").exists()


def test_a_live_run_is_recorded_with_all_that_its_calls_were_answered(tmp_path, capsys):
    scores, said = run(tmp_path, "live")
    assert said[0][:2] == ["a for the 1th time", "a for the 2th time"]
    assert said[1][:2] == ["a for the 3th time", "a for the 4th time"]
    assert said[0][2].startswith("TypeError: look() got an unexpected keyword argument 'kex'")
    assert said[0][3] == "name 'list' is not defined"  # a tool that is not on offer reaches nothing in the file
    assert said[0][4].startswith("I have nothing to add.")
    assert capsys.readouterr().out == ""
    told = (
        "Tools: 6 calls were made live, by my_tools.py; 2 were not, and were simulated; 2 name a tool that is not on "
    )
    assert told in scores.notes[0]
    assert scores.scores["CE"].mean == pytest.approx(100 * 4 / 12)
    assert not (tmp_path / "live" / LIVE_FILE).exists()
    # judged again, the same call in the same place has the same answer, and nothing is called
    before = (tmp_path / "live" / "tooleyes.jsonl").read_bytes()
    again = score_again(tmp_path / "live", data_dir=tmp_path / "sets", allow_changed=True)
    assert again.benches["tooleyes"] == scores
    assert (tmp_path / "live" / "tooleyes.jsonl").read_bytes() == before
    replay = tmp_path / "live" / FILE
    played, same = run(tmp_path, "replayed", None, tooleyes_replay=replay, tooleyes_missing="unanswered")
    assert (same, played.scores) == (said, scores.scores)
    assert (tmp_path / "my_tools.log").read_text() == "aaaa"


@pytest.mark.parametrize("missing", ["simulate", "unanswered"])
def test_calls_that_the_file_does_not_know(tmp_path, missing):
    scores, said = run(tmp_path, "out", "def see(key): return key", tooleyes_missing=missing)
    how = "were simulated" if missing == "simulate" else "got no answer"
    assert f"0 calls were made live, by my_tools.py; 8 were not, and {how};" in scores.notes[0]
    assert said[0][0] == NO_TOOL if missing == "unanswered" else "Simulated result" in said[0][0]
    assert said[0][4].startswith("I have nothing to add.")  # nobody needs a tool for that


def test_what_is_recorded_is_not_called(tmp_path):
    _, first = run(tmp_path, "first")
    lines = (tmp_path / "first" / FILE).read_text().splitlines(keepends=True)
    replay = tmp_path / "some.jsonl"
    replay.write_text("".join(line for line in lines if json.loads(line).get("query") == "TG/0"))
    scores, said = run(tmp_path, "second", COUNTER, tooleyes_replay=replay)
    # the other query has no calls of its own in the recording, and gets the last answers of the same calls
    assert (said[0], said[1][:2]) == (first[0], ["a for the 2th time"] * 2)
    assert "0 calls were made live, by my_tools.py, 6 were answered from a recording" in scores.notes[0]


class Mortal(TextPolicy):
    """Kills its own process when it is asked for the nth time."""

    def __init__(self, lives: int):
        super().__init__(talk)
        self._lives = lives

    def answer(self, requests, told=None):
        self._lives -= 1
        if self._lives < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(requests, told)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_run_makes_no_call_twice(tmp_path):
    child = os.fork()
    if child == 0:
        run(tmp_path, "out", policy=Mortal(8))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    log = tmp_path / "my_tools.log"
    assert log.read_text() == "aaaa"
    with (tmp_path / "out" / LIVE_FILE).open("a") as file:
        file.write('{"tool": "lo')  # a line that was cut short
    rest = TextPolicy(talk)
    scores, said = run(tmp_path, "out", policy=rest, reuse=Reuse.RESUME)
    assert len(rest.asked) == 4
    assert log.read_text() == "aaaa"
    assert said[1][:2] == ["a for the 3th time", "a for the 4th time"]
    assert "6 calls were made live" in scores.notes[0]


def test_settings_without_effect_are_refused(tmp_path, capsys):
    with pytest.raises(ValidationError, match="tooleyes_tools is for tooleyes, which benches does not name"):
        PublicEvalConfig(benches=("toolalpaca",), tooleyes_tools=tmp_path / "t.py")
    assert main(["eval", "d.jsonl", "--tooleyes-tools", "t.py", "--out", "o"]) == 2
    assert "--tooleyes-tools" in capsys.readouterr().err
    assert main(["eval", "--bench", "tooleyes", "--tooleyes-tools", "t.py", "--out", "o", "--dry-run"]) == 0
    assert "tooleyes_tools: t.py" in capsys.readouterr().out
