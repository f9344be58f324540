"""The text rules of the audit: `rules.yaml` as compiled rows, and the questions asked of them."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache, cached_property, lru_cache
from importlib import resources
from typing import Any, NamedTuple

import yaml
from ahocorasick_rs import AhoCorasick

from tltrain.audit.literals import Literals, required_literals
from tltrain.audit.verdict import BLAME_OF_KIND, Blame, VerdictLabel
from tltrain.errors import UsageError
from tltrain.taxonomy import FeedbackKind


class Reach(StrEnum):
    """Where a match decides."""

    OPENING = "opening"
    """At the start of a text of any length."""
    CLOSING = "closing"
    """In the last lines of a text of any length."""
    NOTICE = "notice"
    """Anywhere in a short text."""
    NAMING = "naming"
    """Nowhere; it names the kind of an error that is proved otherwise."""


class Part(NamedTuple):
    """One alternative of a rule's pattern."""

    pattern: re.Pattern[str]
    literals: tuple[str, ...]
    """Case-folded texts of which every match holds one, see `literals`; empty: not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One row of the table."""

    name: str
    pattern: re.Pattern[str]
    reach: Reach
    label: VerdictLabel
    kind: FeedbackKind | None
    """None for rules of label ok."""
    blame: Blame
    tools: frozenset[str] = frozenset()
    """Words of tool names that the rule holds for; empty: all."""
    not_tools: frozenset[str] = frozenset()
    """Words of tool names that it does not hold for."""
    examples: tuple[str, ...] = ()
    parts: tuple["Part", ...] = ()
    """The alternatives of the pattern, one for each that the table lists."""

    @property
    def names_a_kind(self) -> bool:
        """True for a rule of error that says which kind of error it is."""
        return self.label is VerdictLabel.ERROR and self.kind is not FeedbackKind.UNCATEGORISED

    def applies_to(self, words: Collection[str]) -> bool:
        """True if the rule holds for a tool whose name consists of these words."""
        return self.not_tools.isdisjoint(words) and (not self.tools or not self.tools.isdisjoint(words))


@dataclass(frozen=True, kw_only=True, eq=False)
class RuleBook:
    """All rules in order, with the phrases around them. A book equals itself alone, so that verdicts can be cached."""

    rules: tuple[Rule, ...]
    harmless: re.Pattern[str]
    """Phrases that hold a word of error and mean none."""
    mention: re.Pattern[str]
    """What makes a short text that no rule knows ambiguous rather than ok."""
    reading_tools: frozenset[str]
    """Words in the names of tools that return files, logs and pages as they stand."""
    quoting_tools: frozenset[str]
    """Words in the names of tools whose short answers are the words of others."""
    asking_tools: frozenset[str]
    """Words in the names of tools that a person answers."""
    looking_tools: frozenset[str]
    """Words in the names of tools that are asked something."""
    content_tools: frozenset[str]
    """Words in the names of tools whose answers of several lines are content: only how these begin counts."""

    off: frozenset[str] = frozenset()
    """Names of rules of structure that are not asked, see `STRUCTURE_RULES`."""
    harmless_literals: Literals = field(default_factory=Literals)
    """What every harmless phrase holds."""
    mention_literals: Literals = field(default_factory=Literals)

    def extended(self, rules: Sequence[Rule]) -> "RuleBook":
        """The same book with `rules` before all others."""
        return replace(self, rules=(*rules, *self.rules))

    def without(self, names: Collection[str]) -> "RuleBook":
        """The same book without the rules of these names, of text or of structure."""
        kept = tuple(rule for rule in self.rules if rule.name not in names)
        return replace(self, rules=kept, off=self.off | (frozenset(names) & STRUCTURE_RULES.keys()))

    def name_kind(self, text: str, words: Collection[str], *, is_weak: bool) -> Rule | None:
        """The first rule that names the kind of a text known to be an error.

        Args:
            text: the error's own words.
            words: of the tool's name.
            is_weak: ask the rules of reach naming, instead of all others.
        """
        row = self.naming if is_weak else self.named
        for rule, parts in row.that_may_match(text.casefold()):
            if rule.applies_to(words) and any(part.pattern.search(text) for part in parts):
                return rule
        return None

    @cached_property
    def ends(self) -> "RuleRow":
        """The rules of reach opening and closing."""
        return RuleRow([rule for rule in self.rules if rule.reach in {Reach.OPENING, Reach.CLOSING}])

    @cached_property
    def notices(self) -> "RuleRow":
        """The rules of reach notice."""
        return RuleRow([rule for rule in self.rules if rule.reach is Reach.NOTICE])

    @cached_property
    def named(self) -> "RuleRow":
        """The rules that name the kind of an error by words that would also prove one."""
        return RuleRow([rule for rule in self.rules if rule.names_a_kind and rule.reach is not Reach.NAMING])

    @cached_property
    def naming(self) -> "RuleRow":
        """The rules of reach naming."""
        return RuleRow([rule for rule in self.rules if rule.names_a_kind and rule.reach is Reach.NAMING])


