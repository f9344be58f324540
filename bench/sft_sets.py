"""The three data sets of `bench/sft.py`, as rows of token ids and labels that both sides read.

Axes of difference: how many dialogues share a tool list, and so how much of a step its tree computes once.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tltrain.envs.sandbox import KITS
from tltrain.errors import DataError
from tltrain.formats.read import read_trajectories
from tltrain.generate.config import GenerateConfig
from tltrain.generate.run import generate
from tltrain.render.conversation import render_pieces
from tltrain.render.template import ensure_tool_template
from tltrain.render.weights import KeyTokenVariant, KeyTokenWeighting
from tltrain.sft.batches import plan_epoch
from tltrain.syntax import get_syntax
from tltrain.types import Trajectory

IGNORED = -100
"""Label of a token that is not trained, as torch and TRL have it."""
_FIXED_KITS = ("calendar", "bank", "files")
"""6 + 7 + 7 tools."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One training sequence."""

    input_ids: list[int]
    labels: list[int]
    """The token itself where it is trained, else IGNORED."""
    key: str
    """Equal for rows with one tool list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchSet:
    """One data set, whole."""

    name: str
    summary: str
    group_size: int
    """Rows of one tool list that are drawn into a step together, where there are so many."""
    rows: list[Row]

    def steps(self, *, num_steps: int, step_size: int, seed: int) -> list[list[Row]]:
        """The first steps of tltrain's plan of an epoch, those of full size.

        The rows of a step stand in the order of their lengths: the sum is the same, and padded batches waste least.

        Raises:
            DataError: the set has too few rows for one step.
        """
        group_size = max(size for size in range(1, self.group_size + 1) if step_size % size == 0)
        plan = plan_epoch(
            [row.key for row in self.rows], batch_size=step_size, group_size=group_size, seed=seed, epoch=0
        )
        steps = [[self.rows[index] for group in step for index in group] for step in plan]
        full = [step for step in steps if len(step) == step_size][:num_steps]
        if not full:
            raise DataError(f"set {self.name}: {len(self.rows)} rows make no step of {step_size}; give fewer")
        return [sorted(step, key=lambda row: len(row.input_ids)) for step in full]


def make_set(name: str, tokenizer: Any, *, max_length: int, num_rows: int | None, rlla: Path | None) -> BenchSet:
    """Make or read a set, and render it with the model's tokenizer.

    Args:
        name: one of `SETS`.
        tokenizer: of the model; given a template that knows tools where it has none.
        max_length: tokens; longer rows are left out.
        num_rows: dialogues to make or read; None: the number of the set's description.
        rlla: ToolRL's rlla_sft.json, for the set "varied".

    Raises:
        DataError: the file cannot be read, or is not named.
    """
    make = SETS[name]
    summary, group_size, trajectories = make(num_rows, rlla)
    return BenchSet(
        name=name,
        summary=summary,
        group_size=group_size,
        rows=list(_render(trajectories, tokenizer, max_length)),
    )


def _fixed(num_rows: int | None, rlla: Path | None) -> tuple[str, int, list[Trajectory]]:  # noqa: ARG001
    """One list of 20 tools, short dialogues of one call."""
    config = GenerateConfig(
        num_train=num_rows or 500,
        num_test=0,
        train_kits=_FIXED_KITS,
        toolsets_per_kit=1,
        renamed_share=0.0,
        max_calls=1,
    )
    tools = tuple(tool for kit in _FIXED_KITS for tool in KITS[kit].tools())
    made = [replace(trajectory, tools=tools) for trajectory in _generate(config)]
    return f"one list of {len(tools)} tools, {len(made)} short dialogues", len(made), made


def _shared(num_rows: int | None, rlla: Path | None) -> tuple[str, int, list[Trajectory]]:  # noqa: ARG001
    """About as many dialogues a tool list as ToolAlpaca has."""
    made = _generate(GenerateConfig(num_train=num_rows or 400, num_test=0))
    counts = sorted(Counter(repr(trajectory.tools) for trajectory in made).values())
    return f"{len(counts)} tool lists with {counts[0]} to {counts[-1]} dialogues each, {len(made)} in all", 16, made


def _varied(num_rows: int | None, rlla: Path | None) -> tuple[str, int, list[Trajectory]]:
    """Other tools in every row."""
    if rlla is None or not rlla.is_file():
        raise DataError(f"set varied: --rlla {rlla} is no file; name ToolRL's rlla_sft.json, or leave the set out")
    read = read_trajectories(rlla).trajectories[:num_rows]
    lists = len({repr(trajectory.tools) for trajectory in read})
    return f"ToolRL's {rlla.name}, {lists} tool lists in {len(read)} dialogues", 4, read


SETS: dict[str, Callable[[int | None, Path | None], tuple[str, int, list[Trajectory]]]] = {
    "fixed": _fixed,
    "shared": _shared,
    "varied": _varied,
}


def _generate(config: GenerateConfig) -> list[Trajectory]:
    with tempfile.TemporaryDirectory() as folder:
        return read_trajectories(generate(config, Path(folder)).train).trajectories


def _render(trajectories: list[Trajectory], tokenizer: Any, max_length: int) -> Iterator[Row]:
    """All of the assistant's tokens train, with equal weights, as TRL's assistant_only_loss has it."""
    syntax = get_syntax(ensure_tool_template(tokenizer))
    weighting = KeyTokenWeighting(variant=KeyTokenVariant.OFF)
    for trajectory in trajectories:
        try:
            pieces = render_pieces(trajectory, tokenizer, syntax, weighting=weighting)
        except DataError:
            continue  # nothing of it trains, or the template cannot write it
        for piece in pieces:
            if len(piece.input_ids) <= max_length:
                trained = zip(piece.input_ids, piece.weights, strict=True)
                labels = [token if weight > 0 else IGNORED for token, weight in trained]
                yield Row(input_ids=piece.input_ids, labels=labels, key=repr(trajectory.tools))
