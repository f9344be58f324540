import json
from itertools import groupby

from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from formats.strategies import effective_weights, trajectories
from tltrain.errors import DataError
from tltrain.formats import anthropic, export, hermes, llama_factory
from tltrain.formats.base import Companions
from tltrain.formats.detect import FORMATS, is_writable
from tltrain.formats.openai_rows import INPUT_REASON
from tltrain.types import Role, Trajectory, iterate_calls

WRITABLE = [each for each in FORMATS.values() if is_writable(each)]


def read_back(format, row):
    found = list(format.read(json.loads(json.dumps(row)), where="f:1", companions=Companions()))
    assert len(found) == 1
    assert isinstance(found[0], Trajectory), found[0]
    return found[0]


def message_parts(trajectory, lost):
    """The messages as far as nothing that is lost is in them."""
    messages = by_text(trajectory.messages) if export.NO_IDS in lost else trajectory.messages
    for message in messages:
        if export.TOOL_NAMES in lost:
            message = replace(message, name=None)
        if {export.NO_IDS, export.MADE_UP_IDS} & lost:
            message = replace(message, call_id=None)
        yield message.role, message.content, message.reasoning, message.calls, message.call_id, message.name


def by_text(messages):
    """With neighbouring feedback sorted: where ids are lost it moves to the order of its calls."""
    for is_feedback, run in groupby(messages, key=lambda message: message.role is Role.TOOL):
        ordered = list(run)
        if is_feedback:
            ordered.sort(key=lambda message: message.content)
        yield from ordered


# Losses that change a text, the number of messages, or what belongs together: what is left is compared no further.
CHANGING = {
    export.MALFORMED,
    export.MALFORMED_AS_TEXT,
    export.JOINED,
    export.EMPTY,
    export.THINKING_TAGS,
    export.UNANSWERED,
    hermes.CALL_TAGS,
    hermes.FEEDBACK_TAGS,
    hermes.SYSTEM_TEXT,
    llama_factory.CALLS_BESIDE_TEXT,
    llama_factory.SEPARATOR,
    llama_factory.NOT_EXACTLY_ANSWERED,
    anthropic.SYSTEM,
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trajectory=trajectories())
def test_reading_what_was_written_gives_all_but_what_is_listed_as_lost(trajectory):
    for format in WRITABLE:
        try:
            written = format.write(trajectory, {})
        except DataError:
            assert format.name == "axolotl_segments", "its texts must not hold ChatML tags; the others take all texts"
            continue
        again = read_back(format, written.row)
        assert_same(again, trajectory, set(written.lost))


def assert_same(again, trajectory, lost):
    if hermes.SYSTEM_TEXT not in lost:
        assert again.tools == trajectory.tools
    if export.IDENTITY not in lost:
        assert (again.id, again.provenance) == (trajectory.id, trajectory.provenance)
    if lost & CHANGING:
        return
    assert list(message_parts(again, lost)) == list(message_parts(trajectory, lost))
    answers = [[step.feedback for step in iterate_calls(each)] for each in (again, trajectory)]
    assert answers[0] == answers[1]
    if not lost & {export.REASONS}:
        for one, other in zip(again.messages, trajectory.messages, strict=True):
            assert one.mask_reason in (other.mask_reason, INPUT_REASON)
    if not lost & {export.PARTS, export.ROUNDED}:
        assert list(map(effective_weights, again.messages)) == list(map(effective_weights, trajectory.messages))
