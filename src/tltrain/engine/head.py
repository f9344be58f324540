"""Log-probs of chosen tokens out of hidden states, without ever keeping a [tokens, vocabulary] matrix.

Axes: N = target, H = hidden feature, V = vocabulary entry, W = word of 32 vocabulary entries.
"""

from typing import Any, NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor

from tltrain.engine.backbone import backbone
from tltrain.engine.in_place import find_sum
from tltrain.errors import ModelError


class TokenScores(NamedTuple):
    """What a model says about its target tokens."""

    logprobs: Tensor
    """[N], float32, nats: log p(target | everything before it)."""
    entropies: Tensor
    """[N], float32, nats: entropy of the distribution that the target was drawn from."""
    is_greedy: Tensor
    """[N], bool: the target is the most likely token."""


class Head(NamedTuple):
    """How last hidden states become logits: z = scale * (hidden @ weight.T + bias), or cap * tanh(z / cap)."""

    weight: Tensor
    """[V, H]."""
    bias: Tensor | None = None
    """[V]."""
    scale: float = 1.0
    cap: float | None = None

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """[N, V], float32 or better; the product is computed in the dtype of the states."""
        return _logits(hidden_NH, self.to(hidden_NH.dtype))[0]

    def to(self, dtype: torch.dtype) -> "Head":
        """With weights of a dtype."""
        return self._replace(weight=self.weight.to(dtype), bias=None if self.bias is None else self.bias.to(dtype))


def score_targets(
    hidden_NH: Tensor,
    head: Head,
    targets_N: Tensor,
    *,
    temperature: float = 1.0,
    chunk_size: int = 128,
    allowed_NW: Tensor | None = None,
) -> TokenScores:
    """Log-prob and entropy of each target under softmax(logits / temperature), over what is allowed.

    Logits exist for `chunk_size` targets at a time, in the forward and again in the backward pass, which recomputes
    them from the saved log-normaliser; the gradient is exact.

    Args:
        hidden_NH: last hidden states at the positions that predict the targets; any float dtype.
        head: of `output_head`.
        targets_N: token ids, int64.
        temperature: divides the logits; > 0.
        chunk_size: how many rows of logits exist at once.
        allowed_NW: bits of the tokens that could be drawn, see `unpack_bits`; None: all. A target must be allowed.

    Raises:
        ValueError: shapes do not fit, or temperature is not positive.
    """
    weight = head.weight
    if hidden_NH.ndim != 2 or targets_N.shape != hidden_NH.shape[:1] or weight.shape[1] != hidden_NH.shape[1]:
        shapes = f"hidden {tuple(hidden_NH.shape)}, weight {tuple(weight.shape)}, targets {tuple(targets_N.shape)}"
        raise ValueError(f"score_targets wants [N, H], [V, H] and [N]; got {shapes}")
    if temperature <= 0:
        raise ValueError(f"temperature={temperature} must be positive; use greedy decoding instead of 0")
    options = _Options(head.scale, head.cap, temperature, chunk_size, allowed_NW)
    return TokenScores(*_ScoreTargets.apply(hidden_NH, weight, head.bias, targets_N, options))  # type: ignore[no-untyped-call]


class _Options(NamedTuple):
    scale: float
    cap: float | None
    temperature: float
    chunk_size: int
    allowed: Tensor | None


class _ScoreTargets(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: _Options
    ) -> tuple[Tensor, Tensor, Tensor]:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        head = Head(weight, bias, options.scale, options.cap).to(hidden.dtype)  # once, not for each chunk
        logprobs = hidden.new_empty(len(targets), dtype=exact)
        entropies, normalisers = torch.empty_like(logprobs), torch.empty_like(logprobs)
        is_greedy = hidden.new_empty(len(targets), dtype=torch.bool)
        for rows in _chunks(len(targets), options.chunk_size):
            logits, _ = _allowed_logits(hidden, head, options, rows)
            normalisers[rows] = torch.logsumexp(logits, dim=-1)
            chosen = logits.gather(1, targets[rows, None]).squeeze(1)
            is_greedy[rows] = chosen >= logits.amax(dim=-1)
            logprobs[rows] = chosen - normalisers[rows]
            log_p = logits.sub_(normalisers[rows, None])
            # masked logits are -inf: their share p log p is 0, not nan
            entropies[rows] = -(log_p.exp() * log_p.clamp(min=torch.finfo(exact).min)).sum(-1)
        ctx.save_for_backward(hidden, weight, bias, targets, normalisers, entropies)
        ctx.options = options
        ctx.mark_non_differentiable(is_greedy)
        # entropies that nothing reads are known without a look at their gradient, for which a GPU would have to wait
        ctx.set_materialize_grads(False)
        return logprobs, entropies, is_greedy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, normalisers, entropies = ctx.saved_tensors
        options: _Options = ctx.options
        grad_logprobs = torch.zeros_like(normalisers) if grads[0] is None else grads[0]
        grad_entropies = grads[1] if grads[1] is not None and grads[1].any() else None
        head = Head(weight, bias, options.scale, options.cap).to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        in_place = find_sum(weight, hidden.dtype) if ctx.needs_input_grad[1] else None
        grad_weight = in_place
        if ctx.needs_input_grad[1] and in_place is None:
            grad_weight = torch.zeros_like(weight)
        grad_bias = torch.zeros_like(bias) if ctx.needs_input_grad[2] else None
        for rows in _chunks(len(targets), options.chunk_size):
            logits, slope = _allowed_logits(hidden, head, options, rows)
            log_p = logits - normalisers[rows, None]
            p = log_p.exp()
            # d logprob / d logits = onehot - p;  d entropy / d logits = -p (log p + entropy)
            grad = p * -grad_logprobs[rows, None]
            if grad_entropies is not None:
                bounded = log_p.clamp(min=torch.finfo(log_p.dtype).min)
                grad -= p * (bounded + entropies[rows, None]) * grad_entropies[rows, None]
            grad.scatter_add_(1, targets[rows, None], grad_logprobs[rows, None])
            grad = (grad * (slope / options.temperature)).to(hidden.dtype)
            grad_hidden[rows] = grad @ head.weight
            if grad_bias is not None:
                grad_bias += grad.sum(0)
            if grad_weight is not None:
                if grad_weight.dtype == grad.dtype:
                    grad_weight.addmm_(grad.T, hidden[rows])  # no second matrix of that size
                else:
                    grad_weight += (grad.T @ hidden[rows]).to(weight.dtype)
        return grad_hidden, None if in_place is not None else grad_weight, grad_bias, None, None


