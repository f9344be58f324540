"""Berkeley Function-Calling Leaderboard: single-turn categories in Python, as test set and as official result files.

`exec`, the 240 executable cases that TL-Training reports, has one value a parameter: TS, PI and CF compare whole sets
of calls. All other categories list the allowed values: CF is the official checker's verdict, TS that the right tools
are called, each as often, PI that the parameter names pass, too. irrelevance wants no call, relevance any.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tltrain.benches.bench_case import Answer, BenchCase, Verdict
from tltrain.benches.bfcl_cases import EXEC, BfclSource, expand_parts, load_category, plain_arguments
from tltrain.benches.bfcl_checker import CRASH, check_answer, check_names, count_of
from tltrain.benches.bfcl_decode import (
    DecodedCall,
    UndecodableError,
    decode_output,
    is_list_of_calls,
)
from tltrain.benches.call_sets import compare_calls
from tltrain.benches.data_folder import DataFolder
from tltrain.taxonomy import CallError, Diagnosis, diagnose
from tltrain.types import Json, MalformedCall, ToolCall


class Bfcl:
    """See `tltrain.benches.bench_case.Bench`.

    Args:
        data: where the files are.
        parts: categories, or names of `PARTS`.
        first_call: judge exec cases by the first call alone, against the first right one.

    Raises:
        UsageError: there is no such category.
    """

    name = "bfcl"
    headline = "category"

    def __init__(self, data: DataFolder, *, parts: Sequence[str] = ("exec",), first_call: bool = False):
        self.categories = expand_parts(parts)
        self._data, self._first_call = data, first_call
        compared = "the first call with the first right one" if first_call else "all calls of a case, in any order"
        self.notes: Sequence[str] = (
            f"exec: TS, PI, CF compare {compared}, by plain equality of values.",
            "Other categories: CF is the verdict of the official checker's rules (bfcl-eval 2026.3.23); TS, PI are "
            "ours.",
        )

    def load(self) -> list[BenchCase]:
        """See `Bench.load`."""
        return [case for category in self.categories for case in load_category(self._data, category)]

    def judge(self, case: BenchCase, answer: Answer) -> Verdict:
        """See `Bench.judge`. Text without a call is an answer without a call, whatever it looks like."""
        source: BfclSource = case.source
        if source.category in EXEC:
            return self._judge_exec(case, answer)
        if any(isinstance(call, MalformedCall) for call in answer.calls) or not answer.calls:
            verdict = judge_decoded(source, None)
        else:
            decoded = [{call.name: call.arguments} for call in answer.calls if isinstance(call, ToolCall)]
            verdict = judge_decoded(source, decoded)
        return verdict

    def _judge_exec(self, case: BenchCase, answer: Answer) -> Verdict:
        tools, (golds,) = case.request.tools, case.gold
        if self._first_call:
            first = diagnose(answer.calls[0] if answer.calls else None, tools, golds[0])
            return Verdict(
                ts=first.tool_selected, pi=first.parameters_identified, cf=first.content_filled, label=first.label
            )
        found = compare_calls(answer.calls, tools, golds)
        return Verdict(ts=found.ts, pi=found.pi, cf=found.cf, label=found.label)


def judge_result(case: BenchCase, result: Any, *, underscore_to_dot: bool = False) -> Verdict:
    """Judge the `result` of one line of a BFCL result file; exec cases are judged by all their calls.

    Args:
        case: the one that the line answers.
        result: text, or a list of calls.
        underscore_to_dot: the file's model writes `_` for each dot in a tool's name.
    """
    source: BfclSource = case.source
    try:
        decoded = decode_output(result)
    except UndecodableError:
        decoded = None
    if source.category not in EXEC:
        return judge_decoded(source, decoded, underscore_to_dot=underscore_to_dot)
    calls = []
    if decoded is not None and is_list_of_calls(decoded):
        dots = {tool.name.replace(".", "_"): tool.name for tool in case.request.tools} if underscore_to_dot else {}
        pairs = [next(iter(call.items())) for call in decoded]
        calls = [ToolCall(name=dots.get(name, str(name)), arguments=plain_arguments(given)) for name, given in pairs]
    found = compare_calls(calls, case.request.tools, case.gold[0])
    return Verdict(ts=found.ts, pi=found.pi, cf=found.cf, label=found.label)


def official_error(
    source: BfclSource, decoded: Sequence[DecodedCall] | None, *, underscore_to_dot: bool = False
) -> str | None:
    """The error type that the official runner gives an answer; None if it is right.

    Args:
        source: of the case.
        decoded: the calls; None if the output could not be decoded.
        underscore_to_dot: see `check_answer`.
    """
    if "relevance" in source.category:
        has_call = is_list_of_calls(decoded) and bool(decoded)
        if "irrelevance" in source.category:
            return "irrelevance_error:decoder_success" if has_call else None
        return None if has_call else "relevance_error:decoder_failed"
    if decoded is None:
        return "ast_decoder:decoder_failed"
    if not is_list_of_calls(decoded):
        return "ast_decoder:decoder_wrong_output_format"
    fault = check_answer(
        decoded, source.functions, source.wanted, count_of(source.category), underscore_to_dot=underscore_to_dot
    )
    return fault.error_type if fault else None


def judge_decoded(
    source: BfclSource, decoded: Sequence[DecodedCall] | None, *, underscore_to_dot: bool = False
) -> Verdict:
    """The verdict on calls that were decoded, or could not be; see `official_error`."""
    error = official_error(source, decoded, underscore_to_dot=underscore_to_dot)
    details: dict[str, Json] = {"valid": error is None, "error_type": error}
    if "relevance" in source.category:
        wrong = CallError.UNWANTED_CALL if "irrelevance" in source.category else CallError.MISSING_CALL
        return Verdict(ts=error is None, pi=None, cf=None, label=wrong if error else _RIGHT, details=details)
    if error == CRASH:
        details["script_crashes"] = True
    ts, pi = _names_agree(source, decoded, underscore_to_dot) if is_list_of_calls(decoded) else (False, False)
    is_valid = error is None
    return Verdict(ts=ts or is_valid, pi=pi or is_valid, cf=is_valid, label=error or _RIGHT, details=details)


_RIGHT = Diagnosis().label


def _names_agree(
    source: BfclSource, decoded: Sequence[DecodedCall] | None, underscore_to_dot: bool
) -> tuple[bool, bool]:
    """Whether the tools agree, and, with calls taken in order, their parameter names too."""

    def shown(name: str) -> str:
        return name.replace(".", "_") if underscore_to_dot else name

    left = [next(iter(call.items())) for call in decoded or ()]
    wanted = [next(iter(right.items())) for right in source.wanted]
    if Counter(name for name, _ in left) != Counter(shown(name) for name, _ in wanted):
        return False, False
    for name, allowed in wanted:
        document = next(function for function in source.functions if function["name"] == name)
        fitting = (
            place
            for place, (other, given) in enumerate(left)
            if other == shown(name) and check_names(given, document, allowed) is None
        )
        position = next(fitting, None)
        if position is None:
            return True, False
        del left[position]
    return True, True
