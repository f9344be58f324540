"""The stage `export`: a trained model as a folder that transformers, vLLM, SGLang and llama.cpp serve."""

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tltrain.errors import ModelError, UsageError
from tltrain.export.agreement import MAX_NEW_TOKENS, TOLERANCES
from tltrain.export.card import write_card, write_example
from tltrain.export.check import Order, Outcome
from tltrain.export.gguf import check_type, convert, find_converter
from tltrain.export.history import read_history
from tltrain.export.parsers import SGLANG_VERSION, VLLM_VERSION, ServerParsers, find_parsers
from tltrain.export.prompts import check_prompt_options, make_check_prompts
from tltrain.export.reference import Reference, make_reference, write_reference
from tltrain.export.source import DTYPES, Source, SourcePlan, choose_dtype, load_source, plan_source
from tltrain.files import atomic_folder, write_json_atomic
from tltrain.stage import Progress
from tltrain.syntax import CallSyntax, get_syntax
from tltrain.types import MalformedCall

_GGUF_FORMATS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "q8_0": "q8_0"}
"""Each GGUF type's key in `TOLERANCES`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """What was written, and what the checks found."""

    out: Path
    dtype: str
    syntax: str
    """In which the model writes calls."""
    end_tokens: tuple[str, ...]
    """With which it ends a turn, as generation_config.json says."""
    vllm_parser: str | None
    sglang_parser: str | None
    gguf: Path | None
    outcome: Outcome
    gguf_outcome: Outcome | None
    num_with_calls: int
    """Greedy answers that hold a call."""
    num_malformed: int
    """Those that hold one that cannot be read."""


def export(
    model: str | Path,
    *,
    out: Path,
    adapter: Path | None = None,
    dtype: str = "auto",
    prompts: Path | None = None,
    num_prompts: int = 20,
    gguf: str | None = None,
    converter: Path | None = None,
    progress: Progress | None = None,
) -> ExportResult:
    """Write a model for serving, and compare what was written with its source; whole or not at all.

    `out` gets merged weights as safetensors, tokenizer, a chat template that knows tools, config, a generation config
    that names all tokens which end a turn, README.md, export.json, and a GGUF file if asked for. A fresh process loads
    it and answers the prompts greedily; see `agreement.find_problem` for what must be the same and how closely.

    The source runs in float32, 4 bytes a weight.

    Args:
        model: a folder, a peft adapter folder, the embedded model, a .gguf file or a hub id.
        out: the folder to make; it may exist if it is empty.
        adapter: peft adapter to merge into the model.
        dtype: float32, bfloat16, float16, or auto: as the model's own weights are.
        prompts: trajectories in any format; None: generated ones.
        num_prompts: how many of them to compare on.
        gguf: q8_0, f16, bf16 or f32, to write a GGUF file too.
        converter: llama.cpp's convert_hf_to_gguf.py; None: see `find_converter`.
        progress: told (prompts done, all prompts).

    Raises:
        UsageError: an unknown dtype or GGUF type, no converter, or `out` is in use.
        DataError: the prompts cannot be read.
        ModelError: the model cannot be loaded, the adapter does not fit, or the export differs from its source; nothing
            is left at `out`.
    """
    if dtype not in (*DTYPES, "auto"):
        raise UsageError(f"dtype={dtype!r} is not known; choose one of {', '.join(DTYPES)}, auto")
    check_prompt_options(prompts, num_prompts)
    program = None
    if gguf is not None:
        check_type(gguf)
        program = find_converter(converter)
    elif converter is not None:
        raise UsageError("a converter has no effect without a GGUF type; give both, or neither")
    plan = plan_source(model, adapter)
    with atomic_folder(out) as folder, tempfile.TemporaryDirectory() as scratch:
        source = load_source(plan)
        chosen = choose_dtype(dtype, source)
        written = _write(source, chosen, folder, Path(scratch), prompts, num_prompts, progress)
        model_type = source.model.config.model_type
        del source  # two copies of the model need not be in memory
        outcome = _check(folder, chosen, Path(scratch))
        gguf_outcome = None
        if gguf is not None and program is not None:
            file = folder / f"model-{gguf}.gguf"
            convert(folder, file, gguf=gguf, converter=program)
            gguf_outcome = _check(file, _GGUF_FORMATS[gguf], Path(scratch))
        with_calls, malformed = _count_calls(written)
        example = write_example(written.tokenizer, written.syntax)
        parsers = find_parsers(
            written.syntax.name, example=example, vocabulary=written.tokenizer.get_vocab(), model_type=model_type
        )
        result = ExportResult(
            out=out,
            dtype=chosen,
            syntax=written.syntax.name,
            end_tokens=tuple(written.tokenizer.convert_ids_to_tokens(written.reference.end_ids)),
            vllm_parser=parsers.vllm.name,
            sglang_parser=parsers.sglang.name,
            gguf=out / f"model-{gguf}.gguf" if gguf else None,
            outcome=outcome,
            gguf_outcome=gguf_outcome,
            num_with_calls=with_calls,
            num_malformed=malformed,
        )
        _write_records(result, plan, parsers, example, folder, str(prompts) if prompts else "generated")
        _open_to_readers(folder)
    return result


@dataclass(frozen=True, kw_only=True, slots=True)
class _Written:
    tokenizer: Any
    syntax: CallSyntax
    reference: Reference


def _write(
    source: Source,
    dtype: str,
    folder: Path,
    scratch: Path,
    prompts: Path | None,
    num_prompts: int,
    progress: Progress | None,
) -> _Written:
    """Answer the prompts with the source as it is, then merge and save it."""
    import torch

    from tltrain.engine.device import pick_device
    from tltrain.engine.model import merge_lora
    from tltrain.render.template import ensure_tool_template
    from tltrain.render.turns import turn_end_ids

    tokenizer = source.tokenizer
    syntax = get_syntax(ensure_tool_template(tokenizer))
    context = getattr(source.model.config.get_text_config(), "max_position_embeddings", None)
    chosen = make_check_prompts(
        prompts, tokenizer, syntax, num_prompts=num_prompts, max_length=context and context - MAX_NEW_TOKENS
    )
    if not chosen:
        raise ModelError(f"no generated prompt fits the context of {context} tokens; give shorter ones with --prompts")
    end_ids = turn_end_ids(tokenizer) | _declared_ends(source.model)
    reference = make_reference(
        source.model.to(pick_device()),
        chosen,
        end_ids=end_ids,
        pad_id=tokenizer.pad_token_id,
        told=(lambda done: progress(done, len(chosen), "prompts")) if progress else None,
    )
    write_reference(reference, scratch)
    merged = merge_lora(source.model).to(device="cpu", dtype=getattr(torch, dtype))
    _set_ends(merged, end_ids, tokenizer)
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return _Written(tokenizer=tokenizer, syntax=syntax, reference=reference)


def _declared_ends(model: Any) -> frozenset[int]:
    """The end tokens that the model's own generation config names."""
    ends = model.generation_config.eos_token_id if model.generation_config else None
    return frozenset([ends] if isinstance(ends, int) else ends or [])


