"""Entry points for plain files, for use from outside: reward score, key-tokens."""

from pathlib import Path
from typing import Annotated

import typer

from tltrain.cli.options import AsJson, ConfigFile, Settings
from tltrain.cli.rows import print_rows


def score(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines of {id, tools, gold, pred}.")],
    syntax: Annotated[
        str, typer.Option(help="How the calls are written: python, hermes, llama, mistral, ...")
    ] = "python",
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Score predicted calls, with the kind of each error.

    tools is a list of {name, parameters}, gold and pred are calls as text; gold null: no call is right. gold may also
    be {"any_of": [calls]}, or a list of calls that are all right. --set takes reward.FIELD and compare.FIELD.
    """
    from tltrain.config import load_config
    from tltrain.rewards.judge import RewardRules
    from tltrain.rewards.score_file import score_file

    rules = load_config(RewardRules, file=config, settings=settings or ())
    results = score_file(file, syntax, rules.reward, rules.compare)
    print_rows(results, ("id", "reward", "kind"), count_by="kind", mean_of="reward", as_json=as_json)


def key_tokens(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON Lines of {id, tool_pieces, gold_tool, call_pieces}.")
    ],
    w_max: Annotated[float, typer.Option(help="Upper bound of the weight.", min=1)] = 9.0,
    as_json: AsJson = False,
) -> None:
    """Find the key tokens of calls, and what they weigh.

    tool_pieces maps each available tool to the pieces of its name; call_pieces is the whole call in pieces.
    """
    from tltrain.render.key_tokens import key_tokens_file

    columns = ("id", "key_positions", "n_key", "n_nonkey", "weight")
    print_rows(key_tokens_file(file, w_max), columns, count_by="n_key", as_json=as_json)
