import json

from tltrain.render.conversation import render
from tltrain.render.tokens_view import token_rows
from tltrain.render.weights import KeyTokenWeighting
from tltrain.syntax import get_syntax
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory

TRAJECTORY = Trajectory(
    id="row-7",
    tools=(Tool(name="get_user"), Tool(name="get_item")),
    messages=(
        Message(role=Role.USER, content="Go."),
        Message(
            role=Role.ASSISTANT,
            content="So 😀",
            calls=(ToolCall(name="get_user", arguments={"n": 1}), ToolCall(name="get_item", arguments={})),
        ),
        Message(role=Role.TOOL, content="ok"),
    ),
)


def render_rows(tokenizer, **options):
    rendered = render(
        TRAJECTORY,
        tokenizer,
        get_syntax("python"),
        blocked=frozenset([1]),
        weighting=KeyTokenWeighting(),
        **options,
    )
    return rendered, token_rows(rendered, tokenizer)


def test_rows_join_to_the_text_and_carry_the_weights(python_tokenizer):
    rendered, rows = render_rows(python_tokenizer)
    assert "".join(row["text"] for row in rows) == rendered.text
    assert [row["weight"] for row in rows] == rendered.weights
    assert json.loads(json.dumps(rows)) == rows


def test_rows_say_what_each_token_is_and_whether_it_is_blocked(python_tokenizer):
    _, rows = render_rows(python_tokenizer)
    own = [(row["text"], row["kind"], row["blocked"]) for row in rows if row["kind"] != "context"]
    assert own == [
        ("So", "text", False),
        (" 😀", "text", False),
        ("", "text", False),
        ("\n", "text", False),
        ("get", "key", False),
        ("_", "name", False),
        ("user", "key", False),
        ("(", "text", False),
        ("n", "param", False),
        ("=", "text", False),
        ("1", "value", False),
        (")", "text", False),
        ("\n", "text", True),
        ("get", "key", True),
        ("_", "name", True),
        ("item", "key", True),
        ("()", "text", True),
        ("<|im_end|>", "end", False),
    ]
    assert not any(row["blocked"] for row in rows if row["kind"] == "context")


def test_a_cut_sequence_has_a_row_for_each_token_left(python_tokenizer):
    whole, _ = render_rows(python_tokenizer)
    rendered, rows = render_rows(python_tokenizer, max_length=len(whole.input_ids) - 3)
    assert len(rows) == len(rendered.input_ids) == len(whole.input_ids) - 3
