"""README.md of an exported folder."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from tltrain.export.parsers import SGLANG_VERSION, VLLM_VERSION
from tltrain.syntax import get_syntax
from tltrain.types import ToolCall

_MARKED_BY_SPECIALS = frozenset({"mistral", "deepseek", "harmony", "glm"})
"""Syntaxes whose marks are special tokens, which decoding must not drop."""


def write_card(facts: Mapping[str, Any], *, syntax: str, place: str) -> str:
    """The card as Markdown.

    Args:
        facts: the other names of the template card.md.j2.
        syntax: in which the model writes calls.
        place: the folder as commands name it.
    """
    import jinja2

    environment = jinja2.Environment(keep_trailing_newline=True, autoescape=False, undefined=jinja2.StrictUndefined)
    environment.filters["code"] = lambda text: f"`{text}`"
    source = resources.files(__package__).joinpath("card.md.j2").read_text(encoding="utf-8")
    call = ToolCall(name="move_event", arguments={"event_id": "ev1", "day": "2025-03-14"})
    return environment.from_string(source).render(
        facts,
        syntax=syntax,
        place=place,
        fence="```",
        example=get_syntax(syntax).render("", [call]),
        drops_specials=syntax not in _MARKED_BY_SPECIALS,
        vllm_version=VLLM_VERSION,
        sglang_version=SGLANG_VERSION,
    )
