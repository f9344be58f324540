"""Log-probs of chosen tokens out of hidden states, without ever keeping a [tokens, vocabulary] matrix.

Axes: N = target, H = hidden feature, V = vocabulary entry, W = word of 32 vocabulary entries.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from tltrain.errors import ModelError


class TokenScores(NamedTuple):
    """What a model says about its target tokens."""

    logprobs: Tensor
    """[N], float32, nats: log p(target | everything before it)."""
    entropies: Tensor
    """[N], float32, nats: entropy of the distribution that the target was drawn from."""
    is_greedy: Tensor
    """[N], bool: the target is the most likely token."""


def score_targets(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    targets_N: Tensor,
    *,
    temperature: float = 1.0,
    chunk_size: int = 128,
    allowed_NW: Tensor | None = None,
) -> TokenScores:
    """Log-prob and entropy of each target under softmax(hidden @ weight.T / temperature), over what is allowed.

    Logits exist for `chunk_size` targets at a time, in the forward and again in the backward pass, which recomputes
    them from the saved log-normaliser; the gradient is exact.

    Args:
        hidden_NH: last hidden states at the positions that predict the targets; any float dtype.
        weight_VH: output embedding.
        targets_N: token ids, int64.
        temperature: divides the logits; > 0.
        chunk_size: how many rows of logits exist at once.
        allowed_NW: bits of the tokens that could be drawn, see `unpack_bits`; None: all. A target must be allowed.

    Raises:
        ValueError: shapes do not fit, or temperature is not positive.
    """
    if hidden_NH.ndim != 2 or targets_N.shape != hidden_NH.shape[:1] or weight_VH.shape[1] != hidden_NH.shape[1]:
        shapes = f"hidden {tuple(hidden_NH.shape)}, weight {tuple(weight_VH.shape)}, targets {tuple(targets_N.shape)}"
        raise ValueError(f"score_targets wants [N, H], [V, H] and [N]; got {shapes}")
    if temperature <= 0:
        raise ValueError(f"temperature={temperature} must be positive; use greedy decoding instead of 0")
    return TokenScores(
        *_ScoreTargets.apply(hidden_NH, weight_VH, targets_N, temperature, chunk_size, allowed_NW)  # type: ignore[no-untyped-call]
    )


class _ScoreTargets(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperature: float,
        chunk_size: int,
        allowed: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        product_weight = weight.to(hidden.dtype)  # once, not for each chunk
        logprobs = hidden.new_empty(len(targets), dtype=exact)
        entropies, normalisers = torch.empty_like(logprobs), torch.empty_like(logprobs)
        is_greedy = hidden.new_empty(len(targets), dtype=torch.bool)
        for rows in _chunks(len(targets), chunk_size):
            logits = _logits(hidden[rows], product_weight, temperature, exact, allowed, rows)
            normalisers[rows] = torch.logsumexp(logits, dim=-1)
            chosen = logits.gather(1, targets[rows, None]).squeeze(1)
            is_greedy[rows] = chosen >= logits.amax(dim=-1)
            logprobs[rows] = chosen - normalisers[rows]
            log_p = logits.sub_(normalisers[rows, None])
            # masked logits are -inf: their share p log p is 0, not nan
            entropies[rows] = -(log_p.exp() * log_p.clamp(min=torch.finfo(exact).min)).sum(-1)
        ctx.save_for_backward(hidden, weight, targets, normalisers, entropies)
        ctx.temperature, ctx.chunk_size, ctx.allowed = temperature, chunk_size, allowed
        ctx.mark_non_differentiable(is_greedy)
        # entropies that nothing reads are known without a look at their gradient, for which a GPU would have to wait
        ctx.set_materialize_grads(False)
        return logprobs, entropies, is_greedy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, normalisers, entropies = ctx.saved_tensors
        grad_logprobs = torch.zeros_like(normalisers) if grads[0] is None else grads[0]
        grad_entropies = grads[1] if grads[1] is not None and grads[1].any() else None
        product_weight = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for rows in _chunks(len(targets), ctx.chunk_size):
            logits = _logits(hidden[rows], product_weight, ctx.temperature, normalisers.dtype, ctx.allowed, rows)
            log_p = logits - normalisers[rows, None]
            p = log_p.exp()
            # d logprob / d logits = onehot - p;  d entropy / d logits = -p (log p + entropy)
            grad = p * -grad_logprobs[rows, None]
            if grad_entropies is not None:
                bounded = log_p.clamp(min=torch.finfo(log_p.dtype).min)
                grad -= p * (bounded + entropies[rows, None]) * grad_entropies[rows, None]
            grad.scatter_add_(1, targets[rows, None], grad_logprobs[rows, None])
            grad = (grad / ctx.temperature).to(hidden.dtype)
            grad_hidden[rows] = grad @ product_weight
            if grad_weight is not None:
                if grad_weight.dtype == grad.dtype:
                    grad_weight.addmm_(grad.T, hidden[rows])  # no second matrix of that size
                else:
                    grad_weight += (grad.T @ hidden[rows]).to(weight.dtype)
        return grad_hidden, grad_weight, None, None, None, None


def _logits(
    hidden: Tensor, weight: Tensor, temperature: float, dtype: torch.dtype, allowed: Tensor | None, rows: slice
) -> Tensor:
    logits = (hidden @ weight.T).to(dtype) / temperature
    if allowed is None:
        return logits
    return logits.masked_fill_(~unpack_bits(allowed[rows], logits.shape[1]), -torch.inf)


def unpack_bits(words_NW: Tensor, num_bits: int) -> Tensor:
    """Bits of int32 words, from the lowest of each word on; [N, num_bits], bool."""
    places = torch.arange(32, dtype=torch.int32, device=words_NW.device)
    return ((words_NW[:, :, None] >> places) & 1).bool().flatten(1)[:, :num_bits]


def _chunks(length: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, length, size)]


def output_weight(model: Any) -> Tensor:
    """The [V, H] matrix that turns last hidden states into logits.

    Raises:
        ModelError: the model does more than this product (a bias, capped or scaled logits), so that log-probs
            computed from the matrix alone would be wrong.
    """
    head = model.get_output_embeddings()
    config = model.config.get_text_config()
    extras = [name for name in _EXTRA_STEPS if getattr(config, name, None) not in (None, 1, 1.0)]
    if getattr(head, "bias", None) is not None:
        extras.append("a bias")
    if extras:
        raise ModelError(f"{config.model_type}: its output head also applies {', '.join(extras)}; not supported")
    weight: Tensor = head.weight
    return weight


_EXTRA_STEPS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
