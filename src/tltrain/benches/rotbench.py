"""RoTBench, first turn: 105 queries with the tools as they are, and at four levels of noise in their names.

Levels: clean (105 cases), slight, medium, heavy (210 each: tool names perturbed in the first half, parameters in the
second), union (105, both). Headline scores are those of the released script, bugs included, see `rotbench_rules`;
`fixed_ts`, `fixed_pi` and `fixed_cf` beside them mend the bugs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tltrain.benches.bench_case import Answer, BenchCase, Verdict
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.documents import read_documents
from tltrain.benches.policy import Request
from tltrain.benches.rotbench_rules import FREE, Stages, read_turn, score_fixed, score_official, write_turn
from tltrain.errors import DataError
from tltrain.taxonomy import CallError, Diagnosis, diagnose, diagnose_turn
from tltrain.types import AnyCall, Json, MalformedCall, Message, Role, Tool, ToolCall

LEVELS = ("clean", "slight", "medium", "heavy", "union")
NUM_QUERIES = 105
"""Entry i of a level perturbs entry i mod 105 of clean."""
_SYSTEM = (
    "You are an expert in using tools to handle real-time queries from users. Each of your turns calls exactly one of "
    'the given tools. Always use the "finish" tool upon task completion; its answer should be comprehensive enough for '
    'the user. If the task is unmanageable, use the "finish" tool and respond with "I cannot handle the task".'
)


class PromptStyle(StrEnum):
    """How a test set that brings a prompt of its own is put to the model."""

    NATIVE = "native"
    """Tools and calls in the model's own way, by its chat template."""
    ORIGINAL = "original"
    """The set's own text, which lists the tools and asks for Thought / Action / Action Input."""


@dataclass(frozen=True, slots=True)
class _Source:
    alternatives: tuple[str, ...]
    tool_names: tuple[str, ...]
    tools: tuple[Tool, ...]


class RoTBench:
    """See `tltrain.benches.bench_case.Bench`.

    Args:
        data: where the files are.
        levels: which of `LEVELS`.
        style: how the prompt is written, and so how answers are read.
    """

    name = "rotbench"
    headline = "level"
    notes = (
        "TS, PI, CF as the released script counts them, bugs included: calls without arguments are wrong, so right "
        "answers alone reach 92.38 (heavy 95.24).",
        "fixed_ts, fixed_pi, fixed_cf mend those bugs.",
    )

    def __init__(self, data: DataFolder, *, levels: Sequence[str] = LEVELS, style: PromptStyle = PromptStyle.NATIVE):
        self._data, self._levels, self._style = data, levels, style

    def load(self) -> list[BenchCase]:
        """See `Bench.load`."""
        return [case for level in self._levels for case in self._load_level(level)]

    def _load_level(self, level: str) -> list[BenchCase]:
        name = f"rotbench/First_Turn/{level}.json"
        entries = self._data.read_json(name)
        if not isinstance(entries, list):
            raise DataError(f"{name}: no list of entries; fetch it anew")
        cases = []
        for index, entry in enumerate(entries):
            try:
                cases.append(_read_case(entry, level, index, self._style))
            except (LookupError, TypeError, ValueError) as error:
                raise DataError(f"{name}: entry {index}: {error!r}; it is no RoTBench entry: fetch it anew") from None
        return cases

    def judge(self, case: BenchCase, answer: Answer) -> Verdict:
        """See `Bench.judge`."""
        source: _Source = case.source
        calls: tuple[AnyCall, ...]
        if self._style is PromptStyle.ORIGINAL:
            text, calls = answer.text, (read_turn(answer.text),)
        else:
            text, calls = "\n".join(_write_call(call) for call in answer.calls), answer.calls
        official = score_official(text, source.alternatives, source.tool_names)
        fixed, label = _judge_fixed(calls, case.gold, source.tools)
        if official.stages.cf:
            label = Diagnosis().label
        elif label == Diagnosis().label:
            label = "script_rule"  # right, but for a bug of the script
        details: dict[str, Json] = {f"fixed_{name}": value for name, value in fixed._asdict().items()}
        if official.crashes and calls:
            details["script_crashes"] = True
        return Verdict(**official.stages._asdict(), label=label, details=details)


def _write_call(call: AnyCall) -> str:
    return call.raw if isinstance(call, MalformedCall) else write_turn(call)


def _judge_fixed(
    calls: Sequence[AnyCall], alternatives: Sequence[Sequence[ToolCall]], tools: Sequence[Tool]
) -> tuple[Stages, str]:
    """The mended scores, and what is wrong next to the alternative that comes nearest."""
    first = alternatives[0][0]
    if len(calls) != 1 or isinstance(calls[0], MalformedCall):
        return Stages(), diagnose_turn(calls, tools, first).label
    scored = [(score_fixed(calls[0], gold, tools), gold) for (gold,) in alternatives]
    stages, gold = max(scored, key=lambda pair: sum(pair[0]))
    if stages.cf:
        return stages, Diagnosis().label
    if stages.pi:
        return stages, CallError.CONTENT.value
    # finish stands for the perturbed name of the last tool
    call = ToolCall(name=gold.name, arguments=calls[0].arguments) if stages.ts else calls[0]
    free = {key: call.arguments.get(key) for key, value in gold.arguments.items() if value == FREE}
    return stages, diagnose(call, tools, ToolCall(name=gold.name, arguments={**gold.arguments, **free})).label


def _read_case(entry: Any, level: str, index: int, style: PromptStyle) -> BenchCase:
    """Raises LookupError, TypeError or ValueError where the entry has another shape."""
    system, user, gold = (turn["value"] for turn in entry["conversations"])
    tools = read_documents(system)
    calls = [read_turn(turn) for turn in gold]
    readable = [call for call in calls if isinstance(call, ToolCall)]
    if not readable or len(readable) < len(calls):
        raise ValueError("a golden answer cannot be read, or there is none")
    if style is PromptStyle.ORIGINAL:
        request = Request((), (Message(role=Role.SYSTEM, content=system), Message(role=Role.USER, content=user)))
    else:
        query = user.removesuffix("\nBegin!\n")
        request = Request(tools, (Message(role=Role.SYSTEM, content=_SYSTEM), Message(role=Role.USER, content=query)))
    return BenchCase(
        id=f"{level}/{index}",
        request=request,
        gold=tuple((call,) for call in readable),
        groups={
            "level": level,
            "perturbation": f"{level}: {_perturbed(level, index)}",
            "scenario": f"{level}: {entry['scenario']}",
        },
        cluster=str(index % NUM_QUERIES),
        source=_Source(tuple(gold), tuple(tool.name for tool in tools), tools),
    )


def _perturbed(level: str, index: int) -> str:
    """What is perturbed in an entry."""
    if level == "clean":
        return "nothing"
    if level == "union":
        return "tools and parameters"
    return "tools" if index < NUM_QUERIES else "parameters"
