"""A whole run: the stages of a recipe in their folders, each skipped, taken up again or done anew as need be.

The folder of a run holds config.yaml (the resolved recipe), run.json (seed, versions, time and memory of each stage),
generate/ or data/, audit/, eval/base/, sft/, eval/sft/, ppo/, eval/ppo/ and report/, as far as the recipe has them.
"""

import gc
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel

import tltrain
from tltrain.benches.config import EvalConfig
from tltrain.config import dump_config
from tltrain.corpus.config import MixConfig
from tltrain.corpus.reading import input_files
from tltrain.data_stages import lasting
from tltrain.errors import DataError, UsageError
from tltrain.files import decode_json, write_json_atomic, write_text_atomic
from tltrain.generate.config import GenerateConfig
from tltrain.recipe import ModelState, Recipe
from tltrain.rl.config import PpoConfig
from tltrain.stage import Progress, Reuse, fingerprint, is_current, read_stage
from tltrain.types import Json

Watch: TypeAlias = Callable[[str], AbstractContextManager[Progress]]
"""Given the title of each stage as it begins; gives what is told how far it is."""

_RECORD = "run.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One stage of a run."""

    name: str
    """Its folder in the run, such as eval/sft."""
    function: str
    """The stage function's name in `tltrain`."""
    config: BaseModel
    inputs: Mapping[str, Path]
    """The function's path arguments."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Arguments that do not change what comes out."""

    @property
    def recorded(self) -> dict[str, Any]:
        """Config and inputs as the stage's folder records them."""
        if isinstance(self.config, MixConfig):
            return {"config": self.config, "inputs": input_files(self.config)}
        config = lasting(self.config) if isinstance(self.config, GenerateConfig) else self.config
        environment = _environment_of(config)
        return {"config": config, "inputs": {**self.inputs, **({"environment": environment} if environment else {})}}


@dataclass(frozen=True, kw_only=True, slots=True)
class StageOutcome:
    """What one stage cost."""

    seconds: float | None
    peak_memory_mb: float | None
    """Of the process, up to the stage's end."""
    is_skipped: bool
    """It was done before, from the same config and inputs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """What came out of a run."""

    out: Path
    stages: Mapping[str, StageOutcome]
    """In the order of the run."""
    scores: Mapping[str, Mapping[str, Json]]
    """State of the model -> its scores.json."""
    report: Path | None
    """The HTML page."""

    def to_json(self) -> dict[str, Json]:
        """As `tltrain run --json` prints it."""
        stages: dict[str, Json] = {name: asdict(outcome) for name, outcome in self.stages.items()}
        scores: dict[str, Json] = {state: dict(found) for state, found in self.scores.items()}
        return {
            "out": str(self.out),
            "report": str(self.report) if self.report else None,
            "stages": stages,
            "scores": scores,
        }


def run(recipe: Recipe, out: Path, *, reuse: Reuse = Reuse.REFUSE, watch: Watch | None = None) -> RunResult:
    """Do all stages of a recipe.

    Resumed, a stage that is done is skipped if its settings and the contents of its inputs are what they were; one
    that was killed goes on; one whose settings or inputs have changed is done anew.

    Args:
        recipe: what to do.
        out: folder of the run.
        reuse: what to do with a folder that was used before.
        watch: told about each stage.

    Raises:
        UsageError: the folder is in use, or belongs to something else, or the tracker is not installed.
        DataError: a file of the recipe's data is missing.
        TltrainError: a stage failed; the stages before it are kept.
    """
    if recipe.data:
        input_files(recipe.data)  # wrong names are found before the folder is begun
    if recipe.tracker:
        from tltrain.engine.tracking import check_tracker

        check_tracker(recipe.tracker)
    _claim(out, reuse)
    write_text_atomic(out / "config.yaml", dump_config(recipe))
    steps = plan_steps(recipe, out)
    outcomes: dict[str, StageOutcome] = {}
    for number, step in enumerate(steps, start=1):
        with (watch or _watch_nothing)(f"{number}/{len(steps)} {step.name}") as progress:
            outcomes[step.name] = _perform(step, out, progress)
        _record(out, recipe, outcomes)
    evaluated = [step.name for step in steps if step.function == "evaluate"]
    return RunResult(
        out=out,
        stages=outcomes,
        scores={name.removeprefix("eval/"): _scores(out / name) for name in evaluated},
        report=tltrain.report(out) if recipe.report else None,
    )


def plan_steps(recipe: Recipe, out: Path) -> list[Step]:
    """The stages of a recipe in order; each state of the model is measured as soon as it exists."""
    return list(_steps(recipe, out))


def _steps(recipe: Recipe, out: Path) -> Iterator[Step]:
    data = out / ("data" if recipe.data else "generate")
    train, test = data / "train.jsonl", data / "test.jsonl"
    if recipe.generate:
        yield Step(name="generate", function="generate", config=recipe.generate, inputs={})
    if recipe.data:
        yield Step(name="data", function="mix", config=recipe.data, inputs={})
    yield Step(name="audit", function="audit", config=recipe.audit, inputs={"data": train})
    verdicts = out / "audit" / "verdicts.jsonl"
    model = Path(recipe.model)
    yield from _measure(recipe, "base", test, model)
    trainers: tuple[tuple[ModelState, BaseModel | None], ...] = (("sft", recipe.sft), ("ppo", recipe.ppo))
    for state, config in trainers:
        if config:
            inputs = {"data": train, "model": model, "verdicts": verdicts}
            if state == "sft" and recipe.data and recipe.data.validation:
                inputs["validation"] = data / "validation.jsonl"
            options = {"tracker": recipe.tracker} if recipe.tracker else {}
            yield Step(name=state, function=state, config=config, inputs=inputs, options=options)
            model = out / state / "model"
            yield from _measure(recipe, state, test, model)


def _environment_of(config: BaseModel) -> Path | None:
    """The Python file with an environment that a stage's config names."""
    if isinstance(config, PpoConfig):
        return config.episodes.environment if config.episodes else None
    return config.environment if isinstance(config, EvalConfig) else None


