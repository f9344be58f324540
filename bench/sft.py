"""SFT: tltrain against TRL's SFTTrainer, the same model, rows, steps, optimizer and precision, in one run.

    python bench/sft.py --trl-python ~/trl/bin/python --rlla rlla_sft.json --out sft_bench
    python bench/sft.py --trl-python ~/trl/bin/python --sets fixed --steps 1 --step-size 16 --threads 2

TRL (1.16) stands in an environment of its own: `pip install torch==2.13.0 trl==1.16.0 peft`. Both sides read the same
token ids and labels, so neither's chat template or masks matter: TRL's assistant_only_loss would find the same tokens.
Each side runs in a process of its own. The loss of a step is the mean over its trained tokens on both sides.

Three sets differ in how many dialogues share a tool list: "fixed" (one list of 20 tools), "shared" (10 to 20 dialogues
a list, as ToolAlpaca has) and "varied" (ToolRL's rlla_sft, other tools in every row). Times are those of whole
optimizer steps; the processor's time is given too, which other work on the machine disturbs less. Memory is the most of
the process after the model is loaded; give two steps or more, so that it holds the optimizer's state, and several
--micro-batch-tokens, to see what tltrain's speed costs.

TRL's settings are tried on a few rows, and the fastest is measured; packing is not among them, as it makes other steps.
TRL's chunked loss is its default. It scores positions with a label alone where Triton runs, and every position
elsewhere; settings that end in ":labels" are patched to score labels alone everywhere, which TRL as it comes does not
offer on a processor.

Operations are counted as 6 a matrix element and token (4 where the matrix is frozen: forward and back, no gradient of
its own): blocks on tokens computed, the head on trained tokens; and 12 x context x heads x head size a layer and token
for attention. Nothing is counted for padding, recomputed logits, or what a side computes without need.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_sets import IGNORED, SETS, BenchSet, Row, make_set
from sides import run_side

from tltrain.engine.model import load_tokenizer, resolve_model
from tltrain.engine.prefix_tree import build_tree, plan_micro_batches, plan_trunks

_MIB = 2**20

_SETTINGS = ["padded:1", "padded:1:labels", "padded:4:labels", "padding-free:4:labels"]
"""Of TRL, that are tried."""


def main() -> None:
    arguments = parse_arguments()
    tokenizer = load_tokenizer(arguments.model)
    results = []
    settings = [parse_setting(text) for text in arguments.trl_settings]
    if arguments.trl_python or arguments.trl_settings is not _SETTINGS:
        check_sizes(arguments, settings)
    for name in arguments.sets:
        bench_set = make_set(
            name,
            tokenizer,
            max_length=arguments.max_length,
            num_rows=arguments.num_rows,
            rlla=arguments.rlla,
        )
        steps = bench_set.steps(num_steps=arguments.steps, step_size=arguments.step_size, seed=arguments.seed)
        job = make_job(arguments, steps)
        ours = [(own, run_side(sys.executable, "sft_tltrain.py", job | own)) for own in arguments.micro_batch_tokens]
        theirs = None
        if arguments.trl_python:
            if len(settings) > 1:
                settings = [try_settings(arguments, job, settings)]
            theirs = run_side(arguments.trl_python, "sft_trl.py", job | {"settings": settings})
        result = summarise(bench_set, steps, job, ours, theirs)
        print("\n".join(describe(result)), flush=True)
        results.append(result)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "sft.json").write_text(json.dumps(results, indent=1))
        if arguments.trl_python:
            draw_losses(results, arguments.out / "losses.png")
        print(f"written: {arguments.out}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="name or folder, as tltrain takes it")
    parser.add_argument("--trl-python", help="Python of an environment with TRL; without it tltrain alone is measured")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--rlla", type=Path, help="ToolRL's rlla_sft.json, for the set varied")
    parser.add_argument("--num-rows", type=int, help="dialogues of a set; default: 500 and 400 made, all of the file")
    parser.add_argument("--steps", type=int, default=1, help="optimizer steps that are measured")
    parser.add_argument("--step-size", type=int, default=64)
    parser.add_argument("--max-length", type=int, default=8192)
    parser.add_argument(
        "--micro-batch-tokens",
        nargs="+",
        type=parse_micro_batch,
        default=[parse_micro_batch("8192")],
        metavar="TOKENS[:checkpoint]",
        help="tltrain's, with gradient checkpointing or without; each is measured",
    )
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--lora", type=int, metavar="RANK", help="adapters on all linear layers; default: all weights")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, help="of torch, on both sides")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--trl-settings",
        nargs="+",
        default=_SETTINGS,
        help="LAYOUT:PER_DEVICE_BATCH_SIZE[:labels] to try; a single one is taken untried",
    )
    parser.add_argument("--trial-rows", type=int, default=4, help="rows on which TRL's settings are tried")
    parser.add_argument("--out", type=Path, help="folder for sft.json and losses.png")
    return parser.parse_args()


def parse_micro_batch(text: str) -> dict[str, Any]:
    """tltrain's settings out of TOKENS[:checkpoint]."""
    found = re.fullmatch(r"([1-9]\d*)(:checkpoint)?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: write a number of tokens, as 8192, or 8192:checkpoint")
    return {"micro_batch_tokens": int(found[1]), "checkpointing": bool(found[2])}


