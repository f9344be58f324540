"""Text to token ids, and from places in the text to places among the tokens."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tltrain.errors import ModelError


class TokenSpan(NamedTuple):
    """Positions of tokens; the end is exclusive."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedText:
    """A text and its tokens."""

    text: str
    ids: list[int]
    starts: list[int]
    """Offset in the text where each token starts; ascending. Tokens that share a character have the same."""
    ends: list[int]
    """Offset where each token ends; ascending. Together the tokens cover the text, blanks included; characters for
    which the vocabulary has no token may be missing."""

    def overlap(self, start: int, end: int) -> TokenSpan:
        """The tokens that hold any of the characters from `start` to `end`; none for an empty range."""
        first = bisect_right(self.ends, start)
        return TokenSpan(first, max(first, bisect_left(self.starts, end)) if start < end else first)

    def token_text(self, position: int) -> str:
        """The characters of one token."""
        return self.text[self.starts[position] : self.ends[position]]


def tokenize(tokenizer: Any, text: str) -> TokenizedText:
    """Tokenise one rendered text; see `tokenize_all`."""
    return tokenize_all(tokenizer, [text])[0]


def tokenize_all(tokenizer: Any, texts: Sequence[str]) -> list[TokenizedText]:
    """Tokenise rendered texts, adding no special tokens: the chat template has written them.

    Raises:
        ModelError: the tokenizer cannot tell which characters a token stands for.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"{type(tokenizer).__name__} gives no character offsets, by which calls are found among the tokens; "
            "load the fast tokenizer of this model"
        )
    if not texts:
        return []
    encoded = tokenizer(
        list(texts), add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False
    )
    return [
        _with_places(text, ids, offsets)
        for text, ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]


def _with_places(text: str, ids: list[int], offsets: Sequence[tuple[int, int]]) -> TokenizedText:
    starts, ends = [], []
    covered = 0
    for start, end in offsets:
        # Some tokenizers leave blanks out of the offsets, and give a token of nothing but blanks an empty range.
        starts.append(covered if start >= end or text[covered:start].isspace() else start)
        covered = max(end, covered)
        ends.append(covered)
    return TokenizedText(text=text, ids=ids, starts=starts, ends=ends)
