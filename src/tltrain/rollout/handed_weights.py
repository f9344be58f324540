"""The weights of a policy as a folder that an engine in another process reads."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tltrain.engine.model import adapters_merged
from tltrain.errors import UsageError

_SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "tltrain-vllm-"
_LOCK = ".lock"
"""A file that whoever made the folder holds locked for as long as it runs."""


class HandedWeights:
    """A folder in which the newest weights lie, each time in a new subfolder.

    Folders of processes that were killed are removed from the same place: they would fill its memory.

    Args:
        place: where to make it; None: in shared memory where two copies of the weights fit, else among temporary files.
        dtype: of the tensors in it.
        num_bytes: that the weights take in that dtype.
        for_server: for a program that was started by somebody else: other users may read the weights, and an output
            layer that is tied to the embedding is written as well.

    Raises:
        UsageError: it cannot be made there.
    """

    def __init__(self, place: Path | None, *, dtype: torch.dtype, num_bytes: int, for_server: bool = False):
        self._dtype = dtype
        self._for_server = for_server
        place = (place or _roomy_place(num_bytes)).absolute()  # who reads the weights stands in another folder
        try:
            place.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(place)
            self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
            self._lock: int | None = _hold(self._folder)
        except OSError as error:
            raise UsageError(f"vllm.weights_dir={place}: no folder can be made there ({error.strerror})") from None
        if for_server:
            self._folder.chmod(0o755)
        self._number = 0

    def write(self, model: Any, tokenizer: Any) -> Path:
        """Write config, tokenizer and weights, adapters merged, in the format of `save_pretrained`; the folder.

        What was written before is removed.
        """
        self._number += 1
        target = self._folder / str(self._number)
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        with torch.no_grad(), adapters_merged(model):
            weights = {name: value.to(self._dtype) for name, value in plain_weights(model).items()}
            if self._for_server:
                weights = _untied(weights)
            with _config_of(plain, self._dtype):
                plain.save_pretrained(target, state_dict=weights)
        tokenizer.save_pretrained(target)
        if self._for_server:
            target.chmod(0o755)
            for file in target.iterdir():  # safetensors are written for their owner alone
                file.chmod(0o644)
        shutil.rmtree(self._folder / str(self._number - 1), ignore_errors=True)
        return target

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def plain_weights(model: Any) -> Mapping[str, Tensor]:
    """The tensors of a model under the names that it has without adapters; call it where adapters are merged.

    Raises:
        UsageError: there is an adapter of a kind that is not merged.
    """
    if not hasattr(model, "get_base_model"):
        weights: Mapping[str, Tensor] = model.state_dict()
        return weights
    from peft.tuners.lora import Linear
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer) and not isinstance(module, Linear):
            raise UsageError(f"vllm: the adapter of {name} is of a kind that is not handed over; adapt linear layers")
        assert not isinstance(module, Linear) or module.merged, f"{name} is not merged"
    state = model.get_base_model().state_dict()
    return {name.replace(".base_layer.", "."): value for name, value in state.items() if ".lora_" not in name}


def _untied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, each with memory of its own: of those that share it all but one would be left out of the file.

    On a CPU vLLM 0.32 keeps a repacked copy of the output layer, which `reload_weights` renews only if it reads one.
    """
    seen: set[int] = set()
    found = {}
    for name, value in weights.items():
        found[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return found


def _hold(folder: Path) -> int:
    """Lock a folder for as long as this process runs; the descriptor of the lock."""
    lock = os.open(folder / f"{_LOCK}.new", os.O_CREAT | os.O_RDWR, 0o644)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(folder / f"{_LOCK}.new", folder / _LOCK)  # a lock that can be seen is held
    return lock


def _remove_abandoned(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # there is no lock, it is held, or the folder is another user's
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _roomy_place(num_bytes: int) -> Path:
    is_usable = _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK)
    # while new weights are written the old ones are still there, and others need room
    if is_usable and shutil.disk_usage(_SHARED_MEMORY).free > 3 * num_bytes:
        return _SHARED_MEMORY
    return Path(tempfile.gettempdir())


@contextmanager
def _config_of(model: Any, dtype: torch.dtype) -> Iterator[None]:
    """Context in which a model's config names the dtype that is written."""
    before, model.config.dtype = model.config.dtype, dtype
    try:
        yield
    finally:
        model.config.dtype = before
