"""Settings of sampling with vLLM; no torch, so that a recipe can be checked quickly."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator


class VllmConfig(BaseModel):
    """Where vLLM runs, and what is done about its log-probs not being the trainer's.

    Raises (on construction):
        ValidationError: a field out of its range, or fields that do not go together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["colocated", "server"] = "colocated"
    """colocated: a process of tltrain's own, on its machine and GPU, that ends with it. server: a vLLM server that you
    started, with weights read from `weights_dir`."""
    python: Path | None = None
    """colocated: an interpreter that has vllm, for its pins clash with those of others. None: this one."""
    url: str | None = Field(default=None, pattern=r"^https?://[^/]")
    """server: where its API begins, such as http://localhost:8000/v1."""
    weights_dir: Path | None = None
    """Folder for the weights that are handed over, about the size of the model each time; a server must see it under
    the same path. None: /dev/shm where there is room, else the folder of temporary files; not for a server on another
    machine."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """colocated: of weights and computing; auto: as the trainer computes, so that log-probs differ least."""
    gpu_memory_utilization: float = Field(default=0.3, gt=0, lt=1)
    """colocated: share of the GPU's memory (on a CPU, of the machine's) that vLLM takes, weights and cache; it keeps it
    while the trainer computes."""
    kv_cache_gib: float | None = Field(default=None, gt=0)
    """colocated: memory of the key-value cache alone, in GiB, in place of `gpu_memory_utilization`."""
    max_model_len: int | None = Field(default=None, ge=2)
    """colocated: tokens of the longest prompt and its completion. None: what the prompts of the run need."""
    enforce_eager: bool = False
    """colocated: no CUDA graphs and no compilation, which start slower and then sample faster."""
    timeout_s: float = Field(default=600, gt=0)
    """Longest wait for the engine to start, to take weights, or for a step of it, in seconds."""
    importance_cap: float | None = Field(default=2.0, gt=0)
    """Most that a token counts when it is less likely under vLLM than under the trainer, see `importance_weights`.
    Default: Yao et al. 2025. None: no correction; the drift is measured all the same."""

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        if self.mode == "server" and self.url is None:
            raise ValueError("mode='server' needs url, such as http://localhost:8000/v1")
        if self.mode == "colocated" and self.url is not None:
            raise ValueError(f"url={self.url} is for mode='server'; set that, or leave url out")
        if self.mode == "server":
            fields = type(self).model_fields
            odd = sorted(name for name in _OF_WORKERS if getattr(self, name) != fields[name].default)
            if odd:
                raise ValueError(f"{odd[0]} is for mode='colocated'; a server was started with settings of its own")
        if self.url is not None and self.weights_dir is None and urlsplit(self.url).hostname not in _THIS_MACHINE:
            raise ValueError(
                f"url={self.url} is another machine, and the server reads weights from files; set weights_dir to a "
                "folder that both see under the same path"
            )
        return self


_THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}
_OF_SERVERS = {"mode", "url", "weights_dir", "timeout_s", "importance_cap"}
_OF_WORKERS = VllmConfig.model_fields.keys() - _OF_SERVERS
