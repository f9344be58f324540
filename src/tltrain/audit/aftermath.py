"""The third layer: what the assistant does after the feedback of a call.

One act alone proves nothing: a tool is often called again with the next item, and an assistant may be sorry that no
seat is free. See `layers` for what they prove together.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from tltrain.audit.literals import may_hold, required_literals
from tltrain.audit.rules import Part, find_first
from tltrain.audit.verdict import Layer, VerdictLabel, Witness
from tltrain.taxonomy import json_equal
from tltrain.types import CallStep, Message, Role, ToolCall, Trajectory

APOLOGY = "then:apology"
CORRECTED = "then:corrected"
REPEATED = "then:repeated"
THEN_RULES: dict[str, str] = {
    APOLOGY: "The next words of the assistant are sorry, or speak of a mistake or of another try; after a success "
    "only where it calls again.",
    CORRECTED: "After a call that did not plainly succeed, the next turn calls the tool otherwise and succeeds.",
    REPEATED: "After a call that did not plainly succeed, the next turn makes the very same call.",
}
"""Rules of the layer with what each one means."""
_HEAD = 600
"""Characters of the assistant's next text in which an apology is looked for."""
_APOLOGIES = tuple(
    Part(pattern, required_literals(pattern))
    for pattern in (
        re.compile(words, re.IGNORECASE)
        for words in (
            r"\b(?:sorry|oops|apolog(?:y|ies|i[sz]e)|my (?:mistake|bad|error)|(?:made|was) an? (?:mistake|error))\b",
            r"\b(?:let me|i'?ll|i will|i need to|i should|we need to|i must|going to) (?:\w{1,12} )?"
            r"(?:correct|fix|re-?try|try (?:again|another|a different|with|it again|once more)|rephrase)\b",
            r"\b(?:call|request|parameter|argument|input|format|query|tool|function|search)s?\b[^.!?\n]{0,60}"
            r"\b(?:was|is|were|are|had|has) (?:\w{1,12} )?(?:wrong|incorrect|invalid|mistaken|missing|malformed)\b",
            r"\blo siento\b|\bdésolée?\b|\bentschuldigung\b|抱歉|对不起|申し訳",
        )
    )
)


def look_ahead(
    trajectory: Trajectory,
    steps: Sequence[CallStep],
    position: int,
    succeeded: Sequence[bool],
    off: Collection[str] = (),
) -> tuple[Witness, ...]:
    """What the turn after a call says about it; nothing where a user speaks first, or nobody.

    Args:
        trajectory: the whole conversation.
        steps: all its calls.
        position: of the call in `steps`.
        succeeded: whether the feedback of each call is plainly fine.
        off: rules that are not asked.
    """
    step = steps[position]
    turn = _next_turn(trajectory.messages, step.message)
    if turn is None:
        return ()
    message = trajectory.messages[turn]
    # after a success an answer may regret what was found, and the next item is often asked for in the same way
    if succeeded[position] and not message.calls:
        return ()
    found: list[Witness] = []
    said = None if APOLOGY in off else _find_apology(_words_of(message))
    if said:
        found.append(_witness(APOLOGY, said[0]))
    if not succeeded[position] and isinstance(step.call, ToolCall):
        found += _calls_again(step.call, _calls_of_turn(steps, position, turn), succeeded, off)
    return tuple(found)


def _calls_of_turn(steps: Sequence[CallStep], position: int, turn: int) -> Iterator[tuple[int, ToolCall]]:
    """Place in `steps` and call, for the readable calls of a message after that of the call at `position`."""
    for place in range(position + 1, len(steps)):
        other = steps[place]
        if other.message > turn:
            return
        if other.message == turn and isinstance(other.call, ToolCall):
            yield place, other.call


def _calls_again(
    call: ToolCall, following: Iterable[tuple[int, ToolCall]], succeeded: Sequence[bool], off: Collection[str]
) -> Iterator[Witness]:
    corrected = repeated = None
    for place, other in following:
        if other.name != call.name:
            continue
        if json_equal(dict(call.arguments), dict(other.arguments)):
            repeated = place if repeated is None else repeated
        elif succeeded[place] and corrected is None:
            corrected = place
    for rule, found in ((CORRECTED, corrected), (REPEATED, repeated)):
        if found is not None and rule not in off:
            yield _witness(rule, f"call {found}")


def _witness(rule: str, words: str) -> Witness:
    return Witness(layer=Layer.THEN, rule=rule, says=VerdictLabel.ERROR, words=words)


def _next_turn(messages: Sequence[Message], index: int) -> int | None:
    for place in range(index + 1, len(messages)):
        if messages[place].role is not Role.TOOL:
            return place if messages[place].role is Role.ASSISTANT else None
    return None


def _find_apology(text: str) -> re.Match[str] | None:
    if not text:
        return None
    lowered = text.casefold()
    return find_first([part for part in _APOLOGIES if may_hold(lowered, part.literals)], text)


def _words_of(message: Message) -> str:
    content = message.content[:_HEAD]
    return f"{message.reasoning[:_HEAD]}\n{content}" if message.reasoning else content
