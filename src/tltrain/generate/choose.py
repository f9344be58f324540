"""Choosing tasks: balanced over kits, templates and toolsets, and no two alike."""

import math
import random
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count

from tltrain.errors import UsageError
from tltrain.generate.task import Task, planned_calls, query_of
from tltrain.generate.templates import TEMPLATES
from tltrain.generate.toolsets import Toolset, choose_toolset

_MAX_DRAWS = 60
"""Draws of a seed until a template counts as used up for its toolset: all its queries have been asked."""
_MAX_UNFIT = 3
"""Draws that need a tool that the toolset does not show, or too few or many calls, until the template counts as unfit
for it: most templates need the same calls whatever the seed."""
_MAX_CALLS = 100
"""More than any template's plan takes."""


def choose_tasks(
    kits: Sequence[str],
    num_tasks: int,
    *,
    seed: int,
    toolsets_per_kit: int,
    renamed_share: float = 0.0,
    kit_tools: tuple[int, int] | None = None,
    max_calls: int | None = None,
    multi_call_share: float | None = None,
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
        multi_call_share: share of tasks whose plan takes more than one call, as far as the kits have such tasks; None:
            as the templates come.
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
    most = _MAX_CALLS if max_calls is None else max_calls
    sources = []
    for kit in kits:
        of_kit = partial(_tasks_of_kit, kit, toolsets[kit], seed, avoid)
        if multi_call_share is None:
            sources.append(of_kit(range(1, most + 1)))
        else:
            sources.append(_mixed(of_kit(range(1, 2)), of_kit(range(2, most + 1)), multi_call_share))
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


def _mixed(single: Iterator[Task], multi: Iterator[Task], multi_share: float) -> Iterator[Task]:
    """Tasks of both kinds, evenly mixed; where one kind runs out, those of the other."""
    for number in count():
        # the count of tasks with several calls steps up at this number
        is_multi = math.floor((number + 1) * multi_share) > math.floor(number * multi_share)
        first, second = (multi, single) if is_multi else (single, multi)
        task = next(first, None) or next(second, None)
        if task is None:
            return
        yield task


def _tasks_of_kit(
    kit: str, toolsets: Sequence[Toolset], seed: int, avoid: frozenset[str], num_calls: range
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
            task = _draw(kit, *pair, rng, num_calls, avoid, asked)
            if task is None:
                pairs.remove(pair)
            else:
                yield task


def _draw(
    kit: str,
    template: str,
    toolset: Toolset,
    rng: random.Random,
    num_calls: range,
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
        if not set(calls) <= set(toolset.names) or len(calls) not in num_calls:
            num_unfit += 1
            if num_unfit == _MAX_UNFIT:
                return None
            continue
        asked.add((query, toolset))
        return task
    return None
