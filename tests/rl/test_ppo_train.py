import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from accelerate import tracking as accelerate_tracking
from safetensors.torch import load_file

import tltrain.engine.tracking as tracking_module
from tltrain.engine.model import load_model
from tltrain.engine.settings import LoraConfig, OptimizerConfig
from tltrain.errors import DataError, TltrainError, UsageError
from tltrain.files import read_json_lines
from tltrain.report.records import PpoStep, Rollout
from tltrain.rl.config import PpoConfig
from tltrain.rl.train import ppo
from tltrain.stage import Reuse

_RATE = OptimizerConfig(learning_rate=1e-2)
_CONFIG = PpoConfig(
    prompts_per_step=4,
    group_size=2,
    samples_per_prompt=2,
    minibatch_size=4,
    micro_batch_tokens=300,
    max_new_tokens=8,
    max_steps=6,
    num_epochs=10,
    kl_coef=0.05,
    kl_target=0.5,
    kl_horizon=20,
    actor_optimizer=_RATE,
    critic_optimizer=_RATE,
    lora=LoraConfig(rank=4),
    critic="separate",
    precision="float32",
    heldout_share=0.2,
    evaluate_every=3,
    checkpoint_every=2,
)
_TIMES = ("seconds", "seconds_rollout", "seconds_experience", "seconds_update", "samples_per_second")


class _FakeTracker:
    """In the place of accelerate's class for wandb."""

    rows: ClassVar[list[tuple[int, dict[str, Any]]]] = []

    def __init__(self, project: str, **_: Any):
        assert project == "tltrain"

    def start(self) -> None: ...

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        assert values["critic"] == "separate"

    def log(self, values: dict[str, Any], step: int) -> None:
        self.rows.append((step, values))

    def finish(self) -> None: ...


