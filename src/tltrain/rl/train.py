"""The stage `ppo`: trajectories, verdicts and an SFT model in, a model optimised for its rewards out."""

import random
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from tltrain.engine.checkpoint import load_checkpoint, save_checkpoint, seed_step
from tltrain.engine.compiled import check_not_sharded
from tltrain.engine.device import pick_device
from tltrain.engine.metrics import MetricsLog
from tltrain.engine.model import LoadedModel, load_model, merge_lora, save_model
from tltrain.engine.parallel import Processes, find_processes
from tltrain.engine.settings import HeldAs, TrackerName
from tltrain.engine.sharding import gather_model, resolve_sharding
from tltrain.engine.tracking import Tracker, check_tracker
from tltrain.errors import DataError, TltrainError, UsageError
from tltrain.files import read_json_lines
from tltrain.launcher import leave_to_the_first
from tltrain.render.template import ensure_tool_template
from tltrain.rl.actor import Actor
from tltrain.rl.batches import count_updates, plan_minibatches
from tltrain.rl.best import BestWeights
from tltrain.rl.config import PpoConfig
from tltrain.rl.critic import Critic
from tltrain.rl.experience import gain_experience, rows_to_learn
from tltrain.rl.health import find_warnings
from tltrain.rl.kl import AdaptiveKl
from tltrain.rl.rollouts import Attempt
from tltrain.rl.scoring import RewardFunction, Scorer, function_name
from tltrain.rl.sources import CallSource, EpisodeSource, Source
from tltrain.rl.step_record import describe_drift, describe_rollouts, describe_times
from tltrain.rl.update import Updater
from tltrain.stage import Progress, Reuse, Stage
from tltrain.syntax import get_syntax

