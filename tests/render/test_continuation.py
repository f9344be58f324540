"""Sampled tokens and what a template puts between them are the tokens of the whole conversation."""

import pytest

from render.template_shapes import SHAPES, Shape, with_shape
from tiny_models import byte_tokenizer
from tltrain.errors import ModelError
from tltrain.render.chat import chat_message, chat_tool
from tltrain.render.continuation import check_continuation, continuation
from tltrain.render.conversation import render_prompt
from tltrain.render.turns import turn_end_ids
from tltrain.syntax import get_syntax
from tltrain.types import MalformedCall, Message, Role, Tool, ToolCall

TOOL = Tool(name="get_user", description="Look up.", parameters={"type": "object", "properties": {"x": {}}})
CALLS = [ToolCall(name="get_user", arguments={"x": f"it {number}"}, id=f"call_{number}") for number in (1, 2)]
MESSAGES = [
    Message(role=Role.USER, content="Who?"),
    Message(role=Role.ASSISTANT, calls=(CALLS[0],)),
    Message(role=Role.TOOL, content='{"name": "Ana"}', call_id="call_1", name="get_user"),
    Message(role=Role.ASSISTANT, calls=(CALLS[1],)),
    Message(role=Role.TOOL, content="Error: no such user", call_id="call_2", name="get_user"),
    Message(role=Role.ASSISTANT, content="It is Ana."),
]


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer(["get_user it Ana Who no such user name Error"])


def whole_ids(tokenizer, syntax, messages) -> list[int]:
    """The conversation by the tokenizer's own apply_chat_template; the adaptation of messages is the renderer's."""
    from tltrain.render.conventions import adapt, conventions_of

    chat = adapt([chat_message(message, syntax) for message in messages], conventions_of(tokenizer))
    text = tokenizer.apply_chat_template(chat, tools=[chat_tool(TOOL)], tokenize=False)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("keeps_end", [True, False])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=lambda shape: shape.name)
def test_grown_conversations_are_those_of_the_template(tokenizer, shape: Shape, keeps_end: bool):
    changed = with_shape(tokenizer, shape)
    syntax = get_syntax(shape.syntax)
    check_continuation(changed, syntax)
    whole = whole_ids(changed, syntax, MESSAGES)
    ids = render_prompt([TOOL], MESSAGES[:1], changed, syntax)
    assert whole[: len(ids)] == ids
    for end in (2, 4):
        # what the model is taken to sample: the template's own tokens up to the end of the turn
        turn_end = next(at for at in range(len(ids), len(whole)) if whole[at] in turn_end_ids(changed))
        ids = whole[: turn_end + keeps_end]
        ids += continuation([TOOL], MESSAGES[:end], MESSAGES[end : end + 1], changed, syntax, last_id=ids[-1])
        assert whole[: len(ids)] == ids
        assert ids == render_prompt([TOOL], MESSAGES[: end + 1], changed, syntax)


def test_calls_that_cannot_be_read_get_feedback_like_others(tokenizer):
    changed = with_shape(tokenizer, SHAPES["mistral_v7"])
    bad = [MESSAGES[0], Message(role=Role.ASSISTANT, calls=(MalformedCall(raw="[{", reason="cut", id="call_1"),))]
    options = {"tokenizer": changed, "syntax": get_syntax("mistral"), "last_id": -1}
    assert continuation([TOOL], bad, MESSAGES[2:3], **options) == continuation(
        [TOOL], MESSAGES[:2], MESSAGES[2:3], **options
    )


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        # earlier turns lose their text
        (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role != 'assistant' or loop.last %}"
            "{{ m.content }}{{ m.tool_calls }}{% endif %}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
            "rewrites",
        ),
        # no special token ends a turn
        (
            "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ m.tool_calls }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}",
            "no special token",
        ),
    ],
)
def test_templates_that_cannot_grow_are_refused(tokenizer, template: str, reason: str):
    changed = with_shape(tokenizer, SHAPES["qwen2_5"])
    changed.chat_template = template
    with pytest.raises(ModelError, match=reason):
        check_continuation(changed, get_syntax("hermes"))
