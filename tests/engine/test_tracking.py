"""Rows of metrics in a tracker: a fake one in accelerate's place, and TensorBoard where it is installed."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import tracking as accelerate_tracking

import tltrain.engine.tracking as tracking_module
from tltrain.engine.metrics import MetricsLog
from tltrain.engine.settings import OptimizerConfig
from tltrain.engine.tracking import Tracker, check_tracker
from tltrain.errors import UsageError
from tltrain.recipe import load_recipe
from tltrain.run import plan_steps, run
from tltrain.sft.config import SftConfig
from tltrain.sft.train import sft
from tltrain.stage import Reuse


class Fake:
    """One of accelerate's trackers that keeps what it is told."""

    opened: list["Fake"]
    fails_at: int | None

    def __init__(self, project: str, **options: Any):
        self.project, self.options = project, options
        self.settings: dict[str, Any] = {}
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.is_finished = False
        type(self).opened.append(self)

    def start(self) -> None:
        if self.fails_at == -1:
            raise OSError("no network")

    @property
    def tracker(self) -> Any:
        return SimpleNamespace(info=SimpleNamespace(run_id="given-by-the-server"))

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, Any], step: int) -> None:
        if step == self.fails_at:
            raise ConnectionError("gone")
        self.rows.append((step, values))

    def finish(self) -> None:
        print("* Run finished.")
        self.is_finished = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    kind = type("Fake", (Fake,), {"opened": [], "fails_at": None})
    for name in ("wandb", "trackio", "mlflow"):
        monkeypatch.setitem(accelerate_tracking.LOGGER_TYPE_TO_CLASS, name, kind)
    monkeypatch.setattr(tracking_module, "find_spec", lambda name: SimpleNamespace(origin=name))
    return kind


def _log(folder: Path, name: Any = "wandb", *, first: int = 0) -> MetricsLog:
    tracker = Tracker(name, folder, settings={"a": {"b": 1}}, resumed_step=first)
    return MetricsLog(folder / "metrics.jsonl", resumed_step=first, tracker=tracker)


def test_rows_come_flat_with_numbers_alone_at_their_step(
    fake: type[Fake], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "demo" / "sft"
    folder.mkdir(parents=True)
    with _log(folder) as log:
        log.write({"step": 4, "loss": 1.5, "note": "x", "is_on": True, "heldout": {"nll": 2.0, "call_accuracy": None}})
    (made,) = fake.opened
    assert made.rows == [(4, {"loss": 1.5, "heldout/nll": 2.0})]
    assert made.settings == {"a/b": 1}
    assert (made.project, made.options["name"]) == ("tltrain", "demo/sft")
    assert made.is_finished
    assert capsys.readouterr() == ("", "* Run finished.\n")  # stdout is for results


@pytest.mark.parametrize(("name", "field"), [("wandb", "id"), ("trackio", "name"), ("mlflow", "run_id")])
def test_a_resumed_run_goes_on_in_the_same_place(name: str, field: str, fake: type[Fake], tmp_path: Path):
    for first in (0, 3):
        _log(tmp_path, name, first=first).close()
    one, other = fake.opened
    assert other.options[field] is not None
    assert other.options[field] == ("given-by-the-server" if name == "mlflow" else one.options[field])
    another = tmp_path / "another"
    another.mkdir()
    _log(another, name).close()
    assert fake.opened[2].options[field] != other.options[field]


def test_one_tracker_does_not_go_on_where_another_was(fake: type[Fake], tmp_path: Path):
    _log(tmp_path, "wandb").close()
    _log(tmp_path, "mlflow").close()
    assert fake.opened[1].options["run_id"] is None


def _write_and_close(log: MetricsLog, first: int, end: int) -> None:
    with log:
        for step in range(first, end):
            log.write({"step": step, "loss": 1.0})


def test_a_tracker_that_fails_is_warned_about_once_and_stops_nothing(fake: type[Fake], tmp_path: Path):
    fake.fails_at = 1
    log = _log(tmp_path)
    log.write({"step": 0, "loss": 1.0})
    with pytest.warns(UserWarning, match=r"tracker wandb failed \(ConnectionError: gone\); training goes on") as told:
        _write_and_close(log, 1, 4)
    assert len(told) == 1
    assert [step for step, _ in fake.opened[0].rows] == [0]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


def test_one_that_does_not_start_neither(fake: type[Fake], tmp_path: Path):
    fake.fails_at = -1
    with pytest.warns(UserWarning, match="OSError: no network") as told:
        _write_and_close(_log(tmp_path), 0, 2)
    assert len(told) == 1
    assert not (tmp_path / "tracker.json").exists()


def test_one_that_is_not_installed_is_refused_before_anything_is_done(
    generated: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tracking_module, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="tracker=mlflow: the package mlflow is not installed; run `pip install mlf"):
        sft(SftConfig(), data=generated / "train.jsonl", model=tiny_model, out=tmp_path / "out", tracker="mlflow")
    with pytest.raises(UsageError, match="the package wandb is not installed"):
        run(load_recipe("demo", settings=["tracker=wandb"]), tmp_path / "run")
    assert not list(tmp_path.iterdir())
    check_tracker(None)


def test_a_folder_of_its_name_is_no_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking_module, "find_spec", lambda _: SimpleNamespace(origin=None))
    with pytest.raises(UsageError, match="not installed"):
        check_tracker("trackio")


