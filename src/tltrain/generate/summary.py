"""Counts over generated trajectories, for people and for reports."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from tltrain.formats.openai_chat import row_from_trajectory
from tltrain.types import Json, Trajectory, iterate_calls

_CHARACTERS_PER_TOKEN = 4
"""Rule of thumb for English text and JSON; the true number depends on the tokenizer."""


def summarise(trajectories: Sequence[Trajectory]) -> dict[str, Json]:
    """Count what is in the trajectories.

    Returns:
        trajectories, calls; calls_per_trajectory (histogram); mistakes and truth (by kind, without right calls);
        mistake_share and silent_share (None where nothing is known or there is nothing to share); kits, templates,
        styles, teachers (trajectories of each); tool_lists; and sizes in characters and tokens.
    """
    num_calls = [sum(1 for _ in iterate_calls(trajectory)) for trajectory in trajectories]
    mistakes = _entries(trajectories, "mistakes")
    truth = _entries(trajectories, "truth")
    num_judged = sum(calls for calls, row in zip(num_calls, trajectories, strict=True) if "mistakes" in row.provenance)
    num_silent = sum(kind.startswith("silent:") for kind in truth)
    return {
        "trajectories": len(trajectories),
        "calls": sum(num_calls),
        "calls_per_trajectory": _count(str(number) for number in sorted(num_calls)),
        "mistakes": _count(sorted(mistakes)),
        "mistake_share": round(len(mistakes) / num_judged, 4) if num_judged else None,
        "silent_share": round(num_silent / len(mistakes), 4) if mistakes else None,
        "truth": _count(sorted(truth)),
        "kits": _count_field(trajectories, "kit"),
        "templates": _count(f"{row.provenance.get('kit')}/{row.provenance.get('template')}" for row in trajectories),
        "styles": _count_field(trajectories, "style"),
        "teachers": _count_field(trajectories, "teacher"),
        "tool_lists": len({tuple(tool.name for tool in row.tools) for row in trajectories}),
        "sizes": _sizes(trajectories),
    }


def _entries(trajectories: Iterable[Trajectory], field: str) -> list[str]:
    """The non-null entries of a per-call provenance list."""
    lists = (row.provenance.get(field) for row in trajectories)
    return [str(entry) for entries in lists if isinstance(entries, list) for entry in entries if entry is not None]


def _count_field(trajectories: Iterable[Trajectory], field: str) -> dict[str, Json]:
    return _count(str(row.provenance.get(field)) for row in trajectories)


def _count(values: Iterable[str]) -> dict[str, Json]:
    return dict(Counter(values))


def _sizes(trajectories: Sequence[Trajectory]) -> dict[str, Json]:
    """Characters of the tool documents and of the messages, as on disk: means for a trajectory, and the total."""
    rows = [row_from_trajectory(trajectory) for trajectory in trajectories]
    tools = [len(json.dumps(row["tools"])) for row in rows]
    messages = [len(json.dumps(row["messages"])) for row in rows]
    total = sum(tools) + sum(messages)
    return {
        "mean_characters_of_tools": round(sum(tools) / len(rows)) if rows else 0,
        "mean_characters_of_messages": round(sum(messages) / len(rows)) if rows else 0,
        "approximate_tokens": total // _CHARACTERS_PER_TOKEN,
    }
