"""Other names for the same tools, so that a model learns to read the documents instead of remembering the names."""

import random
import re
import string
from collections.abc import Sequence

_VERBS = {
    "add": ("append", "create", "insert", "put"),
    "book": ("order", "reserve", "buy"),
    "borrow": ("lend", "take", "check_out"),
    "cancel": ("revoke", "undo", "drop"),
    "change": ("edit", "replace", "modify"),
    "compute": ("calc", "evaluate", "work_out"),
    "convert": ("change", "translate", "express"),
    "create": ("make", "add", "new"),
    "delete": ("remove", "erase", "discard"),
    "describe": ("explain", "show", "inspect"),
    "find": ("search", "locate", "query", "look_for"),
    "freeze": ("block", "stop", "lock"),
    "get": ("fetch", "read", "retrieve", "show", "look_up"),
    "insert": ("add", "append", "put"),
    "list": ("enumerate", "show", "all"),
    "move": ("shift", "relocate", "transfer"),
    "read": ("open", "load", "view"),
    "return": ("give_back", "bring_back", "check_in"),
    "run": ("execute", "perform", "do"),
    "send": ("deliver", "post", "write"),
    "set": ("adjust", "configure", "assign"),
    "store": ("save", "keep", "put"),
    "transfer": ("send", "pay", "move"),
    "update": ("edit", "change", "modify"),
    "write": ("save", "put", "record"),
}
_JOINTS = {"by": ("from", "with", "for"), "in": ("of", "within"), "about": ("on", "regarding")}
_PREFIXES = ("api", "tool", "svc", "client")


def rename_tools(names: Sequence[str], rng: random.Random) -> tuple[str, ...]:
    """A new name for each tool, all different, in one style for the whole list.

    In three lists of four the words are others that mean the same, in snake case, camel case or after a dotted or
    plain prefix; in one of four the names say nothing, as in the noisy settings of RoTBench (arXiv:2401.08326), so
    that only the documents tell the tools apart.
    """
    if rng.random() < 0.25:
        return tuple(_meaningless(len(names), rng))
    style = rng.choice(("snake", "camel", "prefixed", "dotted"))
    prefix = rng.choice(_PREFIXES)
    renamed: list[str] = []
    for name in names:
        new = _styled(_reworded(name, rng), style, prefix)
        while new in renamed:
            new += rng.choice(string.digits)
        renamed.append(new)
    return tuple(renamed)


def _reworded(name: str, rng: random.Random) -> list[str]:
    verb, *rest = name.split("_")
    words = [rng.choice(_VERBS[verb])] if verb in _VERBS else [verb]
    words += [rng.choice(_JOINTS[word]) if word in _JOINTS else word for word in rest]
    return "_".join(words).split("_")


def _styled(words: Sequence[str], style: str, prefix: str) -> str:
    match style:
        case "camel":
            return words[0] + "".join(word.capitalize() for word in words[1:])
        case "prefixed":
            return "_".join([prefix, *words])
        case "dotted":
            return f"{prefix}.{'_'.join(words)}"
    return "_".join(words)


def _meaningless(number: int, rng: random.Random) -> list[str]:
    """Names of random letters, such as `kqz_vo`, none of them twice."""
    names: dict[str, None] = {}
    while len(names) < number:
        letters = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(4, 6)))
        names[re.sub(r"^(...)", r"\1_", letters) if rng.random() < 0.5 else letters] = None
    return list(names)
