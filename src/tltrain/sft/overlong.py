"""Making room in a trajectory that is too long: tool documents that it does not need are left out."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import NamedTuple

from msgspec.structs import replace

from tltrain.render.conversation import OverlongError
from tltrain.render.rendered import RenderedTrajectory
from tltrain.types import MalformedCall, Tool, Trajectory

NEAR = 1 / 3
"""Tools from this likeness on are near neighbours: the choice among them is what a model is to learn."""
_MIN_LENGTH = 4
"""Characters of a word of a description that counts."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
"""Parts of a name: get_user, getUser and get-user have two."""

Render = Callable[[Trajectory], list[RenderedTrajectory]]


class CutTrajectory(NamedTuple):
    """A trajectory with fewer tools, rendered."""

    trajectory: Trajectory
    pieces: list[RenderedTrajectory]
    cut: tuple[str, ...]
    """Names of the tools that were left out, in the order of the list."""


def cut_tools(trajectory: Trajectory, render: Render) -> CutTrajectory:
    """Leave out as few tools as make the trajectory fit, in the order of `removable_tools`.

    Args:
        trajectory: one that is too long.
        render: raises OverlongError where a trajectory is.

    Raises:
        OverlongError: without all tools that may be left out it is still too long.
    """
    order = removable_tools(trajectory)
    tools = trajectory.tools

    def without(number: int) -> CutTrajectory:
        gone = frozenset(order[:number])
        shorter = replace(trajectory, tools=tuple(tool for at, tool in enumerate(tools) if at not in gone))
        return CutTrajectory(shorter, render(shorter), tuple(tools[at].name for at in sorted(gone)))

    try:
        best = without(len(order))
    except OverlongError as error:
        error.args = (f"{error}; {len(order)} of its {len(tools)} tools were left out already",)
        raise
    low, high = 0, len(order)  # it does not fit without `low` tools, and fits without `high`
    while high - low > 1:
        middle = (low + high) // 2
        try:
            best, high = without(middle), middle
        except OverlongError:
            low = middle
    return best


def removable_tools(trajectory: Trajectory) -> list[int]:
    """Places of the tools that may be left out, those that a reader of the row would miss least first.

    Kept are, in this order of reasons:

    - tools that are used: called, rightly or wrongly, or named in any message;
    - near neighbours of a used tool, see `likeness`;
    - of the names that share the same beginning with a used one, the last: each place at which a used name leaves
      another stays one, so that key tokens (PKT) are what they were. Beginnings are compared by characters.

    The others go by their likeness to the used tools, the least alike first, of equal ones the longest document.
    """
    tools = trajectory.tools
    used = _used_tools(trajectory)
    alike = {at: max((likeness(tools[at], tools[own]) for own in used), default=0.0) for at in range(len(tools))}
    order = sorted(
        (at for at in range(len(tools)) if at not in used and alike[at] < NEAR),
        key=lambda at: (alike[at], -_size(tools[at]), at),
    )
    names = [tools[at].name for at in sorted(used)]
    branches = Counter(branch for at, tool in enumerate(tools) if at not in used for branch in _branches(tool, names))
    removable = []
    for at in order:
        own = _branches(tools[at], names)
        if all(branches[branch] > 1 for branch in own):
            branches.subtract(own)
            removable.append(at)
    return removable


def likeness(one: Tool, other: Tool) -> float:
    """How alike two tools are, in [0, 1]: what they share of the words of their names, or of their descriptions.

    The greater of the two Jaccard similarities counts: words that both have, over words that either has. Short words of
    descriptions, such as "the", do not count.
    """
    return max(
        _overlap(_words(one.name), _words(other.name)),
        _overlap(_long_words(one.description), _long_words(other.description)),
    )


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one and other else 0.0


def _words(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORD.findall(text))


def _long_words(text: str) -> frozenset[str]:
    return frozenset(word for word in _words(text) if len(word) >= _MIN_LENGTH)


def _used_tools(trajectory: Trajectory) -> frozenset[int]:
    messages = trajectory.messages
    called = {call.name for message in messages for call in message.calls if not isinstance(call, MalformedCall)}
    texts = [text for message in messages for text in (message.content, message.reasoning) if text]
    texts += [call.raw for message in messages for call in message.calls if isinstance(call, MalformedCall)]
    written = "\n".join(texts)
    return frozenset(
        at for at, tool in enumerate(trajectory.tools) if tool.name in called or _is_named(tool.name, written)
    )


def _is_named(name: str, text: str) -> bool:
    return name in text and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _branches(tool: Tool, used: Sequence[str]) -> list[tuple[str, int]]:
    """Where the names of used tools leave this one's, for those that begin as it does."""
    shared = [(name, _shared_beginning(name, tool.name)) for name in used]
    return [(name, length) for name, length in shared if length]


def _shared_beginning(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _size(tool: Tool) -> int:
    return len(tool.name) + len(tool.description) + len(str(tool.parameters))
