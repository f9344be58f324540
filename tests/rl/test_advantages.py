import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tltrain.rl.advantages import gae, leave_one_out, token_rewards, whiten

NAN = float("nan")


def as_mask(*rows: str) -> torch.Tensor:
    return torch.tensor([[int(c) for c in row] for row in rows]).bool()


def ragged_case(seed: int, rows: int = 4, tokens: int = 9) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rewards, values and a mask with any holes; NaN under every hole."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, tokens, generator=generator) < 0.6
    rewards, values = torch.randn(2, rows, tokens, generator=generator)
    return rewards.masked_fill(~mask, NAN), values.masked_fill(~mask, NAN), mask


def advantages_by_definition(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """Eq. 16 as a double sum: A_t = sum over l of (gamma lambda)^l delta_(t+l), in float64."""
    deltas = [
        reward + gamma * (values[t + 1] if t + 1 < len(values) else 0.0) - values[t] for t, reward in enumerate(rewards)
    ]
    return [sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, len(deltas))) for t in range(len(deltas))]


def test_gae_by_hand():
    # gamma 0.5, lambda 0.5, values 1 2 4, a reward of 8 at the end
    # delta: 0 + 0.5*2 - 1 = 0;  0 + 0.5*4 - 2 = 0;  8 + 0 - 4 = 4
    # A: 4;  0 + 0.25*4 = 1;  0 + 0.25*1 = 0.25;   returns: 4 + 4 = 8;  1 + 2 = 3;  0.25 + 1 = 1.25
    # the second row is one token long and must not bootstrap from the 100 behind it: 8 - 1 = 7
    rewards = torch.tensor([[0.0, 0.0, 8.0], [8.0, 100.0, 100.0]])
    values = torch.tensor([[1.0, 2.0, 4.0], [1.0, 100.0, 100.0]])
    out = gae(rewards, values, as_mask("111", "100"), gamma=0.5, gae_lambda=0.5)
    assert out.advantages.tolist() == [[0.25, 1.0, 4.0], [7.0, 0.0, 0.0]]
    assert out.returns.tolist() == [[1.25, 3.0, 8.0], [8.0, 0.0, 0.0]]


@settings(deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 1))
def test_gae_follows_the_definition_on_the_trained_tokens_of_each_row(seed, gamma, lam):
    rewards, values, mask = ragged_case(seed)
    out = gae(rewards, values, mask, gamma=gamma, gae_lambda=lam)
    for row in range(len(mask)):
        kept = mask[row]
        expected = advantages_by_definition(rewards[row][kept].tolist(), values[row][kept].tolist(), gamma, lam)
        # 9 steps of numbers near 1 in float32
        assert out.advantages[row][kept].tolist() == pytest.approx(expected, abs=1e-5)
        assert out.advantages[row][~kept].tolist() == [0.0] * int((~kept).sum())
        assert out.returns[row][~kept].tolist() == [0.0] * int((~kept).sum())


def test_lambda_1_gamma_1_is_reward_to_go_minus_value():
    rewards, values, mask = ragged_case(3)
    out = gae(rewards, values, mask, gamma=1, gae_lambda=1)
    for row in range(len(mask)):
        r, v = rewards[row][mask[row]], values[row][mask[row]]
        to_go = r.flip(0).cumsum(0).flip(0)
        torch.testing.assert_close(out.advantages[row][mask[row]], to_go - v, atol=1e-5, rtol=0)
        torch.testing.assert_close(out.returns[row][mask[row]], to_go, atol=1e-5, rtol=0)


def test_lambda_0_is_the_one_step_error():
    # 1 + 0.5*3 - 2 = 0.5;  1 - 3 = -2
    out = gae(torch.ones(1, 2), torch.tensor([[2.0, 3.0]]), as_mask("11"), gamma=0.5, gae_lambda=0)
    assert out.advantages.tolist() == [[0.5, -2.0]]


