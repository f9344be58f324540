"""What a chat template puts between two turns of the assistant, as token ids to go behind sampled ones.

A conversation with feedback grows by two kinds of tokens: those that the model sampled, which are kept as they are and
never tokenised again, and those that the template writes after them: the end of the turn, the feedback, and the opening
of the next turn.
"""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from tltrain.errors import DataError, ModelError
from tltrain.render.chat import chat_message, chat_text, chat_tool
from tltrain.render.conventions import special_texts
from tltrain.render.conversation import prompt_ids
from tltrain.render.turns import RewrittenTurnError, find_turns
from tltrain.syntax import CallSyntax
from tltrain.types import MalformedCall, Message, Role, Tool, ToolCall

_PROBE = Tool(name="probe", description="", parameters={"type": "object", "properties": {"x": {"type": "string"}}})


def continuation(
    tools: Sequence[Tool],
    messages: Sequence[Message],
    feedback: Sequence[Message],
    tokenizer: Any,
    syntax: CallSyntax,
    *,
    last_id: int,
) -> list[int]:
    """Token ids of what stands between the assistant's last turn and its next one.

    The template writes the conversation as read back from the model's text. Only what it puts behind the end of the
    last turn's text is taken, so it matters not that it may write a call otherwise than it was sampled. Calls that
    cannot be read stand there as a readable one of the first tool, as templates refuse feedback without a call.

    Args:
        tools: on offer.
        messages: up to and with the assistant's last turn, which has calls.
        feedback: the tool messages that answer it.
        tokenizer: with a chat template that knows tools.
        syntax: how that template writes calls.
        last_id: the last sampled token. Where it is the end-of-turn token that the template writes, it is not repeated.

    Raises:
        RewrittenTurnError: the template writes earlier turns differently once more follow.
        DataError: it refuses the messages.
        ModelError: no special token ends a turn, so that no boundary between tokens is sure to be there.
    """
    chat = [chat_message(_readable(message, tools), syntax) for message in [*messages, *feedback]]
    chat_tools = [chat_tool(tool) for tool in tools]
    place = len(messages) - 1
    written, turns = find_turns(tokenizer, chat, chat_tools, first=place)
    text = chat_text(tokenizer, chat, chat_tools, add_generation_prompt=True)
    turn = turns[0]
    specials = special_texts(tokenizer)
    ending = max((special for special in specials if written[: turn.end].endswith(special)), key=len, default="")
    start = turn.end - len(ending) if turn.has_end else turn.end
    if not text.startswith(written[: turn.end]):
        raise RewrittenTurnError(
            f"the chat template rewrites messages[{place}] once it opens another turn of the assistant; "
            "use a template that keeps earlier turns as they were written"
        )
    if not any(text.startswith(special, start) for special in specials):
        raise ModelError(
            f"the chat template goes on after an assistant's turn with {text[start : start + 20]!r}, which is no "
            "special token, so that sampled tokens and what follows would melt together; use one that ends turns so"
        )
    ids = prompt_ids(tokenizer, text[start:])
    return ids[1:] if ids[0] == last_id else ids


def check_continuation(tokenizer: Any, syntax: CallSyntax) -> None:
    """Refuse a chat template under which a conversation cannot go on from its sampled tokens.

    Raises:
        ModelError: with the reason.
    """
    call = ToolCall(name=_PROBE.name, arguments={"x": "one"}, id="call_1")
    turns = [
        Message(role=Role.USER, content="Do it."),
        Message(role=Role.ASSISTANT, calls=(call,)),
        Message(role=Role.TOOL, content="two", call_id="call_1", name=_PROBE.name),
        Message(role=Role.ASSISTANT, calls=(replace(call, id="call_2"),)),
        Message(role=Role.TOOL, content="three", call_id="call_2", name=_PROBE.name),
    ]
    try:
        for end in (2, 4):
            continuation([_PROBE], turns[:end], turns[end : end + 1], tokenizer, syntax, last_id=-1)
    except (DataError, ModelError) as error:
        raise ModelError(f"episodes need a chat template that lets a conversation grow: {error}") from error


def _readable(message: Message, tools: Sequence[Tool]) -> Message:
    if not any(isinstance(call, MalformedCall) for call in message.calls):
        return message
    name = tools[0].name if tools else _PROBE.name
    calls = tuple(
        ToolCall(name=name, arguments={}, id=call.id) if isinstance(call, MalformedCall) else call
        for call in message.calls
    )
    return replace(message, calls=calls)
