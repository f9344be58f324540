"""Which verdicts other settings would change: an audit under both, side by side, with examples."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tltrain.audit.config import AuditConfig
from tltrain.audit.layers import Auditor
from tltrain.audit.run import read_for_audit
from tltrain.audit.verdict import CallVerdict, Verdict
from tltrain.formats.quarantine import quarantined
from tltrain.types import Json, Trajectory

_EXCERPT = 200
_BEFORE = 60
"""Characters shown before the evidence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One call whose verdict changes."""

    trajectory: str
    call: int
    tool: str
    before: str
    """Label, and kind of an error, under the first settings."""
    before_rule: str
    after: str
    after_rule: str
    feedback: str
    """Excerpt around the evidence of either."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """What changes."""

    num_trajectories: int
    num_bad_rows: int
    num_calls: int
    num_changed: int
    labels: Mapping[str, tuple[int, int]]
    """Label -> calls before and after; the same for kinds."""
    kinds: Mapping[str, tuple[int, int]]
    changes: Mapping[str, int]
    """`ok -> error: refused` and the like -> calls, the most frequent first."""
    examples: tuple[Change, ...]

    def to_json(self) -> dict[str, Json]:
        """Field names as here."""
        fields: dict[str, Json] = asdict(self)
        return fields


def preview(before: AuditConfig, after: AuditConfig, data: Path, *, max_examples: int = 10) -> Preview:
    """Audit a file under both settings; nothing is written.

    Args:
        before: settings to compare with, such as the defaults.
        after: settings to try; they say how the file is read.
        data: trajectories.
        max_examples: changed calls to show; each kind of change gets its share.

    Raises:
        DataError: the file cannot be read, or holds no good row.
    """
    with quarantined(None) as bad:
        comparison = _Comparison(before.auditor(), after.auditor(), max_examples)
        comparison.add(read_for_audit(after, data, bad))
    if not comparison.num_trajectories:
        raise bad.nothing_read(data)
    return comparison.result(bad.count)


class _Comparison:
    def __init__(self, before: Auditor, after: Auditor, max_examples: int):
        self.num_trajectories = 0
        self._auditors = (before, after)
        self._max_examples = max_examples
        self._labels: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._kinds: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._changes: Counter[str] = Counter()
        self._examples: dict[str, list[Change]] = {}

    def add(self, trajectories: Iterable[Trajectory]) -> None:
        for trajectory in trajectories:
            self.num_trajectories += 1
            pairs = zip(*(auditor.judge(trajectory) for auditor in self._auditors), strict=True)
            for before, after in pairs:
                self._add_call(before, after)

    def _add_call(self, before: CallVerdict, after: CallVerdict) -> None:
        for place, row in enumerate((before, after)):
            self._labels[place][row.verdict.label] += 1
            if row.verdict.kind:
                self._kinds[place][row.verdict.kind] += 1
        if _told(before.verdict) == _told(after.verdict):
            return
        name = f"{_told(before.verdict)} -> {_told(after.verdict)}"
        self._changes[name] += 1
        shown = self._examples.setdefault(name, [])
        if len(shown) < self._max_examples:
            shown.append(_change(before, after))

    def result(self, num_bad: int) -> Preview:
        """The examples go round the kinds of change until there are enough."""
        ordered = [self._examples[name] for name, _ in self._changes.most_common()]
        longest = max(map(len, ordered), default=0)
        turns = [shown[turn] for turn in range(longest) for shown in ordered if turn < len(shown)]
        return Preview(
            num_trajectories=self.num_trajectories,
            num_bad_rows=num_bad,
            num_calls=self._labels[0].total(),
            num_changed=self._changes.total(),
            labels=_beside(*self._labels),
            kinds=_beside(*self._kinds),
            changes=dict(self._changes.most_common()),
            examples=tuple(turns[: self._max_examples]),
        )


def _told(verdict: Verdict) -> str:
    return verdict.label.value if verdict.kind in (None, verdict.label.value) else f"{verdict.label}: {verdict.kind}"


def _change(before: CallVerdict, after: CallVerdict) -> Change:
    shown = after.verdict if after.verdict.evidence else before.verdict
    start = max(0, shown.start - _BEFORE)
    return Change(
        trajectory=before.trajectory,
        call=before.number,
        tool=before.tool,
        before=_told(before.verdict),
        before_rule=before.verdict.rule,
        after=_told(after.verdict),
        after_rule=after.verdict.rule,
        feedback=(before.feedback or "")[start : start + _EXCERPT],
    )


def _beside(before: Counter[str], after: Counter[str]) -> dict[str, tuple[int, int]]:
    names = sorted(before | after, key=lambda name: (-(before[name] + after[name]), name))
    return {str(name): (before[name], after[name]) for name in names}
