import math

import pytest
import torch

from tiny_models import tiny_head, tiny_llama
from tltrain.engine.head import Head, TokenScores, output_head, score_targets
from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.errors import ModelError


def score(hidden, weight, targets, **options) -> TokenScores:
    return score_targets(hidden, Head(weight), targets, **options)


def random_problem(num_targets: int = 7, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(num_targets, 5, dtype=dtype, generator=generator)
    weight = torch.randn(11, 5, dtype=dtype, generator=generator)
    targets = torch.randint(0, 11, (num_targets,), generator=generator)
    return hidden, weight, targets


def plain_scores(hidden, weight, targets, temperature):
    log_p = torch.log_softmax(hidden @ weight.T / temperature, dim=-1)
    return log_p.gather(1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1), log_p.argmax(-1) == targets


def test_by_hand():
    # logits 0, ln 3 and 0 for targets 1 and 0: p = 3/5 and 1/5; entropy = -(0.6 ln 0.6 + 2 * 0.2 ln 0.2)
    hidden, weight = torch.ones(2, 1), torch.tensor([[0.0], [math.log(3)], [0.0]])
    scores = score(hidden, weight, torch.tensor([1, 0]))
    torch.testing.assert_close(scores.logprobs, torch.tensor([0.6, 0.2]).log())
    entropy = -(0.6 * math.log(0.6) + 0.4 * math.log(0.2))
    torch.testing.assert_close(scores.entropies, torch.tensor([entropy, entropy]))
    assert scores.is_greedy.tolist() == [True, False]


@pytest.mark.parametrize("temperature", [1.0, 0.3, 2.5])
@pytest.mark.parametrize("chunk_size", [1, 3, 128])
def test_equals_plain_log_softmax(temperature, chunk_size):
    problem = random_problem()
    scores = score(*problem, temperature=temperature, chunk_size=chunk_size)
    logprobs, entropies, is_greedy = plain_scores(*problem, temperature)
    torch.testing.assert_close(scores.logprobs, logprobs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(scores.entropies, entropies, rtol=1e-12, atol=1e-12)
    assert scores.is_greedy.equal(is_greedy)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk_size", [2, 128])
def test_gradient_is_exact(temperature, chunk_size):
    hidden, weight, targets = random_problem(3)
    hidden.requires_grad_()
    weight.requires_grad_()

    def function(hidden, weight):
        scores = score(hidden, weight, targets, temperature=temperature, chunk_size=chunk_size)
        return scores.logprobs, scores.entropies

    assert torch.autograd.gradcheck(function, (hidden, weight))


@pytest.mark.parametrize("read", [0, 1])
def test_gradient_of_one_of_both_scores(read):
    hidden, weight, targets = random_problem()
    found, expected = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    score(found, weight, targets, chunk_size=3)[read].sum().backward()
    plain_scores(expected, weight, targets, 1.0)[read].sum().backward()
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-12, atol=1e-12)


def test_gradient_of_a_frozen_head():
    hidden, weight, targets = random_problem()
    hidden.requires_grad_()
    score(hidden, weight, targets).logprobs.sum().backward()
    expected = hidden.detach().clone().requires_grad_()
    plain_scores(expected, weight, targets, 1.0)[0].sum().backward()
    torch.testing.assert_close(hidden.grad, expected.grad)
    assert weight.grad is None


def test_tokens_of_probability_zero_count_nothing():
    # a logit of -inf (a masked entry) leaves the other two at 1/2 each
    hidden, weight = torch.tensor([[1.0, 0.0]], requires_grad=True), torch.tensor([[0.0, 0.0], [0.0, 0.0], [-1e38, 0]])
    scores = score(hidden * torch.tensor([[1e38, 0.0]]), weight, torch.tensor([0]))
    torch.testing.assert_close(scores.entropies, torch.tensor([math.log(2)]))
    (scores.logprobs + scores.entropies).sum().backward()
    assert torch.isfinite(hidden.grad).all()


def test_bfloat16_states_are_scored_in_float32():
    hidden, weight, targets = random_problem(dtype=torch.float32)
    half = score(hidden.bfloat16(), weight, targets)
    assert half.logprobs.dtype == torch.float32
    # the products have 8 bits; what is computed from them is exact
    logits = (hidden.bfloat16() @ weight.bfloat16().T).float()
    torch.testing.assert_close(half.logprobs, torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0])


