"""The first layer: a call against the document of its tool, without a look at what came back."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from tltrain.audit.json_schema import FaultKind, find_faults, is_plainly_right
from tltrain.audit.verdict import Layer, VerdictLabel, Witness
from tltrain.taxonomy import CallError, FeedbackKind, diagnose_schema
from tltrain.types import AnyCall, MalformedCall, Tool, ToolCall

UNREADABLE = f"call:{CallError.FORMAT}"
UNKNOWN_TOOL = f"call:{CallError.TOOL_HALLUCINATION}"
UNKNOWN_PARAMETER = f"call:{CallError.PARAM_HALLUCINATED}"
MISSING_PARAMETER = f"call:{CallError.PARAM_MISSING}"
WRONG_TYPE = "call:type"
NOT_IN_ENUM = "call:enum"
LOOSE_TYPE = "call:loose_type"
CALL_RULES: dict[str, str] = {
    UNREADABLE: "The call cannot be read.",
    UNKNOWN_TOOL: "It names a tool that the trajectory, listing any, does not list.",
    UNKNOWN_PARAMETER: "It gives a parameter that the tool's document, describing any, does not describe.",
    MISSING_PARAMETER: "It leaves out a parameter that the document requires.",
    WRONG_TYPE: "A value has another type than the document says.",
    NOT_IN_ENUM: "A value is none of those that the document lists.",
    LOOSE_TYPE: 'A value has another type or case, but reads as the right one: "5" for 5. Noted, never decides.',
}
"""Rules of the layer with what each one means."""
_RULE_OF_FAULT = {
    FaultKind.TYPE: WRONG_TYPE,
    FaultKind.LOOSE_TYPE: LOOSE_TYPE,
    FaultKind.ENUM: NOT_IN_ENUM,
    FaultKind.MISSING: MISSING_PARAMETER,
    FaultKind.UNKNOWN: UNKNOWN_PARAMETER,
}
_KIND_OF_RULE = {
    UNREADABLE: FeedbackKind.TYPE_OR_VALUE,
    UNKNOWN_TOOL: FeedbackKind.TOOL_NOT_DEFINED,
    UNKNOWN_PARAMETER: FeedbackKind.UNEXPECTED_ARGUMENT,
    MISSING_PARAMETER: FeedbackKind.MISSING_ARGUMENT,
    WRONG_TYPE: FeedbackKind.TYPE_OR_VALUE,
    NOT_IN_ENUM: FeedbackKind.TYPE_OR_VALUE,
}
_MAX_WORDS = 200


class _Found(NamedTuple):
    rule: str
    words: str


def check_call(call: AnyCall, tools: Sequence[Tool], off: Collection[str] = ()) -> tuple[Witness, ...]:
    """Everything that is wrong with a call by itself, the gravest first; one witness for each rule.

    A tool without a document of its parameters is not held to one, and a trajectory that lists no tools to none.

    Args:
        call: the call.
        tools: what was on offer.
        off: rules that are not asked.
    """
    if isinstance(call, ToolCall) and _is_plainly_right(call, tools):
        return ()
    found: dict[str, list[str]] = {}
    for rule, words in _check(call, tools):
        if rule not in off:
            found.setdefault(rule, []).append(words)
    order = list(CALL_RULES)
    return tuple(
        Witness(
            layer=Layer.CALL,
            rule=rule,
            says=VerdictLabel.OK if rule == LOOSE_TYPE else VerdictLabel.ERROR,
            kind=_KIND_OF_RULE.get(rule),
            words="; ".join(found[rule])[:_MAX_WORDS],
        )
        for rule in sorted(found, key=order.index)
    )


def _is_plainly_right(call: ToolCall, tools: Sequence[Tool]) -> bool:
    """A call that breaks nothing in the first document of its name, as most do; cheap beside the whole check."""
    for tool in tools:
        if tool.name == call.name:
            break
    else:
        return False
    properties, required = tool.parameters.get("properties"), tool.parameters.get("required")
    arguments = call.arguments
    if not isinstance(properties, dict):
        return not arguments and not required
    for name, value in arguments.items():
        if name not in properties or not is_plainly_right(value, properties[name]):
            return False
    return not isinstance(required, list) or all(map(arguments.__contains__, required))


def _check(call: AnyCall, tools: Sequence[Tool]) -> list[_Found]:
    if isinstance(call, MalformedCall):
        return [_Found(UNREADABLE, call.reason)]
    if not tools:
        return []
    named = [tool for tool in tools if tool.name == call.name]
    if not named:
        return [_Found(UNKNOWN_TOOL, f"{call.name!r} is not among the {len(tools)} tools on offer")]
    return _check_names(call, named) + _check_values(call, named)


def _check_names(call: ToolCall, named: Sequence[Tool]) -> list[_Found]:
    diagnosis = diagnose_schema(call, named)
    unknown = diagnosis.hallucinated if all(map(_is_closed, named)) else ()
    return [_Found(UNKNOWN_PARAMETER, f"{name} is not in the document") for name in unknown] + [
        _Found(MISSING_PARAMETER, f"{name} is required and not given") for name in diagnosis.missing
    ]


def _is_closed(tool: Tool) -> bool:
    """True if the document describes parameters and does not welcome others."""
    return bool(tool.properties) and not tool.parameters.get("additionalProperties")


def _check_values(call: ToolCall, named: Sequence[Tool]) -> list[_Found]:
    """Faults of the values under the first document of that name that has any fewer."""
    tried = []
    for tool in named:
        properties = tool.properties
        faults = [
            fault
            for name, value in call.arguments.items()
            if name in properties
            # null for a parameter that need not be given is how many writers leave it out
            and not (value is None and name not in tool.required)
            for fault in find_faults(value, properties[name], name)
        ]
        if not faults:
            return []
        tried.append(faults)
    faults = min(tried, key=len)
    return [_Found(_RULE_OF_FAULT[fault.kind], f"{fault.path} {fault.words}") for fault in faults]
