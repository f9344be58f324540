"""Wrong and right answers to RoTBench cases, and a second reading of its released script to score them by."""

import json
import random
from collections.abc import Iterator

OTHER_INPUTS = (
    "{}",
    "[]",
    "0",
    "[1]",
    "7",
    '"text"',
    "{'a': 1}",
    "",
    "null",
    "true",
    '{"a": NaN}',
    "{" * 20,
    "[" * 99999,
)


def mutate(alternatives: list[str], names: list[str], rng: random.Random) -> Iterator[str]:
    """Texts around the golden turns, most of them wrong in one way."""
    for turn in alternatives:
        head, _, written = turn.partition("\nAction Input: ")
        name, arguments = head.partition("Action: ")[2], json.loads(written)
        keys = list(arguments)
        yield turn
        for other in ("finish", "ask_to_user", rng.choice(names), names[-1], names[-2], name.upper(), ""):
            yield _write(other, arguments)
        for other_turn in alternatives:
            yield _write(name, json.loads(other_turn.partition("\nAction Input: ")[2]))
        yield _write(name, dict(reversed(arguments.items())))
        yield _write(name, arguments | {"an_added_one": "x"})
        for key in keys:
            yield _write(name, {other: arguments[other] for other in keys if other != key})
            for value in ("other", 5, True, None, ["a"], arguments[key] + " ", "None"):
                yield _write(name, arguments | {key: value})
        yield _write("finish", {"answer": "Done."})
        yield from (f"Thought: I see.\nAction: {name}\nAction Input: {other}" for other in OTHER_INPUTS)
        yield from (turn + "\n", turn + "\nObservation: none", turn.replace("\nAction Input", "\n\nAction Input"))
        yield from (
            turn.replace("Action: ", "Action:"),
            turn.replace("Thought:\n", ""),
            turn.replace("Input:", "input:"),
        )
        yield from (turn.replace("Action:", "Act:"), turn + "\n" + turn, "", "I cannot handle the task.")


def _write(name: str, arguments: dict[str, object]) -> str:
    return f"Thought:\nAction: {name}\nAction Input: {json.dumps(arguments)}"


def recompute(text: str, alternatives: list[str], names: list[str]) -> tuple[bool, bool, bool]:
    """The rules of the script in the order in which it applies them, a pass for each score.

    Where the script ends with an exception, the scores that it had computed by then stay, the later ones are False.
    """
    try:
        given = _read(text)[1]
        if isinstance(given, str) or not given:
            return False, False, False
    except (json.JSONDecodeError, IndexError, RecursionError):
        return False, False, False
    passes = []
    for depth in (1, 2, 3):
        try:
            passes.append(_reached(depth, *_read(text), alternatives, names))
        except (AttributeError, TypeError):
            passes.append(False)
    return passes[0], passes[1], passes[2]


def _read(text: str) -> tuple[str, object]:
    begin, end = text.find("Action:"), text.find("Action Input:")
    name = text[begin + len("Action:") + 1 : end]
    if name[-1] == "\n":
        name = name[: len(name) - 1]
    return name, json.loads(text[end + len("Action Input:") + 1 :])


def _reached(depth: int, name: str, given: object, alternatives: list[str], names: list[str]) -> bool:
    last, last_but_one = names[len(names) - 1], names[len(names) - 2]
    for alternative in alternatives:
        wanted_name, wanted = _read(alternative)
        if wanted_name == last and name == "finish":
            name = last
        if name != wanted_name:
            continue
        if depth == 1:
            return True
        if set(given.keys()) != set(wanted.keys()):
            continue
        if depth == 2:
            return True
        kind = "ask_to_user" if wanted_name == last_but_one else "finish" if wanted_name == last else wanted_name
        for key in [key for key in wanted if wanted[key] == "None"]:
            wanted.pop(key)
            given.pop(key)
        if kind in ("finish", "ask_to_user") or wanted == given:
            return True
    return False
