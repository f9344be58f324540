"""Prompts to sampled completions with the model in this process.

What prompts have in common is computed once, at any depth. A completion ends at the
end-of-turn token, when a call is complete, or at the limit. What is drawn for a prompt depends on its own seed alone,
not on the batch that it ran in.

Axes: B = prompt of a batch, V = vocabulary entry.
"""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tltrain.engine.backbone import backbone
from tltrain.engine.head import output_head, unpack_bits
from tltrain.engine.tree_attention import prefill
from tltrain.rollout.cache import cached_row, growing_cache, keep_rows
from tltrain.rollout.kept_prefix import KeptPrefixes
from tltrain.rollout.plan import plan_batches


class SamplingConfig(BaseModel):
    """How completions are drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: int = Field(default=96, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    """0 is off."""
    batch_size: int = Field(default=16, ge=1)
    """Prompts that run together."""


class TokenMask(Protocol):
    """Says which tokens may come next in one completion."""

    def allowed(self) -> NDArray[np.int32]:
        """One bit a vocabulary entry, at least one of them set; int32 words, [vocabulary / 32, rounded up]."""

    def accept(self, token: int) -> None:
        """Go on by a token that was allowed."""


Constraint: TypeAlias = Callable[[], TokenMask]
"""Starts the mask of one completion."""


@dataclass(slots=True)
class Completion:
    """What the model wrote after one prompt."""

    ids: list[int] = field(default_factory=list)
    """Sampled tokens, the end-of-turn token included where the model wrote it."""
    logprobs: list[float] = field(default_factory=list)
    """Of each sampled token under softmax(logits / temperature) over the allowed tokens, before top-p and top-k;
    temperature 1 if greedy. Where all are allowed, this is the model's own distribution."""
    allowed: list[NDArray[np.int32]] = field(default_factory=list)
    """For each sampled token the bits of those that were allowed, see `TokenMask`; empty without a constraint."""
    is_finished: bool = False
    """False: cut off at max_new_tokens."""


