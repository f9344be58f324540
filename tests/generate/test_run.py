"""generate(): files, balance, the split, summaries, failures, and going on after a kill."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from generate.chat_server import Answer, completion, serve
from tltrain.errors import DataError, UsageError
from tltrain.files import read_json_lines
from tltrain.formats.read import read_trajectories
from tltrain.generate.config import EndpointSettings, GenerateConfig, ScriptedSettings
from tltrain.generate.run import generate, plan_jobs
from tltrain.generate.task import query_of, run_gold, task_from_provenance
from tltrain.types import Role, Trajectory, iterate_calls

SMALL = GenerateConfig(num_train=60, num_test=24, seed=4, mistake_rate=0.3, failure_rate=0.05)


def read(path: Path) -> list[Trajectory]:
    return read_trajectories(path, strict=True).trajectories


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data")
    result = generate(SMALL, out)
    assert (result.num_train, result.num_test, result.num_failed) == (60, 24, 0)
    assert (result.train, result.test, result.summary) == (
        out / "train.jsonl",
        out / "test.jsonl",
        out / "summary.json",
    )
    return out


def test_folder_holds_the_three_files_alone(made):
    assert sorted(path.name for path in made.iterdir()) == ["summary.json", "test.jsonl", "train.jsonl"]


def test_rows_are_numbered_and_split_by_kit(made):
    train, test = read(made / "train.jsonl"), read(made / "test.jsonl")
    assert [row.id for row in train] == [f"train-{number:05d}" for number in range(60)]
    assert [row.id for row in test] == [f"test-{number:05d}" for number in range(24)]
    assert {row.provenance["kit"] for row in test} == {"shop", "devices", "notes"}
    assert len({row.provenance["kit"] for row in train}) == 9
    train_tools = {tool.name for row in train for tool in row.tools}
    assert not train_tools & {tool.name for row in test for tool in row.tools}
    queries = [row.messages[0].content for row in train]
    assert not set(queries) & {row.messages[0].content for row in test}
    assert len({(row.messages[0].content, row.tools[0].name, len(row.tools)) for row in train}) == 60


def test_tool_lists_are_shared_by_many_rows(made):
    lists = Counter(tuple(tool.name for tool in row.tools) for row in read(made / "test.jsonl"))
    assert len(lists) == 9  # three kits with three lists
    assert min(lists.values()) >= 2


def test_test_rows_are_gold(made):
    for row in read(made / "test.jsonl"):
        assert set(row.provenance["truth"]) == {None}
        assert tuple(step.call for step in iterate_calls(row)) == run_gold(task_from_provenance(row.provenance)).calls
        assert row.provenance["failure_rate"] == 0


def test_provenance_has_the_fields_agreed_on(made):
    row = read(made / "train.jsonl")[0]
    assert set(row.provenance) == {
        "teacher", "environment", "kit", "template", "seed", "toolset", "offered", "style", "failure_rate", "truth",
        "mistakes",
    }  # fmt: skip
    assert row.provenance["teacher"] == "scripted"
    assert len(row.provenance["truth"]) == len(row.provenance["mistakes"]) == len(list(iterate_calls(row)))


def test_summary_counts_what_is_in_the_files(made):
    summary = json.loads((made / "summary.json").read_text())
    train = read(made / "train.jsonl")
    part = summary["train"]
    num_calls = [len(list(iterate_calls(row))) for row in train]
    mistakes = [kind for row in train for kind in row.provenance["mistakes"] if kind]
    truth = [kind for row in train for kind in row.provenance["truth"] if kind]
    assert part["trajectories"] == 60
    assert part["calls"] == sum(num_calls)
    assert part["calls_per_trajectory"] == {str(key): count for key, count in sorted(Counter(num_calls).items())}
    assert part["mistakes"] == Counter(mistakes)
    assert part["truth"] == Counter(truth)
    assert part["mistake_share"] == round(len(mistakes) / sum(num_calls), 4)
    silent = [kind for kind in truth if kind.startswith("silent:")]
    assert part["silent_share"] == round(len(silent) / len(mistakes), 4) > 0
    assert part["kits"] == Counter(row.provenance["kit"] for row in train)
    assert part["styles"] == Counter(row.provenance["style"] for row in train)
    assert set(part["styles"]) == {"python", "json", "http"}
    assert part["sizes"]["mean_characters_of_tools"] > 1000
    assert summary["test"]["mistakes"] == {}
    assert summary["test"]["mistake_share"] == 0
    assert summary["test"]["silent_share"] is None
    assert summary["failed"] == {"tasks": 0, "reasons": {}}
    assert GenerateConfig.model_validate(summary["config"]) == SMALL


def test_equal_configs_give_equal_files_and_another_seed_others(made, tmp_path):
    generate(SMALL, tmp_path / "again")
    for name in ("train.jsonl", "test.jsonl", "summary.json"):
        assert (tmp_path / "again" / name).read_bytes() == (made / name).read_bytes()
    generate(SMALL.model_copy(update={"seed": 5}), tmp_path / "other")
    assert (tmp_path / "other" / "train.jsonl").read_bytes() != (made / "train.jsonl").read_bytes()


def test_progress_is_told_after_every_task(tmp_path):
    told: list[tuple[int, int]] = []
    generate(SMALL.model_copy(update={"num_train": 5, "num_test": 2}), tmp_path, progress=lambda *at: told.append(at))
    assert told == [(done, 7) for done in range(1, 8)]


def test_a_kit_may_be_moved_to_the_test_side(tmp_path):
    config = GenerateConfig(num_train=6, num_test=6, test_kits=("calendar",), train_kits=("shop", "notes"))
    result = generate(config, tmp_path)
    assert {row.provenance["kit"] for row in read(result.train)} == {"shop", "notes"}
    assert {row.provenance["kit"] for row in read(result.test)} == {"calendar"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_train": 0}, "num_train"),
        ({"mistake_rate": 0.5}, "mistake_rate"),
        ({"failure_rate": 1.0}, "failure_rate"),
        ({"styles": ()}, "styles"),
        ({"colour": "red"}, "colour"),
        ({"test_kits": ("kitchen",)}, "the kits are bank, calendar"),
        ({"train_kits": ("shop",)}, "shop in both train_kits and test_kits"),
        ({"teacher": {"kind": "human"}}, "teacher"),
        ({"teacher": {"kind": "endpoint", "base_url": "localhost:8000", "model": "m"}}, "base_url"),
    ],
)
def test_config_is_checked(fields, message):
    with pytest.raises(ValidationError, match=message):
        GenerateConfig(**fields)


# A run that is killed


def test_partial_file_is_taken_up_and_gives_the_same_files(made, tmp_path):
    kept: list[int] = []

    def stop(done: int, _: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(SMALL, tmp_path, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["partial.jsonl"]
    rows = [row for _, row in read_json_lines(tmp_path / "partial.jsonl")]
    assert len(rows) == 21  # the config and 20 trajectories
    generate(SMALL, tmp_path, progress=lambda done, _: kept.append(done))
    assert kept[0] == 20
    assert (tmp_path / "train.jsonl").read_bytes() == (made / "train.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["summary.json", "test.jsonl", "train.jsonl"]


@pytest.mark.parametrize("cut", [0, 10, 3000])
def test_a_line_cut_by_a_kill_is_made_again(made, tmp_path, cut):
    with pytest.raises(KeyboardInterrupt):
        generate(SMALL, tmp_path, progress=_interrupt)
    partial = tmp_path / "partial.jsonl"
    partial.write_bytes(partial.read_bytes()[:cut])
    generate(SMALL, tmp_path)
    assert (tmp_path / "train.jsonl").read_bytes() == (made / "train.jsonl").read_bytes()


def test_another_config_is_refused_with_the_fields_that_differ(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        generate(SMALL, tmp_path, progress=_interrupt)
    with pytest.raises(UsageError, match=r"partial.jsonl was begun with another config \(seed 4 -> 5\); go on with"):
        generate(SMALL.model_copy(update={"seed": 5}), tmp_path)


def _interrupt(done: int, _: int) -> None:
    if done == 10:
        raise KeyboardInterrupt


_CHILD = """
import sys, time
from pathlib import Path
from tltrain.generate.config import GenerateConfig
from tltrain.generate.run import generate
generate(
    GenerateConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]), progress=lambda *_: time.sleep(0.02)
)
"""


def test_a_process_killed_at_any_moment_can_go_on(made, tmp_path):
    child = subprocess.Popen([sys.executable, "-c", _CHILD, SMALL.model_dump_json(), str(tmp_path)])
    partial = tmp_path / "partial.jsonl"
    for _ in range(2000):
        if partial.exists() and partial.read_bytes().count(b"\n") > 5:
            break
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["partial.jsonl"]
    generate(SMALL, tmp_path)
    assert (tmp_path / "train.jsonl").read_bytes() == (made / "train.jsonl").read_bytes()


# With an endpoint

PLAIN = GenerateConfig(num_train=12, num_test=3, failure_rate=0.0, train_kits=("calendar", "bank"))


class GoldModel:
    """A model that knows the plan of every task; it fails tasks, or dies, as told."""

    def __init__(self, config: GenerateConfig):
        self.plans = {query_of(job.task): run_gold(job.task) for job in plan_jobs(config)[0]}
        self.broken: set[str] = set()
        """Queries that are answered by HTTP 500."""
        self.asked: list[str] = []
        self.dies_after: int | None = None
        self._lock = threading.Lock()

    def __call__(self, request: dict) -> Answer:
        messages = request["messages"]
        query = next(message["content"] for message in messages if message["role"] == "user")
        with self._lock:
            self.asked.append(query)
            is_dead = self.dies_after is not None and len(self.asked) > self.dies_after
        if query in self.broken or is_dead:
            return Answer(status=500, body="broken")
        plan = self.plans[query]
        done = sum(message["role"] == "tool" for message in messages)
        if done == len(plan.calls):
            return completion(plan.answer)
        call = plan.calls[done]
        return completion(None, (call.name, json.dumps(dict(call.arguments))))


def with_endpoint(config: GenerateConfig, url: str, **settings) -> GenerateConfig:
    teacher = EndpointSettings(base_url=url, model="gold", **({"backoff_s": 0, "max_retries": 1} | settings))
    return config.model_copy(update={"teacher": teacher})


def test_endpoint_makes_the_training_rows_and_the_script_the_test_rows(tmp_path):
    model = GoldModel(PLAIN)
    with serve(model) as endpoint:
        result = generate(with_endpoint(PLAIN, endpoint.url), tmp_path)
    rows = read(result.train)
    assert [row.id for row in rows] == [f"train-{number:05d}" for number in range(12)]
    for row in rows:
        assert row.provenance["teacher"] == "endpoint:gold"
        assert row.provenance["stopped"] == "answer"
        assert row.provenance["final_state_right"] is True
        assert "mistakes" not in row.provenance
        assert tuple(step.call for step in iterate_calls(row)) == run_gold(task_from_provenance(row.provenance)).calls
        assert row.messages[0].role is Role.USER
    assert {row.provenance["teacher"] for row in read(result.test)} == {"scripted"}
    summary = json.loads(result.summary.read_text())
    assert summary["train"]["mistake_share"] is None
    assert summary["train"]["teachers"] == {"endpoint:gold": 12}


def test_failed_tasks_are_counted_with_their_reason_and_the_run_goes_on(tmp_path):
    model = GoldModel(PLAIN)
    model.broken = set(list(model.plans)[:3])
    with serve(model) as endpoint:
        result = generate(with_endpoint(PLAIN, endpoint.url), tmp_path)
    assert (result.num_train, result.num_test, result.num_failed) == (9, 3, 3)
    assert [row.id for row in read(result.train)] == [f"train-{number:05d}" for number in range(3, 12)]
    summary = json.loads(result.summary.read_text())
    assert summary["failed"] == {"tasks": 3, "reasons": {"HTTP 500: broken": 3}}
    assert sum(model.asked.count(query) for query in model.broken) == 6  # one retry each


def test_running_again_tries_failed_tasks_alone(tmp_path):
    model = GoldModel(PLAIN)
    model.broken = {next(iter(model.plans))}
    with serve(model) as endpoint:
        assert generate(with_endpoint(PLAIN, endpoint.url), tmp_path).num_failed == 1
        model.asked.clear()
        (query,), model.broken = model.broken, set()
        result = generate(with_endpoint(PLAIN, endpoint.url), tmp_path)
    assert set(model.asked) == {query}
    assert [row.id for row in read(result.train)] == [f"train-{number:05d}" for number in range(12)]
    assert not (tmp_path / "partial.jsonl").exists()


@pytest.mark.parametrize(("num_train", "num_asked"), [(12, 10), (4, 4)])
def test_no_success_at_all_stops_the_run(tmp_path, num_train, num_asked):
    config = PLAIN.model_copy(update={"num_train": num_train})
    model = GoldModel(config)
    model.broken = set(model.plans)
    with (
        serve(model) as endpoint,
        pytest.raises(DataError, match=f"endpoint:gold: none of the first {num_asked} tasks .* HTTP 500: broken"),
    ):
        generate(with_endpoint(config, endpoint.url, num_parallel=1, max_retries=0), tmp_path)
    assert not (tmp_path / "train.jsonl").exists()


def test_going_on_asks_only_for_what_is_missing_and_retries_failures(tmp_path):
    model = GoldModel(PLAIN)
    model.broken = {next(iter(model.plans))}
    finished: list[int] = []

    def stop(done: int, _: int) -> None:
        finished.append(done)
        if done == 6:
            raise KeyboardInterrupt

    with serve(model) as endpoint:
        with pytest.raises(KeyboardInterrupt):
            generate(with_endpoint(PLAIN, endpoint.url, num_parallel=1), tmp_path, progress=stop)
        first_round = set(model.asked)
        model.asked.clear()
        model.broken.clear()
        # How patient the teacher is leaves no trace in the data, so it may change.
        result = generate(with_endpoint(PLAIN, endpoint.url, num_parallel=2, timeout_s=9), tmp_path)
    assert (result.num_train, result.num_failed) == (12, 0)
    again = first_round & set(model.asked)
    assert next(iter(model.plans)) in again
    assert len(again) <= 2  # the failed task, and one that was under way at the kill


def test_config_takes_teachers_by_kind():
    config = GenerateConfig.model_validate(
        {"teacher": {"kind": "endpoint", "base_url": "http://localhost:1/v1", "model": "m"}}
    )
    assert isinstance(config.teacher, EndpointSettings)
    assert GenerateConfig().teacher == ScriptedSettings()
    assert GenerateConfig.model_validate_json(config.model_dump_json()) == config
