"""labels.jsonl: what a person or a judge said of feedback that no rule could tell.

Row: {key, tool, feedback, label, kind, by}. The key is the hash of the tool's name and the folded feedback, see
`folding`: one label holds for all feedback of a tool that differs only in numbers and names, as a labeller sees it. A
row of label null waits for one. Of rows with one key the last holds, so that a label can be mended by adding a row.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from tltrain.audit.folding import fold_feedback, label_key
from tltrain.audit.verdict import BLAME_OF_KIND, Blame, Layer, Verdict, VerdictLabel, Witness
from tltrain.errors import DataError
from tltrain.files import encode_line, read_json_lines, write_text_atomic
from tltrain.taxonomy import FeedbackKind
from tltrain.types import Json

BY_HAND = "hand"
_FIELDS = ("key", "tool", "feedback", "label", "kind", "by")


class LabelChoice(StrEnum):
    """What a label may say."""

    OK = "ok"
    ERROR = "error"
    AMBIGUOUS = "ambiguous"
    """Looked at, and it does not tell."""


LABEL_KINDS = tuple(kind for kind in FeedbackKind if kind not in {FeedbackKind.AMBIGUOUS, FeedbackKind.UNANSWERED})
"""Kinds that a label of error may give."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """One row."""

    key: str
    tool: str
    feedback: str
    """An example, or the folded text; for readers."""
    label: LabelChoice | None
    """None: not labelled yet."""
    kind: FeedbackKind | None = None
    """Of an error."""
    by: str = BY_HAND
    """`hand`, or the name of the model that judged."""

    def to_json(self) -> dict[str, Json]:
        """The row of the file."""
        return {
            "key": self.key,
            "tool": self.tool,
            "feedback": self.feedback,
            "label": None if self.label is None else self.label.value,
            "kind": None if self.kind is None else self.kind.value,
            "by": self.by,
        }


@dataclass(frozen=True)
class LabelBook:
    """All labels of a file."""

    labels: tuple[Label, ...] = ()

    @cached_property
    def by_key(self) -> Mapping[str, Label]:
        """The labels that say something; the last of each key."""
        return {label.key: label for label in self.labels if label.label is not None}

    def judge(self, tool: str, feedback: str, verdict: Verdict) -> Verdict:
        """The verdict after a look at the labels.

        A person's label holds over every rule; a judge's only where the rules leave the feedback ambiguous or cannot
        name the error.
        """
        if not self.labels:
            return verdict
        label = self.by_key.get(label_key(tool, fold_feedback(feedback)))
        is_open = verdict.label is VerdictLabel.AMBIGUOUS or verdict.kind is FeedbackKind.UNCATEGORISED
        if label is None or label.label is None or not (label.by == BY_HAND or is_open):
            return verdict
        return _labelled(label, label.label, verdict)


def _labelled(label: Label, choice: LabelChoice, verdict: Verdict) -> Verdict:
    rule = f"label:{label.by}"
    kind = None
    if choice is LabelChoice.ERROR:
        kind = label.kind or FeedbackKind.UNCATEGORISED
    elif choice is LabelChoice.AMBIGUOUS:
        kind = FeedbackKind.AMBIGUOUS
    says = VerdictLabel(choice.value)
    before = Witness(layer=Layer.FEEDBACK, rule=verdict.rule, says=verdict.label, kind=verdict.kind)
    return Verdict(
        label=says,
        rule=rule,
        kind=kind,
        blame=Blame.NONE if kind is None else BLAME_OF_KIND[kind],
        evidence=verdict.evidence,
        start=verdict.start,
        end=verdict.end,
        witnesses=(Witness(layer=Layer.LABEL, rule=rule, says=says, kind=kind), before),
    )


def read_labels(path: Path) -> LabelBook:
    """Read labels.jsonl.

    Raises:
        DataError: the file is missing, empty, or holds a row that is no label; names file, line and field.
    """
    return LabelBook(tuple(_read_row(row, f"{path}:{number}") for number, row in read_json_lines(path)))


def write_labels(path: Path, labels: Iterable[Label]) -> None:
    """Write labels.jsonl, whole or not at all; of rows with one key the last is kept, in the place of the first."""
    last = {label.key: label for label in labels}
    write_text_atomic(path, "".join(encode_line(label.to_json()) for label in last.values()))


def _read_row(row: Mapping[str, Json] | DataError, where: str) -> Label:
    if isinstance(row, DataError):
        raise row
    for problem in _problems(row):
        raise DataError(f"{where}: {problem}")
    label, kind = row.get("label"), row.get("kind")
    return Label(
        key=str(row["key"]),
        tool=str(row.get("tool", "")),
        feedback=str(row.get("feedback", "")),
        label=None if label is None else LabelChoice(str(label)),
        kind=None if kind is None else FeedbackKind(str(kind)),
        by=str(row.get("by") or BY_HAND),
    )


def _problems(row: Mapping[str, Json]) -> Iterator[str]:
    unknown = sorted(set(row) - set(_FIELDS))
    if unknown:
        yield f"{unknown[0]} is not known; a label has the fields {', '.join(_FIELDS)}"
    if not isinstance(row.get("key"), str) or not row["key"]:
        yield f"key is {row.get('key')!r}; take the key from doubtful.jsonl of the audit"
    if row.get("label") is not None and row["label"] not in list(LabelChoice):
        yield f"label is {row['label']!r}; give {', '.join(LabelChoice)} or null"
    if row.get("kind") is not None and row["kind"] not in LABEL_KINDS:
        yield f"kind is {row['kind']!r}; give {', '.join(LABEL_KINDS)} or null"
    if row.get("kind") is not None and row.get("label") != LabelChoice.ERROR:
        yield f"kind is {row['kind']!r} beside the label {row.get('label')!r}; only an error has a kind"
