"""Weights that the file carries, shown as the text of the tokens that have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tltrain.errors import DataError
from tltrain.render.conversation import render
from tltrain.render.weights import KeyTokenWeighting
from tltrain.syntax import get_syntax
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory, WeightSpan, masked_calls

OFF = KeyTokenWeighting(variant="off")
PYTHON = get_syntax("python")


def conversation(**first) -> Trajectory:
    """Text, thinking and two calls in one message, then an answer."""
    names = ("get_user", "list_users")
    message = Message(
        role=Role.ASSISTANT,
        content=" Let me see.",
        reasoning="See who.",
        calls=(ToolCall(name="get_user", arguments={"n": 1}), ToolCall(name="list_users")),
        **first,
    )
    return Trajectory(
        id="row",
        tools=tuple(Tool(name=name) for name in names),
        messages=(
            Message(role=Role.USER, content="Who?"),
            message,
            Message(role=Role.TOOL, content="Ana"),
            Message(role=Role.TOOL, content="Ana, Bo"),
            Message(role=Role.ASSISTANT, content="Ana it is."),
        ),
    )


def render_row(trajectory: Trajectory, tokenizer):
    return render(trajectory, tokenizer, PYTHON, weighting=OFF)


def weighted(trajectory: Trajectory, tokenizer, weight: float) -> str:
    rendered = render_row(trajectory, tokenizer)
    ids = [token for token, value in zip(rendered.input_ids, rendered.weights, strict=True) if value == weight]
    return tokenizer.decode(ids)


def test_no_weights_change_nothing(python_tokenizer):
    text = weighted(conversation(), python_tokenizer, 1.0)
    assert "See who." in text
    assert "Let me see.\nget_user(n=1)\nlist_users()<|im_end|>" in text
    assert text.endswith("Ana it is.<|im_end|>")


def test_a_message_of_weight_0_is_context_alone(python_tokenizer):
    row = conversation(weight=0.0)
    assert weighted(row, python_tokenizer, 1.0) == "Ana it is.<|im_end|>"
    assert masked_calls(row) == {0, 1}
    assert all(call.blocked for call in render_row(row, python_tokenizer).calls)


def test_other_weights_are_factors(python_tokenizer):
    assert weighted(conversation(weight=0.25), python_tokenizer, 1.0) == "Ana it is.<|im_end|>"
    assert "get_user(n=1)" in weighted(conversation(weight=0.25), python_tokenizer, 0.25)
    paper = render(conversation(weight=0.5), python_tokenizer, PYTHON, weighting=KeyTokenWeighting())
    plain = render(conversation(), python_tokenizer, PYTHON, weighting=KeyTokenWeighting())
    first = plain.turns[0]
    for position, weight in enumerate(plain.weights):
        assert paper.weights[position] == weight * (0.5 if first.start <= position < first.end else 1)
    assert max(plain.weights) > 1


@pytest.mark.parametrize(
    ("field", "start", "end", "lost", "kept"),
    [
        ("content", 1, 4, "Let", " me see.\nget_user(n=1)"),
        ("content", 0, None, "Let me see.", "get_user(n=1)\nlist_users()<|im_end|>"),
        ("reasoning_content", 0, 3, "See", " who."),
        ("tool_calls[1]", 0, None, "list_users()", "Let me see.\nget_user(n=1)"),
    ],
)
def test_a_part_of_weight_0_is_context_alone(python_tokenizer, field, start, end, lost, kept):
    row = conversation(spans=(WeightSpan(field, start, end, 0.0),))
    trained = weighted(row, python_tokenizer, 1.0)
    assert lost not in trained
    assert kept in trained
    assert masked_calls(row) == ({1} if field == "tool_calls[1]" else set())


def test_a_part_stands_against_its_message(python_tokenizer):
    row = conversation(weight=0.0, spans=(WeightSpan("tool_calls[0]", 0, None, 1.0),))
    assert weighted(row, python_tokenizer, 1.0) == "get_user(n=1)Ana it is.<|im_end|>"
    assert masked_calls(row) == {1}


@given(st.integers(0, 14), st.integers(0, 14), st.sampled_from(["content", "reasoning_content"]))
def test_parts_stay_inside_their_turn(python_tokenizer, start, end, field):
    plain = render_row(conversation(), python_tokenizer)
    row = conversation(spans=(WeightSpan(field, start, end, 0.5),))
    found = render_row(row, python_tokenizer)
    first = plain.turns[0]
    touched = [n for n, pair in enumerate(zip(found.weights, plain.weights, strict=True)) if pair[0] != pair[1]]
    assert all(first.start <= position < first.end for position in touched)
    assert bool(touched) <= (start < end)


def test_nothing_left_is_refused_with_the_row(python_tokenizer):
    row = conversation(weight=0.0)
    answer = replace(row.messages[-1], weight=0.0)
    with pytest.raises(DataError, match="row: nothing to train on"):
        render_row(replace(row, messages=(*row.messages[:-1], answer)), python_tokenizer)
