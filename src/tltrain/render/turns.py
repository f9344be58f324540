"""Where the assistant's turns stand in a rendered conversation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tltrain.errors import DataError
from tltrain.render.chat import ChatMessage, ChatTool, chat_text

_STAND_IN: ChatTool = {
    "type": "function",
    "function": {"name": "stand_in", "description": "", "parameters": {"type": "object", "properties": {}}},
}
_EMPTY_BLOCK = re.compile(r"(?:\s|<[^<>]*>)*")
"""Tags with nothing in them, such as the empty thinking that some templates write into the last turn only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnText:
    """One turn of the assistant, by character offsets."""

    message: int
    """Its index in the conversation."""
    start: int
    """Right after the generation prompt."""
    end: int
    """After the end-of-turn token, before the blanks that follow it."""


def find_turns(
    tokenizer: Any, messages: Sequence[ChatMessage], tools: Sequence[ChatTool]
) -> tuple[str, tuple[TurnText, ...]]:
    """Render a conversation and find the assistant's turns in it.

    A turn starts where the prompt that made it ends: the messages before it, rendered with a generation prompt, must
    be the beginning of the whole text, else the model would be trained behind a prompt that it never sees.

    Returns:
        The whole text, and the turns in order.

    Raises:
        DataError: the template renders a turn differently once more messages follow, or refuses the messages.
    """
    text = chat_text(tokenizer, messages, tools)
    if not tools:
        return text, _find_turns_in(text, tokenizer, messages, tools)
    # The beginnings are rendered with one small tool in place of all, which is many times faster; the turns are
    # where they are found if all that comes after the first generation prompt is the same in both renderings.
    brief = chat_text(tokenizer, messages, [_STAND_IN])
    turns = _find_turns_in(brief, tokenizer, messages, [_STAND_IN])
    if turns and not text.endswith(brief[turns[0].start :]):
        return text, _find_turns_in(text, tokenizer, messages, tools)
    shift = len(text) - len(brief)
    return text, tuple(TurnText(message=turn.message, start=turn.start + shift, end=turn.end + shift) for turn in turns)


def _find_turns_in(
    text: str, tokenizer: Any, messages: Sequence[ChatMessage], tools: Sequence[ChatTool]
) -> tuple[TurnText, ...]:
    turns = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = chat_text(tokenizer, messages[:index], tools, add_generation_prompt=True)
        is_last = index == len(messages) - 1
        until_turn = text if is_last else chat_text(tokenizer, messages[: index + 1], tools)
        if not text.startswith(prompt) or not until_turn.startswith(prompt):
            raise _rewritten(index, _differing_excerpt(prompt, text))
        start = len(prompt)
        written = _without_empty_block(until_turn[start:], text[start:])
        if written is None:
            raise _rewritten(index, _differing_excerpt(until_turn, text))
        turns.append(TurnText(message=index, start=start, end=start + len(written.rstrip())))
    return tuple(turns)


def _without_empty_block(written: str, text: str) -> str | None:
    """The part of a turn, written as the last one, with which the text goes on; None if anything but tags is lost."""
    block = _EMPTY_BLOCK.match(written)
    assert block is not None, "the pattern matches the empty string"
    return next(
        (written[cut:] for cut in range(block.end() + 1) if written[cut:].strip() and text.startswith(written[cut:])),
        None,
    )


def _differing_excerpt(beginning: str, text: str) -> tuple[str, str]:
    """What stands where the two first differ."""
    pairs = zip(beginning, text, strict=False)
    position = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(beginning), len(text)))
    return beginning[position : position + 40], text[position : position + 40]


def _rewritten(index: int, excerpts: tuple[str, str]) -> DataError:
    shown, rendered = excerpts
    return DataError(
        f"the chat template rewrites messages[{index}] or what stands before it once more messages follow: the model "
        f"would see {shown!r}, and be trained on {rendered!r}; use a template that keeps earlier turns as they were "
        "written, or remove the thinking of earlier turns from the data"
    )
