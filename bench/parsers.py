"""Whether the tool-call parsers of vLLM and SGLang read the calls that our chat templates write.

    pip download --no-deps vllm==0.33.0 sglang==0.5.23      # with --platform and --python-version where needed
    unzip -q -d vllm vllm-*.whl; unzip -q -d sglang sglang-*.whl
    python bench/parsers.py --vllm vllm --sglang sglang --data runs/demo/generate/train.jsonl

The parsers run in this process, without a server or a model; what they import must be installed (vLLM's: regex,
partial-json-parser, openai, fastapi and the like). For each template of tests/render, every turn of the data
that calls tools on offer is written by the template, and read by the parser that `tltrain.export.parsers` names; names
and arguments are compared as JSON.
Prints a row a template and server, and the first texts that are read otherwise.
"""

import argparse
import importlib
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from export.written_calls import WrittenTurn, written_turns
from render.template_shapes import SHAPES, with_shape
from tltrain.engine.embedded import NAME
from tltrain.engine.model import load_tokenizer
from tltrain.export.card import write_example
from tltrain.export.parsers import find_parsers
from tltrain.formats.read import read_trajectories
from tltrain.render.template import ensure_tool_template
from tltrain.syntax import get_syntax

Reader = Callable[[WrittenTurn], list[tuple[str, Any]]]
_COLUMNS = ("template", "syntax", "server", "parser", "turns", "read", "not: a dot in a name", "not: other")
MODEL_TYPES = {"gpt_oss": "gpt_oss"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", type=Path, help="folder with vLLM's unpacked wheel; left out: not measured")
    parser.add_argument("--sglang", type=Path, help="the same for SGLang")
    parser.add_argument("--data", type=Path, required=True, help="trajectories in any format")
    parser.add_argument("--only", nargs="*", default=list(SHAPES), help="templates")
    parser.add_argument("--parser", help="this parser in place of the one that fits")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    trajectories = read_trajectories(options.data).trajectories
    print(
        "| template | syntax | server | parser | turns | read | with a dot in a name | other |\n|" + "---|" * 8,
        flush=True,
    )
    for name in options.only:
        tokenizer = with_shape(load_tokenizer(NAME), SHAPES[name])
        syntax = ensure_tool_template(tokenizer)
        turns = [turn for turn in written_turns(trajectories, tokenizer, syntax) if is_on_offer(turn)]
        fitting = find_parsers(
            syntax,
            example=write_example(tokenizer, get_syntax(syntax)),
            vocabulary=tokenizer.get_vocab(),
            model_type=MODEL_TYPES.get(name, "llama"),
        )
        for server, folder, choice, make in (
            ("vLLM", options.vllm, fitting.vllm, vllm_reader),
            ("SGLang", options.sglang, fitting.sglang, sglang_reader),
        ):
            if folder is None:
                continue
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
            chosen = options.parser or choice.name
            if chosen is None:
                print(f"| {name} | {syntax} | {server} | none: {choice.note} | | | | |", flush=True)
                continue
            try:
                report(name, syntax, server, chosen, turns, make(chosen, tokenizer))
            except Exception as error:  # whatever another project's code raises is a finding
                print(
                    f"| {name} | {syntax} | {server} | {chosen} | {type(error).__name__}: {error} | | | |", flush=True
                )


def is_on_offer(turn: WrittenTurn) -> bool:
    """Whether it calls listed tools alone: SGLang drops calls of others."""
    return {name for name, _ in turn.calls} <= {tool["function"]["name"] for tool in turn.tools}


def report(name: str, syntax: str, server: str, parser: str, turns: Sequence[WrittenTurn], read: Reader) -> None:
    wrong = [(turn, found) for turn in turns if (found := read(turn)) != turn.calls]
    dotted = [turn for turn, _ in wrong if any("." in call for call, _ in turn.calls)]
    cells = (name, syntax, server, parser, len(turns), len(turns) - len(wrong), len(dotted), len(wrong) - len(dotted))
    print("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells) + " |", flush=True)
    for turn, found in [pair for pair in wrong if pair[0] not in dotted][:2]:
        print(f"  {turn.text!r} is read as {found}", flush=True)


def vllm_reader(parser: str, tokenizer: Any) -> Reader:
    from vllm.tool_parsers import ToolParserManager

    if parser == "openai":
        return _harmony_reader()
    made = ToolParserManager.get_tool_parser(parser)(tokenizer)

    def read(turn: WrittenTurn) -> list[tuple[str, Any]]:
        request = SimpleNamespace(tools=None, tool_choice="auto", skip_special_tokens=False)
        found = made.extract_tool_calls(turn.text, request)
        return [(call.function.name, json.loads(call.function.arguments)) for call in found.tool_calls]

    return read


def _harmony_reader() -> Reader:
    """vLLM reads harmony with OpenAI's own library, from gpt-oss's own token ids."""
    from openai_harmony import HarmonyEncodingName, Role, load_harmony_encoding

    encoding = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)

    def read(turn: WrittenTurn) -> list[tuple[str, Any]]:
        ids = encoding.encode(turn.text, allowed_special="all")
        messages = encoding.parse_messages_from_completion_tokens(ids, role=Role.ASSISTANT)
        called = [one for one in messages if (one.recipient or "").startswith("functions.")]
        return [(one.recipient.removeprefix("functions."), json.loads(one.content[0].text)) for one in called]

    return read


def sglang_reader(parser: str, tokenizer: Any) -> Reader:
    module = importlib.import_module("sglang.srt.function_call.function_call_parser")
    protocol = importlib.import_module("sglang.srt.entrypoints.openai.protocol")

    def read(turn: WrittenTurn) -> list[tuple[str, Any]]:
        tools = [protocol.Tool.model_validate(tool) for tool in turn.tools]
        made = module.FunctionCallParser(tools=tools, tool_call_parser=parser, tokenizer=tokenizer)
        _, calls = made.parse_non_stream(turn.text)
        return [(call.name, json.loads(call.parameters)) for call in calls]

    return read


if __name__ == "__main__":
    main()
