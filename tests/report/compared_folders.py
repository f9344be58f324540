"""Folders of evaluations as `tltrain eval` writes them, made up: nothing in them was measured."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tltrain.benches.config import EvalConfig
from tltrain.benches.public_config import PublicEvalConfig
from tltrain.benches.rotbench import LEVELS

Row = Mapping[str, Any]


def case(number: int, label: str = "all_right", **fields: object) -> dict[str, object]:
    """A row of cases.jsonl; its verdicts follow from the label."""
    stages = _stages(label)
    row = {"id": f"t{number}#0", "trajectory": f"t{number}", "call": 0, "kit": ("shop", "bank")[number % 2]}
    texts = {"query": f"Question {number}?", "prompt": f"tools, then: Question {number}?", "gold": f"right(n={number})"}
    answer = f"right(n={number})" if label == "all_right" else f"wrong(n={number})"
    answered = {"completion": answer, "label": label, "num_tokens": 5, "stop": "end", "syntax": "python"}
    return {**row, **texts, **answered, **stages, **fields}


def level_row(level: str, number: int, label: str = "all_right", **fields: object) -> dict[str, object]:
    """A row of rotbench.jsonl."""
    row = {"id": f"{level}/{number}", "bench": "rotbench", "groups": {"level": level}, "cluster": str(number)}
    answered = {"completion": "a()", "stop": "end", "syntax": "python", "num_tokens": 3, "label": label, "details": {}}
    return {**row, "prompt_sha256": "", **answered, **_stages(label), "query": "q", "gold": "a()", **fields}


def query_row(number: int, *, valid: bool, num_failed: int = 0) -> dict[str, object]:
    """A row of tooleyes.jsonl."""
    row = {"id": f"TG/{number}", "scenario": "TG", "path": "p", "query": f"Query {number}?", "completions": ["a()"]}
    ended = {"stop": None, "syntax": "python", "style": "native", "end": "finish", "answer": "x", "valid_answer": valid}
    counts = {"num_calls": 2, "num_malformed": 0, "num_undocumented": 0, "num_failed": num_failed}
    return {**row, **ended, **counts, "num_without_call": 0, "num_tokens": 3, "messages": []}


def _stages(label: str) -> dict[str, bool]:
    rank = {"all_right": 3, "content_mismatch": 2, "param_missing": 1}.get(label, 0)
    return {"ts": rank > 0, "pi": rank > 1, "cf": rank > 2}


def write_own(folder: Path, rows: Sequence[Row], *, data: str = "d" * 64) -> Path:
    """An evaluation on trajectories."""
    _write(folder, EvalConfig().model_dump(mode="json"), {"data": data}, {"precision": "float32"})
    _write_rows(folder / "cases.jsonl", rows)
    return folder


def write_public(folder: Path, sets: Mapping[str, Sequence[Row]]) -> Path:
    """An evaluation on public test sets."""
    config = PublicEvalConfig(benches=tuple(sets)).model_dump(mode="json")
    headlines = {"rotbench": "level", "bfcl": "category"}
    benches = {name: {"headline": headlines.get(name, ""), "changed_files": []} for name in sets}
    _write(folder, config, {}, {"model": folder.name, "precision": "float32", "benches": benches})
    for name, rows in sets.items():
        _write_rows(folder / f"{name}.jsonl", rows)
    return folder


def noisy(skill: int) -> list[dict[str, object]]:
    """Rows of all levels of RoTBench, ten each; fewer are right at each level."""
    return [
        level_row(level, number, "all_right" if number < skill - place else "wrong_tool")
        for place, level in enumerate(LEVELS)
        for number in range(10)
    ]


def _write(folder: Path, config: object, inputs: object, scores: object) -> None:
    folder.mkdir(parents=True)
    record = {"stage": "eval", "status": "done", "config": config, "inputs": inputs}
    (folder / "stage.json").write_text(json.dumps(record))
    (folder / "scores.json").write_text(json.dumps(scores))


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
