"""The stage `sft`: trajectories and verdicts in, a fine-tuned model out."""

import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from tltrain.engine.checkpoint import load_checkpoint, save_checkpoint, seed_step
from tltrain.engine.device import pick_device
from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.metrics import MetricsLog
from tltrain.engine.model import (
    LoadedModel,
    add_lora,
    checkpoint_activations,
    load_model,
    merge_lora,
    save_model,
)
from tltrain.engine.optimizer import Optimizer
from tltrain.engine.parallel import Processes, find_processes
from tltrain.engine.precision import autocast
from tltrain.engine.prefix_tree import plan_micro_batches
from tltrain.engine.sharding import gather_model, resolve_sharding, shard
from tltrain.engine.tree_attention import can_run_trees
from tltrain.sft.batches import Step, plan_epoch, share_step
from tltrain.sft.config import SftConfig
from tltrain.sft.heldout import measure_heldout
from tltrain.sft.loss import loss_coefficients, target_positions, weighted_nll
from tltrain.sft.samples import Sample, prepare_samples
from tltrain.stage import Progress, Reuse, Stage


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
    num_processes: int = 1
    """How many ended the run."""
    sharding: Literal["none", "fsdp"] = "none"
    """How they held the model."""


def sft(
    config: SftConfig,
    *,
    data: Path,
    model: str | Path,
    out: Path,
    verdicts: Path | None = None,
    validation: Path | None = None,
    reuse: Reuse = Reuse.REFUSE,
    progress: Progress | None = None,
) -> SftResult:
    """Fine-tune a model on trajectories, wrong calls blocked and key tokens weighted.

    Several processes (`accelerate launch`, `torchrun`) share the samples of each step, and the model too where
    `config.sharding` says so; their number changes nothing but time and memory, and a run goes on with another number
    of them.

    Writes into `out`: model/ (weights, tokenizer with chat template), metrics.jsonl (a row a step), samples.jsonl
    (tokens and weights of some trajectories), quarantine.jsonl (rows set aside, with reasons), checkpoints/ while it
    runs. A run that was killed goes on from its last checkpoint and ends as if it had not been.

    Args:
        config: settings.
        data: trajectories, in any known format.
        model: see `load_model`.
        out: folder of the stage.
        verdicts: verdicts.jsonl of `audit`; None audits the data on the way.
        validation: trajectories to measure on during training, in place of a share of the data.
        reuse: what to do with a folder that was used before.
        progress: told how far it is.

    Raises:
        DataError: no row is left to train on.
        ModelError: the model cannot be loaded.
        UsageError: the folder is in use, or was begun with other settings.
        TltrainError: loss or gradient ceased to be finite.
    """
    processes = find_processes()
    inputs = {"data": data, "model": Path(model), "verdicts": verdicts, "validation": validation}
    stage = processes.from_main(
        lambda: Stage(out, name="sft", config=config, inputs=inputs, reuse=reuse, is_shared=True)
    )
    if stage.is_done:
        return _result(out, stage.result)
    loaded = load_model(model, base=config.lora.base if config.lora else "full")
    prepared = processes.from_main(
        lambda: prepare_samples(config, loaded.tokenizer, data=data, verdicts=verdicts, validation=validation, out=out)
    )
    train, heldout = prepared.train, prepared.heldout
    steps = _plan(train, config)
    trainee = Trainee(config, loaded, processes, num_steps=len(steps))
    measurement = trainee.run(train, heldout, steps, out, progress)
    result: dict[str, Any] = {"num_trained": len(train), "num_set_aside": prepared.num_bad, "num_steps": len(steps)}
    result |= {"num_processes": processes.size, "sharding": trainee.sharding}
    gather_model(trainee.model, processes)

    def finish() -> dict[str, Any]:
        save_model(merge_lora(trainee.model, model), loaded.tokenizer, out / "model")
        stage.finish(result | {"heldout": measurement})
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        return stage.result

    return _result(out, processes.from_main(finish))


def _result(out: Path, saved: Mapping[str, Any]) -> SftResult:
    return SftResult(model=out / "model", **saved)


def _plan(train: Sequence[Sample], config: SftConfig) -> list[Step]:
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