def test_gae_does_not_see_padding():
    rewards, values, _ = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    short = gae(rewards, values, as_mask("1111", "1110"), gamma=0.9, gae_lambda=0.95)
    pad = torch.full((2, 3), NAN)
    long = gae(
        torch.cat([pad, rewards, pad], 1),
        torch.cat([pad, values, pad], 1),
        as_mask("0001111000", "0001110000"),
        gamma=0.9,
        gae_lambda=0.95,
    )
    assert torch.equal(long.advantages[:, 3:7], short.advantages)
    assert torch.equal(long.returns[:, 3:7], short.returns)


def test_gae_has_no_gradient_and_is_float32():
    values = torch.zeros(1, 2, dtype=torch.bfloat16, requires_grad=True)
    out = gae(torch.ones(1, 2), values, as_mask("11"), gamma=1, gae_lambda=1)
    assert (out.returns.requires_grad, out.returns.dtype) == (False, torch.float32)


@pytest.mark.parametrize(("gamma", "lam", "name"), [(1.1, 1, "gamma=1.1"), (1, -0.1, "gae_lambda=-0.1")])
def test_gae_refuses_shares_out_of_range(gamma, lam, name):
    with pytest.raises(ValueError, match=name):
        gae(torch.zeros(1, 1), torch.zeros(1, 1), as_mask("1"), gamma=gamma, gae_lambda=lam)


def test_gae_refuses_shapes_that_broadcast():
    with pytest.raises(ValueError, match=r"values_BT has shape \(2, 1\)"):
        gae(torch.zeros(2, 3), torch.zeros(2, 1), as_mask("111", "111"), gamma=1, gae_lambda=1)


def test_score_lands_on_the_last_trained_token_minus_kl_on_each():
    # kl_coef 0.5; row 0: -0.5*2 = -1, 3 - 0.5*4 = 1, padding 0
    # row 1: score -9 clipped to -5: prompt 0, -0.5*2 = -1, -5 - 0.5*(-2) = -4
    kl = torch.tensor([[2.0, 4.0, NAN], [NAN, 2.0, -2.0]])
    out = token_rewards(torch.tensor([3.0, -9.0]), kl, as_mask("110", "011"), kl_coef=0.5, reward_clip=5)
    assert out.tolist() == [[-1.0, 1.0, 0.0], [0.0, -1.0, -4.0]]


def test_only_the_score_is_clipped_and_only_if_asked():
    # 9 -> 5, then the KL term of -20 stays whole: 5 - 20 = -15; without a clip 9 - 20 = -11
    scores, kl = torch.tensor([9.0]), torch.tensor([[20.0]])
    assert token_rewards(scores, kl, as_mask("1"), kl_coef=1, reward_clip=5).item() == -15.0
    assert token_rewards(scores, kl, as_mask("1"), kl_coef=1, reward_clip=None).item() == -11.0


@pytest.mark.parametrize("score", [7.0, -7.0])
def test_clip_is_symmetric(score):
    out = token_rewards(torch.tensor([score]), torch.zeros(1, 1), as_mask("1"), kl_coef=0, reward_clip=5)
    assert abs(out.item()) == 5.0


def test_total_reward_is_score_minus_summed_kl():
    _, kl, mask = ragged_case(5)
    mask[:, 0] = True
    kl[:, 0] = 0.25
    scores = torch.tensor([1.0, -2.0, -0.25, -1.5])
    rewards = token_rewards(scores, kl, mask, kl_coef=0.4, reward_clip=5)
    totals = [scores[row].item() - 0.4 * sum(kl[row][mask[row]].tolist()) for row in range(4)]
    assert rewards.sum(1).tolist() == pytest.approx(totals, abs=1e-5)


def test_a_row_that_cannot_carry_its_score_is_named():
    with pytest.raises(ValueError, match=r"rows \[1\]"):
        token_rewards(torch.zeros(2), torch.zeros(2, 2), as_mask("11", "00"), kl_coef=0, reward_clip=5)


