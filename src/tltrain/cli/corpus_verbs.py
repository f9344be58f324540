"""The verbs over files of trajectories: data mix, data check."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tltrain.cli.failures import FAILED, resumable, say
from tltrain.cli.options import AsJson, DryRun, Out, Overwrite, Resume, Seed, Settings, choose_reuse
from tltrain.cli.output import print_config, print_facts, print_json, print_table

if TYPE_CHECKING:
    from tltrain.corpus.check import CheckResult
    from tltrain.corpus.config import MixConfig
    from tltrain.corpus.contamination import PairCount
    from tltrain.corpus.mix import MixResult

_MAX_SAID = 5


def mix(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe with `data`, or a YAML file with what stands there.")
    ],
    out: Out,
    seed: Seed = None,
    settings: Settings = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Mix files into train.jsonl, without duplicates and test rows, and hold out tasks.

    Does what `run` does first with a recipe's data: weights and caps of files, duplicates, the check against test
    sets, the split by task. removed.jsonl lists the rows that were left out, summary.json counts.
    """
    from tltrain.recipe import load_data

    config = load_data(recipe, flags={"seed": seed}, settings=settings or ())
    if dry_run:
        return print_config(config, {"out": out})
    from tltrain.data_stages import mix as work
    from tltrain.progress import ProgressLine

    reuse = choose_reuse(resume=resume, overwrite=overwrite)
    with resumable(out), ProgressLine("mix") as progress:
        result = work(config, out=out, reuse=reuse, progress=progress)
    return print_json(_as_fields(result)) if as_json else _print_mix(config, result)


def _as_fields(result: "MixResult") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(result)


def _print_mix(config: "MixConfig", result: "MixResult") -> None:
    import json

    summary = json.loads(result.summary.read_text(encoding="utf-8"))
    columns = ("source", "rows", "bad", "duplicates", "in test sets", "beyond cap", "validation", "train")
    fields = ("rows", "bad_rows", "duplicates_removed", "in_test_sets", "beyond_cap", "validation", "train")
    rows = [[name, *(f"{counts[field]:,}" for field in fields)] for name, counts in summary["sources"].items()]
    print_table(columns, rows)
    facts: dict[str, object] = {"train": f"{result.train} ({result.num_train:,} rows)"}
    if result.validation:
        facts["validation"] = f"{result.validation} ({result.num_validation:,} rows)"
    if result.test:
        facts["test"] = f"{result.test} ({result.num_test:,} rows)"
    print_facts(facts | {"left out": f"{result.removed} ({result.num_removed:,} rows)", "counts": result.summary})
    if result.num_duplicates and config.deduplicate == "off":
        say(f"{result.num_duplicates:,} rows are equal to earlier ones; deduplicate: exact removes them")
    if result.num_in_test_sets and config.decontaminate.action == "warn":
        say(f"{result.num_in_test_sets:,} training rows are in test sets; decontaminate.action: drop removes them")


def check(
    train: Annotated[list[Path], typer.Argument(metavar="TRAIN...", help="Training files or folders, of any format.")],
    against: Annotated[
        list[Path],
        typer.Option("--against", metavar="TEST", help="Test file or folder, of any format; may be given often."),
    ],
    near: Annotated[float, typer.Option(min=0.01, max=1, help="Likeness of queries that counts as near.")] = 0.7,
    train_format: Annotated[
        str | None, typer.Option("--format", help="Format of TRAIN, if it is not found out.")
    ] = None,
    test_format: Annotated[str | None, typer.Option(help="Format of TEST; else found out.")] = None,
    tools: Annotated[Path | None, typer.Option(help="Second file with the tools of TRAIN.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="How many found rows to show.")] = 10,
    fail: Annotated[bool, typer.Option("--fail", help="Exit with 1 if a training row is in a test set.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look for training rows that are in test sets.

    That is a row with the same query but for case, punctuation and white space; or with the same tools and nearly the
    same query.
    """
    from tltrain.corpus.check import check as work
    from tltrain.corpus.config import DataFile

    result = work(
        [DataFile(path=path, format=train_format, tools=tools) for path in train],
        [DataFile(path=path, format=test_format) for path in against],
        near_threshold=near,
    )
    if as_json:
        print_json(result.to_json())
    else:
        _print_check(result, examples)
    if fail and result.found:
        raise typer.Exit(FAILED)


def _print_check(result: "CheckResult", num_examples: int) -> None:
    names = _short_names({name for pair in result.pairs for name in (pair.train, pair.test)})
    columns = ("train", "rows", "test", "rows", "same query", "near query", "test rows met", "same tool list")
    related = [pair for pair in result.pairs if pair.same_query or pair.near_query or pair.same_tools]
    if related:
        print_table(columns, [_pair_row(pair, names) for pair in related])
    if len(result.pairs) > len(related):
        print(f"{len(result.pairs) - len(related):,} of {len(result.pairs):,} pairs of files have nothing in common")
    print(f"training rows that are in test sets: {result.num_found:,}")
    first = {(found.train, found.id): found for found in sorted(result.found, key=lambda found: -found.similarity)}
    for found in sorted(first.values(), key=lambda found: found.similarity)[:num_examples]:
        print(f"\n{found.id} ({names[found.train]}) and {found.test_id} ({names[found.test]}): ", end="")
        print("same query" if found.kind == "same_query" else f"near query, likeness {found.similarity:.2f}")
        for query in dict.fromkeys((found.query, found.test_query)):
            print(f"  {query}")
    if len(first) > num_examples:
        print(f"\n... and {len(first) - num_examples:,} more; --json prints all")
    _say_unread(result)


def _pair_row(pair: "PairCount", names: Mapping[str, str]) -> list[str]:
    sizes = [names[pair.train], f"{pair.train_rows:,}", names[pair.test], f"{pair.test_rows:,}"]
    counts = (pair.same_query, pair.near_query, pair.test_rows_met, pair.same_tools)
    return sizes + [f"{count:,}" for count in counts]


def _say_unread(result: "CheckResult") -> None:
    for path, count in result.bad_rows.items():
        say(f"{path}: {count:,} rows could not be read and were not compared")
    for path, reason in list(result.unreadable.items())[:_MAX_SAID]:
        say(f"{path}: passed over ({reason.removeprefix(f'{path}: ').partition(';')[0]})")
    if len(result.unreadable) > _MAX_SAID:
        say(f"... and {len(result.unreadable) - _MAX_SAID:,} more files that could not be read")


def _short_names(paths: Iterable[str]) -> dict[str, str]:
    """Each path by as much of its end as tells it from the others."""
    parts = {path: Path(path).parts for path in paths}
    short = {}
    for path, own in parts.items():
        others = [other for name, other in parts.items() if name != path]
        length = next((n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others)), len(own))
        short[path] = str(Path(*own[-length:]))
    return short
