"""What reinforcement learning adds to SFT: PPO, GRPO, RLOO and a reward that says nothing, on equally many completions.

    python bench/learning.py --seeds 0 1 2 --out runs/learning

One short SFT on part of the demo's data is where all runs begin. They draw prompts from the kits of that data, most of
which SFT has not used, and are measured on calls of kits that neither has seen. A run that was killed goes on where it
stopped. Prints a row for each algorithm: mean and standard deviation over the seeds, in percent, and the change.
"""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from tltrain.benches.run import evaluate
from tltrain.benches.scores import SingleTurnScores
from tltrain.files import read_json_lines
from tltrain.generate.run import generate
from tltrain.recipe import load_recipe
from tltrain.rl.train import ppo
from tltrain.sft.train import sft
from tltrain.stage import Reuse
from tltrain.types import ToolCall

_NAMES = ("TS", "PI", "CF")


def scrambled(*, gold: ToolCall, completion: str, **_: Any) -> float:
    """A reward between -1 and 1 that depends on what was written, and not on whether it is right."""
    digest = hashlib.sha256(f"{gold.name}\n{completion}".encode()).digest()
    return int.from_bytes(digest[:4]) / 2**31 - 1


ALGORITHMS: dict[str, dict[str, Any]] = {
    "PPO": {"advantage": "gae"},
    "GRPO": {"advantage": "grpo"},
    "RLOO": {"advantage": "rloo"},
    "scrambled": {"advantage": "rloo"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--sft-epochs", type=float, default=0.1, help="passes of SFT over the demo's data")
    parser.add_argument("--steps", type=int, default=20, help="of 48 completions: 12 prompts, 4 each")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--kl-coef", type=float, default=0.02)
    parser.add_argument("--max-cases", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    start = _start(arguments)
    before = _measure("SFT", start, arguments.out / "eval", arguments)
    print(f"| | completions | {' | '.join(_NAMES)} | change of CF |\n|---|---|---|---|---|---|")
    rows = {"SFT": [before]}
    for seed in arguments.seeds:  # seed by seed, so that a run cut short has all algorithms
        for algorithm in arguments.algorithms:
            out = arguments.out / algorithm / str(seed)
            _train(algorithm, seed, start, out / "ppo", arguments)
            scores = _measure(f"{algorithm}, seed {seed}", out / "ppo" / "model", out / "eval", arguments)
            rows.setdefault(algorithm, []).append(scores)
    for name, found in rows.items():
        cells = [_spread([getattr(one, column).mean for one in found]) for column in _NAMES]
        change = _spread([one.CF.mean - before.CF.mean for one in found])
        print(f"| {name} | {0 if name == 'SFT' else 48 * arguments.steps} | {' | '.join(cells)} | {change} |")


def _start(arguments: argparse.Namespace) -> Path:
    """Data, and the model that all runs begin with."""
    recipe, out = load_recipe("demo"), arguments.out
    assert recipe.generate is not None
    assert recipe.sft is not None
    if not (out / "data" / "test.jsonl").exists():
        generate(recipe.generate, out / "data")
    config = recipe.sft.model_copy(update={"num_epochs": arguments.sft_epochs})
    return sft(config, data=out / "data" / "train.jsonl", model=recipe.model, out=out / "sft", reuse=Reuse.RESUME).model


def _train(algorithm: str, seed: int, model: Path, out: Path, arguments: argparse.Namespace) -> None:
    recipe = load_recipe("demo")
    assert recipe.ppo is not None
    rate = {"learning_rate": arguments.learning_rate}
    changes = ALGORITHMS[algorithm] | {
        "seed": seed,
        "max_steps": arguments.steps,
        "num_epochs": 10,
        "prompts_per_step": 12,
        "samples_per_prompt": 4,
        "minibatch_size": 48,
        "rollout_batch_size": 48,
        "temperature": 1.0,
        "kl_coef": arguments.kl_coef,
        "actor_optimizer": recipe.ppo.actor_optimizer.model_dump() | rate,
        "checkpoint_every": 2,
    }
    config = type(recipe.ppo).model_validate(recipe.ppo.model_dump() | changes)
    ppo(
        config,
        data=arguments.out / "data" / "train.jsonl",
        model=model,
        out=out,
        reward=scrambled if algorithm == "scrambled" else None,
        reuse=Reuse.RESUME,
    )
    steps = [row for _, row in read_json_lines(out / "metrics.jsonl") if isinstance(row, dict)]
    rewards = " ".join(f"{row['reward']:.2f}" for row in steps)
    right = " ".join(f"{row['errors'].get('all_right', 0):.2f}" for row in steps)  # type: ignore[union-attr]
    print(f"{algorithm}, seed {seed}: reward {rewards}; right {right}", flush=True)


def _measure(name: str, model: Path, out: Path, arguments: argparse.Namespace) -> SingleTurnScores:
    recipe = load_recipe("demo")
    assert recipe.eval is not None
    config = recipe.eval.config().model_copy(update={"max_cases": arguments.max_cases, "max_episodes": 0})
    data = arguments.out / "data" / "test.jsonl"
    single = evaluate(config, data=data, model=model, out=out, reuse=Reuse.RESUME).scores.single
    assert single is not None
    cells = " ".join(f"{column} {getattr(single, column).mean:.1f}" for column in _NAMES)
    print(f"{name}: {cells}, n = {single.n}", flush=True)
    return single


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.1f}" + (f" ±{stdev(values):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
