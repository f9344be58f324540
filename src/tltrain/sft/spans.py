"""Numbers by what a trained token is a part of: the tool's name, names of parameters, values, or text.

Axes: N = target token.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import torch
from torch import Tensor

from tltrain.engine.head import TokenScores
from tltrain.engine.parallel import Processes
from tltrain.render.rendered import RenderedTrajectory
from tltrain.sft.loss import target_positions


class SpanKind(StrEnum):
    """What a trained token is a part of; where two fit, the earlier one here counts."""

    NAME = "name"
    """The name of the tool."""
    PARAMETER = "parameter"
    """The name of a parameter."""
    VALUE = "value"
    """The value of an argument, quotes included."""
    TEXT = "text"
    """All else: words, thinking, the punctuation of calls, the end of a turn."""


_ORDER = tuple(SpanKind)


def target_kinds(rendered: RenderedTrajectory) -> list[SpanKind]:
    """What each token of `target_positions` is a part of."""
    kinds: dict[int, SpanKind] = {}
    for call in rendered.calls:
        spans = [(SpanKind.VALUE, parameter.value) for parameter in call.parameters]
        spans += [(SpanKind.PARAMETER, parameter.key) for parameter in call.parameters]
        spans += [(SpanKind.NAME, call.name)] if call.name else []
        for kind, span in spans:
            kinds.update(dict.fromkeys(range(*span), kind))
    return [kinds.get(position, SpanKind.TEXT) for position in target_positions(rendered)]


class SpanTally:
    """Adds up scores of trained tokens by `SpanKind`; they stay on their device until they are asked for."""

    def __init__(self) -> None:
        self._kinds: list[int] = []
        self._nll: list[Tensor] = []
        self._hits: list[Tensor] = []

    def add(self, scores: TokenScores, kinds: Sequence[SpanKind]) -> None:
        """Count the targets of a forward pass.

        Args:
            scores: [N] each; nothing flows back.
            kinds: N, in the same order.
        """
        self._nll.append(-scores.logprobs.detach())
        self._hits.append(scores.is_greedy)
        self._kinds += [_ORDER.index(kind) for kind in kinds]

    def means(self, processes: Processes = Processes()) -> dict[SpanKind, dict[str, float]]:  # noqa: B008 - immutable
        """`nll`, nats, and `accuracy`, the share of tokens that are the most likely one, a token; `num_tokens`.

        Tokens count alike, whatever their weight. Called by all processes, whose targets count together. Kinds that do
        not occur are left out.
        """
        sums = torch.zeros(len(_ORDER), 3, dtype=torch.float64)
        if self._kinds:
            nll, hits = torch.cat(self._nll).double().cpu(), torch.cat(self._hits).double().cpu()
            sums.index_add_(0, torch.tensor(self._kinds), torch.stack([nll, hits, torch.ones_like(nll)], dim=1))
        totals = torch.tensor(processes.sum_all(sums.flatten().tolist()), dtype=torch.float64).view_as(sums).tolist()
        return {
            kind: {"nll": nll / number, "accuracy": hits / number, "num_tokens": int(number)}
            for kind, (nll, hits, number) in zip(_ORDER, totals, strict=True)
            if number
        }


def flat_nll(means: Mapping[SpanKind, Mapping[str, float]]) -> dict[str, float | None]:
    """`name_nll` and its like; None where a kind does not occur."""
    return {f"{kind}_nll": means[kind]["nll"] if kind in means else None for kind in _ORDER}