def test_a_recipe_names_it_once_for_both_trainers_and_it_is_no_setting_of_theirs():
    steps = {step.name: step for step in plan_steps(load_recipe("demo", settings=["tracker=wandb"]), Path("r"))}
    plain = {step.name: step for step in plan_steps(load_recipe("demo"), Path("r"))}
    assert {name for name, step in steps.items() if step.options} == {"sft", "ppo"}
    assert steps["sft"].options == steps["ppo"].options == {"tracker": "wandb"}
    assert {name: step.recorded for name, step in steps.items()} == {
        name: step.recorded for name, step in plain.items()
    }
    with pytest.raises(UsageError, match=r"tracker=\"tensorbord\".*did you mean tensorboard"):
        load_recipe("demo", settings=["tracker=tensorbord"])


_SFT = SftConfig(
    optimizer=OptimizerConfig(learning_rate=1e-3),
    batch_size=8,
    group_size=2,
    micro_batch_tokens=3000,
    heldout_share=0.2,
    num_evaluations=1,
    checkpoint_every=1,
    precision="float32",
)


class Killed(BaseException):
    pass


def _train_with_a_break(generated: Path, model: Path, out: Path, name: Any) -> list[dict[str, Any]]:
    """Stopped after its second step, while the checkpoint is that of the first, and resumed."""

    def stop(done: int, *_: object) -> None:
        if done == 2:
            raise Killed

    files = {"data": generated / "train.jsonl", "model": model, "out": out, "tracker": name}
    config = _SFT.model_copy(update={"checkpoint_every": 1, "num_epochs": 2})
    with pytest.raises(Killed):
        sft(config, **files, progress=stop)
    newest = out / "checkpoints" / "step-000002"
    newest.rename(newest.with_name("step-000001"))  # as if it had been killed before this one was written
    sft(config, **files, reuse=Reuse.RESUME)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_training_sends_each_row_and_a_resume_goes_on_at_its_step(
    fake: type[Fake], generated: Path, tiny_model: Path, tmp_path: Path
):
    rows = _train_with_a_break(generated, tiny_model, tmp_path / "out", "wandb")
    first, second = fake.opened
    assert [step for step, _ in first.rows] == [0, 1]
    assert [step for step, _ in second.rows] == [row["step"] for row in rows[1:]]
    assert second.rows[-1][1]["heldout/call_accuracy"] == rows[-1]["heldout"]["call_accuracy"]
    assert second.rows[0][1]["spans/name/nll"] == rows[1]["spans"]["name"]["nll"]
    assert first.is_finished
    assert second.settings["optimizer/learning_rate"] == 1e-3


def test_tensorboard_has_each_step_once(generated: Path, tiny_model: Path, tmp_path: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    rows = _train_with_a_break(generated, tiny_model, tmp_path / "out", "tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    told = events.Scalars("loss")
    assert [event.step for event in told] == [row["step"] for row in rows]
    assert [event.value for event in told] == pytest.approx([row["loss"] for row in rows], rel=1e-6)
    assert "spans/name/accuracy" in events.Tags()["scalars"]
