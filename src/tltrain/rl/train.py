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

from tltrain.constrained.masks import make_constrainer
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
from tltrain.rewards.answers import gold_text
from tltrain.rl.actor import Actor
from tltrain.rl.batches import count_updates, plan_minibatches, plan_steps
from tltrain.rl.best import BestWeights
from tltrain.rl.config import PpoConfig
from tltrain.rl.critic import Critic
from tltrain.rl.curriculum_state import Curriculum
from tltrain.rl.episode_steps import (
    context_of,
    describe_episodes,
    draw_episodes,
    find_episodes,
    measure_episodes,
    show_episode,
)
from tltrain.rl.episodes import EpisodeRollout, Player
from tltrain.rl.experience import gain_experience, rows_to_learn
from tltrain.rl.health import find_warnings
from tltrain.rl.kl import AdaptiveKl
from tltrain.rl.prepare import find_prompts
from tltrain.rl.prompts import Prompt, PromptSet, split_heldout
from tltrain.rl.reward_audit import turn_of
from tltrain.rl.rollouts import Attempt, Drawn, Rollout, draw_rollouts, measure_heldout
from tltrain.rl.sampling_engine import make_engine
from tltrain.rl.scoring import RewardFunction, Scorer, function_name
from tltrain.rl.step_record import describe_drift, describe_rollouts, describe_times
from tltrain.rl.update import Updater
from tltrain.rl.worlds import EpisodePrompt
from tltrain.sft.batches import Step
from tltrain.stage import Progress, Reuse, Stage
from tltrain.syntax import get_syntax

