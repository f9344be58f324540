"""The command `tltrain`: its verbs in pipeline order, and what becomes of errors."""

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tltrain.cli import (
    audit_verbs,
    bench_verbs,
    convert_verbs,
    corpus_verbs,
    data_verbs,
    export_verbs,
    file_verbs,
    inspect_verbs,
    measuring_verbs,
    reward_verbs,
    run_verbs,
    training_verbs,
)
from tltrain.cli.failures import FAILED, WRONG_USAGE, report_failure

_EXAMPLES: tuple[tuple[str, Callable[..., None] | typer.Typer, str], ...] = (
    ("generate", data_verbs.generate, "tltrain generate --out data --num-train 500 --num-test 100"),
    ("audit", audit_verbs.GROUP, "tltrain audit data/train.jsonl --out audit"),
    ("convert", convert_verbs.convert, "tltrain convert data.parquet --to trl --out data.jsonl"),
    ("inspect", inspect_verbs.inspect, "tltrain inspect data/train.jsonl --out page.html"),
    ("explain", inspect_verbs.explain, "tltrain explain data/train.jsonl --row train-00002"),
    ("sft", training_verbs.sft, "tltrain sft data/train.jsonl --verdicts audit/verdicts.jsonl --out sft"),
    ("ppo", training_verbs.ppo, "tltrain ppo data/train.jsonl --model sft/model --out ppo"),
    ("eval", bench_verbs.GROUP, "tltrain eval data/test.jsonl --model ppo/model --out eval --max-cases 200"),
    ("compare", measuring_verbs.compare, "tltrain compare runs/demo/eval/base runs/demo/eval/ppo --out comparison"),
    ("report", measuring_verbs.report, "tltrain report runs/demo"),
    ("export", export_verbs.export, "tltrain export runs/demo/ppo/model --out served --dtype bfloat16"),
    ("run", run_verbs.run, "tltrain run my_recipe.yaml --out runs/mine --set sft.num_epochs=2"),
    ("demo", run_verbs.demo, "tltrain demo --out runs/demo"),
    ("key-tokens", file_verbs.key_tokens, "tltrain key-tokens calls.jsonl --json"),
)
_REWARD_EXAMPLES: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("score", file_verbs.score, "tltrain reward score calls.jsonl --json"),
    ("audit", reward_verbs.audit, "tltrain reward audit data/train.jsonl"),
)
_DATA_EXAMPLES: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("mix", corpus_verbs.mix, "tltrain data mix my_recipe.yaml --out data"),
    ("check", corpus_verbs.check, "tltrain data check train.jsonl --against test.jsonl --against bfcl/"),
)


class _Ordered(TyperGroup):
    """Lists its verbs in pipeline order, groups of verbs among them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the verbs."""
        order = [name for name, _, _ in _EXAMPLES]
        return sorted(super().list_commands(ctx), key=lambda name: order.index(name) if name in order else len(order))


def _build() -> typer.Typer:
    app = _group("Train a language model to call tools well.", cls=_Ordered)
    app.callback()(_root)
    for name, verb, example in _EXAMPLES:
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=name)
        else:
            app.command(name, epilog=f"Example: {example}")(verb)
    for group, text, verbs in (
        ("reward", "Rewards: score plain files, audit the reward on your data.", _REWARD_EXAMPLES),
        ("data", "Files of trajectories: mix them, check them against test sets.", _DATA_EXAMPLES),
    ):
        typed = _group(text)
        for name, verb, example in verbs:
            typed.command(name, epilog=f"Example: {example}")(verb)
        app.add_typer(typed, name=group)
    return app


def _group(text: str, cls: type[TyperGroup] = TyperGroup) -> typer.Typer:
    # Plain help: programs read it too, and rich would take a third of the start.
    return typer.Typer(
        cls=cls,
        help=text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("tltrain"))
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version, and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


app = _build()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: by default those of the process.

    Returns:
        0 done, 1 failed, 2 wrong usage or config, 130 interrupted.
    """
    # Progress and warnings of libraries would tear our progress apart, and tell the user nothing to act on.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not os.environ.get("TLTRAIN_DEBUG"):
        warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has seen enough; the interpreter must not find the pipe broken again at its end.
        _drop_stdout()
        return FAILED
    except Exception as error:
        failed = report_failure(error)
        if failed is None:
            raise
        _drop_stdout()
        return failed
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        app(args=None if arguments is None else list(arguments), prog_name="tltrain")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else WRONG_USAGE
    return 0


def _drop_stdout() -> None:
    """Send what is still unwritten nowhere, if stdout cannot take it."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
