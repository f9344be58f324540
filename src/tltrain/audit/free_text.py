"""Reading free text: how a text opens and closes, short notices, titles of pages.

The rules are those of `rules.yaml`; this module knows where they may look.
"""

import re

from tltrain.audit.finding import Finding, Reader
from tltrain.audit.rules import Reach, RuleBook, find_first
from tltrain.audit.verdict import VerdictLabel
from tltrain.taxonomy import FeedbackKind

_NOTICE_LIMIT = 300
"""Characters up to which a text is a notice; longer ones are content, and only how they open or close counts."""
_QUOTE_LIMIT = 60
"""The same for tools that quote others, whose notices are shorter than what they quote."""
_CONTENT_LINES = 3
"""Lines from which on a text from a tool that shows content is content, and only its first line a notice."""
_HEAD = 500
_TAIL = 1500
EXPLANATION_LIMIT = 2000
"""Characters of an error's own words that are searched for its kind."""
_MARKUP_TITLE = re.compile(r"<(title|h1)[^>]{0,200}>\s*([^<]{1,200})", re.IGNORECASE)
_MARKUP_ERROR = re.compile(
    r"<(?:\w{1,20}[:_\-]){0,3}(?:error|errors|fault|faultstring|exception|exceptionreport|serviceexception|errorresponse)\b"
    r"[^>/]{0,200}>(?!\s*(?:[\d.,]{0,20}|false|none|null)\s*</)"
    r"|<(?:status|result|success|code)>\s*(?:error|fail(?:ed|ure)?|false|[45]\d\d)\s*</",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[^>]{0,300}>")
_QUOTED = re.compile(r"(?<!\w)(['\"`])(?=[^\n]{0,300}?\s)([^\n]{1,300}?)\1(?!\w)")
_SENTENCE_END = re.compile(r"[a-z)\"'][.!?:]\s+(?=[A-Z\"'])")
_STRAIGHT = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")
_LEADING_MARKS = re.compile(r"[\s\W]{0,6}?(?=[\w\[\u274c\u2717\u2716\U0001f6ab\u26d4])")


def straighten(text: str) -> str:
    """The text with straight quotes for curly ones, at the same length."""
    return text if text.isascii() else text.translate(_STRAIGHT)


def read_ends(text: str, reader: Reader) -> Finding | None:
    """Errors by which a text of any length opens or closes."""
    head = straighten(text[:_HEAD])
    marks = _LEADING_MARKS.match(head)
    start = marks.end() if marks else 0
    tail_start = max(0, len(text) - _TAIL)
    tail = straighten(text[tail_start:])
    lowered = (tail if tail_start == 0 else f"{head}\n{tail}").casefold()
    is_harmless = reader.book.harmless.match(head, start)
    if reader.book.harmless_literals.may_match(lowered):
        tail = _blank_harmless(tail, reader.book)
    for rule, parts in reader.book.ends.that_may_match(lowered):
        if not rule.applies_to(reader.words):
            continue
        match, offset = None, 0
        if rule.reach is Reach.CLOSING:
            match, offset = find_first(parts, tail), tail_start
        elif not is_harmless:
            match = next(filter(None, (part.pattern.match(head, start) for part in parts)), None)
        if match:
            # up to the end of the line: `Error:` alone explains nothing
            end = text.find("\n", offset + match.end())
            excerpt = text[offset + match.start() : end if end >= 0 else len(text)]
            explanation = text if len(text) <= EXPLANATION_LIMIT else excerpt + "\n" + text[tail_start:]
            return Finding(rule.label, rule.name, excerpt, text=explanation, rule=rule)
    return None


def read_notice(text: str, reader: Reader, *, is_quotable: bool = True) -> Finding:
    """Short texts by every rule; long ones are content.

    Args:
        text: without space around it.
        reader: rules and tool.
        is_quotable: the text may be what others said, as found by the tool.
    """
    if len(text) > _NOTICE_LIMIT:
        return Finding(VerdictLabel.OK, "long_content")
    plain = straighten(text)
    is_content = plain.count("\n") >= _CONTENT_LINES - 1 and not reader.book.content_tools.isdisjoint(reader.words)
    telling = plain.index("\n") if is_content else len(plain)
    plain = _blank_out(plain, reader.book, plain.casefold())
    lowered = plain.casefold()
    for rule, parts in reader.book.notices.that_may_match(lowered):
        match = find_first(parts, plain) if rule.applies_to(reader.words) else None
        if match and (match.start() < telling or rule.label is VerdictLabel.OK):
            is_doubtful = rule.label is VerdictLabel.ERROR and (
                (is_quotable and _may_be_quote(text, reader))
                or (rule.kind is FeedbackKind.REFUSED and _is_aside(text, match.start(), reader))
            )
            label = VerdictLabel.AMBIGUOUS if is_doubtful else rule.label
            named = None if is_content and rule.label is VerdictLabel.ERROR else rule  # the rest may say it better
            return Finding(label, rule.name, text[match.start() : match.end()], text=text, rule=named)
    mention = reader.book.mention.search(plain) if reader.book.mention_literals.may_match(lowered) else None
    if mention and text.count("\n") < 2 and reader.book.reading_tools.isdisjoint(reader.words):
        return Finding(VerdictLabel.AMBIGUOUS, "mentions_error", text[mention.start() : mention.end()])
    return Finding(VerdictLabel.OK, "plain_text")


def _may_be_quote(text: str, reader: Reader) -> bool:
    """A headline about a time-out is no time-out: prose, not the language of programs, from a tool that quotes."""
    if not reader.book.asking_tools.isdisjoint(reader.words):
        return True
    is_of_programs = re.search(r"[(){}\[\]=_<>]|://", text) and len(text) <= 2 * _QUOTE_LIMIT
    is_prose = len(text) > _QUOTE_LIMIT and not is_of_programs
    return is_prose and not reader.book.quoting_tools.isdisjoint(reader.words)


def _is_aside(text: str, position: int, reader: Reader) -> bool:
    """In a long answer to a question, what is refused or taken from the second sentence on is a part of the answer."""
    is_asked = not reader.book.looking_tools.isdisjoint(reader.words)
    return is_asked and len(text) > 2 * _QUOTE_LIMIT and _SENTENCE_END.search(text, 0, position) is not None


def _blank_harmless(text: str, book: RuleBook) -> str:
    return book.harmless.sub(lambda match: " " * len(match[0]), text)


def _blank_out(text: str, book: RuleBook, lowered: str) -> str:
    """The text with harmless phrases and quoted phrases (not quoted names) blanked, at the same length."""
    text = _blank_harmless(text, book) if book.harmless_literals.may_match(lowered) else text
    if not any(mark in text for mark in "'\"`"):
        return text
    is_quote_whole = len(text) > 1 and text[0] == text[-1] and text[0] in "'\"`"
    if is_quote_whole:
        return text
    return _QUOTED.sub(
        lambda match: match[0] if not re.search(r"\s", match[2]) else f"{match[1]}{'x' * len(match[2])}{match[1]}", text
    )


def read_markup(text: str, reader: Reader) -> Finding | None:
    """HTML and XML pages: their title or first heading decides, or an error element near the top."""
    if not re.match(r"<[!?a-zA-Z]", text):
        return None
    head = text[:4000]
    for title in _MARKUP_TITLE.finditer(head):
        finding = read_ends(title[2].strip(), reader) or read_notice(title[2].strip(), reader)
        if finding.proof == "quotes_content":
            break  # an article about errors
        if finding.label is VerdictLabel.ERROR and "page_title" not in reader.book.off:
            return finding._replace(proof="page_title", text=_TAG.sub(" ", head), rule=None)
    element = _MARKUP_ERROR.search(head)
    if element and "error_element" not in reader.book.off:
        return Finding(VerdictLabel.ERROR, "error_element", element[0], text=_TAG.sub(" ", head))
    bare = _TAG.sub(" ", head).strip() if len(text) <= _NOTICE_LIMIT else ""
    finding = read_notice(bare, reader)
    return finding if finding.label is VerdictLabel.ERROR else Finding(VerdictLabel.OK, "page")
