"""Small data sets made in the sandbox."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tltrain.formats.openai_chat import write_trajectories
from tltrain.generate.config import GenerateConfig
from tltrain.generate.run import perform, plan_jobs
from tltrain.generate.scripted import ScriptedTeacher
from tltrain.types import Trajectory


@pytest.fixture(scope="session")
def trajectories() -> Sequence[Trajectory]:
    """A test set without mistakes: 12 tasks over three kits."""
    _, jobs = plan_jobs(GenerateConfig(num_train=1, num_test=12))
    return [perform(job, ScriptedTeacher()) for job in jobs]


@pytest.fixture(scope="session")
def mistaken() -> Sequence[Trajectory]:
    """Training data with mistakes and service failures."""
    jobs, _ = plan_jobs(GenerateConfig(num_train=18, num_test=0, failure_rate=0.1))
    return [perform(job, ScriptedTeacher(mistake_rate=0.3)) for job in jobs]


@pytest.fixture
def data(tmp_path: Path, trajectories: Sequence[Trajectory]) -> Path:
    """The test set as a file."""
    write_trajectories(tmp_path / "test.jsonl", trajectories)
    return tmp_path / "test.jsonl"
