"""Which tokens may come next: the grammar of a reply, compiled by llguidance for a tokenizer."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tltrain.constrained.config import Constrain
from tltrain.constrained.replies import check_syntax, reply_grammar
from tltrain.engine.head import output_head
from tltrain.errors import DataError, TltrainError, UsageError
from tltrain.render.turns import turn_end_ids
from tltrain.rollout.sampler import Constraint
from tltrain.syntax import CallSyntax
from tltrain.types import Tool


def make_constrainer(constrain: Constrain, model: Any, tokenizer: Any, syntax: CallSyntax) -> "Constrainer | None":
    """What the setting asks for; None for "off". Raises as `Constrainer`."""
    if constrain == "off":
        return None
    vocab_size = output_head(model).weight.shape[0]
    return Constrainer(tokenizer, syntax, constrain, vocab_size=vocab_size, end_ids=turn_end_ids(tokenizer))


_MAX_KEPT = 256
"""Compiled grammars that are kept; those used last."""


class Constrainer:
    """Makes the constraints of prompts; the grammar of a tool list is compiled once.

    Args:
        tokenizer: a fast one.
        syntax: how calls are written.
        mode: see `Constrain`.
        vocab_size: entries of the model's logits; those beyond the tokenizer's are never allowed.
        end_ids: tokens that end a turn; allowed where the reply may end, and nowhere else.

    Raises:
        UsageError: llguidance is not installed, or has no way with this syntax or tokenizer.
    """

    def __init__(
        self,
        tokenizer: Any,
        syntax: CallSyntax,
        mode: Literal["auto", "call"],
        *,
        vocab_size: int,
        end_ids: Collection[int],
    ):
        try:
            import llguidance.hf
            from llguidance import LLMatcher
        except ImportError as error:
            raise UsageError(
                f"constrain={mode} needs the package llguidance; pip install 'tltrain[constrained]', or use "
                "constrain=off"
            ) from error
        check_syntax(syntax)
        self._syntax, self._mode = syntax, mode
        self._vocab_size, self._end_ids = vocab_size, sorted(end_ids)
        self._compile = lru_cache(maxsize=_MAX_KEPT)(lambda grammar: LLMatcher(self._tokenizer, grammar))
        try:
            self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocab_size, eos_token=self._end_ids)
        except ValueError as error:
            raise UsageError(f"constrain={mode}: llguidance cannot read the tokenizer: {error}") from error
        # llguidance keeps these out of all text, those that only look like marks (`<tool_call>` of Qwen) as well
        self._marks = {
            text: token
            for text, token in tokenizer.get_added_vocab().items()
            if self._tokenizer.is_special_token(token)
        }
        added = tokenizer.added_tokens_decoder
        self._text_marks = {
            text: token
            for text, token in self._marks.items()
            if not added[token].special and token not in self._end_ids
        }

    def constraint(self, tools: Sequence[Tool]) -> Constraint:
        """The constraint of a reply to a prompt with these tools.

        Raises:
            DataError: the tools make no grammar, see `reply_grammar`, or too large a one.
        """
        grammar = reply_grammar(self._syntax, tools, self._mode, marks=self._marks, text_marks=self._text_marks)
        matcher = self._compile(grammar)
        if matcher.is_error():
            names = ", ".join(tool.name for tool in tools)
            raise DataError(
                f"constrain={self._mode}: no grammar of {len(tools)} tools ({names[:80]}): "
                f"{matcher.get_error()[:300]}; use constrain=off"
            )
        return lambda: _Mask(matcher.deep_copy(), self._vocab_size, self._end_ids)


class _Mask:
    """The place in one reply; see `tltrain.rollout.sampler.TokenMask`."""

    def __init__(self, matcher: Any, vocab_size: int, end_ids: Sequence[int]):
        self._matcher, self._end_ids = matcher, end_ids
        self._num_words = -(-vocab_size // 32)

    def allowed(self) -> NDArray[np.int32]:
        """One bit a vocabulary entry, from the lowest of each word on; [vocabulary / 32, rounded up].

        Raises:
            TltrainError: no token may come next, or llguidance gave up.
        """
        words = np.zeros(self._num_words, dtype=np.int32)
        if not self._matcher.is_stopped():
            self._matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        bits = words.view(np.uint32)
        for token in self._end_ids:
            bit = np.uint32(1 << (token % 32))
            bits[token // 32] = bits[token // 32] | bit if self._matcher.is_accepting() else bits[token // 32] & ~bit
        if self._matcher.is_error() or not words.any():
            raise TltrainError(
                "constrain: no token may come next: "
                f"{self._matcher.get_error()[:300] or 'the vocabulary lacks what the grammar wants'}; use constrain=off"
            )
        return words

    def accept(self, token: int) -> None:
        """Go on by a token that was allowed."""
        if token not in self._end_ids:
            self._matcher.consume_token(token)
