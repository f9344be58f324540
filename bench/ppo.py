"""PPO: tltrain against TRL's GRPOTrainer, the same model, prompts, group size, lengths and one update, in one run.

    python bench/ppo.py --trl-python ~/trl/bin/python --rlla rlla_sft.json --out ppo_bench
    python bench/ppo.py --trl-python ~/trl/bin/python --sets fixed --threads 2

TRL (1.16) stands in an environment of its own: `pip install torch==2.13.0 trl==1.16.0`. One step is measured on each
side, each in a process of its own: completions of some prompts are sampled, the reference scores them, and one
optimizer step with the loss of GRPO follows, KL term included. Nothing may end a completion but the limit of tokens, so
that both sides sample and learn from equally many; where a call is complete, tltrain would stop. Loading, judging and
saving are not timed.

TRL samples with `generate` of transformers, all completions of the step as one batch; "rollout" compares with that.

Two sets, see `sft_sets`: "fixed" (one list of 20 tools) and "varied" (ToolRL's rlla_sft, other tools in every prompt,
which only the completions of one prompt then share).
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from sft_sets import SETS
from sides import run_side

from tltrain.engine.model import resolve_model
from tltrain.files import encode_line, write_text_atomic
from tltrain.formats.openai_chat import row_from_trajectory

_MIB = 2**20


def main() -> None:
    arguments = parse_arguments()
    results = []
    for name in arguments.sets:
        summary, _, trajectories = SETS[name](arguments.num_rows, arguments.rlla)
        print(f"{name}: {summary}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "train.jsonl"
            write_text_atomic(data, "".join(encode_line(row_from_trajectory(row)) for row in trajectories))
            job = make_job(arguments, data)
            ours = run_side(sys.executable, "ppo_tltrain.py", job)
        theirs = None
        if arguments.trl_python:
            theirs = run_side(arguments.trl_python, "ppo_trl.py", job | {"prompts": ours["prompts"]})
        print("\n".join(describe(ours, theirs)), flush=True)
        results.append({"set": name, "summary": summary, "job": job, "tltrain": ours, "trl": theirs})
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "ppo.json").write_text(json.dumps(results, indent=1))
        print(f"written: {arguments.out / 'ppo.json'}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="name or folder, as tltrain takes it")
    parser.add_argument("--trl-python", help="Python of an environment with TRL; without it tltrain alone is measured")
    parser.add_argument("--sets", nargs="+", choices=["fixed", "varied"], default=["fixed", "varied"])
    parser.add_argument("--rlla", type=Path, help="ToolRL's rlla_sft.json, for the set varied")
    parser.add_argument("--num-rows", type=int, default=100, help="dialogues of a set, whose calls are the prompts")
    parser.add_argument("--prompts", type=int, default=4, help="of the step")
    parser.add_argument("--group-size", type=int, default=8, help="completions of each prompt")
    parser.add_argument("--new-tokens", type=int, default=48, help="of each completion")
    parser.add_argument("--max-prompt-length", type=int, default=4096)
    parser.add_argument("--micro-batch-tokens", type=int, default=2048, help="tltrain's")
    parser.add_argument("--trl-batch-size", type=int, default=8, help="completions to a micro-batch of TRL's")
    parser.add_argument("--threads", type=int, help="of torch, on both sides")
    parser.add_argument("--out", type=Path, help="folder for ppo.json")
    arguments = parser.parse_args()
    if arguments.prompts * arguments.group_size % arguments.trl_batch_size:
        raise SystemExit(f"--trl-batch-size {arguments.trl_batch_size} does not divide the step's completions")
    return arguments


def make_job(arguments: argparse.Namespace, data: Path) -> dict[str, Any]:
    """All that decides what the sides compute."""
    names = ("prompts", "group_size", "new_tokens", "max_prompt_length", "micro_batch_tokens", "trl_batch_size")
    job = {name: getattr(arguments, name) for name in names}
    job["num_prompts"] = job.pop("prompts")
    return job | {
        "model": str(resolve_model(arguments.model)),
        "data": str(data),
        "threads": arguments.threads,
        "learning_rate": 1e-6,
        "kl_coef": 0.04,
    }


def describe(ours: dict[str, Any], theirs: dict[str, Any] | None) -> list[str]:
    """Lines for people."""
    lines = [
        f"  {ours['samples']} completions of {ours['tokens'] / ours['samples']:.0f} tokens, prompts of "
        f"{ours['prompt_tokens'] / ours['samples']:.0f}"
    ]
    for name, side in (("TRL", theirs), ("tltrain", ours)):
        if side:
            lines.append(
                f"  {name:8}{side['samples'] / side['seconds']:7.3f} completions/s: {side['seconds']:.1f} s, of which "
                f"rollout {side['seconds_rollout']:.1f}; processor {side['cpu_seconds']:.0f} s; "
                f"peak {side['peak'] / _MIB:.0f} MiB"
            )
    if theirs:
        for name in ("samples", "tokens", "prompt_tokens"):
            if theirs[name] != ours[name]:
                raise SystemExit(f"the sides did not do the same: {name} {ours[name]}, TRL's {theirs[name]}")
        rest = [side["seconds"] - side["seconds_rollout"] for side in (theirs, ours)]
        lines.append(
            f"  ratio {theirs['seconds'] / ours['seconds']:.2f}: rollout "
            f"{theirs['seconds_rollout'] / ours['seconds_rollout']:.2f}, the rest {rest[0] / rest[1]:.2f}; "
            f"processor {theirs['cpu_seconds'] / ours['cpu_seconds']:.2f}; memory {ours['peak'] / theirs['peak']:.2f} "
            "of TRL's"
        )
    return lines


if __name__ == "__main__":
    main()
