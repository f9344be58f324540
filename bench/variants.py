"""Standard SFT against SFT with MAE, with PKT and with both: the same data, seeds and steps, scores on unseen tools.

    python bench/variants.py --seeds 0 1 2 --out runs/variants

Each seed makes its own data, by the demo's recipe, on which all variants train. A run that was killed goes on where it
stopped. Prints a row for each variant: mean and standard deviation over the seeds, in percent.
"""

import argparse
from pathlib import Path
from statistics import fmean, stdev

from tltrain.benches.run import evaluate
from tltrain.benches.scores import SingleTurnScores
from tltrain.generate.run import generate
from tltrain.recipe import load_recipe
from tltrain.sft.train import sft
from tltrain.stage import Reuse

VARIANTS = {
    "standard": {"block": "none", "weighting": {"variant": "off"}},
    "MAE": {"block": "paper", "weighting": {"variant": "off"}},
    "PKT": {"block": "none", "weighting": {"variant": "paper"}},
    "MAE and PKT": {"block": "paper", "weighting": {"variant": "paper"}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--num-epochs", type=float, help="passes over the data; default: the demo's")
    parser.add_argument("--max-cases", type=int, default=150)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    scores = {
        variant: [_measure(variant, seed, arguments) for seed in arguments.seeds] for variant in arguments.variants
    }
    print("| | " + " | ".join(("TS", "PI", "CF")) + " |\n|---|---|---|---|")
    for variant, found in scores.items():
        columns = ([getattr(one, name).mean for one in found] for name in ("TS", "PI", "CF"))
        cells = (f"{fmean(column):.1f}" + (f" ±{stdev(column):.1f}" if len(column) > 1 else "") for column in columns)
        print(f"| {variant} | " + " | ".join(cells) + " |")


def _measure(variant: str, seed: int, arguments: argparse.Namespace) -> SingleTurnScores:
    recipe, out = load_recipe("demo"), arguments.out / str(seed)
    assert recipe.generate is not None
    assert recipe.sft is not None
    assert recipe.eval is not None
    data, own = out / "data", out / variant.replace(" ", "-")
    if not (data / "test.jsonl").exists():
        generate(recipe.generate.model_copy(update={"seed": seed}), data)
    changes = VARIANTS[variant] | {"seed": seed, "num_epochs": arguments.num_epochs or recipe.sft.num_epochs}
    config = type(recipe.sft).model_validate(recipe.sft.model_dump() | changes)
    sft(config, data=data / "train.jsonl", model=recipe.model, out=own / "sft", reuse=Reuse.RESUME)
    limits = {"max_cases": arguments.max_cases, "max_episodes": 0}
    test = recipe.eval.config().model_copy(update=limits)
    result = evaluate(test, data=data / "test.jsonl", model=own / "sft" / "model", out=own / "eval", reuse=Reuse.RESUME)
    single = result.scores.single
    assert single is not None
    cells = " ".join(f"{name} {getattr(single, name).mean:.1f}" for name in ("TS", "PI", "CF"))
    print(f"{variant}, seed {seed}: {cells}, n = {single.n}", flush=True)
    return single


if __name__ == "__main__":
    main()