@torch.inference_mode()
def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    config: SamplingConfig,
    *,
    seeds: Sequence[int] | None = None,
    end_ids: Collection[int] | None = None,
    is_complete: Callable[[str], bool] | None = None,
    constraints: Sequence[Constraint] | None = None,
    kept: KeptPrefixes | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Complete every prompt.

    Args:
        model: a causal language model; used in evaluation mode, and put back.
        tokenizer: its tokenizer.
        prompts: token ids, none empty.
        config: how to draw.
        seeds: one a prompt; default: its number.
        end_ids: tokens that end a turn; None: the tokenizer's `eos_token_id`.
        is_complete: says of the text so far whether nothing more need be sampled.
        constraints: one a prompt; what they do not allow has no probability, before temperature, top-p and top-k.
        kept: what prompts begin with is taken from here, and they are kept here with what was sampled; empty it when
            weights change.
        progress: told (prompts done, all prompts).

    Returns:
        One completion a prompt, in order.
    """
    was_training = model.training
    model.eval()
    completions = [Completion() for _ in prompts]
    seeds = range(len(prompts)) if seeds is None else seeds
    end_ids = frozenset([tokenizer.eos_token_id] if end_ids is None else end_ids)
    done = 0
    try:
        if kept is not None and not kept.suits(model):
            kept = None
        for batch in plan_batches(prompts, config.batch_size):
            own = [prompts[i] for i in batch]
            masks = [constraints[i]() for i in batch] if constraints else None
            run = _Batch(model, tokenizer, own, config, [seeds[i] for i in batch], end_ids, is_complete, masks, kept)
            for index, completion in zip(batch, run.complete(), strict=True):
                completions[index] = completion
            done += len(batch)
            if progress:
                progress(done, len(prompts))
    finally:
        model.train(was_training)
    return completions


class _Batch:
    """One batch on its way: the rows still running, their cache and masks."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        prompts: Sequence[Sequence[int]],
        config: SamplingConfig,
        seeds: Sequence[int],
        end_ids: frozenset[int],
        is_complete: Callable[[str], bool] | None,
        masks: Sequence[TokenMask] | None,
        kept: KeptPrefixes | None,
    ):
        self._model, self._backbone, self._head = model, backbone(model), output_head(model)
        self._device = self._head.weight.device
        self._tokenizer, self._prompts, self._config = tokenizer, prompts, config
        self._end_ids, self._is_complete, self._masks = end_ids, is_complete, masks
        self._kept_prefixes = kept
        self._draws = [random.Random(f"sample:{seed}") for seed in seeds]
        self._completions = [Completion() for _ in prompts]
        self._rows = list(range(len(prompts)))
        """Which prompt each row of the running batch belongs to."""

    def complete(self) -> list[Completion]:
        hidden = self._prefill()
        for number in range(self._config.max_new_tokens):
            tokens = self._draw(hidden)
            self._drop_finished(is_last=number + 1 == self._config.max_new_tokens)
            if not self._rows or number + 1 == self._config.max_new_tokens:
                break
            hidden = self._advance(tokens)
        return self._completions

    def _prefill(self) -> Tensor:
        """Run the prompts; returns the last hidden state of each row, [B, H]."""
        states, layers = prefill(self._model, self._prompts, kept=self._kept_prefixes)
        longest = max(map(len, states.rows))
        rows = torch.zeros(len(states.rows), longest, dtype=torch.long)
        mask = torch.zeros_like(rows)
        for number, own in enumerate(states.rows):  # padded on the left, so that all rows end together
            rows[number, longest - len(own) :] = torch.tensor(own)
            mask[number, longest - len(own) :] = 1
        self._cache = growing_cache(layers, rows.to(self._device), self._config.max_new_tokens)
        self._mask = mask.to(self._device)
        self._position = self._mask.sum(1)
        return states.at([[len(own) - 1] for own in states.rows])

    def _advance(self, tokens: Tensor) -> Tensor:
        """Feed one token a row; returns [B, H]."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
        output = self._backbone(
            input_ids=tokens[self._kept][:, None],
            attention_mask=self._mask,
            position_ids=self._position[:, None],
            past_key_values=self._cache,
            use_cache=True,
        )
        self._position = self._position + 1
        hidden: Tensor = output.last_hidden_state[:, -1]
        return hidden

    def _draw(self, hidden: Tensor) -> Tensor:
        """Draw the next token of each row and write it down; returns [B]."""
        config = self._config
        logits = self._head.logits(hidden)
        if self._masks:
            allowed = [self._masks[row].allowed() for row in self._rows]
            bits = torch.from_numpy(np.stack(allowed)).to(self._device)
            logits = logits.masked_fill_(~unpack_bits(bits, logits.shape[1]), -torch.inf)
            for row, words in zip(self._rows, allowed, strict=True):
                self._completions[row].allowed.append(words)
        logprobs = torch.log_softmax(logits / (config.temperature or 1.0), dim=-1)
        if config.temperature == 0:
            tokens = logits.argmax(dim=-1)
        else:
            uniform = torch.tensor([self._draws[row].random() for row in self._rows], device=self._device)
            tokens = inverse_cdf(restrict(logprobs, top_p=config.top_p, top_k=config.top_k).exp(), uniform)
        chosen = logprobs.gather(1, tokens[:, None]).squeeze(1).tolist()
        for row, token, logprob in zip(self._rows, tokens.tolist(), chosen, strict=True):
            self._completions[row].ids.append(token)
            self._completions[row].logprobs.append(logprob)
            if self._masks:
                self._masks[row].accept(token)
        return tokens

    def _drop_finished(self, *, is_last: bool) -> None:
        kept = []
        for place, row in enumerate(self._rows):
            completion = self._completions[row]
            completion.is_finished = is_ended(completion.ids, self._tokenizer, self._end_ids, self._is_complete)
            if not completion.is_finished:
                kept.append(place)
            if self._kept_prefixes and (completion.is_finished or is_last):
                # the last token was drawn and not fed
                ids = [*self._prompts[row], *completion.ids[:-1]]
                self._kept_prefixes.add(ids, cached_row(self._cache, place, len(ids)))
        self._kept = torch.tensor(kept, device=self._device, dtype=torch.long)
        if kept and len(kept) < len(self._rows):
            keep_rows(self._cache, kept)
            self._mask, self._position = self._mask[self._kept], self._position[self._kept]
        self._rows = [self._rows[place] for place in kept]


def is_ended(
    ids: Sequence[int], tokenizer: Any, end_ids: Collection[int], is_complete: Callable[[str], bool] | None
) -> bool:
    """Whether a completion is over with these tokens, of which the last is new; see `sample`."""
    if ids[-1] in end_ids:
        return True
    return is_complete is not None and is_complete(tokenizer.decode(ids))


def restrict(logprobs_BV: Tensor, *, top_p: float, top_k: int) -> Tensor:
    """Log-probs with everything outside the top k, and outside the smallest set of mass `top_p`, at -inf.

    Source: nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751. Not renormalised.
    """
    if top_k:
        least = logprobs_BV.topk(min(top_k, logprobs_BV.shape[1]), dim=-1).values[:, -1:]
        logprobs_BV = logprobs_BV.masked_fill(logprobs_BV < least, -torch.inf)
    if top_p < 1:
        ordered, places = logprobs_BV.sort(dim=-1, descending=True)
        mass_before = ordered.exp().cumsum(-1) - ordered.exp()
        ordered = ordered.masked_fill(mass_before >= top_p * ordered.exp().sum(-1, keepdim=True), -torch.inf)
        logprobs_BV = torch.empty_like(ordered).scatter_(1, places, ordered)
    return logprobs_BV


def inverse_cdf(weights_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """Draw one index a row in proportion to the weights, from one uniform number in [0, 1) a row; [B], int64."""
    cumulative = weights_BV.double().cumsum(-1)
    wanted = uniform_B.double()[:, None] * cumulative[:, -1:]
    # right: an entry of weight 0 is never drawn, not even by a uniform number of 0
    return torch.searchsorted(cumulative, wanted, right=True).squeeze(1).clamp(max=weights_BV.shape[1] - 1)