_NUM_SHOWN = 8
"""Rollouts of a step that are kept for people to look at."""
_PROMPT_TAIL = 600
"""Characters of the prompt that are kept with them."""


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
    """What the SFT model got right on held-out prompts, see `measure_heldout`; empty where nothing was held out."""
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
        data: trajectories, JSON Lines of OpenAI chat messages with tools; right turns become prompts, see
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
        ModelError: the model cannot be loaded.
        UsageError: the folder is in use, or was begun with other settings, `config.compare` names a parameter that no
            tool of the data has, the tracker is not installed, or vLLM is not there.
        TltrainError: a loss or gradient ceased to be finite, or the reward function judges nothing; the last
            checkpoint is good.
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
    train: Sequence[Prompt | EpisodePrompt]
    heldout: Sequence[Prompt | EpisodePrompt]
    if config.episodes is not None:
        # each process makes its own: a task holds what opens its world
        quarantine = out / "quarantine.jsonl" if processes.is_main else None
        tasks, num_bad_rows = processes.in_each(
            lambda: find_episodes(config, loaded, syntax, data=data, quarantine=quarantine)
        )
        found = PromptSet(prompts=(), set_aside={}, left_out={})
        train, heldout = split_heldout(tasks, config.heldout_share, config.seed)
    else:
        found, num_bad_rows = processes.from_main(
            lambda: find_prompts(config, loaded, scorer, data=data, verdicts=verdicts, out=out)
        )
        train, heldout = split_heldout(found.prompts, config.heldout_share, config.seed)
    if config.keep == "best" and not heldout:
        error = DataError(
            f"{data}: has prompts of one trajectory only, and keep='best' holds some out; use keep='last'"
        )
        raise leave_to_the_first(error)
    trainer = _Trainer(config, loaded, scorer, processes, train=train, heldout=heldout, out=out)
    with closing(trainer):
        measured = trainer.run(tracker, progress)
    result: dict[str, Any] = {
        "num_prompts": len(train),
        "num_heldout": len(heldout),
        "num_set_aside": num_bad_rows + len(found.set_aside),
        "left_out": dict(found.left_out),
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

    def __init__(
        self,
        config: PpoConfig,
        loaded: LoadedModel,
        scorer: Scorer,
        processes: Processes,
        *,
        train: Sequence[Prompt | EpisodePrompt],
        heldout: Sequence[Prompt | EpisodePrompt],
        out: Path,
    ):
        self._config = config
        self._tokenizer = loaded.tokenizer
        self._scorer = scorer
        self._processes = processes
        self._train, self._heldout = train, heldout
        self._out = out
        self._steps = plan_steps(train, config)
        calls = [prompt for prompt in (*train, *heldout) if isinstance(prompt, Prompt)]
        self._curriculum = Curriculum(config, calls[: len(train)]) if config.curriculum else None
        sizes = [self._curriculum.num_prompts if self._curriculum else sum(map(len, step)) for step in self._steps]
        num_updates = [count_updates(size, config) for size in sizes]
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
        self._constrainer = make_constrainer(config.constrain, self.actor.model, loaded.tokenizer, scorer.syntax)
        self._engine = processes.in_each(
            lambda: make_engine(config, loaded.tokenizer, calls, device) if processes.is_main else None
        )
        self._player = (
            Player(
                loaded.tokenizer,
                scorer.syntax,
                config,
                context=context_of(loaded.model),
                constrainer=self._constrainer,
            )
            if config.episodes
            else None
        )
        self._kl = AdaptiveKl(config.kl_coef, target=config.kl_target, horizon=config.kl_horizon)
        self._updater = Updater(
            config, self.actor, self._critic, num_steps=self._first_updates[-1], processes=processes
        )
        self._best = BestWeights(self.actor.model) if config.keep == "best" else None

    def close(self) -> None:
        """End the engine that samples, where there is one."""
        if self._engine is not None:
            self._engine.close()

    @property
    def num_steps(self) -> int:
        """Rollout batches of the whole run."""
        return len(self._steps)

    def run(self, tracker: TrackerName | None, progress: Progress | None) -> _Measured:
        """Do all steps that no checkpoint has, and leave the weights that are to be kept in the actor."""
        modules = {"actor": self.actor.model, "critic": self._critic, "kl": self._kl}
        modules |= {"best": self._best} if self._best is not None else {}
        modules |= {"curriculum": self._curriculum} if self._curriculum is not None else {}
        optimizers = {"actor": self._updater.actor_optimizer, "critic": self._updater.critic_optimizer}
        checkpoints = self._out / "checkpoints"
        processes = self._processes
        first = processes.in_each(lambda: load_checkpoint(checkpoints, modules, optimizers))
        before = self._measure() if self._heldout and first == 0 else {}
        with ExitStack() as opened:
            logs = self._open_logs(tracker, first, opened) if processes.is_main else None
            rows = processes.from_main(self._read_rows)
            # every process has the same rows, and so decides alike
            for number in range(first, self.num_steps):
                row, rollouts = self._step(
                    number, self._curriculum.draw(number) if self._curriculum else self._steps[number]
                )
                if number == 0 and before:
                    row["heldout_before"] = before
                is_due = (number + 1) % self._config.evaluate_every == 0 or number + 1 == self.num_steps
                if is_due and self._heldout:
                    row["heldout"] = self._measure()
                known = {name for earlier in rows for name in earlier.get("warnings", {})}
                rows.append(row)
                row["warnings"] = {name: text for name, text in find_warnings(rows).items() if name not in known}
                is_stopped = not row["warnings"].keys().isdisjoint(self._config.stop_on)
                if is_stopped and self._heldout and "heldout" not in row:
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

    def _step(self, number: int, step: Step) -> tuple[dict[str, Any], Sequence[Attempt]]:
        """One rollout batch: sample and judge, look back with reference and critic, update; returns its metrics."""
        config, processes = self._config, self._processes
        times = [time.monotonic()]
        drawn = self._draw(number, step)
        if not drawn.rollouts:
            judge = "the environment judges none" if self._player else "the reward function judges none"
            rollouts = "episodes" if self._player else "completions"
            error = TltrainError(
                f"step {number}: {judge} of {len(drawn.unscored)} {rollouts}; correct it and "
                f"resume. The first: {drawn.unscored[0]}"
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
        if self._engine is not None:
            self._engine.forget_weights()
        times.append(time.monotonic())
        # what decides about later steps is worked out once, as processors may differ in the last digits
        described = processes.from_main(
            lambda: describe_rollouts(drawn, experience, kl_coef) | describe_drift(experience, config)
        )
        self._kl.update(described["kl_completion"], len(drawn.rollouts))
        if self._curriculum is not None:
            answered = [rollout for rollout in drawn.rollouts if isinstance(rollout, Rollout)]
            described |= self._curriculum.learn(step, answered)
        episodes = [rollout for rollout in drawn.rollouts if isinstance(rollout, EpisodeRollout)]
        described |= describe_episodes(episodes) if episodes else {}
        row = {"step": number} | described | {"num_learnt": len(rows)} | updated | describe_times(times, drawn)
        return row, drawn.rollouts

    def _draw(self, number: int, step: Step) -> Drawn:
        chosen = [[self._train[index] for index in group] for group in step]
        if self._player is not None:
            tasks = [[prompt for prompt in group if isinstance(prompt, EpisodePrompt)] for group in chosen]
            return draw_episodes(
                self._player, self.actor, tasks, config=self._config, step=number, processes=self._processes
            )
        return draw_rollouts(
            self.actor,
            self._tokenizer,
            [[prompt for prompt in group if isinstance(prompt, Prompt)] for group in chosen],
            scorer=self._scorer,
            config=self._config,
            step=number,
            constrainer=self._constrainer,
            engine=self._engine,
            processes=self._processes,
        )

    def _measure(self) -> dict[str, float | None]:
        if self._player is not None:
            tasks = [prompt for prompt in self._heldout if isinstance(prompt, EpisodePrompt)]
            measured = measure_episodes(self._player, self.actor, tasks, processes=self._processes)
        else:
            measured = measure_heldout(
                self.actor,
                self._tokenizer,
                [prompt for prompt in self._heldout if isinstance(prompt, Prompt)],
                scorer=self._scorer,
                config=self._config,
                constrainer=self._constrainer,
                processes=self._processes,
            )
        if self._best is not None:
            self._best.offer(self.actor.model, measured["reward"])
        return measured

    def _choose_shown(self, rollouts: Sequence[Attempt], number: int) -> list[dict[str, object]]:
        """Rows of rollouts.jsonl: some of a step, chosen at random."""
        rng = random.Random(f"{self._config.seed}:shown:{number}")
        chosen = sorted(rng.sample(range(len(rollouts)), min(_NUM_SHOWN, len(rollouts))))
        return [{"step": number} | self._show(rollouts[index]) for index in chosen]

    def _show(self, rollout: Attempt) -> dict[str, object]:
        if isinstance(rollout, EpisodeRollout):
            return show_episode(rollout, self._tokenizer, prompt_tail=_PROMPT_TAIL)
        return {
            "id": rollout.prompt.id,
            # a token stands for at least one character as a rule, so this many hold the tail
            "prompt": self._tokenizer.decode(rollout.prompt.ids[-_PROMPT_TAIL:])[-_PROMPT_TAIL:],
            "completion": rollout.text,
            "gold": gold_text(turn_of(rollout.prompt), self._scorer.syntax),
            "reward": rollout.score.value,
            "label": rollout.score.label,
            "is_finished": rollout.completion.is_finished,
        }

    def _read_measured(self) -> _Measured:
        """From the log, as a resumed run has not measured everything itself."""
        rows = self._read_rows()
        told = {name: f"step {row['step']}: {text}" for row in rows for name, text in row.get("warnings", {}).items()}
        return _Measured(rows[0].get("heldout_before") or {}, rows[-1].get("heldout") or {}, len(rows), told)

    def _read_rows(self) -> list[dict[str, Any]]:
        """The steps that the log has."""
        log = self._out / "metrics.jsonl"
        return [row for _, row in read_json_lines(log) if isinstance(row, dict)] if log.stat().st_size else []