class RuleRow:
    """Rules in order, with what a text must hold for each alternative of theirs.

    A search for an alternation tries each alternative at each place of the text; most texts hold the words of none,
    and which words a text holds is found in one pass over it.
    """

    def __init__(self, rules: Sequence[Rule]):
        self._parts = [(rule, part) for rule in rules for part in rule.parts]
        self._always = [place for place, (_, part) in enumerate(self._parts) if not part.literals]
        places: dict[str, list[int]] = {}
        for place, (_, part) in enumerate(self._parts):
            for literal in part.literals:
                places.setdefault(literal, []).append(place)
        self._places = list(places.values())
        self._literals = AhoCorasick(list(places))

    def that_may_match(self, lowered: str) -> Iterator[tuple[Rule, list[Part]]]:
        """The rules, in order, that a text of this lower-case form may match, with the alternatives that may."""
        found = set(self._always)
        for literal, _, _ in self._literals.find_matches_as_indexes(lowered, overlapping=True):
            found.update(self._places[literal])
        last: Rule | None = None
        held: list[Part] = []
        for place in sorted(found):
            rule, part = self._parts[place]
            if rule is not last and last is not None:
                yield last, held
                held = []
            last = rule
            held.append(part)
        if last is not None:
            yield last, held


def find_first(parts: Iterable[Part], text: str) -> re.Match[str] | None:
    """The leftmost match of any of the alternatives; of equals, that of the first."""
    best: re.Match[str] | None = None
    for part in parts:
        match = part.pattern.search(text)
        if match and (best is None or match.start() < best.start()):
            best = match
    return best


STRUCTURE_RULES: dict[str, str] = {
    "error_field": "A field such as error, exception or fault holds something that says more than none or zero.",
    "success_false": "A field such as success or ok is false.",
    "failure_flag": "A field such as isError or failed is true.",
    "status_code": "A status field holds an HTTP status from 400 on.",
    "code": "The code of an answer that is all envelope is an HTTP failure, negative, or a word of failure.",
    "status_word": "A status field says failed, denied or the like.",
    "exception_type": "The type of an answer is the name of an exception.",
    "unknown_code": "Nothing but a message and a service's own code of four digits or more: 10001, 50001.",
    "exit_code": "An exit code is not zero.",
    "outcome_false": "What the tool should do did not happen: `paid` is false, or `authenticated` after it.",
    "errors_of_an_inspection": "A tool that looks for errors lists some: ambiguous.",
    "batch_failed": "A batch names items that failed: ambiguous if others went through.",
    "items_failed": "Results in a list say that they failed: ambiguous if not all do.",
    "field_messages": "Every field of the answer holds complaints about it.",
    "page_title": "The title or first heading of a page speaks of an error.",
    "error_element": "A page has an element for errors near its top.",
}
"""Rules over fields, which live in code, with what each one means."""


