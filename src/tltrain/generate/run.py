"""Makes a data set: chooses tasks, lets a teacher do them, writes train.jsonl, test.jsonl and summary.json."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tltrain.envs.sandbox.environment import ErrorStyle
from tltrain.errors import DataError
from tltrain.files import write_json_atomic
from tltrain.formats.openai_chat import write_trajectories
from tltrain.generate.choose import choose_tasks
from tltrain.generate.config import EndpointSettings, GenerateConfig
from tltrain.generate.endpoint import EndpointTeacher
from tltrain.generate.partial import PartialFile
from tltrain.generate.scripted import ScriptedTeacher
from tltrain.generate.summary import summarise
from tltrain.generate.task import Task, query_of, start, task_provenance
from tltrain.generate.teacher import Teacher, TeacherFailure
from tltrain.generate.toolsets import split_kits
from tltrain.types import Json, Trajectory

Progress = Callable[[int, int], None]
"""Called with the number of finished tasks and the number of all."""

_GIVE_UP_AFTER = 10
"""Failed tasks before any success, after which the teacher itself must be at fault."""
_FREE_ON_RESUME = frozenset({"api_key_variable", "timeout_s", "max_retries", "backoff_s", "num_parallel"})
"""Teacher settings that leave no trace in a trajectory, and may differ when a run is taken up again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateResult:
    """What was made."""

    train: Path
    test: Path
    summary: Path
    num_train: int
    num_test: int
    num_failed: int
    """Tasks that the teacher could not do; the summary has the reasons."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One trajectory to be made."""

    id: str
    task: Task
    style: ErrorStyle
    failure_rate: float


def generate(config: GenerateConfig, out: Path, *, progress: Progress | None = None) -> GenerateResult:
    """Make a data set in the folder `out`; a run that was killed goes on where it stopped.

    Finished trajectories are kept in `out/partial.jsonl` until every task is done; where some have failed the file
    stays, and running again tries those alone. Equal configs give equal files with the scripted teacher.

    Args:
        config: what to make.
        out: folder of train.jsonl, test.jsonl and summary.json; made if it is not there, its files replaced.
        progress: called after every task.

    Raises:
        UsageError: the kits have too few tasks, the partial file belongs to another config, or the endpoint refuses
            the key or the model.
        DataError: the teacher did not do a single task.
    """
    train_jobs, test_jobs = plan_jobs(config)
    num_parallel = config.teacher.num_parallel if isinstance(config.teacher, EndpointSettings) else 1
    with PartialFile(out / "partial.jsonl", _traceable(config)) as finished:
        workshop = _Workshop(finished, len(train_jobs) + len(test_jobs), progress)
        train = workshop.perform(train_jobs, _make_teacher(config), num_parallel)
        test = workshop.perform(test_jobs, ScriptedTeacher(), num_parallel=1)
        result = _write(out, config, train, test, workshop.failures)
        if not workshop.failures:
            finished.remove()
    return result


def plan_jobs(config: GenerateConfig) -> tuple[list[Job], list[Job]]:
    """The training and the test trajectories to make, in order; no query occurs on both sides."""
    split = split_kits(config.test_kits, config.train_kits)
    choose = partial(
        choose_tasks, seed=config.seed, toolsets_per_kit=config.toolsets_per_kit, kit_tools=config.kit_tools
    )
    train = choose(
        split.train,
        config.num_train,
        renamed_share=config.renamed_share,
        max_calls=config.max_calls,
        multi_call_share=config.multi_call_share,
    )
    asked = frozenset(query_of(task) for task in train)
    test = choose(split.test, config.num_test, avoid=asked)
    return (
        list(_jobs("train", train, config, config.failure_rate)),
        list(_jobs("test", test, config, failure_rate=0.0)),
    )


def _jobs(side: str, tasks: Sequence[Task], config: GenerateConfig, failure_rate: float) -> Iterator[Job]:
    rng = random.Random(f"styles:{config.seed}:{side}")
    for number, task in enumerate(tasks):
        yield Job(id=f"{side}-{number:05d}", task=task, style=rng.choice(config.styles), failure_rate=failure_rate)


