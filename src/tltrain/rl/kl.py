"""Estimates of KL(pi || ref) out of the log-probs of sampled tokens alone.

Axes: B = sequence, T = completion token. Source: Schulman 2020, "Approximating KL Divergence",
http://joschu.net/blog/kl-approx.html, with q = pi (which sampled) and p = ref; r = p / q.
"""

from enum import StrEnum

import torch
from torch import Tensor

from tltrain.rl.masking import check_shapes, keep_trained, masked_mean


class KlEstimator(StrEnum):
    """How one sampled token tells of the KL of the distribution it came from."""

    K1 = "k1"
    """-log r: unbiased, of either sign, high variance. The one in the paper's reward; as a loss it teaches nothing:
    the expectation of its own gradient is 0."""
    K2 = "k2"
    """(log r)^2 / 2: never negative, low variance, biased."""
    K3 = "k3"
    """(r - 1) - log r: never negative, low variance, unbiased; explodes where ref is far likelier than pi."""


class AdaptiveKl(torch.nn.Module):
    """The price of KL, raised where a rollout batch diverges more than wanted, and lowered where it does less.

    Source: Ziegler et al. 2019, arXiv:1909.08593, section 2.2: e = clip(KL / target - 1, -0.2, 0.2) and
    beta <- beta (1 + e n / horizon). It is a module so that checkpoints hold it.

    Args:
        coef: beta at the start.
        target: wanted KL of a whole completion from the reference, nats; None leaves beta as it is.
        horizon: completions over which beta may grow or shrink by a fifth.
    """

    def __init__(self, coef: float, *, target: float | None, horizon: float):
        super().__init__()
        self._target, self._horizon = target, horizon
        self.coef = torch.nn.Parameter(torch.tensor(coef, dtype=torch.float64))

    @property
    def value(self) -> float:
        """Beta."""
        return self.coef.item()

    @torch.no_grad()
    def update(self, kl: float, num_completions: int) -> None:
        """Look at the mean KL of a rollout batch, nats a completion."""
        if self._target is not None:
            error = min(0.2, max(-0.2, kl / self._target - 1))
            self.coef.mul_(1 + error * num_completions / self._horizon)


def compute_kl(logprobs_BT: Tensor, ref_logprobs_BT: Tensor, loss_mask_BT: Tensor, *, estimator: KlEstimator) -> Tensor:
    """One estimate of KL(pi || ref) for each trained token.

    Args:
        logprobs_BT: log pi(token | prefix) of the policy that sampled the tokens; nats.
        ref_logprobs_BT: the same under the reference.
        loss_mask_BT: bool; True on tokens the model wrote.
        estimator: which of Schulman's three.

    Returns:
        (B, T) float32, nats; 0 where nothing is trained. Differentiable in both log-probs.

    Raises:
        ValueError: shapes differ.
    """
    check_shapes(loss_mask_BT, logprobs_BT=logprobs_BT, ref_logprobs_BT=ref_logprobs_BT)
    log_r_BT = keep_trained(ref_logprobs_BT, loss_mask_BT) - keep_trained(logprobs_BT, loss_mask_BT)
    match KlEstimator(estimator):
        case KlEstimator.K1:
            return -log_r_BT
        case KlEstimator.K2:
            return log_r_BT.square() / 2
        case KlEstimator.K3:
            # expm1, because near r = 1 the float32 difference exp(x) - 1 loses the digits that make up the estimate
            return torch.expm1(log_r_BT) - log_r_BT


def compute_mean_kl(
    logprobs_BT: Tensor,
    ref_logprobs_BT: Tensor,
    loss_mask_BT: Tensor,
    *,
    estimator: KlEstimator,
    denominator: float | Tensor | None = None,
) -> Tensor:
    """Mean of `compute_kl` over trained tokens, in nats a token; `denominator` as in `masked_mean`."""
    kl_BT = compute_kl(logprobs_BT, ref_logprobs_BT, loss_mask_BT, estimator=estimator)
    return masked_mean(kl_BT, loss_mask_BT, denominator=denominator)
