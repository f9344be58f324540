"""The stage `sft`: trajectories and verdicts in, a fine-tuned model out."""

import math
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tltrain.audit.run import audit_trajectories, blocked_calls, read_verdicts
from tltrain.engine.checkpoint import load_checkpoint, save_checkpoint, seed_step
from tltrain.engine.device import pick_device
from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.metrics import MetricsLog
from tltrain.engine.model import LoadedModel, add_lora, load_model, merge_lora, save_model
from tltrain.engine.optimizer import Optimizer
from tltrain.engine.precision import autocast
from tltrain.engine.prefix_tree import plan_micro_batches
from tltrain.errors import DataError
from tltrain.files import JsonLinesWriter
from tltrain.formats.read import read_trajectories
from tltrain.render.conversation import render
from tltrain.render.rendered import RenderedTrajectory
from tltrain.render.template import ensure_tool_template
from tltrain.render.tokens_view import token_rows
from tltrain.sft.answers import calls_alone, keeps_answers
from tltrain.sft.batches import Step, plan_epoch
from tltrain.sft.config import SftConfig
from tltrain.sft.heldout import measure_heldout
from tltrain.sft.loss import loss_coefficients, target_positions, weighted_nll
from tltrain.stage import Progress, Reuse, Stage
from tltrain.syntax import get_syntax
from tltrain.types import Trajectory

