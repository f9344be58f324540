"""The stage `sft`: trajectories and verdicts in, a fine-tuned model out."""

import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from tltrain.engine.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint, seed_step
from tltrain.engine.compiled import check_not_sharded, compile_blocks
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
from tltrain.engine.optimizer import NotFiniteError, Optimizer
from tltrain.engine.parallel import Processes, find_processes
from tltrain.engine.precision import autocast
from tltrain.engine.prefix_tree import TrunkGroups, plan_micro_batches, plan_trunks
from tltrain.engine.settings import HeldAs, TrackerName
from tltrain.engine.sharding import gather_model, resolve_sharding, shard
from tltrain.engine.tracking import Tracker, check_tracker
from tltrain.engine.tree_attention import Trunk, can_run_trees
from tltrain.engine.zero import ZeroOptimizer
from tltrain.errors import DataError, TltrainError
from tltrain.render.template import template_name
from tltrain.sft.batches import Step, plan_epoch, share_step
from tltrain.sft.best import BestWeights, Measurement, best_of, is_time_to_stop, read_history
from tltrain.sft.config import SftConfig
from tltrain.sft.heldout import is_measurable, measure_heldout
from tltrain.sft.loss import loss_coefficients, target_positions, weighted_nll
from tltrain.sft.samples import Sample, prepare_samples
from tltrain.sft.step_record import StepRecord
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
    """Steps that were done."""
    heldout: Mapping[str, float | None]
    """What was measured with the kept weights, see `sft.heldout`; empty where nothing was held out."""
    num_kept_steps: int | None = None
    """Steps after which the kept weights were."""
    num_cut: int = 0
    """Rows that do without some of their tools, see `SftConfig.overlong`; listed in cut_tools.jsonl."""
    chat_template: str = ""
    """Name of the chat template that is saved with the model: the model's own, or tltrain's where that shows no
    tools."""
    num_processes: int = 1
    """How many ended the run."""
    sharding: HeldAs = "none"
    """How they held the model."""


def sft(
    config: SftConfig,
    *,
    data: Path,
    model: str | Path,
    out: Path,
    verdicts: Path | None = None,
    validation: Path | None = None,
    tracker: TrackerName | None = None,
    reuse: Reuse = Reuse.REFUSE,
    progress: Progress | None = None,
) -> SftResult:
    """Fine-tune a model on trajectories, wrong calls blocked and key tokens weighted.

    Several processes (`accelerate launch`, `torchrun`) share the samples of each step, and the model too where
    `config.sharding` says so; their number changes nothing but time and memory, and a run goes on with another number
    of them.

    Writes into `out`: model/ (weights, tokenizer with chat template), metrics.jsonl (a row a step), samples.jsonl
    (tokens and weights of some trajectories), quarantine.jsonl (rows set aside, with reasons), cut_tools.jsonl (rows
    that do without some of their tools), checkpoints/ while it runs. A run that was killed goes on from its last
    checkpoint and ends as if it had not been.

    A row of metrics.jsonl has, besides the loss of the step, `spans`: for each `SpanKind` nll and accuracy of its
    tokens in the same forward pass, before the update.

    Args:
        config: settings.
        data: trajectories, in any known format.
        model: see `load_model`.
        out: folder of the stage.
        verdicts: verdicts.jsonl of `audit`; None audits the data on the way.
        validation: trajectories to measure on during training, in place of a share of the data.
        tracker: also gets the rows of metrics.jsonl; it changes nothing else.
        reuse: what to do with a folder that was used before.
        progress: told how far it is.

    Raises:
        DataError: no row is left to train on, rows are too long and `config.overlong` says to refuse, or nothing is
            held out by which `config.keep` or `config.patience` could decide.
        ModelError: the model cannot be loaded.
        UsageError: the folder is in use, or was begun with other settings, or the tracker is not installed.
        TltrainError: loss or gradient ceased to be finite; it names the rows, and the last checkpoint stays.
    """
    check_tracker(tracker)
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
    _check_heldout(heldout, config)
    steps = _plan(train, config)
    trainee = Trainee(config, loaded, processes, num_steps=len(steps))
    ended = trainee.run(train, heldout, steps, out, tracker, progress)
    result: dict[str, Any] = {
        "num_trained": len(train),
        "num_set_aside": prepared.num_bad,
        "num_steps": ended.num_steps,
        "heldout": ended.kept.scores,
        "num_kept_steps": ended.kept.num_steps,
        "num_cut": prepared.num_cut,
        "chat_template": template_name(loaded.tokenizer),
        "num_processes": processes.size,
        "sharding": trainee.sharding,
    }
    gather_model(trainee.model, processes)

    def finish() -> dict[str, Any]:
        save_model(merge_lora(trainee.model, model), loaded.tokenizer, out / "model")
        stage.finish(result)
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        return stage.result

    return _result(out, processes.from_main(finish))


