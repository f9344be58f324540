"""Reading one feedback: whether the call it answers went wrong, in which way, and who is to blame.

Layers, each of which decides or passes on: no feedback; literals (`true`, `None`, numbers); structure, that is JSON
or printed Python, cut short or not, where fields decide and texts inside answer fields are read again; HTTP and markup
envelopes; free text by the rules of `rules.yaml`. Long content that mentions errors is no error.
"""

import json
import re
from collections.abc import Sequence
from functools import lru_cache

from tltrain.audit.answer_keys import ANSWER_KEYS, ASKING, PAYLOAD_KEYS, fold, word_set
from tltrain.audit.evidence import locate
from tltrain.audit.finding import Finding, Reader
from tltrain.audit.free_text import EXPLANATION_LIMIT, read_ends, read_markup, read_notice, straighten
from tltrain.audit.messages import read_complaints, read_emptiness, read_message, read_nothing
from tltrain.audit.rules import Reach, RuleBook, kind_of_status, shipped_rules, split_name
from tltrain.audit.shapes import Batch, read_batch, read_items, says_nothing_of_failure, unbox
from tltrain.audit.signals import (
    Object,
    Signal,
    collect_texts,
    find_failures,
    is_blank,
    is_envelope,
    says_ok,
)
from tltrain.audit.structure import read_structure
from tltrain.audit.verdict import BLAME_OF_KIND, Blame, Layer, Verdict, VerdictLabel, Witness
from tltrain.taxonomy import FeedbackKind
from tltrain.types import Json

__all__ = ["Blame", "Verdict", "VerdictLabel", "judge_feedback"]

_MAX_DEPTH = 6
_NOTICE_LENGTH = 1000

_ASKING_TRUTH = word_set("get status is has check can are does verify validate test compare exists contains should")
_LITERALS = {
    "true": True,
    "yes": True,
    "false": False,
    "no": False,
    "none": None,
    "null": None,
    "nil": None,
    "nan": None,
}
_WRAPPERS = re.compile(
    r"```\w*\s*(?P<fenced>.*?)\s*```|<(?P<tag>tool_response|output|result|response)>(?P<tagged>.*)</(?P=tag)>",
    re.DOTALL,
)
_LEAD_IN = re.compile(
    r"(?:tool |function |api |final )?"
    r"(?:results?|outputs?|observation|responses?|returned|return value|feedback|reply|data)\s*[:=]\s*",
    re.IGNORECASE,
)
_PRINTED_RESPONSE = re.compile(r"<(?:\w{1,40} )?(Response \[?\d{3}\b[^<>]{0,60}?)\]?>")
"""`<Response [404]>`: how Python's HTTP libraries print an answer."""
_PRINTED_ERROR = re.compile(r"<(\w{0,30}Error \d{3}\b.{1,900})>", re.DOTALL)
"""`<HttpError 400 when requesting ...>`: how Google's client prints one."""
_PRINTED_ARGUMENTS = re.compile(r"""\(-?\d{1,6}, (['"])(?P<text>.{12,}?)\1,?\)""", re.DOTALL)
"""`(1064, 'You have an error in ...')`: how Python prints the arguments of an exception."""
_HTTP_OK = re.compile(
    r"(?:HTTP(?:/[\d.]+)?\s+|(?:HTTP )?status(?: code)?\s*[:=]\s*|Response \[?)2\d\d\b[ .,;:]*"
    r"(?:OK|Created|Accepted|No Content)?[\s.,;:\-]*",
    re.IGNORECASE,
)
_NO_CONTENT = re.compile(r"\b204\b")
_REMEMBERED = 4000
"""Characters up to which the verdict on a text is remembered: short answers repeat."""
_UNANSWERED = Verdict(
    label=VerdictLabel.UNANSWERED,
    rule="no_feedback",
    kind=FeedbackKind.UNANSWERED,
    blame=Blame.UNKNOWN,
    witnesses=(
        Witness(layer=Layer.FEEDBACK, rule="no_feedback", says=VerdictLabel.UNANSWERED, kind=FeedbackKind.UNANSWERED),
    ),
)
_OK, _ERROR, _AMBIGUOUS = VerdictLabel.OK, VerdictLabel.ERROR, VerdictLabel.AMBIGUOUS


