"""Feedback that no rule could tell, in groups that differ only in numbers and names; most frequent first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tltrain.audit.folding import fold_feedback, label_key
from tltrain.audit.verdict import CallVerdict, VerdictLabel
from tltrain.errors import DataError
from tltrain.files import read_json_lines
from tltrain.taxonomy import FeedbackKind
from tltrain.types import Json

MAX_GROUPS = 5000
"""Groups that are kept apart; what comes after them is counted together, so that memory has an end."""
_MAX_EXAMPLES = 3
_EXCERPT = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A feedback to look at."""

    trajectory: str
    call: int
    tool: str
    feedback: str
    """Its first characters."""


def example_of(row: CallVerdict) -> Example:
    """The call of a verdict with the beginning of its feedback."""
    text = row.feedback if row.feedback is not None else row.verdict.evidence
    return Example(trajectory=row.trajectory, call=row.number, tool=row.tool, feedback=text[:_EXCERPT])


@dataclass(kw_only=True, slots=True)
class Group:
    """Feedback of one tool and one form."""

    key: str
    """See `folding.label_key`; a label with this key holds for the group."""
    kind: FeedbackKind
    """ambiguous or uncategorised, as its first feedback was judged."""
    tool: str
    form: str
    """Folded text, its first characters."""
    count: int = 0
    examples: list[Example] = field(default_factory=list)
    """The first few that differ."""

    def to_json(self) -> dict[str, Json]:
        """A row of doubtful.jsonl."""
        shown: list[Json] = [
            {"trajectory": one.trajectory, "call": one.call, "feedback": one.feedback} for one in self.examples
        ]
        return {
            "key": self.key,
            "kind": self.kind.value,
            "tool": self.tool,
            "count": self.count,
            "form": self.form,
            "examples": shown,
        }


@dataclass(kw_only=True)
class Groups:
    """All groups so far."""

    num_further: int = 0
    """Calls beyond the groups that are kept apart."""
    _groups: dict[str, Group] = field(default_factory=dict)

    def add(self, row: CallVerdict) -> None:
        """Count a verdict if it is one of doubt: ambiguous, or an error that no rule names."""
        kind = row.verdict.kind
        if row.feedback is None or kind is None:
            return
        if row.verdict.label is not VerdictLabel.AMBIGUOUS and kind is not FeedbackKind.UNCATEGORISED:
            return
        form = fold_feedback(row.feedback)
        key = label_key(row.tool, form)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= MAX_GROUPS:
                self.num_further += 1
                return
            group = self._groups[key] = Group(key=key, kind=kind, tool=row.tool, form=form[:_EXCERPT])
        group.count += 1
        example = example_of(row)
        if len(group.examples) < _MAX_EXAMPLES and all(example.feedback != one.feedback for one in group.examples):
            group.examples.append(example)

    def most_frequent(self) -> list[Group]:
        """All groups, the most frequent first, then by tool and form."""
        return sorted(self._groups.values(), key=lambda group: (-group.count, group.tool, group.form))


def read_groups(path: Path) -> list[Group]:
    """Read doubtful.jsonl.

    Raises:
        DataError: the file is missing, empty, or holds a row that is no group; names file and line.
    """
    return [_read_group(row, f"{path}:{number}") for number, row in read_json_lines(path)]


def _read_group(row: Mapping[str, Json] | DataError, where: str) -> Group:
    if isinstance(row, DataError):
        raise row
    key, tool, form, count = row.get("key"), row.get("tool"), row.get("form"), row.get("count")
    examples = row.get("examples")
    try:
        kind = FeedbackKind(str(row.get("kind")))
        if not (isinstance(key, str) and isinstance(tool, str) and isinstance(form, str) and isinstance(count, int)):
            raise ValueError("key, tool, form or count is missing or of another type")
    except ValueError as error:
        raise DataError(f"{where}: {error}; make the file anew with `tltrain audit`") from None
    shown = [
        Example(
            trajectory=str(one.get("trajectory")),
            call=int(str(one.get("call", 0))) if str(one.get("call", 0)).isdecimal() else 0,
            tool=tool,
            feedback=str(one.get("feedback", "")),
        )
        for one in (examples if isinstance(examples, list) else ())
        if isinstance(one, dict)
    ]
    return Group(key=key, kind=kind, tool=tool, form=form, count=count, examples=shown)
