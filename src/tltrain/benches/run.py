"""The stage `eval`: a model and a test set in, answers and scores out."""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from tltrain.audit.verdict_file import read_verdicts_on
from tltrain.benches.balance import choose_balanced
from tltrain.benches.config import EvalConfig
from tltrain.benches.episodes import EpisodeEnd, EpisodeRow, EpisodeTask, find_tasks, run_episodes
from tltrain.benches.journal import Journal
from tltrain.benches.policy import Policy, Stop
from tltrain.benches.scores import Scores, score_episodes, score_single_turn
from tltrain.benches.single_turn import CaseRow, SingleTurnCase, find_cases, group_of, wrong_calls
from tltrain.engine.settings import Precision
from tltrain.envs.user_environment import UserTask, find_user_tasks, load_environment
from tltrain.errors import DataError
from tltrain.files import JsonLinesWriter, encode_line, write_json_atomic, write_text_atomic
from tltrain.formats.read import read_trajectories
from tltrain.stage import Progress, Reuse, Stage
from tltrain.types import Trajectory

_CHUNK_BATCHES = 4
"""Batches whose replies are kept together; what a kill can cost."""
_FIELD, _NO_TASK = "environment", "row that is no task of the environment"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalResult:
    """Where the results are, and the scores."""

    folder: Path
    """Holds cases.jsonl, episodes.jsonl and scores.json."""
    scores: Scores

    @property
    def remarks(self) -> list[str]:
        """What a reader must know about the tasks, a sentence each."""
        no_tasks, failed = self.scores.left_out.get(_NO_TASK, 0), self.scores.episodes.failed
        counted = {
            "rows are no tasks of the environment; quarantine.jsonl says why": no_tasks,
            "episodes are not scored, as the environment raised; episodes.jsonl has what, under note": failed,
        }
        return [f"{number} {what}." for what, number in counted.items() if number]


@dataclass(frozen=True, kw_only=True, slots=True)
class _TestSet:
    cases: list[SingleTurnCase]
    tasks: Sequence[EpisodeTask | UserTask]
    left_out: dict[str, int]


def evaluate(
    config: EvalConfig,
    *,
    data: Path,
    model: str | Path,
    out: Path,
    verdicts: Path | None = None,
    reuse: Reuse = Reuse.REFUSE,
    progress: Progress | None = None,
    policy: Policy | None = None,
) -> EvalResult:
    """Test a model on the calls of trajectories, and on their tasks: in the sandbox, where it can start them again, or
    in an environment of the user's.

    Writes into `out`: cases.jsonl (a row for each single-turn case), episodes.jsonl (a row for each conversation),
    scores.json, and quarantine.jsonl if rows cannot be read. A run that was killed goes on where it stopped, and ends
    with the same files.

    Args:
        config: settings.
        data: trajectories, in any known format.
        model: see `load_model`.
        out: folder of the stage.
        verdicts: verdicts.jsonl of `audit` on the data; calls that it blocks are no cases. None: see `wrong_calls`.
        reuse: what to do with a folder that was used before.
        progress: told how far it is.
        policy: who is tested in place of the model, which is then but a name.

    Raises:
        DataError: the data has neither a case nor a task, or the model's chat template can write none of them.
        ModelError: the model cannot be loaded.
        UsageError: the folder is in use, or was begun with other settings; or the environment's file cannot be used.
    """
    if config.environment is not None:
        load_environment(config.environment, field=_FIELD)  # before the folder is begun
    stage = Stage(
        out,
        name="eval",
        config=config,
        inputs={"data": data, "model": Path(model), "verdicts": verdicts, "environment": config.environment},
        reuse=reuse,
    )
    if stage.is_done:
        return EvalResult(folder=out, scores=Scores.model_validate_json((out / "scores.json").read_bytes()))
    test_set = _choose(config, data=data, verdicts=verdicts, out=out)
    precision = None
    if policy is None:
        precision = settle_precision(config.precision, out)
        policy = _load(config, model, precision)
    journal = Journal(out / "replies.jsonl", policy, chunk_size=_CHUNK_BATCHES * config.batch_size)
    with closing(journal):
        cases, episodes = _test(config, test_set, journal, out, progress or (lambda *_: None))
    _check_asked(cases, episodes)
    scores = Scores(
        single=score_single_turn(cases, config),
        episodes=score_episodes(episodes, config),
        left_out=test_set.left_out,
        precision=precision,
    )
    write_text_atomic(out / "scores.json", scores.model_dump_json(indent=2) + "\n")
    stage.finish({"num_cases": len(cases), "num_episodes": len(episodes)})
    (out / "replies.jsonl").unlink()
    return EvalResult(folder=out, scores=scores)


