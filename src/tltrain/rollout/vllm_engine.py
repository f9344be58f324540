"""Prompts to sampled completions with vLLM: what a process of one's own and a server have in common.

Token ids are sent and come back as they are, no text is tokenized again, and what ends a completion is decided here, as
`rollout.sampler` does.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from tltrain.rollout.handed_weights import HandedWeights
from tltrain.rollout.sampler import Completion, SamplingConfig, is_ended
from tltrain.rollout.vllm_config import VllmConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Growing:
    """A completion on its way."""

    is_over: Callable[[Sequence[int]], bool]
    """Whether nothing more need be sampled after these tokens."""
    completion: Completion = field(default_factory=Completion)

    def add(self, ids: Sequence[int], logprobs: Sequence[float]) -> bool:
        """Take new tokens up to the one that ends the completion; True if it has ended, now or before."""
        completion = self.completion
        for token, logprob in zip(ids, logprobs, strict=True):
            if completion.is_finished:
                break
            completion.ids.append(token)
            completion.logprobs.append(logprob)
            completion.is_finished = self.is_over(completion.ids)
        return completion.is_finished


class VllmEngine(ABC):
    """Samples with the weights that a model has, which it is given again after each change.

    Args:
        config: where vLLM runs.
        tokenizer: the model's.
        dtype: what the trainer computes in.
        max_model_len: tokens of the longest prompt and its completion.
    """

    def __init__(self, config: VllmConfig, tokenizer: Any, *, dtype: torch.dtype, max_model_len: int):
        self.config = config
        self.max_model_len = max_model_len
        self._tokenizer = tokenizer
        self._dtype = dtype
        self._weights: HandedWeights | None = None
        self._is_outdated = True

    def forget_weights(self) -> None:
        """Say that the model's weights have changed, so that they are handed over before the next sampling."""
        self._is_outdated = True

    def sample(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        config: SamplingConfig,
        *,
        seeds: Sequence[int] | None = None,
        end_ids: Collection[int],
        is_complete: Callable[[str], bool] | None = None,
    ) -> list[Completion]:
        """Complete every prompt, as `rollout.sampler.sample` does, with draws of vLLM's own.

        Log-probs are those of softmax(logits / temperature), temperature 1 if greedy.

        Args:
            model: its weights are handed over if `forget_weights` was called since; no autocast may be on.
            prompts: token ids, none empty.
            config: how to draw; without `top_p` and `top_k`, and vLLM decides which prompts run together.
            seeds: one a prompt, below 2^63; default: its number.
            end_ids: tokens that end a turn.
            is_complete: says of the text so far whether nothing more need be sampled.

        Raises:
            UsageError: vLLM is not there, or is not set up as it must be.
            ModelError: it cannot run the model.
            TltrainError: it failed.
        """
        if config.top_p < 1 or config.top_k:
            raise ValueError("vLLM renormalises log-probs over the top tokens; leave top_p and top_k out")
        self._renew(model)
        growing = [Growing(is_over=lambda ids: is_ended(ids, self._tokenizer, end_ids, is_complete)) for _ in prompts]
        if prompts:
            given = list(range(len(prompts))) if seeds is None else list(seeds)
            self._complete([list(ids) for ids in prompts], given, config, sorted(end_ids), growing)
        return [one.completion for one in growing]

    def _renew(self, model: Any) -> None:
        if not self._is_outdated:
            return
        if self._weights is None:
            self._check()
            size = sum(parameter.numel() for parameter in model.parameters()) * self._dtype.itemsize
            self._weights = HandedWeights(
                self.config.weights_dir,
                dtype=self._dtype,
                num_bytes=size,
                for_server=self.config.mode == "server",
            )
        self._load(self._weights.write(model, self._tokenizer))
        self._is_outdated = False

    def close(self) -> None:
        """End what was started for it, and remove the weights."""
        if self._weights is not None:
            self._weights.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:  # noqa: B027 - there may be nothing to look at
        """Look at what is there, before the first weights are written."""

    @abstractmethod
    def _load(self, folder: Path) -> None:
        """Have vLLM take the weights of a folder, which stay there until the next ones are taken."""

    @abstractmethod
    def _complete(
        self,
        prompts: list[list[int]],
        seeds: list[int],
        config: SamplingConfig,
        end_ids: list[int],
        growing: Sequence[Growing],
    ) -> None:
        """Sample each prompt until its completion is over or has as many tokens as it may."""