def parse_setting(text: str) -> dict[str, Any]:
    """TRL's settings out of LAYOUT:SIZE[:labels]."""
    found = re.fullmatch(r"(padded|padding-free):([1-9]\d*)(:labels)?", text)
    if not found:
        raise SystemExit(f"--trl-settings {text!r}: write padded:N or padding-free:N, N rows to a batch, or N:labels")
    layout, size, patched = found.groups()
    return {
        "name": text,
        "padding_free": layout == "padding-free",
        "batch_size": int(size),
        "head_at_labels": bool(patched),
    }


def check_sizes(arguments: argparse.Namespace, settings: Sequence[dict[str, Any]]) -> None:
    """Refuse batch sizes by which TRL's steps would be other than tltrain's."""
    for setting in settings:
        for option, rows in (("--step-size", arguments.step_size), ("--trial-rows", arguments.trial_rows)):
            is_used = option == "--step-size" or len(settings) > 1
            if is_used and rows % setting["batch_size"]:
                raise SystemExit(f"--trl-settings {setting['name']} does not divide {option} {rows}; use a divisor")


def make_job(arguments: argparse.Namespace, steps: Sequence[Sequence[Row]]) -> dict[str, Any]:
    """All that decides what the sides compute."""
    return {
        "model": str(resolve_model(arguments.model)),
        "steps": [[{"input_ids": row.input_ids, "labels": row.labels} for row in step] for step in steps],
        "precision": arguments.precision,
        "lora": {"rank": arguments.lora, "alpha": 2 * arguments.lora} if arguments.lora else None,
        "optimizer": {
            "learning_rate": arguments.learning_rate,
            "weight_decay": 0.01,
            "adam_beta1": 0.9,
            "adam_beta2": 0.95,
            "max_grad_norm": 1.0,
        },
        "threads": arguments.threads,
    }