class Trainee:
    """The model that trains, its optimizer, and the loop over steps."""

    def __init__(self, config: SftConfig, loaded: LoadedModel, processes: Processes, *, num_steps: int):
        self._config = config
        self._processes = processes
        self._device = pick_device()
        seed_step(config.seed, "initial weights", 0)
        model = add_lora(loaded.model, config.lora) if config.lora else loaded.model
        if config.activation_checkpointing:
            checkpoint_activations(model)
        self.sharding = resolve_sharding(config.sharding, processes)
        self._is_sharded = self.sharding == "fsdp"
        self.model = shard(model, processes) if self._is_sharded else model.to(self._device)
        self._optimizer = Optimizer(self.model.parameters(), config.optimizer, num_steps, processes)

    def run(
        self,
        train: Sequence[Sample],
        heldout: Sequence[Sample],
        steps: Sequence[Step],
        out: Path,
        progress: Progress | None,
    ) -> dict[str, float | None]:
        """Do all steps that no checkpoint has; returns the last held-out measurement."""
        modules, optimizers = {"model": self.model}, {"model": self._optimizer}
        first = load_checkpoint(out / "checkpoints", modules, optimizers)
        is_main = self._processes.is_main
        log = MetricsLog(out / "metrics.jsonl", resumed_step=first) if is_main else None
        num_parts = self._config.num_evaluations
        measured_at = {round(len(steps) * (part + 1) / num_parts) - 1 for part in range(num_parts)}
        measurement: dict[str, float | None] = {}
        for number in range(first, len(steps)):
            start = time.monotonic()
            # every process draws for itself; the first what a lone one would
            seed_step(self._config.seed, f"step{self._processes.rank or ''}", number)
            outcome = self._optimizer.step(self._losses(steps[number], train), number)
            num_tokens = sum(len(train[index].rendered.input_ids) for group in steps[number] for index in group)
            row: dict[str, object] = {
                "step": number,
                "loss": outcome.loss,
                "lr": outcome.learning_rate,
                "grad_norm": outcome.grad_norm,
                "num_tokens": num_tokens,
                "tokens_per_second": round(num_tokens / (time.monotonic() - start), 1),
            }
            if heldout and number in measured_at and (is_main or self._is_sharded):
                measurement = self._measure(heldout)
                row["heldout"] = measurement
            if log is not None:
                log.write(row)
            if (number + 1) % self._config.checkpoint_every == 0 and number + 1 < len(steps):
                save_checkpoint(out / "checkpoints", number + 1, modules, optimizers, self._processes)
            if progress and is_main:
                progress(number + 1, len(steps), f"loss {outcome.loss:.3f}")
        if log is not None:
            log.close()
        return measurement

    def _losses(self, step: Step, train: Sequence[Sample]) -> Iterator[Tensor]:
        """The loss of each micro-batch of this process, normalised over the whole step."""
        config = self._config
        indices = [index for group in step for index in group]
        coefficients = loss_coefficients([train[index].rendered for index in indices], config.normalisation)
        factor_of = dict(zip(indices, coefficients, strict=True))
        if self._processes.size > 1:
            sizes = [len(sample.rendered.input_ids) for sample in train]
            indices = share_step(step, sizes, self._processes.size)[self._processes.rank]
        own = [train[index].rendered for index in indices]
        factors = [factor_of[index] for index in indices]
        sequences = [TargetSequence(rendered.input_ids, target_positions(rendered)) for rendered in own]
        micro_batches = plan_micro_batches(
            [rendered.input_ids for rendered in own], self._max_tokens(), share=config.share_prefixes
        )
        if self._is_sharded:  # all make equally many passes: those who have fewer micro-batches add some of no weight
            num_missing = self._processes.max(len(micro_batches)) - len(micro_batches)
            micro_batches = [*micro_batches, *[(len(own),)] * num_missing]
            sequences.append(TargetSequence([0, 0], [1]))
            factors.append([0.0])
        self.model.train()
        for batch in micro_batches:
            with autocast(config.precision, self._device.type):
                output = target_scores(
                    self.model, [sequences[index] for index in batch], share_prefix=config.share_prefixes
                )
            yield weighted_nll(output.scores.logprobs, [factors[index] for index in batch])

    def _max_tokens(self) -> int:
        # processes that share a model make equally many passes, and a model without trees makes one for each sequence
        is_one_by_one = self._is_sharded and not can_run_trees(self.model)
        return 1 if is_one_by_one else self._config.micro_batch_tokens

    def _measure(self, heldout: Sequence[Sample]) -> dict[str, float | None]:
        with autocast(self._config.precision, self._device.type):
            return measure_heldout(
                self.model,
                [sample.rendered for sample in heldout],
                max_tokens=self._config.micro_batch_tokens,
                share_prefixes=self._config.share_prefixes,
            )