def test_rows_go_to_the_tracker(tiny_model: Path, generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(accelerate_tracking.LOGGER_TYPE_TO_CLASS, "wandb", _FakeTracker)
    monkeypatch.setattr(tracking_module, "find_spec", lambda name: SimpleNamespace(origin=name))
    config = _CONFIG.model_copy(update={"max_steps": 1, "heldout_share": 0})
    ppo(config, data=generated / "train.jsonl", model=tiny_model, out=tmp_path / "out", tracker="wandb")
    (row,) = _rows(tmp_path / "out" / "metrics.jsonl")
    ((step, values),) = _FakeTracker.rows
    assert (step, values["reward"], values["kl"]) == (0, row["reward"], row["kl"])
    assert {f"errors/{label}" for label in row["errors"]} <= values.keys()


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _metrics(out: Path) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl without what differs from run to run."""
    return [{key: value for key, value in row.items() if key not in _TIMES} for row in _rows(out / "metrics.jsonl")]


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def _are_equal(first: Path, second: Path) -> bool:
    left, right = _weights(first), _weights(second)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def trained(tiny_sft: Path, few_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ppo") / "out"
    result = ppo(_CONFIG, data=few_rows, model=tiny_sft, out=out)
    assert result.num_steps == 6
    assert result.num_prompts + result.num_heldout + sum(result.left_out.values()) == sum(
        len(message.get("tool_calls", ())) for row in _rows(few_rows) for message in row["messages"]
    )
    assert set(result.heldout) == set(result.heldout_before) == {"reward", "ts", "pi", "cf"}
    return out


def test_a_run_leaves_a_merged_model_with_its_template(trained: Path, tiny_sft: Path):
    loaded = load_model(trained / "model")
    assert "tltrain/chatml" in loaded.tokenizer.chat_template
    before, after = _weights(tiny_sft), _weights(trained / "model")
    assert before.keys() == after.keys()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {n for n in before if "proj" in n}
    assert not (trained / "checkpoints").exists()


def test_metrics_are_what_the_report_reads(trained: Path):
    rows = _rows(trained / "metrics.jsonl")
    steps = [PpoStep.model_validate(row) for row in rows]
    assert [step.step for step in steps] == list(range(6))
    # of vLLM, and of a curriculum
    of_options = {"heldout", "drift_mean", "drift_max", "curriculum_shares", "curriculum_wrong"}
    for step, row in zip(steps, rows, strict=True):
        assert set(PpoStep.model_fields) - of_options <= set(row)
        assert sum(step.errors.values()) == pytest.approx(1)
        assert row["reward"] == pytest.approx(sum(row["reward_parts"].values()))
        assert row["sampling_gap"] < 1e-9  # sampler and trainer agree about log-probs
        assert row["seconds"] == pytest.approx(
            row["seconds_rollout"] + row["seconds_experience"] + row["seconds_update"], abs=0.01
        )
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-5)  # before the first update the actor is the reference
    assert all(row["kl"] != 0 for row in rows[1:])
    assert [row["step"] for row in rows if "heldout" in row] == [2, 5]
    assert set(rows[0]["heldout_before"]) == {"reward", "ts", "pi", "cf"}
    assert len({row["kl_coef"] for row in rows}) == len(rows)  # it follows the divergence
    assert rows[0]["value_loss"] > 0
    assert rows[0]["critic_grad_norm"] > 0


def test_rollouts_are_what_the_report_reads(trained: Path):
    rollouts = [Rollout.model_validate(row) for row in _rows(trained / "rollouts.jsonl")]
    assert {rollout.step for rollout in rollouts} == set(range(6))
    assert max(sum(rollout.step == step for rollout in rollouts) for step in range(6)) <= 8
    assert all(rollout.gold and rollout.label and rollout.reward is not None for rollout in rollouts)
    assert all(rollout.prompt.endswith("<|im_start|>assistant\n") for rollout in rollouts)
    assert all("#" in rollout.id for rollout in rollouts)


_KILLER = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import tltrain.engine.checkpoint as checkpoint, tltrain.rl.scoring as scoring, tltrain.rl.train as train
import tltrain.engine.optimizer as optimizer
from tltrain.rl.config import PpoConfig
from tltrain.stage import Reuse

PLACES = {
    "rollout": (scoring.Scorer, "score"),
    "update": (optimizer.Optimizer, "step"),
    "saving": (checkpoint, "write_json_atomic"),
    "log": (train.MetricsLog, "write"),
    "finish": (train.Stage, "finish"),
}

def kill_at(place, call):
    owner, name = PLACES[place]
    original = getattr(owner, name)
    calls = iter(range(call))
    def replaced(*arguments, **options):
        if next(calls, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)
    setattr(owner, name, replaced)

config, data, model, out, kills = sys.argv[1:]
for place, call, _ in json.loads(kills):
    child = os.fork()  # each start is a process of its own; only the imports are shared
    if child == 0:
        kill_at(place, call)
        resolved = PpoConfig.model_validate_json(config)
        train.ppo(resolved, data=Path(data), model=model, out=Path(out), reuse=Reuse.RESUME)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (place, status)
    found = sorted(path.name for path in (Path(out) / "checkpoints").glob("step-*"))
    print(int(found[-1].removeprefix("step-")) if found else None)
"""


# a step: 8 rollouts, 4 minibatches with 2 optimizers, 8 rows in rollouts.jsonl and 1 in metrics.jsonl; at the
# very start 2 held-out prompts; a checkpoint after every second step
_KILLS = [
    ("rollout", 13, None),  # in step 1: no checkpoint yet
    ("saving", 0, None),  # the first checkpoint, its weights written, itself not yet in place
    ("update", 19, 2),  # in step 2, after the first checkpoint
    ("log", 12, 2),  # in step 3: step 2 is in the logs, and not in the checkpoint
    ("update", 19, 4),  # in step 4, after the second checkpoint
    ("finish", 0, 4),  # after step 5, the model saved
]


@pytest.mark.parametrize("kills", [_KILLS[2:3], pytest.param(_KILLS, marks=pytest.mark.slow)])
def test_runs_killed_anywhere_resume_to_the_same_result(
    kills, trained: Path, tiny_sft: Path, few_rows: Path, tmp_path: Path
):
    arguments = [_CONFIG.model_dump_json(), str(few_rows), str(tiny_sft), str(tmp_path / "out"), json.dumps(kills)]
    killer = subprocess.run(
        [sys.executable, "-c", _KILLER, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killer.returncode == 0, killer.stderr
    assert killer.stdout.split() == [str(checkpoint) for _, _, checkpoint in kills]
    ppo(_CONFIG, data=few_rows, model=tiny_sft, out=tmp_path / "out", reuse=Reuse.RESUME)
    assert _are_equal(tmp_path / "out" / "model", trained / "model")
    assert _metrics(tmp_path / "out") == _metrics(trained)
    assert (tmp_path / "out" / "rollouts.jsonl").read_text() == (trained / "rollouts.jsonl").read_text()


def test_a_finished_run_is_not_done_again_and_other_settings_are_refused(trained: Path, tiny_sft: Path, few_rows: Path):
    before = (trained / "model" / "model.safetensors").stat().st_mtime_ns
    result = ppo(_CONFIG, data=few_rows, model=tiny_sft, out=trained, reuse=Reuse.RESUME)
    assert (result.num_steps, result.model) == (6, trained / "model")
    assert (trained / "model" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"config\.kl_coef was 0\.05 and is 0\.4"):
        ppo(_CONFIG.model_copy(update={"kl_coef": 0.4}), data=few_rows, model=tiny_sft, out=trained, reuse=Reuse.RESUME)
    with pytest.raises(UsageError, match=r"inputs\.reward"):
        ppo(_CONFIG, data=few_rows, model=tiny_sft, out=trained, reuse=Reuse.RESUME, reward=num_letters)


def num_letters(*, completion: str, **_: object) -> float:
    return float(sum(map(str.isalpha, completion)))


def test_the_best_weights_are_kept(tiny_sft: Path, few_rows: Path, tmp_path: Path):
    """A reward that falls as training goes on: the best are the weights before the first step."""
    calls = iter(range(10_000))

    def falling(**_: object) -> float:
        return 1 - next(calls) / 10_000

    config = _CONFIG.model_copy(update={"keep": "best", "evaluate_every": 1, "max_steps": 3})
    result = ppo(config, data=few_rows, model=tiny_sft, out=tmp_path / "out", reward=falling)
    assert result.heldout["reward"] < result.heldout_before["reward"]
    assert _are_equal(tmp_path / "out" / "model", tiny_sft)


def test_what_is_best_survives_a_resume(tiny_sft: Path, few_rows: Path, tmp_path: Path):
    """As above, but stopped by an error after the first checkpoint, and taken up again."""
    config = _CONFIG.model_copy(update={"keep": "best", "evaluate_every": 1, "checkpoint_every": 1, "max_steps": 3})

    def run(reuse: Reuse) -> None:
        ppo(config, data=few_rows, model=tiny_sft, out=tmp_path / "out", reward=best_then_worse, reuse=reuse)

    best_then_worse.left = 22  # 2 held-out prompts, then twice 8 rollouts and 2 held-out prompts
    with pytest.raises(TltrainError, match="judges none of 8 completions"):
        run(Reuse.REFUSE)
    best_then_worse.left = math.inf
    run(Reuse.RESUME)
    assert _are_equal(tmp_path / "out" / "model", tiny_sft)


class _BestThenWorse:
    left = math.inf
    best = 1.0

    def __call__(self, **_: object) -> float:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("out of order")
        self.best *= 0.99
        return self.best


best_then_worse = _BestThenWorse()


def test_a_reward_that_judges_nothing_stops_with_the_reason(tiny_sft: Path, few_rows: Path, tmp_path: Path):
    def broken(**_: object) -> float:
        raise KeyError("score")

    with pytest.raises(TltrainError, match=r"step 0: .* judges none of 8 completions; .*KeyError: 'score'"):
        ppo(_CONFIG, data=few_rows, model=tiny_sft, out=tmp_path / "out", reward=broken)


def test_unscored_completions_are_counted_and_nothing_is_learnt_from_them(
    tiny_sft: Path, few_rows: Path, tmp_path: Path
):
    def choosy(*, completion: str, **_: object) -> float:
        return 1.0 if len(completion) % 2 else math.nan

    ppo(_CONFIG.model_copy(update={"max_steps": 2}), data=few_rows, model=tiny_sft, out=tmp_path / "out", reward=choosy)
    for row in _rows(tmp_path / "out" / "metrics.jsonl"):
        assert row["num_rollouts"] + row["num_unscored"] == 8
        assert row["num_unscored"] > 0
        assert row["reward"] == 1  # a mean over those that were judged
        assert row["reward_std"] == 0


def test_a_loss_that_is_not_finite_stops_and_the_last_checkpoint_is_good(
    tiny_sft: Path, few_rows: Path, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
):
    from tltrain.rl import train, update

    healthy, do_step = update.clipped_policy_loss, train._Trainer._step
    reached = [0]

    def noting(self: Any, number: int, *arguments: Any) -> Any:
        reached[0] = number
        return do_step(self, number, *arguments)

    def breaking(*arguments: Any, **options: Any) -> Any:
        found = healthy(*arguments, **options)
        return found._replace(loss=found.loss * math.nan) if reached[0] == 4 else found

    monkeypatch.setattr(train._Trainer, "_step", noting)
    monkeypatch.setattr(update, "clipped_policy_loss", breaking)
    with pytest.raises(TltrainError, match=r"the loss is nan .*; the last checkpoint is good"):
        ppo(_CONFIG, data=few_rows, model=tiny_sft, out=tmp_path / "out")
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["step-000004"]
    ppo(_CONFIG, data=few_rows, model=tiny_sft, out=tmp_path / "out", reuse=Reuse.RESUME)
    assert _are_equal(tmp_path / "out" / "model", trained / "model")


def test_prompts_that_do_not_fit_are_set_aside(tiny_sft: Path, few_rows: Path, tmp_path: Path):
    lengths = sorted(_prompt_lengths(tiny_sft, few_rows))
    config = _CONFIG.model_copy(update={"max_prompt_length": lengths[-2], "max_steps": 1})
    result = ppo(config, data=few_rows, model=tiny_sft, out=tmp_path / "out")
    rows = [row for _, row in read_json_lines(tmp_path / "out" / "quarantine.jsonl")]
    assert result.num_set_aside == len(rows) == 1
    assert str(lengths[-1]) in rows[0]["reason"]
    with pytest.raises(DataError, match=f"no prompt is left .*{len(lengths)} prompts are set aside"):
        ppo(_CONFIG.model_copy(update={"max_prompt_length": 5}), data=few_rows, model=tiny_sft, out=tmp_path / "other")


def _prompt_lengths(model: Path, data: Path) -> list[int]:
    from tltrain.audit.run import audit_trajectories, blocked_calls
    from tltrain.engine.model import load_tokenizer
    from tltrain.formats.read import read_trajectories
    from tltrain.render.template import ensure_tool_template
    from tltrain.rl.prompts import make_prompts
    from tltrain.syntax import get_syntax

    tokenizer = load_tokenizer(model)
    syntax = get_syntax(ensure_tool_template(tokenizer))
    trajectories = read_trajectories(data).trajectories
    blocked = blocked_calls(audit_trajectories(trajectories))
    found = make_prompts(trajectories, tokenizer, syntax, blocked=blocked, max_length=10_000)
    return [len(prompt.ids) for prompt in found.prompts]


def test_the_context_of_the_model_leaves_room_for_the_completion(tiny_sft: Path, few_rows: Path, tmp_path: Path):
    # the model's context is 2,048 tokens
    config = _CONFIG.model_copy(update={"max_new_tokens": 2040})
    with pytest.raises(DataError, match="no prompt is left"):
        ppo(config, data=few_rows, model=tiny_sft, out=tmp_path / "out")
    assert "allow 8" in (tmp_path / "out" / "quarantine.jsonl").read_text()


def test_a_run_ends_at_a_worry_that_it_is_told_to_end_at(tiny_sft: Path, few_rows: Path, tmp_path: Path):
    # a reward for long texts, without end: after five steps nearly all completions are cut off
    config = _CONFIG.model_copy(
        update={"max_steps": 9, "critic": "head", "stop_on": ("truncated",), "evaluate_every": 4}
    )
    result = ppo(config, data=few_rows, model=tiny_sft, out=tmp_path / "out", reward=num_letters)
    rows = _rows(tmp_path / "out" / "metrics.jsonl")
    assert result.num_steps == len(rows) == 5
    assert set(result.warnings) == {"truncated"}
    assert result.warnings["truncated"].startswith("step 4: ")
    assert "cut off at max_new_tokens" in rows[4]["warnings"]["truncated"]
    assert [row["step"] for row in rows if "heldout" in row] == [3, 4]
    again = ppo(config, data=few_rows, model=tiny_sft, out=tmp_path / "out", reward=num_letters, reuse=Reuse.RESUME)
    assert again == result


@pytest.mark.slow
def test_a_worry_is_told_once_where_the_run_goes_on(tiny_sft: Path, few_rows: Path, tmp_path: Path):
    other = _CONFIG.model_copy(update={"max_steps": 6, "critic": "head", "evaluate_every": 4})
    result = ppo(other, data=few_rows, model=tiny_sft, out=tmp_path / "other", reward=num_letters)
    assert result.num_steps == 6
    assert sum("truncated" in row["warnings"] for row in _rows(tmp_path / "other" / "metrics.jsonl")) == 1
