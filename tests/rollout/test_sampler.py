import math
import random

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from tiny_models import tiny_llama, tiny_relative
from tltrain.engine import tree_attention
from tltrain.engine.backbone import backbone
from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.tree_attention import can_run_trees, prefill
from tltrain.rollout.cache import growing_cache, keep_rows
from tltrain.rollout.sampler import SamplingConfig, inverse_cdf, restrict, sample

INF = math.inf


class LetterTokenizer:
    """Token 0 is `a`, 1 is `b`, and so on; nothing ends a turn unless told."""

    def __init__(self, eos_token_id: int = -1):
        self.eos_token_id = eos_token_id

    def decode(self, ids: list[int], **_: object) -> str:
        return "".join(chr(97 + token) for token in ids)


def random_prompts(lengths: list[int], shared: int = 0, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    prefix = [rng.randrange(61) for _ in range(shared)]
    return [prefix + [rng.randrange(61) for _ in range(length)] for length in lengths]


RAGGED = random_prompts([3, 9, 1, 6])
SHARED = random_prompts([3, 9, 1, 6], shared=25)
MIXED = [*RAGGED, *SHARED, SHARED[0], [5]]
"""Several beginnings, a prompt that comes twice, one of a single token."""

GREEDY = SamplingConfig(max_new_tokens=7, temperature=0)


@pytest.mark.parametrize(
    "config",
    [GREEDY, SamplingConfig(max_new_tokens=7, temperature=0.8, top_p=0.9, top_k=20)],
    ids=["greedy", "sampled"],
)
def test_a_completion_does_not_depend_on_its_batch(config):
    # in float64, so that no tie is broken by the order of a sum
    model, tokenizer = tiny_llama(dtype=torch.float64), LetterTokenizer(eos_token_id=11)
    seeds = [100 + number for number in range(len(MIXED))]

    def run(prompts, seeds, batch_size):
        return sample(model, tokenizer, prompts, config.model_copy(update={"batch_size": batch_size}), seeds=seeds)

    alone = [run([prompt], [seed], 1)[0] for prompt, seed in zip(MIXED, seeds, strict=True)]
    for batch_size in (2, 3, 16):
        for together, expected in zip(run(MIXED, seeds, batch_size), alone, strict=True):
            assert together.ids == expected.ids
            assert together.logprobs == pytest.approx(expected.logprobs, abs=1e-5)
    turned = run(MIXED[::-1], seeds[::-1], 4)[::-1]
    assert [completion.ids for completion in turned] == [completion.ids for completion in alone]


@pytest.mark.parametrize("prompts", [RAGGED, SHARED, [*SHARED, SHARED[0]]], ids=["ragged", "shared", "twins"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_those_of_the_trainer(prompts, temperature):
    model = tiny_llama()
    config = SamplingConfig(max_new_tokens=6, temperature=temperature)
    completions = sample(model, LetterTokenizer(), prompts, config)
    sequences = [
        TargetSequence([*prompt, *completion.ids], range(len(prompt), len(prompt) + 6))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    with torch.no_grad():
        expected = target_scores(model, sequences, temperature=temperature).scores.logprobs
    found = [logprob for completion in completions for logprob in completion.logprobs]
    # softmax over 61 entries of float32 sums in another order
    torch.testing.assert_close(torch.tensor(found), expected, rtol=0, atol=1e-5)


def test_greedy_equals_generate_of_transformers():
    model = tiny_llama()
    for prompts in (RAGGED, SHARED):
        for prompt, completion in zip(prompts, sample(model, LetterTokenizer(), prompts, GREEDY), strict=True):
            ids = torch.tensor([prompt])
            settings = GenerationConfig(do_sample=False, max_new_tokens=7, pad_token_id=0)
            generated = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
            assert completion.ids == generated[0, len(prompt) :].tolist()


@pytest.mark.parametrize("as_tree", [True, False], ids=["tree", "one by one"])
@pytest.mark.parametrize("kind", ["qwen3", "mistral", "gemma3"])
def test_other_architectures_windows_included(kind, as_tree, monkeypatch):
    model = tiny_relative(kind)
    monkeypatch.setitem(tree_attention._CAN_RUN_TREES, backbone(model), as_tree)
    if as_tree:
        monkeypatch.undo()
    prompts = random_prompts([3, 30, 1, 61], shared=25)
    completions = sample(model, LetterTokenizer(), prompts, GREEDY)
    assert can_run_trees(model) == as_tree
    for prompt, completion in zip(prompts, completions, strict=True):
        ids = torch.tensor([[*prompt, *completion.ids]])
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, -8:-1]
        assert completion.ids == logits.argmax(-1).tolist()
        expected = torch.log_softmax(logits, -1).max(-1).values
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, rtol=0, atol=1e-5)


def test_greedy_logprobs_are_at_temperature_one():
    model = tiny_llama()
    [completion] = sample(model, LetterTokenizer(), [RAGGED[0]], SamplingConfig(max_new_tokens=1, temperature=0))
    logits = model(input_ids=torch.tensor([RAGGED[0]])).logits[0, -1]
    assert completion.logprobs[0] == pytest.approx(torch.log_softmax(logits, -1).max().item(), abs=1e-5)


def test_it_stops_at_the_end_of_turn_token_and_keeps_it():
    model = tiny_llama()
    free = sample(model, LetterTokenizer(), SHARED, GREEDY)
    eos = free[1].ids[2]
    for completion, unstopped in zip(sample(model, LetterTokenizer(eos), SHARED, GREEDY), free, strict=True):
        end = unstopped.ids.index(eos) + 1 if eos in unstopped.ids else 7
        assert completion.ids == unstopped.ids[:end]
        assert len(completion.logprobs) == end
        assert completion.is_finished is (eos in unstopped.ids)


def test_it_stops_when_the_text_is_complete():
    model, tokenizer = tiny_llama(), LetterTokenizer()
    completions = sample(model, tokenizer, SHARED, GREEDY, is_complete=lambda text: len(text) == 3)
    free = sample(model, tokenizer, SHARED, GREEDY)
    assert [completion.ids for completion in completions] == [completion.ids[:3] for completion in free]
    assert all(completion.is_finished for completion in completions)
    assert not any(completion.is_finished for completion in free)


def test_rows_that_stop_leave_the_others_alone():
    # each prompt of a batch stops at another length: what the rest writes must not change
    model, tokenizer = tiny_llama(dtype=torch.float64), LetterTokenizer()
    free, lengths = sample(model, tokenizer, SHARED, GREEDY), (2, 5, 1, 4)
    wanted = {tokenizer.decode(run.ids[:length]) for run, length in zip(free, lengths, strict=True)}
    completions = sample(model, tokenizer, SHARED, GREEDY, is_complete=lambda text: text in wanted)
    assert len(wanted) == 4
    assert [completion.ids for completion in completions] == [
        completion.ids[:length] for completion, length in zip(free, lengths, strict=True)
    ]


def test_same_prompt_with_other_seeds_gives_other_completions():
    model, tokenizer = tiny_llama(), LetterTokenizer()
    config = SamplingConfig(max_new_tokens=7)
    first, second, again = sample(model, tokenizer, [RAGGED[0]] * 3, config, seeds=[1, 2, 1])
    assert first.ids == again.ids
    assert first.ids != second.ids


def test_drawn_tokens_come_at_the_rate_of_their_probability():
    model = tiny_llama()
    prompt = RAGGED[0]
    expected = torch.softmax(model(input_ids=torch.tensor([prompt])).logits[0, -1] / 0.4, dim=-1)
    config = SamplingConfig(max_new_tokens=1, temperature=0.4, batch_size=50)
    drawn = [completion.ids[0] for completion in sample(model, LetterTokenizer(), [prompt] * 1000, config)]
    rates = torch.bincount(torch.tensor(drawn), minlength=61) / 1000
    # four standard errors of a share s over 1,000 draws are 4 * sqrt(s / 1000): at most 0.06 for shares below 0.25
    assert 0.15 < expected.max() < 0.25
    torch.testing.assert_close(rates, expected, rtol=0, atol=0.06)


def test_progress_and_training_mode():
    model, told = tiny_llama().train(), []
    sample(model, LetterTokenizer(), MIXED, GREEDY, progress=lambda done, total: told.append((done, total)))
    assert model.training
    assert told[-1] == (len(MIXED), len(MIXED))
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_no_prompts():
    assert sample(tiny_llama(), LetterTokenizer(), [], GREEDY) == []


@pytest.mark.parametrize(
    ("top_p", "top_k", "kept"),
    [
        (1.0, 0, [1, 1, 1, 1]),
        (1.0, 2, [0, 1, 1, 0]),
        (1.0, 9, [1, 1, 1, 1]),  # more than there are
        (0.5, 0, [0, 1, 0, 0]),  # 0.5 is enough
        (0.51, 0, [0, 1, 1, 0]),  # 0.5 is not
        (0.81, 0, [1, 1, 1, 0]),
        # the two kept by top-k hold 0.5 and 0.3: 0.62 of their mass is 0.496, which the first covers
        (0.62, 2, [0, 1, 0, 0]),
        (0.63, 2, [0, 1, 1, 0]),
    ],
)
def test_top_p_and_top_k_by_hand(top_p, top_k, kept):
    logprobs = torch.tensor([[0.15, 0.5, 0.3, 0.05]]).log()
    expected = logprobs.masked_fill(~torch.tensor([kept]).bool(), -INF)
    assert restrict(logprobs, top_p=top_p, top_k=top_k).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("uniform", "drawn"),
    # weights 0, 2, 0, 6, 0 (of 8 in all): below 0.25 the second, from there on the fourth, never one of weight 0
    [(0.0, 1), (0.24, 1), (0.25, 3), (0.9999999, 3)],
)
def test_inverse_cdf_by_hand(uniform, drawn):
    weights = torch.tensor([[0.0, 2.0, 0.0, 6.0, 0.0]])
    assert inverse_cdf(weights, torch.tensor([uniform])).tolist() == [drawn]


def test_growing_cache_equals_the_dynamic_one():
    model = tiny_llama(dtype=torch.float64)
    prompts, steps = [[1, 2, 3, 4], [1, 2, 3, 4, 4], [6]], torch.tensor([[5, 6], [7, 8], [9, 10]])
    states, layers = prefill(model, prompts)
    rows = torch.tensor([[0] * (5 - len(own)) + own for own in states.rows])
    cache = growing_cache(layers, rows, room=2)
    mask = torch.tensor([[0] * (5 - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    for number in range(2):
        positions = mask.sum(1, keepdim=True)
        mask = torch.cat([mask, mask.new_ones(3, 1)], dim=1)
        token = steps[:, number : number + 1]
        arguments = {"attention_mask": mask, "position_ids": positions, "past_key_values": cache}
        output = model.model(input_ids=token, use_cache=True, **arguments).last_hidden_state[:, -1]
        assert cache.get_seq_length() == 6 + number
    for prompt, own, found in zip(prompts, steps.tolist(), output, strict=True):
        expected = model.model(input_ids=torch.tensor([prompt + own])).last_hidden_state[0, -1]
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_a_growing_cache_keeps_the_rows_it_is_told_to():
    model = tiny_llama(dtype=torch.float64)
    states, layers = prefill(model, [[1, 2], [3, 4], [5, 6]])
    cache = growing_cache(layers, torch.tensor(states.rows), room=1)
    keep_rows(cache, [2, 0])
    output = model.model(input_ids=torch.tensor([[7], [8]]), past_key_values=cache, use_cache=True)
    expected = model.model(input_ids=torch.tensor([[5, 6, 7], [1, 2, 8]])).last_hidden_state[:, -1:]
    torch.testing.assert_close(output.last_hidden_state, expected, rtol=1e-10, atol=1e-10)
    assert layers[0].keys.shape[2] == 6  # what it was made of is as it was


class TwoTokens:
    """Allows one of two pairs of tokens, by whether the last one was even."""

    def __init__(self):
        self.pair = (3, 40)

    def allowed(self):
        words = np.zeros(2, dtype=np.int32)
        for token in self.pair:
            words.view(np.uint32)[token // 32] |= np.uint32(1 << token % 32)
        return words

    def accept(self, token):
        assert token in self.pair
        self.pair = (31, 60) if token % 2 == 0 else (0, 33)


@pytest.mark.parametrize("config", [GREEDY, SamplingConfig(max_new_tokens=7, temperature=0.8, top_p=0.9, top_k=20)])
def test_constraints_change_nothing_about_the_batch_and_are_kept(config):
    model, tokenizer = tiny_llama(dtype=torch.float64), LetterTokenizer()
    seeds = [100 + number for number in range(len(MIXED))]

    def run(prompts, seeds, batch_size):
        sized = config.model_copy(update={"batch_size": batch_size})
        return sample(model, tokenizer, prompts, sized, seeds=seeds, constraints=[TwoTokens] * len(prompts))

    alone = [run([prompt], [seed], 1)[0] for prompt, seed in zip(MIXED, seeds, strict=True)]
    for together, expected in zip(run(MIXED, seeds, 5), alone, strict=True):
        assert together.ids == expected.ids
        assert together.logprobs == pytest.approx(expected.logprobs, abs=1e-5)
    for prompt, completion in zip(MIXED, alone, strict=True):
        mask = TwoTokens()
        for place, token in enumerate(completion.ids):
            assert completion.allowed[place].tolist() == mask.allowed().tolist()
            # softmax of the two logits, worked out apart; top-p would leave out what is likely in the whole vocabulary
            logits = model(input_ids=torch.tensor([[*prompt, *completion.ids[:place]]])).logits[0, -1]
            two = torch.log_softmax(logits[list(mask.pair)] / (config.temperature or 1.0), dim=-1)
            assert completion.logprobs[place] == pytest.approx(two[mask.pair.index(token)].item(), abs=1e-5)
            if config.temperature == 0:
                assert two[mask.pair.index(token)] == two.max()
            mask.accept(token)
    assert len({tuple(completion.ids) for completion in alone}) > 2


def test_constrained_logprobs_are_those_of_the_trainer():
    model = tiny_llama()
    config = SamplingConfig(max_new_tokens=6, temperature=0.7)
    completions = sample(model, LetterTokenizer(), SHARED, config, constraints=[TwoTokens] * len(SHARED))
    sequences = [
        TargetSequence(
            [*prompt, *completion.ids],
            range(len(prompt), len(prompt) + 6),
            torch.from_numpy(np.stack(completion.allowed)),
        )
        for prompt, completion in zip(SHARED, completions, strict=True)
    ]
    with torch.no_grad():
        found = target_scores(model, sequences, temperature=0.7).scores.logprobs
        free = target_scores(model, [TargetSequence(one.ids, one.positions) for one in sequences]).scores.logprobs
    expected = torch.tensor([logprob for completion in completions for logprob in completion.logprobs])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (free < expected - 0.1).any()
