"""What a text must hold for a pattern to match: a cheap question that spares most searches.

Read off Python's own parse of the pattern. Where that tells nothing, nothing is required, and the pattern is tried.
"""

import re
from collections.abc import Iterable
from typing import Any

from ahocorasick_rs import AhoCorasick

try:  # Python's own parser has no public name
    from re import _constants as codes  # type: ignore[attr-defined]
    from re import _parser as parser  # type: ignore[attr-defined]
except ImportError:  # pragma: no cover - then every pattern is tried, which is slower and as right
    codes = parser = None

_SHORTEST = 2
"""Letters of a literal that is worth asking for."""
_MOST = 200
"""Literals of one pattern; more are slower than the search that they spare."""


def required_literals(pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Case-folded texts of which every text that the pattern matches holds at least one; empty if none are known."""
    if parser is None:
        return ()
    found = _of_sequence(parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG))
    if found is None or len(found) > _MOST:
        return ()
    # a text that holds `invalid date` holds `invalid` too
    short = sorted(set(found), key=len)
    kept: list[str] = []
    for literal in short:
        if not any(one in literal for one in kept):
            kept.append(literal)
    return tuple(kept)


class Literals:
    """The same question as `may_hold` asks, for many literals: one pass over the text.

    Args:
        literals: of a pattern, see `required_literals`.
    """

    def __init__(self, literals: tuple[str, ...] = ()):
        self._search = AhoCorasick(literals) if literals else None

    def may_match(self, lowered: str) -> bool:
        """False only if a text of this case-folded form cannot match what requires the literals."""
        return self._search is None or bool(self._search.find_matches_as_indexes(lowered))


def may_hold(lowered: str, literals: tuple[str, ...]) -> bool:
    """False only if a text of this case-folded form cannot match what requires the literals."""
    return not literals or any(map(lowered.__contains__, literals))


def _of_sequence(items: Iterable[tuple[Any, Any]]) -> list[str] | None:
    """The best requirement among those of the parts, all of which must match: the fewest, the longest."""
    options: list[list[str]] = []
    run = ""
    for code, value in items:
        if code is codes.LITERAL and _has_one_form(chr(value)):
            run += chr(value).casefold()
            continue
        options += [[run]] if _is_worth_it(run) else []
        run = ""
        inner = _of_part(code, value)
        if inner is not None:
            options.append(inner)
    options += [[run]] if _is_worth_it(run) else []
    return min(options, key=lambda literals: (len(literals), -min(map(len, literals))), default=None)


def _has_one_form(sign: str) -> bool:
    """A letter without a long form, as the German sharp s has one."""
    return len(sign.casefold()) == 1


def _is_worth_it(run: str) -> bool:
    return len(run) >= _SHORTEST


def _of_part(code: Any, value: Any) -> list[str] | None:
    if code is codes.SUBPATTERN:
        return _of_sequence(value[3])
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        return _of_sequence(value[2]) if value[0] >= 1 else None
    if code is codes.ATOMIC_GROUP:
        return _of_sequence(value)
    if code is not codes.BRANCH:
        return None
    branches = [_of_sequence(branch) for branch in value[1]]
    if any(branch is None for branch in branches):
        return None
    return [literal for branch in branches if branch is not None for literal in branch]