def test_no_targets():
    hidden, weight, targets = random_problem(0)
    assert score(hidden, weight, targets).logprobs.shape == (0,)


@pytest.mark.parametrize(
    ("hidden", "weight", "targets"),
    [((2, 5), (11, 4), (2,)), ((2, 5), (11, 5), (3,)), ((1, 2, 5), (11, 5), (1,)), ((2, 5), (11, 5), (2, 1))],
)
def test_shapes_that_do_not_fit_are_refused(hidden, weight, targets):
    with pytest.raises(ValueError, match=r"wants \[N, H\]"):
        score(torch.zeros(hidden), torch.zeros(weight), torch.zeros(targets, dtype=torch.long))


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature"):
        score(*random_problem(), temperature=temperature)


_HEADS = [
    {"bias": torch.linspace(-1, 1, 11, dtype=torch.float64)},
    {"scale": 0.25},
    {"cap": 2.0},
    {"bias": torch.linspace(-1, 1, 11, dtype=torch.float64), "scale": 3.0, "cap": 1.5},
]


@pytest.mark.parametrize("steps", _HEADS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradient_is_exact_after_further_steps(steps, masked):
    hidden, weight, targets = random_problem(3)
    steps = {"bias": torch.zeros(11, dtype=torch.float64), "scale": 1.0, "cap": None} | steps
    # every other token, and the targets
    mask = torch.zeros(3, 11, dtype=torch.bool)
    mask[:, ::2] = True
    mask.scatter_(1, targets[:, None], True)
    words = (mask * 2 ** torch.arange(11)).sum(1, keepdim=True).int()

    def function(hidden, weight, bias):
        head = Head(weight, bias, steps["scale"], steps["cap"])
        scores = score_targets(
            hidden, head, targets, temperature=0.7, chunk_size=2, allowed_NW=words if masked else None
        )
        return scores.logprobs, scores.entropies

    def plain(hidden, weight, bias):
        logits = (hidden @ weight.T + bias) * steps["scale"]
        logits = logits if steps["cap"] is None else steps["cap"] * torch.tanh(logits / steps["cap"])
        logits = (logits / 0.7).masked_fill(~mask, -torch.inf) if masked else logits / 0.7
        log_p = torch.log_softmax(logits, dim=-1)
        return log_p.gather(1, targets[:, None])[:, 0]

    arguments = [part.requires_grad_() for part in (hidden, weight, steps["bias"].clone())]
    torch.testing.assert_close(function(*arguments)[0], plain(*arguments), rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(function, arguments)


def test_the_head_of_a_model_makes_its_logits():
    model = tiny_llama()
    hidden = model.model(input_ids=torch.tensor([[1, 2, 3]])).last_hidden_state[0]
    logits = model(input_ids=torch.tensor([[1, 2, 3]])).logits[0]
    torch.testing.assert_close(output_head(model).logits(hidden), logits)


@pytest.mark.parametrize("kind", ["gemma2", "granite", "cohere", "phi"])
def test_heads_with_a_cap_a_scale_or_a_bias(kind):
    model = tiny_head(kind)
    ids = [[3, 1, 4, 1, 5, 9, 2, 6], [3, 1, 4, 1, 5, 8]]
    wanted = [
        torch.log_softmax(model(input_ids=torch.tensor([own])).logits[0, :-1].double(), -1)
        .gather(1, torch.tensor(own)[1:, None])
        .squeeze(1)
        for own in ids
    ]
    output = target_scores(model, [TargetSequence(own, list(range(1, len(own)))) for own in ids])
    torch.testing.assert_close(output.scores.logprobs.double(), torch.cat(wanted), rtol=1e-5, atol=1e-5)


def test_a_head_that_does_more_is_refused():
    model = tiny_llama()
    model.lm_head.register_forward_hook(lambda *given: 2 * given[-1])
    with pytest.raises(ModelError, match="llama: the model's logits are not"):
        output_head(model)
