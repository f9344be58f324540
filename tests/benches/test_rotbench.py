import json
import random

import pytest
from rotbench_answers import mutate, recompute

from shared import data_file
from tltrain.benches.bench_case import Answer
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.rotbench import LEVELS, PromptStyle, RoTBench
from tltrain.benches.rotbench_rules import OfficialScore, Stages, read_turn, score_official
from tltrain.errors import DataError
from tltrain.types import MalformedCall, Role, ToolCall

NONE, TS, PI, CF = Stages(), Stages(ts=True), Stages(ts=True, pi=True), Stages(ts=True, pi=True, cf=True)
NAMES = ("look", "drop", "ask_to_user", "finish")


def turn(name, arguments="{}"):
    return f"Thought: so.\nAction: {name}\nAction Input: {arguments}"


@pytest.mark.parametrize(
    ("given", "golden", "stages"),
    [
        (turn("look", '{"a": "1"}'), [turn("look", '{"a": "1"}')], CF),
        (turn("look", '{"a": "2"}'), [turn("look", '{"a": "1"}')], PI),
        (turn("look", '{"b": "1"}'), [turn("look", '{"a": "1"}')], TS),
        (turn("drop", '{"a": "1"}'), [turn("look", '{"a": "1"}')], NONE),
        (turn("look", '{"a": "1"}') + "\n\nThought: more", [turn("look", '{"a": "1"}')], NONE),  # no JSON
        (turn("look"), [turn("look")], NONE),  # an empty input is skipped
        (turn("look", '"a"'), [turn("look")], NONE),
        (turn("look", '{"a": "2", "n": "9"}'), [turn("look", '{"a": "2", "n": "None"}')], CF),
        # the free value is deleted for good, so the second alternative has one key more than what is left
        (
            turn("look", '{"a": "2", "n": "9"}'),
            [turn("look", '{"a": "1", "n": "None"}'), turn("look", '{"a": "2", "n": "9"}')],
            PI,
        ),
        (turn("ask_to_user", '{"q": "Who?"}'), [turn("ask_to_user", '{"q": "When?"}')], CF),  # content is free
        (turn("finish", '{"answer": "x"}'), [turn("finish", '{"answer": "y"}')], CF),
    ],
)
def test_the_released_script(given, golden, stages):
    assert score_official(given, golden, NAMES) == OfficialScore(stages)


def test_finish_stands_for_the_last_tool_and_ask_to_user_for_none():
    names, golden = ("look", "aks", "hsinif"), [turn("hsinif", '{"answer": "y"}')]
    assert score_official(turn("finish", '{"answer": "x"}'), golden, names).stages == CF
    golden = [turn("aks", '{"q": "y"}')]
    assert score_official(turn("ask_to_user", '{"q": "y"}'), golden, names).stages == NONE


def test_answers_that_end_the_script_are_told():
    golden = [turn("look", '{"a": "1"}')]
    assert score_official("", golden, NAMES) == OfficialScore(NONE, crashes=True)
    assert score_official(turn("look", "[1]"), golden, NAMES) == OfficialScore(TS, crashes=True)
    assert score_official(turn("drop", "[1]"), golden, NAMES) == OfficialScore(NONE)
    assert score_official(turn("look", "[" * 99999), golden, NAMES).crashes


@pytest.mark.parametrize(
    "text", ["", "I look.", "Action: look", turn("look", "{"), turn("look", "[]"), turn("look", "{} {}"), turn("")]
)
def test_turns_that_are_no_call(text):
    assert isinstance(read_turn(text), MalformedCall)


def test_turns_are_read_whatever_the_blanks():
    assert read_turn('Action:look \n\nAction Input:\n{"a": 1}\n') == ToolCall(name="look", arguments={"a": 1})


def tool(name, *parameters):
    properties = {key: {"type": "string", "description": ""} for key in parameters}
    schema = {"type": "object", "properties": properties, "required": list(parameters[:1])}
    return {"name": name, "description": "It does.", "parameters": schema}


@pytest.fixture
def bench(tmp_path):
    """Two cases of our own: a call without arguments, and one of two namesakes, the second of which is the last."""

    def write(style=PromptStyle.NATIVE):
        folder = tmp_path / "rotbench" / "First_Turn"
        folder.mkdir(parents=True, exist_ok=True)
        first = [tool("list_all"), tool("ask_to_user", "question"), tool("finish", "answer")]
        second = [tool("find", "key", "n"), tool("ask_to_user", "question"), tool("find", "answer")]
        golden = [
            [turn("list_all")],
            [turn("find", '{"key": "k", "n": "None"}'), turn("find", '{"key": "l", "n": "2"}')],
        ]
        entries = [
            {
                "scenario": "TG",
                "conversations": [
                    {"from": "system", "value": f"Use these:\n{json.dumps(tools)}\n\nLet's Begin!"},
                    {"from": "user", "value": "Do it.\nBegin!\n"},
                    {"from": "assistant", "value": turns},
                ],
            }
            for tools, turns in zip((first, second), golden, strict=True)
        ]
        (folder / "clean.json").write_text(json.dumps(entries))
        return RoTBench(DataFolder(tmp_path, allow_changed=True), levels=["clean"], style=style)

    return write


