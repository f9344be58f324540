"""TRL's side of `bench/ppo.py`: JOB RESULT, both JSON. Runs in TRL's own environment and imports nothing of tltrain."""

import tempfile
import time
from typing import Any

import accelerate
import torch
import transformers
import trl
from datasets import Dataset
from measure import Clock, read_job, read_peak, write_result
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.trainer import utils


class Marks(TrainerCallback):
    """Marks where each optimizer step begins and ends; sampling is part of it."""

    def __init__(self, clock: Clock):
        self._clock = clock

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._clock.mark()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._clock.mark()


class Trainer(GRPOTrainer):
    """TRL's trainer, which also keeps how long sampling took and how much there was."""

    seconds_rollout = 0.0
    num_prompt_tokens = num_tokens = num_samples = 0

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        completion_ids, logprobs = super()._generate_single_turn(prompt_ids, *args, **options)
        self.seconds_rollout += time.perf_counter() - start
        self.num_prompt_tokens += sum(map(len, prompt_ids))
        self.num_tokens += sum(map(len, completion_ids))
        self.num_samples += len(completion_ids)
        return completion_ids, logprobs


def main() -> None:
    job = read_job()
    # its head skips positions without a label where Triton runs alone; so it does here, too, which is faster
    utils._use_triton = lambda device: True  # noqa: ARG005
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    texts = [prompt["text"] for prompt in job["prompts"]]
    for prompt in job["prompts"]:
        if tokenizer(prompt["text"])["input_ids"] != prompt["ids"]:
            raise SystemExit("a prompt is other tokens when it is read from its text")
    num_samples = job["num_prompts"] * job["group_size"]
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=job["trl_batch_size"],
            gradient_accumulation_steps=num_samples // job["trl_batch_size"],
            steps_per_generation=num_samples // job["trl_batch_size"],
            num_generations=job["group_size"],
            max_completion_length=job["new_tokens"],
            generation_kwargs={"min_new_tokens": job["new_tokens"]},
            beta=job["kl_coef"],
            num_iterations=1,
            max_steps=1,
            learning_rate=job["learning_rate"],
            shuffle_dataset=False,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=not torch.cuda.is_available(),
            optim="adamw_torch_fused",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        clock = Clock()
        trainer = Trainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_list([{"prompt": text} for text in texts]),
            reward_funcs=lambda completions, **_: [float(len(set(text))) for text in completions],
            processing_class=tokenizer,
            callbacks=[Marks(clock)],
        )
        trainer.train()
    measured = clock.read()
    write_result(
        {
            "samples": trainer.num_samples,
            "tokens": trainer.num_tokens,
            "prompt_tokens": trainer.num_prompt_tokens,
            "seconds": measured["seconds"][0],
            "cpu_seconds": measured["cpu_seconds"][0],
            "seconds_rollout": trainer.seconds_rollout,
            "peak": read_peak(),
            "versions": {package.__name__: package.__version__ for package in (trl, transformers, accelerate, torch)},
        }
    )


if __name__ == "__main__":
    main()
