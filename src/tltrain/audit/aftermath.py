"""The third layer: what the assistant does after the feedback of a call.

One act alone proves nothing: a tool is often called again with the next item, and an assistant may be sorry that no
seat is free. See `layers` for what they prove together.
"""

import re
from collections.abc import Collection, Sequence

from tltrain.audit.literals import required_literals
from tltrain.audit.verdict import Layer, VerdictLabel, Witness
from tltrain.taxonomy import json_equal
from tltrain.types import CallStep, MalformedCall, Message, Role, ToolCall, Trajectory

APOLOGY = "then:apology"
CORRECTED = "then:corrected"
REPEATED = "then:repeated"
THEN_RULES: dict[str, str] = {
    APOLOGY: "The next words of the assistant are sorry, or speak of a mistake or of another try.",
    CORRECTED: "The next turn calls the same tool with other arguments, and that call succeeds.",
    REPEATED: "The next turn makes the very same call again.",
}
"""Rules of the layer with what each one means."""
_HEAD = 600
"""Characters of the assistant's next text in which an apology is looked for."""
_APOLOGY = re.compile(
    r"\b(?:sorry|apolog(?:y|ies|i[sz]e)|my (?:mistake|bad|error)|(?:made|was) (?:a|an) (?:mistake|error)|oops)\b"
    r"|\b(?:let me|i'?ll|i will|i need to|i should|we need to|i must|going to) "
    r"(?:\w{1,12} )?(?:correct|fix|retry|re-?try|try (?:again|another|a different|with|it again|once more)|rephrase)\b"
    r"|\b(?:call|request|parameter|argument|input|format|query|tool|function|search)s?\b[^.!?\n]{0,60}"
    r"\b(?:was|is|were|are|had|has) (?:\w{1,12} )?(?:wrong|incorrect|invalid|mistaken|missing|malformed)\b"
    r"|\blo siento\b|\bdésolée?\b|\bentschuldigung\b|抱歉|对不起|申し訳",
    re.IGNORECASE,
)

_LITERALS = required_literals(_APOLOGY) or ("",)


def look_ahead(
    trajectory: Trajectory,
    steps: Sequence[CallStep],
    position: int,
    succeeded: Collection[int],
    off: Collection[str] = (),
) -> tuple[Witness, ...]:
    """What the turn after a call says about it; nothing where a user speaks first, or nobody.

    Args:
        trajectory: the whole conversation.
        steps: all its calls.
        position: of the call in `steps`.
        succeeded: numbers of the calls whose feedback is plainly fine.
        off: rules that are not asked.
    """
    step = steps[position]
    turn = _next_turn(trajectory.messages, step.message)
    if turn is None:
        return ()
    found: list[Witness] = []
    said = None if APOLOGY in off else _find_apology(_words_of(trajectory.messages[turn]))
    if said:
        found.append(_witness(APOLOGY, said[0]))
    if isinstance(step.call, MalformedCall) or len(steps) == position + 1:
        return tuple(found)
    again = [
        other
        for other in steps[position + 1 :]
        if other.message == turn and isinstance(other.call, ToolCall) and other.call.name == step.call.name
    ]
    if not again:
        return tuple(found)
    changed = [other for other in again if not _is_same(step.call, other.call)]
    if CORRECTED not in off and any(other.number in succeeded for other in changed):
        found.append(_witness(CORRECTED, f"call {next(o.number for o in changed if o.number in succeeded)}"))
    if REPEATED not in off and len(again) > len(changed):
        found.append(_witness(REPEATED, f"call {next(o.number for o in again if o not in changed)}"))
    return tuple(found)


def _witness(rule: str, words: str) -> Witness:
    return Witness(layer=Layer.THEN, rule=rule, says=VerdictLabel.ERROR, words=words)


def _next_turn(messages: Sequence[Message], index: int) -> int | None:
    for place in range(index + 1, len(messages)):
        if messages[place].role is not Role.TOOL:
            return place if messages[place].role is Role.ASSISTANT else None
    return None


def _find_apology(text: str) -> re.Match[str] | None:
    lowered = text.casefold()
    return _APOLOGY.search(text) if any(map(lowered.__contains__, _LITERALS)) else None


def _words_of(message: Message) -> str:
    content = message.content[:_HEAD]
    return f"{message.reasoning[:_HEAD]}\n{content}" if message.reasoning else content


def _is_same(call: ToolCall, other: object) -> bool:
    return isinstance(other, ToolCall) and json_equal(dict(call.arguments), dict(other.arguments))
