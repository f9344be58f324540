"""What the fields of an answer's outer object say: errors, statuses, flags, and where the payload lies."""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from tltrain.audit.answer_keys import (
    ASKING,
    CONTENT_KEYS,
    ENVELOPE_KEYS,
    ERROR_CODE_KEYS,
    ERROR_ENDS,
    ERROR_KEYS,
    EXIT_KEYS,
    FAILURE_KEYS,
    IDENTITY_ENDS,
    INSPECTING,
    MESSAGE_KEYS,
    OF_AN_ENTITY,
    OUTCOME_KEYS,
    PAYLOAD_KEYS,
    PLURAL_ENDS,
    PLURAL_ERROR_KEYS,
    PROBING,
    STATUS_KEYS,
    SUCCESS_KEYS,
    TELLING_ENDS,
    TELLING_KEYS,
    TYPE_KEYS,
    fold,
    word_set,
)
from tltrain.types import Json

Object = Mapping[str, Json]


_BLANK_WORDS = word_set("none null nil no n/a na false ok success noerror no_error nothing [] {} - 200 undefined") | {
    "",
    "no error",
    "no errors",
    "no issues",
    "none found",
    "not applicable",
}
_OK_WORDS = word_set("ok success successful succeeded completed complete done true created accepted")
_FAIL_WORDS = word_set(
    "error errored failed failure fail ko nok denied rejected refused unprocessableentity invalid unauthorized "
    "unauthenticated forbidden notfound "
    "timeout timedout exception unavailable badrequest requestdenied permissiondenied resourceexhausted overquerylimit "
    "invalidrequest invalidargument internalerror servererror notok unsuccessful declined aborted unknownerror fatal "
    "overdailylimit conflict"
)
_FAIL_CODE = re.compile(
    r"error|invalid|denied|fail|not_?found|unauthori|unauthen|forbidden|exceed|throttl|unavailable|time_?out|expired|"
    r"missing|unsupported|conflict|already|bad_?request|exception|limit|quota|unknown|nosuch|^ERR|required|mismatch",
    re.IGNORECASE,
)
_EXCEPTION_NAME = re.compile(r"(?:Exception|Error|Fault)$")
_CONSTANT = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")


@lru_cache(maxsize=4096)
def is_harmless_state(value: str) -> bool:
    """True for a word in such a field that is neither a failure, nor a number, nor the name of an error."""
    word = fold(value)
    is_word = word.isalpha() and len(value) <= 80
    return is_word and word not in _FAIL_WORDS and not word.endswith(("exception", "error", "fault", "results"))


_DEEDS = word_set(
    "paid sent created authenticated authorized authorised accepted approved booked saved delivered updated inserted "
    "added removed deleted cancelled canceled submitted executed applied granted confirmed processed registered "
    "scheduled uploaded written placed transferred"
)
"""What a tool did or did not do; `locked`, `enabled` and the like are states, which may well be false."""


_COUNTS = ("failures", "failed", "numfailed", "issues", "findings", "violations", "warnings")
"""What a report on tests or checks counts or lists."""
_ENTITY_FIELDS = 4
"""Fields from which on an object is a thing rather than an answer about one."""
_LONG_CODE = 1000


class Signal(NamedTuple):
    """A field that says the call failed."""

    proof: str
    """Name of the rule."""
    key: str
    value: Json
    status: int | None = None
    """HTTP status, where the field holds one."""
    is_weak: bool = False
    """True where the field can be read both ways."""


def is_blank(value: Json) -> bool:
    """True for values that say nothing: null, empty, zero, and words like `none`; also containers of only such."""
    match value:
        case None | False:
            return True
        case bool():
            return False
        case str():
            word = value.strip().strip(".!").lower()
            return word in _BLANK_WORDS or not word.strip("0")
        case int() | float():
            return value == 0
        case dict():
            return all(is_blank(item) for item in value.values())
    return all(is_blank(item) for item in value)


def is_envelope(answer: Object) -> bool:
    """True if whatever the object says stands in fields that any service may have, none of them its own."""
    keys = {fold(key) for key, value in answer.items() if value not in (None, "", [], {})}
    own = keys - ENVELOPE_KEYS
    if "messages" in own and any(fold(key) == "messages" and isinstance(value, str) for key, value in answer.items()):
        own -= {"messages"}  # a gateway's sentence, no conversation
    return not own or all(key.endswith(PLURAL_ENDS) or (key == "id" and "jsonrpc" in keys) for key in own)


def says_ok(answer: Object) -> bool:
    """True if a success flag, a 2xx status or a word like `ok` says that the call went well."""
    for key, value in answer.items():
        folded = fold(key)
        if folded in SUCCESS_KEYS and (value is True or _word(value) == "true"):
            return True
        if folded in STATUS_KEYS | {"code", "resultcode"}:
            status = _status(value)
            if (status is not None and 200 <= status < 300) or _word(value) in _OK_WORDS:
                return True
        if folded in EXIT_KEYS and value == 0 and not isinstance(value, bool):
            return True
    return False


