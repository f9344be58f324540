"""Whole runs of `ppo` that sample with vLLM itself (TLTRAIN_VLLM_PYTHON), and are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from tiny_models import byte_tokenizer
from vllm_real import PYTHON, needs_vllm, real_server

pytestmark = [pytest.mark.slow, needs_vllm]
SETTINGS = {
    "prompts_per_step": 4,
    "group_size": 2,
    "minibatch_size": 4,
    "max_new_tokens": 12,
    "num_epochs": 10,
    "max_steps": 3,
    "checkpoint_every": 1,
    "precision": "float32",
    "actor_optimizer.learning_rate": 1e-3,
}
NUM_STEPS = SETTINGS["max_steps"]
_LONGEST_S = 3600


@pytest.fixture(scope="module")
def small_sft(few_rows, tmp_path_factory):
    """Folder of a random Llama with a tied output layer and heads as wide as vLLM needs them on a CPU."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = byte_tokenizer(few_rows.read_text().splitlines(), vocab_size=400)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        initializer_range=0.2,
        max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("small-sft")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def start(rows, model, out, settings, *options):
    told = [f"--set={name}={value}" for name, value in (SETTINGS | settings).items()]
    arguments = [sys.executable, "-m", "tltrain", "ppo", str(rows), "--model", str(model), "--out", str(out)]
    return subprocess.Popen([*arguments, *told, *options], stderr=subprocess.PIPE, text=True)


def finish(process):
    _, said = process.communicate(timeout=_LONGEST_S)
    assert process.returncode == 0, said[-3000:]


def metrics(out):
    with suppress(FileNotFoundError, json.JSONDecodeError):
        return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return []


def wait_for_a_step(out, process):
    while not (metrics(out) and any((out / "checkpoints").glob("*"))):
        assert process.poll() is None, process.stderr.read()[-3000:]
        time.sleep(0.02)


def check(out, *, most):
    """All steps are there once, with a drift below this, and importance weights to match."""
    rows = metrics(out)
    assert [row["step"] for row in rows] == list(range(NUM_STEPS))
    for row in rows:
        print({name: row[name] for name in ("step", "drift_mean", "drift_max", "importance_mean", "importance_capped")})
        assert 0 < row["drift_mean"] < most
        assert row["importance_mean"] == pytest.approx(1, abs=2 * row["drift_mean"] + 1e-6)
    assert (out / "model" / "model.safetensors").is_file()
    return rows


def test_a_run_with_a_process_of_its_own_is_killed_and_goes_on(few_rows, small_sft, tmp_path):
    out, weights = tmp_path / "ppo", tmp_path / "weights"
    settings = {
        "vllm.python": PYTHON,
        "vllm.enforce_eager": True,
        "vllm.kv_cache_gib": 0.5,
        "vllm.weights_dir": weights,
    }
    process = start(few_rows, small_sft, out, settings)
    wait_for_a_step(out, process)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert any("vllm_worker.py" in part for worker in workers for part in worker.cmdline())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done = len(metrics(out))
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    (abandoned,) = weights.iterdir()
    finish(start(few_rows, small_sft, out, settings, "--resume"))
    print(f"killed after {done} steps")
    check(out, most=1e-4)
    assert not abandoned.exists()
    assert list(weights.iterdir()) == []


def test_bfloat16_of_vllm_under_a_trainer_in_float32_is_corrected(few_rows, small_sft, tmp_path):
    settings = {"vllm.python": PYTHON, "vllm.enforce_eager": True, "vllm.kv_cache_gib": 0.5, "vllm.dtype": "bfloat16"}
    finish(start(few_rows, small_sft, tmp_path / "ppo", settings))
    rows = check(tmp_path / "ppo", most=0.1)
    assert all(row["drift_mean"] > 1e-4 and row["importance_mean"] != 1 for row in rows)


def test_a_run_with_a_server_is_killed_and_goes_on(few_rows, small_sft, tmp_path):
    out, weights = tmp_path / "ppo", tmp_path / "weights"
    options = ("--logprobs-mode", "processed_logprobs", "--dtype", "float32", "--max-model-len", "4096")
    with real_server(small_sft, tmp_path, *options) as server:
        settings = {"vllm.mode": "server", "vllm.url": server.url, "vllm.weights_dir": weights}
        process = start(few_rows, small_sft, out, settings)
        wait_for_a_step(out, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        print(f"killed after {len(metrics(out))} steps")
        (abandoned,) = weights.iterdir()
        finish(start(few_rows, small_sft, out, settings, "--resume"))
        check(out, most=1e-4)
        assert not abandoned.exists()

        # the server dies: the run ends with a message, and goes on with another server under the same address
        out = tmp_path / "second"
        process = start(few_rows, small_sft, out, settings | {"max_steps": 50})
        wait_for_a_step(out, process)
        server.kill()
        _, said = process.communicate(timeout=_LONGEST_S)
    assert process.returncode in (1, 2)
    assert "Traceback" not in said
    assert f"vllm.url={server.url}" in said
    assert "resume" in said
    print(said[-600:])


def test_the_process_of_vllm_ends_while_it_starts(few_rows, small_sft, tmp_path):
    settings = {"vllm.python": Path(PYTHON), "vllm.enforce_eager": True, "vllm.kv_cache_gib": 0.5}
    process = start(few_rows, small_sft, tmp_path / "ppo", settings)
    parent, workers = psutil.Process(process.pid), []
    while not workers:
        assert process.poll() is None, process.stderr.read()[-3000:]
        time.sleep(0.05)
        workers = [one for one in parent.children() if "vllm_worker.py" in " ".join(one.cmdline())]
    time.sleep(2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
