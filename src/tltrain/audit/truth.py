"""Verdicts against the truth, where a trajectory's provenance tells it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tltrain.audit.verdict import CallVerdict, VerdictLabel


@dataclass(frozen=True, kw_only=True, slots=True)
class TruthComparison:
    """Verdicts against the truth, over the calls whose truth is known. Rates are None where nothing is to divide by."""

    num_calls: int
    num_true_errors: int
    """Calls that truly ended in an error."""
    num_found: int
    """Those of them with the verdict error."""
    num_false_alarms: int
    """Verdicts of error on calls that did nothing wrong; a silent mistake counts as wrong."""
    num_silent: int
    """Mistakes that gave no error feedback; no reading of feedback finds them."""
    precision: float | None
    """Share of the verdicts of error that are mistakes."""
    recall: float | None
    """Share of the true errors that are found: what the audit can be held to."""
    recall_of_all_mistakes: float | None
    """Share of true errors and silent mistakes together that are found: what training is protected from."""
    kind_accuracy: float | None
    """Share of the found errors whose kind is the true one."""
    silent_mistakes: Mapping[str, int]
    """CallError -> number of silent mistakes."""
    missed_kinds: Mapping[str, int]
    """FeedbackKind -> number of true errors without a verdict of error."""


@dataclass(kw_only=True)
class TruthTally:
    """Counts as the verdicts come in."""

    num_calls: int = 0
    num_flagged: int = 0
    num_true_errors: int = 0
    num_found: int = 0
    num_of_their_kind: int = 0
    num_false_alarms: int = 0
    num_silent_found: int = 0
    silent: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)

    def add(self, row: CallVerdict) -> None:
        """Count a verdict whose truth is known; others do not count."""
        if row.truth is None:
            return
        is_flagged = row.verdict.label is VerdictLabel.ERROR
        self.num_calls += 1
        self.num_flagged += is_flagged
        if row.truth == "right":
            self.num_false_alarms += is_flagged
        elif row.truth.startswith("silent:"):
            self.silent[row.truth.removeprefix("silent:")] += 1
            self.num_silent_found += is_flagged
        else:
            self.num_true_errors += 1
            self.num_found += is_flagged
            self.num_of_their_kind += is_flagged and row.verdict.kind == row.truth
            if not is_flagged:
                self.missed[row.truth] += 1

    def result(self) -> TruthComparison | None:
        """The comparison; None where no truth is known. Ambiguous counts as not found."""
        if not self.num_calls:
            return None
        num_silent = self.silent.total()
        return TruthComparison(
            num_calls=self.num_calls,
            num_true_errors=self.num_true_errors,
            num_found=self.num_found,
            num_false_alarms=self.num_false_alarms,
            num_silent=num_silent,
            precision=_share(self.num_flagged - self.num_false_alarms, self.num_flagged),
            recall=_share(self.num_found, self.num_true_errors),
            recall_of_all_mistakes=_share(self.num_found + self.num_silent_found, self.num_true_errors + num_silent),
            kind_accuracy=_share(self.num_of_their_kind, self.num_found),
            silent_mistakes=dict(self.silent.most_common()),
            missed_kinds=dict(self.missed.most_common()),
        )


def compare_with_truth(verdicts: Iterable[CallVerdict]) -> TruthComparison | None:
    """Precision and recall of the verdict error; None where no truth is known."""
    tally = TruthTally()
    for row in verdicts:
        tally.add(row)
    return tally.result()


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
