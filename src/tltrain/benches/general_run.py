"""The stage `eval general`: a model, and perhaps its base, on plain text and on tasks of lm-evaluation-harness."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tltrain.benches.general_config import GeneralConfig
from tltrain.benches.general_scores import TextScores, WindowRow, score_windows
from tltrain.benches.lm_eval_run import LmEvalScores, check_lm_eval, run_lm_eval
from tltrain.benches.run import settle_precision
from tltrain.benches.text_windows import TextFile, Window, cut_windows, opening_ids, read_text_file
from tltrain.engine.model import LoadedModel, load_model, resolve_model
from tltrain.errors import DataError, ModelError, UsageError
from tltrain.files import JsonLinesWriter, encode_line, read_json_lines, write_text_atomic
from tltrain.stage import Progress, Reuse, Stage

WINDOWS = "windows.jsonl"


class GeneralScores(BaseModel):
    """scores.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    precision: str
    """Number format that the models ran in."""
    general: TextScores | None
    """None: no text was given."""
    lm_eval: LmEvalScores | None
    """None: no tasks were asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneralResult:
    """Where the results are, and the scores."""

    folder: Path
    """Holds scores.json; windows.jsonl, a row for each window of the text; lm_eval/, what lm_eval wrote."""
    scores: GeneralScores


def evaluate_general(
    config: GeneralConfig,
    *,
    model: str | Path,
    out: Path,
    text: Path | None = None,
    base: str | Path | None = None,
    reuse: Reuse = Reuse.REFUSE,
    progress: Progress | None = None,
) -> GeneralResult:
    """Measure what a model keeps of its general ability.

    A run that was killed goes on behind the last window, and ends with the same files.

    Args:
        config: settings.
        model: see `load_model`.
        out: folder of the stage.
        text: plain text, or JSON Lines; None: tasks of lm_eval alone.
        base: the model that it was made from, with the same tokenizer; see `BaseScores`.
        reuse: what to do with a folder that was used before.
        progress: told how far it is.

    Raises:
        UsageError: nothing to measure on, lm_eval is asked for and not installed, or the folder is in use or was begun
            with other settings.
        DataError: the text cannot be read or has nothing to predict, or a task of lm_eval cannot be run.
        ModelError: a model cannot be loaded or has less context than a window, or the base has another tokenizer.
    """
    if text is None and config.lm_eval is None:
        raise UsageError("give a file of text, tasks of lm_eval (--lm-eval TASKS), or both")
    if text is None and base is not None:
        raise UsageError("--base is compared on a text; name a file of text, or leave --base out")
    if config.lm_eval is not None:
        check_lm_eval(config.lm_eval)
    read = None
    if text is not None:
        read = read_text_file(text, text_field=config.text_field, max_bytes=config.max_bytes)
    tasks_folder = Path(config.lm_eval.include_path) if config.lm_eval and config.lm_eval.include_path else None
    paths = {"text": text, "model": Path(model), "base": None if base is None else Path(base), "tasks": tasks_folder}
    stage = Stage(out, name="eval", config=config, inputs=paths, reuse=reuse)
    if stage.is_done:
        return GeneralResult(folder=out, scores=GeneralScores.model_validate_json((out / "scores.json").read_bytes()))
    precision = settle_precision(config.precision, out)
    measured = None
    if read is not None and text is not None:
        rows = _measure(config, read, text, model, base, precision, out, progress or (lambda *_: None))
        measured = score_windows(
            rows,
            config,
            text=text.name,
            is_whole=read.is_whole,
            num_documents=len(read.documents),
            base=None if base is None else str(base),
        )
    tasks = None
    if config.lm_eval is not None:
        place, folder = resolve_model(model), out / "lm_eval"
        tasks = run_lm_eval(config.lm_eval, model=place, out=folder, precision=precision, seed=config.seed)
    scores = GeneralScores(model=str(model), precision=precision, general=measured, lm_eval=tasks)
    write_text_atomic(out / "scores.json", scores.model_dump_json(indent=2) + "\n")
    stage.finish({"num_windows": measured.num_windows if measured else 0, "tasks": len(tasks.tasks) if tasks else 0})
    return GeneralResult(folder=out, scores=scores)


def _measure(
    config: GeneralConfig,
    read: TextFile,
    text: Path,
    model: str | Path,
    base: str | Path | None,
    precision: Literal["float32", "bfloat16"],
    out: Path,
    progress: Progress,
) -> list[WindowRow]:
    """Run all windows that no earlier start has run, and write their rows down."""
    loaded = _load(model, config, precision)
    other = None if base is None else _load(base, config, precision)
    windows = cut_windows(read.documents, loaded.tokenizer, window=config.window, stride=config.stride)
    if not windows:
        raise DataError(f"{text}: its text is too short: one token, before which nothing stands; name a longer text")
    if other is not None:
        _check_tokenizers(loaded, other, read.documents, windows, config, names=(str(base), str(model)))
    path = out / WINDOWS
    kept = _read_kept(path)
    with JsonLinesWriter(path) as writer:
        for done, window in enumerate(windows):
            progress(done, len(windows), "windows")
            if (window.document, window.start) not in kept:
                row = measure_window(window, loaded, other)
                if not all(math.isfinite(value) for value in row.model_dump(exclude_none=True).values()):
                    raise ModelError(f"model {model}: its log-probs are no numbers (NaN); check its weights")
                kept[window.document, window.start] = row
                writer.write(row.model_dump(mode="json"))
    progress(len(windows), len(windows), "windows")
    rows = [kept[window.document, window.start] for window in windows]
    write_text_atomic(path, "".join(encode_line(row.model_dump(mode="json")) for row in rows))
    return rows


def measure_window(window: Window, model: LoadedModel, base: LoadedModel | None = None) -> WindowRow:
    """Sums over the tokens that a window predicts; of both models at the same tokens, where there is a base."""
    import torch

    from tltrain.engine.divergence import compare_distributions
    from tltrain.engine.head import Head, output_head, score_targets
    from tltrain.engine.logprobs import TargetSequence, target_states

    def run(each: LoadedModel) -> tuple[Any, Head, float]:
        hidden = target_states(each.model, [sequence])
        head = output_head(each.model)
        targets = torch.tensor([window.ids[place] for place in window.positions], device=hidden.device)
        return hidden, head, -score_targets(hidden, head, targets).logprobs.double().sum().item()

    sequence = TargetSequence(window.ids, window.positions)
    fields: dict[str, Any] = {}
    with torch.no_grad():
        hidden, head, nll = run(model)
        if base is not None:
            base_hidden, base_head, fields["base_nll"] = run(base)
            found = compare_distributions(base_hidden, base_head, hidden, head)
            fields["kl"] = found.kl.double().sum().item()
            fields["reverse_kl"] = found.reverse_kl.double().sum().item()
            fields["num_agreeing"] = int(found.agrees.sum())
    return WindowRow(
        document=window.document,
        start=window.start,
        num_bytes=window.num_bytes,
        num_tokens=len(window.positions),
        nll=nll,
        **fields,
    )


def _load(spec: str | Path, config: GeneralConfig, precision: Literal["float32", "bfloat16"]) -> LoadedModel:
    from tltrain.engine.device import pick_device

    loaded = load_model(spec, dtype=precision)
    context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    needed = config.window + len(opening_ids(loaded.tokenizer))
    if context is not None and needed > context:
        window = context - needed + config.window
        raise ModelError(
            f"window={config.window}: model {spec} reads {context} tokens at most, special ones included; make it "
            f"--set window={window} --set stride={window // 2}, for all models that are to be compared"
        )
    return LoadedModel(model=loaded.model.to(pick_device()).eval(), tokenizer=loaded.tokenizer)


def _check_tokenizers(
    model: LoadedModel,
    base: LoadedModel,
    documents: Sequence[str],
    windows: Sequence[Window],
    config: GeneralConfig,
    *,
    names: tuple[str, str],
) -> None:
    """Raise unless a token of one is the same token of the other, and both cut this text alike.

    Either may have tokens that the other lacks, such as a mark of a tool call that was added in training.
    """
    remedy = (
        "KL compares distributions over the same tokens. Leave --base out, evaluate each model alone, and set their "
        "bits per byte side by side with `tltrain compare`"
    )
    wrong = _first_difference(base.tokenizer.get_vocab(), model.tokenizer.get_vocab())
    if wrong is not None:
        raise ModelError(f"--base {names[0]} has another tokenizer than {names[1]}: {wrong}; {remedy}")
    others = cut_windows(documents, base.tokenizer, window=config.window, stride=config.stride)
    if [window.ids for window in others] != [window.ids for window in windows]:
        raise ModelError(
            f"--base {names[0]} has the vocabulary of {names[1]}, but cuts the text into other tokens; {remedy}"
        )


def _first_difference(first: Mapping[str, int], second: Mapping[str, int]) -> str | None:
    tokens = {number: token for token, number in second.items()}
    for token, number in first.items():
        if second.get(token, number) != number:
            return f"{token!r} is token {number} of one and {second[token]} of the other"
        if tokens.get(number, token) != token:
            return f"token {number} is {token!r} of one and {tokens[number]!r} of the other"
    return None


def _read_kept(path: Path) -> dict[tuple[int, int], WindowRow]:
    """Rows of an earlier start, by place; a line that was cut short by a kill is passed over."""
    if not path.is_file() or not path.stat().st_size:
        return {}
    rows = []
    for _, fields in read_json_lines(path):
        try:
            rows.append(WindowRow.model_validate({} if isinstance(fields, DataError) else fields))
        except ValidationError:
            continue
    return {(row.document, row.start): row for row in rows}
