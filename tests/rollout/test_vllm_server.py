"""The engine that asks a vLLM server, against a small server that gives its answers and fails as it does."""

import os
import stat
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from vllm_fake_server import fake_server

from tiny_models import byte_tokenizer, tiny_llama
from tltrain.errors import TltrainError, UsageError
from tltrain.rollout import vllm_server
from tltrain.rollout.handed_weights import HandedWeights
from tltrain.rollout.sampler import SamplingConfig
from tltrain.rollout.vllm_config import VllmConfig
from tltrain.rollout.vllm_server import VllmServer

END = 1


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


def engine(url, tmp_path, tokenizer, **fields):
    config = VllmConfig(mode="server", url=url, weights_dir=tmp_path / "weights", **fields)
    return VllmServer(config, tokenizer, dtype=torch.float32, max_model_len=64)


def sample(made, tokens=4, **arguments):
    return made.sample(
        tiny_llama(), [[5, 6], [5, 6]], SamplingConfig(max_new_tokens=tokens), end_ids=[END], **arguments
    )


def test_tokens_and_log_probs_are_kept_as_sampled_and_seeds_decide(tmp_path, tokenizer):
    with fake_server() as server, engine(server.url, tmp_path, tokenizer) as made:
        first, second = sample(made, seeds=[0, 7])
    assert (first.ids, second.ids) == ([3, 4, 5, 6], [10, 11, 12, 13])
    assert first.logprobs == [-0.5, -1.5, -2.5, -3.5]
    assert not first.is_finished


def test_a_completion_ends_where_the_local_sampler_would_end_it(tmp_path, tokenizer):
    ids = tokenizer("[f(x=1)] and more").input_ids
    with fake_server() as server, engine(server.url, tmp_path, tokenizer) as made:
        server.tokens = ids
        found, _ = sample(made, 30, is_complete=lambda text: text.endswith("]"))
    assert tokenizer.decode(found.ids) == "[f(x=1)]"
    assert len(found.logprobs) == len(found.ids)
    assert found.is_finished


@pytest.mark.parametrize("mode", ["", "dummy"])
def test_weights_go_over_before_the_first_sampling_and_after_each_change(tmp_path, tokenizer, mode):
    with fake_server(mode) as server, engine(server.url, tmp_path, tokenizer) as made:
        sample(made)
        sample(made)
        made.forget_weights()
        sample(made)
    asked = [body["method"] if path == "/collective_rpc" else path.split("/")[-1] for path, body in server.asked]
    hand_over = (["update_config"] if mode else []) + ["reload_weights", "reset_prefix_cache"]
    assert asked == [*hand_over, *["completions"] * 4, *hand_over, *["completions"] * 2]
    folders = [body["kwargs"]["weights_path"] for _, body in server.asked if body.get("method") == "reload_weights"]
    assert len(set(folders)) == 2
    assert not any(Path(folder).exists() for folder in folders)


