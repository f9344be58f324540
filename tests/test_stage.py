"""Stage folders: used ones, resumed ones, changed ones; and the two data stages that are wrapped in them."""

import json
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel

import tltrain.data_stages
from tltrain.audit.run import AuditConfig
from tltrain.data_stages import audit, generate, lasting
from tltrain.errors import DataError, UsageError
from tltrain.generate.config import EndpointSettings, GenerateConfig
from tltrain.stage import Reuse, Stage, fingerprint, is_current, read_stage


class Settings(BaseModel):
    rate: float = 0.5
    inner: dict[str, int] = {"a": 1}


def open_stage(folder: Path, *, rate: float = 0.5, data: Path | None = None, reuse: Reuse = Reuse.REFUSE) -> Stage:
    return Stage(folder, name="test", config=Settings(rate=rate), inputs={"data": data}, reuse=reuse)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("one\n")
    return path


def test_a_finished_stage_is_not_done_again_and_keeps_its_result(tmp_path, data):
    stage = open_stage(tmp_path / "out", data=data)
    assert not stage.is_done
    stage.finish({"loss": 0.25})
    again = open_stage(tmp_path / "out", data=data, reuse=Reuse.RESUME)
    assert again.is_done
    assert again.result == {"loss": 0.25}
    record = read_stage(tmp_path / "out")
    assert record["seconds"] >= 0
    assert record["peak_memory_mb"] > 10
    assert record["versions"]["tltrain"]


def test_a_killed_stage_goes_on(tmp_path, data):
    open_stage(tmp_path / "out", data=data)
    (tmp_path / "out" / "half.txt").write_text("kept")
    (tmp_path / "out" / ".model.0123.tmp").mkdir()
    stage = open_stage(tmp_path / "out", data=data, reuse=Reuse.RESUME)
    assert not stage.is_done
    assert (tmp_path / "out" / "half.txt").read_text() == "kept"
    assert not (tmp_path / "out" / ".model.0123.tmp").exists()


class Spending(Settings):
    WITHOUT_EFFECT: ClassVar[frozenset[str]] = frozenset({"memory"})
    memory: str = "much"


def test_settings_that_change_no_result_may_change(tmp_path):
    def settings(**changes) -> dict[str, object]:
        return {"config": Spending(**changes), "inputs": {}}

    Stage(tmp_path / "out", name="test", **settings(), reuse=Reuse.REFUSE)
    Stage(tmp_path / "out", name="test", **settings(memory="little"), reuse=Reuse.RESUME).finish({})
    assert read_stage(tmp_path / "out")["config"]["memory"] == "little"
    assert is_current(tmp_path / "out", **settings())
    assert not is_current(tmp_path / "out", **settings(rate=0.7))
    with pytest.raises(UsageError, match=r"config\.rate was 0\.5 and is 0\.7\. Use"):
        Stage(tmp_path / "out", name="test", **settings(rate=0.7, memory="much"), reuse=Reuse.RESUME)


def test_a_used_folder_is_refused(tmp_path, data):
    open_stage(tmp_path / "out", data=data)
    with pytest.raises(UsageError, match="is not empty; pass --resume to go on there, or --overwrite"):
        open_stage(tmp_path / "out", data=data)


def test_other_settings_or_inputs_cannot_resume_and_are_listed(tmp_path, data):
    open_stage(tmp_path / "out", data=data)
    with pytest.raises(UsageError, match=r"config\.rate was 0\.5 and is 0\.7\. Use the old ones to resume"):
        open_stage(tmp_path / "out", rate=0.7, data=data, reuse=Reuse.RESUME)
    data.write_text("two\n")
    with pytest.raises(UsageError, match=r"inputs\.data was"):
        open_stage(tmp_path / "out", data=data, reuse=Reuse.RESUME)


