"""Which kits are for training and which for testing, and which tools a task puts on offer."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from tltrain.envs.sandbox import KITS
from tltrain.errors import UsageError
from tltrain.generate.renaming import rename_tools

_MAX_DISTRACTORS = 2


@dataclass(frozen=True, slots=True)
class KitSplit:
    """Names of the kits on either side; no kit is on both, so that test tools are never seen in training."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def split_kits(test_kits: Sequence[str], train_kits: Sequence[str] | None = None) -> KitSplit:
    """Sort the kits into train and test.

    Args:
        test_kits: names of the kits that only tests use.
        train_kits: names of the kits that only training uses; None: all others.

    Raises:
        UsageError: a name that is no kit, a kit on both sides, or a side without any kit.
    """
    train = tuple(name for name in KITS if name not in test_kits) if train_kits is None else tuple(train_kits)
    test = tuple(test_kits)
    for field, names in (("train_kits", train), ("test_kits", test)):
        for name in names:
            if name not in KITS:
                raise UsageError(f"{field} names {name!r}, which is no kit; the kits are {', '.join(KITS)}")
        if not names:
            raise UsageError(f"{field} is left with no kit; choose among {', '.join(KITS)}")
    if shared := sorted(set(train) & set(test)):
        raise UsageError(f"{', '.join(shared)} in both train_kits and test_kits; name each kit on one side only")
    return KitSplit(tuple(dict.fromkeys(train)), tuple(dict.fromkeys(test)))


@dataclass(frozen=True, slots=True)
class Toolset:
    """The tools on offer in a task. Tasks of one toolset show exactly the same list, so that they share a prefix."""

    number: int
    """Position among the toolsets of its kit, from 0."""
    names: tuple[str, ...]
    """The kits' own names of the tools, in the order shown."""
    shown_as: tuple[str, ...] = ()
    """The names under which they are shown; empty: their own."""

    @property
    def new_names(self) -> Mapping[str, str]:
        """Own name -> shown name, of the tools that are renamed."""
        return dict(zip(self.names, self.shown_as, strict=True)) if self.shown_as else {}


def choose_toolset(
    kit: str,
    number: int,
    kits: Sequence[str],
    seed: int,
    *,
    renamed_share: float = 0.0,
    kit_tools: tuple[int, int] | None = None,
) -> Toolset:
    """Tools of the kit and 0, 1 or 2 distractors (0 for number 0, 1 for 1, 2 for 2, 0 for 3, ...), shuffled.

    Args:
        kit: name of the kit that the task is about.
        number: which toolset of the kit.
        kits: names of the kits of the same side of the split, the only source of distractors.
        seed: of the whole data set.
        renamed_share: share of the toolsets of each kit whose tools go by other names, spread evenly over the numbers.
        kit_tools: fewest and most tools of the kit, two with similar names among them; None: all.
    """
    rng = random.Random(f"toolset:{seed}:{kit}:{number}")
    names = [tool.name for tool in KITS[kit].tools()]
    if kit_tools is not None:
        names = _some_with_siblings(names, rng.randint(*kit_tools), rng)
    strangers = [tool.name for other in sorted(kits) if other != kit for tool in KITS[other].tools()]
    num_distractors = min(number % (_MAX_DISTRACTORS + 1), len(strangers))
    names += rng.sample(strangers, num_distractors)
    rng.shuffle(names)
    # the count of renamed toolsets steps up at this number
    is_renamed = math.floor((number + 1) * renamed_share) > math.floor(number * renamed_share)
    return Toolset(number, tuple(names), rename_tools(names, rng) if is_renamed else ())


def _some_with_siblings(names: Sequence[str], number: int, rng: random.Random) -> list[str]:
    """So many of the names, two that begin with the same word among them where there are any."""
    siblings = [name for name in names if sum(other.split("_")[0] == name.split("_")[0] for other in names) > 1]
    first = rng.choice(siblings or names)
    others = [name for name in siblings if name != first and name.split("_")[0] == first.split("_")[0]]
    chosen = [first, *(rng.sample(others, 1) if others else [])]
    rest = [name for name in names if name not in chosen]
    return chosen + rng.sample(rest, max(0, min(number - len(chosen), len(rest))))


def owner_of(tool: str) -> str:
    """Name of the kit that has a tool of this name.

    Raises:
        UsageError: no kit has it.
    """
    owners = _owners(tuple(KITS))
    if tool not in owners:
        raise UsageError(f"toolset names {tool!r}, which no kit has; was the data made by another version of tltrain?")
    return owners[tool]


@cache
def _owners(kits: tuple[str, ...]) -> dict[str, str]:
    """Kit of each tool; by the kits' names, as users may register more at any time."""
    return {tool.name: name for name in kits for tool in KITS[name].tools()}
