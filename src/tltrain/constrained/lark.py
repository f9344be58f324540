"""Pieces of a grammar as llguidance reads it: its Lark dialect, with regular expressions as Rust has them."""

import re
from collections.abc import Iterable

BLANK = r"[ \n\t]{0,8}"
"""Blanks where JSON may have any; bounded, so that a model cannot go on with blanks forever."""


def quote(pattern: str) -> str:
    """A terminal that is a regular expression."""
    return "/" + re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", pattern).replace("\n", r"\n") + "/"


def escape(text: str) -> str:
    """The pattern of exactly this text."""
    return "".join(char if char.isalnum() or ord(char) > 0x9F else f"\\x{{{ord(char):x}}}" for char in text)


def one_of(texts: Iterable[str]) -> str:
    """The pattern of any of these texts."""
    return "(?:" + "|".join(escape(text) for text in dict.fromkeys(texts)) + ")"


class Grammar:
    """Rules as they come; equal ones are written once.

    Names of rules are lower case and may recurse; names of terminals are upper case: each is one regular expression.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._lines: list[str] = []
        self._num_names = 0

    def add(self, kind: str, body: str) -> str:
        """The name of a rule, or where the kind is upper case a terminal, with this body."""
        key = (kind, body)
        if key not in self._names:
            self._names[key] = self.fresh(kind)
            self._lines.append(f"{self._names[key]}: {body}")
        return self._names[key]

    def terminal(self, kind: str, pattern: str) -> str:
        """The name of a terminal for a pattern."""
        return self.add(kind.upper(), quote(pattern))

    def fresh(self, kind: str) -> str:
        """A name that is free, for rules that are given to `put`."""
        self._num_names += 1
        return f"{kind}_{self._num_names}"

    def put(self, line: str) -> None:
        """Add a line as it is."""
        self._lines.append(line)

    def text(self, start: str) -> str:
        """The whole grammar.

        Args:
            start: body of the first rule.
        """
        return "\n".join([f"start: {start}", *self._lines]) + "\n"
