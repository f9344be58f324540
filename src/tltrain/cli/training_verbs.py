"""The verbs that train: sft, ppo."""

from pathlib import Path
from typing import Annotated

import typer

from tltrain.cli.failures import resumable
from tltrain.cli.options import (
    EMBEDDED,
    AsJson,
    ConfigFile,
    Data,
    DryRun,
    Model,
    Out,
    Overwrite,
    Resume,
    Seed,
    Settings,
    TrackerOption,
    Verdicts,
    check_inputs,
    choose_reuse,
)
from tltrain.cli.output import print_config, print_result


def sft(
    data: Data,
    out: Out,
    model: Model = EMBEDDED,
    verdicts: Verdicts = None,
    validation: Annotated[
        Path | None,
        typer.Option("--validation", help="Trajectories to measure on, in place of a share of DATA."),
    ] = None,
    num_epochs: Annotated[float | None, typer.Option(help="Setting num_epochs: passes over the data.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Setting optimizer.learning_rate.")] = None,
    seed: Seed = None,
    tracker: TrackerOption = None,
    config: ConfigFile = None,
    settings: Settings = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a model on right calls, with key tokens weighted.

    Wrong calls stay in the context and do not teach. OUT/model is a transformers folder with tokenizer and chat
    template; OUT/samples.jsonl shows the weight of each token, OUT/quarantine.jsonl the rows that were set aside.
    """
    from tltrain.config import load_config
    from tltrain.sft.config import SftConfig

    flags = {"num_epochs": num_epochs, "optimizer.learning_rate": learning_rate, "seed": seed}
    resolved = load_config(SftConfig, file=config, flags=flags, settings=settings or ())
    if dry_run:
        files = {"data": data, "model": model, "verdicts": verdicts, "validation": validation, "out": out}
        return print_config(resolved, files)
    from tltrain.progress import ProgressLine

    check_inputs(data=data, model=model, verdicts=verdicts)
    if validation is not None:
        check_inputs(data=validation)
    reuse = choose_reuse(resume=resume, overwrite=overwrite)
    with resumable(out), ProgressLine("sft") as progress:
        from tltrain.sft.train import sft as work

        result = work(
            resolved,
            data=data,
            model=model,
            out=out,
            verdicts=verdicts,
            validation=validation,
            tracker=tracker,
            reuse=reuse,
            progress=progress,
        )
    return print_result(result, as_json=as_json)


def ppo(
    data: Data,
    out: Out,
    model: Model,
    verdicts: Verdicts = None,
    num_epochs: Annotated[float | None, typer.Option(help="Setting num_epochs: passes over the prompts.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Setting max_steps.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Setting actor_optimizer.learning_rate.")] = None,
    seed: Seed = None,
    tracker: TrackerOption = None,
    config: ConfigFile = None,
    settings: Settings = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Optimise a model by PPO, with a reward for each kind of error.

    Every right call of the data is a prompt; the model's own call there is compared with it. OUT/model is the result,
    OUT/rollouts.jsonl shows what the model wrote and what it got for it.
    """
    from tltrain.config import load_config
    from tltrain.rl.config import PpoConfig

    flags = {
        "num_epochs": num_epochs,
        "max_steps": max_steps,
        "actor_optimizer.learning_rate": learning_rate,
        "seed": seed,
    }
    resolved = load_config(PpoConfig, file=config, flags=flags, settings=settings or ())
    if dry_run:
        return print_config(resolved, {"data": data, "model": model, "verdicts": verdicts, "out": out})
    from tltrain.progress import ProgressLine

    check_inputs(data=data, model=model, verdicts=verdicts)
    reuse = choose_reuse(resume=resume, overwrite=overwrite)
    with resumable(out), ProgressLine("ppo") as progress:
        from tltrain.rl.train import ppo as work

        result = work(
            resolved,
            data=data,
            model=model,
            out=out,
            verdicts=verdicts,
            tracker=tracker,
            reuse=reuse,
            progress=progress,
        )
    return print_result(result, as_json=as_json)
