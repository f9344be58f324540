"""Runs the two sides of a benchmark, each in a process and with a Python of its own."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def run_side(python: str, script: str, job: dict[str, Any]) -> dict[str, Any]:
    """Run `script JOB RESULT`, both JSON, and read the result.

    Raises:
        SystemExit: it failed; its own message is on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        job_file, result_file = Path(folder) / "job.json", Path(folder) / "result.json"
        job_file.write_text(json.dumps(job))
        environment = dict(os.environ, TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
        command = [python, str(_HERE / script), str(job_file), str(result_file)]
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"{script} failed:\n{done.stderr[-3000:]}")
        result: dict[str, Any] = json.loads(result_file.read_text())
    return result
