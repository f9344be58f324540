"""Trajectories that teach their calls alone."""

import random
from dataclasses import replace

from tltrain.render.rendered import RenderedTrajectory, TurnKind


def keeps_answers(identity: str, share: float, seed: int) -> bool:
    """Whether the trajectory of this id is among those whose text turns train; decided by it and the seed alone."""
    return random.Random(f"{seed}:answers:{identity}").random() < share


def calls_alone(rendered: RenderedTrajectory) -> RenderedTrajectory:
    """The trajectory without the loss of its text turns, cut off after the last token that trains.

    One that trains no call is returned as it is.
    """
    weights = list(rendered.weights)
    for turn in rendered.turns:
        if turn.kind is TurnKind.ANSWER:
            weights[turn.start : turn.end] = [0.0] * (turn.end - turn.start)
    length = max((position + 1 for position, weight in enumerate(weights) if weight > 0), default=0)
    if not length:
        return rendered
    return replace(
        rendered,
        input_ids=rendered.input_ids[:length],
        weights=weights[:length],
        turns=tuple(turn for turn in rendered.turns if turn.end <= length),
        calls=tuple(call for call in rendered.calls if call.span.end <= length),
    )
