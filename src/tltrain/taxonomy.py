"""The one list of error kinds, for calls and for feedback, and the only place that compares calls."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from tltrain.matching import cheapest_pairs
from tltrain.types import AnyCall, Json, MalformedCall, Tool, ToolCall


class FeedbackKind(StrEnum):
    """What the feedback of a tool says about the call it answers, where it is no plain result."""

    TOOL_NOT_DEFINED = "tool_not_defined"
    MISSING_ARGUMENT = "missing_argument"
    UNEXPECTED_ARGUMENT = "unexpected_argument"
    TYPE_OR_VALUE = "type_or_value"
    """An argument has the wrong type, format or range, or the call could not be read at all."""
    REFUSED = "refused"
    """The tool's own rules: not found, not allowed, not enough stock, no permission."""
    SERVICE_FAILURE = "service_failure"
    """Time-outs, connection errors, rate limits, HTTP 5xx: the call may have been right."""
    AMBIGUOUS = "ambiguous"
    """The text does not tell; never guessed."""
    UNANSWERED = "unanswered"
    """No tool message answers the call."""
    UNCATEGORISED = "uncategorised"
    """An error that no rule names; counted and shown with examples."""


class CallError(StrEnum):
    """What is wrong with a predicted call, next to the right one."""

    FORMAT = "format_error"
    """The call cannot be read."""
    TOOL_HALLUCINATION = "tool_hallucination"
    """It names a tool that is not on offer."""
    WRONG_TOOL = "wrong_tool"
    """It names a tool on offer, but another one is right."""
    PARAM_HALLUCINATED = "param_hallucination"
    """A parameter that the tool does not have."""
    PARAM_REDUNDANT = "param_redundant"
    """A parameter that the tool has and the right call does not give."""
    PARAM_MISSING = "param_missing"
    """A parameter of the right call that the prediction does not give."""
    CONTENT = "content_mismatch"
    """Tool and parameter names are right, a value differs."""
    MISSING_CALL = "missing_call"
    """Text where a call is right."""
    UNWANTED_CALL = "unwanted_call"
    """A call where none is right, or one too many."""


PARAMETER_ERRORS = frozenset({CallError.PARAM_HALLUCINATED, CallError.PARAM_REDUNDANT, CallError.PARAM_MISSING})
"""The errors that can stand together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What is wrong with one prediction. Either one error, or any mix of the three parameter errors, or none."""

    errors: tuple[CallError, ...] = ()
    """In the order of `CallError`; empty means all right."""
    hallucinated: tuple[str, ...] = ()
    """Names of the parameters behind `PARAM_HALLUCINATED`, in the order of the prediction."""
    redundant: tuple[str, ...] = ()
    """Behind `PARAM_REDUNDANT`, in the order of the prediction."""
    missing: tuple[str, ...] = ()
    """Behind `PARAM_MISSING`, in the order of the right call or of the schema."""
    differing: tuple[str, ...] = ()
    """Parameters that both calls give with different values, also where a parameter error hides `CONTENT`."""

    @property
    def tool_selected(self) -> bool:
        """The right tool is called, or rightly none."""
        return all(error in PARAMETER_ERRORS or error is CallError.CONTENT for error in self.errors)

    @property
    def parameters_identified(self) -> bool:
        """The tool and the set of parameter names are right."""
        return all(error is CallError.CONTENT for error in self.errors)

    @property
    def content_filled(self) -> bool:
        """Everything is right."""
        return not self.errors

    @property
    def label(self) -> str:
        """`all_right`, or the errors joined with `+`."""
        return "+".join(self.errors) or "all_right"


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnDiagnosis:
    """What is wrong with all calls of one turn."""

    parts: tuple[Diagnosis, ...]
    """One for each right call, in their order; a single one where at most one call is right, or there is a call too
    many."""

    @property
    def errors(self) -> tuple[CallError, ...]:
        """In the order of `CallError`, each once."""
        found = {error for part in self.parts for error in part.errors}
        return tuple(error for error in CallError if error in found)

    @property
    def tool_selected(self) -> bool:
        """The right tools are called, or rightly none."""
        return all(part.tool_selected for part in self.parts)

    @property
    def parameters_identified(self) -> bool:
        """The tools and the sets of parameter names are right."""
        return all(part.parameters_identified for part in self.parts)

    @property
    def content_filled(self) -> bool:
        """Everything is right."""
        return all(part.content_filled for part in self.parts)

    @property
    def label(self) -> str:
        """`all_right`, or the errors joined with `+`."""
        return Diagnosis(errors=self.errors).label


