"""Mutated rows of every fixture: each is read or quarantined, once, and nothing breaks or hangs."""

import copy
import json
import random
import time
from collections import Counter

import pytest

from formats import chat_rows, research_rows
from tltrain.formats.base import Companions
from tltrain.formats.read import BadRow, open_source, read_source

FIXTURES = research_rows.ROWS | chat_rows.ROWS
SEVERAL = {"toolalpaca", "toolbench"}
"""Formats of which a record may hold several trajectories."""
VALUES = [
    None,
    True,
    0,
    -1,
    2**70,
    1.5,
    "",
    " ",
    "x",
    "{",
    '{"a": 1}',
    "[1]",
    [],
    {},
    [None],
    {"": {}},
    [[[]]],
    "\0",
    "😀" * 50,
]


def places(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def mutate(row, rng):
    """The row with up to three places replaced, removed, doubled or exchanged."""
    row = copy.deepcopy(row)
    for _ in range(rng.randint(1, 3)):
        path = rng.choice(list(places(row)))
        if not path:
            return rng.choice(VALUES) if rng.random() < 0.3 else row
        parent = row
        for key in path[:-1]:
            parent = parent[key]
        kind = rng.random()
        if kind < 0.5:
            parent[path[-1]] = copy.deepcopy(rng.choice(VALUES))
        elif kind < 0.7:
            del parent[path[-1]]
        elif isinstance(parent, list):
            parent.insert(rng.randint(0, len(parent)), copy.deepcopy(parent[path[-1]]))
        elif isinstance(parent[path[-1]], str):
            text = parent[path[-1]]
            cut = rng.randint(0, len(text))
            parent[path[-1]] = (
                text[:cut] + rng.choice(["", '"', "\\", "<tool_call>", "</think>", "}", "\n"]) + text[cut:]
            )
        else:
            parent[rng.choice(list(parent))] = parent[path[-1]]
    return row


def damage(line, rng):
    """The bytes of a line, sometimes cut or with a byte that does not belong there."""
    if rng.random() > 0.1:
        return line
    place = rng.randint(0, len(line))
    return rng.choice([line[:place], line[:place] + bytes([rng.choice([0, 34, 91, 125, 255])]) + line[place:]])


def run(folder, num_rows, seed):
    """For each format, how many of its rows were read or set aside how often; what is read is checked on the way."""
    rng = random.Random(seed)
    tools = folder / "tools.json"
    tools.write_text(json.dumps([{"name": "sort", "api_name": "sort", "parameters": {}}]))
    per_format = num_rows // len(FIXTURES)
    for name, rows in FIXTURES.items():
        path = folder / f"{name}.jsonl"
        lines = [damage(json.dumps(mutate(rng.choice(rows), rng)).encode(), rng) for _ in range(per_format)]
        lines = [line.replace(b"\n", b"") if line.strip() else b"{" for line in lines]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        started = time.process_time()
        current = [0]
        source = open_source(path, format=name)
        num_cases = {}
        source = source._replace(records=followed(source.records, current, num_cases))
        results = Counter(dict.fromkeys(range(1, per_format + 1), 0))
        ids = Counter()
        for item in read_source(source, companions=Companions(tools=tools)):
            results[current[0]] += 1
            if isinstance(item, BadRow):
                assert "fault of tltrain" not in item.reason, (item.reason, item.row)
                assert item.reason.startswith(f"{path}:{item.line}: "), item.reason
                assert item.line == current[0], item
            else:
                json.dumps(dict(item.provenance), allow_nan=False)
                ids[item.id] += 1
        assert max(ids.values(), default=0) <= 1, ids.most_common(1)
        assert time.process_time() - started < 5 + per_format / 200, name
        if name == "toolalpaca":
            assert all(count in {1, num_cases[number]} for number, count in results.items()), results
        yield name, per_format, results


def followed(records, current, num_cases):
    """The records as they are, with the number of the one that is being read in `current`, and its cases counted."""
    for file, record in records:
        current[0] = record.number
        num_cases[record.number] = cases_of(record.value)
        yield file, record


def cases_of(value):
    """How many trajectories a record of ToolAlpaca holds."""
    if not isinstance(value, dict):
        return 1
    key = "Instances" if isinstance(value.get("Instances"), list) else "Instructions"
    return len(value[key]) if isinstance(value.get(key), list) else 1


def check_counts(folder, num_rows, seed):
    for name, given, results in run(folder, num_rows, seed):
        assert len(results) == given, name
        assert min(results.values()) >= 1, (name, results)
        if name not in SEVERAL:
            assert max(results.values()) == 1, (name, results.most_common(3))


@pytest.mark.parametrize("seed", [1, 2])
def test_three_thousand_mutated_rows(tmp_path, seed):
    check_counts(tmp_path, 1500, seed)


@pytest.mark.slow
def test_a_hundred_thousand_mutated_rows(tmp_path):
    check_counts(tmp_path, 100_000, 3)
