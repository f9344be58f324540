"""How the names of tools are cut into tokens in the place where a call writes one of them."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tltrain.render.key_tokens import name_key_positions
from tltrain.render.tokens import TokenizedText, tokenize_all
from tltrain.syntax import Span, get_syntax
from tltrain.types import ToolCall

_NUM_CONTEXT_TOKENS = 2
"""Tokens kept on each side of a name. Tokenizers cut a name alike whatever stands further away; this is checked."""


@lru_cache(maxsize=10_000)
def written_name(syntax_name: str, name: str) -> str:
    """A tool's name as a call of this syntax writes it, without quotes but with escapes."""
    syntax = get_syntax(syntax_name)
    text = syntax.render("", [ToolCall(name=name)])
    span = syntax.parse(text).spans[0].name
    return text[span.start : span.end] if span else name


class NamePaths:
    """Key tokens of calls under one tokenizer. Remembers what was tokenised: tool sets and places repeat."""

    def __init__(self) -> None:
        self._paths: dict[tuple[str, str, str], tuple[int, ...]] = {}

    def key_positions(self, tokenizer: Any, tokens: TokenizedText, name: Span, names: Sequence[str]) -> tuple[int, ...]:
        """Positions of the key tokens of a call.

        The other names are tokenised in the place of this one, since a token may hold the character before a name or
        the one after it; one token after the name belongs to its path.

        Args:
            tokenizer: the same in every call.
            tokens: the whole conversation.
            name: where it writes the name of the called tool.
            names: the names of all available tools, as calls write them.
        """
        span = tokens.overlap(name.start, name.end)
        path = tuple(tokens.ids[span.start : span.end + 1])
        first = max(span.start - _NUM_CONTEXT_TOKENS, 0)
        last = min(span.end + _NUM_CONTEXT_TOKENS, len(tokens.ids)) - 1
        left = tokens.text[tokens.starts[first] : name.start]
        own, right = tokens.text[name.start : name.end], tokens.text[name.end : tokens.ends[last]]
        if self._cut(tokenizer, [own], left, right) != [path]:
            left = tokens.text[: name.start]
        others = self._cut(tokenizer, [other for other in names if other != own], left, right)
        return tuple(span.start + position for position in name_key_positions(path, others))

    def _cut(self, tokenizer: Any, names: Sequence[str], left: str, right: str) -> list[tuple[int, ...]]:
        """Token ids of each name between these texts, with the token that follows it."""
        unknown = [name for name in names if (left, name, right) not in self._paths]
        for name, tokens in zip(
            unknown, tokenize_all(tokenizer, [left + name + right for name in unknown]), strict=True
        ):
            span = tokens.overlap(len(left), len(left) + len(name))
            self._paths[left, name, right] = tuple(tokens.ids[span.start : span.end + 1])
        return [self._paths[left, name, right] for name in names]
