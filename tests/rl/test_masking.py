import pytest
import torch

from tltrain.rl.masking import check_shapes, keep_trained, mask_of_lengths, masked_mean, pad_rows

NAN = float("nan")


def test_mean_counts_trained_tokens_not_rows():
    # rows of 2 and 1 tokens: (1 + 2 + 6) / 3 = 3; a mean of row means would be (1.5 + 6) / 2 = 3.75
    x = torch.tensor([[1.0, 2.0], [6.0, NAN]])
    mask = torch.tensor([[1, 1], [1, 0]]).bool()
    assert masked_mean(x, mask).item() == 3.0


def test_denominator_replaces_the_count():
    x, mask = torch.tensor([[1.0, 2.0]]), torch.ones(1, 2, dtype=torch.bool)
    assert masked_mean(x, mask, denominator=6).item() == 0.5  # 3 / 6


def test_a_micro_batch_without_trained_tokens_adds_nothing():
    assert masked_mean(torch.full((1, 2), NAN), torch.zeros(1, 2, dtype=torch.bool), denominator=6).item() == 0.0


def test_mean_over_nothing_is_refused():
    with pytest.raises(ValueError, match="no trained token"):
        masked_mean(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool))


@pytest.mark.parametrize("denominator", [0, -1, NAN])
def test_denominator_must_be_positive(denominator):
    with pytest.raises(ValueError, match="denominator="):
        masked_mean(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool), denominator=denominator)


def test_a_shape_that_would_broadcast_is_refused_by_name():
    with pytest.raises(ValueError, match=r"values_BT has shape \(2, 1\), loss_mask_BT has \(2, 3\)"):
        check_shapes(torch.ones(2, 3, dtype=torch.bool), values_BT=torch.zeros(2, 1))


@pytest.mark.parametrize("mask", [torch.ones(2, 3, dtype=torch.long), torch.ones(3, dtype=torch.bool)])
def test_mask_must_be_bool_and_two_dimensional(mask):
    with pytest.raises(ValueError, match="loss_mask_BT has dtype"):
        check_shapes(mask)


def test_hidden_nan_reaches_neither_value_nor_gradient():
    x = torch.tensor([[2.0, NAN]], requires_grad=True)
    kept = keep_trained(x, torch.tensor([[1, 0]]).bool())
    kept.square().sum().backward()
    assert kept.tolist() == [[2.0, 0.0]]
    assert x.grad.tolist() == [[4.0, 0.0]]


def test_sums_run_in_float32():
    # 4096 ones: bfloat16 has 8 bits and stops counting at 256
    x = torch.ones(1, 4096, dtype=torch.bfloat16)
    mean = masked_mean(x, torch.ones(1, 4096, dtype=torch.bool))
    assert (mean.item(), mean.dtype) == (1.0, torch.float32)


def test_flat_numbers_go_to_their_rows_with_gradient():
    mask = mask_of_lengths([1, 3])
    assert mask.tolist() == [[True, False, False], [True, True, True]]
    flat = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    padded = pad_rows(flat, mask)
    assert padded.tolist() == [[1, 0, 0], [2, 3, 4]]
    (padded * torch.tensor([[1.0, 9, 9], [2, 3, 4]])).sum().backward()
    assert flat.grad.tolist() == [1, 2, 3, 4]


def test_too_few_or_too_many_numbers_are_refused():
    for number in (3, 5):
        with pytest.raises(ValueError, match=r"must be \(4,\), one a trained token"):
            pad_rows(torch.zeros(number), mask_of_lengths([1, 3]))
