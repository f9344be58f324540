"""The vLLM engine against a small worker that speaks its protocol, and against vLLM itself (TLTRAIN_VLLM_PYTHON)."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tiny_models import byte_tokenizer, tiny_llama
from tltrain.engine.model import add_lora, load_model
from tltrain.engine.settings import LoraConfig
from tltrain.errors import ModelError, TltrainError, UsageError
from tltrain.rl.config import PpoConfig
from tltrain.rollout.handed_weights import HandedWeights
from tltrain.rollout.sampler import SamplingConfig, sample
from tltrain.rollout.vllm_colocated import WORKER, VllmWorker
from tltrain.rollout.vllm_config import VllmConfig
from vllm_real import PYTHON, needs_vllm

FAKE = Path(__file__).with_name("vllm_fake_worker.py")
END = 1


@pytest.fixture(autouse=True)
def log(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    monkeypatch.setenv("FAKE_LOG", str(path))
    return path


def engine(tmp_path, tokenizer=None, **fields):
    config = VllmConfig(weights_dir=tmp_path / "weights", timeout_s=20, **fields)
    return VllmWorker(config, tokenizer or byte_tokenizer(), dtype=torch.float32, max_model_len=64, worker=FAKE)


def ops(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_tokens_and_log_probs_are_kept_as_sampled_and_seeds_decide(tmp_path):
    config = SamplingConfig(max_new_tokens=4)
    with engine(tmp_path) as made:
        first, second = made.sample(tiny_llama(), [[5, 6], [5, 6]], config, seeds=[0, 7], end_ids=[END])
    assert (first.ids, second.ids) == ([3, 4, 5, 6], [10, 11, 12, 13])
    assert first.logprobs == [-0.5, -1.5, -2.5, -3.5]
    assert not first.is_finished


def test_a_completion_ends_where_the_local_sampler_would_end_it(tmp_path, monkeypatch):
    tokenizer = byte_tokenizer()
    ids = tokenizer("[f(x=1)] and more").input_ids
    monkeypatch.setenv("FAKE_TOKENS", json.dumps(ids))
    with engine(tmp_path, tokenizer) as made:
        (found,) = made.sample(
            tiny_llama(), [[5]], SamplingConfig(max_new_tokens=30), end_ids=[END], is_complete=lambda t: t.endswith("]")
        )
    assert tokenizer.decode(found.ids) == "[f(x=1)]"
    assert len(found.logprobs) == len(found.ids)
    assert found.is_finished


def test_weights_go_over_before_the_first_sampling_and_after_each_change(tmp_path, log):
    model, config = tiny_llama(), SamplingConfig(max_new_tokens=1)
    with engine(tmp_path) as made:
        for _ in range(2):
            made.sample(model, [[5]], config, end_ids=[END])
        made.forget_weights()
        made.sample(model, [[5]], config, end_ids=[END])
    told = ops(log)
    assert [row["op"] for row in told] == ["hello", "start", "sample", "sample", "load", "sample"]
    assert told[1]["has_weights"]
    assert told[4]["has_weights"]
    assert told[1]["options"]["logprobs_mode"] == "processed_logprobs"
    assert list((tmp_path / "weights").iterdir()) == []


def test_handed_weights_have_adapters_merged_and_plain_names(tmp_path):
    from transformers import AutoModelForCausalLM

    model = add_lora(tiny_llama(), LoraConfig(rank=2))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
        ids = torch.tensor([[3, 4, 5]])
        expected = model(ids).logits
    weights = HandedWeights(tmp_path, dtype=torch.float32, num_bytes=1)
    loaded = AutoModelForCausalLM.from_pretrained(weights.write(model, byte_tokenizer()))
    torch.testing.assert_close(loaded(ids).logits, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model(ids).logits, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("mode", "kind", "message"),
    [
        ("missing", UsageError, "vllm.python=.* cannot run vLLM .*No module named 'vllm'.*pip install vllm"),
        ("unknown", ModelError, "vLLM 0.32.0 cannot run the model.*'Odd'"),
        ("die", TltrainError, "vLLM's process ended at sample: exit code 3; out of cheese"),
    ],
)
def test_failures_say_what_happened_and_leave_no_process(tmp_path, monkeypatch, mode, kind, message):
    monkeypatch.setenv("FAKE_MODE", mode)
    made = engine(tmp_path)
    with pytest.raises(kind, match=message):
        made.sample(tiny_llama(), [[5]], SamplingConfig(max_new_tokens=2), end_ids=[END])
    assert made.pid is None


def test_the_process_ends_with_all_that_it_started_when_nobody_asks_any_more(tmp_path):
    # as where the trainer is killed: the system closes its end of the pipe; what the worker started has its group
    process = subprocess.Popen([sys.executable, WORKER], stdin=subprocess.PIPE, cwd=tmp_path, process_group=0)
    child = subprocess.Popen(["sleep", "60"], process_group=process.pid)
    process.stdin.close()
    assert process.wait(timeout=30) == -signal.SIGKILL
    assert child.wait(timeout=30) == -signal.SIGKILL


def test_a_python_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"vllm.python=.*nothing is no file"):
        engine(tmp_path, python=tmp_path / "nothing")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vllm": {"mode": "server"}}, "needs url"),
        ({"vllm": {"url": "http://x/v1"}}, "is for mode='server'"),
        ({"vllm": {"mode": "server", "url": "http://x/v1", "dtype": "float32"}}, "dtype is for mode='colocated'"),
        ({"vllm": {}, "constrain": "call"}, "constrain='call' is for the model in this process; leave vllm out"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        PpoConfig(**fields)
    assert PpoConfig(vllm={"python": sys.executable}).vllm.importance_cap == 2


@pytest.mark.slow
@needs_vllm
@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-3), ("bfloat16", 0.1)])
def test_real_vllm_samples_from_the_weights_it_was_last_given(dtype, most):
    import time

    loaded = load_model("smollm2-135m-instruct")
    model, tokenizer = loaded.model, loaded.tokenizer
    texts = ["The capital of France is", "Once upon a time", "def add(a, b):", "Water boils at"]
    prompts = [tokenizer(text).input_ids for text in texts] * 2
    settings = VllmConfig(python=Path(PYTHON), dtype=dtype, enforce_eager=True, kv_cache_gib=0.5)
    greedy, drawn = SamplingConfig(max_new_tokens=16, temperature=0), SamplingConfig(max_new_tokens=16, temperature=0.7)
    ends = [tokenizer.eos_token_id]
    with VllmWorker(settings, tokenizer, dtype=torch.float32, max_model_len=256) as made:
        for change in (False, True):
            if change:
                torch.manual_seed(0)
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter.mul_(1 + 0.05 * torch.randn_like(parameter))
                made.forget_weights()
            made.sample(model, prompts[:1], greedy, end_ids=ends)
            start = time.perf_counter()
            found = made.sample(model, prompts, greedy, end_ids=ends)
            seconds = time.perf_counter() - start
            start = time.perf_counter()
            local = sample(model, tokenizer, prompts, greedy)
            local_seconds = time.perf_counter() - start
            tokens = sum(len(one.ids) for one in found)
            same = sum(one.ids == other.ids for one, other in zip(found, local, strict=True))
            drift = []
            for ids, one in zip(prompts, made.sample(model, prompts, drawn, end_ids=ends), strict=True):
                with torch.no_grad():
                    logits = model(torch.tensor([[*ids, *one.ids]])).logits[0, len(ids) - 1 : -1] / 0.7
                own = logits.log_softmax(-1).gather(1, torch.tensor(one.ids)[:, None])[:, 0]
                drift.append((own - torch.tensor(one.logprobs)).abs())
            drift = torch.cat(drift)
            print(
                f"{dtype} changed={change} same={same}/{len(prompts)} "
                f"drift mean {drift.mean():.2e} max {drift.max():.2e}"
                f" vllm {tokens / seconds:.1f} local {tokens / local_seconds:.1f} tokens/s"
            )
            assert drift.mean() < most
            if dtype == "float32":
                assert same >= len(prompts) - 1