def _choose(config: EvalConfig, *, data: Path, verdicts: Path | None, out: Path) -> _TestSet:
    """Read the data and choose cases and tasks; rows that cannot be used go to the quarantine file."""
    quarantine = out / "quarantine.jsonl"
    read = read_trajectories(data, quarantine=quarantine)
    rows = (trajectory.id for trajectory in read.trajectories)
    wrong = wrong_calls(read.trajectories, read_verdicts_on(verdicts, data, rows) if verdicts else None)
    cases, left_out = find_cases(read.trajectories, wrong)
    tasks, keys, faults = _find_tasks(config, read.trajectories)
    if faults:
        with JsonLinesWriter(quarantine) as writer:
            for key, reason in faults.items():
                writer.write({"file": str(data), "id": key, "reason": reason})
    chosen_cases = choose_balanced([(case.group,) for case in cases], config.max_cases, seed=config.seed)
    chosen_tasks = choose_balanced(keys, config.max_episodes, seed=config.seed)
    if not chosen_cases and not chosen_tasks:
        where = f"tasks of {config.environment}" if config.environment else "tasks of the sandbox"
        why = f" (the first row that is none, {next(iter(faults))}: {next(iter(faults.values()))})" if faults else ""
        raise DataError(
            f"{data}: nothing to test on: {len(cases)} right calls with max_cases={config.max_cases}, "
            f"{len(tasks)} {where} with max_episodes={config.max_episodes}{why}; name another file, or raise the limit"
        )
    fault = _NO_TASK if config.environment else "task that cannot be started again"
    counts = {"unreadable row": read.num_bad, **left_out, fault: len(faults)}
    return _TestSet(
        cases=[cases[index] for index in chosen_cases],
        tasks=[tasks[index] for index in chosen_tasks],
        left_out={reason: number for reason, number in counts.items() if number},
    )


def _find_tasks(
    config: EvalConfig, trajectories: Sequence[Trajectory]
) -> tuple[Sequence[EpisodeTask | UserTask], list[tuple[str, ...]], dict[str, str]]:
    """Tasks, what their choice is balanced over, and why other rows are none: id -> why."""
    if config.environment is None:
        sandbox = find_tasks(trajectories)
        return sandbox.tasks, [(task.task.kit, task.task.template) for task in sandbox.tasks], sandbox.faults
    own = find_user_tasks(config.environment, trajectories, field=_FIELD)
    return own.tasks, [(group_of(task.row),) for task in own.tasks], own.faults


def settle_precision(wanted: Precision, out: Path) -> Literal["float32", "bfloat16"]:
    """The number format of this stage. "auto" measures the machine, so its outcome is kept for a resumed run."""
    from tltrain.engine.device import pick_device
    from tltrain.engine.precision import resolve_precision

    path = out / "precision.json"
    if not path.is_file():
        write_json_atomic(path, {"precision": resolve_precision(wanted, pick_device().type)})
    settled: Literal["float32", "bfloat16"] = json.loads(path.read_text(encoding="utf-8"))["precision"]
    return settled


def _load(config: EvalConfig, model: str | Path, precision: Literal["float32", "bfloat16"]) -> Policy:
    from tltrain.benches.model_policy import ModelPolicy

    return ModelPolicy(
        model,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        precision=precision,
        constrain=config.constrain,
        keep_mib=config.keep_mib,
    )


def _test(
    config: EvalConfig, test_set: _TestSet, policy: Policy, out: Path, progress: Progress
) -> tuple[list[CaseRow], list[EpisodeRow]]:
    """Have all cases and then all episodes done, and write them down."""
    num_cases, num_units = len(test_set.cases), len(test_set.cases) + len(test_set.tasks)
    requests = [case.request for case in test_set.cases]
    replies = policy.answer(requests, lambda done: progress(done, num_units, "cases"))
    answered = zip(test_set.cases, replies, strict=True)
    cases = [CaseRow.from_reply(case, reply, policy.syntax) for case, reply in answered]
    _write_rows(out / "cases.jsonl", cases)
    episodes = run_episodes(
        test_set.tasks,
        policy,
        max_turns=config.max_turns,
        at_once=config.batch_size,
        progress=lambda done, _, remark: progress(num_cases + done, num_units, remark),
    )
    _write_rows(out / "episodes.jsonl", episodes)
    return cases, episodes


def _write_rows(path: Path, rows: Sequence[BaseModel]) -> None:
    if rows:
        write_text_atomic(path, "".join(encode_line(row.model_dump(mode="json")) for row in rows))


def _check_asked(cases: Sequence[CaseRow], episodes: Sequence[EpisodeRow]) -> None:
    """Raise if the chat template could write nothing at all, or the user's environment judged nothing."""
    notes = [row.note for row in cases if row.stop is Stop.UNWRITABLE]
    notes += [row.note for row in episodes if row.end is EpisodeEnd.UNWRITABLE and not row.num_turns]
    if len(notes) == len(cases) + len(episodes):
        raise DataError(f"none of {len(notes)} prompts can be written for this model. First: {notes[0]}")
    failed = [row for row in episodes if row.end is EpisodeEnd.FAILED]
    if failed and len(failed) == len(episodes):
        raise DataError(
            f"none of {len(failed)} episodes can be judged. First, {failed[0].id}: {failed[0].note}; correct the "
            "environment, and pass --overwrite"
        )