def judge_feedback(feedback: str | None, tool: str, book: RuleBook | None = None) -> Verdict:
    """Say how the call ended that this feedback answers.

    Args:
        feedback: text of the tool message; None if no message answers the call.
        tool: name of the called tool; an empty string if it is not known.
        book: other text rules than the shipped ones.

    Returns:
        A verdict whose evidence is `feedback[start:end]`. Deterministic; text of any size takes well under a second.
    """
    if feedback is None:
        return _UNANSWERED
    book = book or shipped_rules()
    if len(feedback) > _REMEMBERED:
        return _judge(feedback, tool, book)
    return _judge_again(feedback, tool, book)


def _judge(feedback: str, tool: str, book: RuleBook) -> Verdict:
    reader = Reader(book, split_name(tool))
    return _verdict(_read_text(feedback, reader, 0), feedback, reader)


_judge_again = lru_cache(maxsize=4096)(_judge)


def forget_verdicts() -> None:
    """Judge everything anew, for measurements."""
    _judge_again.cache_clear()


@lru_cache(maxsize=256)
def _plain_verdict(rule: str) -> Verdict:
    """Feedback that is fine, with nothing in particular to show for it."""
    return Verdict(label=_OK, rule=rule, witnesses=(Witness(layer=Layer.FEEDBACK, rule=rule, says=_OK),))


def _verdict(finding: Finding, feedback: str, reader: Reader) -> Verdict:
    if finding.label is _OK and not finding.excerpt:
        return _plain_verdict(finding.proof)
    start, end = locate(finding, feedback)
    kind, blame, rule = None, Blame.NONE, finding.proof
    if finding.label is _AMBIGUOUS:
        kind, blame = FeedbackKind.AMBIGUOUS, Blame.UNKNOWN
    elif finding.label is _ERROR:
        kind, blame, rule = _name(finding, reader)
    return Verdict(
        label=finding.label,
        rule=rule,
        kind=kind,
        blame=blame,
        evidence=feedback[start:end],
        start=start,
        end=end,
        witnesses=(Witness(layer=Layer.FEEDBACK, rule=rule, says=finding.label, kind=kind),),
    )


def _name(finding: Finding, reader: Reader) -> tuple[FeedbackKind, Blame, str]:
    """Kind, blame and rule of an error: by its words, then by its HTTP status, then by weaker words."""
    text = straighten(finding.text[:EXPLANATION_LIMIT])
    if "_" in text:
        text += "\n" + text.replace("_", " ")  # codes such as `channel_not_found`
    named = finding.rule
    if named is None or named.kind is FeedbackKind.UNCATEGORISED:
        named = reader.book.name_kind(text, reader.words, is_weak=False)
    if named is None and finding.status is not None:
        kind = kind_of_status(finding.status)
        return kind, BLAME_OF_KIND[kind], finding.proof
    if named is None:
        named = reader.book.name_kind(text, reader.words, is_weak=True)
    if named is None and finding.proof == "outcome_false":
        return FeedbackKind.REFUSED, Blame.WORLD, finding.proof
    if named is None or named.kind is None:
        return FeedbackKind.UNCATEGORISED, Blame.UNKNOWN, finding.proof
    return named.kind, named.blame, finding.proof if named.name == finding.proof else f"{finding.proof}:{named.name}"


# Text


