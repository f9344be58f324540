"""The group `eval` on the command line: its verbs, and what is printed of public test sets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tltrain.cli import general_verbs, measuring_verbs
from tltrain.cli.default_verb import DEFAULT, DefaultVerbGroup
from tltrain.cli.options import AsJson
from tltrain.cli.output import print_json, print_table

if TYPE_CHECKING:
    from tltrain.benches.bench_scores import BenchScores, GroupScores
    from tltrain.benches.bfcl_environment import BfclEnvironment

GROUP = typer.Typer(cls=DefaultVerbGroup, help="Measure a model.", rich_markup_mode=None)
GROUP.command(
    DEFAULT,
    hidden=True,
    epilog="Example: tltrain eval data/test.jsonl --model ppo/model --out eval --max-cases 200; "
    "tltrain eval --bench rotbench:clean,bfcl --data-dir testsets --model ppo/model --out public",
)(measuring_verbs.evaluate)

GROUP.command(
    "general",
    epilog="Example: tltrain eval general text.txt --model ppo/model --base smollm2-135m-instruct --out general",
)(general_verbs.evaluate_general)


@GROUP.command(epilog="Example: tltrain eval score public --data-dir testsets")
def score(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Folder of `tltrain eval --bench`, or of BFCL_v*_result.json files."),
    ],
    data_dir: measuring_verbs.DataDir = None,
    underscore_to_dot: Annotated[
        bool, typer.Option("--underscore-to-dot", help="BFCL's files write _ for each dot in a tool's name.")
    ] = False,
    bfcl_python: measuring_verbs.BfclPython = None,
    allow_changed: measuring_verbs.AllowChanged = False,
    as_json: AsJson = False,
) -> None:
    """Score saved answers again, without the model.

    A run's rows and scores.json are written anew. BFCL's own result files are scored, and left as they are.
    """
    from tltrain.benches.data_folder import resolve_data_dir
    from tltrain.benches.public_run import score_again
    from tltrain.benches.result_scores import score_result_files

    folder = resolve_data_dir(data_dir)
    if (run / "stage.json").is_file():
        scores = score_again(
            run, data_dir=folder, allow_changed=allow_changed, environment=bfcl_environment(bfcl_python)
        )
        found: Mapping[str, BenchScores] = scores.benches
    else:
        bfcl = score_result_files(
            run, data_dir=folder, underscore_to_dot=underscore_to_dot, allow_changed=allow_changed
        )
        found = {"bfcl": bfcl}
    if as_json:
        return print_json({name: bench.model_dump(mode="json") for name, bench in found.items()})
    return print_benches(found)


def bfcl_environment(option: Path | None) -> "BfclEnvironment | None":
    """The environment of BFCL's multi-turn categories that an option or a variable names; nothing is started.

    Raises:
        UsageError: there is no such file.
    """
    from tltrain.benches.bfcl_environment import BfclEnvironment, resolve_bfcl_python

    python = resolve_bfcl_python(option)
    return BfclEnvironment(python) if python else None


def print_benches(found: Mapping[str, "BenchScores"]) -> None:
    """Print a table for each test set, and what must be known about its numbers."""
    for name, bench in found.items():
        columns = [key for key in bench.scores if any(part.scores[key].n for part in _parts(bench))]
        rows = [[name, bench.n, *_cells(bench, columns)]]
        if bench.headline:
            parts = bench.groups.get(bench.headline, {})
            rows += [[f"  {value}", part.n, *_cells(part, columns)] for value, part in parts.items()]
        print_table(("", "n", *columns), rows, title=f"{name}: percent ± half of the 95% interval")
        for note in (*bench.notes, *bench.remarks()):
            print(f"  {note}")


def _parts(bench: "BenchScores") -> list["GroupScores"]:
    return [bench, *(part for values in bench.groups.values() for part in values.values())]


def _cells(part: "GroupScores", columns: Sequence[str]) -> list[str | None]:
    return [measuring_verbs.show_score(part.scores.get(name)) for name in columns]
