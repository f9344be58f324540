"""Tokens as rows for a page that shows what is trained, and how much."""

from enum import StrEnum
from typing import Any

from tltrain.render.rendered import RenderedTrajectory
from tltrain.render.tokens import tokenize
from tltrain.types import Json


class TokenKind(StrEnum):
    """What a token is a part of; where two fit, the later one here counts."""

    CONTEXT = "context"
    """What the assistant reads: tools, user, feedback, the template's own words."""
    TEXT = "text"
    """Text of the assistant, and the punctuation of its calls."""
    END = "end"
    """The end of its turn."""
    VALUE = "value"
    PARAM = "param"
    """The name of a parameter."""
    NAME = "name"
    """The name of a tool."""
    KEY = "key"
    """A key token: it decides which tool is called."""


def token_rows(rendered: RenderedTrajectory, tokenizer: Any) -> list[dict[str, Json]]:
    """One row `{"text", "weight", "kind", "blocked"}` for each token.

    The texts, joined, are the rendered text; where tokens share a character, the first has it and the others are
    empty. `blocked` marks tokens of the assistant that are not trained.
    """
    kinds = _kinds(rendered)
    tokens = tokenize(tokenizer, rendered.text)
    rows: list[dict[str, Json]] = []
    shown = 0
    for kind, weight, end in zip(kinds, rendered.weights, tokens.ends, strict=False):
        is_blocked = kind is not TokenKind.CONTEXT and weight == 0
        text = rendered.text[shown:end]
        rows.append({"text": text, "weight": weight, "kind": kind.value, "blocked": is_blocked})
        shown = end
    return rows


def _kinds(rendered: RenderedTrajectory) -> list[TokenKind]:
    kinds = [TokenKind.CONTEXT] * len(rendered.input_ids)

    def mark(kind: TokenKind, start: int, end: int) -> None:
        kinds[start:end] = [kind] * (end - start)

    for turn in rendered.turns:
        mark(TokenKind.TEXT, turn.start, turn.end)
        if turn.has_end:
            mark(TokenKind.END, turn.end - 1, turn.end)
    for call in rendered.calls:
        for parameter in call.parameters:
            mark(TokenKind.VALUE, *parameter.value)
            mark(TokenKind.PARAM, *parameter.key)
        if call.name:
            mark(TokenKind.NAME, *call.name)
        for position in call.key_positions:
            mark(TokenKind.KEY, position, position + 1)
    return kinds
