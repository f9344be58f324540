"""What the model gets right on trajectories that it does not train on, given all that came before each token."""

from collections.abc import Sequence
from typing import Any

import torch

from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.prefix_tree import plan_micro_batches
from tltrain.render.rendered import RenderedCall, RenderedTrajectory
from tltrain.sft.loss import target_positions
from tltrain.sft.spans import SpanTally, flat_nll, target_kinds

_ACCURACIES = ("call_accuracy", "name_accuracy", "parameter_accuracy", "value_accuracy")


@torch.inference_mode()
def measure_heldout(
    model: Any, heldout: Sequence[RenderedTrajectory], *, max_tokens: int, share_prefixes: bool = True
) -> dict[str, float | None]:
    """Negative log-prob and tool-call accuracies on held-out trajectories, teacher-forced.

    Args:
        model: put into evaluation mode, and back.
        heldout: rendered with the weights of training; a call that is blocked does not count.
        max_tokens: tokens that run together, see `plan_micro_batches`.
        share_prefixes: see `SftConfig`.

    Returns:
        `nll`: mean over trained tokens, nats; `name_nll`, `parameter_nll`, `value_nll`, `text_nll`: over those of one
        `SpanKind`. `name_accuracy`, `parameter_accuracy`, `value_accuracy`: share of calls in which every token of the
        name, of the parameters' names, of the values is the most likely one; `call_accuracy`: share in which all of
        them are. None where there is nothing to count.
    """
    was_training = model.training
    model.eval()
    losses: list[float] = []
    tally = SpanTally()
    hits: dict[str, list[bool]] = {measure: [] for measure in _ACCURACIES}
    planned = plan_micro_batches([rendered.input_ids for rendered in heldout], max_tokens, share=share_prefixes)
    for indices in planned:
        batch = [heldout[index] for index in indices]
        targets = [target_positions(rendered) for rendered in batch]
        sequences = [TargetSequence(item.input_ids, places) for item, places in zip(batch, targets, strict=True)]
        output = target_scores(model, sequences, share_prefix=share_prefixes)
        losses += (-output.scores.logprobs).tolist()
        tally.add(output.scores, [kind for rendered in batch for kind in target_kinds(rendered)])
        greedy = iter(output.scores.is_greedy.tolist())
        for rendered, places in zip(batch, targets, strict=True):
            is_greedy = {place: next(greedy) for place in places}
            for call in rendered.calls:
                if not call.blocked:
                    _count(call, is_greedy, hits)
    model.train(was_training)
    means = {name: sum(values) / len(values) if values else None for name, values in hits.items()}
    return {"nll": sum(losses) / len(losses) if losses else None} | flat_nll(tally.means()) | means


def is_measurable(heldout: Sequence[RenderedTrajectory], measure: str) -> bool:
    """Whether these trajectories have anything that the measure counts."""
    calls = [call for rendered in heldout for call in rendered.calls if not call.blocked and call.name is not None]
    match measure:
        case "nll":
            return bool(heldout)
        case "parameter_accuracy" | "value_accuracy":
            return any(call.parameters for call in calls)
    return bool(calls)


def _count(call: RenderedCall, is_greedy: dict[int, bool], hits: dict[str, list[bool]]) -> None:
    def all_right(spans: Sequence[tuple[int, int]]) -> bool:
        return all(is_greedy.get(place, True) for start, end in spans for place in range(start, end))

    is_right = {
        "name_accuracy": call.name is None or all_right([call.name]),
        "parameter_accuracy": all_right([parameter.key for parameter in call.parameters]),
        "value_accuracy": all_right([parameter.value for parameter in call.parameters]),
    }
    if call.name is not None:
        hits["name_accuracy"].append(is_right["name_accuracy"])
        hits["call_accuracy"].append(all(is_right.values()))
    if call.parameters:
        hits["parameter_accuracy"].append(is_right["parameter_accuracy"])
        hits["value_accuracy"].append(is_right["value_accuracy"])