def _set_ends(model: Any, end_ids: frozenset[int], tokenizer: Any) -> None:
    ends: Any = sorted(end_ids)
    for settings in (model.config, model.generation_config):
        settings.eos_token_id = ends[0] if len(ends) == 1 else ends
        settings.pad_token_id = tokenizer.pad_token_id


def _check(model: Path, dtype: str, scratch: Path) -> Outcome:
    """Have a fresh process compare; raises ModelError where something differs."""
    what = f"the file {model.name}" if model.suffix == ".gguf" else "the export"
    order, outcome = scratch / "order.json", scratch / "outcome.json"
    outcome.unlink(missing_ok=True)
    asked = Order(model=str(model), dtype=dtype, reference=str(scratch), outcome=str(outcome))
    order.write_text(json.dumps(asdict(asked)), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-m", "tltrain.export.check", str(order)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=environment,
    )
    if done.returncode != 0 or not outcome.is_file():
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it said nothing")
        raise ModelError(f"{what} cannot be loaded and run by a fresh process: {last[-400:]}; nothing was written")
    found = Outcome(**json.loads(outcome.read_text(encoding="utf-8")))
    if found.problem is not None:
        raise ModelError(f"{what} differs from its source: {found.problem}; nothing was written{_advice(dtype)}")
    return found