_NUM_SHOWN = 40
"""Trajectories whose tokens and weights are kept for people to look at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SftResult:
    """Where the model is and how training went."""

    model: Path
    num_trained: int
    """Trajectories that were trained on."""
    num_set_aside: int
    """Rows that could not be read or trained on; listed in quarantine.jsonl."""
    num_steps: int
    heldout: Mapping[str, float | None]
    """The last held-out measurement; empty where nothing was held out."""


@dataclass(frozen=True, slots=True)
class _Sample:
    rendered: RenderedTrajectory
    key: int
    """Equal for trajectories with the same tool list."""


def sft(
    config: SftConfig,
    *,
    data: Path,
    model: str | Path,
    out: Path,
    verdicts: Path | None = None,
    reuse: Reuse = Reuse.REFUSE,
    progress: Progress | None = None,
) -> SftResult:
    """Fine-tune a model on trajectories, wrong calls blocked and key tokens weighted.

    Writes into `out`: model/ (weights, tokenizer with chat template), metrics.jsonl (a row a step), samples.jsonl
    (tokens and weights of some trajectories), quarantine.jsonl (rows set aside, with reasons), checkpoints/ while it
    runs. A run that was killed goes on from its last checkpoint and ends as if it had not been.

    Args:
        config: settings.
        data: trajectories, JSON Lines of OpenAI chat messages with tools.
        model: see `load_model`.
        out: folder of the stage.
        verdicts: verdicts.jsonl of `audit`; None audits the data on the way.
        reuse: what to do with a folder that was used before.
        progress: told how far it is.

    Raises:
        DataError: no row is left to train on.
        ModelError: the model cannot be loaded.
        UsageError: the folder is in use, or was begun with other settings.
        TltrainError: loss or gradient ceased to be finite.
    """
    stage = Stage(
        out, name="sft", config=config, inputs={"data": data, "model": Path(model), "verdicts": verdicts}, reuse=reuse
    )
    if stage.is_done:
        return _result(out, stage.result)
    loaded = load_model(model)
    samples, num_bad = _prepare(config, loaded.tokenizer, data=data, verdicts=verdicts, out=out)
    train, heldout = _split(samples, config)
    steps = _plan(train, config)
    trainee = _Trainee(config, loaded, num_steps=len(steps))
    measurement = trainee.run(train, heldout, steps, out, progress)
    save_model(merge_lora(trainee.model), loaded.tokenizer, out / "model")
    stage.finish({"num_trained": len(train), "num_set_aside": num_bad, "num_steps": len(steps), "heldout": measurement})
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return _result(out, stage.result)


def _result(out: Path, saved: Mapping[str, Any]) -> SftResult:
    return SftResult(model=out / "model", **saved)


def _prepare(
    config: SftConfig, tokenizer: Any, *, data: Path, verdicts: Path | None, out: Path
) -> tuple[list[_Sample], int]:
    """Read, block and render; rows that cannot be trained on go to the quarantine file."""
    quarantine = out / "quarantine.jsonl"
    quarantine.unlink(missing_ok=True)
    read = read_trajectories(data, quarantine=quarantine)
    found = read_verdicts(verdicts) if verdicts else audit_trajectories(read.trajectories)
    blocked = blocked_calls(found, policy=config.block)
    syntax = get_syntax(ensure_tool_template(tokenizer))
    samples: list[_Sample] = []
    keys: dict[str, int] = {}
    num_bad = read.num_bad
    for trajectory in read.trajectories:
        try:
            rendered = render(
                trajectory,
                tokenizer,
                syntax,
                blocked=blocked.get(trajectory.id, frozenset()),
                weighting=config.weighting,
                max_length=config.max_length,
            )
        except DataError as error:
            num_bad += 1
            _set_aside(quarantine, data, trajectory, error)
            continue
        if not keeps_answers(trajectory.id, config.answer_share, config.seed):
            rendered = calls_alone(rendered)
        samples.append(_Sample(rendered, keys.setdefault(repr(trajectory.tools), len(keys))))
    if not samples:
        raise DataError(f"{data}: no row is left to train on; {quarantine} has the reason for each")
    _show_samples(samples, tokenizer, out / "samples.jsonl")
    return samples, num_bad


def _set_aside(quarantine: Path, data: Path, trajectory: Trajectory, error: DataError) -> None:
    with JsonLinesWriter(quarantine) as writer:
        writer.write({"file": str(data), "id": trajectory.id, "reason": str(error)})


def _show_samples(samples: Sequence[_Sample], tokenizer: Any, path: Path) -> None:
    path.unlink(missing_ok=True)
    with JsonLinesWriter(path) as writer:
        for sample in samples[:_NUM_SHOWN]:
            calls = [
                {
                    "number": call.number,
                    "num_key": call.num_key,
                    "num_nonkey": call.num_nonkey,
                    "weight": call.weight,
                    "blocked": call.blocked,
                }
                for call in sample.rendered.calls
            ]
            tokens = token_rows(sample.rendered, tokenizer)
            writer.write({"id": sample.rendered.id, "tokens": tokens, "calls": calls})


def _split(samples: Sequence[_Sample], config: SftConfig) -> tuple[list[_Sample], list[_Sample]]:
    """Training and held-out samples; at least one trains."""
    num_heldout = min(round(config.heldout_share * len(samples)), len(samples) - 1)
    chosen = set(random.Random(f"{config.seed}:heldout").sample(range(len(samples)), num_heldout))
    train = [sample for index, sample in enumerate(samples) if index not in chosen]
    return train, [samples[index] for index in sorted(chosen)]


def _plan(train: Sequence[_Sample], config: SftConfig) -> list[Step]:
    steps: list[Step] = []
    for epoch in range(math.ceil(config.num_epochs)):
        steps += plan_epoch(
            [sample.key for sample in train],
            batch_size=config.batch_size,
            group_size=config.group_size,
            seed=config.seed,
            epoch=epoch,
        )
    a_epoch = len(steps) / math.ceil(config.num_epochs)
    return steps[: max(1, round(config.num_epochs * a_epoch))]


class _Trainee:
    """The model that trains, its optimizer, and the loop over steps."""

    def __init__(self, config: SftConfig, loaded: LoadedModel, *, num_steps: int):
        self._config = config
        self._device = pick_device()
        seed_step(config.seed, "initial weights", 0)
        model = add_lora(loaded.model, config.lora) if config.lora else loaded.model
        self.model = model.to(self._device)
        self._optimizer = Optimizer(self.model.parameters(), config.optimizer, num_steps)

    def run(
        self,
        train: Sequence[_Sample],
        heldout: Sequence[_Sample],
        steps: Sequence[Step],
        out: Path,
        progress: Progress | None,
    ) -> dict[str, float | None]:
        """Do all steps that no checkpoint has; returns the last held-out measurement."""
        modules, optimizers = {"model": self.model}, {"model": self._optimizer}
        first = load_checkpoint(out / "checkpoints", modules, optimizers)
        log = MetricsLog(out / "metrics.jsonl", resumed_step=first)
        num_parts = self._config.num_evaluations
        measured_at = {round(len(steps) * (part + 1) / num_parts) - 1 for part in range(num_parts)}
        measurement: dict[str, float | None] = {}
        for number in range(first, len(steps)):
            start = time.monotonic()
            seed_step(self._config.seed, "step", number)
            rows = [train[index].rendered for group in steps[number] for index in group]
            outcome = self._optimizer.step(self._losses(rows), number)
            num_tokens = sum(len(rendered.input_ids) for rendered in rows)
            row: dict[str, object] = {
                "step": number,
                "loss": outcome.loss,
                "lr": outcome.learning_rate,
                "grad_norm": outcome.grad_norm,
                "num_tokens": num_tokens,
                "tokens_per_second": round(num_tokens / (time.monotonic() - start), 1),
            }
            if heldout and number in measured_at:
                measurement = self._measure(heldout)
                row["heldout"] = measurement
            log.write(row)
            if (number + 1) % self._config.checkpoint_every == 0 and number + 1 < len(steps):
                save_checkpoint(out / "checkpoints", number + 1, modules, optimizers)
            if progress:
                progress(number + 1, len(steps), f"loss {outcome.loss:.3f}")
        log.close()
        return measurement

    def _losses(self, step: Sequence[RenderedTrajectory]) -> Iterator[Tensor]:
        """The loss of each micro-batch, normalised over the whole step."""
        config = self._config
        factors = loss_coefficients(step, config.normalisation)
        sequences = [TargetSequence(rendered.input_ids, target_positions(rendered)) for rendered in step]
        micro_batches = plan_micro_batches(
            [rendered.input_ids for rendered in step], config.micro_batch_tokens, share=config.share_prefixes
        )
        self.model.train()
        for batch in micro_batches:
            with autocast(config.precision, self._device.type):
                output = target_scores(
                    self.model, [sequences[index] for index in batch], share_prefix=config.share_prefixes
                )
            yield weighted_nll(output.scores.logprobs, [factors[index] for index in batch])

    def _measure(self, heldout: Sequence[_Sample]) -> dict[str, float | None]:
        with autocast(self._config.precision, self._device.type):
            return measure_heldout(
                self.model,
                [sample.rendered for sample in heldout],
                max_tokens=self._config.micro_batch_tokens,
                share_prefixes=self._config.share_prefixes,
            )
