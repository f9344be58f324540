"""Options that several verbs share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from tltrain.errors import UsageError

if TYPE_CHECKING:
    from tltrain.stage import Reuse

Out: TypeAlias = Annotated[Path, typer.Option("--out", help="Folder for the results.", show_default=False)]
ConfigFile: TypeAlias = Annotated[
    Path | None, typer.Option("--config", metavar="FILE.yaml", help="Settings; --dry-run shows all that there are.")
]
Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change one setting; may be given several times."),
]
Seed: TypeAlias = Annotated[int | None, typer.Option("--seed", help="Setting seed.")]
Resume: TypeAlias = Annotated[
    bool, typer.Option("--resume", help="Go on in a folder that an earlier start left; skip what is done.")
]
TrackerOption: TypeAlias = Annotated[
    Literal["tensorboard", "wandb", "trackio", "mlflow"] | None,
    typer.Option("--tracker", help="Show metrics in this tracker too; its package must be installed."),
]
Overwrite: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Empty a folder of an earlier start first.")]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Print all settings as YAML, and stop.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Data: TypeAlias = Annotated[Path, typer.Argument(metavar="DATA", help="Trajectories, in any known format.")]
Model: TypeAlias = Annotated[
    str,
    typer.Option("--model", help="smollm2-135m-instruct (embedded), a folder, a .gguf file or a hub id."),
]
Verdicts: TypeAlias = Annotated[
    Path | None,
    typer.Option("--verdicts", help="verdicts.jsonl of `tltrain audit`; without it the data is audited on the way."),
]
DataFormat: TypeAlias = Annotated[
    str | None, typer.Option("--format", help="Name of the data's format; found out from the file by default.")
]
ToolsFile: TypeAlias = Annotated[
    Path | None, typer.Option("--tools", metavar="FILE", help="Tool documents, for data that carries none.")
]
AnswersFile: TypeAlias = Annotated[
    Path | None, typer.Option("--answers", metavar="FILE", help="Right calls, for data of questions alone.")
]
Strict: TypeAlias = Annotated[
    bool | None, typer.Option("--strict", help="Stop at the first row that cannot be read.", show_default=False)
]
LabelsFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="Labels of feedback that no rule can tell; see `audit label`."),
]
EMBEDDED = "smollm2-135m-instruct"


def check_inputs(*, data: Path, model: str | None = None, verdicts: Path | None = None) -> None:
    """Find wrong names before anything heavy is loaded, and before the output folder is begun.

    Raises:
        DataError: a file is missing, or a folder stands where a file must; the data may be a folder of files.
        ModelError: there is no such model.
    """
    from tltrain.files import check_file

    if not data.is_dir():
        check_file(data, "file of trajectories")
    if verdicts is not None:
        check_file(verdicts, "file of verdicts")
    if model is not None:
        from tltrain.engine.model import resolve_model

        resolve_model(model)


def choose_reuse(*, resume: bool, overwrite: bool) -> "Reuse":
    """What the two flags say about a used folder.

    Raises:
        UsageError: both are given.
    """
    from tltrain.stage import Reuse

    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other; give one")
    return Reuse.RESUME if resume else Reuse.OVERWRITE if overwrite else Reuse.REFUSE