def _result(out: Path, saved: Mapping[str, Any]) -> SftResult:
    return SftResult(model=out / "model", **saved)


def _check_heldout(heldout: Sequence[Sample], config: SftConfig) -> None:
    """That there is something to measure, if measurements decide anything."""
    if config.keep == "last" and config.patience is None:
        return
    if not is_measurable([sample.rendered for sample in heldout], config.best_by):
        found = f"{len(heldout)} held-out trajectories have nothing" if heldout else "no trajectory is held out"
        setting = "keep='best'" if config.keep == "best" else f"patience={config.patience}"
        raise DataError(
            f"{setting} goes by {config.best_by}, and {found} to measure it by; raise heldout_share (now "
            f"{config.heldout_share}), give validation data, or set keep=last and patience=null"
        )


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


class _Ended(NamedTuple):
    """How the loop over steps ended."""

    num_steps: int
    """Steps that were done."""
    kept: Measurement
    """What was measured with the weights that are now in the model; no scores where nothing was held out."""


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
        self._passes_alike = self.sharding in ("fsdp", "zero1", "zero2")
        self.model = shard(model, processes) if self._is_sharded else model.to(self._device)
        if config.compile:
            check_not_sharded(self.sharding)
            compile_blocks(self.model, self._device.type)
        settings = (self.model.parameters(), config.optimizer, num_steps, processes)
        if self.sharding in ("zero1", "zero2"):
            self._optimizer: Optimizer = ZeroOptimizer(*settings, stage=int(self.sharding[-1]))
        else:
            self._optimizer = Optimizer(*settings)

    def run(
        self,
        train: Sequence[Sample],
        heldout: Sequence[Sample],
        steps: Sequence[Step],
        out: Path,
        tracker: TrackerName | None,
        progress: Progress | None,
    ) -> _Ended:
        """Do all steps that no checkpoint has, or as many as `config.patience` lets; the kept weights are in the model
        afterwards.
        """
        config, checkpoints = self._config, out / "checkpoints"
        modules, optimizers = {"model": self.model}, {"model": self._optimizer}
        num_done = load_checkpoint(checkpoints, modules, optimizers)
        is_main = self._processes.is_main
        history = self._processes.from_main(lambda: read_history(out / "metrics.jsonl", num_steps=num_done))
        best_weights = BestWeights(checkpoints / "best") if config.keep == "best" else None
        num_parts = config.num_evaluations
        measured_at = {round(len(steps) * (part + 1) / num_parts) for part in range(num_parts)} if heldout else set()
        with self._open_log(out, tracker, num_done) if is_main else nullcontext() as log:
            # every process has the same measurements, and so decides alike
            while num_done < len(steps) and not is_time_to_stop(history, config):
                row = self._step(num_done, steps[num_done], train, checkpoints)
                num_done += 1
                if num_done in measured_at:
                    history.append(Measurement(num_done, self._measure_alike(heldout)))
                    row["heldout"] = history[-1].scores
                best = best_of(history, config.best_by)
                if best_weights and best and best.num_steps == num_done:
                    best_weights.save(self.model, num_done, self._processes)
                if log is not None:
                    log.write(row)
                if num_done % config.checkpoint_every == 0 and num_done < len(steps):
                    save_checkpoint(checkpoints, num_done, modules, optimizers, self._processes)
                    if best_weights and best and is_main:
                        best_weights.remove_others(best.num_steps)
                if progress and is_main:
                    progress(num_done, len(steps), f"loss {row['loss']:.3f}")
        if progress and is_main and num_done < len(steps):
            progress(num_done, num_done, f"{config.best_by} is no better since {config.patience} measurements")
        kept = best_of(history, config.best_by) if best_weights else next(reversed(history), None)
        if best_weights and kept and kept.num_steps < num_done:
            best_weights.restore(self.model, kept.num_steps)
            self._processes.sum(0.0)  # the first removes the checkpoints when all have read
        return _Ended(num_done, kept or Measurement(num_done, {}))

    def _open_log(self, out: Path, tracker: TrackerName | None, num_done: int) -> MetricsLog:
        settings = self._config.model_dump(mode="json")
        shown = Tracker(tracker, out, settings=settings, resumed_step=num_done) if tracker else None
        return MetricsLog(out / "metrics.jsonl", resumed_step=num_done, tracker=shown)

    def _step(self, number: int, step: Step, train: Sequence[Sample], checkpoints: Path) -> dict[str, Any]:
        """One optimizer step; its row of metrics.jsonl."""
        start = time.monotonic()
        # every process draws for itself; the first what a lone one would
        seed_step(self._config.seed, f"step{self._processes.rank or ''}", number)
        record = StepRecord()
        try:
            outcome = self._optimizer.step(self._losses(step, train, record), number)
        except NotFiniteError as error:
            ids = [train[index].rendered.id for group in step for index in group]
            raise record.explain(error, ids, newest_checkpoint(checkpoints)) from error
        num_tokens = sum(len(train[index].rendered.input_ids) for group in step for index in group)
        return {
            "step": number,
            "loss": outcome.loss,
            "lr": outcome.learning_rate,
            "grad_norm": outcome.grad_norm,
            "num_tokens": num_tokens,
            "tokens_per_second": round(num_tokens / (time.monotonic() - start), 1),
            "spans": record.spans(self._processes),
        }

    def _losses(self, step: Step, train: Sequence[Sample], record: StepRecord) -> Iterator[Tensor]:
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
        if self._passes_alike:  # all make equally many: those who have fewer micro-batches add some of no weight
            num_missing = self._processes.max(len(micro_batches)) - len(micro_batches)
            micro_batches = [*micro_batches, *[(len(own),)] * num_missing]
            sequences.append(TargetSequence([0, 0], [1]))
            factors.append([0.0])
        self.model.train()
        for trunk_length, batches in self._plan_trunks(sequences, micro_batches):
            trunk = None
            if trunk_length:
                with autocast(config.precision, self._device.type):
                    trunk = Trunk(self.model, sequences[batches[0][0]].ids[:trunk_length])
            for batch in batches:
                with autocast(config.precision, self._device.type):
                    output = target_scores(
                        self.model,
                        [sequences[index] for index in batch],
                        share_prefix=config.share_prefixes,
                        trunk=trunk,
                    )
                loss = weighted_nll(output.scores.logprobs, [factors[index] for index in batch])
                if batch[0] < len(own):
                    record.add([own[index] for index in batch], output.scores, loss)
                del output  # what it keeps is freed as soon as the loss has run backward
                yield loss
            if trunk is not None:
                yield trunk.backward_loss()

    def _plan_trunks(
        self, sequences: Sequence[TargetSequence], micro_batches: Sequence[tuple[int, ...]]
    ) -> list[TrunkGroups]:
        """Micro-batches, joined where they begin alike; processes that add up gradients pass by pass do not."""
        if self._passes_alike or not self._config.share_prefixes or not can_run_trees(self.model):
            return [TrunkGroups(0, [batch]) for batch in micro_batches]
        first_targets = [min(sequence.positions, default=len(sequence.ids)) for sequence in sequences]
        return plan_trunks([sequence.ids for sequence in sequences], micro_batches, first_targets)

    def _max_tokens(self) -> int:
        # processes that share a model make equally many passes, and a model without trees makes one for each sequence
        is_one_by_one = self._is_sharded and not can_run_trees(self.model)
        return 1 if is_one_by_one else self._config.micro_batch_tokens

    def _measure_alike(self, heldout: Sequence[Sample]) -> dict[str, float | None]:
        """The same numbers in every process; those that share a model work them out together."""
        if not self._is_sharded:
            return self._processes.from_main(lambda: self._measure(heldout))
        scores = self._measure(heldout)
        return self._processes.from_main(lambda: scores)

    def _measure(self, heldout: Sequence[Sample]) -> dict[str, float | None]:
        with autocast(self._config.precision, self._device.type):
            scores = measure_heldout(
                self.model,
                [sample.rendered for sample in heldout],
                max_tokens=self._config.micro_batch_tokens,
                share_prefixes=self._config.share_prefixes,
            )
        if not math.isfinite(scores["nll"] or 0.0):
            raise TltrainError(
                f"the nll of held-out trajectories is {scores['nll']}; lower optimizer.learning_rate (now "
                f"{self._config.optimizer.learning_rate})"
            )
        return scores
