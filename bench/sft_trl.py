"""TRL's side of `bench/sft.py`: JOB RESULT, both JSON. Runs in TRL's own environment and imports nothing of tltrain.

A job has one setting to measure, or several to try one after the other in this process.
"""

import tempfile
from typing import Any

import accelerate
import torch
import transformers
import trl
from datasets import Dataset
from measure import Clock, Memory, fill_adapters, measure_matmul, read_job, write_result
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer
from trl.trainer import utils

_USE_TRITON = utils._use_triton


class Marks(TrainerCallback):
    """Marks where training begins and each optimizer step ends."""

    def __init__(self, clock: Clock):
        self._clock = clock

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._clock.mark()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._clock.mark()


class Trainer(SFTTrainer):
    """TRL's trainer, which also keeps the loss of each micro-batch before anything rounds it."""

    losses: list[float]

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


def main() -> None:
    job = read_job()
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if torch.cuda.is_available():
        model = model.to("cuda")
    results = []
    if job["lora"]:
        model = _add_lora(model, job["lora"])
    for setting in job["settings"]:
        memory = Memory(model)
        try:
            result = run(model, tokenizer, job, setting)
        except Exception as error:  # a setting that this machine cannot run is an answer too
            if len(job["settings"]) == 1:
                raise
            result = {"error": f"{type(error).__name__}: {error}"[:300]}
        results.append(result | {"setting": setting, "memory": memory.read()})
    versions = {package.__name__: package.__version__ for package in (trl, transformers, accelerate, torch)}
    write_result(
        {
            "results": results,
            "matmul": measure_matmul(job["precision"]),
            "threads": torch.get_num_threads(),
            "versions": versions,
        }
    )


def run(model: Any, tokenizer: Any, job: dict[str, Any], setting: dict[str, Any]) -> dict[str, Any]:
    """Train on the job's steps with a setting."""
    steps = job["steps"]
    rows = [{"input_ids": row["input_ids"], "labels": row["labels"]} for step in steps for row in step]
    batch_size = setting["batch_size"]
    optimizer = job["optimizer"]
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=len(steps[0]) // batch_size,
            max_steps=len(steps),
            train_sampling_strategy="sequential",
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
            padding_free=setting["padding_free"],
            loss_type="nll",
            gradient_checkpointing=False,
            bf16=job["precision"] == "bfloat16",
            use_cpu=not torch.cuda.is_available(),
            optim="adamw_torch_fused",
            learning_rate=optimizer["learning_rate"],
            adam_beta1=optimizer["adam_beta1"],
            adam_beta2=optimizer["adam_beta2"],
            weight_decay=optimizer["weight_decay"],
            max_grad_norm=optimizer["max_grad_norm"],
            lr_scheduler_type="constant",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        clock = Clock()
        trainer = Trainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[Marks(clock)],
        )
        _score_labels_only(setting["head_at_labels"])
        trainer.losses = []
        trainer.train()
        logs = [row for row in trainer.state.log_history if "grad_norm" in row]
    per_step = len(steps[0]) // batch_size
    return {
        **clock.read(),
        "losses": [sum(trainer.losses[at : at + per_step]) for at in range(0, len(trainer.losses), per_step)],
        "grad_norms": [row["grad_norm"] for row in logs],
    }


def _add_lora(model: Any, settings: dict[str, Any]) -> Any:
    import peft

    config = peft.LoraConfig(
        r=settings["rank"], lora_alpha=settings["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
    )
    model = peft.get_peft_model(model, config)
    fill_adapters(model)
    return model


def _score_labels_only(is_wanted: bool) -> None:
    """Let TRL's chunked loss skip positions without a label on any device, as it does where Triton runs; or undo it."""
    utils._use_triton = (lambda device: True) if is_wanted else _USE_TRITON  # noqa: ARG005


if __name__ == "__main__":
    main()