@dataclass(frozen=True, slots=True)
class OneOf:
    """Calls of which any is right; at least one."""

    calls: tuple[ToolCall, ...]


RightCall: TypeAlias = ToolCall | OneOf


class Comparison(Protocol):
    """Says when two values of a parameter count as the same; `rewards.compare` has one that can be configured."""

    def same_value(self, tool: str, parameter: str, given: Json, wanted: Json) -> bool:
        """Whether a given value is as good as the right one; every value is as good as itself."""


def diagnose(
    prediction: AnyCall | None,
    tools: Sequence[Tool],
    gold: RightCall | None,
    comparison: Comparison | None = None,
) -> Diagnosis:
    """Compare a predicted call with the right one.

    The first rule that holds decides: missing or unwanted call, format, tool hallucination, wrong tool, parameter
    names, content. Whatever the right call itself does is right, even where the documents do not cover it (public
    test sets have such rows): `diagnose(gold, tools, gold)` finds nothing.

    Args:
        prediction: None is a reply without a call.
        tools: what was on offer; tools of one name count as one that has the parameters of all.
        gold: None says that no call is right; of alternatives, the one that the prediction comes nearest to counts.
        comparison: when values are the same; None: when they are equal as JSON.
    """
    if isinstance(gold, OneOf):
        return min((diagnose(prediction, tools, call, comparison) for call in gold.calls), key=_distance)
    if prediction is None:
        return Diagnosis() if gold is None else Diagnosis(errors=(CallError.MISSING_CALL,))
    if gold is None:
        return Diagnosis(errors=(CallError.UNWANTED_CALL,))
    if isinstance(prediction, MalformedCall):
        return Diagnosis(errors=(CallError.FORMAT,))
    if prediction.name != gold.name:
        is_offered = any(tool.name == prediction.name for tool in tools)
        return Diagnosis(errors=(CallError.WRONG_TOOL if is_offered else CallError.TOOL_HALLUCINATION,))
    return _compare_arguments(prediction, gold, _known_parameters(gold.name, tools), comparison)


def diagnose_turn(
    calls: Sequence[AnyCall],
    tools: Sequence[Tool],
    gold: RightCall | None,
    comparison: Comparison | None = None,
) -> Diagnosis:
    """Compare all calls of one turn, readable or not, with the one call that is right.

    No call where one is right is a missing call, more than one an unwanted call, whatever they are; one call is
    diagnosed as it is.
    """
    if len(calls) > 1:
        return Diagnosis(errors=(CallError.UNWANTED_CALL,))
    return diagnose(calls[0] if calls else None, tools, gold, comparison)


def diagnose_calls(
    calls: Sequence[AnyCall],
    tools: Sequence[Tool],
    golds: Sequence[RightCall],
    comparison: Comparison | None = None,
) -> TurnDiagnosis:
    """Compare all calls of one turn with all calls that are right there, whatever their order.

    More calls than are right are an unwanted call, whatever they are. Otherwise each call is paired with a right one so
    that as many as possible are all right, and the rest comes as near as possible; a right call without a partner is
    missing.

    Args:
        calls: of the turn, readable or not.
        tools: as `diagnose`.
        golds: the right calls; none says that no call is right.
        comparison: as `diagnose`.
    """
    if len(golds) <= 1:
        return TurnDiagnosis(parts=(diagnose_turn(calls, tools, golds[0] if golds else None, comparison),))
    if len(calls) > len(golds):
        return TurnDiagnosis(parts=(Diagnosis(errors=(CallError.UNWANTED_CALL,)),))
    found = [[diagnose(call, tools, gold, comparison) for gold in golds] for call in calls]
    partners = cheapest_pairs([[_distance(diagnosis) for diagnosis in row] for row in found])
    parts = [Diagnosis(errors=(CallError.MISSING_CALL,))] * len(golds)
    for number, partner in enumerate(partners):
        parts[partner] = found[number][partner]
    return TurnDiagnosis(parts=tuple(parts))


