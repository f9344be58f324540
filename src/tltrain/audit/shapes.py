"""Answers that say something by their shape: boxes around the answer proper, batches that went half through.

Keys are compared folded, see `signals.fold`.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from tltrain.audit.answer_keys import (
    ASKING,
    ERROR_ENDS,
    ERROR_KEYS,
    INSPECTING,
    MESSAGE_KEYS,
    PAYLOAD_KEYS,
    STATE_KEYS,
    TELLING_KEYS,
    fold,
    word_set,
)
from tltrain.audit.signals import Object, Signal, find_failures, is_blank, is_envelope, is_harmless_state
from tltrain.types import Json

_DONE = word_set(
    "deleted succeeded success successes successful created updated processed inserted added sent ok completed done "
    "removed saved imported delivered accepted uploaded copied moved booked cancelled succeededids numsucceeded "
    "successcount numsuccess processedcount"
)
"""Parts of a batch that went through: items, or their number."""
_NOT_DONE = word_set(
    "failed failures failure errors rejected unprocessed unprocesseditems notprocessed faileditems failedrecords "
    "failedids failedcount failurecount numfailed errored errorcount"
)
_MAX_FIELDS = 20
_MAX_ITEMS = 50


_TELLING = TELLING_KEYS | PAYLOAD_KEYS | MESSAGE_KEYS | _DONE | _NOT_DONE | {"found"}


def says_nothing_of_failure(answer: Object) -> bool:
    """True for an object of a tool's own fields, none of which any rule reads: most answers, found out cheaply.

    Of fields that hold states, types and names only words that are no failure are passed over.
    """
    has_content = False
    for key, value in answer.items():
        if value is False or value in _EMPTY:
            return False
        folded = fold(key)
        if folded.endswith(ERROR_ENDS):
            return False
        if folded.endswith("status") and isinstance(value, str) and not is_harmless_state(value):
            return False
        if folded in _TELLING and not (folded in STATE_KEYS and isinstance(value, str) and is_harmless_state(value)):
            return False
        has_content = has_content or not isinstance(value, list)
    return has_content and len(answer) > 1


_EMPTY: tuple[Json, ...] = (None, "", [], {})


class Batch(NamedTuple):
    """What became of a batch, as its answer says."""

    key: str
    """Field, or in a list the field of an item, that says what failed."""
    value: Json
    is_partial: bool
    """Something else went through."""


def unbox(answer: Object) -> Object | None:
    """The envelope inside `{"chart": {"result": null, "error": ...}}`; None if the object is no such box."""
    if len(answer) != 1:
        return None
    ((key, inner),) = answer.items()
    if fold(key) in ERROR_KEYS:
        return None
    return inner if isinstance(inner, dict) and inner and is_envelope(inner) else None


def read_batch(answer: Object, words: Collection[str]) -> Batch | None:
    """Items that failed, beside the field for those that went through; None where nothing failed or nobody says so.

    A tool that is asked for such lists, as `list_jobs` is, answers rightly with them.
    """
    if not (ASKING | INSPECTING).isdisjoint(words):
        return None
    folded = {fold(key): key for key in answer}
    done = [answer[folded[name]] for name in folded if name in _DONE]
    failed = [folded[name] for name in folded if name in _NOT_DONE and _counts(answer[folded[name]])]
    if not failed or not done or any(isinstance(value, bool | str) for value in done):
        return None
    return Batch(failed[0], answer[failed[0]], is_partial=not all(map(is_blank, done)))


def _counts(value: Json) -> bool:
    return not isinstance(value, bool | str) and not is_blank(value)


def read_items(items: Sequence[Object], words: Collection[str]) -> Batch | None:
    """The same for a list with a result for each item; errors in one's own words or flags count, states do not."""
    failed: list[Signal] = []
    for item in items[:_MAX_ITEMS]:
        if says_nothing_of_failure(item):
            continue
        said = [signal for signal in find_failures(item, words) if not signal.is_weak]
        failed += [signal for signal in said if signal.proof in {"error_field", "failure_flag"}][:1]
    if not failed or not {"log", "logs", "error", "errors"}.isdisjoint(words):
        return None
    return Batch(failed[0].key, failed[0].value, is_partial=len(failed) < min(len(items), _MAX_ITEMS))


def field_messages(answer: Object, is_complaint: Callable[[str], bool]) -> str | None:
    """All texts of `{"age": ["A valid integer is required."]}`, where each of them complains about its field."""
    if not 0 < len(answer) <= _MAX_FIELDS:
        return None
    texts: list[str] = []
    for value in answer.values():
        if not isinstance(value, list) or not value or len(value) > _MAX_FIELDS:
            return None
        for text in value:
            if not isinstance(text, str) or not is_complaint(text):
                return None
            texts.append(text)
    return "\n".join(texts)
