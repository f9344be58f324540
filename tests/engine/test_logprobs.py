import pytest
import torch

from tiny_models import tiny_llama
from tltrain.engine.logprobs import TargetSequence, target_scores

SEQUENCES = (
    TargetSequence([*range(20), 30, 31, 32, 33], [5, 21, 23]),  # a target in the shared part too
    TargetSequence([*range(20), 40], [20]),
    TargetSequence([*range(20), 50, 51, 52], []),
    TargetSequence([*range(20), 60, 3, 5, 7, 9, 2], [1, 25]),
)


def plain_logprobs(model, temperature: float = 1.0) -> torch.Tensor:
    """From transformers' own logits, one sequence at a time."""
    rows = []
    for sequence in SEQUENCES:
        log_p = torch.log_softmax(model(input_ids=torch.tensor([sequence.ids])).logits[0] / temperature, dim=-1)
        rows += [log_p[position - 1, sequence.ids[position]] for position in sequence.positions]
    return torch.stack(rows)


@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_equals_the_models_own_logits(share_prefix, temperature):
    model = tiny_llama(dtype=torch.float64)
    output = target_scores(model, SEQUENCES, temperature=temperature, share_prefix=share_prefix, chunk_size=2)
    torch.testing.assert_close(output.scores.logprobs, plain_logprobs(model, temperature), rtol=1e-10, atol=1e-10)
    assert output.lengths == (3, 1, 0, 2)
    assert output.hidden.shape == (6, 32)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_gradient_equals_that_of_the_models_own_logits(dtype, tolerance):
    model = tiny_llama(dtype=dtype)
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0, 0.25], dtype=dtype)
    parameters = list(model.parameters())
    output = target_scores(model, SEQUENCES)
    found = torch.autograd.grad((weights * output.scores.logprobs).sum(), parameters)
    expected = torch.autograd.grad((weights * plain_logprobs(model)).sum(), parameters)
    for gradient, wanted in zip(found, expected, strict=True):
        scale = max(1.0, wanted.abs().max().item())
        torch.testing.assert_close(gradient, wanted, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("positions", [[0], [4], [-1], [1, 4]])
def test_positions_that_nothing_predicts_are_refused(positions):
    with pytest.raises(ValueError, match=r"positions must lie in \[1, 4\)"):
        target_scores(tiny_llama(), [TargetSequence([1, 2, 3, 4], positions)])


def test_where_few_tokens_are_allowed_the_others_have_no_part():
    # against softmax over the allowed logits alone; the second sequence allows all
    model = tiny_llama(dtype=torch.float64)
    allowed = {(0, 5): [5, 31, 32], (0, 21): [31, 33], (0, 23): [33], (3, 1): [0, 3, 60], (3, 25): [2, 9]}
    sequences, expected, entropies = [], [], []
    for number, sequence in enumerate(SEQUENCES):
        words = torch.zeros(len(sequence.positions), 2, dtype=torch.int64)
        for row, position in enumerate(sequence.positions):
            tokens = sorted({*allowed.get((number, position), range(61)), sequence.ids[position]})
            logits = model(input_ids=torch.tensor([sequence.ids])).logits[0, position - 1, tokens]
            log_p = torch.log_softmax(logits / 0.5, dim=-1)
            expected.append(log_p[tokens.index(sequence.ids[position])])
            entropies.append(-(log_p.exp() * log_p).sum())
            for token in tokens:
                words[row, token // 32] |= 1 << token % 32
        # the sign bit is entry 31 of a word
        packed = torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)
        sequences.append(TargetSequence(sequence.ids, sequence.positions, None if number == 1 else packed))
    output = target_scores(model, sequences, temperature=0.5, chunk_size=2).scores
    torch.testing.assert_close(output.logprobs, torch.stack(expected), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(output.entropies, torch.stack(entropies), rtol=1e-10, atol=1e-10)
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0, 0.25], dtype=torch.float64)
    parameters = list(model.parameters())
    found = torch.autograd.grad((weights * (output.logprobs + 0.3 * output.entropies)).sum(), parameters)
    plain = torch.stack(expected) + 0.3 * torch.stack(entropies)
    for gradient, wanted in zip(found, torch.autograd.grad((weights * plain).sum(), parameters), strict=True):
        scale = max(1.0, wanted.abs().max().item())
        torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-10 * scale)
