"""Trajectories as token ids with labels, which trainers take as they are: the one lossless way to hand masks over."""

from pathlib import Path
from typing import Any, Literal

from tltrain.errors import DataError
from tltrain.formats.base import CallMasks, WrittenRows
from tltrain.render.conversation import render_pieces
from tltrain.render.rendered import RenderedTrajectory
from tltrain.render.template import ensure_tool_template
from tltrain.render.weights import KeyTokenWeighting
from tltrain.syntax import get_syntax
from tltrain.types import Json, Trajectory

IGNORED = -100
"""The label of a token that does not train, by the convention of torch's cross-entropy."""


class TokenRows:
    """A format that can be written alone: {id, input_ids, labels, loss_weights}, for one model.

    Where the model's chat template rewrites earlier turns, a trajectory gives a row for each query, as it does in
    training; see `render_pieces`.

    `labels` has the token itself where its weight is over 0, `loss_weights` the weights with key tokens (PKT). Both are
    aligned with `input_ids`; trainers shift them.

    Args:
        model: whose tokenizer and chat template to use, see `load_tokenizer`.
        weighting: of key tokens.

    Raises:
        ModelError: there is no such tokenizer.
    """

    name = "tokens"
    summary = "Token ids with labels and weights, for one model; TRL and others train on them as they are"

    def __init__(self, model: str | Path, weighting: KeyTokenWeighting | None = None):
        from tltrain.engine.model import load_tokenizer

        self._tokenizer: Any = load_tokenizer(model)
        self._syntax = get_syntax(ensure_tool_template(self._tokenizer))
        self._weighting = weighting or KeyTokenWeighting()

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRows:
        """Turn a trajectory into rows; masked calls and weights of its file are in the labels.

        Raises:
            DataError: the chat template cannot write it, or nothing is left to train on.
        """
        pieces = render_pieces(
            trajectory, self._tokenizer, self._syntax, blocked=frozenset(masks), weighting=self._weighting
        )
        return WrittenRows(
            tuple(
                _row(rendered, trajectory.id if len(pieces) == 1 else f"{trajectory.id}.{number}")
                for number, rendered in enumerate(pieces, start=1)
            )
        )

    def refuse(self, record: Json) -> Literal["tokens cannot be read back as a conversation"]:  # noqa: ARG002
        """Nothing is read in this format."""
        return "tokens cannot be read back as a conversation"

    def read(self, record: Json, *, where: str, companions: object) -> Any:  # noqa: ARG002
        """Nothing is read in this format.

        Raises:
            DataError: always.
        """
        raise DataError(f"{where}: {self.refuse(record)}; keep the file that it was made of")


def _row(rendered: RenderedTrajectory, identifier: str) -> dict[str, Json]:
    pairs = zip(rendered.input_ids, rendered.weights, strict=True)
    labels: list[Json] = [token if weight > 0 else IGNORED for token, weight in pairs]
    return {
        "id": identifier,
        "input_ids": list(rendered.input_ids),
        "labels": labels,
        "loss_weights": list(rendered.weights),
    }
