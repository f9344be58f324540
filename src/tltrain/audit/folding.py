"""Feedback that differs only in numbers, ids and names, brought to one form; what labels and groups are kept by.

Folding is careful where a sign may change what a text means: 0 stays 0, a status or code keeps its number, and in
JSON only values that look like ids are folded, never words such as "failed".
"""

import hashlib
import re

_LIMIT = 2000
"""Characters that are looked at; the rest of a long text does not tell two groups apart."""
_CODE = re.compile(
    r"(?:status|code|http(?:/[\d.]+)?|errno|exit|error|returncode|response)[\"']?[\s:=(\[]{0,4}[\"']?-?\d+", re.I
)
_ATOM = re.compile(
    r"(?P<url>https?://[^\s\"'<>)]+)|(?P<mail>[\w.+\-]+@[\w\-]+(?:\.[\w\-]+)+)"
    r"|(?P<uuid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)"
    r"|(?P<id>\b(?=[\w\-]*\d)(?=[\w\-]*[A-Za-z_])[\w\-]{3,}\b)"
    r"|(?P<number>(?<![\w.])[+\-]?\d[\d.,:/\-T]*)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"(?<!\w)(['\"`])(?!\s)[^'\"`\n]{1,80}?\1(?!\w)")
_SPACE = re.compile(r"\s+")


def fold_feedback(text: str) -> str:
    """The form that a text shares with those that differ from it only in numbers, ids, addresses and quoted names.

    Numbers become `#`, ids `<id>`, addresses `<url>` and `<mail>`, and in prose quoted names `<name>`.
    """
    text = _SPACE.sub(" ", text[:_LIMIT]).strip()
    is_structured = text[:1] in ("{", "[", "<")
    if not is_structured:
        text = _QUOTED.sub("<name>", text)
    kept = {match.end() for match in _CODE.finditer(text)}
    return _ATOM.sub(lambda match: _fold_atom(match, kept), text)


def _fold_atom(match: re.Match[str], kept: set[int]) -> str:
    found = match[0]
    if match.lastgroup == "number":
        digits = found.rstrip(".,:/-")
        is_told = match.start() + len(digits) in kept or not digits.strip("+-0.,")
        return found if is_told else "#" + found[len(digits) :]
    return "<id>" if match.lastgroup == "uuid" else f"<{match.lastgroup}>"


def label_key(tool: str, folded: str) -> str:
    """Name of a group of feedback: a hash over the tool's name and the folded text; 16 hexadecimal digits."""
    return hashlib.sha256(f"{tool}\0{folded}".encode(errors="surrogatepass")).hexdigest()[:16]
