"""A run folder as the stages write it, made up but shaped like a real one: nothing in it was trained."""

import json
import math
import random
from pathlib import Path
from typing import Any

KITS = ("calendar", "bank", "files", "library", "shop", "travel")
STAGES = ("base", "sft", "ppo")
_TOOLS = {
    "calendar": ("get_events_by_day", "get_event", "move_event", {"day": "2025-03-12"}),
    "bank": ("get_balance", "get_balances_by_owner", "transfer", {"account": "AC-2201"}),
    "files": ("read_file", "read_folder", "delete_file", {"path": "/notes/march.txt"}),
    "library": ("find_book", "find_books_by_author", "lend_book", {"title": "Middlemarch"}),
    "shop": ("search_products", "search_orders", "place_order", {"text": "blue lamp", "limit": 3}),
    "travel": ("find_trains", "find_trams", "book_seat", {"origin": "Kraków", "target": "Gdynia"}),
}
_WRONG = {
    "base": ("format_error", "tool_hallucination", "missing_call", "wrong_tool", "param_hallucination+param_missing"),
    "sft": ("content_mismatch", "wrong_tool", "param_redundant", "content_mismatch"),
    "ppo": ("content_mismatch", "content_mismatch", "wrong_tool"),
}
_RIGHT_SHARE = {"base": 0.21, "sft": 0.58, "ppo": 0.72}


def build_run(
    folder: Path, *, num_cases: int = 60, num_steps: int = 160, num_trajectories: int = 240, seed: int = 0
) -> Path:
    """Write a complete run of that many evaluation cases, training steps and trajectories; returns `folder`."""
    rng = random.Random(seed)
    _write_text(folder / "config.yaml", _CONFIG)
    _write_json(folder / "run.json", _RUN)
    trajectories, verdicts = _audited_data(rng, num_trajectories)
    write_rows(folder / "generate" / "train.jsonl", trajectories)
    _write_json(folder / "generate" / "summary.json", _summary(trajectories))
    write_rows(folder / "audit" / "verdicts.jsonl", verdicts)
    _write_json(folder / "audit" / "summary.json", {"num_calls": len(verdicts), "blocked": _BLOCKED, "truth": _TRUTH})
    write_rows(folder / "sft" / "metrics.jsonl", [_sft_step(step, num_steps, rng) for step in range(num_steps)])
    write_rows(folder / "sft" / "samples.jsonl", [_sample(f"train-{n:05d}", rng) for n in range(24)])
    write_rows(folder / "ppo" / "metrics.jsonl", [_ppo_step(step, num_steps, rng) for step in range(num_steps)])
    write_rows(folder / "ppo" / "rollouts.jsonl", [_rollout(step, n, rng) for step in (0, 40, 80) for n in range(8)])
    for stage in STAGES:
        cases = [_case(stage, number, random.Random(f"{seed}:{number}")) for number in range(num_cases)]
        episodes = [_episode(stage, number) for number in range(8)]
        write_rows(folder / "eval" / stage / "cases.jsonl", cases)
        write_rows(folder / "eval" / stage / "episodes.jsonl", episodes)
        _write_json(folder / "eval" / stage / "scores.json", _scores(cases, episodes))
    return folder


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON Lines."""
    _write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _write_json(path: Path, value: object) -> None:
    _write_text(path, json.dumps(value, ensure_ascii=False))


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


_CONFIG = """\
model: HuggingFaceTB/SmolLM2-135M-Instruct
seed: 7
generate:
  num_train: 1200
  mistake_rate: 0.17
