"""An endpoint whose process is killed (-9) while a model behind it is tested, and started again."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from public_sets import write_public_sets

from processes import kill_with_children
from tltrain.benches.endpoint_policy import EndpointModel
from tltrain.benches.public_config import PublicEvalConfig
from tltrain.benches.public_run import evaluate_public
from tltrain.stage import Reuse

SERVER = Path(__file__).with_name("answering_server.py")


class Server:
    """Can be killed and started again on its port."""

    def __init__(self, folder: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._log = folder / "answered"
        self._log.touch()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def num_answered(self) -> int:
        return self._log.stat().st_size

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, str(SERVER), str(self.port), str(self._log)])
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the server does not listen")

    def kill(self) -> None:
        if self._process is not None:
            kill_with_children(self._process)
            assert self._process.returncode in (-9, 0)
            self._process = None


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


def run(server, tmp_path, name, progress=None, reuse=Reuse.REFUSE):
    """Rows and scores by a model behind the server; retries wait 0.4, 0.8, 1.6, 3.2 seconds."""
    max_retries = 0 if name == "gives_up" else 4
    endpoint = EndpointModel(
        base_url=server.url, model="m", backoff_s=0.4, max_retries=max_retries, num_parallel=1, timeout_s=20
    )
    config = PublicEvalConfig(
        benches=("rotbench:clean", "toolalpaca", "tooleyes"), allow_changed=True, endpoint=endpoint, batch_size=1
    )
    sets = tmp_path / "sets"
    if not sets.exists():
        write_public_sets(sets)
    out = tmp_path / name
    evaluate_public(config, data_dir=sets, model="m", out=out, progress=progress, reuse=reuse)
    rows = {path.name: path.read_text() for path in sorted(out.glob("*.jsonl")) if path.name != "replies.jsonl"}
    return json.loads((out / "scores.json").read_text())["benches"], rows


def test_a_short_outage_is_bridged(server, tmp_path):
    expected = run(server, tmp_path, "whole")
    killed: list[threading.Timer] = []

    def kill_once(done, *_):
        if done and not killed:
            server.kill()
            killed.append(threading.Timer(0.6, server.start))
            killed[0].start()

    before = server.num_answered
    found = run(server, tmp_path, "bridged", kill_once)
    assert killed
    killed[0].join()
    assert found == expected
    assert server.num_answered == 2 * before  # nothing was asked for that had been answered
    assert all(scores["failed"] == 0 for scores in found[0].values())


def test_a_run_that_gave_up_is_resumed(server, tmp_path):
    expected = run(server, tmp_path, "whole")
    killed = []

    def kill_once(done, *_):
        if done and not killed:
            killed.append(server.num_answered)
            server.kill()

    before = server.num_answered
    broken, _ = run(server, tmp_path, "gives_up", kill_once)
    num_failed = sum(scores["failed"] for scores in broken.values())
    assert killed
    assert num_failed > 0
    assert before < killed[0] < 2 * before  # in the middle of the run
    server.start()
    assert run(server, tmp_path, "gives_up", reuse=Reuse.RESUME) == expected
    assert server.num_answered == 2 * before