def _measure(recipe: Recipe, state: ModelState, test: Path, model: Path) -> Iterator[Step]:
    if recipe.eval and state in recipe.eval.stages:
        inputs = {"data": test, "model": model}
        yield Step(name=f"eval/{state}", function="evaluate", config=recipe.eval.config(), inputs=inputs)


def _claim(out: Path, reuse: Reuse) -> None:
    """Make the folder, or make sure that it is a run to go on with."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; name a folder for the run")
    if out.is_dir() and any(out.iterdir()):
        if reuse is Reuse.REFUSE:
            raise UsageError(f"{out} is not empty; pass --resume to go on there, or --overwrite to start anew")
        if not (out / _RECORD).is_file():
            raise UsageError(f"{out} holds no run of tltrain; remove it yourself, or name another folder")
        if reuse is Reuse.OVERWRITE:
            shutil.rmtree(out)
    if not (out / _RECORD).is_file():
        write_json_atomic(out / _RECORD, {"started": datetime.now(UTC).isoformat(timespec="seconds"), "stages": {}})


def _perform(step: Step, out: Path, progress: Progress) -> StageOutcome:
    folder = out / step.name
    is_skipped = is_current(folder, **step.recorded)
    if is_skipped:
        progress(1, 1, "unchanged, skipped")
    else:
        if folder.exists() and read_stage(folder) is None:
            shutil.rmtree(folder)  # a start that was killed before it had written down what it was to do
        reuse = Reuse.RESUME if not folder.exists() or _is_begun(folder, **step.recorded) else Reuse.OVERWRITE
        work = getattr(tltrain, step.function)
        work(step.config, **step.inputs, **step.options, out=folder, reuse=reuse, progress=progress)
        _free_memory()
    record = read_stage(folder) or {}
    return StageOutcome(
        seconds=record.get("seconds"), peak_memory_mb=record.get("peak_memory_mb"), is_skipped=is_skipped
    )


def _is_begun(folder: Path, config: BaseModel, inputs: Mapping[str, Path]) -> bool:
    """Whether a start with just this config and these inputs can be taken up again."""
    record = read_stage(folder) or {}
    same_inputs = record.get("inputs") == {name: fingerprint(path) for name, path in inputs.items()}
    return same_inputs and record.get("config") == config.model_dump(mode="json")


def _free_memory() -> None:
    """Give back what a stage's model held, before the next one loads its own."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _record(out: Path, recipe: Recipe, outcomes: Mapping[str, StageOutcome]) -> None:
    earlier = decode_json((out / _RECORD).read_text(encoding="utf-8"))
    versions: dict[str, str] = {}
    for name in outcomes:
        versions |= (read_stage(out / name) or {}).get("versions", {})
    stages = {
        name: {"seconds": outcome.seconds, "peak_memory_mb": outcome.peak_memory_mb}
        for name, outcome in outcomes.items()
    }
    started = earlier.get("started") if isinstance(earlier, dict) else None
    write_json_atomic(
        out / _RECORD,
        {"name": recipe.name, "seed": recipe.seed, "versions": versions, "started": started, "stages": stages},
    )


def _scores(folder: Path) -> dict[str, Json]:
    path = folder / "scores.json"
    found = decode_json(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise DataError(f"{path}: is damaged; remove the folder {folder} and run again")
    return found


def _watch_nothing(title: str) -> AbstractContextManager[Progress]:  # noqa: ARG001
    return nullcontext(lambda done, total, remark: None)  # noqa: ARG005
