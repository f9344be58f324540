"""From files of trajectories to the sequences that train, and those that are measured."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tltrain.audit.run import audit_trajectories, blocked_calls, read_verdicts
from tltrain.errors import DataError
from tltrain.files import JsonLinesWriter
from tltrain.formats.read import read_trajectories
from tltrain.render.conversation import render_pieces
from tltrain.render.rendered import RenderedTrajectory
from tltrain.render.template import ensure_tool_template
from tltrain.render.tokens_view import token_rows
from tltrain.sft.answers import calls_alone, keeps_answers
from tltrain.sft.config import SftConfig
from tltrain.syntax import get_syntax
from tltrain.types import Trajectory

_NUM_SHOWN = 40
"""Trajectories whose tokens and weights are kept for people to look at."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A rendered trajectory, or one query of it where its chat template rewrites earlier turns."""

    rendered: RenderedTrajectory
    key: int
    """Equal for trajectories with the same tool list."""


class PreparedSamples(NamedTuple):
    """What a run trains on and measures itself with."""

    train: list[Sample]
    heldout: list[Sample]
    num_bad: int
    """Rows that could not be read or trained on; listed in quarantine.jsonl."""


def prepare_samples(
    config: SftConfig, tokenizer: Any, *, data: Path, verdicts: Path | None, validation: Path | None, out: Path
) -> PreparedSamples:
    """Read, block and render; rows that cannot be trained on go to out/quarantine.jsonl.

    Args:
        config: settings.
        tokenizer: of the model; given a chat template that knows tools where it has none.
        data: trajectories to train on.
        verdicts: verdicts.jsonl of `audit` on the data; None audits it on the way.
        validation: trajectories to measure on; None takes a share of the data.
        out: folder of the stage.

    Raises:
        DataError: a file cannot be read, or no row of the data is left to train on.
    """
    quarantine = out / "quarantine.jsonl"
    renderer = _Renderer(config, tokenizer, quarantine)
    read = read_trajectories(data, quarantine=quarantine)
    found = read_verdicts(verdicts) if verdicts else audit_trajectories(read.trajectories)
    samples = list(renderer.render_all(read.trajectories, found, data))
    if not samples:
        raise DataError(f"{data}: no row is left to train on; {quarantine} has the reason for each")
    num_bad = read.num_bad
    if validation is None:
        train, heldout = _split(samples, config)
    else:
        measured = read_trajectories(validation, quarantine=out / "validation_quarantine.jsonl")
        num_bad += measured.num_bad
        train = samples
        heldout = list(
            renderer.render_all(measured.trajectories, audit_trajectories(measured.trajectories), validation)
        )
    _show_samples(samples, tokenizer, out / "samples.jsonl")
    return PreparedSamples(train, heldout, num_bad + renderer.num_bad)


class _Renderer:
    """Renders the rows of files alike, and sets aside those that cannot be trained on."""

    def __init__(self, config: SftConfig, tokenizer: Any, quarantine: Path):
        self._config, self._tokenizer, self._quarantine = config, tokenizer, quarantine
        self._syntax = get_syntax(ensure_tool_template(tokenizer))
        self._keys: dict[str, int] = {}
        self.num_bad = 0

    def render_all(self, trajectories: Sequence[Trajectory], verdicts: Any, file: Path) -> Iterator[Sample]:
        """Render each row with its blocked calls."""
        config = self._config
        blocked = blocked_calls(verdicts, policy=config.block)
        for trajectory in trajectories:
            try:
                pieces = render_pieces(
                    trajectory,
                    self._tokenizer,
                    self._syntax,
                    blocked=blocked.get(trajectory.id, frozenset()),
                    weighting=config.weighting,
                    max_length=config.max_length,
                )
            except DataError as error:
                self.num_bad += 1
                with JsonLinesWriter(self._quarantine) as writer:
                    writer.write({"file": str(file), "id": trajectory.id, "reason": str(error)})
                continue
            is_kept = keeps_answers(trajectory.id, config.answer_share, config.seed)
            key = self._keys.setdefault(repr(trajectory.tools), len(self._keys))
            for rendered in pieces:
                yield Sample(rendered if is_kept else calls_alone(rendered), key)


def _split(samples: Sequence[Sample], config: SftConfig) -> tuple[list[Sample], list[Sample]]:
    """Training and held-out samples; at least one trajectory trains, and all sequences of one go together."""
    ids = list(dict.fromkeys(sample.rendered.id for sample in samples))
    num_heldout = min(round(config.heldout_share * len(ids)), len(ids) - 1)
    chosen = {ids[index] for index in random.Random(f"{config.seed}:heldout").sample(range(len(ids)), num_heldout)}
    train = [sample for sample in samples if sample.rendered.id not in chosen]
    return train, [sample for sample in samples if sample.rendered.id in chosen]


def _show_samples(samples: Sequence[Sample], tokenizer: Any, path: Path) -> None:
    path.unlink(missing_ok=True)
    with JsonLinesWriter(path) as writer:
        for sample in samples[:_NUM_SHOWN]:
            calls = [
                {
                    "number": call.number,
                    "num_key": call.num_key,
                    "num_nonkey": call.num_nonkey,
                    "weight": call.weight,
                    "blocked": call.blocked,
                }
                for call in sample.rendered.calls
            ]
            tokens = token_rows(sample.rendered, tokenizer)
            writer.write({"id": sample.rendered.id, "tokens": tokens, "calls": calls})