def scores(verdict):
    official = Stages(verdict.ts, verdict.pi, verdict.cf)
    return official, Stages(*(verdict.details[f"fixed_{name}"] for name in ("ts", "pi", "cf"))), verdict.label


def test_cases_and_their_prompts(bench):
    first, second = bench().load()
    assert (first.id, second.id) == ("clean/0", "clean/1")
    assert first.groups == {"level": "clean", "perturbation": "clean: nothing", "scenario": "clean: TG"}
    assert first.request.messages[-1].content == "Do it."
    assert [tool.name for tool in first.request.tools] == ["list_all", "ask_to_user", "finish"]
    original, _ = bench(PromptStyle.ORIGINAL).load()
    assert original.request.tools == ()
    assert original.request.messages[0].role is Role.SYSTEM
    assert "Let's Begin!" in original.request.messages[0].content


def test_calls_in_the_models_own_syntax_are_judged(bench):
    case, namesakes = bench().load()

    def judge(case, *calls):
        return scores(bench().judge(case, Answer("", calls)))

    assert judge(case, ToolCall(name="list_all")) == (NONE, CF, "script_rule")
    assert judge(case) == (NONE, NONE, "missing_call")
    assert judge(case, ToolCall(name="list_all"), ToolCall(name="list_all")) == (NONE, NONE, "unwanted_call")
    assert judge(case, MalformedCall(raw="list_all(", reason="")) == (NONE, NONE, "format_error")
    assert judge(case, ToolCall(name="ask")) == (NONE, NONE, "tool_hallucination")
    # the last tool is a namesake, so the script leaves the content free; it belongs to the first tool
    wrong = ToolCall(name="find", arguments={"key": "x", "n": "1"})
    assert judge(namesakes, wrong) == (CF, PI, "all_right")
    assert judge(namesakes, ToolCall(name="find", arguments={"key": "k", "n": "1"})) == (CF, CF, "all_right")
    assert judge(namesakes, ToolCall(name="find", arguments={"key": "k"})) == (TS, TS, "param_missing")


def test_original_style_judges_the_text(bench):
    original = bench(PromptStyle.ORIGINAL)
    _, case = original.load()
    assert scores(original.judge(case, Answer(turn("find", '{"key": "k", "n": "1"}'), ()))) == (CF, CF, "all_right")
    assert scores(original.judge(case, Answer("I find nothing.", ()))) == (NONE, NONE, "format_error")


def test_entries_of_another_shape_are_named(bench, tmp_path):
    path = tmp_path / "rotbench" / "First_Turn" / "clean.json"
    bench()
    entries = json.loads(path.read_text())
    entries[1]["conversations"][2]["value"] = ["Action: find"]
    path.write_text(json.dumps(entries))
    with pytest.raises(DataError, match=r"clean.json: entry 1: .*a golden answer cannot be read"):
        RoTBench(DataFolder(tmp_path, allow_changed=True), levels=["clean"]).load()


@pytest.fixture(scope="module")
def published():
    return RoTBench(DataFolder(data_file("rotbench").parent))


def test_golden_answers_reach_what_the_script_allows(published):
    cases = published.load()
    assert len(cases) == 840
    for level in LEVELS:
        chosen = [case for case in cases if case.groups["level"] == level]
        for position, reached in (
            (0, 95.24 if level == "heavy" else 92.38),
            (-1, 94.76 if level == "heavy" else 91.43),
        ):
            verdicts = [published.judge(case, Answer("", case.gold[position])) for case in chosen]
            for stage in ("ts", "pi", "cf"):
                share = sum(getattr(verdict, stage) for verdict in verdicts) / len(verdicts)
                assert round(100 * share, 2) == reached
                assert all(verdict.details[f"fixed_{stage}"] for verdict in verdicts)


def test_the_script_computed_anew_agrees_on_mutated_answers(published):
    rng = random.Random(0)
    num_answers = num_right = 0
    for case in rng.sample(published.load(), 150):
        golden, names = list(case.source.alternatives), list(case.source.tool_names)
        for text in mutate(golden, names, rng):
            expected = recompute(text, golden, names)
            assert score_official(text, golden, names).stages == expected, (case.id, text)
            num_answers += 1
            num_right += expected[2]
    assert num_answers > 5000
    assert 0.05 < num_right / num_answers < 0.95
