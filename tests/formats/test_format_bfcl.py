import json
import re
from pathlib import Path

import pytest

from formats.reading import count, load, read, read_file, read_one, refuses, steps, tool_call
from formats.research_rows import BFCL, BFCL_ANSWER, BFCL_MULTI_TURN, changed, without
from shared import data_file
from tltrain.errors import DataError
from tltrain.formats.base import Companions
from tltrain.formats.bfcl import BFCL as FORMAT
from tltrain.formats.bfcl import find_companions
from tltrain.formats.bfcl_answers import read_answer, read_source
from tltrain.types import MalformedCall, Message, Role, Tool, ToolCall

SORT = Tool(name="sort", parameters={"type": "object", "properties": {"file": {}, "n": {}}, "required": ["file"]})
MULTI_TURN_ANSWER = {"id": "multi_turn_base_0", "ground_truth": [["cd('log')", "cat(file='a')"], ["sort('a')"], []]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Second files, laid out as the leaderboard does, for questions in `data.json`."""
    (tmp_path / "possible_answer").mkdir()
    rows = [BFCL_ANSWER, MULTI_TURN_ANSWER]
    (tmp_path / "possible_answer" / "data.json").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "multi_turn_func_doc").mkdir()
    documents = [
        {"name": name, "parameters": {"type": "dict", "properties": {"file": {"type": "string"}}}}
        for name in ("cd", "cat", "sort", "rm")
    ]
    path = tmp_path / "multi_turn_func_doc" / "gorilla_file_system.json"
    path.write_text("\n".join(map(json.dumps, documents)))
    return tmp_path


@pytest.fixture
def companions(folder: Path) -> Companions:
    return Companions(answers=folder / "possible_answer", tools=folder / "multi_turn_func_doc")


def test_a_question_with_its_answer(companions: Companions):
    trajectory = read_one(FORMAT, BFCL, companions)
    assert trajectory.id == "simple_python_3"
    arguments = {"city": "Oslo", "at": [59.9, 10.8], "options": {"days": 2}}
    assert trajectory.messages == (
        Message(role=Role.SYSTEM, content="Be kind."),
        Message(role=Role.USER, content="Rain in Oslo?"),
        Message(role=Role.ASSISTANT, calls=(ToolCall(name="sky.get_weather", arguments=arguments),)),
    )
    truth = BFCL_ANSWER["ground_truth"]
    assert trajectory.provenance == {"source": "bfcl", "category": "simple_python", "ground_truth": truth}


def test_types_become_those_of_json_schema(companions: Companions):
    (tool,) = read_one(FORMAT, BFCL, companions).tools
    assert tool.name == "sky.get_weather"
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "at": {"type": "array", "items": {"type": "number"}},
            "type": {},
            "options": {"type": "object", "properties": {"days": {"type": "integer"}}},
        },
        "required": ["city"],
    }


def test_without_answers_the_question_alone_is_read():
    trajectory = read_one(FORMAT, BFCL)
    assert [message.role for message in trajectory.messages] == [Role.SYSTEM, Role.USER]
    assert "ground_truth" not in trajectory.provenance


def test_turns_have_their_calls_one_after_another(companions: Companions):
    trajectory = read_one(FORMAT, BFCL_MULTI_TURN, companions)
    assert [message.role.value for message in trajectory.messages] == [
        *("user", "assistant", "assistant", "user", "assistant")
    ]
    assert [step.call for step in steps([trajectory])] == [
        ToolCall(name="cd", arguments={"file": "log"}),
        ToolCall(name="cat", arguments={"file": "a"}),
        ToolCall(name="sort", arguments={"file": "a"}),
    ]
    assert [tool.name for tool in trajectory.tools] == ["cd", "cat", "sort"]
    assert trajectory.provenance["initial_config"] == {"GorillaFileSystem": {"root": {}}}
    assert trajectory.provenance["category"] == "multi_turn_base"


def test_second_files_are_found_beside_the_questions(folder: Path):
    path = folder / "data.json"
    assert find_companions(path) == Companions(
        answers=folder / "possible_answer" / "data.json", tools=folder / "multi_turn_func_doc"
    )
    (trajectory,) = FORMAT.read(BFCL, where=f"{path}:1", companions=Companions())
    assert isinstance(trajectory, type(read_one(FORMAT, BFCL)))
    assert len(trajectory.messages) == 3
    assert find_companions(folder / "question" / "data.json").answers == folder / "possible_answer" / "data.json"


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({"a": [1, 2]}, {"a": 1}),
        ({"a": ["", 2]}, {}),
        ({"a": []}, {}),
        ({"file": ["", "x"]}, {"file": "x"}),
        ({"file": [""]}, {"file": ""}),
        ({"a": [None]}, {"a": None}),
        ({"a": [[1, 2], [3]]}, {"a": [1, 2]}),
        ({"a": [{"x": ["p", "q"], "y": ["", 3], "z": 4}]}, {"a": {"x": "p", "z": 4}}),
        ({"a": [[{"x": [1]}, {"x": [2, 3]}]]}, {"a": [{"x": 1}, {"x": 2}]}),
        ({"a": [{"x": [{"y": ["not", "one"]}]}]}, {"a": {"x": {"y": ["not", "one"]}}}),
    ],
)
def test_the_first_alternative_is_taken(given: dict[str, object], arguments: dict[str, object]):
    ((call,),) = read_answer({"ground_truth": [{"sort": given}]}, [SORT], "x")  # type: ignore[dict-item]
    assert call == ToolCall(name="sort", arguments=arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("f(a=1, b='x', c=[(1, 2.5)], d={'k': None})", "f", {"a": 1, "b": "x", "c": [[1, 2.5]], "d": {"k": None}}),
        ("math.area.circle(r=-1.5)", "math.area.circle", {"r": -1.5}),
        ("f(p=1/6, amount=500*500, n=2-3)", "f", {"p": 1 / 6, "amount": 250000, "n": -1}),
        ("sort('a', n=2)", "sort", {"file": "a", "n": 2}),
        ("f(a=true, b=True)", "f", {"a": True, "b": True}),
        (" f( ) ", "f", {}),
    ],
)
def test_source_is_read_as_a_call(text: str, name: str, arguments: dict[str, object]):
    call = read_source(text, {"sort": SORT})
    assert call == ToolCall(name=name, arguments=arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("f('a')", "argument 1 is given by position"),
        ("sort('a', 2, 3)", "argument 3 is given by position"),
        ("sort('a', file='b')", "'file' is given twice"),
        ("f(**{'a': 1})", "arguments by \\*\\*"),
        ("f(*[1])", "given by position"),
        ("f(a=g(1))", "a Python Call is no plain value"),
        ("f(a=x)", "a Python Name"),
        ("f(a=2**9999)", "a Python Pow"),
        ("f(a=10**99*10**99)", "a Python Pow"),
        ("f(a=1e300*1e300)", "too large"),
        ("f(a=1/0)", "a Python Div"),
        ("f(a='x'*3)", "no number"),
        ("f(a={1: 2})", "no quoted string"),
        ("f(a=b'x')", "a Python bytes"),
        ("f(a=1e999)", "a Python float"),
        ("f(a=1j)", "a Python complex"),
        ("f(a='\\ud800')", "half of a surrogate pair"),
        ("f(a=" + "[" * 100 + "]" * 100 + ")", "nested deeper than 64"),
        ("f(a=" + "[" * 10**5, "nested deeper"),
        ("f(a=" + "-" * 10**5 + "1)", "not Python that can be read|nested deeper|not Python"),
        ("f(a=" + "1+" * 10**5 + "1)", "not Python that can be read|nested deeper|not Python"),
        ("f(a=" + "9" * 5000 + ")", "not Python"),
        ("f(a=1", "not Python"),
        ("f", "no call"),
        ("f(1)(2)", "no name"),
        ("import os", "not Python"),
        ("f(a='\0')", "not Python"),
        ("x" * 2_000_000, "longer than 1,000,000"),
    ],
)
def test_source_that_is_no_plain_call_is_kept(text: str, reason: str):
    call = read_source(text, {"sort": SORT})
    assert isinstance(call, MalformedCall)
    assert call.raw == text
    assert re.search(reason, call.reason), call.reason


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (without(BFCL, "id"), "id is missing"),
        (changed(BFCL, "id", to="simple_python_9"), "id 'simple_python_9' has no answer in "),
        (changed(BFCL, "question", to="x"), "question is of type string"),
        (changed(BFCL, "question", to=[[], []]), "question has 2 turns, its answer 1"),
        (changed(BFCL, "question", 0, to="x"), r"question\[0\] is of type string"),
        (changed(BFCL, "question", 0, 1, "role", to="tool"), r"question\[0\]\[1\]\.role is of type string \('tool'\)"),
        (changed(BFCL, "question", 0, 1, "content", to=None), r"question\[0\]\[1\]\.content is missing"),
        (without(BFCL, "function"), "function is missing"),
        (changed(BFCL, "function", 0, "name", to=""), r"function\[0\]\.name is empty"),
        (changed(BFCL_MULTI_TURN, "involved_classes", to=["Os"]), "involved_classes names 'Os'; use some of"),
        (changed(BFCL_MULTI_TURN, "involved_classes", to=["MathAPI"]), "no such file of tool documents"),
    ],
)
def test_bad_rows_name_their_field(companions: Companions, row: dict[str, object], message: str):
    with pytest.raises(DataError, match=message):
        read(FORMAT, row, companions)


def test_turns_without_their_tools_are_not_read():
    refuses(FORMAT, BFCL_MULTI_TURN, r"holds no tool documents of its own; name the file that does \(--tools")


@pytest.mark.parametrize("truth", ["x", [3], [{}], [{"f": 1}], [{"f": {"a": 1}}], [[1]], [{"f": {}, "g": {}}]])
def test_bad_answers_name_their_field(truth: object):
    with pytest.raises(DataError, match=r"^x: answer\.ground_truth"):
        read_answer({"ground_truth": truth}, [], "x")  # type: ignore[dict-item]


SIMPLE = [
    ("simple_python", 400, 400),
    ("multiple", 200, 200),
    ("parallel", 200, 540),
    ("parallel_multiple", 200, 607),
    ("live_simple", 258, 258),
    ("live_multiple", 1053, 1053),
    ("live_parallel", 16, 39),
    ("live_parallel_multiple", 24, 55),
    ("irrelevance", 240, 0),
    ("live_irrelevance", 884, 0),
    ("live_relevance", 16, 0),
]


@pytest.mark.parametrize(("category", "num_cases", "num_calls"), SIMPLE)
def test_the_real_questions(category: str, num_cases: int, num_calls: int):
    found = read_file(FORMAT, data_file(f"bfcl/BFCL_v4_{category}.json"))
    assert count(found) == (num_cases, num_calls, 0, 0)
    assert {trajectory.provenance["category"] for trajectory in found} == {category}
    turns = sum(trajectory.messages[0].role is Role.SYSTEM for trajectory in found)
    assert turns == {"live_simple": 11, "live_multiple": 37, "live_irrelevance": 42}.get(category, turns)


@pytest.mark.parametrize(
    ("category", "num_cases", "num_calls"),
    [("simple", 100, 100), ("multiple", 50, 50), ("parallel", 50, 188), ("parallel_multiple", 40, 112)],
)
def test_the_questions_that_the_paper_takes(category: str, num_cases: int, num_calls: int):
    # With p=1/6, amount=500*500 and the positional argument, all 450 calls of the 240 cases are read.
    found = read_file(FORMAT, data_file(f"bfcl/unused_datasets/question/BFCL_v4_exec_{category}.json"))
    assert count(found) == (num_cases, num_calls, 0, 0)


def test_the_real_dialogues():
    # 200 dialogues of 1 to 7 turns, 734 in all; 1,142 calls, of which those by position need the tools' documents.
    path = data_file("bfcl/BFCL_v4_multi_turn_base.json")
    found = read_file(FORMAT, path)
    assert count(found) == (200, 1142, 0, 0)
    assert sum(message.role is Role.USER for trajectory in found for message in trajectory.messages) == 734
    for trajectory, row in zip(found, load(path), strict=True):
        names = {tool.name for tool in trajectory.tools}
        assert isinstance(row, dict)
        assert not names & set(row.get("excluded_function") or [])  # type: ignore[arg-type]
        assert {tool_call(step).name for step in steps([trajectory])} <= names
