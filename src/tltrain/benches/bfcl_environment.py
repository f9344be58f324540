"""BFCL's own environments and checker, in a process of another Python: one that has the package bfcl-eval.

That package pins versions that clash with ours, so nothing of it is imported here; `bfcl_worker.py` speaks for it.
"""

import json
import os
import queue
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tltrain.errors import UsageError
from tltrain.worker_process import WorkerLostError, WorkerProcess

VARIABLE = "TLTRAIN_BFCL_PYTHON"
"""Environment variable that names the Python where no option does."""
VERSION = "2026.3.23"
"""Of bfcl-eval, whose data and verdicts these are."""
INSTALL = (
    "python -m venv bfcl-env && bfcl-env/bin/pip install --no-deps "
    f"bfcl-eval=={VERSION} mpmath==1.3.0 tenacity filelock"
)
"""Makes an environment that is enough."""
NEEDED = (
    f"BFCL's multi_turn categories need an environment of their own: `{INSTALL}`; then pass --bfcl-python "
    f"bfcl-env/bin/python, or set {VARIABLE}"
)
WORKER = Path(__file__).with_name("bfcl_worker.py")
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TEMP", "SYSTEMROOT", "LD_LIBRARY_PATH")
"""Environment variables that the process gets; it runs what a model wrote, and needs no others."""
Step = str | Sequence[Mapping[str, str]]
"""One reply as BFCL's result files have it, see `bfcl_results.result_of`."""


class EnvironmentLostError(Exception):
    """The process ended, hung or failed; says how. The request has no result."""


class WorkerInfo(NamedTuple):
    """What a worker says of itself."""

    version: str
    """Of bfcl-eval."""
    data: Path
    """Folder of the data that comes with it."""
    max_steps: int
    """Steps with calls in one turn; one more ends a case."""


def resolve_bfcl_python(option: Path | None) -> Path | None:
    """The Python that an option or the environment names; None if neither does.

    Raises:
        UsageError: there is no such file.
    """
    named = option or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None and not named.is_file():
        origin = "--bfcl-python" if option else VARIABLE
        raise UsageError(f"{origin}={named} is no file; name the python of an environment with bfcl-eval: `{INSTALL}`")
    return named


class BfclEnvironment:
    """A worker process that is started when it is first needed, and again after it was lost.

    Args:
        python: an interpreter that has bfcl-eval.
        timeout_s: longest wait for the answer to one request, in seconds.
        worker: the script that it runs.
    """

    def __init__(self, python: Path, *, timeout_s: float = 60, worker: Path = WORKER):
        self._python, self._timeout_s, self._worker = python, timeout_s, worker
        self._process: _Process | None = None
        self.num_starts = 0
        """Processes so far; what an earlier one held is lost."""

    def describe(self) -> WorkerInfo:
        """What the worker says of itself.

        Raises:
            UsageError: that Python cannot run it.
        """
        try:
            found = self.ask("hello")
            return WorkerInfo(str(found["version"]), Path(found["data"]), int(found["max_steps"]))
        except (EnvironmentLostError, LookupError, TypeError, ValueError) as error:
            raise UsageError(
                f"{self._python} does not run BFCL's environments: {error}; name the python of an environment with "
                f"bfcl-eval ({VARIABLE} or --bfcl-python): `{INSTALL}`"
            ) from None

    def ask(self, op: str, **fields: object) -> Any:
        """What the worker answers to a request, see `bfcl_worker.py`.

        Raises:
            EnvironmentLostError: there is no answer. A process that hung or broke the rules is ended.
        """
        process = self.start()
        try:
            line = process.exchange(json.dumps({"op": op, **fields}), self._timeout_s)
        except queue.Empty:
            self.close()
            raise EnvironmentLostError(f"no answer to {op} in {self._timeout_s:g} seconds") from None
        if line is None:
            how = process.last_words()
            self.close()
            raise EnvironmentLostError(f"the process ended at {op}: {how}")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not answer.keys() & {"ok", "error"}:
            self.close()
            raise EnvironmentLostError(f"the answer to {op} is none: {line[:200]!r}")
        if "error" in answer:
            raise EnvironmentLostError(str(answer["error"]))
        return answer["ok"]

    def start(self) -> "_Process":
        """The process, started if there is none.

        Raises:
            EnvironmentLostError: the system cannot.
        """
        if not self.is_alive():
            self.close()
            self._process = _Process(self._python, self._worker)
            self.num_starts += 1
        assert self._process is not None
        return self._process

    def is_alive(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._process is not None and self._process.is_alive()

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.close()


class _Process(WorkerProcess):
    """One run of a worker, in an empty folder.

    Raises:
        EnvironmentLostError: the system cannot start it.
    """

    def __init__(self, python: Path, worker: Path):
        self._folder = tempfile.TemporaryDirectory(prefix="tltrain-bfcl-")
        given = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        # bfcl-eval makes folders where it is imported; the order of its sets shows in what its tools answer
        given |= {"BFCL_PROJECT_ROOT": self._folder.name, "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
        try:
            # a copy, since modules that lie beside a script hide those of the standard library
            script = shutil.copy(worker, self._folder.name)
            super().__init__(python, Path(script), folder=Path(self._folder.name), environment=given)
        except (OSError, WorkerLostError) as error:
            self._folder.cleanup()
            raise EnvironmentLostError(str(error)) from None

    def close(self) -> None:
        """End it."""
        super().close()
        self._folder.cleanup()


class Session:
    """The environments of one case, which outlive the process: a new one makes all calls so far again.

    Args:
        environment: where calls are made.
        name: letters, digits and `_`; unlike those of the other sessions.
        entry: the case, as its question has it.
    """

    def __init__(self, environment: BfclEnvironment, name: str, entry: Mapping[str, Any]):
        self._environment, self._name, self._entry = environment, name, entry
        self._steps: list[Step] = []
        self._start = 0

    def execute(self, step: Step) -> list[str] | None:
        """Make the calls of a step.

        Returns:
            What each of them gives, as text; None if the step cannot be decoded.

        Raises:
            EnvironmentLostError: there is no result; the session is of no more use.
        """
        self._environment.start()
        if self._start != self._environment.num_starts:
            self._start = self._environment.num_starts
            for earlier in self._steps:
                self._ask(earlier)
        found = self._ask(step)
        if found is not None:
            self._steps.append(step)
        return found

    def _ask(self, step: Step) -> list[str] | None:
        found: list[str] | None = self._environment.ask("execute", session=self._name, entry=self._entry, step=step)
        return found

    def judge(self, result: Sequence[Sequence[Step]] | str, ground_truth: Sequence[Sequence[str]]) -> dict[str, Any]:
        """The official verdict: `valid`, `error_type`, `message`.

        Args:
            result: what the case's line in a result file says.
            ground_truth: the right calls of each turn.

        Raises:
            EnvironmentLostError: there is none.
        """
        found: dict[str, Any] = self._environment.ask(
            "judge", entry=self._entry, result=result, ground_truth=ground_truth
        )
        return found

    def close(self) -> None:
        """Have the environments forgotten."""
        if self._environment.is_alive() and self._start == self._environment.num_starts:
            with suppress(EnvironmentLostError):  # they are gone all the more
                self._environment.ask("forget", session=self._name)
