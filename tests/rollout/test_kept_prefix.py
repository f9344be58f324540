"""Conversations of several turns, sampled with and without kept keys and values."""

import random

import pytest
import torch

from tiny_models import tiny_llama, tiny_relative
from tltrain.engine import tree_attention
from tltrain.engine.backbone import backbone
from tltrain.engine.tree_attention import prefill
from tltrain.rollout.kept_prefix import KeptPrefixes
from tltrain.rollout.sampler import SamplingConfig, sample

CONFIG = SamplingConfig(max_new_tokens=6, temperature=0, batch_size=3)
BUDGET = 2**24


class Letters:
    eos_token_id = 11

    def decode(self, ids, **_):
        return "".join(chr(97 + token) for token in ids)


def tokens(rng, number):
    return [rng.randrange(61) for _ in range(number)]


def talk(model, kept, *, seed=0, num_turns=4, change=None):
    """Completions of all turns of seven conversations on two tool lists; the order changes from turn to turn."""
    rng, shuffling = random.Random(seed), random.Random(seed + 1)
    tools = [tokens(rng, 50), tokens(rng, 20)]
    talks = [[*tools[number % 2], *tokens(rng, 3 + number)] for number in range(7)]
    said = [[tokens(rng, 2 + number) for number in range(7)] for _ in range(num_turns)]
    found = []
    for turn in range(num_turns):
        order = list(range(7))
        shuffling.shuffle(order)
        if change:
            talks = [change(turn, ids) for ids in talks]
        completions = sample(model, Letters(), [talks[number] for number in order], CONFIG, kept=kept)
        for number, completion in zip(order, completions, strict=True):
            found.append((turn, number, completion))
            talks[number] = [*talks[number], *completion.ids, *said[turn][number]]
    return sorted(found, key=lambda each: each[:2])


def assert_same(found, expected):
    for (_, _, one), (_, _, other) in zip(found, expected, strict=True):
        assert one.ids == other.ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


MODELS = {
    "llama": tiny_llama,
    **{kind: lambda kind=kind: tiny_relative(kind) for kind in ("qwen3", "mistral", "gemma3")},
}


@pytest.mark.parametrize("kind", MODELS)
def test_turns_are_the_same_and_run_only_what_is_new(kind):
    # mistral and gemma3 attend in windows of 40 and 32 tokens, which these conversations outgrow
    model, kept = MODELS[kind](), KeptPrefixes(BUDGET)
    assert_same(talk(model, kept), talk(model, None))
    assert kept.num_reused > 0
    assert kept.num_evicted == 0


@pytest.mark.parametrize("kilobytes", [20, 40, 60])
def test_a_small_budget_is_kept_to_and_changes_nothing(kilobytes):
    model, kept = tiny_llama(), KeptPrefixes(kilobytes * 1024)
    sizes = []
    real = kept.add

    def add(ids, layers):
        real(ids, layers)
        sizes.append(kept.num_bytes)

    kept.add = add
    assert_same(talk(model, kept), talk(model, None))
    assert max(sizes) <= kilobytes * 1024
    assert kept.num_evicted > 0
    assert kept.num_bytes == sum(part.numel() * 4 for node in nodes(kept) for layer in node.layers for part in layer)


def nodes(kept):
    waiting, found = [kept._root], []
    while waiting:
        found.append(waiting.pop())
        waiting += found[-1].children.values()
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda turn, ids: [turn, *ids[1:]],  # nothing fits any more
        lambda turn, ids: [*ids[:30], turn, *ids[31:]],  # another tool in the middle of the list
        lambda turn, ids: ids[:25] if turn == 2 else ids,  # shortened to less than was kept
    ],
    ids=["first", "middle", "shorter"],
)
def test_changed_beginnings(change):
    model, kept = tiny_llama(), KeptPrefixes(BUDGET)
    assert_same(talk(model, kept, change=change), talk(model, None, change=change))


def test_what_is_kept_is_what_the_model_computes():
    model, kept = tiny_llama(), KeptPrefixes(BUDGET)
    found = talk(model, kept)
    longest = max((node_path(node) for node in nodes(kept)), key=len)
    assert kept.length([*longest, 1]) == len(longest) > 80
    _, expected = prefill(model, [longest])
    for own, wanted in zip(kept.rows(longest, 5, len(longest)), expected, strict=True):
        torch.testing.assert_close(own.keys, wanted.keys[:, :, 5:], rtol=0, atol=1e-5)
        torch.testing.assert_close(own.values, wanted.values[:, :, 5:], rtol=0, atol=1e-5)
    assert found


def node_path(node):
    return [] if node.parent is None else [*node_path(node.parent), *node.ids]


def test_the_least_recently_used_goes_first():
    model = tiny_llama()
    sequences = [[number] * 10 for number in range(3)]
    layers = [prefill(model, [ids])[1] for ids in sequences]
    size = sum(part.numel() * 4 for layer in layers[0] for part in layer)
    kept = KeptPrefixes(2 * size)
    assert kept.suits(model)
    kept.add(sequences[0], layers[0])
    kept.add(sequences[1], layers[1])
    assert kept.length(sequences[0]) == 10  # used again
    kept.add(sequences[2], layers[2])
    assert [kept.length(ids) for ids in sequences] == [10, 0, 10]
    assert (kept.num_bytes, kept.num_evicted) == (2 * size, 10)


def test_models_that_do_not_run_as_trees_keep_nothing_and_say_so(monkeypatch):
    model, kept = tiny_llama(), KeptPrefixes(BUDGET)
    monkeypatch.setitem(tree_attention._CAN_RUN_TREES, backbone(model), False)
    expected = talk(model, None)
    with pytest.warns(UserWarning, match="cannot go on from kept keys and values"):
        assert_same(talk(model, kept), expected)
    assert kept.num_bytes == 0


def test_keys_are_kept_under_autocast_too():
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert KeptPrefixes(BUDGET).suits(tiny_relative("qwen3"))


def test_another_model_empties_it():
    kept = KeptPrefixes(BUDGET)
    talk(tiny_llama(), kept)
    other = tiny_llama(seed=1)
    assert_same(talk(other, kept), talk(other, None))