def test_token_rewards_refuses_wrong_arguments():
    with pytest.raises(ValueError, match=r"scores_B has shape \(2, 1\)"):
        token_rewards(torch.zeros(2, 1), torch.zeros(2, 2), as_mask("11", "11"), kl_coef=0, reward_clip=5)
    with pytest.raises(ValueError, match="reward_clip=0"):
        token_rewards(torch.zeros(1), torch.zeros(1, 1), as_mask("1"), kl_coef=0, reward_clip=0)


def test_whiten_by_hand():
    # 1 and 5: mean 3, variance (4 + 4) / 2 = 4, so -2/2 and 2/2; keeping the mean: 2 and 4
    x, mask = torch.tensor([[1.0, NAN, 5.0]]), as_mask("101")
    torch.testing.assert_close(whiten(x, mask), torch.tensor([[-1.0, 0.0, 1.0]]))
    torch.testing.assert_close(whiten(x, mask, shift_mean=False), torch.tensor([[2.0, 0.0, 4.0]]))


@settings(deadline=None)
@given(st.integers(0, 2**31), st.floats(-10, 10), st.floats(0.1, 10))
def test_whitened_mean_is_0_and_variance_is_1(seed, shift, scale):
    x, _, mask = ragged_case(seed)
    mask[0, :2], x[0, 0], x[0, 1] = True, 1.0, -1.0
    whitened = whiten(x * scale + shift, mask)[mask].double()
    # float32 rounding of numbers up to 40, over a scale of at least 0.05
    assert whitened.mean().item() == pytest.approx(0, abs=1e-3)
    assert whitened.var(correction=0).item() == pytest.approx(1, abs=1e-3)


def test_whitening_is_over_the_batch_not_over_rows():
    # all four: mean 2.5, variance (2.25 + 0.25 + 0.25 + 2.25) / 4 = 1.25
    out = whiten(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), as_mask("11", "11"))
    torch.testing.assert_close(out, torch.tensor([[-1.5, -0.5], [0.5, 1.5]]) / 1.25**0.5)


@pytest.mark.parametrize("number", [0.0, 0.1, 5.0])
def test_equal_numbers_become_0_and_no_noise_is_blown_up(number):
    x, mask = torch.full((3, 7), number), torch.ones(3, 7, dtype=torch.bool)
    assert whiten(x, mask).abs().max().item() < 0.01
    torch.testing.assert_close(whiten(x, mask, shift_mean=False), x, atol=0.01, rtol=0)


def test_whitening_bfloat16_runs_in_float32():
    # 256 and 257 are neighbours that bfloat16 cannot tell apart; 256 and 258 it can, but not their mean, 257
    x = torch.tensor([[256.0, 258.0]], dtype=torch.bfloat16)
    torch.testing.assert_close(whiten(x, as_mask("11")), torch.tensor([[-1.0, 1.0]]))


def test_leave_one_out_is_reward_minus_the_mean_of_the_others():
    generator = torch.Generator().manual_seed(3)
    rewards = torch.randn(6, 4, generator=generator)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]]).bool()
    groups = ["a", "b", "a", "a", "b", "alone"]
    found = leave_one_out(rewards, mask, groups)
    for row, group in enumerate(groups):
        totals = {
            other: sum(float(rewards[other, t]) for t in range(4) if mask[other, t])
            for other in range(6)
            if groups[other] == group
        }
        others = [total for other, total in totals.items() if other != row]
        expected = totals[row] - sum(others) / len(others) if others else 0.0
        for t in range(4):
            assert found[row, t].item() == pytest.approx(expected if mask[row, t] else 0.0, abs=1e-6)
    with pytest.raises(ValueError, match="2 groups for 6 rows"):
        leave_one_out(rewards, mask, ["a", "b"])
