"""Where the assistant's turns stand in a rendered conversation."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from tltrain.errors import DataError
from tltrain.render.chat import ChatMessage, ChatTool, chat_text
from tltrain.render.conventions import special_texts

_STAND_IN: ChatTool = {
    "type": "function",
    "function": {"name": "stand_in", "description": "", "parameters": {"type": "object", "properties": {}}},
}
_END_IDS: WeakKeyDictionary[Any, dict[str, frozenset[int]]] = WeakKeyDictionary()
_EMPTY_BLOCK = re.compile(r"(?:\s|<[^<>]*>)*")
"""Tags with nothing in them, such as the empty thinking that some templates write into the last turn only."""


class RewrittenTurnError(DataError):
    """The template renders a turn of the assistant, or what stands before it, differently once more follows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnText:
    """One turn of the assistant, by character offsets."""

    message: int
    """Its index in the conversation."""
    start: int
    """Right after the generation prompt."""
    end: int
    """After the end-of-turn token, before the blanks that follow it."""
    has_end: bool = True
    """Whether it keeps the end-of-turn token that the model writes. False: the template puts another one in its place
    once more follows, which is context and stands after `end`."""


def find_turns(
    tokenizer: Any, messages: Sequence[ChatMessage], tools: Sequence[ChatTool], *, first: int = 0
) -> tuple[str, tuple[TurnText, ...]]:
    """Render a conversation and find the assistant's turns in it.

    A turn starts where the prompt that made it ends: the messages before it, rendered with a generation prompt, must
    be the beginning of the whole text, else the model would be trained behind a prompt that it never sees. Where no
    token ends a turn but the mark of who speaks next, as in GLM-4, that mark is the end of the turn; the last turn gets
    the one that would follow.

    Args:
        tokenizer: a transformers tokenizer with a chat template.
        messages: the conversation.
        tools: the tools on offer.
        first: messages before this one are context alone; their turns are not looked for.

    Returns:
        The whole text, and the turns in order.

    Raises:
        RewrittenTurnError: the template renders a turn differently once more messages follow.
        DataError: it refuses the messages.
    """
    text = chat_text(tokenizer, messages, tools)
    turns = _find_turns(text, tokenizer, messages, tools, first)
    specials = special_texts(tokenizer)
    if (
        turns
        and turns[-1].message == len(messages) - 1
        and _special_at(text, turns[-1].end, specials, before=True) is None
    ):
        text += _next_mark(text, tokenizer, messages, tools, specials)
    return text, tuple(_with_mark(text, turn, specials) for turn in turns)


