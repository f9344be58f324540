"""Runs: which stages are done, skipped, taken up again or done anew."""

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

import tltrain
import tltrain.run as run_module
from tltrain.config import dump_config
from tltrain.errors import DataError, UsageError
from tltrain.files import write_json_atomic, write_text_atomic
from tltrain.recipe import Recipe, load_recipe
from tltrain.report.data import read_run
from tltrain.run import plan_steps
from tltrain.stage import Progress, Reuse, Stage

run = run_module.run
ALL = ["generate", "audit", "eval/base", "sft", "eval/sft", "ppo", "eval/ppo"]


def recipe(*settings: str) -> Recipe:
    return load_recipe("demo", settings=["report=false", *settings])


class Stages:
    """Stage functions that only write files, what they do depending on config and inputs as the real ones' does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, out: Path):
        self.out = out
        self.worked: list[str] = []
        """Stages that did work, in order."""
        self.resumed: list[str] = []
        self.killed_in: str | None = None
        outputs = {
            "generate": ("train.jsonl", "test.jsonl"),
            "audit": ("verdicts.jsonl",),
            "sft": ("model/config.json",),
            "ppo": ("model/config.json",),
            "evaluate": ("scores.json",),
        }
        for name, files in outputs.items():
            monkeypatch.setitem(vars(tltrain), name, self._function(name, files))
        monkeypatch.setattr(run_module, "_free_memory", lambda: None)

    def _function(self, name: str, files: tuple[str, ...]):
        def work(config, *, out, reuse, progress, **inputs):
            stage = Stage(out, name=name, config=config, inputs=inputs, reuse=reuse)
            if stage.is_done:
                return
            folder = str(out.relative_to(self.out))
            self.worked.append(folder)
            if (out / "half").exists():
                self.resumed.append(folder)
            write_text_atomic(out / "half", "")
            if self.killed_in == folder:
                raise KeyboardInterrupt
            contents = {key: _content(path) for key, path in inputs.items()}
            for file in files:
                write_json_atomic(out / file, {"config": _shape(config), "inputs": contents, "single": {"TS": 50}})
            progress(1, 1, "")
            stage.finish({})

        return work

    def again(self, changed: Recipe) -> list[str]:
        """What a resumed run does."""
        self.worked.clear()
        run(changed, self.out, reuse=Reuse.RESUME)
        return self.worked


def _content(path: Path) -> object:
    if path.is_dir():
        return [file.read_text() for file in sorted(path.iterdir())]
    return path.read_text() if path.is_file() else str(path)


def _shape(config) -> object:
    """What of a config changes the result: not how many steps lie between checkpoints."""
    return config.model_dump(mode="json", exclude={"checkpoint_every"})


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stages:
    return Stages(monkeypatch, tmp_path / "run")


def test_all_stages_are_done_in_order_and_recorded(stages):
    titles: list[str] = []

    def watch(title: str) -> AbstractContextManager[Progress]:
        titles.append(title)
        return nullcontext(lambda *_: None)

    result = run(recipe("seed=7"), stages.out, watch=watch)
    assert stages.worked == ALL
    assert titles == [f"{number}/7 {name}" for number, name in enumerate(ALL, start=1)]
    assert list(result.stages) == ALL
    assert not any(outcome.is_skipped for outcome in result.stages.values())
    assert list(result.scores) == ["base", "sft", "ppo"]
    assert result.report is None
    record = json.loads((stages.out / "run.json").read_text())
    assert record["seed"] == 7
    assert record["started"].endswith("+00:00")
    assert record["versions"]["tltrain"]
    assert list(record["stages"]) == ALL
    assert record["stages"]["sft"].keys() == {"seconds", "peak_memory_mb"}
    assert load_recipe(stages.out / "config.yaml") == recipe("seed=7")


def test_the_report_reads_what_a_run_writes(stages):
    run(recipe(), stages.out)
    read = read_run(stages.out)
    assert [stage.name for stage in read.stages] == ["base", "sft", "ppo"]
    assert read.record.seed == "0"
    assert read.model == "smollm2-135m-instruct"
    assert read.stages[0].scores.single.TS.mean == 50


def test_each_stage_gets_the_results_of_those_before():
    steps = {step.name: step for step in plan_steps(recipe(), Path("r"))}
    assert steps["audit"].inputs == {"data": Path("r/generate/train.jsonl")}
    assert steps["eval/base"].inputs == {
        "data": Path("r/generate/test.jsonl"),
        "model": Path("smollm2-135m-instruct"),
    }
    assert steps["sft"].inputs["model"] == Path("smollm2-135m-instruct")
    assert steps["ppo"].inputs == {
        "data": Path("r/generate/train.jsonl"),
        "model": Path("r/sft/model"),
        "verdicts": Path("r/audit/verdicts.jsonl"),
    }
    assert steps["eval/ppo"].inputs["model"] == Path("r/ppo/model")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (["ppo=null"], ["generate", "audit", "eval/base", "sft", "eval/sft"]),
        (["sft=null"], ["generate", "audit", "eval/base", "ppo", "eval/ppo"]),
        (["eval=null"], ["generate", "audit", "sft", "ppo"]),
        (["eval.stages=[ppo, base]"], ["generate", "audit", "eval/base", "sft", "ppo", "eval/ppo"]),
    ],
)
def test_stages_that_a_recipe_leaves_out_are_left_out(settings, names):
    assert [step.name for step in plan_steps(recipe(*settings), Path("r"))] == names


def test_a_finished_run_does_nothing_again(stages):
    first = run(recipe(), stages.out)
    assert stages.again(recipe()) == []
    second = run(recipe(), stages.out, reuse=Reuse.RESUME)
    assert all(outcome.is_skipped for outcome in second.stages.values())
    assert second.scores == first.scores
    assert {name: outcome.seconds for name, outcome in second.stages.items()} == {
        name: outcome.seconds for name, outcome in first.stages.items()
    }


@pytest.mark.parametrize(
    ("setting", "redone"),
    [
        ("eval.max_cases=7", ["eval/base", "eval/sft", "eval/ppo"]),
        ("ppo.kl_coef=0.1", ["ppo", "eval/ppo"]),
        ("sft.num_epochs=9", ["sft", "eval/sft", "ppo", "eval/ppo"]),
        ("model=other", ["eval/base", "sft", "eval/sft", "ppo", "eval/ppo"]),
        ("generate.num_train=9", ALL),
        # done anew, but to the same result, so that nothing after it has changed
        ("sft.checkpoint_every=9", ["sft"]),
        ("name=other", []),
    ],
)
def test_a_change_redoes_its_stage_and_what_depends_on_it(stages, setting, redone):
    run(recipe(), stages.out)
    assert stages.again(recipe(setting)) == redone
    assert stages.again(recipe(setting)) == []


def test_a_killed_stage_is_taken_up_and_the_others_are_skipped(stages):
    stages.killed_in = "sft"
    with pytest.raises(KeyboardInterrupt):
        run(recipe(), stages.out)
    stages.killed_in = None
    assert stages.again(recipe()) == ["sft", "eval/sft", "ppo", "eval/ppo"]
    assert stages.resumed == ["sft"]


def test_a_killed_stage_of_other_settings_starts_anew(stages):
    stages.killed_in = "sft"
    with pytest.raises(KeyboardInterrupt):
        run(recipe(), stages.out)
    stages.killed_in = None
    assert stages.again(recipe("sft.num_epochs=9"))[0] == "sft"
    assert stages.resumed == []


def test_a_folder_without_record_in_a_run_is_cleared(stages):
    run(recipe(), stages.out)
    (stages.out / "ppo" / "stage.json").unlink()
    assert stages.again(recipe()) == ["ppo"]  # to the same result, so it is not measured again


def test_a_run_folder_that_is_in_use_is_refused(stages, tmp_path):
    run(recipe(), stages.out)
    with pytest.raises(UsageError, match="is not empty; pass --resume"):
        run(recipe(), stages.out)
    stages.worked.clear()
    run(recipe(), stages.out, reuse=Reuse.OVERWRITE)
    assert stages.worked == ALL
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("precious")
    for reuse in (Reuse.RESUME, Reuse.OVERWRITE):
        with pytest.raises(UsageError, match="holds no run of tltrain"):
            run(recipe(), tmp_path / "thesis", reuse=reuse)
    assert (tmp_path / "thesis" / "a.tex").read_text() == "precious"
    with pytest.raises(UsageError, match="is a file"):
        run(recipe(), tmp_path / "thesis" / "a.tex")


def chat(query: str) -> str:
    messages = [{"role": "user", "content": query}, {"role": "assistant", "content": "done"}]
    return json.dumps({"messages": messages, "tools": [{"name": "find"}]}) + "\n"


def test_own_data_is_taken_into_the_run_and_followed(stages, tmp_path):
    train, test = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    train.write_text(chat("train 1"))
    test.write_text(chat("test 1"))
    mine = recipe(f"data.train={train}", f"data.test={test}")
    result = run(mine, stages.out)
    assert list(result.stages) == ["data", *ALL[1:]]
    assert stages.worked == ALL[1:]
    assert "train 1" in (stages.out / "data" / "train.jsonl").read_text()
    assert not (stages.out / "generate").exists()
    assert stages.again(mine) == []
    assert run(mine, stages.out, reuse=Reuse.RESUME).stages["data"].is_skipped
    test.write_text(chat("test 2"))
    assert stages.again(mine) == ["eval/base", "eval/sft", "eval/ppo"]
    train.unlink()
    for folder in (stages.out, tmp_path / "new"):
        with pytest.raises(DataError, match=r"a\.jsonl: no such file of trajectories"):
            run(mine, folder, reuse=Reuse.RESUME)
    assert not (tmp_path / "new").exists()


def test_a_run_takes_a_mixture_without_test_rows_and_with_tasks_held_out(stages, tmp_path):
    train, test = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    train.write_text("".join(chat(f"query {number}") for number in range(20)))
    test.write_text(chat("Query 7!"))
    mine = recipe(
        f"data.train=[{{path: {train}, weight: 2}}]",
        f"data.test={test}",
        "data.validation.share=0.1",
        "data.decontaminate.action=drop",
    )
    run(mine, stages.out)
    lines = {path.name: len(path.read_text().splitlines()) for path in (stages.out / "data").glob("*.jsonl")}
    assert lines == {"train.jsonl": 34, "validation.jsonl": 2, "test.jsonl": 1, "removed.jsonl": 1}
    assert load_recipe(stages.out / "config.yaml") == mine
    assert stages.again(recipe(f"data.train={train}", f"data.test={test}"))[0] == "audit"


def test_a_data_stage_that_was_killed_begins_anew(stages, tmp_path, monkeypatch):
    train, test = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    train.write_text(chat("train 1"))
    test.write_text(chat("test 1"))
    mine = recipe(f"data.train={train}", f"data.test={test}")

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tltrain.corpus.mix.plan_mix", kill)
        with pytest.raises(KeyboardInterrupt):
            run(mine, stages.out)
    assert not (stages.out / "data" / "train.jsonl").exists()
    assert stages.again(mine) == ALL[1:]


def test_the_resolved_config_is_kept_even_if_a_stage_fails(stages):
    stages.killed_in = "generate"
    with pytest.raises(KeyboardInterrupt):
        run(recipe(), stages.out)
    assert (stages.out / "config.yaml").read_text() == dump_config(recipe())