def try_settings(
    arguments: argparse.Namespace, job: dict[str, Any], settings: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The setting that is fastest on some rows of the first step, spread over its lengths; prints all."""
    rows = job["steps"][0]
    rows = rows[:: max(1, len(rows) // arguments.trial_rows)][: arguments.trial_rows]
    tried = run_side(arguments.trl_python, "sft_trl.py", job | {"steps": [rows], "settings": list(settings)})
    ran = [result for result in tried["results"] if "error" not in result]
    for result in tried["results"]:
        name = result["setting"]["name"]
        print(f"TRL with {name}: {result.get('error') or f'''{result['seconds'][0]:.1f} s for {len(rows)} rows'''}")
    if not ran:
        raise SystemExit("no setting of TRL ran here")
    best: dict[str, Any] = min(ran, key=lambda result: result["seconds"][0])["setting"]
    return best


@dataclass(frozen=True, slots=True)
class _Count:
    """What one side computes for a step."""

    tokens: int
    contexts: int
    """Sum over those tokens of the tokens that each sees."""


def count_tree(rows: Sequence[Row], micro_batch_tokens: int) -> _Count:
    """Of tltrain."""
    ids = [row.input_ids for row in rows]
    first_targets = [next(place for place, label in enumerate(row.labels) if label != IGNORED) for row in rows]
    positions: list[int] = []
    for trunk, groups in plan_trunks(ids, plan_micro_batches(ids, micro_batch_tokens), first_targets):
        positions += range(trunk)
        for group in groups:
            positions += build_tree([ids[index] for index in group], trunk=trunk).positions[trunk:]
    return _Count(len(positions), sum(position + 1 for position in positions))


def count_rows(rows: Sequence[Row]) -> _Count:
    """Of a trainer that runs each row whole."""
    lengths = [len(row.input_ids) for row in rows]
    return _Count(sum(lengths), sum(length * (length + 1) // 2 for length in lengths))


def count_flops(count: _Count, num_targets: int, shape: dict[str, int], *, is_lora: bool) -> int:
    """Floating point operations of a step, forward and back (formula: see the module)."""
    each = 4 if is_lora else 6
    blocks = (each * shape["block"] + 6 * shape["adapters"]) * count.tokens
    return blocks + each * shape["head"] * num_targets + 12 * shape["attention"] * count.contexts


def summarise(
    bench_set: BenchSet,
    steps: Sequence[Sequence[Row]],
    job: dict[str, Any],
    ours: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    theirs: dict[str, Any] | None,
) -> dict[str, Any]:
    """All figures of a set; `ours` are tltrain's settings and results."""
    num_rows = sum(len(step) for step in steps)
    num_targets = [sum(label != IGNORED for row in step for label in row.labels) for step in steps]
    shape = ours[0][1]["shape"]

    def figures(side: dict[str, Any], counts: Sequence[_Count]) -> dict[str, Any]:
        flops = sum(
            count_flops(count, number, shape, is_lora=bool(job["lora"]))
            for count, number in zip(counts, num_targets, strict=True)
        )
        seconds = sum(side["seconds"])
        kept = ("seconds", "cpu_seconds", "losses", "grad_norms", "memory", "threads", "matmul")
        return {key: side[key] for key in kept} | {
            "rows_per_second": num_rows / seconds,
            "tokens_computed": sum(count.tokens for count in counts),
            "flops": flops,
        }

    result: dict[str, Any] = {
        "set": bench_set.name,
        "summary": bench_set.summary,
        "rows_in_all": len(bench_set.rows),
        "rows_timed": num_rows,
        "steps": len(steps),
        "tokens": sum(len(row.input_ids) for step in steps for row in step),
        "trained_tokens": sum(num_targets),
        "precision": job["precision"],
        "lora": job["lora"],
        "runs_trees": ours[0][1]["runs_trees"],
        "tltrain": [],
        "trl": None,
    }
    for setting, side in ours:
        counts = [count_tree(step, setting["micro_batch_tokens"]) for step in steps]
        name = f"tltrain, {setting['micro_batch_tokens']} tokens a micro-batch"
        name += ", gradient checkpointing" if setting["checkpointing"] else ""
        result["tltrain"].append(figures(side, counts) | {"name": name})
    if theirs:
        side = theirs["results"][0] | {"matmul": theirs["matmul"], "threads": theirs["threads"]}
        name = f"TRL {side['setting']['name']}"
        result["trl"] = figures(side, [count_rows(step) for step in steps])
        result["trl"] |= {"name": name, "versions": theirs["versions"]}
    return result


def describe(result: dict[str, Any]) -> list[str]:
    """The figures as lines of text."""
    theirs = result["trl"]
    lines = [
        f"\n{result['set']}: {result['summary']}",
        f"  timed: {result['rows_timed']} of {result['rows_in_all']} rows in {result['steps']} steps, "
        f"{result['precision']}, {'LoRA' if result['lora'] else 'all weights'}; "
        f"{result['tokens']} tokens, {result['trained_tokens']} trained",
    ]
    if theirs:
        lines += _describe_side(theirs)
    for ours in result["tltrain"]:
        lines += _describe_side(ours)
        if theirs:
            lines += _describe_ratio(ours, theirs)
    if not result["runs_trees"]:
        lines.append("  this model runs no trees: its rows were run one by one")
    return lines


def _describe_side(side: dict[str, Any]) -> list[str]:
    loaded, peak = (side["memory"][key] / _MIB for key in ("loaded", "peak"))
    lines = [
        f"  {side['name']}: {side['rows_per_second']:.3f} trajectories/s, {side['tokens_computed']} tokens computed",
        f"    memory: {loaded:.0f} MiB loaded, peak {peak:.0f} MiB, {peak - loaded:.0f} over it",
    ]
    for key, what in (("seconds", "second"), ("cpu_seconds", "second of processor time")):
        rate, product = side["flops"] / sum(side[key]) / 1e9, side["matmul"][key] / 1e9
        lines.append(
            f"    {rate:.1f} GFLOP a {what}, {100 * rate / product:.0f}% of {product:.1f} in a matrix product, "
            f"{side['threads']} threads"
        )
    return lines


def _describe_ratio(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    memories = [side["memory"]["peak"] - side["memory"]["loaded"] for side in (ours, theirs)]
    whole = ours["memory"]["peak"] / theirs["memory"]["peak"]
    lines = [
        f"    ratio: trajectories a second {ours['rows_per_second'] / theirs['rows_per_second']:.2f} "
        f"({sum(theirs['cpu_seconds']) / sum(ours['cpu_seconds']):.2f} by processor time); "
        f"memory over the loaded model {memories[0] / memories[1]:.2f}, of the whole process {whole:.2f}"
    ]
    loss_apart = norm_apart = 0.0
    for step, (our_loss, loss) in enumerate(zip(ours["losses"], theirs["losses"], strict=True)):
        our_norm, norm = ours["grad_norms"][step], theirs["grad_norms"][step]
        loss_apart = max(loss_apart, abs(our_loss - loss))
        norm_apart = max(norm_apart, abs(our_norm - norm) / norm)
        lines.append(f"    step {step}: loss {our_loss:.7f} | {loss:.7f}, gradient norm {our_norm:.6f} | {norm:.6f}")
    return [*lines, f"    largest difference: loss {loss_apart:.1e}, gradient norm {norm_apart:.1e} of it"]


def draw_losses(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Both loss curves of each set, laid over each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(results), 3.2), layout="constrained")
    for axes, result in zip(figure.subplots(1, len(results), squeeze=False)[0], results, strict=True):
        steps = range(1, result["steps"] + 1)
        axes.plot(steps, result["trl"]["losses"], color="#c9772b", linewidth=4, alpha=0.5, label="TRL", marker="o")
        ours = result["tltrain"][0]
        axes.plot(steps, ours["losses"], color="#1f4e79", linewidth=1.2, label="tltrain", marker=".")
        ratio = ours["rows_per_second"] / result["trl"]["rows_per_second"]
        axes.set_title(f"{result['set']}: {ratio:.1f} times as fast", fontsize=10)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss, nats a trained token")
        axes.xaxis.get_major_locator().set_params(integer=True)
        both = [*ours["losses"], *result["trl"]["losses"]]
        margin = max(0.05, 0.1 * (max(both) - min(both)))  # differences of rounding are not blown up
        axes.set_ylim(min(both) - margin, max(both) + margin)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
