import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tltrain.rl.losses import clipped_policy_loss, clipped_value_loss, entropy_bonus, explained_variance

NAN = float("nan")


def as_mask(*rows: str) -> torch.Tensor:
    return torch.tensor([[int(c) for c in row] for row in rows]).bool()


def ragged_case(seed: int, num_tensors: int, rows: int = 4, tokens: int = 9) -> tuple[torch.Tensor, ...]:
    """Random (B, T) tensors with NaN where nothing is trained, and the mask; at least one token is trained."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, tokens, generator=generator) < 0.6
    mask[0, 0] = True
    tensors = torch.randn(num_tensors, rows, tokens, generator=generator).masked_fill(~mask, NAN)
    return (*tensors, mask)


def trained(tensor: torch.Tensor, mask: torch.Tensor) -> list[float]:
    return tensor[mask].tolist()


def test_ratio_above_range_is_clipped_and_gets_no_gradient():
    # ratio = e > 1 + 0.2 with advantage 1: loss = -1.2, and the clipped branch is flat.
    logprobs, mask = torch.ones(1, 1, requires_grad=True), torch.ones(1, 1, dtype=torch.bool)
    out = clipped_policy_loss(logprobs, torch.zeros(1, 1), torch.ones(1, 1), mask, clip_range=0.2)
    torch.testing.assert_close(out.loss, torch.tensor(-1.2))
    out.loss.backward()
    assert logprobs.grad.item() == 0.0


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        # d/dlogprob of -ratio * A is -ratio * A where the ratio itself is the smaller; 0 where its clipped form is
        (1.5, 1.0, -1.2, 0.0),
        (1.5, -1.0, 1.5, 1.5),  # worse than before and already far: min(-1.5, -1.2), not clipped
        (0.5, 1.0, -0.5, -0.5),  # min(0.5, 0.8), not clipped
        (0.5, -1.0, 0.8, 0.0),  # min(-0.5, -0.8)
        (1.0, 2.0, -2.0, -2.0),
        (1.1, -3.0, 3.3, 3.3),
    ],
)
def test_policy_loss_by_hand(ratio, advantage, loss, gradient):
    logprobs = torch.tensor([[math.log(ratio)]], requires_grad=True)
    out = clipped_policy_loss(logprobs, torch.zeros(1, 1), torch.tensor([[advantage]]), as_mask("1"), clip_range=0.2)
    out.loss.backward()
    assert out.loss.item() == pytest.approx(loss, rel=1e-6)
    assert logprobs.grad.item() == pytest.approx(gradient, rel=1e-6)


def test_policy_metrics_by_hand():
    # ratios 2, 1, 0.5: two of three are outside; mean 3.5/3; KL(old || new) by k3 of old/new:
    # (2 - 1 - ln 2) + 0 + (0.5 - 1 + ln 2) = 0.5, over 3
    logprobs = torch.tensor([[2.0, 1.0, 0.5, 9.0]]).log()
    out = clipped_policy_loss(logprobs, torch.zeros(1, 4), torch.ones(1, 4), as_mask("1110"), clip_range=0.2)
    assert out.clip_fraction.item() == pytest.approx(2 / 3)
    assert out.mean_ratio.item() == pytest.approx(3.5 / 3)
    assert out.max_ratio.item() == pytest.approx(2.0)
    assert out.approx_kl.item() == pytest.approx(0.5 / 3)


@pytest.mark.parametrize(("mask", "largest"), [("10", 0.5), ("00", 0.0)])
def test_largest_ratio_is_that_of_a_trained_token(mask, largest):
    logprobs, zeros = torch.tensor([[math.log(0.5), NAN]]), torch.zeros(1, 2)
    out = clipped_policy_loss(logprobs, zeros, zeros, as_mask(mask), clip_range=0.2, denominator=1)
    assert out.max_ratio.item() == largest


@settings(deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 0.9))
def test_policy_loss_follows_the_definition(seed, clip_range):
    new, old, advantages, mask = ragged_case(seed, 3)
    out = clipped_policy_loss(new, old, advantages, mask, clip_range=clip_range)
    losses, outside, kls, ratios = [], [], [], []
    for n, o, a in zip(trained(new, mask), trained(old, mask), trained(advantages, mask), strict=True):
        ratio = math.exp(n - o)
        losses.append(-min(ratio * a, min(max(ratio, 1 - clip_range), 1 + clip_range) * a))
        outside.append(abs(ratio - 1) > clip_range)
        kls.append(ratio - 1 - (n - o))
        ratios.append(ratio)
    # ratios reach e^6, so the tolerance is relative
    assert out.loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-4, abs=1e-5)
    assert out.clip_fraction.item() == pytest.approx(sum(outside) / len(outside), abs=1e-6)
    assert out.approx_kl.item() == pytest.approx(sum(kls) / len(kls), rel=1e-4)
    assert out.mean_ratio.item() == pytest.approx(sum(ratios) / len(ratios), rel=1e-4)
    assert out.max_ratio.item() == pytest.approx(max(ratios), rel=1e-4)


def test_the_first_step_has_the_plain_policy_gradient():
    # ratio 1: gradient of the loss for each logprob is -A / 2
    logprobs = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    out = clipped_policy_loss(
        logprobs, logprobs.detach().clone(), torch.tensor([[3.0, -4.0]]), as_mask("11"), clip_range=0.2
    )
    out.loss.backward()
    assert logprobs.grad.tolist() == [[-1.5, 2.0]]
    assert (out.clip_fraction.item(), out.approx_kl.item(), out.mean_ratio.item()) == (0.0, 0.0, 1.0)


def test_only_the_new_logprobs_get_a_gradient():
    new, old, advantages = (torch.full((1, 1), x, requires_grad=True) for x in (0.1, 0.0, 1.0))
    out = clipped_policy_loss(new, old, advantages, as_mask("1"), clip_range=0.2)
    out.loss.backward()
    assert new.grad is not None
    assert (old.grad, advantages.grad) == (None, None)
    assert not any(metric.requires_grad for metric in out[1:])


def test_padding_reaches_neither_loss_nor_gradient():
    new, old, advantages, mask = ragged_case(11, 3)
    short = new.clone().requires_grad_()
    long = torch.cat([new, torch.full((4, 5), NAN)], 1).requires_grad_()
    pad = lambda x, fill: torch.cat([x, torch.full((4, 5), fill, dtype=x.dtype)], 1)  # noqa: E731
    a = clipped_policy_loss(short, old, advantages, mask, clip_range=0.2)
    b = clipped_policy_loss(long, pad(old, NAN), pad(advantages, NAN), pad(mask, False), clip_range=0.2)
    a.loss.backward()
    b.loss.backward()
    # the order of a sum depends on the width of the tensor, hence a few units in the last place
    torch.testing.assert_close(torch.stack(b), torch.stack(a), rtol=1e-6, atol=1e-7)
    assert torch.equal(long.grad[:, :9], short.grad)
    assert not long.grad[:, 9:].any()
    assert not short.grad[~mask].any()


def test_micro_batches_add_up_to_the_minibatch():
    new, old, advantages, mask = ragged_case(7, 3)
    mask[3] = False  # a micro-batch may hold no trained token at all
    num_trained = int(mask.sum())
    whole_logprobs, parts_logprobs = new.clone().requires_grad_(), new.clone().requires_grad_()
    whole = clipped_policy_loss(whole_logprobs, old, advantages, mask, clip_range=0.2)
    whole.loss.backward()
    parts = []
    for row in range(4):
        r = slice(row, row + 1)
        out = clipped_policy_loss(
            parts_logprobs[r], old[r], advantages[r], mask[r], clip_range=0.2, denominator=num_trained
        )
        out.loss.backward()
        parts.append(out)
    torch.testing.assert_close(parts_logprobs.grad, whole_logprobs.grad, rtol=1e-6, atol=1e-8)
    for name in ("loss", "clip_fraction", "approx_kl", "mean_ratio"):
        total = sum(getattr(part, name).item() for part in parts)
        assert total == pytest.approx(getattr(whole, name).item(), rel=1e-5), name
    assert max(part.max_ratio.item() for part in parts) == whole.max_ratio.item()


def test_value_and_entropy_micro_batches_add_up():
    values, old, returns, mask = ragged_case(8, 3)
    num_trained = int(mask.sum())
    whole = clipped_value_loss(values, old, returns, mask, clip_range=0.2)
    spread = entropy_bonus(values, mask, coef=0.1)
    rows = [slice(row, row + 1) for row in range(4)]
    parts = [
        clipped_value_loss(values[r], old[r], returns[r], mask[r], clip_range=0.2, denominator=num_trained)
        for r in rows
    ]
    spreads = [entropy_bonus(values[r], mask[r], coef=0.1, denominator=num_trained) for r in rows]
    assert sum(part.loss.item() for part in parts) == pytest.approx(whole.loss.item(), rel=1e-5)
    assert sum(part.clip_fraction.item() for part in parts) == pytest.approx(whole.clip_fraction.item(), rel=1e-5)
    assert sum(part.loss.item() for part in spreads) == pytest.approx(spread.loss.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("value", "old", "target", "loss", "gradient"),
    [
        # moved by 1 towards 2, clipped to 0.2: max((1 - 2)^2, (0.2 - 2)^2) / 2 = 3.24 / 2, flat
        (1.0, 0.0, 2.0, 1.62, 0.0),
        # moved by 1 away from -1: max((1 + 1)^2, (0.2 + 1)^2) / 2 = 2, gradient V - R = 2
        (1.0, 0.0, -1.0, 2.0, 2.0),
        # inside the range: (0.1 - 2)^2 / 2 = 1.805, gradient -1.9
        (0.1, 0.0, 2.0, 1.805, -1.9),
    ],
)
def test_value_loss_by_hand(value, old, target, loss, gradient):
    values = torch.tensor([[value]], requires_grad=True)
    out = clipped_value_loss(values, torch.tensor([[old]]), torch.tensor([[target]]), as_mask("1"), clip_range=0.2)
    out.loss.backward()
    assert out.loss.item() == pytest.approx(loss, rel=1e-6)
    assert values.grad.item() == pytest.approx(gradient, rel=1e-6)
    assert out.clip_fraction.item() == float(abs(value - old) > 0.2)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 3))
def test_value_loss_follows_the_definition(seed, clip_range):
    values, old, returns, mask = ragged_case(seed, 3)
    out = clipped_value_loss(values, old, returns, mask, clip_range=clip_range)
    losses = []
    for v, o, r in zip(trained(values, mask), trained(old, mask), trained(returns, mask), strict=True):
        clipped = min(max(v, o - clip_range), o + clip_range)
        losses.append(max((v - r) ** 2, (clipped - r) ** 2) / 2)
    assert out.loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_value_loss_without_clip_is_half_the_squared_error():
    # (3^2 + 1^2) / 2 / 2 = 2.5
    out = clipped_value_loss(
        torch.tensor([[3.0, 1.0]]), torch.zeros(1, 2), torch.zeros(1, 2), as_mask("11"), clip_range=None
    )
    assert (out.loss.item(), out.clip_fraction.item()) == (2.5, 0.0)


def test_value_loss_ignores_padding_and_targets_get_no_gradient():
    values = torch.tensor([[1.0, NAN]], requires_grad=True)
    old, returns = torch.tensor([[1.0, NAN]], requires_grad=True), torch.tensor([[3.0, NAN]], requires_grad=True)
    clipped_value_loss(values, old, returns, as_mask("10"), clip_range=0.2).loss.backward()
    assert values.grad.tolist() == [[-2.0, 0.0]]
    assert (old.grad, returns.grad) == (None, None)


def test_entropy_bonus_by_hand():
    # mean of 1 and 3 is 2; loss -0.1 * 2; gradient -0.1 / 2 on trained tokens: lowering the loss raises entropy
    entropies = torch.tensor([[1.0, NAN, 3.0]], requires_grad=True)
    out = entropy_bonus(entropies, as_mask("101"), coef=0.1)
    out.loss.backward()
    assert out.loss.item() == pytest.approx(-0.2)
    assert out.mean_entropy.item() == 2.0
    torch.testing.assert_close(entropies.grad, torch.tensor([[-0.05, 0.0, -0.05]]))


def test_explained_variance_by_hand():
    # returns 0 and 4: variance 4; values 1 and 3 leave -1 and 1: variance 1; 1 - 1/4
    mask = as_mask("101")
    returns = torch.tensor([[0.0, NAN, 4.0]])
    assert explained_variance(torch.tensor([[1.0, NAN, 3.0]]), returns, mask) == 0.75
    assert explained_variance(returns, returns, mask) == 1.0
    assert explained_variance(torch.full((1, 3), 7.0), returns, mask) == 0.0
    assert explained_variance(-returns, returns, mask) == -3.0  # leaves 0 and 8: variance 16; 1 - 16/4


@pytest.mark.parametrize("mask", [as_mask("0" * 50), as_mask("1" + "0" * 49), as_mask("1" * 50)])
def test_explained_variance_of_returns_that_do_not_vary_is_not_measured(mask):
    assert explained_variance(torch.randn(1, 50), torch.full((1, 50), 0.1), mask) is None


def test_losses_run_in_float32():
    half = torch.zeros(1, 2, dtype=torch.bfloat16)
    assert clipped_policy_loss(half, half, half, as_mask("11"), clip_range=0.2).loss.dtype is torch.float32
    assert clipped_value_loss(half, half, half, as_mask("11"), clip_range=0.2).loss.dtype is torch.float32


def test_wrong_arguments_are_named():
    x, column, mask = torch.zeros(2, 3), torch.zeros(2, 1), as_mask("111", "111")
    with pytest.raises(ValueError, match=r"advantages_BT has shape \(2, 1\)"):
        clipped_policy_loss(x, x, column, mask, clip_range=0.2)
    with pytest.raises(ValueError, match=r"returns_BT has shape \(2, 1\)"):
        clipped_value_loss(x, x, column, mask, clip_range=0.2)
    with pytest.raises(ValueError, match=r"entropies_BT has shape \(2, 1\)"):
        entropy_bonus(column, mask, coef=0.1)
    with pytest.raises(ValueError, match=r"values_BT has shape \(2, 1\)"):
        explained_variance(column, x, mask)
    with pytest.raises(ValueError, match="clip_range=1"):
        clipped_policy_loss(x, x, x, mask, clip_range=1)
    with pytest.raises(ValueError, match="clip_range=0"):
        clipped_value_loss(x, x, x, mask, clip_range=0)
    with pytest.raises(ValueError, match="coef=-1"):
        entropy_bonus(x, mask, coef=-1)