def _logits(hidden: Tensor, head: Head) -> tuple[Tensor, Tensor | float]:
    """Logits, and their derivative by the product of states and weights."""
    product = hidden @ head.weight.T if head.bias is None else torch.addmm(head.bias, hidden, head.weight.T)
    logits = product.to(torch.promote_types(hidden.dtype, torch.float32))
    if head.scale != 1:
        logits = logits * head.scale
    if head.cap is None:
        return logits, head.scale
    share = torch.tanh(logits / head.cap)
    return head.cap * share, head.scale * (1 - share.square())


def _allowed_logits(hidden: Tensor, head: Head, options: _Options, rows: slice) -> tuple[Tensor, Tensor | float]:
    """Logits over the temperature, -inf where a token is not allowed; see `_logits`."""
    logits, slope = _logits(hidden[rows], head)
    if options.temperature != 1:
        logits = logits / options.temperature
    if options.allowed is not None:
        logits.masked_fill_(~unpack_bits(options.allowed[rows], logits.shape[1]), -torch.inf)
    return logits, slope


def unpack_bits(words_NW: Tensor, num_bits: int) -> Tensor:
    """Bits of int32 words, from the lowest of each word on; [N, num_bits], bool."""
    places = torch.arange(32, dtype=torch.int32, device=words_NW.device)
    return ((words_NW[:, :, None] >> places) & 1).bool().flatten(1)[:, :num_bits]


def _chunks(length: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, length, size)]


def output_head(model: Any) -> Head:
    """What turns a model's last hidden states into logits; held against the model's own logits once.

    Raises:
        ModelError: the model does something else, so that log-probs computed by a `Head` would be wrong.
    """
    head = _read_head(model)
    inner = backbone(model)
    if inner not in _CHECKED and not hasattr(model, "run_whole"):
        _check_head(model, head)
        _CHECKED.add(inner)
    return head


_CHECKED: WeakSet[Any] = WeakSet()


def _read_head(model: Any) -> Head:
    module = model.get_output_embeddings()
    config = model.config.get_text_config()

    def number(name: str) -> float | None:
        value = getattr(config, name, None)
        return float(value) if isinstance(value, int | float) else None

    scale = (number("logit_scale") or 1.0) * (number("lm_head_multiplier") or 1.0) / (number("logits_scaling") or 1.0)
    return Head(module.weight, getattr(module, "bias", None), scale, number("final_logit_softcapping") or None)


@torch.no_grad()
def _check_head(model: Any, head: Head) -> None:
    """See `output_head`; some models have further steps, which their config names in ways of its own."""
    device, was_training = head.weight.device, model.training
    ids = torch.tensor([[number % head.weight.shape[0] for number in (3, 1, 4)]], device=device)
    model.eval()
    try:
        with torch.autocast(device.type, enabled=False):
            hidden = backbone(model)(input_ids=ids, use_cache=False).last_hidden_state[0]
            wanted = model(input_ids=ids, use_cache=False).logits[0].double().nan_to_num()
            found = head.logits(hidden).double().nan_to_num()
    finally:
        model.train(was_training)
    tolerance = 1e-4 if hidden.dtype in (torch.float32, torch.float64) else 3e-2
    if not (wanted.shape == found.shape and bool((found - wanted).norm() <= tolerance * wanted.norm())):
        kind = model.config.get_text_config().model_type
        raise ModelError(
            f"{kind}: the model's logits are not those of its output matrix with bias, scale and soft cap, so its head "
            "does more than tltrain knows; not supported"
        )
