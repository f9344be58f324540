"""What the page knows of every row before it opens one: columns for the list, the filters and the counts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tltrain.inspection.body import printable_text
from tltrain.inspection.rows import InspectedCall, InspectedRow
from tltrain.types import Json, Role

UNJUDGED = "unjudged"
"""The label of a call on which the file of verdicts says nothing."""
_TITLE_CHARS = 110


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectCounts:
    """How much a page holds."""

    num_rows: int
    num_calls: int
    num_blocked: int
    """Calls that do not teach, for whatever reason."""
    num_skipped: int
    """Rows that could not be read."""
    labels: Mapping[str, int]
    """Verdict label -> number of calls."""


class _Names:
    """Distinct values, numbered as they come."""

    def __init__(self) -> None:
        self.numbers: dict[Json, int] = {}

    def number(self, value: Json) -> int:
        return self.numbers.setdefault(value, len(self.numbers))


class IndexBuilder:
    """Collects the columns, row by row."""

    def __init__(self) -> None:
        self._ids: list[Json] = []
        self._titles: list[Json] = []
        self._row_sources: list[Json] = []
        self._num_calls: list[Json] = []
        self._call_tools: list[Json] = []
        self._call_verdicts: list[Json] = []
        self._sources = _Names()
        self._tools = _Names()
        self._verdicts: dict[tuple[str, str, str, str], int] = {}
        self._labels: Counter[str] = Counter()
        self._num_blocked = 0
        self._num_masked_answers = 0

    def add(self, row: InspectedRow) -> None:
        """Add the next row."""
        self._ids.append(printable_text(row.trajectory.id))
        self._titles.append(_title(row))
        self._row_sources.append(self._sources.number(printable_text(row.source)))
        self._num_calls.append(len(row.calls))
        for call in row.calls:
            facts = call_facts(call)
            self._call_tools.append(self._tools.number(printable_text(call.tool)))
            self._call_verdicts.append(self._verdicts.setdefault(facts, len(self._verdicts)))
            self._labels[facts[0]] += 1
            self._num_blocked += bool(call.blocks)
        self._num_masked_answers += sum(
            message.weight == 0 and not message.calls for message in row.trajectory.messages
        )

    @property
    def num_rows(self) -> int:
        """Rows so far."""
        return len(self._ids)

    def counts(self, *, num_skipped: int) -> InspectCounts:
        """What was added."""
        return InspectCounts(
            num_rows=len(self._ids),
            num_calls=self._labels.total(),
            num_blocked=self._num_blocked,
            num_skipped=num_skipped,
            labels=dict(self._labels.most_common()),
        )

    def to_json(self) -> dict[str, Json]:
        """The columns.

        ids, titles, row_sources, num_calls have an entry for each row; call_tools and call_verdicts one for each call
        of all rows in order; these refer to sources, tools and verdicts, the last being [label, kind, blame, who
        blocks]. Kind and who blocks are empty where there is none.
        """
        return {
            "ids": self._ids,
            "titles": self._titles,
            "row_sources": self._row_sources,
            "num_calls": self._num_calls,
            "call_tools": self._call_tools,
            "call_verdicts": self._call_verdicts,
            "sources": list(self._sources.numbers),
            "tools": list(self._tools.numbers),
            "verdicts": [list(facts) for facts in self._verdicts],
            "num_masked_answers": self._num_masked_answers,
        }


def call_facts(call: InspectedCall) -> tuple[str, str, str, str]:
    """(label, kind, blame, who blocks) of a call."""
    by = call.blocks[0].by.value if call.blocks else ""
    if call.verdict is None:
        return UNJUDGED, "", "", by
    verdict = call.verdict.verdict
    return verdict.label.value, verdict.kind.value if verdict.kind else "", verdict.blame.value, by


def _title(row: InspectedRow) -> str:
    """The beginning of what the user says first, or of the first message that says anything."""
    messages = row.trajectory.messages
    spoken: Iterable[str] = (message.content for message in messages if message.role is Role.USER)
    text = next((text for text in spoken if text.strip()), "") or next((m.content for m in messages if m.content), "")
    # most of a long text is not looked at
    return printable_text(" ".join(text[: 8 * _TITLE_CHARS].split())[:_TITLE_CHARS])
