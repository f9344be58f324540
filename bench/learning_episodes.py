"""What PPO on whole conversations adds to SFT: success of tasks, before and after, beside a reward that says nothing.

    python bench/learning_episodes.py --seeds 0 1 --out runs/learning_episodes

One short SFT on a part of the data is where all runs begin. They play tasks of the same kits that SFT has not seen, by
the settings of `bench/episodes.yaml`, and are measured greedily on tasks that neither has seen: "seen kits", held out,
and "new kits". A run that was killed goes on where it stopped. Prints a row for each run: success, valid answers and
failed calls on both, in percent.
"""

import argparse
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tltrain.benches.run import evaluate
from tltrain.benches.scores import EpisodeScores
from tltrain.config import load_config
from tltrain.files import read_json_lines, write_text_atomic
from tltrain.generate.run import generate
from tltrain.recipe import load_recipe
from tltrain.rl.config import PpoConfig
from tltrain.rl.train import ppo
from tltrain.sft.train import sft
from tltrain.stage import Reuse

_HERE = Path(__file__).parent
SETS = {"seen kits": "heldout.jsonl", "new kits": "test.jsonl"}
_NUM_HELDOUT = 150
RUNS: dict[str, dict[str, Any]] = {
    "PPO": {},
    # an episode without an answer earns what a hash gives on average, so that nothing at all is favoured
    "scrambled": {
        "environment": _HERE / "scrambled_world.py",
        "reward": {"no_answer": 0.5, "malformed": 0, "undocumented_call": 0, "failed_call": 0},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--num-sft", type=int, default=200, help="trajectories of the short SFT")
    parser.add_argument("--steps", type=int, help="default: as bench/episodes.yaml has it")
    parser.add_argument("--learning-rate", type=float, help="default: as bench/episodes.yaml has it")
    parser.add_argument("--num-tasks", type=int, default=80, help="of each set that is measured on")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    start = _start(arguments)
    rows = {"SFT": _measure(start, arguments.out / "eval", arguments)}
    _show("SFT", rows["SFT"])
    for seed in arguments.seeds:  # seed by seed, so that a run cut short has all kinds
        for kind in arguments.runs:
            out = arguments.out / kind / str(seed)
            _train(kind, seed, start, out / "ppo", arguments)
            name = f"{kind}, seed {seed}"
            rows[name] = _measure(out / "ppo" / "model", out / "eval", arguments)
            _show(name, rows[name])
    cells = [f"{name}: {score}" for name in SETS for score in ("success", "VA", "CE")]
    print(f"| | {' | '.join(cells)} |\n|---|{'---|' * len(cells)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(_cells(row))} |")


def _start(arguments: argparse.Namespace) -> Path:
    """Data, and the model that all runs begin with."""
    recipe, out = load_recipe("demo"), arguments.out
    assert recipe.generate is not None
    assert recipe.sft is not None
    data = out / "data"
    if not (data / "test.jsonl").exists():
        generate(recipe.generate.model_copy(update={"num_train": 1200, "num_test": 200}), data)
    lines = (data / "train.jsonl").read_text().splitlines(keepends=True)
    random.Random(0).shuffle(lines)
    first, last = arguments.num_sft, len(lines) - _NUM_HELDOUT
    for name, part in {"sft": lines[:first], "tasks": lines[first:last], "heldout": lines[last:]}.items():
        write_text_atomic(data / f"{name}.jsonl", "".join(part))
    changes = {"num_epochs": 1, "answer_share": 1, "heldout_share": 0}
    config = recipe.sft.model_copy(update=changes)
    return sft(config, data=data / "sft.jsonl", model=recipe.model, out=out / "sft", reuse=Reuse.RESUME).model


def settings(kind: str, *, seed: int, steps: int | None, learning_rate: float | None) -> PpoConfig:
    """Those of a run of a kind; None: as bench/episodes.yaml has it."""
    fields = load_config(PpoConfig, file=_HERE / "episodes.yaml").model_dump()
    fields |= {"seed": seed, "checkpoint_every": 2}
    fields["episodes"] |= RUNS[kind]
    if steps is not None:
        fields["max_steps"] = steps
    if learning_rate is not None:
        fields["actor_optimizer"] |= {"learning_rate": learning_rate}
    return PpoConfig.model_validate(fields)


def _train(kind: str, seed: int, model: Path, out: Path, arguments: argparse.Namespace) -> None:
    config = settings(kind, seed=seed, steps=arguments.steps, learning_rate=arguments.learning_rate)
    ppo(config, data=arguments.out / "data" / "tasks.jsonl", model=model, out=out, reuse=Reuse.RESUME)
    steps = [row for _, row in read_json_lines(out / "metrics.jsonl") if isinstance(row, dict)]
    for name in ("reward", "success"):
        print(f"{kind}, seed {seed}, {name}:", " ".join(f"{row[name]:.2f}" for row in steps), flush=True)


def _measure(model: Path, out: Path, arguments: argparse.Namespace) -> dict[str, EpisodeScores]:
    recipe = load_recipe("demo")
    assert recipe.eval is not None
    # "auto" is decided by a short trial, which a busy machine may turn: before and after would not be alike
    fixed = {"precision": "bfloat16"}
    changes = {"max_cases": 0, "max_episodes": arguments.num_tasks, "max_new_tokens": 48, **fixed}
    config = recipe.eval.config().model_copy(update=changes)
    found = {}
    for name, file in SETS.items():
        data, folder = arguments.out / "data" / file, out / file.removesuffix(".jsonl")
        found[name] = evaluate(config, data=data, model=model, out=folder, reuse=Reuse.RESUME).scores.episodes
    return found


def _show(name: str, row: Mapping[str, EpisodeScores]) -> None:
    for kits, scores in row.items():
        success = scores.success
        print(
            f"{name}, {kits}: success {success.mean} ({success.low} to {success.high}), n = {scores.n}, "
            f"VA {scores.VA.mean}, CE {scores.CE.mean}, ends {scores.ends}",
            flush=True,
        )


def _cells(row: Mapping[str, EpisodeScores]) -> list[str]:
    scores = [score for one in row.values() for score in (one.success, one.VA, one.CE)]
    return ["none" if score.mean is None else f"{score.mean:.1f}" for score in scores]


if __name__ == "__main__":
    main()
