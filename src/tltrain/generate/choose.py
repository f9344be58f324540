"""Choosing tasks: balanced over kits, templates and toolsets, and no two alike."""

import random
from collections.abc import Iterator, Sequence

from tltrain.errors import UsageError
from tltrain.generate.task import Task, planned_calls, query_of
from tltrain.generate.templates import TEMPLATES
from tltrain.generate.toolsets import Toolset, choose_toolset

_MAX_DRAWS = 60
"""Draws of a seed until a template counts as used up for its toolset: all its queries have been asked."""
_MAX_UNFIT = 3
"""Draws that need a tool that the toolset does not show, or too many calls, until the template counts as unfit for it:
most templates need the same tools whatever the seed."""


def choose_tasks(
    kits: Sequence[str],
    num_tasks: int,
    *,
    seed: int,
    toolsets_per_kit: int,
    renamed_share: float = 0.0,
    kit_tools: tuple[int, int] | None = None,
    max_calls: int | None = None,
    avoid: frozenset[str] = frozenset(),
) -> list[Task]:
    """Choose tasks kit by kit in turn, and within a kit pair by pair of template and toolset.

    Args:
        kits: names of the kits to draw from; distractors come from them too.
        num_tasks: how many tasks.
        seed: of the whole data set.
        toolsets_per_kit: number of different tool lists of each kit.
        renamed_share: see `choose_toolset`.
        kit_tools: see `choose_toolset`; a task whose plan needs a tool that a list does not show is not drawn for it.
        max_calls: most calls that a task's plan may take; None: any number.
        avoid: queries that no task may ask.

    Returns:
        Tasks that differ in query or tools.

    Raises:
        UsageError: the kits have fewer different tasks than asked for.
    """
    toolsets = {
        kit: [
            choose_toolset(kit, number, kits, seed, renamed_share=renamed_share, kit_tools=kit_tools)
            for number in range(toolsets_per_kit)
        ]
        for kit in kits
    }
    sources = [_tasks_of_kit(kit, toolsets[kit], seed, max_calls, avoid) for kit in kits]
    tasks: list[Task] = []
    while len(tasks) < num_tasks and sources:
        for source in list(sources):
            task = next(source, None)
            if task is None:
                sources.remove(source)
            elif len(tasks) < num_tasks:
                tasks.append(task)
    if len(tasks) < num_tasks:
        raise UsageError(
            f"{num_tasks} tasks asked of the kits {', '.join(kits)}, which have about {len(tasks)} different ones; "
            f"ask for fewer, or raise toolsets_per_kit={toolsets_per_kit}"
        )
    return tasks


def _tasks_of_kit(
    kit: str, toolsets: Sequence[Toolset], seed: int, max_calls: int | None, avoid: frozenset[str]
) -> Iterator[Task]:
    templates = [name for owner, name in TEMPLATES if owner == kit]
    # Diagonal order: any run of consecutive pairs is balanced over templates and over toolsets.
    pairs = [
        (template, toolsets[(position + offset) % len(toolsets)])
        for offset in range(len(toolsets))
        for position, template in enumerate(templates)
    ]
    asked: set[tuple[str, Toolset]] = set()
    rng = random.Random(f"tasks:{seed}:{kit}")
    while pairs:
        for pair in list(pairs):
            task = _draw(kit, *pair, rng, max_calls, avoid, asked)
            if task is None:
                pairs.remove(pair)
            else:
                yield task


def _draw(
    kit: str,
    template: str,
    toolset: Toolset,
    rng: random.Random,
    max_calls: int | None,
    avoid: frozenset[str],
    asked: set[tuple[str, Toolset]],
) -> Task | None:
    """A task of the template with a query that is new for the toolset; None if none turns up."""
    num_unfit = 0
    for _ in range(_MAX_DRAWS):
        task = Task(kit=kit, template=template, seed=rng.getrandbits(31), toolset=toolset)
        query = query_of(task)
        if query in avoid or (query, toolset) in asked:
            continue
        calls = planned_calls(kit, template, task.seed)
        if not set(calls) <= set(toolset.names) or (max_calls is not None and len(calls) > max_calls):
            num_unfit += 1
            if num_unfit == _MAX_UNFIT:
                return None
            continue
        asked.add((query, toolset))
        return task
    return None