_NUM_SHOWN = 8
"""Rollouts of a step that are kept for people to look at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PpoResult:
    """Where the model is and how training went."""

    model: Path
    num_prompts: int
    """Prompts that were trained on."""
    num_heldout: int
    """Prompts that were kept out of training."""
    num_set_aside: int
    """Rows and prompts that could not be used; listed in quarantine.jsonl."""
    left_out: Mapping[str, int]
    """Why a call of the data, or a turn, is no prompt -> number of such."""
    num_steps: int
    heldout_before: Mapping[str, float | None]
    """What the SFT model got right on held-out prompts, see `measure_heldout` and `measure_episodes`; empty where
    nothing was held out."""
    heldout: Mapping[str, float | None]
    """The same after the last step."""
    warnings: Mapping[str, str]
    """What went wrong while the reward looked fine, see `find_warnings`; with the step at which it was first seen."""
    num_processes: int = 1
    """How many ended the run."""
    sharding: HeldAs = "none"
    """How they held the models."""


def ppo(
    config: PpoConfig,
    *,
    data: Path,
    model: str | Path,
    out: Path,
    verdicts: Path | None = None,
    reward: RewardFunction | None = None,
    tracker: TrackerName | None = None,
    reuse: Reuse = Reuse.REFUSE,
    progress: Progress | None = None,
) -> PpoResult:
    """Optimise a fine-tuned model for the reward of its calls (IRM), by PPO.

    Several processes (`accelerate launch`, `torchrun`) share the prompts and the minibatches of each step, and the
    models too where `config.sharding` says so. Their number changes nothing but time and memory, and a run goes on with
    another number of them.

    Writes into `out`: model/ (weights, adapters merged, and tokenizer), metrics.jsonl (a row a step), rollouts.jsonl
    (some rollouts of each step), quarantine.jsonl (what was set aside, with reasons), checkpoints/ while it runs. A
    run that was killed goes on from its last checkpoint and ends as if it had not been.

    Args:
        config: settings.
        data: trajectories, in any known format; right turns become prompts, see
            `config.turns`.
        model: the fine-tuned model, see `load_model`; actor, reference and a separate critic start from it.
        out: folder of the stage.
        verdicts: verdicts.jsonl of `audit`; None audits the data on the way.
        reward: judges completions in place of the rules of `config.reward`.
        tracker: also gets the rows of metrics.jsonl; it changes nothing else.
        reuse: what to do with a folder that was used before.
        progress: told how far it is.

    Raises:
        DataError: no prompt is left, or too few to hold any out where `config.keep` needs that, or a right call cannot
            earn the highest reward and `config.bad_gold` says to refuse.
        ModelError: the model cannot be loaded, or no episode can grow under its chat template.
        UsageError: the folder is in use, or was begun with other settings, `config.compare` names a parameter that no
            tool of the data has, the tracker is not installed, vLLM or the file of `config.episodes.environment` is
            not there, or episodes and `reward` are both given.
        TltrainError: a loss or gradient ceased to be finite, or the reward function or the environment judges nothing;
            the last checkpoint is good.
    """
    processes = find_processes()
    processes.from_main(lambda: check_tracker(tracker))
    if config.episodes is not None and reward is not None:
        raise UsageError("reward judges single calls; episodes are judged by their environment: leave one of them out")
    inputs = {
        "data": data,
        "model": Path(model),
        "verdicts": verdicts,
        # no file, but another function is another input, too
        "reward": None if reward is None else Path(function_name(reward)),
        "environment": config.episodes.environment if config.episodes else None,
    }
    stage = processes.from_main(
        lambda: Stage(out, name="ppo", config=config, inputs=inputs, reuse=reuse, is_shared=True)
    )
    if stage.is_done:
        return _result(out, stage.result)
    loaded = processes.in_each(lambda: load_model(model))
    syntax = get_syntax(ensure_tool_template(loaded.tokenizer))
    scorer = Scorer(syntax, config.reward, reward, config.compare)
    source: Source
    if config.episodes is not None:
        source = EpisodeSource(config, loaded, syntax, processes, data=data, out=out)
    else:
        source = CallSource(config, loaded, scorer, processes, data=data, verdicts=verdicts, out=out)
    if config.keep == "best" and not source.num_heldout:
        error = DataError(
            f"{data}: has prompts of one trajectory only, and keep='best' holds some out; use keep='last'"
        )
        raise leave_to_the_first(error)
    with closing(source):
        trainer = _Trainer(config, loaded, source, processes, out)
        measured = trainer.run(tracker, progress)
    result: dict[str, Any] = {
        "num_prompts": source.num_train,
        "num_heldout": source.num_heldout,
        "num_set_aside": source.num_set_aside,
        "left_out": dict(source.left_out),
        "num_steps": measured.num_steps,
        "warnings": measured.warnings,
        "heldout_before": measured.before,
        "heldout": measured.after,
        "num_processes": processes.size,
        "sharding": trainer.sharding,
    }
    gather_model(trainer.actor.model, processes)

    def finish() -> dict[str, Any]:
        shutil.rmtree(out / "model", ignore_errors=True)  # of a start that was killed right after it saved
        save_model(merge_lora(trainer.actor.model), loaded.tokenizer, out / "model")
        stage.finish(result)
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        return stage.result

    return _result(out, processes.from_main(finish))


def _result(out: Path, saved: Mapping[str, Any]) -> PpoResult:
    return PpoResult(model=out / "model", **saved)


@dataclass(frozen=True, slots=True)
class _Measured:
    """How the run went, and what was measured on held-out prompts; empty where there are none."""

    before: dict[str, Any]
    after: dict[str, Any]
    num_steps: int
    """Steps that were done."""
    warnings: dict[str, str]
    """Name -> at which step, and why."""


class _Logs(NamedTuple):
    """The files that grow step by step."""

    metrics: MetricsLog
    rollouts: MetricsLog


class _Trainer:
    """The models, and the loop over steps."""

    def __init__(self, config: PpoConfig, loaded: LoadedModel, source: Source, processes: Processes, out: Path):
        self._config = config
        self._source = source
        self._processes = processes
        self._out = out
        num_updates = [count_updates(size, config) for size in source.step_sizes]
        self._first_updates = list(accumulate(num_updates, initial=0))
        """Number of the first optimizer step of each step."""
        device = pick_device()
        seed_step(config.seed, "initial weights", 0)
        self.sharding = resolve_sharding(config.sharding, processes)
        if self.sharding in ("zero1", "zero2"):
            raise UsageError(
                "ppo does not run under DeepSpeed; use FSDP: accelerate launch --config_file "
                "src/tltrain/launch/fsdp2.yaml, or sharding=none"
            )
        if config.compile:
            check_not_sharded(self.sharding)
        split_among = processes if self.sharding == "fsdp" else None
        self._critic = Critic(config, loaded.model, device, split_among=split_among)
        self.actor = Actor(config, loaded.model, device, split_among=split_among)
        self._kl = AdaptiveKl(config.kl_coef, target=config.kl_target, horizon=config.kl_horizon)
        self._updater = Updater(
            config, self.actor, self._critic, num_steps=self._first_updates[-1], processes=processes
        )
        self._best = BestWeights(self.actor.model) if config.keep == "best" else None

    @property
    def num_steps(self) -> int:
        """Rollout batches of the whole run."""
        return len(self._source.step_sizes)

    def run(self, tracker: TrackerName | None, progress: Progress | None) -> _Measured:
        """Do all steps that no checkpoint has, and leave the weights that are to be kept in the actor."""
        modules = {"actor": self.actor.model, "critic": self._critic, "kl": self._kl}
        modules |= {"best": self._best} if self._best is not None else {}
        modules |= self._source.modules
        optimizers = {"actor": self._updater.actor_optimizer, "critic": self._updater.critic_optimizer}
        checkpoints = self._out / "checkpoints"
        processes = self._processes
        first = processes.in_each(lambda: load_checkpoint(checkpoints, modules, optimizers))
        before = self._measure() if self._source.num_heldout and first == 0 else {}
        with ExitStack() as opened:
            logs = self._open_logs(tracker, first, opened) if processes.is_main else None
            rows = processes.from_main(self._read_rows)
            # every process has the same rows, and so decides alike
            for number in range(first, self.num_steps):
                row, rollouts = self._step(number)
                if number == 0 and before:
                    row["heldout_before"] = before
                is_due = (number + 1) % self._config.evaluate_every == 0 or number + 1 == self.num_steps
                if is_due and self._source.num_heldout:
                    row["heldout"] = self._measure()
                known = {name for earlier in rows for name in earlier.get("warnings", {})}
                rows.append(row)
                row["warnings"] = {name: text for name, text in find_warnings(rows).items() if name not in known}
                is_stopped = not row["warnings"].keys().isdisjoint(self._config.stop_on)
                if is_stopped and self._source.num_heldout and "heldout" not in row:
                    row["heldout"] = self._measure()
                if logs is not None:
                    for rollout in self._choose_shown(rollouts, number):
                        logs.rollouts.write(rollout)
                    logs.metrics.write(row)
                if is_stopped:
                    break
                if (number + 1) % self._config.checkpoint_every == 0 and number + 1 < self.num_steps:
                    save_checkpoint(checkpoints, number + 1, modules, optimizers, processes)
                if progress and processes.is_main:
                    worries = "".join(f"; warning: {name}" for name in sorted(known | row["warnings"].keys()))
                    progress(number + 1, self.num_steps, f"reward {row['reward']:.2f}, KL {row['kl']:.4f}{worries}")
        if self._best is not None:
            self._best.restore(self.actor.model)
        return processes.from_main(self._read_measured)

    def _open_logs(self, tracker: TrackerName | None, first: int, opened: ExitStack) -> _Logs:
        settings = self._config.model_dump(mode="json")
        shown = Tracker(tracker, self._out, settings=settings, resumed_step=first) if tracker else None
        metrics = MetricsLog(self._out / "metrics.jsonl", resumed_step=first, tracker=shown)
        rollouts = MetricsLog(self._out / "rollouts.jsonl", resumed_step=first)
        return _Logs(opened.enter_context(metrics), opened.enter_context(rollouts))

    def _step(self, number: int) -> tuple[dict[str, Any], Sequence[Attempt]]:
        """One rollout batch: sample and judge, look back with reference and critic, update; returns its metrics."""
        config, processes = self._config, self._processes
        times = [time.monotonic()]
        step = self._source.plan(number)
        drawn = self._source.draw(self.actor, number, step)
        if not drawn.rollouts:
            error = TltrainError(
                f"step {number}: {self._source.judge.format(len(drawn.unscored))}; correct it and resume. The first: "
                f"{drawn.unscored[0]}"
            )
            raise leave_to_the_first(error)
        times.append(time.monotonic())
        kl_coef = self._kl.value
        experience = gain_experience(
            self.actor, self._critic, drawn.rollouts, config, kl_coef=kl_coef, processes=processes
        )
        times.append(time.monotonic())
        rows = rows_to_learn(drawn.rollouts, config)
        minibatches = plan_minibatches(
            [rollout.group for rollout in drawn.rollouts],
            num_updates=config.num_updates,
            minibatch_size=config.minibatch_size,
            seed=config.seed,
            step=number,
            rows=rows,
        )
        updated = self._updater.update(experience, minibatches, first_step=self._first_updates[number], kl_coef=kl_coef)
        of_source = self._source.learn(step, drawn)
        times.append(time.monotonic())
        # what decides about later steps is worked out once, as processors may differ in the last digits
        described = processes.from_main(
            lambda: describe_rollouts(drawn, experience, kl_coef) | describe_drift(experience, config)
        )
        self._kl.update(described["kl_completion"], len(drawn.rollouts))
        row = (
            {"step": number}
            | described
            | of_source
            | {"num_learnt": len(rows)}
            | updated
            | describe_times(times, drawn)
        )
        return row, drawn.rollouts

    def _measure(self) -> dict[str, float | None]:
        measured = self._source.measure(self.actor)
        if self._best is not None:
            self._best.offer(self.actor.model, measured["reward"])
        return measured

    def _choose_shown(self, rollouts: Sequence[Attempt], number: int) -> list[dict[str, object]]:
        """Rows of rollouts.jsonl: some of a step, chosen at random."""
        rng = random.Random(f"{self._config.seed}:shown:{number}")
        chosen = sorted(rng.sample(range(len(rollouts)), min(_NUM_SHOWN, len(rollouts))))
        return [{"step": number} | self._source.show(rollouts[index]) for index in chosen]

    def _read_measured(self) -> _Measured:
        """From the log, as a resumed run has not measured everything itself."""
        rows = self._read_rows()
        told = {name: f"step {row['step']}: {text}" for row in rows for name, text in row.get("warnings", {}).items()}
        return _Measured(rows[0].get("heldout_before") or {}, rows[-1].get("heldout") or {}, len(rows), told)

    def _read_rows(self) -> list[dict[str, Any]]:
        """The steps that the log has."""
        log = self._out / "metrics.jsonl"
        return [row for _, row in read_json_lines(log) if isinstance(row, dict)] if log.stat().st_size else []
