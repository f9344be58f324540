"""What an answer says of itself in sentences, where no field says that it failed: messages, complaints, nothing."""

import re

from tltrain.audit.answer_keys import MESSAGE_KEYS, fold, word_set
from tltrain.audit.finding import Finding, Reader
from tltrain.audit.free_text import read_ends, read_notice
from tltrain.audit.shapes import field_messages
from tltrain.audit.signals import (
    Object,
    collect_texts,
    has_code_of_failure,
    has_unknown_code,
    in_words,
    is_envelope,
    says_ok,
    single_text,
)
from tltrain.audit.verdict import VerdictLabel
from tltrain.types import Json

_SILENT = word_set(
    "think thought plan note reflect wait sleep pause log print mkdir touch cd mv cp rm set update delete remove send "
    "save write close stop start clear reset notify post add insert put bash shell execute exec python code command "
    "scratchpad store finish navigate click type scroll move copy create edit append git echo export toggle lock "
    "unlock play press"
)
"""Words of tools that may well have nothing to say."""
_SUCCESS_WORD = re.compile(r"成功|\b(?:ok|success\w{0,4}|done|completed?|accepted)\b", re.IGNORECASE)
_OK, _ERROR, _AMBIGUOUS = VerdictLabel.OK, VerdictLabel.ERROR, VerdictLabel.AMBIGUOUS


def read_message(answer: Object, reader: Reader) -> Finding | None:
    """A service's sentence about the call, where nothing else stands in the answer."""
    single = single_text(answer)
    messages = [single] if single else []
    if not messages and is_envelope(answer):
        spoken = {
            key: value
            for key, value in answer.items()
            if fold(key) in MESSAGE_KEYS or (fold(key) == "messages" and isinstance(value, str))
        }
        texts = ((key, "\n".join(collect_texts(value, is_inside=True))) for key, value in spoken.items())
        messages = [(key, text) for key, text in texts if text]
    for key, text in messages:
        told = in_words(text.strip())
        finding = read_ends(told, reader) or read_notice(told, reader, is_quotable=False)
        if finding.label is _OK and finding.proof == "says_success":
            return finding._replace(key=key)
        if finding.label is not _OK:
            if says_ok(answer):
                return finding._replace(label=_AMBIGUOUS, key=key, rule=None) if finding.label is _ERROR else None
            return finding._replace(key=key)
    if messages and has_unknown_code(answer):
        is_failure = has_code_of_failure(answer) and not _SUCCESS_WORD.search(messages[0][1])
        if is_failure and "unknown_code" not in reader.book.off:
            return Finding(_ERROR, "unknown_code", messages[0][1], messages[0][0], messages[0][1])
        return Finding(_AMBIGUOUS, "unknown_code", messages[0][1], messages[0][0])
    return None


def read_complaints(answer: Object, reader: Reader) -> Finding | None:
    """Complaints about the fields of a call, where nothing else stands in the answer."""

    def is_complaint(text: str) -> bool:
        return read_notice(text.strip(), reader, is_quotable=False).label is _ERROR

    is_off = "field_messages" in reader.book.off or not reader.book.reading_tools.isdisjoint(reader.words)
    text = None if is_off else field_messages(answer, is_complaint)
    return Finding(_ERROR, "field_messages", text.split("\n")[0], next(iter(answer)), text) if text else None


def read_emptiness(answer: Object, inner: Finding | None, reader: Reader) -> Finding | None:
    """Answers without content: ambiguous unless they say that all is well."""
    if says_ok(answer):
        return Finding(_OK, "says_ok")
    folded = {fold(key): value for key, value in answer.items()}
    if folded.get("found") is False and len(folded) <= 3:
        return Finding(_AMBIGUOUS, "not_found_flag", "false", next(key for key in answer if fold(key) == "found"))
    if fold(_text_of(folded.get("status"))) == "zeroresults":
        return Finding(_AMBIGUOUS, "zero_results", _text_of(folded.get("status")))
    values = [value for key, value in answer.items() if fold(key) not in {"error", "errors", "message", "msg"}]
    if values and all(value in (None, "", {}) for value in values) and inner is None:
        return read_nothing("", reader)
    return None


def _text_of(value: Json) -> str:
    return value if isinstance(value, str) else ""


def read_nothing(text: str, reader: Reader) -> Finding:
    """An empty answer: fine from a tool that has nothing to say."""
    if not _SILENT.isdisjoint(reader.words):
        return Finding(_OK, "nothing_to_say", text)
    return Finding(_AMBIGUOUS, "empty", text)
