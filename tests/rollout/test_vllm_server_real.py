"""The engine that asks a vLLM server, with vLLM and the embedded model (TLTRAIN_VLLM_PYTHON)."""

import threading
import time

import pytest
import torch

from tltrain.engine.model import load_model, save_model
from tltrain.errors import TltrainError, UsageError
from tltrain.rollout.sampler import SamplingConfig
from tltrain.rollout.sampler import sample as sample_here
from tltrain.rollout.vllm_config import VllmConfig
from tltrain.rollout.vllm_server import VllmServer
from vllm_real import needs_vllm, real_server

pytestmark = [pytest.mark.slow, needs_vllm]
TEXTS = ["The capital of France is", "Once upon a time", "def add(a, b):", "Water boils at"]
GREEDY = SamplingConfig(max_new_tokens=16, temperature=0)
DRAWN = SamplingConfig(max_new_tokens=16, temperature=0.7)


@pytest.fixture(scope="module")
def loaded():
    return load_model("smollm2-135m-instruct")


@pytest.fixture(scope="module")
def folder(loaded, tmp_path_factory):
    made = tmp_path_factory.mktemp("served") / "model"
    save_model(loaded.model, loaded.tokenizer, made)
    return made


def engine(url, loaded, tmp_path, max_model_len=256, dtype=torch.float32):
    config = VllmConfig(mode="server", url=url, weights_dir=tmp_path / "weights", timeout_s=600)
    return VllmServer(config, loaded.tokenizer, dtype=dtype, max_model_len=max_model_len)


def change(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 0.05 * torch.randn_like(parameter))


def drift(model, prompts, found, temperature):
    """Differences of log-probs to those of the model here, token by token."""
    rows = []
    for ids, one in zip(prompts, found, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([[*ids, *one.ids]])).logits[0, len(ids) - 1 : -1].float() / temperature
        own = logits.log_softmax(-1).gather(1, torch.tensor(one.ids)[:, None])[:, 0]
        rows.append((own - torch.tensor(one.logprobs)).abs())
    return torch.cat(rows)


def test_a_server_samples_from_the_weights_it_was_last_given(loaded, folder, tmp_path):
    model, tokenizer = loaded.model, loaded.tokenizer
    # long enough for blocks of the prefix cache, so that keys of the old weights would show
    beginning = "This is a list of facts, in no order, from books that nobody has read for years. " * 6
    prompts = [tokenizer(beginning + text).input_ids for text in TEXTS]
    ends = [tokenizer.eos_token_id]
    options = ("--logprobs-mode", "processed_logprobs", "--dtype", "float32", "--max-model-len", "256")
    answers = []
    with real_server(folder, tmp_path, *options) as server, engine(server.url, loaded, tmp_path) as made:
        for is_changed in (False, True):
            if is_changed:
                change(model)
                made.forget_weights()
            found = made.sample(model, prompts, GREEDY, end_ids=ends)
            local = sample_here(model, tokenizer, prompts, GREEDY)
            same = sum(one.ids == other.ids for one, other in zip(found, local, strict=True))
            drawn = made.sample(model, prompts, DRAWN, end_ids=ends)
            apart = drift(model, prompts, drawn, 0.7)
            again = made.sample(model, prompts, DRAWN, end_ids=ends)
            print(f"changed={is_changed} same={same} drift mean {apart.mean():.2e} max {apart.max():.2e}")
            assert apart.mean() < 1e-4
            assert same >= len(prompts) - 1
            assert [one.ids for one in again] == [one.ids for one in drawn]
            answers.append([one.ids for one in found])
        assert answers[0] != answers[1]

        # a completion that is over stops the server, too
        start = time.monotonic()
        long = SamplingConfig(max_new_tokens=100, temperature=0)
        found = made.sample(model, prompts, long, end_ids=ends, is_complete=lambda text: len(text) > 3)
        assert all(len(one.ids) < 10 and one.is_finished for one in found)
        print(f"broken off after {time.monotonic() - start:.1f} s")

        with (
            engine(server.url, loaded, tmp_path, max_model_len=300) as longer,
            pytest.raises(UsageError, match=r"takes 256 tokens.*start it with --max-model-len 300"),
        ):
            longer.sample(model, prompts, GREEDY, end_ids=ends)

        threading.Timer(2.0, server.kill).start()
        many = prompts * 20
        with pytest.raises(TltrainError, match=r"vllm.url=.*(see its log|start it).*resume") as failed:
            made.sample(model, many, SamplingConfig(max_new_tokens=60), end_ids=[])
        print(failed.value)
        with pytest.raises(UsageError, match="no server answers"):
            made.sample(model, prompts, GREEDY, end_ids=ends)


def test_a_server_that_was_started_otherwise_says_how(loaded, folder, tmp_path):
    for name, options, dev, message in (
        (
            "plain",
            ("--logprobs-mode", "processed_logprobs"),
            False,
            "not started for development.*VLLM_SERVER_DEV_MODE",
        ),
        ("raw", ("--load-format", "dummy"), True, "logprobs_mode=raw_logprobs.*--logprobs-mode processed_logprobs"),
    ):
        (tmp_path / name).mkdir()
        with (
            real_server(folder, tmp_path / name, *options, "--max-model-len", "256", dev=dev) as server,
            engine(server.url, loaded, tmp_path) as made,
            pytest.raises(UsageError, match=message) as failed,
        ):
            made.sample(loaded.model, [[5]], GREEDY, end_ids=[2])
        print(failed.value)


def test_a_server_without_weights_takes_them_and_bfloat16_drifts_little(loaded, folder, tmp_path):
    prompts = [loaded.tokenizer(text).input_ids for text in TEXTS]
    options = ("--logprobs-mode", "processed_logprobs", "--dtype", "bfloat16", "--max-model-len", "256")
    with (
        real_server(folder, tmp_path, *options, "--load-format", "dummy") as server,
        engine(server.url, loaded, tmp_path, dtype=torch.bfloat16) as made,
    ):
        found = made.sample(loaded.model, prompts, DRAWN, end_ids=[loaded.tokenizer.eos_token_id])
        with torch.autocast("cpu", torch.bfloat16):
            apart = drift(loaded.model, prompts, found, 0.7)
        print(f"bfloat16: drift mean {apart.mean():.2e} max {apart.max():.2e}")
        assert 1e-4 < apart.mean() < 0.1


def test_weights_that_the_server_cannot_read_are_told(loaded, folder, tmp_path, monkeypatch):
    options = ("--logprobs-mode", "processed_logprobs", "--max-model-len", "256")
    with real_server(folder, tmp_path, *options) as server, engine(server.url, loaded, tmp_path) as made:
        load = made._load
        monkeypatch.setattr(made, "_load", lambda folder: load(folder / "elsewhere"))
        with pytest.raises(UsageError, match=r"cannot take the weights in .*elsewhere.*start it anew") as failed:
            made.sample(loaded.model, [[5]], GREEDY, end_ids=[2])
        print(failed.value)
