"""Greedy answers, and log-probs along given ones, by transformers alone: nothing of our own sampler is used.

Axes: T = token of the answer, V = vocabulary entry.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor


@torch.inference_mode()
def answer_greedily(
    model: Any, ids: Sequence[int], *, end_ids: Collection[int], pad_id: int | None, max_new_tokens: int
) -> list[int]:
    """The greedy answer to one prompt, the end token included; settings of the model other than these are not used."""
    from transformers import GenerationConfig

    settings = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=sorted(end_ids) or None, pad_token_id=pad_id
    )
    kept, model.generation_config = model.generation_config, settings
    try:
        prompt = torch.tensor([list(ids)], device=model.device)
        written = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt))
    finally:
        model.generation_config = kept
    tokens: list[int] = written[0, len(ids) :].tolist()
    return tokens


@torch.inference_mode()
def answer_logprobs(model: Any, ids: Sequence[int], tokens: Sequence[int]) -> Tensor:
    """Log-probs of every token at each place of the answer; [T, V], float32, on the CPU."""
    row = torch.tensor([[*ids, *tokens[:-1]]], device=model.device)
    logits_TV = model(input_ids=row, use_cache=False, logits_to_keep=len(tokens)).logits[0, -len(tokens) :]
    return torch.log_softmax(logits_TV.float(), dim=-1).cpu()
