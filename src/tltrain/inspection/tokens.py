"""A row as the tokens that a trainer would see, cut into the turns of the assistant and the context between them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from tltrain.errors import DataError
from tltrain.inspection.rows import BlockedBy, InspectedRow
from tltrain.types import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenPiece:
    """One turn of the assistant, or what stands between two."""

    text: str
    num_tokens: int
    message: int | None = None
    """Index of the assistant's message; None: context."""
    lengths: tuple[int, ...] = ()
    """Characters of each token; empty for context. Of tokens that share a character, the first has it."""
    weights: tuple[float, ...] = ()
    """Loss weight of each token."""
    kinds: tuple[str, ...] = ()
    """What each token is a part of, in the words of `render.tokens_view.TokenKind`."""

    def token_texts(self) -> list[str]:
        """The text of each token of a turn."""
        ends = list(accumulate(self.lengths))
        return [self.text[end - length : end] for length, end in zip(self.lengths, ends, strict=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class CallWeights:
    """How the key tokens of one call are weighed."""

    num_key: int
    """|K|."""
    num_nonkey: int
    """|NK|."""
    weight: float
    """w, of each key token, were the call not blocked."""
    is_blocked: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RowTokens:
    """One row as tokens.

    Where the chat template rewrites earlier turns there is a sequence for each query, one behind the other.
    """

    pieces: tuple[TokenPiece, ...]
    calls: Mapping[int, CallWeights]
    """By the call's number."""
    num_tokens: int
    num_trained: int
    """Tokens of weight over 0."""


class TokenReader:
    """Renders rows with the tokenizer and chat template of one model, as training does.

    Args:
        model: a model or tokenizer, as `engine.model.load_tokenizer` takes it.

    Raises:
        ModelError: there is none, or it cannot be used.
    """

    def __init__(self, model: str):
        # torch and transformers are for those alone who ask for tokens
        from tltrain.engine.model import load_tokenizer
        from tltrain.render.template import ensure_tool_template
        from tltrain.render.weights import KeyTokenWeighting
        from tltrain.syntax import get_syntax

        self.name = model
        self._tokenizer: Any = load_tokenizer(model)
        self._syntax = get_syntax(ensure_tool_template(self._tokenizer))
        self._weighting = KeyTokenWeighting()

    def read(self, row: InspectedRow) -> RowTokens | DataError:
        """The row as tokens, or why it cannot be trained on."""
        from tltrain.render.conversation import render_pieces
        from tltrain.render.tokens_view import token_rows

        blocked = frozenset(
            call.step.number for call in row.calls if any(block.by is not BlockedBy.FORMAT for block in call.blocks)
        )
        try:
            sequences = render_pieces(
                row.trajectory, self._tokenizer, self._syntax, blocked=blocked, weighting=self._weighting
            )
        except DataError as error:
            return error
        return RowTokens(
            pieces=tuple(
                piece for rendered in sequences for piece in _cut(token_rows(rendered, self._tokenizer), rendered.turns)
            ),
            calls={
                call.number: CallWeights(
                    num_key=call.num_key, num_nonkey=call.num_nonkey, weight=call.weight, is_blocked=call.blocked
                )
                for rendered in sequences
                for call in rendered.calls
            },
            num_tokens=sum(len(rendered.weights) for rendered in sequences),
            num_trained=sum(weight > 0 for rendered in sequences for weight in rendered.weights),
        )


def _cut(rows: list[dict[str, Json]], turns: Any) -> Iterator[TokenPiece]:
    position = 0
    for turn in turns:
        if turn.start > position:
            yield _context(rows[position : turn.start])
        yield _turn(rows[turn.start : turn.end], turn.message)
        position = turn.end
    if position < len(rows):
        yield _context(rows[position:])


def _context(rows: list[dict[str, Json]]) -> TokenPiece:
    return TokenPiece(text="".join(str(row["text"]) for row in rows), num_tokens=len(rows))


def _turn(rows: list[dict[str, Json]], message: int) -> TokenPiece:
    texts = [str(row["text"]) for row in rows]
    return TokenPiece(
        text="".join(texts),
        num_tokens=len(rows),
        message=message,
        lengths=tuple(map(len, texts)),
        weights=tuple(float(str(row["weight"])) for row in rows),
        kinds=tuple(str(row["kind"]) for row in rows),
    )