def find_failures(answer: Object, words: Collection[str]) -> Iterator[Signal]:
    """Yield every field that says that the call failed.

    Args:
        answer: the object.
        words: of the tool's name, see `split_name`.
    """
    envelope = is_envelope(answer)
    keys = {fold(key) for key in answer}
    for key, value in answer.items():
        folded = fold(key)
        if value is not False and folded not in TELLING_KEYS and not folded.endswith(TELLING_ENDS):
            continue
        signal = (
            _flag(folded, key, value, keys, words)
            or _problem_name(folded, key, value, keys)
            or _error_field(folded, key, value, envelope=envelope, keys=keys, words=words)
            or _status_code(folded, key, value, envelope=envelope, keys=keys, words=words)
            or _status_word(folded, key, value, envelope=envelope, words=words)
            or _exit_code(folded, key, value)
            or _outcome(folded, key, value, answer, words)
        )
        if signal:
            yield signal


def _flag(folded: str, key: str, value: Json, keys: Collection[str], words: Collection[str]) -> Signal | None:
    is_count = not isinstance(value, bool) and not {"failed", "failures", "total", "errors", "failure"}.isdisjoint(keys)
    is_report = not INSPECTING.isdisjoint(words) and any(key.startswith(_COUNTS) for key in keys)
    if (
        folded in SUCCESS_KEYS
        and not is_count
        and not is_report
        and (value is False or value == 0 or _word(value) in {"false", "no"})
    ):
        return Signal("success_false", key, value)
    if folded == "status" and value is False and not {"data", "message", "messages", "msg"}.isdisjoint(keys):
        return Signal("success_false", key, value)
    if folded in FAILURE_KEYS and (value is True or _word(value) == "true"):
        return Signal("failure_flag", key, value)
    return None


def _error_field(
    folded: str, key: str, value: Json, *, envelope: bool, keys: Collection[str], words: Collection[str]
) -> Signal | None:
    is_like = (folded.endswith("failure") and isinstance(value, str)) or (
        envelope and folded.endswith(PLURAL_ENDS) and isinstance(value, list)
    )
    if (folded not in ERROR_KEYS and not is_like) or is_blank(value) or isinstance(value, bool):
        return None
    if folded in OF_AN_ENTITY and not envelope and _is_looked_up(keys, words):
        return None
    number = _number(value)
    if number is not None:
        status = _http_failure(number)
        is_measured = not number.is_integer() or (folded in PLURAL_ERROR_KEYS and status is None)
        if is_measured or (folded not in ERROR_CODE_KEYS and not envelope and status is None):
            return None
        return Signal("error_field", key, value, status)
    if not isinstance(value, str):
        leaves = [leaf for leaf in iterate_leaves(value) if not is_blank(leaf)]
        if all(isinstance(leaf, float) and not leaf.is_integer() for leaf in leaves):
            return None
        if folded in PLURAL_ERROR_KEYS and not INSPECTING.isdisjoint(words):
            is_result = not {"valid", "isvalid", "passed"}.isdisjoint(keys) or not {"log", "logs", "errors"}.isdisjoint(
                words
            )
            return None if is_result else Signal("errors_of_an_inspection", key, value, is_weak=True)
    return Signal("error_field", key, value, next(_statuses_within(value), None))


def _is_looked_up(keys: Collection[str], words: Collection[str]) -> bool:
    """True for a thing with a name and a state of its own, from a tool that looks things up."""
    has_state = any(key.endswith("status") or key in {"state", "paid"} for key in keys)
    has_name = any(key.endswith(IDENTITY_ENDS) for key in keys)
    return len(keys) >= _ENTITY_FIELDS and has_state and has_name and not ASKING.isdisjoint(words)


def _problem_name(folded: str, key: str, value: Json, keys: Collection[str]) -> Signal | None:
    """`{"name": "ORDER_NOT_APPROVED", "message": ..., "details": [...]}`: a problem by its name."""
    is_problem = folded == "name" and {"message", "details"} <= set(keys)
    return Signal("exception_type", key, value) if is_problem and _CONSTANT.fullmatch(str(value)) else None


def _statuses_within(value: Json) -> Iterator[int]:
    """HTTP statuses in the fields of an error object."""
    if isinstance(value, dict):
        for key, item in value.items():
            if fold(key) in STATUS_KEYS | {"code"}:
                status = _status(item)
                if status is not None and 400 <= status < 600:
                    yield status


def _status_code(
    folded: str, key: str, value: Json, *, envelope: bool, keys: Collection[str], words: Collection[str]
) -> Signal | None:
    status = _status(value)
    if not envelope and len(keys) >= _ENTITY_FIELDS and not PROBING.isdisjoint(words):
        return None
    if folded in STATUS_KEYS and status is not None and 400 <= status < 600:
        return Signal("status_code", key, value, status)
    if folded not in {"code", "resultcode"} or not envelope:
        return None
    if status is not None:
        if 400 <= status < 600:
            return Signal("code", key, value, status)
        is_grpc = 1 <= status <= 16 and {"details", "message"} <= set(keys)
        return Signal("code", key, value) if status < 0 or is_grpc else None
    if isinstance(value, str) and len(value) <= 60 and _FAIL_CODE.search(value) and _word(value) not in _OK_WORDS:
        return Signal("code", key, value)
    return None


