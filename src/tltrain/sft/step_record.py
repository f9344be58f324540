"""What the forward passes of one step say, for its row of metrics and for errors."""

import math
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from tltrain.engine.head import TokenScores
from tltrain.engine.optimizer import NotFiniteError
from tltrain.engine.parallel import Processes
from tltrain.errors import TltrainError
from tltrain.render.rendered import RenderedTrajectory
from tltrain.sft.spans import SpanTally, target_kinds


class StepRecord:
    """The micro-batches of one step that this process ran."""

    def __init__(self) -> None:
        self._tally = SpanTally()
        self._losses: list[tuple[Tensor, list[str]]] = []

    def add(self, batch: Sequence[RenderedTrajectory], scores: TokenScores, loss: Tensor) -> None:
        """Take down a micro-batch: scores of its targets, one trajectory after the other, and its loss."""
        self._tally.add(scores, [kind for rendered in batch for kind in target_kinds(rendered)])
        self._losses.append((loss.detach(), [rendered.id for rendered in batch]))

    def spans(self, processes: Processes) -> dict[str, dict[str, float]]:
        """See `SpanTally.means`; called by all processes."""
        return {kind.value: means for kind, means in self._tally.means(processes).items()}

    def explain(self, error: NotFiniteError, ids: Sequence[str], checkpoint: Path | None) -> TltrainError:
        """The error of a step, with its rows.

        Args:
            error: the loss or the gradient is not finite.
            ids: of all rows of the step.
            checkpoint: the newest one.
        """
        bad = [name for loss, names in self._losses if not math.isfinite(loss.item()) for name in names]
        where = f" (the loss of {', '.join(dict.fromkeys(bad))} is not finite)" if bad else ""
        kept = f"the newest checkpoint is {checkpoint}" if checkpoint else "no checkpoint was due before it"
        return TltrainError(f"{error}. Its rows are {', '.join(dict.fromkeys(ids))}{where}; {kept}")
