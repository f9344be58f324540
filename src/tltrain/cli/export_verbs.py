"""The verb export: a trained model to where it is served."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tltrain.cli.options import AsJson, Out
from tltrain.cli.output import print_facts, print_json


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A folder, a peft adapter folder, smollm2-135m-instruct, a .gguf file or a hub id."
        ),
    ],
    out: Out,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", metavar="FOLDER", help="A peft adapter of MODEL, to be merged into it.")
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help="float32, bfloat16, float16, or auto: as MODEL's own weights are.")
    ] = "auto",
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="FILE", help="Trajectories to compare on; by default some are generated."),
    ] = None,
    num_prompts: Annotated[int, typer.Option("--num-prompts", help="How many prompts to compare on.")] = 20,
    gguf: Annotated[
        str | None, typer.Option("--gguf", metavar="TYPE", help="Write a GGUF file too: q8_0, f16, bf16 or f32.")
    ] = None,
    converter: Annotated[
        Path | None,
        typer.Option(
            "--converter",
            metavar="FILE",
            help="llama.cpp's convert_hf_to_gguf.py; by default TLTRAIN_GGUF_CONVERTER, or the one on PATH.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a trained model for serving, and check what was written.

    OUT gets merged weights, tokenizer, chat template, the tokens that end a turn, and a README.md with the commands
    for vLLM, SGLang, llama.cpp and transformers. A fresh process loads OUT and compares it with MODEL on some prompts;
    where they differ, nothing is left at OUT.
    """
    from tltrain.progress import ProgressLine

    with ProgressLine("export") as progress:
        from tltrain.export.run import export as work

        result = work(
            model,
            out=out,
            adapter=adapter,
            dtype=dtype,
            prompts=prompts,
            num_prompts=num_prompts,
            gguf=gguf,
            converter=converter,
            progress=progress,
        )
    fields = asdict(result)
    if as_json:
        return print_json(fields)
    checks, gguf_checks = fields.pop("outcome"), fields.pop("gguf_outcome")
    fields["end_tokens"] = " ".join(result.end_tokens)
    fields["vllm_parser"] = result.vllm_parser or "none fits, see README.md"
    fields["sglang_parser"] = result.sglang_parser or "none fits, see README.md"
    return print_facts({**fields, "checks": checks, "gguf checks": gguf_checks or ""})
