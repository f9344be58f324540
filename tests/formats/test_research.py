"""Laws that hold for every research format."""

import copy
import json
import time
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.reading import read
from formats.research_rows import BFCL, OTHERS, ROWS, changed
from tltrain.errors import DataError
from tltrain.formats.base import Companions, Format
from tltrain.formats.research import RESEARCH_FORMATS
from tltrain.types import Json, Role, Trajectory

each_format = pytest.mark.parametrize("format", RESEARCH_FORMATS, ids=lambda format: format.name)


@pytest.fixture(scope="session")
def companions(tmp_path_factory: pytest.TempPathFactory) -> Companions:
    folder = tmp_path_factory.mktemp("companions")
    path = folder / "tools.json"
    path.write_text(json.dumps([{"name": "sort", "api_name": "sort", "parameters": {}}]))
    return Companions(tools=path)


@each_format
def test_only_its_own_rows_are_taken(format: Format):
    for name, rows in ROWS.items():
        for row in rows:
            assert (format.refuse(row) is None) is (name == format.name), (name, format.refuse(row))
    for row in OTHERS:
        assert format.refuse(row)


@each_format
@pytest.mark.parametrize("record", [None, 3, "x", [], [1], {}, {"conversations": []}, {"conversations": [3]}])
def test_what_is_no_row_is_refused_in_words_and_by_reading(format: Format, record: Json, companions: Companions):
    reason = format.refuse(record)
    assert reason
    assert "\n" not in reason
    with pytest.raises(DataError, match=r"^data\.json:3: "):
        read(format, record, companions)


@each_format
def test_rows_are_read(format: Format, companions: Companions):
    for row in ROWS[format.name]:
        for trajectory in read(format, row, companions):
            assert trajectory.provenance["source"] == format.name
            assert any(message.role is Role.USER for message in trajectory.messages)
            json.dumps(dict(trajectory.provenance), allow_nan=False)
    assert format.summary


ODD = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 10**20),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(
            ["", "{", "[", "]}", "[[[[" * 30, "f(", "f(a=1)", "f\n{", "'", "{'a': 1}", '{"a": NaN}', "\ud800"]
        ),
        st.sampled_from(["<think>", "<obs> x </obs>", "<tool_call>", "USER:", "FUNCTION RESPONSE: 1", "Action: f"]),
        st.sampled_from(["system", "user", "assistant", "tool", "Action", "Thought", "-" * 3000, "1" * 5000]),
        st.text(max_size=6),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every value inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, item in inner for place in places(item, (*path, key))]


def damage(row: Any, data: st.DataObject) -> Any:
    """The row with one value replaced, cut short, dropped or said twice."""
    row = copy.deepcopy(row)
    *path, last = data.draw(st.sampled_from(places(row)))
    place = row
    for key in path:
        place = place[key]
    value = place[last]
    match data.draw(st.sampled_from(["replace", "drop", "cut", "twice"])):
        case "drop":
            del place[last]
        case "cut" if isinstance(value, str):
            place[last] = value[: data.draw(st.integers(0, len(value)))]
        case "twice" if isinstance(place, list):
            place.insert(last, value)
        case _:
            place[last] = data.draw(ODD)
    return row


@each_format
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_damaged_rows_are_read_or_refused_and_nothing_else(format: Format, companions: Companions, data: st.DataObject):
    row = data.draw(st.sampled_from(ROWS[format.name]))
    for _ in range(data.draw(st.integers(1, 3))):
        row = damage(row, data) if isinstance(row, dict) and row else row
    format.refuse(row)
    try:
        items = list(format.read(row, where="data.json:3", companions=companions))
    except DataError as error:
        items = [error]
    assert items
    for item in items:
        if isinstance(item, Trajectory):
            assert item.messages
            assert all(message.calls == () or message.role is Role.ASSISTANT for message in item.messages)
            for before, message in pairwise((None, *item.messages)):
                if message and message.role is Role.TOOL:
                    assert before
                    assert before.calls or before.role is Role.TOOL
        else:
            assert str(item).startswith("data.json:3: ")


def test_a_row_is_refused_with_the_field_that_it_lacks():
    reasons = {format.name: format.refuse({"id": "x", "query": "y"}) for format in RESEARCH_FORMATS}
    assert reasons["xlam"] == "'tools' is missing"
    assert reasons["toolbench"] == "'tree' is missing"
    assert reasons["bfcl"] == "'question' is missing"
    assert "'function' nor 'involved_classes'" in str(
        next(format for format in RESEARCH_FORMATS if format.name == "bfcl").refuse({**BFCL, "function": None})
    )


LONG = [
    *[" ", "\n", "[", "{", "(", "'", '"', "\\", "*", "**", "\n**", "-", "1+", "a,", "Begin!", " Begin!\n", '"a": '],
    *["<think>", "<obs>", "<tool_call>", '{"name": "f"}\n', "[1,\n", '{"a":\n', "<functioncall> ", "\nUSER:", ", "],
    *["\nAction: f", "\nAction Input: {", "Thought:\n", "\n1. Name: a\n", "\nParameters: {", "optional, ", "List["],
    *["\nFunction:\ndef f(a):", "\n    a (b): c", "api_list = [", 'task_instruction = "', "One of: [", "<|endoftext|>"],
]


@pytest.mark.slow
@each_format
def test_long_texts_of_any_kind_are_read_in_linear_time(format: Format, companions: Companions):
    # A quadratic reader would take minutes for one of them.
    for row in ROWS[format.name]:
        texts = [(place, value) for place in places(row) if isinstance(value := value_at(row, place), str)]
        longest = sorted(texts, key=lambda text: len(text[1]))[-6:]
        for piece in LONG:
            for place, value in longest:
                for text in (piece * (50_000 // len(piece)), value + piece * (50_000 // len(piece)) + value):
                    check_time(format, changed(row, *place, to=text), companions, piece)


def value_at(row: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        row = row[key]
    return row


@pytest.mark.parametrize(
    ("name", "number", "place", "text"),
    [
        ("seal_tools", 1, ("conversations", 0, "value"), 'api_list = []\ntask_instruction = "x"' + " " * 50_000 + "y"),
        ("react", 0, ("conversations", 1, "value"), "Rain?" + " " * 50_000 + "y"),
        ("toolrl", 0, ("output",), "<tool_call>" + "[1,\n" * 5_000),
        ("glaive", 0, ("system",), "Use -" + '{"name": "f"}\n' * 2_000),
        ("toolalpaca", 0, ("Golden_Answers", 0, 0, "Action_Input"), '"a": ' * 10_000),
        ("xlam", 0, ("answers",), "[" * 50_000),
        ("bfcl", 0, ("id",), "1_" * 25_000),
        ("tl_training", 1, ("conversations", 0, "content"), "Function:\ndef f(" + "a, " * 15_000 + "):\n"),
    ],
)
def test_long_texts_are_read_in_linear_time(
    name: str, number: int, place: tuple[str | int, ...], text: str, companions: Companions
):
    format = next(format for format in RESEARCH_FORMATS if format.name == name)
    check_time(format, changed(ROWS[name][number], *place, to=text), companions, text[:20])


def check_time(format: Format, row: Json, companions: Companions, piece: str) -> None:
    started = time.process_time()
    format.refuse(row)
    with suppress(DataError):
        list(format.read(row, where="data.json:3", companions=companions))
    assert time.process_time() - started < 3, piece
