"""tltrain's side of `bench/ppo.py`: JOB RESULT, both JSON. The step runs through `tltrain ppo` itself."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from measure import Clock, read_job, read_peak, write_result

from tltrain.engine.model import load_tokenizer
from tltrain.engine.settings import OptimizerConfig
from tltrain.files import read_json_lines
from tltrain.rl import rollouts
from tltrain.rl.config import PpoConfig
from tltrain.rl.train import ppo
from tltrain.rollout.sampler import Completion, sample


def main() -> None:
    write_result(measure(read_job()))


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Do the step of a job."""
    config = PpoConfig(
        prompts_per_step=job["num_prompts"],
        samples_per_prompt=job["group_size"],
        group_size=job["num_prompts"],
        max_prompts=4 * job["num_prompts"],
        max_prompt_length=job["max_prompt_length"],
        max_new_tokens=job["new_tokens"],
        max_steps=1,
        rollout_batch_size=job["num_prompts"] * job["group_size"],
        minibatch_size=job["num_prompts"] * job["group_size"],
        micro_batch_tokens=job["micro_batch_tokens"],
        num_updates=1,
        advantage="grpo",
        whiten_advantages=False,
        kl_in="loss",
        kl_estimator="k3",
        kl_coef=job["kl_coef"],
        actor_optimizer=OptimizerConfig(learning_rate=job["learning_rate"]),
        bad_gold="drop",
        heldout_share=0,
        precision="float32",
    )
    clock = Clock()
    sampled = _SampleToTheLimit(clock)
    rollouts.sample = sampled  # type: ignore[attr-defined] # nothing may end a completion early, as on the other side
    with tempfile.TemporaryDirectory() as folder, ExitStack() as undone:
        undone.callback(setattr, rollouts, "sample", sample)
        out = Path(folder) / "ppo"
        ppo(config, data=Path(job["data"]), model=job["model"], out=out, progress=lambda *_: clock.mark())
        ((_, step),) = read_json_lines(out / "metrics.jsonl")
    measured = clock.read()
    # each prompt once, in the order of their completions
    tokenizer = load_tokenizer(job["model"])
    prompts = [list(prompt) for prompt in dict.fromkeys(map(tuple, sampled.prompts))]
    return {
        "prompts": [{"text": tokenizer.decode(ids), "ids": ids} for ids in prompts],
        "samples": len(sampled.completions),
        "tokens": sum(len(completion.ids) for completion in sampled.completions),
        "prompt_tokens": sum(map(len, sampled.prompts)),
        "seconds": step["seconds"],
        "seconds_rollout": step["seconds_rollout"],
        "cpu_seconds": measured["cpu_seconds"][0],
        "peak": read_peak(),
    }


class _SampleToTheLimit:
    """Samples as tltrain does, but for the rule that ends a completion; keeps what went in and came out."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.prompts: list[Sequence[int]] = []
        self.completions: list[Completion] = []

    def __call__(self, model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *args: Any, **options: Any) -> Any:
        self._clock.mark()  # where the step begins
        completions = sample(model, tokenizer, prompts, *args, **options | {"end_ids": (), "is_complete": None})
        self.prompts += prompts
        self.completions += completions
        return completions


if __name__ == "__main__":
    main()