def _read_text(text: str, reader: Reader, depth: int) -> Finding:
    """Judge a text of any form."""
    text = text.strip()
    wrapped = _WRAPPERS.fullmatch(text[:100_000]) if text[:1] in ("`", "<") else None
    if wrapped:
        text = (wrapped["fenced"] or wrapped["tagged"] or "").strip()
    if not text:
        return read_nothing("", reader)
    if len(text) <= 5 and text.strip(".").lower() in _LITERALS:
        return _read_scalar(_LITERALS[text.strip(".").lower()], text, reader)
    if depth > _MAX_DEPTH:
        return Finding(_OK, "nested_too_deeply")
    if text[0] in "<(":
        start = text[:_NOTICE_LENGTH]
        printed = (
            _PRINTED_RESPONSE.fullmatch(text) or _PRINTED_ERROR.fullmatch(start) or _PRINTED_ARGUMENTS.fullmatch(start)
        )
        text = printed[printed.lastindex or 1] if printed else text
    structure = read_structure(text)
    if structure is not None:
        return _read_value(structure.value, text, reader, depth)
    return (
        _read_envelope(text, reader, depth)
        or read_markup(text, reader)
        or read_ends(text, reader)
        or read_notice(text, reader)
    )


def _read_envelope(text: str, reader: Reader, depth: int) -> Finding | None:
    """The body behind `Status Code: 200. Response:` or `Result:`."""
    match = _HTTP_OK.match(text) or _LEAD_IN.match(text)
    if match is None:
        return None
    body = text[match.end() :]
    if _NO_CONTENT.search(match[0]):
        return Finding(_OK, "http_ok", match[0].strip())
    return _read_text(body, reader, depth + 1) if body.strip() else Finding(_OK, "http_ok", match[0].strip())


# Values


def _read_scalar(value: Json, text: str, reader: Reader) -> Finding:
    if value is None:
        return read_nothing(text, reader)
    if value is False and _ASKING_TRUTH.isdisjoint(reader.words):
        return Finding(_AMBIGUOUS, "false", text)
    return Finding(_OK, "literal", text)


def _read_value(value: Json, text: str, reader: Reader, depth: int) -> Finding:
    """Judge a decoded value that was printed as `text`."""
    if isinstance(value, str):
        return _read_text(value, reader, depth + 1)
    if isinstance(value, dict):
        return _read_object(value, reader, depth)
    if isinstance(value, list):
        return _read_list(value, reader, depth)
    return _read_scalar(value, text, reader)


def _read_list(items: list[Json], reader: Reader, depth: int) -> Finding:
    if not items:
        return Finding(_OK, "empty_list", "[]")
    objects = [item for item in items[:50] if isinstance(item, dict)]
    if len(objects) < min(len(items), 50):
        return _read_value(items[0], "", reader, depth + 1) if len(items) == 1 else Finding(_OK, "list")
    parts = [item.get("text") for item in objects if item.get("type") == "text"]
    if len(parts) == len(items):
        return _read_text("\n".join(part for part in parts if isinstance(part, str)), reader, depth + 1)
    if len(objects) == 1:
        finding = _read_object(objects[0], reader, depth + 1)
        is_answer = depth == 0 or finding.label is not _ERROR or is_envelope(objects[0])
        return finding if is_answer else finding._replace(label=_AMBIGUOUS)
    batch = None if "items_failed" in reader.book.off else read_items(objects, reader.words)
    return _batch(batch, "items_failed", objects) if batch else Finding(_OK, "list")


def _batch(batch: Batch, proof: str, parts: Sequence[Object]) -> Finding:
    text = "\n".join(text for part in parts for text in collect_texts(part))
    return Finding(_AMBIGUOUS if batch.is_partial else _ERROR, proof, _printed(batch.value), batch.key, text)