def test_the_server_is_told_the_whole_path_of_the_weights(tmp_path, tokenizer, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with fake_server() as server, engine(server.url, Path(), tokenizer) as made:
        sample(made)
        assert server.asked[0][1]["kwargs"]["weights_path"].startswith(f"{tmp_path}/weights/")


def test_a_prefix_cache_in_use_is_asked_again(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(vllm_server.time, "sleep", lambda _: None)
    with fake_server() as server, engine(server.url, tmp_path, tokenizer) as made:
        server.num_busy = 3
        sample(made)
        assert [path for path, _ in server.asked].count("/reset_prefix_cache") == 4
        server.num_busy = 100
        made.forget_weights()
        with pytest.raises(TltrainError, match="does not empty its prefix cache; is somebody else using it"):
            sample(made)


@pytest.mark.parametrize(
    ("mode", "kind", "message"),
    [
        ("key", UsageError, "/v1/models answers 401 .*the server must ask for no key"),
        ("html", UsageError, "answers '<html>It works!</html>'; is it vLLM's"),
        ("other", UsageError, "names no model; is it vLLM's"),
        ("short", UsageError, "takes 32 tokens, and prompts .* up to 64; start it with --max-model-len 64"),
        ("no_dev", UsageError, "answers 404 .*not started for development.*VLLM_SERVER_DEV_MODE=1 vllm serve"),
        ("raw", UsageError, "logprobs_mode=raw_logprobs.*--logprobs-mode processed_logprobs"),
        ("blind", UsageError, "answers 500 .*cannot take the weights in .*have it see vllm.weights_dir"),
        ("dead", TltrainError, "/v1/completions answers 500 .*see its log, start it anew and resume"),
        ("dies", TltrainError, "before it was complete .it broke off.; see its log, and resume when it is back"),
        ("fails", TltrainError, "fails at a completion .EngineCore encountered an issue.; see its log"),
        ("aborts", TltrainError, "ended a completion before it was complete .abort."),
        ("old", UsageError, "sends no token ids; use a newer vLLM"),
        ("slow", TltrainError, r"completions gives no answer in vllm.timeout_s=0.3 seconds; raise it"),
    ],
)
def test_failures_say_what_happened_and_what_to_do(tmp_path, tokenizer, mode, kind, message):
    seconds = 0.3 if mode == "slow" else 20
    with fake_server(mode) as server, engine(server.url, tmp_path, tokenizer, timeout_s=seconds) as made:
        with pytest.raises(TltrainError, match=message) as found:
            sample(made)
        assert isinstance(found.value, kind)
        assert server.url in str(found.value)
    assert not list((tmp_path / "weights").glob("*"))


def test_a_server_that_is_not_there_is_told_before_weights_are_written(tmp_path, tokenizer):
    with fake_server() as server:
        url = server.url
    with (
        engine(url, tmp_path, tokenizer) as made,
        pytest.raises(UsageError, match=r"no server answers .*; start it by"),
    ):
        sample(made)
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "http://gpu7:8000/v1"}, "another machine.*set weights_dir to a folder that both see"),
        ({"url": "file:///etc/passwd"}, "url"),
    ],
)
def test_addresses_that_cannot_work_are_refused(fields, message, tmp_path):
    with pytest.raises(ValidationError, match=message):
        VllmConfig(mode="server", **fields)
    assert VllmConfig(mode="server", url="http://gpu7:8000/v1", weights_dir=tmp_path).weights_dir == tmp_path


def tied_llama():
    model = tiny_llama()
    model.config.tie_word_embeddings = True
    model.lm_head.weight = model.model.embed_tokens.weight
    return model


def test_a_server_gets_the_output_layer_of_a_tied_model_and_may_read_it(tmp_path, tokenizer):
    names = {}
    for for_server in (False, True):
        weights = HandedWeights(tmp_path, dtype=torch.float32, num_bytes=1, for_server=for_server)
        folder = weights.write(tied_llama(), tokenizer)
        with safe_open(folder / "model.safetensors", "pt") as file:
            names[for_server] = set(file.keys())
            if for_server:
                assert torch.equal(file.get_tensor("lm_head.weight"), file.get_tensor("model.embed_tokens.weight"))
        readable = [bool(path.stat().st_mode & stat.S_IROTH) for path in (*folder.iterdir(), folder.parent)]
        assert all(readable) if for_server else not readable[-1]
        weights.close()
    assert names[True] - names[False] == {"lm_head.weight"}


def test_weights_of_a_process_that_was_killed_are_removed_and_those_of_others_stay(tmp_path):
    abandoned, first = (HandedWeights(tmp_path, dtype=torch.float32, num_bytes=1) for _ in range(2))
    os.close(abandoned._lock)  # as the system does where a process ends
    (tmp_path / "tltrain-vllm-other").mkdir()
    second = HandedWeights(tmp_path, dtype=torch.float32, num_bytes=1)
    assert not abandoned._folder.exists()
    assert {path.name for path in tmp_path.iterdir()} == {first._folder.name, second._folder.name, "tltrain-vllm-other"}
    first.close()
    second.close()
    assert [path.name for path in tmp_path.iterdir()] == ["tltrain-vllm-other"]