@cache
def shipped_rules() -> RuleBook:
    """The rules of `rules.yaml`."""
    table = _shipped_table()
    harmless = re.compile("|".join(table["harmless"]), re.IGNORECASE)
    mention = re.compile(table["mention"], re.IGNORECASE)
    return RuleBook(
        rules=tuple(_compile(row) for row in table["rules"]),
        harmless=harmless,
        harmless_literals=Literals(required_literals(harmless)),
        mention=mention,
        mention_literals=Literals(required_literals(mention)),
        reading_tools=_tool_words("reading"),
        quoting_tools=_tool_words("quoting"),
        asking_tools=_tool_words("asking"),
        looking_tools=_tool_words("looking"),
        content_tools=frozenset().union(*map(_tool_words, ("reading", "quoting", "inspecting", "showing"))),
    )


@cache
def _shipped_table() -> dict[str, Any]:
    text = resources.files("tltrain.audit").joinpath("rules.yaml").read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return table


_FIELDS = ("name", "patterns", "reach", "label", "kind", "blame", "tools", "not_tools", "examples")


def compile_rule(row: Mapping[str, Any]) -> Rule:
    """A user's own rule: a row as in `rules.yaml`; the reach is notice unless given.

    Raises:
        UsageError: an unknown field, reach, label, kind or word, or a pattern that is no regular expression.
    """
    name = row.get("name", "")
    if not isinstance(name, str) or not name or not set(row) <= set(_FIELDS):
        raise UsageError(f"audit rule {name!r}: give a name and no other fields than {', '.join(_FIELDS)}")
    patterns = row.get("patterns")
    if not isinstance(patterns, list | tuple) or not patterns or not all(isinstance(item, str) for item in patterns):
        raise UsageError(f"audit rule {name!r}: patterns must be a list of at least one regular expression")
    try:
        return _compile({"reach": "notice", **row})
    except KeyError as error:
        raise UsageError(f"audit rule {name!r}: {error} stands for nothing in tltrain/audit/rules.yaml") from None
    except (ValueError, TypeError, re.error) as error:
        raise UsageError(f"audit rule {name!r}: {error}; tltrain/audit/rules.yaml has rules that work") from None


def _compile(row: Mapping[str, Any]) -> Rule:
    words: Mapping[str, str] = _shipped_table()["words"]
    label = VerdictLabel(row.get("label", VerdictLabel.ERROR))
    kind: FeedbackKind | None = FeedbackKind(row.get("kind", FeedbackKind.UNCATEGORISED))
    if label is not VerdictLabel.ERROR:
        kind = FeedbackKind.AMBIGUOUS if label is VerdictLabel.AMBIGUOUS else None
    reach = Reach(row["reach"])
    flags = re.IGNORECASE | (re.MULTILINE if reach is Reach.CLOSING else 0)
    patterns = [re.sub(r"<([a-z]+)>", lambda match: words[match[1]], pattern) for pattern in row["patterns"]]
    parts = tuple(re.compile(pattern, flags) for pattern in patterns)
    return Rule(
        name=row["name"],
        pattern=re.compile("|".join(patterns), flags),
        reach=reach,
        label=label,
        kind=kind,
        blame=Blame(row.get("blame", Blame.NONE if kind is None else BLAME_OF_KIND[kind])),
        tools=_tool_words(row.get("tools", ())),
        not_tools=_tool_words(row.get("not_tools", ())),
        examples=tuple(row.get("examples", ())),
        parts=tuple(Part(part, required_literals(part)) for part in parts),
    )


def _tool_words(value: str | Sequence[str]) -> frozenset[str]:
    """Words given as a list, or by the name of one of the shipped lists."""
    return frozenset(_shipped_table()["tool_words"][value] if isinstance(value, str) else value)


@lru_cache(maxsize=4096)
def split_name(name: str) -> frozenset[str]:
    """The lower-case words of a tool's name: `getUserByID` and `get_user_by_id` have the same ones."""
    return frozenset(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name))


def kind_of_status(status: int) -> FeedbackKind:
    """Kind of an HTTP status of 400 or more."""
    if status in {403, 404, 409, 410, 412, 423, 424, 451}:
        return FeedbackKind.REFUSED
    if status in {401, 402, 407, 408, 425, 429, 431} or status >= 500:
        return FeedbackKind.SERVICE_FAILURE
    return FeedbackKind.TYPE_OR_VALUE