def diagnose_schema(call: AnyCall, tools: Sequence[Tool]) -> Diagnosis:
    """Check a call against the documents alone: its format, tool, unknown parameters, missing required ones."""
    if isinstance(call, MalformedCall):
        return Diagnosis(errors=(CallError.FORMAT,))
    namesakes = [tool for tool in tools if tool.name == call.name]
    if not namesakes:
        return Diagnosis(errors=(CallError.TOOL_HALLUCINATION,))
    known = _known_parameters(call.name, tools)
    required = frozenset.intersection(*(tool.required for tool in namesakes))
    return _parameter_diagnosis(
        hallucinated=[name for name in call.arguments if name not in known],
        missing=[name for name in known if name in required and name not in call.arguments],
    )


def json_equal(first: Json, second: Json) -> bool:
    """Equality of JSON values, at any depth: true is not 1, 1 equals 1.0, the order of keys is free."""
    pending = [(first, second)]
    while pending:
        one, other = pending.pop()
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            if one.keys() != other.keys():
                return False
            pending.extend((value, other[key]) for key, value in one.items())
        elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
            if len(one) != len(other):
                return False
            pending.extend(zip(one, other, strict=True))
        elif isinstance(one, bool) is not isinstance(other, bool) or one != other:
            return False
    return True


def _known_parameters(name: str, tools: Sequence[Tool]) -> dict[str, None]:
    """The names of the parameters of all tools of that name, in order.

    Documents may require a parameter that they do not describe; it counts as known.
    """
    return {key: None for tool in tools if tool.name == name for key in (*tool.properties, *sorted(tool.required))}


_MAX_NAMES = 1000
"""Names at fault that are told apart."""


def _distance(diagnosis: Diagnosis) -> int:
    """How far a call is from the right one: by stage, then by kinds of parameter error, then by names at fault.

    Two calls with an error are farther than one, whatever the errors, so that the cheapest pairs hold the most right
    calls.
    """
    if not diagnosis.errors:
        return 0
    first = diagnosis.errors[0]
    stage = 1 if first is CallError.CONTENT else 1 + len(diagnosis.errors) if first in PARAMETER_ERRORS else 5
    stage += first in (CallError.TOOL_HALLUCINATION, CallError.FORMAT, CallError.MISSING_CALL, CallError.UNWANTED_CALL)
    names = (diagnosis.hallucinated, diagnosis.redundant, diagnosis.missing, diagnosis.differing)
    return (10 + stage) * _MAX_NAMES + min(sum(map(len, names)), _MAX_NAMES - 1)


def _compare_arguments(
    prediction: ToolCall, gold: ToolCall, known: Container[str], comparison: Comparison | None
) -> Diagnosis:
    given, wanted = prediction.arguments, gold.arguments
    differing = [name for name in given if name in wanted and not json_equal(given[name], wanted[name])]
    if comparison is not None:
        same = comparison.same_value
        differing = [name for name in differing if not same(gold.name, name, given[name], wanted[name])]
    extra = [name for name in given if name not in wanted]
    return _parameter_diagnosis(
        hallucinated=[name for name in extra if name not in known],
        redundant=[name for name in extra if name in known],
        missing=[name for name in wanted if name not in given],
        differing=differing,
    )


def _parameter_diagnosis(
    *,
    hallucinated: Sequence[str] = (),
    redundant: Sequence[str] = (),
    missing: Sequence[str] = (),
    differing: Sequence[str] = (),
) -> Diagnosis:
    found = {
        CallError.PARAM_HALLUCINATED: hallucinated,
        CallError.PARAM_REDUNDANT: redundant,
        CallError.PARAM_MISSING: missing,
    }
    errors = tuple(error for error, names in found.items() if names)
    return Diagnosis(
        errors=errors or ((CallError.CONTENT,) if differing else ()),
        hallucinated=tuple(hallucinated),
        redundant=tuple(redundant),
        missing=tuple(missing),
        differing=tuple(differing),
    )
