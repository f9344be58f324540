"""The benchmark of SFT against TRL: what it measures is what it says."""

import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tltrain.engine.model import load_model

_BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script of bench/ by name."""
    monkeypatch.syspath_prepend(str(_BENCH))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.fixture
def run_bench(bench: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs bench/sft.py on the tiny model and few rows; returns the figures of its sets."""

    def run(*options: str) -> list[dict[str, Any]]:
        size = ["--num-rows", "24", "--step-size", "6", "--steps", "2", "--threads", "1"]
        command = ["sft.py", "--model", str(tiny_model), "--out", str(tmp_path / "out"), *size, *options]
        monkeypatch.setattr(sys, "argv", command)
        bench("sft").main()
        results: list[dict[str, Any]] = json.loads((tmp_path / "out" / "sft.json").read_text())
        return results

    return run


def _fixed_steps(bench: Any, tokenizer: Any) -> list[list[Any]]:
    made = bench("sft_sets").make_set("fixed", tokenizer, max_length=8192, num_rows=24, rlla=None)
    steps: list[list[Any]] = made.steps(num_steps=2, step_size=6, seed=0)
    return steps


def test_the_measured_loss_is_the_mean_over_the_trained_tokens(run_bench, bench, tiny_model, monkeypatch):
    # in this process, where torch is already there
    fixed = {"matmul": {"seconds": 1e9, "cpu_seconds": 1e9}, "threads": 1}
    monkeypatch.setattr(bench("sft"), "run_side", lambda _, __, job: bench("sft_tltrain").measure(job) | fixed)
    (result,) = run_bench("--sets", "fixed", "--micro-batch-tokens", "8192", "8192:checkpoint")
    loaded = load_model(tiny_model)
    steps = _fixed_steps(bench, loaded.tokenizer)
    losses = []
    with torch.no_grad():
        for row in steps[0]:
            logits = loaded.model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1]
            losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(row.labels[1:]), reduction="none"))
    trained = torch.cat([torch.tensor(row.labels[1:]) >= 0 for row in steps[0]])
    expected = torch.cat(losses)[trained].mean().item()
    for ours in result["tltrain"]:
        assert ours["losses"][0] == pytest.approx(expected, abs=1e-5)
        assert ours["losses"] == pytest.approx(result["tltrain"][0]["losses"], abs=1e-5)
        assert ours["memory"]["peak"] >= ours["memory"]["loaded"] > 0
        assert len(ours["seconds"]) == 2
    assert result["runs_trees"]
    assert result["trained_tokens"] == sum(label >= 0 for step in steps for row in step for label in row.labels)
    assert result["tokens"] == sum(len(row.input_ids) for step in steps for row in step)


def test_the_fixed_set_has_one_list_of_20_tools(bench, tiny_model):
    tokenizer = load_model(tiny_model).tokenizer
    made = bench("sft_sets").make_set("fixed", tokenizer, max_length=8192, num_rows=24, rlla=None)
    assert made.summary == "one list of 20 tools, 24 short dialogues"
    assert len({row.key for row in made.rows}) == 1
    (rows, _) = _fixed_steps(bench, tokenizer)
    # 6 rows share the list; most of each is that list
    assert bench("sft").count_tree(rows, 8192).tokens < sum(len(row.input_ids) for row in rows) / 3


def test_operations_by_hand(bench):
    sft, row = bench("sft"), bench("sft_sets").Row
    rows = [row(input_ids=[*range(20), own], labels=[-100] * 20 + [own], key="") for own in (50, 51)]
    # the stem of 20 once and an own token each, which see 1 to 20, and 21 twice
    tree = sft.count_tree(rows, 100)
    assert (tree.tokens, tree.contexts) == (22, 210 + 42)
    whole = sft.count_rows(rows)
    assert (whole.tokens, whole.contexts) == (42, 2 * 231)
    shape = {"block": 1000, "adapters": 10, "head": 500, "attention": 8}
    assert sft.count_flops(tree, 2, shape, is_lora=False) == (6000 + 60) * 22 + 6 * 500 * 2 + 12 * 8 * 252
    assert sft.count_flops(tree, 2, shape, is_lora=True) == (4000 + 60) * 22 + 4 * 500 * 2 + 12 * 8 * 252


def test_a_batch_size_that_would_make_other_steps_is_refused(run_bench):
    with pytest.raises(SystemExit, match="padded:4 does not divide --step-size 6"):
        run_bench("--sets", "fixed", "--trl-settings", "padded:4")


@pytest.mark.parametrize("mode", ["all weights", "LoRA", "checkpointing"])
def test_gradients_of_shared_prefixes_are_those_of_single_samples(bench, mode):
    gradient = bench("sft_gradient")
    model = gradient.prepare(gradient.random_model("qwen3"), mode)
    found = gradient.compare_gradients(model, gradient.random_sequences(4), 2048)
    assert found.runs_trees
    assert 0 < found.difference < 1e-5
    assert 0 < found.direct_difference < 1e-5


@pytest.mark.slow
def test_losses_and_gradients_are_those_of_trl(run_bench):
    python = os.environ.get("TLTRAIN_TRL_PYTHON")
    if not python:
        pytest.skip("set TLTRAIN_TRL_PYTHON to a Python that has the package trl")
    settings = ["--trl-python", python, "--trl-settings", "padded:2", "padding-free:3", "--trial-rows", "6"]
    # each side in a process of its own
    for result in run_bench("--sets", "fixed", "shared", *settings):
        (ours,) = result["tltrain"]
        assert ours["memory"]["peak"] > ours["memory"]["loaded"] > 0
        assert ours["losses"] == pytest.approx(result["trl"]["losses"], abs=1e-5)
        assert ours["grad_norms"] == pytest.approx(result["trl"]["grad_norms"], rel=1e-5)
