"""Task templates: what a user may ask for, and the plan that answers it.

A template is a generator function over a kit's state. It first yields the user's query (a string), then one
`ToolCall` after the other; each `yield` of a call returns the decoded result, so that later calls use earlier
feedback. Its return value is the assistant's closing text.
"""

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from tltrain.envs.toolkit import Toolkit
from tltrain.types import Json, ToolCall

Plan: TypeAlias = Generator[str | ToolCall, Any, str]
Kit = TypeVar("Kit", bound=Toolkit)


@dataclass(frozen=True, slots=True)
class Template:
    """A registered template."""

    kit: type[Toolkit]
    name: str
    """Unique within its kit; kept in the provenance of every trajectory."""
    plan: Callable[[Any, random.Random], Plan]


TEMPLATES: dict[tuple[str, str], Template] = {}
"""All templates by (kit name, template name); filled by importing `tltrain.generate.tasks`."""


def template(kit: type[Kit]) -> Callable[[Callable[[Kit, random.Random], Plan]], Callable[[Kit, random.Random], Plan]]:
    """Register the decorated generator function as a template of `kit`."""

    def register(plan: Callable[[Kit, random.Random], Plan]) -> Callable[[Kit, random.Random], Plan]:
        TEMPLATES[kit.name, plan.__name__] = Template(kit, plan.__name__, plan)
        return plan

    return register


def invoke(name: str, /, **arguments: Json) -> ToolCall:
    """A call of the plan."""
    return ToolCall(name=name, arguments=arguments)


def say(rng: random.Random, /, *wordings: str, **values: object) -> str:
    """One of the wordings at random, its `{fields}` filled in."""
    return rng.choice(wordings).format(**values)
