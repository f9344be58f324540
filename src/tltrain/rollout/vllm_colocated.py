"""vLLM in a process of another Python, beside the trainer."""

import json
import os
import queue
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from tltrain.errors import ModelError, TltrainError, UsageError
from tltrain.rollout.sampler import SamplingConfig
from tltrain.rollout.vllm_config import VllmConfig
from tltrain.rollout.vllm_engine import Growing, VllmEngine
from tltrain.worker_process import WorkerLostError, WorkerProcess

WORKER = Path(__file__).with_name("vllm_worker.py")
INSTALL = "python -m venv vllm-env && vllm-env/bin/pip install vllm"
"""Makes an environment that is enough."""
_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Variables of torchrun: vLLM would take itself for one of the trainer's processes."""
_PYTHON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables that lead another Python to the packages of this one."""
_NUM_LINES = 8
"""Last lines of the process that are shown where it failed."""
_GIB = 1 << 30


class VllmWorker(VllmEngine):
    """Starts the process when it is first needed, with the weights of then; `close` ends it, and so does the end of
    this process, however it comes.

    Args:
        config: where vLLM runs.
        tokenizer: the model's.
        dtype: what the trainer computes in; also vLLM's where `config.dtype` is auto.
        max_model_len: tokens of the longest prompt and its completion.
        worker: the script that it runs; by default the one beside this file.
    """

    def __init__(
        self, config: VllmConfig, tokenizer: Any, *, dtype: torch.dtype, max_model_len: int, worker: Path | None = None
    ):
        if config.dtype != "auto":
            dtype = getattr(torch, config.dtype)
        super().__init__(config, tokenizer, dtype=dtype, max_model_len=config.max_model_len or max_model_len)
        self._python = config.python or Path(sys.executable)
        if not self._python.is_file():
            raise UsageError(
                f"vllm.python={self._python} is no file; name the python of an environment with vllm: `{INSTALL}`"
            )
        self._worker = worker or WORKER
        self._process: WorkerProcess | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the process, and remove the weights."""
        process, self._process = self._process, None
        if process is not None:
            process.close()
        if self._folder is not None:
            self._folder.cleanup()
        super().close()

    def _load(self, folder: Path) -> None:
        if self._process is None:
            self._start(folder)
            return
        self._ask({"op": "load", "folder": str(folder)})

    def _start(self, folder: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tltrain-vllm-worker-")
        place = Path(self._folder.name)
        try:
            # a copy, since modules that lie beside a script hide those of the standard library
            script = Path(shutil.copy(self._worker, place))
            self._process = WorkerProcess(
                self._python, script, folder=place, environment=self._environment(), own_group=True
            )
        except WorkerLostError as error:
            raise UsageError(f"vllm.python={self._python}: {error}") from None
        try:
            version = self._ask({"op": "hello"})
        except TltrainError as error:
            raise UsageError(
                f"vllm.python={self._python} cannot run vLLM ({error}); name the python of an environment with vllm: "
                f"`{INSTALL}`"
            ) from None
        options: dict[str, object] = {
            "dtype": str(self._dtype).removeprefix("torch."),
            "max_model_len": self.max_model_len,
            "enforce_eager": self.config.enforce_eager,
            "gpu_memory_utilization": self.config.gpu_memory_utilization,
            # of the distribution that tokens are drawn from, which is that of the trainer's log-probs
            "logprobs_mode": "processed_logprobs",
            "max_logprobs": 1,
            "enable_prefix_caching": True,
            "skip_tokenizer_init": True,
            "distributed_executor_backend": "uni",
            "disable_log_stats": True,
            "seed": 0,
        }
        if self.config.kv_cache_gib is not None:
            options["kv_cache_memory_bytes"] = int(self.config.kv_cache_gib * _GIB)
        try:
            self._ask({"op": "start", "model": str(folder), "options": options})
        except TltrainError as error:
            raise ModelError(
                f"vLLM {version} cannot run the model as vllm.* and ppo.* say: {error}; change vllm.max_model_len, "
                "vllm.gpu_memory_utilization or vllm.kv_cache_gib, or leave vllm out where it does not know the model"
            ) from None

    def _environment(self) -> dict[str, str]:
        left_out = {*_LAUNCHER, *(_PYTHON if self.config.python else ())}
        given = {
            name: value
            for name, value in os.environ.items()
            if name not in left_out and not name.startswith("TORCHELASTIC_")
        }
        # one process, so that nothing outlives it; what it prints is read as UTF-8
        return given | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "PYTHONUTF8": "1"}

    def _complete(
        self,
        prompts: list[list[int]],
        seeds: list[int],
        config: SamplingConfig,
        end_ids: list[int],
        growing: Sequence[Growing],
    ) -> None:
        params = {
            "temperature": config.temperature,
            "max_tokens": config.max_new_tokens,
            "stop_token_ids": end_ids,
            "ignore_eos": True,
            "detokenize": False,
            "logprobs": 0,  # of the sampled token alone
        }
        answer = self._exchange({"op": "sample", "prompts": prompts, "seeds": seeds, "params": params})
        while "step" in answer:
            stopped = []
            for number, ids, logprobs, is_done in answer["step"]:
                if growing[number].add(ids, logprobs) and not is_done:
                    stopped.append(number)
            answer = self._exchange({"stop": stopped})

    def _ask(self, request: dict[str, object]) -> Any:
        return self._exchange(request)["ok"]

    def _exchange(self, request: dict[str, object]) -> dict[str, Any]:
        """Send a request and wait for the answer's next line."""
        assert self._process is not None
        op = request.get("op", "sample")
        try:
            line = self._process.exchange(json.dumps(request), self.config.timeout_s)
        except queue.Empty:
            self._fail(f"vLLM gives no answer to {op} in vllm.timeout_s={self.config.timeout_s:g} seconds; raise it")
        if line is None:
            self._fail(f"vLLM's process ended at {op}: {self._process.last_words(_NUM_LINES)}")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            self._fail(f"vLLM's process answers {op} with {line[:200]!r}")
        if "error" in answer:
            self._fail(f"vLLM fails at {op}: {answer['error']}")
        return answer

    def _fail(self, message: str) -> NoReturn:
        self.close()
        raise TltrainError(message)
