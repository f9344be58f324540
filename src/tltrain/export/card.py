"""README.md of an exported folder."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from tltrain.export.parsers import SGLANG_VERSION, VLLM_VERSION
from tltrain.render.chat import chat_message, chat_tool
from tltrain.render.turns import find_turns
from tltrain.syntax import CallSyntax
from tltrain.types import Message, Role, Tool, ToolCall

_MARKED_BY_SPECIALS = frozenset({"mistral", "deepseek", "harmony", "glm"})
"""Syntaxes whose marks are special tokens, which decoding must not drop."""


def write_example(tokenizer: Any, syntax: CallSyntax) -> str:
    """A turn with one call, up to the token that ends it, as the tokenizer's chat template writes it.

    Raises:
        DataError: the template refuses it.
    """
    call = ToolCall(name="move_event", arguments={"event_id": "ev1", "day": "2025-03-14"})
    messages = [Message(role=Role.USER, content="Move it."), Message(role=Role.ASSISTANT, calls=(call,))]
    tool = chat_tool(Tool(name=call.name, description="", parameters={}))
    text, turns = find_turns(tokenizer, [chat_message(message, syntax) for message in messages], [tool])
    return text[turns[-1].start : turns[-1].end]


def write_card(facts: Mapping[str, Any], *, syntax: str, example: str, place: str) -> str:
    """The card as Markdown.

    Args:
        facts: the other names of the template card.md.j2.
        syntax: in which the model writes calls.
        example: see `write_example`.
        place: the folder as commands name it.
    """
    import jinja2

    environment = jinja2.Environment(keep_trailing_newline=True, autoescape=False, undefined=jinja2.StrictUndefined)
    environment.filters["code"] = lambda text: f"`{text}`"
    source = resources.files(__package__).joinpath("card.md.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        facts,
        syntax=syntax,
        place=place,
        fence="```",
        example=example,
        drops_specials=syntax not in _MARKED_BY_SPECIALS,
        vllm_version=VLLM_VERSION,
        sglang_version=SGLANG_VERSION,
    )
