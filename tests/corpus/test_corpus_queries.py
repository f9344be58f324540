"""Keys: what copies of a query or a row may differ in, and what makes them different."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tltrain.corpus.queries import make_key, normalise, read_task, row_key, shorten
from tltrain.types import MalformedCall, Message, Role, Tool, ToolCall, Trajectory


def row(**fields) -> Trajectory:
    given = {
        "id": "a",
        "tools": (Tool(name="find", description="Finds a thing."), Tool(name="sum")),
        "messages": (
            Message(role=Role.USER, content="Find it."),
            Message(role=Role.ASSISTANT, calls=(ToolCall(name="find", arguments={"what": "it", "n": 1}, id="c1"),)),
            Message(role=Role.TOOL, content="found", call_id="c1"),
        ),
    }
    return Trajectory(**(given | fields))


def with_call(call) -> Trajectory:
    messages = row().messages
    return row(messages=(messages[0], Message(role=Role.ASSISTANT, calls=(call,)), messages[2]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What's the  weather, in Paris?", "what s the weather in paris"),
        ("Straße", "STRASSE"),
        ("ＡＢＣ １２", "abc 12"),  # full-width forms
        ("“Quoted” – text…", '"quoted" - text...'),
        ("at 5.", "at 5"),
        ("e\u0301te\u0301", "été"),  # accents as signs of their own
    ],
)
def test_copies_of_a_query_are_equal(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("what is 5-3", "what is 5+3"),
        ("what is 6/3", "what is 6*3"),
        ("pay 3.5", "pay 35"),
        ("set it to -5", "set it to 5"),
        ("$20", "€20"),
        ("कि", "कु"),  # vowel signs are marks, not letters
        ("?", "!"),
    ],
)
def test_queries_of_other_meaning_stay_apart(one, other):
    assert normalise(one) != normalise(other)


@settings(deadline=None)
@given(st.text())
def test_what_is_normalised_stays_as_it_is(text):
    once = normalise(text)
    assert normalise(once) == once
    assert bool(once) == bool(text.strip()) or not text.split()


def test_a_row_is_the_same_whatever_its_ids_blanks_provenance_and_order_of_tools():
    messages = row().messages
    other = row(
        id="b",
        tools=(Tool(name="sum"), Tool(name="find", description=" Finds a\nthing.")),
        messages=(
            Message(role=Role.USER, content=" Find  it.\n"),
            Message(role=Role.ASSISTANT, calls=(ToolCall(name="find", arguments={"n": 1, "what": "it"}, id="x"),)),
            Message(role=Role.TOOL, content="found", call_id="x", name="find"),
        ),
        provenance={"teacher": "me"},
    )
    assert row_key(row()) == row_key(other)
    assert row_key(row(messages=messages[:2])) != row_key(row())


@pytest.mark.parametrize(
    "other",
    [
        row(tools=(Tool(name="find", description="Finds a thing."),)),
        row(tools=(Tool(name="find", description="Finds nothing."), Tool(name="sum"))),
        with_call(ToolCall(name="sum", arguments={"what": "it", "n": 1})),
        with_call(ToolCall(name="find", arguments={"what": "it", "n": 2})),
        with_call(ToolCall(name="find", arguments={"what": "it", "n": "1"})),
        with_call(ToolCall(name="find", arguments={"what": "it", "n": True})),
        with_call(ToolCall(name="find", arguments={"what": "it", "n": 10**30})),
        with_call(MalformedCall(raw='find {"n": 1, "what": "it"}', reason="no call")),
        row(messages=(row().messages[0], Message(role=Role.ASSISTANT, weight=0.0, calls=row().messages[1].calls))),
    ],
)
def test_rows_that_teach_something_else_differ(other):
    assert row_key(other) != row_key(row())


def test_the_task_is_the_first_query_of_a_user():
    messages = (
        Message(role=Role.SYSTEM, content="Be kind."),
        Message(role=Role.ASSISTANT, content="Hello"),
        Message(role=Role.USER, content="First!"),
        Message(role=Role.USER, content="Second"),
    )
    task = read_task(row(messages=messages))
    assert (task.query, task.tools) == ("first", {"find", "sum"})
    assert read_task(row(messages=messages[:2])).query == ""


def test_both_ends_of_a_long_query_are_compared_and_its_key_is_of_the_whole():
    long = " ".join(str(random.Random(0).random()) for _ in range(1000))
    one, other = (
        read_task(row(messages=(Message(role=Role.USER, content=f"{long} {middle} {long}"),))) for middle in ("a", "b")
    )
    assert one.query == other.query
    assert len(one.query) < 4100
    assert one.query_key != other.query_key


def test_keys_know_where_a_text_ends():
    assert make_key("ab", "c") != make_key("a", "bc")
    assert make_key("\ud800") != make_key("")


def test_shortened_text_is_one_line():
    assert shorten("a\nb") == "a b"
    assert shorten("x" * 20, 10) == "xxxxxxx..."
