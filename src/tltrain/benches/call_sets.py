"""Comparing all calls of an answer with all calls that are right, whatever their order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tltrain.taxonomy import CallError, Diagnosis, diagnose, json_equal
from tltrain.types import AnyCall, Tool, ToolCall


@dataclass(frozen=True, kw_only=True, slots=True)
class SetDiagnosis:
    """What is wrong with the calls of one answer, next to the right ones."""

    ts: bool
    """The same tools are called, each as often."""
    pi: bool
    """And with the same sets of parameter names."""
    cf: bool
    """And with the same values."""
    errors: tuple[CallError, ...]
    """In the order of `CallError`, each once."""

    @property
    def label(self) -> str:
        """`all_right`, or the errors joined with `+`."""
        return Diagnosis(errors=self.errors).label


def compare_calls(calls: Sequence[AnyCall], tools: Sequence[Tool], golds: Sequence[ToolCall]) -> SetDiagnosis:
    """Pair the calls with the right ones, equal ones first, then the nearest, and diagnose each pair.

    Args:
        calls: of the answer, readable or not.
        tools: what was on offer.
        golds: the right calls; none says that no call is right.
    """
    pairs, missing, unwanted = _pair(calls, golds)
    diagnoses = [diagnose(call, tools, gold) for call, gold in pairs]
    found = {error for diagnosis in diagnoses for error in diagnosis.errors}
    found |= {CallError.MISSING_CALL} if missing else set()
    found |= {CallError.UNWANTED_CALL} if unwanted else set()
    is_counted = not missing and not unwanted
    return SetDiagnosis(
        ts=is_counted and all(diagnosis.tool_selected for diagnosis in diagnoses),
        pi=is_counted and all(diagnosis.parameters_identified for diagnosis in diagnoses),
        cf=is_counted and all(diagnosis.content_filled for diagnosis in diagnoses),
        errors=tuple(error for error in CallError if error in found),
    )


def _pair(
    calls: Sequence[AnyCall], golds: Sequence[ToolCall]
) -> tuple[list[tuple[AnyCall, ToolCall]], list[ToolCall], list[AnyCall]]:
    """Pairs, golds that are left, calls that are left."""
    left_calls, left_golds = list(calls), list(golds)
    pairs: list[tuple[AnyCall, ToolCall]] = []
    for fits in _FITS:
        for gold in list(left_golds):
            position = next((index for index, call in enumerate(left_calls) if fits(call, gold)), None)
            if position is not None:
                pairs.append((left_calls.pop(position), gold))
                left_golds.remove(gold)
    return pairs, left_golds, left_calls


def _same_name(call: AnyCall, gold: ToolCall) -> bool:
    return isinstance(call, ToolCall) and call.name == gold.name


def _same_parameters(call: AnyCall, gold: ToolCall) -> bool:
    return isinstance(call, ToolCall) and call.name == gold.name and call.arguments.keys() == gold.arguments.keys()


def _equal(call: AnyCall, gold: ToolCall) -> bool:
    return (
        isinstance(call, ToolCall) and call.name == gold.name and json_equal(dict(call.arguments), dict(gold.arguments))
    )


_FITS: tuple[Callable[[AnyCall, ToolCall], bool], ...] = (_equal, _same_parameters, _same_name, lambda *_: True)
"""From the strictest on. Each is an equivalence within the one after it, so taking the first that fits loses none."""