def _advice(dtype: str) -> str:
    return "" if dtype == "float32" else f"; {dtype} may be too coarse for this model: try a finer type"


def _count_calls(written: _Written) -> tuple[int, int]:
    """How many of the source's answers hold a call, and how many one that cannot be read."""
    with_calls = malformed = 0
    for expected in written.reference.expected:
        tokens = expected.tokens
        if tokens[-1] not in written.reference.end_ids:
            continue  # cut off: nothing can be said of it
        calls = written.syntax.parse(written.tokenizer.decode(tokens[:-1])).calls
        with_calls += bool(calls)
        malformed += any(isinstance(call, MalformedCall) for call in calls)
    return with_calls, malformed


def _write_records(
    result: ExportResult, plan: SourcePlan, parsers: ServerParsers, example: str, folder: Path, prompts_from: str
) -> None:
    """README.md and export.json."""
    history = read_history(plan.adapter or Path(plan.base))
    base = history.base or (plan.base if plan.adapter else None)
    version = importlib.metadata.version("tltrain")
    record = {
        "model": plan.base,
        "adapter": str(plan.adapter) if plan.adapter else None,
        "base": base,
        "dtype": result.dtype,
        "syntax": result.syntax,
        "end_tokens": result.end_tokens,
        "parsers": {
            f"vllm {VLLM_VERSION}": asdict(parsers.vllm),
            f"sglang {SGLANG_VERSION}": asdict(parsers.sglang),
        },
        "prompts": prompts_from,
        "tolerance": TOLERANCES[result.dtype],
        "checks": asdict(result.outcome),
        "answers_with_calls": result.num_with_calls,
        "answers_with_malformed_calls": result.num_malformed,
        "gguf": {"file": result.gguf.name, **asdict(result.gguf_outcome)}
        if result.gguf and result.gguf_outcome
        else None,
        "versions": {name: importlib.metadata.version(name) for name in ("tltrain", "torch", "transformers")},
    }
    write_json_atomic(folder / "export.json", record)
    facts = {
        "name": result.out.absolute().name,
        "base": base,
        "adapter": plan.adapter is not None,
        "version": version,
        "dtype": result.dtype,
        "ends": result.end_tokens,
        "stages": history.stages,
        "run": history.run,
        "versions": history.versions,
        "parsers": parsers,
        "gguf": result.gguf.name if result.gguf else None,
        "outcome": result.outcome,
        "gguf_outcome": result.gguf_outcome,
        "prompts_from": prompts_from,
        "max_new_tokens": MAX_NEW_TOKENS,
        "tolerance": TOLERANCES[result.dtype],
        "num_with_calls": result.num_with_calls,
        "num_malformed": result.num_malformed,
    }
    card = write_card(facts, syntax=result.syntax, example=example, place=str(result.out))
    (folder / "README.md").write_text(card, encoding="utf-8")


def _open_to_readers(folder: Path) -> None:
    """Give all files the usual permissions: safetensors makes its own for their owner alone, which servers are not."""
    mask = os.umask(0)
    os.umask(mask)
    for file in folder.iterdir():
        file.chmod(0o666 & ~mask)
    folder.chmod(0o777 & ~mask)
