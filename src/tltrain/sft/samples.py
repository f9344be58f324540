"""From files of trajectories to the sequences that train, and those that are measured."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tltrain.audit.run import audit_trajectories, blocked_calls, verdicts_on
from tltrain.errors import DataError
from tltrain.files import JsonLinesWriter
from tltrain.formats.read import read_trajectories
from tltrain.render.conversation import OverlongError, render_pieces
from tltrain.render.rendered import RenderedTrajectory
from tltrain.render.template import ensure_tool_template
from tltrain.render.tokens_view import token_rows
from tltrain.sft.answers import calls_alone, keeps_answers
from tltrain.sft.config import SftConfig
from tltrain.sft.overlong import cut_tools
from tltrain.syntax import get_syntax
from tltrain.types import Trajectory

_NUM_SHOWN = 40
"""Trajectories whose tokens and weights are kept for people to look at."""
_NUM_NAMED = 8
"""Rows that an error names."""


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
    num_cut: int
    """Rows that do without some of their tools, because they would be too long; listed in cut_tools.jsonl."""


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
        DataError: a file cannot be read, no row of the data is left to train on, or `config.overlong` says to refuse
            rows that are too long, and there are some.
    """
    quarantine = out / "quarantine.jsonl"
    renderer = _Renderer(config, tokenizer, out)
    read = read_trajectories(data, quarantine=quarantine)
    found = verdicts_on(data, read.trajectories, verdicts)
    samples = list(renderer.render_all(read.trajectories, found, data))
    if not samples:
        raise DataError(
            f"{data}: no row is left to train on; {quarantine} has the reason for each. The first: "
            f"{renderer.first_reason}"
        )
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
    return PreparedSamples(train, heldout, num_bad + renderer.num_bad, renderer.num_cut)


class _Renderer:
    """Renders the rows of files alike, and sets aside those that cannot be trained on."""

    def __init__(self, config: SftConfig, tokenizer: Any, out: Path):
        self._config, self._tokenizer = config, tokenizer
        self._quarantine, self._cut_file = out / "quarantine.jsonl", out / "cut_tools.jsonl"
        self._cut_file.unlink(missing_ok=True)  # of a start that was killed
        self._syntax = get_syntax(ensure_tool_template(tokenizer))
        self._keys: dict[str, int] = {}
        self.num_bad = self.num_cut = 0
        self.first_reason = ""
        """Why the first row was set aside."""

    def render_all(self, trajectories: Sequence[Trajectory], verdicts: Any, file: Path) -> Iterator[Sample]:
        """Render each row with its blocked calls."""
        config = self._config
        blocked = blocked_calls(verdicts, policy=config.block)
        overlong: list[tuple[str, int]] = []
        for original in trajectories:
            try:
                trajectory, pieces = self._render(original, blocked.get(original.id, frozenset()), file)
            except DataError as error:
                if isinstance(error, OverlongError):
                    overlong.append((original.id, error.num_tokens))
                self._set_aside(original.id, error, file)
                continue
            is_kept = keeps_answers(trajectory.id, config.answer_share, config.seed)
            key = self._keys.setdefault(repr(trajectory.tools), len(self._keys))
            for rendered in pieces:
                yield Sample(rendered if is_kept else calls_alone(rendered), key)
        if overlong and config.overlong == "refuse":
            raise _refusal(overlong, file, config.max_length)

    def _render(
        self, trajectory: Trajectory, blocked: frozenset[int], file: Path
    ) -> tuple[Trajectory, list[RenderedTrajectory]]:
        """The sequences of a row, and the row without the tools that were left out to make it fit."""
        config = self._config

        def render(row: Trajectory) -> list[RenderedTrajectory]:
            return render_pieces(
                row,
                self._tokenizer,
                self._syntax,
                blocked=blocked,
                weighting=config.weighting,
                max_length=config.max_length,
            )

        try:
            return trajectory, render(trajectory)
        except OverlongError as error:
            if config.overlong != "cut_tools":
                raise
            num_tokens = error.num_tokens
        shorter, pieces, names = cut_tools(trajectory, render)
        self.num_cut += 1
        with JsonLinesWriter(self._cut_file) as writer:
            row = {"file": str(file), "id": trajectory.id, "num_tokens_before": num_tokens}
            writer.write(row | {"num_tokens": max(len(piece.input_ids) for piece in pieces), "cut": list(names)})
        return shorter, pieces

    def _set_aside(self, identity: str, error: DataError, file: Path) -> None:
        self.num_bad += 1
        self.first_reason = self.first_reason or str(error)
        with JsonLinesWriter(self._quarantine) as writer:
            writer.write({"file": str(file), "id": identity, "reason": str(error)})


def _refusal(overlong: Sequence[tuple[str, int]], file: Path, max_length: int) -> DataError:
    shown = ", ".join(f"{identity} ({num_tokens} tokens)" for identity, num_tokens in overlong[:_NUM_NAMED])
    more = f" and {len(overlong) - _NUM_NAMED} more" if len(overlong) > _NUM_NAMED else ""
    return DataError(
        f"{file}: {len(overlong)} rows would lose trained tokens at max_length={max_length}: {shown}{more}; raise "
        f"max_length to {max(num_tokens for _, num_tokens in overlong)}, or set overlong=cut_tools to leave out tools "
        "that they do not use, or overlong=drop to leave out the rows"
    )


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
