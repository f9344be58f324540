"""The verbs that do everything: run, demo."""

from pathlib import Path
from typing import Annotated

import typer

from tltrain.cli.failures import resumable
from tltrain.cli.options import AsJson, DryRun, Out, Overwrite, Resume, Seed, Settings, choose_reuse
from tltrain.cli.output import print_config, print_json
from tltrain.cli.scores import print_run


def run(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="demo or another one that ships, or a YAML file.")],
    out: Out,
    model: Annotated[str | None, typer.Option(help="Instead of the recipe's model.")] = None,
    seed: Seed = None,
    settings: Settings = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Do all stages of a recipe, from the data to the report.

    With --resume, stages that are done are skipped as long as their settings and inputs are what they were; others go
    on where they stopped, or are done anew.
    """
    from tltrain.recipe import load_recipe

    resolved = load_recipe(recipe, flags={"model": model, "seed": seed}, settings=settings or ())
    if dry_run:
        return print_config(resolved, {"out": out})
    from tltrain.progress import ProgressLine

    reuse = choose_reuse(resume=resume, overwrite=overwrite)
    with resumable(out):
        from tltrain.run import run as work

        result = work(resolved, out, reuse=reuse, watch=ProgressLine)
    return print_json(result.to_json()) if as_json else print_run(result)


def demo(
    out: Out = Path("runs/demo"),
    settings: Settings = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Do all stages with the embedded model and fresh data.

    The data is made on the spot, in the sandbox; nothing is downloaded.
    """
    run("demo", out, settings=settings, resume=resume, overwrite=overwrite, dry_run=dry_run, as_json=as_json)
