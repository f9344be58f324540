"""vLLM itself, for tests that run it: TLTRAIN_VLLM_PYTHON names a Python that has it."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from processes import kill_with_children

PYTHON = os.environ.get("TLTRAIN_VLLM_PYTHON")
needs_vllm = pytest.mark.skipif(PYTHON is None, reason="TLTRAIN_VLLM_PYTHON names no Python with vllm")
_START_S = 900


class RealServer:
    """A vLLM server on this machine.

    It is started as a module: the command `vllm` of the wheel for CPUs does not find its own version.
    """

    def __init__(self, model: Path, log: Path, *options: str, dev: bool = True):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        self.log = log
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
            "VLLM_SERVER_DEV_MODE": str(int(dev)),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "HF_HUB_OFFLINE": "1",
        }
        arguments = ["--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--enforce-eager", *options]
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", *arguments],
                env=environment,
                cwd=log.parent,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._wait()

    def _wait(self):
        end = time.monotonic() + _START_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urlopen(f"{self.url}/models", timeout=5):
                    return
            except OSError:
                time.sleep(0.5)
        self.kill()
        pytest.fail(f"vLLM does not start:\n{self.log.read_text(errors='replace')[-3000:]}")

    def kill(self):
        """End it as a crash would, with what it started."""
        kill_with_children(self.process)


@contextmanager
def real_server(model: Path, folder: Path, *options: str, dev: bool = True) -> Iterator[RealServer]:
    """One that runs until the context is left, and writes its log into the folder."""
    server = RealServer(model, folder / "server.log", *options, dev=dev)
    try:
        yield server
    finally:
        server.kill()