def _make_teacher(config: GenerateConfig) -> Teacher:
    if isinstance(config.teacher, EndpointSettings):
        return EndpointTeacher(config.teacher)
    return ScriptedTeacher(mistake_rate=config.mistake_rate, silent_share=config.teacher.silent_share, seed=config.seed)


def _traceable(config: GenerateConfig) -> dict[str, Json]:
    """The part of the config that decides what the trajectories look like."""
    fields: dict[str, Json] = config.model_dump(mode="json")
    teacher = config.teacher.model_dump(mode="json", exclude=set(_FREE_ON_RESUME))
    return fields | {"teacher": teacher}


def perform(job: Job, teacher: Teacher) -> Trajectory:
    """Let a teacher do one job.

    Raises:
        TeacherFailure: it could not.
    """
    started = start(job.task, job.style, job.failure_rate)
    transcript = teacher.act(started)
    provenance: dict[str, Json] = {
        "teacher": teacher.name,
        **task_provenance(job.task),
        "style": job.style.value,
        "failure_rate": job.failure_rate,
        **transcript.notes,
        "truth": list(transcript.truth),
    }
    if transcript.mistakes is not None:
        provenance["mistakes"] = [None if mistake is None else mistake.value for mistake in transcript.mistakes]
    return Trajectory(id=job.id, tools=started.sandbox.tools, messages=transcript.messages, provenance=provenance)


@dataclass(slots=True)
class _Workshop:
    """Where jobs are done, side by side if the teacher can, with finished ones kept in the partial file."""

    finished: PartialFile
    num_jobs: int
    progress: Progress | None
    failures: dict[str, str] = field(default_factory=dict)
    """Reason of each failed job, by id."""
    num_finished: int = 0

    def perform(self, jobs: Sequence[Job], teacher: Teacher, num_parallel: int) -> list[Trajectory]:
        """Do the jobs that are not done yet; returns all trajectories in the order of jobs, without failed ones.

        Raises:
            DataError: none of the first jobs, or none at all, could be done.
        """
        pending = [job for job in jobs if job.id not in self.finished.done]
        self._advance(len(jobs) - len(pending))
        with ThreadPoolExecutor(num_parallel) as pool:
            futures = {pool.submit(perform, job, teacher): job for job in pending}
            try:
                self._collect(futures, teacher)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [self.finished.done[job.id] for job in jobs if job.id in self.finished.done]

    def _collect(self, futures: dict[Future[Trajectory], Job], teacher: Teacher) -> None:
        num_made = 0
        for future in as_completed(futures):
            try:
                self.finished.add(future.result())
                num_made += 1
            except TeacherFailure as failure:
                self.failures[futures[future].id] = str(failure)
                is_last = len(self.failures) == len(futures) and not self.finished.done
                if not num_made and (is_last or len(self.failures) == _GIVE_UP_AFTER):
                    raise DataError(
                        f"teacher {teacher.name}: none of the first {len(self.failures)} tasks could be done; the "
                        f"last failed with: {failure}. Check the teacher's settings, then run again"
                    ) from None
            self._advance(1)

    def _advance(self, num_jobs: int) -> None:
        self.num_finished += num_jobs
        if self.progress is not None and num_jobs:
            self.progress(self.num_finished, self.num_jobs)


def _write(
    out: Path,
    config: GenerateConfig,
    train: Sequence[Trajectory],
    test: Sequence[Trajectory],
    failures: dict[str, str],
) -> GenerateResult:
    write_trajectories(out / "train.jsonl", train)
    write_trajectories(out / "test.jsonl", test)
    summary = {
        "config": config.model_dump(mode="json"),
        "train": summarise(train),
        "test": summarise(test),
        "failed": {"tasks": len(failures), "reasons": dict(Counter(failures.values()).most_common(20))},
    }
    write_json_atomic(out / "summary.json", summary)
    return GenerateResult(
        train=out / "train.jsonl",
        test=out / "test.jsonl",
        summary=out / "summary.json",
        num_train=len(train),
        num_test=len(test),
        num_failed=len(failures),
    )
