"""A vLLM server that the user started: completions through its OpenAI-compatible API, weights through its own.

It must share a folder with the trainer, from which it reads weights, and be started for development, since vLLM has the
endpoints for weights only then:

    VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs
"""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from threading import Event
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
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
_RESET_TRIES = 20
"""That the prefix cache may take to be free, half a second apart: what was broken off ends a moment later."""


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
        self._is_empty = False
        """Whether the server was started without weights."""
        self._named = f"vllm.url={config.url}"

    def _check(self) -> None:
        try:
            told = _at(self._ask(f"{self._url}/models"), "data", 0)
        except _RefusedError as error:
            raise UsageError(
                f"{error}; the url is where the API begins, such as http://localhost:8000/v1, and the server must ask "
                "for no key"
            ) from None
        if not isinstance(told, dict) or "id" not in told:
            raise UsageError(f"{self._named}: {self._url}/models names no model; is it vLLM's? Start it by `{START}`")
        longest = told.get("max_model_len") or self.max_model_len
        if longest < self.max_model_len:
            raise UsageError(
                f"{self._named}: the server takes {longest} tokens, and prompts with their completions have up "
                f"to {self.max_model_len}; start it with --max-model-len {self.max_model_len}"
            )
        try:
            settings = _at(self._ask(f"{self._root}/server_info?config_format=json"), "vllm_config")
        except _RefusedError as error:
            raise UsageError(
                f"{error}: the server was not started for development, and takes no weights; start it by `{START}`"
            ) from None
        mode = _at(settings, "model_config", "logprobs_mode")
        if mode != "processed_logprobs":
            raise UsageError(
                f"{self._named}: the server has logprobs_mode={mode}, and its log-probs are not those of the "
                f"temperature that it samples at; start it by `{START}`"
            )
        self._is_empty = _at(settings, "load_config", "load_format") == "dummy"
        self._model = told["id"]

    def _load(self, folder: Path) -> None:
        try:
            if self._is_empty:  # else it would make up weights again
                self._call("update_config", args=[{"load_config": {"load_format": "auto"}}])
            self._call("reload_weights", kwargs={"weights_path": str(folder)})
        except _RefusedError as error:
            raise UsageError(
                f"{error}: the server cannot take the weights in {folder}, and may have lost its own; have it see "
                f"vllm.weights_dir under the same path, start it anew with the model that is trained, by `{START}`, "
                "and resume"
            ) from None
        # what is cached was computed with the weights of before
        for _ in range(_RESET_TRIES):
            if _at(self._ask(f"{self._root}/reset_prefix_cache", {}), "success"):
                return
            time.sleep(0.5)
        raise TltrainError(
            f"{self._named}: the server does not empty its prefix cache; is somebody else using it? Resume when nobody "
            "does"
        )

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
        is_off = Event()
        with ThreadPoolExecutor(_NUM_REQUESTS) as pool:
            tasks = [
                pool.submit(self._stream, {**params, "prompt": ids, "seed": seed}, one, is_off)
                for ids, seed, one in zip(prompts, seeds, growing, strict=True)
            ]
            try:
                for task in tasks:
                    task.result()
            finally:
                is_off.set()
                for task in tasks:
                    task.cancel()

    def _stream(self, request: dict[str, Any], growing: Growing, is_off: Event) -> None:
        """One completion; the connection is closed when it is over, at which the server stops sampling."""
        reason = None
        try:
            opened = self._open(f"{self._url}/completions", request)
        except _RefusedError as error:
            raise TltrainError(f"{error}; see its log, start it anew and resume") from None
        with opened as lines:
            for told in self._events(lines):
                if is_off.is_set():
                    return
                choice = _at(told, "choices", 0) or {}
                if choice.get("text") and choice.get("token_ids") is None:
                    raise UsageError(f"{self._named}: the server sends no token ids; use a newer vLLM")
                ids = choice.get("token_ids") or []
                if ids and growing.add(ids, choice["logprobs"]["token_logprobs"]):
                    return
                reason = choice.get("finish_reason") or reason
        if len(growing.completion.ids) < request["max_tokens"]:
            self._fail(f"the server ended a completion before it was complete ({reason or 'it broke off'})")

    def _events(self, answer: Any) -> Iterator[Any]:
        """What a stream tells, one JSON value after the other."""
        try:
            for line in answer:
                text = line.decode().strip().removeprefix("data: ")
                if text and text != "[DONE]":
                    told = json.loads(text)
                    if "error" in told:
                        self._fail(
                            f"the server fails at a completion ({_at(told, 'error', 'message') or told['error']})"
                        )
                    yield told
        except (OSError, HTTPException, ValueError) as error:
            self._fail(f"the server broke off ({_reason(error)})")

    def _call(self, method: str, **arguments: Any) -> None:
        self._ask(f"{self._root}/collective_rpc", {"method": method, **arguments})

    def _ask(self, url: str, body: dict[str, Any] | None = None) -> Any:
        with self._open(url, body) as answer:
            try:
                text = answer.read()
            except (OSError, HTTPException) as error:
                self._fail(f"the server broke off at {url} ({_reason(error)})")
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise UsageError(
                f"{self._named}: {url} answers {text[:100].decode(errors='replace')!r}; is it vLLM's? Start it by "
                f"`{START}`"
            ) from None

    def _open(self, url: str, body: dict[str, Any] | None) -> Any:
        """The answer to a request, by POST where it has a body.

        Raises:
            UsageError: there is no such server.
            _RefusedError: it answers with an error.
            TltrainError: it takes too long.
        """
        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data=data, headers={"Content-Type": "application/json"})
        try:
            return urlopen(request, timeout=self.config.timeout_s)
        except HTTPError as error:
            said = error.read().decode(errors="replace")[:300]
            raise _RefusedError(f"{self._named}: {url} answers {error.code} ({said})") from None
        except (OSError, HTTPException, ValueError) as error:
            reason = _reason(error)
            if isinstance(reason, TimeoutError):
                raise TltrainError(
                    f"{self._named}: {url} gives no answer in vllm.timeout_s={self.config.timeout_s:g} seconds; "
                    "raise it"
                ) from None
            raise UsageError(
                f"{self._named}: no server answers at {url} ({reason}); start it by `{START}`, and resume"
            ) from None

    def _fail(self, message: str) -> NoReturn:
        raise TltrainError(f"{self._named}: {message}; see its log, and resume when it is back")


class _RefusedError(TltrainError):
    """The server answers a request with an error."""


def _at(value: Any, *path: str | int) -> Any:
    """What lies there in a JSON value that another program wrote; None if nothing does."""
    for step in path:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


def _reason(error: Exception) -> object:
    return error.reason if isinstance(error, URLError) else error
