"""Our BFCL verdicts against those of the official checker, answer by answer.

    python bench/bfcl_agreement.py --data-dir DATA --official PYTHON

PYTHON is an interpreter that has the package bfcl-eval 2026.3.23 (`pip install --no-deps bfcl-eval tenacity ...`); see
bfcl_official.py. Answers are right ones and systematic mutations of them, as lists of calls and as Python text. Prints
counts, and every answer on which the two differ.
"""

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tltrain.benches.bench_case import BenchCase
from tltrain.benches.bfcl import judge_result
from tltrain.benches.bfcl_cases import LIVE, NON_LIVE, load_category
from tltrain.benches.bfcl_results import result_of
from tltrain.benches.data_folder import DataFolder

VALUES = (
    *("", "x", "5", 5, -3, 5.5, 0, True, False, None, [], [1], ["a"]),
    *([1.5, 2], {}, {"a": 1}, [{}], [{"a": 1}], ["", ""], [[1]], 10**400),
)
TEXTS = (
    *("", "I cannot do that.", "None", "[]", "f()", "f(a=1)", "f(1)", "f", "[f(a=1)", "f(a=1), g(b=2)", "f(a=1)\ng()"),
    *("'f(a=1)'", "```\n[f(a=1)]\n```", "{f(a=1)}", "(f(a=1), g())", "[[f(a=1)]]", "f(a=1) + g()", "\0", "a.b(c=1)()"),
)
EXPRESSIONS = (
    """
1/6 | 500*500 | -(1) | --1 | +5 | ~5 | not True | -x | x | x.y | g(1) | g(a=1) | (a+b)[0] | a[1, 2] | lambda: 1 | f'{x}'
... | b'x' | 1j | 'a' + 'b' | [1] + [2] | {**x} | {1: 2} | {1, 2} | (1,) | 1 < 2 | -2 ** 2 | 7 // 2 | 7 % 4 | 1 / 0
3 - -1 | True + 1 | 6 ^ 1 | 'a' 'b' | x if y else z | [*x] | -'a' | 10 ** 3 | 1.5 * 2 | [1, x] | {'a': -1} | None
""".replace("\n", " | ")
    .strip(" |")
    .split(" | ")
)
"""Python that stands in place of a value."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--official", required=True, help="Python that has bfcl-eval")
    parser.add_argument("--per-case", type=int, default=12, help="answers to each case")
    parser.add_argument("--categories", nargs="+", default=[*NON_LIVE, *LIVE])
    arguments = parser.parse_args()
    rows = list(make_answers(arguments.data_dir, arguments.categories, arguments.per_case))
    differences = compare(rows, arguments.official)
    official = Counter(str(row["official"]) for row in rows)
    print(json.dumps({"answers": len(rows), "differences": len(differences), "official": official}, indent=2))
    for row in differences[:20]:
        print(json.dumps({key: row[key] for key in ("id", "result", "official", "ours")}))
    sys.exit(bool(differences))


def make_answers(data_dir: Path, categories: list[str], per_case: int) -> Iterator[dict[str, Any]]:
    """Answers with our verdict; a sample of the mutations of each case, and its right answer."""
    rng = random.Random(0)
    data = DataFolder(data_dir)
    for case in (case for category in categories for case in load_category(data, category)):
        answers = list(mutate(case, rng))
        for result in [*answers[:1], *rng.sample(answers[1:], min(per_case - 1, len(answers) - 1))]:
            for model in ("dots", "underscores") if rng.random() < 0.1 else ("dots",):
                yield {
                    "id": case.id,
                    "category": case.source.category,
                    "functions": case.source.functions,
                    "wanted": case.source.wanted,
                    "result": result,
                    "model": model,
                    "ours": judge_result(case, result, underscore_to_dot=model == "underscores").details["error_type"],
                }


def mutate(case: BenchCase, rng: random.Random) -> Iterator[Any]:
    """Results around the right one, which comes first."""
    names = [tool.name for tool in case.request.tools] or ["none_on_offer"]
    golds = result_of("", case.gold[0]) if case.gold else [{names[0]: "{}"}]
    yield golds
    yield [*golds, golds[0]]
    yield golds[::-1]
    yield golds[1:]
    yield [{"other": "{}"}]
    yield [{next(iter(golds[0])): text} for text in ("[]",)]
    yield [{next(iter(golds[0])): "{"}]
    yield [{name.replace(".", "_"): text for name, text in call.items()} for call in golds]
    yield from rng.sample(TEXTS, 4)
    yield from (f"{names[0]}({name}={code})" for code in rng.sample(EXPRESSIONS, 4) for name in _parameters(case))
    for position, call in enumerate(golds):
        ((name, written),) = call.items()
        for arguments in _mutate_arguments(json.loads(written), case, position, rng):
            changed = [*golds[:position], {name: json.dumps(arguments)}, *golds[position + 1 :]]
            yield changed
            yield "[" + ", ".join(_as_python(call, rng) for call in changed) + "]"


def _parameters(case: BenchCase) -> list[str]:
    return [name for tool in case.request.tools[:1] for name in tool.properties if name.isidentifier()][:2]


def _mutate_arguments(
    given: dict[str, Any], case: BenchCase, position: int, rng: random.Random
) -> Iterator[dict[str, Any]]:
    yield given
    yield given | {"not_a_parameter": 1}
    allowed = next(iter(case.source.wanted[position].values())) if case.source.wanted else {}
    for name, values in allowed.items():
        yield {key: value for key, value in given.items() if key != name}
        for value in (*values, *rng.sample(VALUES, 5)):
            yield given | {name: value}
    for name, value in given.items():
        for other in _mutate_value(value, rng):
            yield given | {name: other}


def _mutate_value(value: Any, rng: random.Random) -> Iterator[Any]:
    match value:
        case bool():
            yield from (not value, int(value), str(value))
        case int() | float():
            yield from (float(value), str(value), value + 1, -value, [value])
            yield int(value) if value == value else value
        case str():
            yield from (
                value.upper(),
                value.replace(" ", ""),
                value + ".",
                f"'{value}'",
                value + "s",
                [value],
                value[1:],
            )
        case list():
            yield from ([], value[::-1], value[1:], [*value, *value[:1]], [str(item) for item in value], value * 1)
            if value:
                yield from ([other, *value[1:]] for other in _mutate_value(value[0], rng))
                yield [*value[:-1], rng.choice(VALUES)]
        case dict():
            yield from (value | {"other": 1}, {}, [value], dict(reversed(value.items())))
            for key in value:
                yield {name: item for name, item in value.items() if name != key}
                yield from (value | {key: other} for other in _mutate_value(value[key], rng))


def _as_python(call: dict[str, str], rng: random.Random) -> str:
    """A call as Python text; some lists become tuples, and some arguments are given by position."""
    ((name, written),) = call.items()
    try:
        arguments = json.loads(written)
    except ValueError:
        return f"{name}({written}"
    parts = []
    for key, value in arguments.items():
        shown = repr(tuple(value)) if isinstance(value, list) and rng.random() < 0.3 else repr(value)
        parts.append(shown if rng.random() < 0.03 and not any("=" in part for part in parts) else f"{key}={shown}")
    return f"{name}({', '.join(parts)})"


def compare(rows: list[dict[str, Any]], official: str) -> list[dict[str, Any]]:
    """Add the official verdict to each row; the rows on which ours is another one."""
    script = Path(__file__).with_name("bfcl_official.py")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    done = subprocess.run([official, str(script)], input=lines, stdout=subprocess.PIPE, text=True, check=True)
    verdicts = [json.loads(line)["error_type"] for line in done.stdout.splitlines()]
    for row, verdict in zip(rows, verdicts, strict=True):
        row["official"] = verdict
    return [row for row in rows if row["official"] != row["ours"]]


if __name__ == "__main__":
    main()