def test_overwriting_empties_the_folder_but_only_of_a_stage(tmp_path, data):
    open_stage(tmp_path / "out", data=data).finish({})
    (tmp_path / "out" / "old.txt").write_text("old")
    assert not open_stage(tmp_path / "out", rate=0.7, data=data, reuse=Reuse.OVERWRITE).is_done
    assert not (tmp_path / "out" / "old.txt").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="was not made by tltrain"):
        open_stage(tmp_path / "mine", reuse=Reuse.OVERWRITE)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "precious"


def test_a_file_in_place_of_the_folder_is_refused(data):
    for reuse in Reuse:
        with pytest.raises(UsageError, match="is a file; name a folder"):
            open_stage(data, reuse=reuse)


def test_a_damaged_record_is_named(tmp_path, data):
    open_stage(tmp_path / "out", data=data)
    (tmp_path / "out" / "stage.json").write_text('{"stage": "te')
    with pytest.raises(DataError, match=r"stage\.json: is damaged .* remove the folder"):
        open_stage(tmp_path / "out", data=data, reuse=Reuse.RESUME)


def test_current_means_done_with_equal_config_and_input_contents(tmp_path, data):
    folder = tmp_path / "out"

    def current(rate: float = 0.5) -> bool:
        return is_current(folder, config=Settings(rate=rate), inputs={"data": data, "verdicts": None})

    assert not current()
    stage = open_stage(folder, data=data)
    assert not current()
    stage.finish({})
    assert current()
    assert not current(rate=0.6)
    data.write_text("two\n")
    assert not current()
    data.write_text("one\n")
    assert current()


def test_a_folder_is_fingerprinted_by_names_and_contents(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    first = fingerprint(tmp_path / "model")
    (tmp_path / "model" / "config.json").rename(tmp_path / "model" / "other.json")
    assert fingerprint(tmp_path / "model") != first
    assert fingerprint(Path("some/hub-id")) == "some/hub-id"


SMALL = GenerateConfig(num_train=6, num_test=2, seed=3, mistake_rate=0.4)


def test_generate_is_skipped_when_done_and_refuses_other_settings(tmp_path, monkeypatch):
    heard: list[tuple[int, int, str]] = []
    made = generate(SMALL, out=tmp_path / "data", progress=lambda *told: heard.append(told))
    assert heard[-1] == (8, 8, "")
    assert (made.num_train, made.num_test, made.num_failed) == (6, 2, 0)
    monkeypatch.setattr(tltrain.data_stages, "generate_files", lambda *_, **__: pytest.fail("was made again"))
    assert generate(SMALL, out=tmp_path / "data", reuse=Reuse.RESUME) == made
    with pytest.raises(UsageError, match="num_train was 6 and is 7"):
        generate(SMALL.model_copy(update={"num_train": 7}), out=tmp_path / "data", reuse=Reuse.RESUME)


def test_a_failed_task_is_tried_again_on_resume(tmp_path):
    generate(SMALL, out=tmp_path / "data")
    path = tmp_path / "data" / "stage.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"result": record["result"] | {"num_failed": 1}}))
    assert generate(SMALL, out=tmp_path / "data", reuse=Reuse.RESUME).num_failed == 0


def test_a_teachers_time_out_may_change_between_starts():
    slow = EndpointSettings(base_url="http://localhost:1", model="m", timeout_s=5, num_parallel=9)
    quick = slow.model_copy(update={"timeout_s": 600, "num_parallel": 1})
    other = slow.model_copy(update={"model": "n"})
    slow, quick, other = (lasting(SMALL.model_copy(update={"teacher": teacher})) for teacher in (slow, quick, other))
    assert slow == quick
    assert slow != other


def test_audit_gives_its_summary_also_when_it_is_skipped(tmp_path):
    data = generate(SMALL, out=tmp_path / "data").train
    first = audit(AuditConfig(), data=data, out=tmp_path / "audit")
    assert first.summary["num_trajectories"] == 6
    assert first.verdicts.is_file()
    first.verdicts.write_text("would be written anew")
    again = audit(AuditConfig(), data=data, out=tmp_path / "audit", reuse=Reuse.RESUME)
    assert again == first
    assert first.verdicts.read_text() == "would be written anew"
