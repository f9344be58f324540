"""A vLLM server that the user started: completions through its OpenAI-compatible API, weights through its own.

It must share a folder with the trainer, from which it reads weights, and be started for development, since vLLM has the
endpoints for weights only then:

    VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch

from tltrain.errors import TltrainError, UsageError
from tltrain.rollout.sampler import SamplingConfig
from tltrain.rollout.vllm_config import VllmConfig
from tltrain.rollout.vllm_engine import Growing, VllmEngine

START = "VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs"
"""Starts a server as it must be."""
_NUM_REQUESTS = 64
"""Completions that are asked for at once."""


class VllmServer(VllmEngine):
    """Asks a server; what it was set up with is looked at before the first weights are handed over.

    Args:
        config: with `url`.
        tokenizer: the model's.
        dtype: what the trainer computes in; weights are handed over in it.
        max_model_len: tokens of the longest prompt and its completion.
    """

    def __init__(self, config: VllmConfig, tokenizer: Any, *, dtype: torch.dtype, max_model_len: int):
        super().__init__(config, tokenizer, dtype=dtype, max_model_len=max_model_len)
        assert config.url is not None
        self._url = config.url.rstrip("/")
        self._root = self._url.removesuffix("/v1")
        self._model = ""

    def _load(self, folder: Path) -> None:
        if not self._model:
            self._model = self._check(json.loads((folder / "config.json").read_text()))
        arguments = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        self._ask(f"{self._root}/collective_rpc", arguments)
        # what is cached was computed with the weights of before
        if not (self._ask(f"{self._root}/reset_prefix_cache", {}) or {}).get("success"):
            raise TltrainError(
                f"vllm.url={self._url}: the server does not empty its prefix cache; is somebody else using it? Resume "
                "when nobody does"
            )

    def _check(self, config: dict[str, Any]) -> str:
        """The name of the model with this config, if the server is set up as it must be."""
        told = self._ask(f"{self._url}/models", None)["data"][0]
        longest = told.get("max_model_len") or self.max_model_len
        if longest < self.max_model_len:
            raise UsageError(
                f"vllm.url={self._url}: the server takes {longest} tokens, and prompts with their completions have up "
                f"to {self.max_model_len}; start it with --max-model-len {self.max_model_len}"
            )
        try:
            settings = self._ask(f"{self._root}/server_info?config_format=json", None)["vllm_config"]
        except UsageError as error:
            raise UsageError(f"{error}; start the server by `{START}`") from None
        model, device = settings["model_config"], settings.get("device_config") or {}
        mode = model["logprobs_mode"]
        if mode != "processed_logprobs":
            raise UsageError(
                f"vllm.url={self._url}: the server has logprobs_mode={mode}, and its log-probs are not those of the "
                f"temperature that it samples at; start it by `{START}`"
            )
        is_tied = config.get("tie_word_embeddings", config.get("text_config", {}).get("tie_word_embeddings", False))
        if is_tied and "cpu" in (device.get("device_type"), device.get("device")):
            raise UsageError(
                f"vllm.url={self._url}: a vLLM server on a CPU keeps the output layer of before where it is tied to "
                "the embedding, and cannot be told to take the new one; use vllm.mode=colocated, or a GPU"
            )
        name: str = told["id"]
        return name

    def _complete(
        self,
        prompts: list[list[int]],
        seeds: list[int],
        config: SamplingConfig,
        end_ids: list[int],
        growing: Sequence[Growing],
    ) -> None:
        params = {
            "model": self._model,
            "max_tokens": config.max_new_tokens,
            "temperature": config.temperature,
            # in place of what generation_config.json of the model says
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "stop_token_ids": end_ids,
            "ignore_eos": True,
            "logprobs": 0,
            "return_token_ids": True,
            "stream": True,
        }
        with ThreadPoolExecutor(_NUM_REQUESTS) as pool:
            tasks = [
                pool.submit(self._stream, {**params, "prompt": ids, "seed": seed}, one)
                for ids, seed, one in zip(prompts, seeds, growing, strict=True)
            ]
            try:
                for task in tasks:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()

    def _stream(self, request: dict[str, Any], growing: Growing) -> None:
        """One completion; the connection is closed when it is over, at which the server stops sampling."""
        with self._open(f"{self._url}/completions", request) as lines:
            for line in self._lines(lines):
                text = line.decode().strip().removeprefix("data: ")
                if not text or text == "[DONE]":
                    continue
                told = json.loads(text)
                if "error" in told:
                    raise TltrainError(f"vllm.url={self._url}: the server fails at a completion: {told['error']}")
                choice = told["choices"][0] if told.get("choices") else {}
                ids = choice.get("token_ids") or []
                if ids and growing.add(ids, choice["logprobs"]["token_logprobs"]):
                    return

    def _lines(self, answer: Any) -> Iterator[bytes]:
        try:
            yield from answer
        except (OSError, HTTPException) as error:
            raise TltrainError(
                f"vllm.url={self._url}: the server broke off ({error}); see its log, and resume when it is back"
            ) from None

    def _ask(self, url: str, body: dict[str, Any] | None) -> Any:
        with self._open(url, body) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def _open(self, url: str, body: dict[str, Any] | None) -> Any:
        """The answer to a request, by POST where it has a body.

        Raises:
            UsageError: there is no such server, or it refuses.
        """
        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data=data, headers={"Content-Type": "application/json"})
        try:
            return urlopen(request, timeout=self.config.timeout_s)
        except HTTPError as error:
            said = error.read().decode(errors="replace")[:300]
            raise UsageError(f"vllm.url={self._url}: {url} answers {error.code} ({said})") from None
        except (OSError, HTTPException, ValueError) as error:
            raise UsageError(
                f"vllm.url={self._url}: no server answers at {url} ({error}); start it by `{START}`"
            ) from None