sft: {learning_rate: 2.0e-5, epochs: 1, weighting: {variant: paper, w_max: 9}}
ppo: {learning_rate: 2.0e-7, kl_coef: 0.4, clip_range: 0.2}
"""
_RUN = {
    "seed": 7,
    "started": "2025-03-02T09:14:00Z",
    "versions": {"tltrain": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
    "stages": {
        "generate": {"seconds": 41.2, "peak_memory_mb": 180},
        "audit": {"seconds": 3.4, "peak_memory_mb": 96},
        "sft": {"seconds": 1904, "peak_memory_mb": 3120},
        "ppo": {"seconds": 6251, "peak_memory_mb": 4711},
        "eval": {"seconds": 822, "peak_memory_mb": 1904},
    },
}
_TRUTH = {
    "num_calls": 297,
    "num_true_errors": 62,
    "num_silent": 9,
    "precision": 0.985,
    "recall": 0.931,
    "kind_accuracy": None,
    "silent_mistakes": {"wrong_tool": 6, "content_mismatch": 3},
    "missed_kinds": {"refused": 4},
}
_BLOCKED = {"paper": 57, "strict": 63, "lenient": 43, "none": 0}
_FEEDBACK = (
    ("refused", "model", "refusal", "Error: no event with id 'ev9', although the day is on file", "no event with id"),
    ("missing_argument", "model", "missing-argument", "TypeError: f() missing 1 required argument: 'day'", "missing 1"),
    ("unexpected_argument", "model", "unexpected", '{"error": "unexpected keyword argument \'when\'"}', "unexpected"),
    ("tool_not_defined", "model", "name-error", "NameError: name 'get_evnts' is not defined", "is not defined"),
    ("service_failure", "world", "http-5xx", '{"status": 503, "message": "temporarily unavailable"}', '"status": 503'),
)


def _audited_data(rng: random.Random, num_trajectories: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    trajectories, verdicts = [], []
    for number in range(num_trajectories):
        kit = rng.choice(KITS)
        tool, other, _, arguments = _TOOLS[kit]
        key = f"train-{number:05d}"
        is_wrong = rng.random() < 0.17 + 0.1 * (number % 3 == 0)
        kind, blame, rule, feedback, evidence = rng.choice(_FEEDBACK)
        messages: list[dict[str, Any]] = [{"role": "user", "content": f"Please help with my {kit}, case {number}."}]
        calls = [(other, feedback)] * is_wrong + [(tool, '{"result": "Reign of Terror"}')]
        for place, (name, answer) in enumerate(calls):
            call = {
                "id": f"c{place}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
            messages.append({"role": "tool", "tool_call_id": f"c{place}", "content": answer})
            verdict: dict[str, Any] = {
                "id": key,
                "call": place,
                "tool": name,
                "source": f"scripted/{kit}",
                "label": "ok",
                "kind": None,
                "blame": "none",
                "rule": "result",
                "evidence": "",
                "start": 0,
                "end": 0,
                "truth": "right",
            }
            if answer == feedback:
                start = feedback.index(evidence)
                verdict |= {"label": "error", "kind": kind, "blame": blame, "rule": rule, "evidence": evidence}
                verdict |= {"start": start, "end": start + len(evidence)}
                verdict["truth"] = kind if number % 7 else "right"
            elif number % 40 == 0:
                verdict |= {"label": "ambiguous", "kind": "ambiguous", "blame": "unknown", "rule": "no-rule"}
            elif number % 50 == 1:
                verdict["truth"] = "silent:wrong_tool"
            verdicts.append(verdict)
        messages.append({"role": "assistant", "content": "Done."})
        function = {"name": tool, "description": "", "parameters": {"type": "object", "properties": {}}}
        tools = [{"type": "function", "function": function}]
        trajectories.append({"id": key, "messages": messages, "tools": tools, "provenance": {"kit": kit}})
    return trajectories, verdicts


def _summary(trajectories: list[dict[str, Any]]) -> dict[str, Any]:
    kits = [row["provenance"]["kit"] for row in trajectories]
    return {
        "trajectories": len(trajectories),
        "calls": 311,
        "mistake_share": 0.171,
        "kits": {kit: kits.count(kit) for kit in KITS},
        "mistakes": {"wrong_tool": 19, "content_mismatch": 21, "param_missing": 12},
        "sizes": {"mean_characters_of_tools": 1822, "mean_characters_of_messages": 911},
    }


def _sft_step(step: int, num_steps: int, rng: random.Random) -> dict[str, Any]:
    done = step / num_steps
    row: dict[str, Any] = {
        "step": step,
        "loss": 0.25 + 1.9 * math.exp(-5 * done) + rng.gauss(0, 0.05),
        "lr": 1e-5 * (1 + math.cos(math.pi * done)),
        "grad_norm": 1 + 3 * math.exp(-4 * done) + abs(rng.gauss(0, 0.2)),
        "tokens_per_second": 290 + rng.gauss(0, 12),
        "spans": {
            kind: {"nll": loss * (1 + math.exp(-4 * done)), "accuracy": 1 - loss / 4, "num_tokens": 40}
            for kind, loss in {"name": 0.4, "parameter": 0.3, "value": 0.9, "text": 1.1}.items()
        },
    }
    if step % 20 == 0:
        row["heldout"] = {
            "nll": 0.31 + 1.7 * math.exp(-5 * done),
            "name_nll": 0.2 + 2.1 * math.exp(-5 * done),
            "name_accuracy": 0.95 - 0.5 * math.exp(-6 * done),
            "parameter_accuracy": 0.9 - 0.6 * math.exp(-5 * done),
            "value_accuracy": 0.78 - 0.6 * math.exp(-4 * done),
        }
    return row


def _ppo_step(step: int, num_steps: int, rng: random.Random) -> dict[str, Any]:
    done = step / num_steps
    wrong = {
        "content_mismatch": 0.22 - 0.08 * done,
        "wrong_tool": 0.11 * (1 - 0.7 * done),
        "param_missing": 0.06 * (1 - done),
        "format_error": 0.03 * (1 - done),
    }
    return {
        "step": step,
        "reward": 0.35 + 0.4 * (1 - math.exp(-3 * done)) + rng.gauss(0, 0.06),
        "kl": 0.02 + 0.3 * done + abs(rng.gauss(0, 0.02)),
        "errors": {"all_right": 1 - sum(wrong.values()), **wrong},
        "length": 41 + 5 * done + rng.gauss(0, 2),
        "clip_fraction": abs(rng.gauss(0.04, 0.015)),
        "explained_variance": 0.7 * (1 - math.exp(-6 * done)) - 0.1 + rng.gauss(0, 0.04),
        "policy_loss": rng.gauss(-0.01, 0.01),
        "value_loss": 0.4 * math.exp(-4 * done) + abs(rng.gauss(0, 0.02)),
        "entropy": 0.6 - 0.25 * done + rng.gauss(0, 0.02),
    }


def _sample(key: str, rng: random.Random) -> dict[str, Any]:
    kit = rng.choice(KITS)
    tool, other, _, arguments = _TOOLS[kit]
    texts = ["<|im_start|>", "system", "\n", "You", " may", " call", " tools", ":", "\n"]
    texts += [piece for name in (tool, other) for piece in _cut(f'{{"name": "{name}", "parameters": {{}}}}\n')] * 4
    texts += ["<|im_end|>", "\n", "user", "\n", "Please", " look", " it", " up", ".", "\n", "assistant", "\n"]
    tokens = [_token(text) for text in texts]
    for name, is_blocked in ((other, True), (tool, False)):
        for place, piece in enumerate(_cut(f"[{name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})]")):
            is_key = place in (1, 3) and not is_blocked
            weight = 0.0 if is_blocked else 6.5 if is_key else 1.0
            tokens.append(_token(piece, weight, "key" if is_key else "call", is_blocked))
        tokens += [_token(text) for text in ("<|im_end|>", "\n", "tool", "\n", '{"error": "no"}', "\n", "assistant")]
    tokens += [_token(piece, 1.0, "text") for piece in ("All", " done", ".", "<|im_end|>")]
    calls = [
        {"number": 0, "num_key": 2, "num_nonkey": 13, "weight": 6.5, "blocked": True},
        {"number": 1, "num_key": 2, "num_nonkey": 13, "weight": 6.5, "blocked": False},
    ]
    return {"id": key, "tokens": tokens, "calls": calls}


def _cut(text: str) -> list[str]:
    return [text[start : start + 3] for start in range(0, len(text), 3)]


def _token(text: str, weight: float = 0.0, kind: str = "context", blocked: bool = False) -> dict[str, Any]:
    return {"text": text, "weight": weight, "kind": kind, "blocked": blocked}


def _call(name: str, arguments: dict[str, Any]) -> str:
    return f"[{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})]"


def _answer(kit: str, label: str) -> str:
    tool, other, _, arguments = _TOOLS[kit]
    first = next(iter(arguments))
    kept = {key: value for key, value in arguments.items() if key != first}
    return {
        "all_right": _call(tool, arguments),
        "content_mismatch": _call(tool, arguments | {first: "unknown"}),
        "wrong_tool": _call(other, arguments),
        "tool_hallucination": _call("use_" + kit, arguments),
        "format_error": f"I will call {tool}({first}=",
        "missing_call": f"You can find this in your {kit} by yourself. Let me know if there is anything else!",
        "param_redundant": _call(tool, arguments | {"verbose": True}),
        "param_hallucination+param_missing": _call(tool, kept | {"it": arguments[first]}),
    }[label]


def _case(stage: str, number: int, rng: random.Random) -> dict[str, Any]:
    kit = rng.choice(KITS)
    # One draw decides how hard the case is for all stages, so that most changes are for the better.
    hardness = rng.random()
    luck = random.Random(f"{stage}:{number}").random()
    is_right = hardness * 0.8 + luck * 0.2 < _RIGHT_SHARE[stage]
    label = "all_right" if is_right else random.Random(f"{stage}:{number}:").choice(_WRONG[stage])
    errors = label.split("+")
    tool, *_, arguments = _TOOLS[kit]
    return {
        "id": f"test-{number:05d}",
        "kit": kit,
        "query": f"Could you look into my {kit} for me, number {number}? I need to know what is planned there.",
        "prompt": "system\nYou may call tools.\nuser\n" + f"Could you look into my {kit}, number {number}?",
        "completion": _answer(kit, label),
        "gold": _call(tool, arguments),
        "label": label,
        "ts": is_right or errors[0].startswith(("param", "content")),
        "pi": is_right or errors[0].startswith("content"),
        "cf": is_right,
    }


def _rollout(step: int, number: int, rng: random.Random) -> dict[str, Any]:
    kit, label = rng.choice(KITS), rng.choice(("all_right", "content_mismatch", "wrong_tool"))
    tool, *_, arguments = _TOOLS[kit]
    reward = {"all_right": 1.0, "content_mismatch": -0.25, "wrong_tool": -1.5}[label]
    return {
        "step": step,
        "id": f"train-{number:05d}#0",
        "prompt": "system\nYou may call tools.\nuser\nLook it up.",
        "completion": _answer(kit, label),
        "gold": _call(tool, arguments),
        "reward": reward,
        "label": label,
    }


def _episode(stage: str, number: int) -> dict[str, Any]:
    kit = KITS[number % len(KITS)]
    tool, other, act, arguments = _TOOLS[kit]
    is_solved = number % 4 < 1 + STAGES.index(stage)
    first = tool if is_solved else other
    answer = '[{"id": "ev1", "title": "Team lunch"}]' if is_solved else "Error: not found"
    function = {"name": first, "arguments": json.dumps(arguments, ensure_ascii=False)}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": f"Sort out my {kit}, please (episode {number})."},
        {"role": "assistant", "content": "", "tool_calls": [{"function": function}]},
        {"role": "tool", "content": answer},
    ]
    if is_solved:
        function = {"name": act, "arguments": '{"id": "ev1"}'}
        messages.append({"role": "assistant", "content": "", "tool_calls": [{"function": function}]})
        messages.append({"role": "tool", "content": '{"done": true}'})
    messages.append({"role": "assistant", "content": "All sorted." if is_solved else "I could not find it."})
    return {
        "id": f"episode-{number}",
        "query": f"Sort out my {kit}, please (episode {number}).",
        "messages": messages,
        "success": is_solved,
    }


def _scores(cases: list[dict[str, Any]], episodes: list[dict[str, Any]]) -> dict[str, Any]:
    labels = [case["label"] for case in cases]
    kits = {kit: [case for case in cases if case["kit"] == kit] for kit in KITS}
    by_kit = {
        kit: {"n": len(rows)} | {name: _mean(rows, name.lower())["mean"] for name in ("TS", "PI", "CF")}
        for kit, rows in kits.items()
        if rows
    }
    return {
        "single": {
            "n": len(cases),
            "TS": _mean(cases, "ts"),
            "PI": _mean(cases, "pi"),
            "CF": _mean(cases, "cf"),
            "errors": {label: labels.count(label) for label in dict.fromkeys(labels)},
            "by_kit": by_kit,
        },
        "episodes": {
            "n": len(episodes),
            "success": _mean(episodes, "success"),
            "DE": 4.2,
            "CE": {"mean": 9.1, "low": 6.0, "high": 12.4, "n": 91},
            "VA": 71.0,
        },
    }


def _mean(rows: list[dict[str, Any]], field: str) -> dict[str, Any]:
    share = sum(row[field] for row in rows) / len(rows)
    half = 196 * math.sqrt(share * (1 - share) / len(rows))
    low, high = max(0.0, 100 * share - half), min(100.0, 100 * share + half)
    return {"mean": 100 * share, "low": low, "high": high, "n": len(rows)}
