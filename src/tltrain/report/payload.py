"""Data that the page's script draws from: answers side by side, and coloured tokens. Bounded in size."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from tltrain.report.data import Stage
from tltrain.report.records import Case, Sample, Token
from tltrain.types import Json

MAX_ANSWERS_BYTES = 2_100_000
"""Together with the rest of the page this keeps it below 3 MB."""
MAX_TOKENS_BYTES = 500_000
_MAX_ANSWER_CHARS = 700
_MAX_QUERY_CHARS = 500
_MAX_PROMPT_CHARS = 900
_MAX_CONTEXT_CHARS = 1_200


def to_script_json(value: Json) -> str:
    """JSON that can stand in a script element: no character in it starts a tag, a comment or an entity."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def clip(text: str, max_chars: int) -> str:
    """The start of a text, with a note on how much is left out."""
    if len(text) <= max_chars:
        return text
    return f"{text[:max_chars]} … ({len(text) - max_chars:,} more characters)"


def clip_start(text: str, max_chars: int) -> str:
    """The end of a text, with a note on how much is left out."""
    if len(text) <= max_chars:
        return text
    return f"({len(text) - max_chars:,} characters before) … {text[-max_chars:]}"


def build_answers(stages: Sequence[Stage], *, max_bytes: int = MAX_ANSWERS_BYTES) -> dict[str, Json]:
    """Every stage's answer to each case, as a compact table.

    Cases that changed between the first and the last stage are kept first where not all fit, then wrong ones; prompts
    come in as far as room is left.

    Returns:
        stages: names; kits, labels: names that rows refer to by index; total: number of cases before any was left
        out; rows: [id, kit, query, gold, prompt, answers], with an answer per stage of [text, label, 1 if right] or 0
        where the stage has none. A text that repeats an earlier answer of the row is the number of that stage.
    """
    stages = [stage for stage in stages if stage.cases]
    by_stage = [{case.id: case for case in stage.cases} for stage in stages]
    found = {case.id: case for stage in stages for case in reversed(stage.cases)}
    ids = list(dict.fromkeys(case.id for stage in stages for case in stage.cases))
    kits = sorted({case.kit for case in found.values()})
    labels = sorted({case.label for cases in by_stage for case in cases.values()})
    rows: dict[str, list[Json]] = {}
    room = max_bytes
    for key in sorted(ids, key=lambda key: _interest([cases.get(key) for cases in by_stage])):
        case = found[key]
        answers = _pack_answers([cases.get(key) for cases in by_stage], labels)
        query, gold = clip(case.query, _MAX_QUERY_CHARS), clip(case.gold, _MAX_ANSWER_CHARS)
        row: list[Json] = [key, kits.index(case.kit), query, gold, "", answers]
        room -= _num_bytes(row)
        if room < 0:
            break
        rows[key] = row
    for key, row in rows.items():
        prompt = clip_start(found[key].prompt, _MAX_PROMPT_CHARS)
        if prompt and (room := room - _num_bytes(prompt)) >= 0:
            row[4] = prompt
    return {
        "stages": [stage.name for stage in stages],
        "kits": [*kits],
        "labels": [*labels],
        "total": len(ids),
        "rows": [rows[key] for key in ids if key in rows],
    }


def _interest(answers: Sequence[Case | None]) -> int:
    """Rank of a case for readers: 0 if first and last stage differ, 1 if the last is wrong, 2 otherwise."""
    first, last = answers[0], answers[-1]
    if first is not None and last is not None and first.is_right is not last.is_right:
        return 0
    return 1 if last is None or not last.is_right else 2


def _pack_answers(cases: Sequence[Case | None], labels: Sequence[str]) -> list[Json]:
    packed: list[Json] = []
    seen: dict[str, int] = {}
    for index, case in enumerate(cases):
        if case is None:
            packed.append(0)
            continue
        text = clip(case.completion, _MAX_ANSWER_CHARS)
        first = seen.setdefault(text, index)
        packed.append([text if first == index else first, labels.index(case.label), int(case.is_right)])
    return packed


def count_changes(before: Iterable[Case], after: Iterable[Case]) -> Counter[tuple[bool, bool]]:
    """Number of cases by (was right, is right), over cases that both stages answered."""
    was_right = {case.id: case.is_right for case in before}
    return Counter((was_right[case.id], case.is_right) for case in after if case.id in was_right)


def build_tokens(samples: Sequence[Sample], *, max_bytes: int = MAX_TOKENS_BYTES) -> dict[str, Json]:
    """Trajectories as the trainer sees them.

    Runs of context, tokens that are neither trained nor blocked, become one piece, long ones clipped in the middle.

    Returns:
        total: number of samples before any was left out; max_weight: largest weight of all, at least 1; samples: each
        {id, calls: [[number, num_key, num_nonkey, weight, blocked]], pieces}, where a piece is [text, number of
        tokens] for context and [text, weight, kind, 1 if blocked] for a token of the model's own.
    """
    shown: list[Json] = []
    room = max_bytes
    for sample in samples:
        built: dict[str, Json] = {
            "id": sample.id,
            "calls": [
                [call.number, call.num_key, call.num_nonkey, call.weight, int(call.blocked)] for call in sample.calls
            ],
            "pieces": _pack_tokens(sample.tokens),
        }
        room -= _num_bytes(built)
        if room < 0 and shown:
            break
        shown.append(built)
    weights = [token.weight for sample in samples for token in sample.tokens]
    return {"total": len(samples), "max_weight": max([1.0, *weights]), "samples": shown}


def _pack_tokens(tokens: Sequence[Token]) -> list[Json]:
    pieces: list[Json] = []
    context: list[str] = []

    def close_context() -> None:
        if context:
            pieces.append([_clip_middle("".join(context)), len(context)])
            context.clear()

    for token in tokens:
        if token.weight == 0 and not token.blocked:
            context.append(token.text)
        else:
            close_context()
            pieces.append([token.text, round(token.weight, 3), token.kind, int(token.blocked)])
    close_context()
    return pieces


def _clip_middle(text: str) -> str:
    left_out = len(text) - _MAX_CONTEXT_CHARS
    if left_out <= 0:
        return text
    half = _MAX_CONTEXT_CHARS // 2
    return f"{text[:half]}\n … {left_out:,} characters …\n{text[-half:]}"


def _num_bytes(value: Json) -> int:
    """Size in the page, in bytes; exact, for UTF-8."""
    return len(to_script_json(value).encode("utf-8", "replace")) + 1