def _status_word(folded: str, key: str, value: Json, *, envelope: bool, words: Collection[str]) -> Signal | None:
    if not isinstance(value, str) or len(value) > 80:
        return None
    if folded in TYPE_KEYS:
        is_named = _EXCEPTION_NAME.search(value) or fold(value) == "error"
        return Signal("exception_type", key, value) if is_named and (envelope or key == "__type") else None
    if folded not in OUTCOME_KEYS and not folded.endswith("status"):
        return None
    word = fold(value)
    if word not in _FAIL_WORDS:
        return None
    if envelope:
        return Signal("status_word", key, value)
    # the state of a thing: an answer to who asked for it, a failure to who tried to change it into another
    if words and not ASKING.isdisjoint(words):
        return None
    is_wanted = any(word[:4] == wanted[:4] for wanted in words)
    return Signal("status_word", key, value, is_weak=is_wanted or not words)


def _exit_code(folded: str, key: str, value: Json) -> Signal | None:
    if folded in EXIT_KEYS and isinstance(value, int) and not isinstance(value, bool) and value != 0:
        return Signal("exit_code", key, value)
    return None


def _outcome(folded: str, key: str, value: Json, answer: Object, words: Collection[str]) -> Signal | None:
    """`{"authentication_status": false}` from `authenticate`, or `{"paid": false}`: the deed did not happen."""
    if value is not False or not ASKING.isdisjoint(words):
        return None
    is_named_after = any(len(word) >= 4 and folded.startswith(word[: max(4, len(word) - 2)]) for word in words)
    is_deed = folded in _DEEDS and is_envelope({name: item for name, item in answer.items() if name != key})
    if is_named_after or is_deed or (folded.endswith("status") and len(answer) == 1):
        return Signal("outcome_false", key, value)
    return None


def in_words(text: str) -> str:
    """A constant such as INVALID_USER_KEY in words; any other text as it is."""
    return text.replace("_", " ") if _CONSTANT.fullmatch(text) else text


def single_text(answer: Object) -> tuple[str, str] | None:
    """Key and sentence of an object that holds one short text and nothing else, which is no title or content."""
    if len(answer) != 1:
        return None
    ((key, value),) = answer.items()
    if not isinstance(value, str) or len(value) > 300 or fold(key).endswith(CONTENT_KEYS):
        return None
    return (key, value) if " " in value or fold(key) in MESSAGE_KEYS else None


def has_unknown_code(answer: Object) -> bool:
    """True for an application's own non-zero code that neither the web nor a word explains."""
    if not is_envelope(answer) or any(fold(key) == "data" and not is_blank(value) for key, value in answer.items()):
        return False
    return any(code != 0 and not 100 <= code < 400 for code in _codes(answer))


def has_code_of_failure(answer: Object) -> bool:
    """True where that code is a long one: 1 often means that all is well, 10001 never does."""
    return has_unknown_code(answer) and any(abs(code) >= _LONG_CODE for code in _codes(answer))


def _codes(answer: Object) -> list[int]:
    codes = (
        _status(value) for key, value in answer.items() if fold(key) in {"code", "resultcode", "codigo", "infocode"}
    )
    return [code for code in codes if code is not None]


def collect_texts(value: "Json | Object", *, is_inside: bool = False) -> Iterator[str]:
    """The texts by which a failed answer explains itself: everything in error fields, messages, titles and codes."""
    if isinstance(value, str):
        if is_inside and value.strip():
            yield value
    elif isinstance(value, dict):
        for wanted in (ERROR_KEYS, MESSAGE_KEYS | PAYLOAD_KEYS, frozenset({"title", "type", "code"})):
            for key, item in value.items():
                folded = fold(key)
                rest = folded not in ERROR_KEYS | MESSAGE_KEYS | PAYLOAD_KEYS and wanted is not ERROR_KEYS
                if folded in wanted or folded.endswith(ERROR_ENDS) or (is_inside and rest):
                    yield from collect_texts(item, is_inside=True)
    elif isinstance(value, list):
        for item in value[:20]:
            yield from collect_texts(item, is_inside=is_inside)


def iterate_leaves(value: Json) -> Iterator[Json]:
    """All scalars inside a value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from iterate_leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from iterate_leaves(item)
    else:
        yield value


def _word(value: Json) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


def _number(value: Json) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e300 else None
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,12}(?:\.\d{1,12})?\s*", value):
        return float(value)
    return None


def _status(value: Json) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None


def _http_failure(number: float) -> int | None:
    return int(number) if number.is_integer() and 400 <= number < 600 else None