def turn_end_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens after which the assistant has ended its turn: eos, and those that its chat template writes.

    Found out by rendering a text and a call; Gemma ends turns with another token than eos, GLM-4 and gpt-oss with one
    or the other by what the turn holds. Remembered.
    """
    ids: frozenset[int] = frozenset() if tokenizer.eos_token_id is None else frozenset([tokenizer.eos_token_id])
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        return ids
    known = _END_IDS.setdefault(tokenizer, {})
    key = str(template)
    if key not in known:
        known[key] = ids | frozenset(_written_end_ids(tokenizer))
    return known[key]


def _written_end_ids(tokenizer: Any) -> Iterator[int]:
    call = {"type": "function", "function": {"name": "stand_in", "arguments": {}}}
    for fields in ({"content": "x"}, {"content": "", "tool_calls": [call]}):
        messages: list[ChatMessage] = [{"role": "user", "content": "x"}, {"role": "assistant", **fields}]
        try:
            text, turns = find_turns(tokenizer, messages, [_STAND_IN])
        except DataError:
            continue
        ending = _special_at(text, turns[-1].end, special_texts(tokenizer), before=True)
        if ending is not None:
            yield tokenizer.convert_tokens_to_ids(ending)


def _find_turns(
    text: str, tokenizer: Any, messages: Sequence[ChatMessage], tools: Sequence[ChatTool], first: int
) -> tuple[TurnText, ...]:
    if not tools:
        return _find_turns_in(text, tokenizer, messages, tools, first)
    # The beginnings are rendered with one small tool in place of all, which is many times faster; the turns are
    # where they are found if all that comes after the first generation prompt is the same in both renderings.
    brief = chat_text(tokenizer, messages, [_STAND_IN])
    turns = _find_turns_in(brief, tokenizer, messages, [_STAND_IN], first)
    if turns and not text.endswith(brief[turns[0].start :]):
        return _find_turns_in(text, tokenizer, messages, tools, first)
    shift = len(text) - len(brief)
    return tuple(replace(turn, start=turn.start + shift, end=turn.end + shift) for turn in turns)


def _find_turns_in(
    text: str, tokenizer: Any, messages: Sequence[ChatMessage], tools: Sequence[ChatTool], first: int
) -> tuple[TurnText, ...]:
    turns = []
    for index in range(first, len(messages)):
        if messages[index]["role"] != "assistant":
            continue
        prompt = chat_text(tokenizer, messages[:index], tools, add_generation_prompt=True)
        is_last = index == len(messages) - 1
        until_turn = text if is_last else chat_text(tokenizer, messages[: index + 1], tools)
        if not text.startswith(prompt) or not until_turn.startswith(prompt):
            raise _rewritten(index, _differing_excerpt(prompt, text))
        start = len(prompt)
        written = _without_empty_block(until_turn[start:], text[start:])
        has_end = written is not None
        if written is None:
            written = _without_other_end(until_turn[start:], text[start:], special_texts(tokenizer))
        if written is None:
            raise _rewritten(index, _differing_excerpt(until_turn, text))
        turns.append(TurnText(message=index, start=start, end=start + len(written.rstrip()), has_end=has_end))
    return tuple(turns)


def _special_at(text: str, position: int, specials: Collection[str], *, before: bool = False) -> str | None:
    """The longest special token that starts, or ends, at the position."""
    fits = text[:position].endswith if before else (lambda special: text.startswith(special, position))
    return max((special for special in specials if fits(special)), key=len, default=None)


def _next_mark(
    text: str, tokenizer: Any, messages: Sequence[ChatMessage], tools: Sequence[ChatTool], specials: Collection[str]
) -> str:
    """The special token that would directly follow the last turn; empty if none does."""
    following: list[ChatMessage] = [{"role": "user", "content": "x"}]
    if calls := messages[-1].get("tool_calls"):
        following = [
            {"role": "tool", "content": "x", "name": call["function"]["name"], "tool_call_id": call.get("id", "")}
            for call in calls
        ]
    try:
        longer = chat_text(tokenizer, [*messages, *following], tools)
    except DataError:
        return ""
    return (longer.startswith(text) and _special_at(longer, len(text), specials)) or ""


def _with_mark(text: str, turn: TurnText, specials: Collection[str]) -> TurnText:
    """The turn with the mark that ends it, where it ends in no special token of its own."""
    if not turn.has_end or _special_at(text, turn.end, specials, before=True) is not None:
        return turn
    return replace(turn, end=turn.end + len(_special_at(text, turn.end, specials) or ""))


def _without_other_end(written: str, text: str, specials: Collection[str]) -> str | None:
    """A turn without its end-of-turn token, if the text goes on with another special token in its place."""
    written = written.rstrip()
    own = _special_at(written, len(written), specials, before=True)
    body = written.removesuffix(own or "")
    is_other = bool(own) and body.strip() != "" and text.startswith(body)
    return body if is_other and _special_at(text, len(body), specials) else None


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


def _rewritten(index: int, excerpts: tuple[str, str]) -> RewrittenTurnError:
    shown, rendered = excerpts
    return RewrittenTurnError(
        f"the chat template rewrites messages[{index}] or what stands before it once more messages follow: the model "
        f"would see {shown!r}, and be trained on {rendered!r}; use a template that keeps earlier turns as they were "
        "written, or remove the thinking of earlier turns from the data"
    )
