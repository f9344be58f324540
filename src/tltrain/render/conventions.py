"""What a chat template wants of its messages and how it writes calls, found out by rendering one call."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from jinja2 import TemplateError

from tltrain.syntax import SYNTAXES
from tltrain.types import ToolCall

TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, LookupError, AttributeError)
"""A template is a program; what it does with an odd tool schema or a missing field may fail in any of these ways."""

_ID = re.compile(r"[A-Za-z0-9]{9}")
"""What Mistral's templates want of the id of a call."""
_CALL = ToolCall(name="tltrain_probe", arguments={"text": "It's 5 o'clock", "count": 3, "is_new": True})
_TOOL = {
    "type": "function",
    "function": {"name": _CALL.name, "description": "", "parameters": {"type": "object", "properties": {}}},
}
_ORDER = ("deepseek", "harmony", "mistral", "hermes", "tool_code", "react", "glm", "llama", "python")
"""A syntax that reads what others write comes after them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conventions:
    """How a chat template takes and writes calls."""

    syntax: str | None
    """The syntax that reads its calls; None: it writes none, or none that is known."""
    arguments_as_text: bool = False
    """Arguments must come as JSON text, not as an object."""
    needs_ids: bool = False
    """Calls and feedback must have ids of nine letters and digits."""
    unreadable: str | None = None
    """A call as it writes it, if no known syntax reads it."""


_KNOWN: WeakKeyDictionary[Any, dict[str, Conventions]] = WeakKeyDictionary()
_SPECIALS: WeakKeyDictionary[Any, frozenset[str]] = WeakKeyDictionary()


def conventions_of(tokenizer: Any) -> Conventions:
    """The conventions of the tokenizer's chat template, which it must have; remembered."""
    of_tokenizer = _KNOWN.setdefault(tokenizer, {})
    template = str(tokenizer.chat_template)
    if template not in of_tokenizer:
        of_tokenizer[template] = _find_out(tokenizer)
    return of_tokenizer[template]


def _find_out(tokenizer: Any) -> Conventions:
    unreadable = None
    for as_text in (False, True):
        for needs_ids in (False, True):
            wanted = Conventions(syntax=None, arguments_as_text=as_text, needs_ids=needs_ids)
            written = _write_probe(tokenizer, wanted)
            for text in written:
                for name in _ORDER:
                    if SYNTAXES[name].parse(text).calls == (_CALL,):
                        return Conventions(syntax=name, arguments_as_text=as_text, needs_ids=needs_ids)
            if written and _CALL.name in written[-1]:
                unreadable = unreadable or written[-1]
    return Conventions(syntax=None, unreadable=unreadable)


def _write_probe(tokenizer: Any, conventions: Conventions) -> list[str]:
    """The turn that calls the probe, whole and without one after the other special token at its end.

    Which of them the call ends with and which end the turn is not known. Empty if the template refuses the turn.
    """
    function = {"name": _CALL.name, "arguments": dict(_CALL.arguments)}
    user: dict[str, Any] = {"role": "user", "content": "Hello"}
    turn: dict[str, Any] = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": function}],
    }
    try:
        prompt, text = (
            tokenizer.apply_chat_template(
                adapt(messages, conventions), tools=[_TOOL], tokenize=False, add_generation_prompt=is_prompt
            )
            for messages, is_prompt in (([user], True), ([user, turn], False))
        )
    except TEMPLATE_ERRORS:
        return []
    shared = next((at for at, (one, two) in enumerate(zip(prompt, text, strict=False)) if one != two), len(prompt))
    written: list[str] = [text[shared:].rstrip()]
    specials = sorted(special_texts(tokenizer), key=len, reverse=True)
    while ending := next((special for special in specials if written[-1].endswith(special)), ""):
        written.append(written[-1][: -len(ending)].rstrip())
    return written


def special_texts(tokenizer: Any) -> frozenset[str]:
    """The texts of the tokenizer's special tokens; remembered."""
    if tokenizer not in _SPECIALS:
        added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
        _SPECIALS[tokenizer] = frozenset(text for text in [*tokenizer.all_special_tokens, *added] if text)
    return _SPECIALS[tokenizer]


def adapt(messages: Sequence[Mapping[str, Any]], conventions: Conventions) -> list[dict[str, Any]]:
    """Messages as the template wants them; a beginning of them is adapted to a beginning of the result.

    Ids that fit are kept, others become numbered ones.
    """
    if not conventions.arguments_as_text and not conventions.needs_ids:
        return [dict(message) for message in messages]
    adapted = []
    number = 0
    open_ids: list[tuple[object, str]] = []
    """Of calls that no feedback answers yet: the id in the data, and the one for the template."""
    for message in messages:
        changed = dict(message)
        if message.get("tool_calls"):
            changed["tool_calls"] = [
                _adapt_call(call, number + at, conventions) for at, call in enumerate(message["tool_calls"])
            ]
            pairs = zip(message["tool_calls"], changed["tool_calls"], strict=True)
            open_ids = [(call.get("id"), other.get("id", "")) for call, other in pairs]
            number += len(open_ids)
        elif message["role"] == "tool" and conventions.needs_ids:
            answered = next((pair for pair in open_ids if pair[0] == message.get("tool_call_id")), None)
            answered = answered or next(iter(open_ids), None)
            if answered:
                open_ids.remove(answered)
            changed["tool_call_id"] = answered[1] if answered else _numbered(number)
        adapted.append(changed)
    return adapted


def _adapt_call(call: Mapping[str, Any], number: int, conventions: Conventions) -> dict[str, Any]:
    changed, function = dict(call), dict(call["function"])
    if conventions.arguments_as_text and not isinstance(function["arguments"], str):
        function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
    if conventions.needs_ids and not _ID.fullmatch(str(call.get("id"))):
        changed["id"] = _numbered(number)
    return changed | {"function": function}


def _numbered(number: int) -> str:
    return f"call{number:05d}"