def _read_object(answer: Object, reader: Reader, depth: int) -> Finding:
    """Judge an answer by its fields."""
    if depth > _MAX_DEPTH:
        return Finding(_OK, "nested_too_deeply")
    if not answer:
        return Finding(_AMBIGUOUS, "empty_object", "{}")
    if says_nothing_of_failure(answer):
        return Finding(_OK, "object")
    inside = unbox(answer)
    if inside is not None:
        finding = _read_object(inside, reader, depth + 1)
        is_state = finding.label is _ERROR and finding.proof == "status_word"
        return finding._replace(label=_AMBIGUOUS) if is_state else finding
    boxed = _read_boxed(answer, reader)
    if boxed is not None:
        return boxed
    off = reader.book.off
    failures = [signal for signal in find_failures(answer, reader.words) if signal.proof not in off]
    strong = [signal for signal in failures if not signal.is_weak]
    batch = None if "batch_failed" in off else read_batch(answer, reader.words)
    if batch and all(signal.proof in {"error_field", "success_false"} for signal in strong):
        return _batch(batch, "batch_failed", [{"errors": batch.value}])
    inner = _read_payload(answer, reader, depth)
    if strong:
        return _read_failure(answer, strong, inner, reader)
    if inner is not None and inner.label is _ERROR:
        is_doubtful = inner.rule is not None and inner.rule.reach is Reach.NOTICE and says_ok(answer)
        return inner._replace(label=_AMBIGUOUS) if is_doubtful else inner
    if failures:
        return Finding(_AMBIGUOUS, failures[0].proof, _printed(failures[0].value), failures[0].key)
    return (
        read_message(answer, reader)
        or read_complaints(answer, reader)
        or read_emptiness(answer, inner, reader)
        or (inner if inner is not None else Finding(_OK, "object"))
    )


def _read_boxed(answer: Object, reader: Reader) -> Finding | None:
    """A failure inside the only field of an object, beside a tool's own fields: `{"edit": {"result": "Failure"}}`."""
    if len(answer) != 1 or not ASKING.isdisjoint(reader.words):
        return None
    (inner,) = answer.values()
    if not isinstance(inner, dict) or is_envelope(inner):
        return None
    signals = [
        signal
        for signal in find_failures(inner, reader.words)
        if not signal.is_weak and signal.proof not in reader.book.off
    ]
    return _read_failure(inner, signals, None, reader) if signals else None


def _read_failure(answer: Object, signals: list[Signal], inner: Finding | None, reader: Reader) -> Finding:
    """An answer with a field that says it failed; ambiguous where the rest of it says the opposite."""
    first = min(signals, key=lambda signal: signal.status is None and signal.proof != "error_field")
    text = "\n".join(collect_texts(answer))[:EXPLANATION_LIMIT]
    status = next((signal.status for signal in signals if signal.status is not None), None)
    finding = Finding(_ERROR, first.proof, _printed(first.value), first.key, text, status)
    if any(signal.proof != "error_field" for signal in signals):
        return finding
    if inner is not None and inner.label is _ERROR:
        return finding._replace(text=f"{text}\n{inner.text}", status=status or inner.status)
    has_result = inner is not None and inner.label is _OK and _has_payload(answer)
    is_named = reader.book.name_kind(text, reader.words, is_weak=False) is not None
    if says_ok(answer) or (has_result and not is_named):
        return finding._replace(label=_AMBIGUOUS, proof="error_beside_result")
    return finding


def _has_payload(answer: Object) -> bool:
    return any(
        fold(key) in PAYLOAD_KEYS - {"status", "meta", "header"} and not is_blank(value)
        for key, value in answer.items()
    )


def _read_payload(answer: Object, reader: Reader, depth: int) -> Finding | None:
    """The worst finding among the fields that hold the answer proper; None if there is no such field."""
    keys = PAYLOAD_KEYS if is_envelope(answer) else ANSWER_KEYS
    findings = []
    for key, value in answer.items():
        is_nested = isinstance(value, (dict, list)) or (isinstance(value, str) and fold(key) != "status")
        if fold(key) in keys and is_nested and value not in ("", {}):
            finding = _read_value(value, "", reader, depth + 1)
            findings.append(finding._replace(key=finding.key or key))
    order = (_ERROR, _AMBIGUOUS, _OK)
    return min(findings, key=lambda finding: order.index(finding.label), default=None)


def _printed(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
