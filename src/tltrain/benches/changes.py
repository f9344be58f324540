"""Cases that changed between the baseline and other models, as data for the page's script. Bounded in size."""

from collections.abc import Mapping, Sequence

from tltrain.benches.comparison import Change, change_of, is_conversation
from tltrain.benches.evaluations import Evaluation, Outcome
from tltrain.report.payload import clip, clip_start, to_script_json
from tltrain.types import Json

MAX_CHANGES_BYTES = 8_000_000
"""Room for some 5,000 cases; browsers decode so much in a moment."""
_MAX_ANSWER_CHARS = 700
_MAX_QUERY_CHARS = 500
_MAX_PROMPT_CHARS = 900
_NO_GOLD = "(none is listed: a whole conversation is judged)"
_ORDER = (Change.BROKEN, Change.FIXED, Change.OTHER)


def build_changes(evaluations: Sequence[Evaluation], *, max_bytes: int = MAX_CHANGES_BYTES) -> dict[str, Json]:
    """Every case that changed between the first evaluation and any other, as a compact table.

    Where not all fit, cases that became wrong are kept first, then those that became right; prompts come in as far as
    room is left.

    Returns:
        models, sets: names; kits: sets with their parts, and kit_sets the number of the set of each; labels: names
        that rows refer to by index; total: number of changed cases before any was left out; rows: [id, kit, query,
        gold, prompt, answers, changes]. Answers are [text, label, 1 if right] for each model, or 0 without a scored
        one; a text that repeats an earlier answer of the row is the number of that model. Changes are a value of
        `Change`, or 0, for each model after the first.
    """
    first, *others = evaluations
    names = [name for name in first.sets if any(name in other.sets for other in others)]
    found: list[tuple[str, Outcome, list[Outcome | None], list[Change | None]]] = []
    for name in names:
        for key, outcome in first.sets[name].outcomes.items():
            answers = [_outcome(each, name, key) for each in evaluations]
            changes = [change_of(outcome, after) if after else None for after in answers[1:]]
            if any(changes):
                found.append((name, outcome, answers, changes))
    kits = list(dict.fromkeys((name, *outcome.parts[-1:]) for name, outcome, _, _ in found))
    labels = sorted({answer.label for _, _, answers, _ in found for answer in answers if answer})
    label_places = {label: place for place, label in enumerate(labels)}
    kit_places = {kit: place for place, kit in enumerate(kits)}
    ranked = sorted(range(len(found)), key=lambda place: min(_ORDER.index(each) for each in found[place][3] if each))
    rows: dict[int, list[Json]] = {}
    room = max_bytes
    for place in ranked:
        name, outcome, answers, changes = found[place]
        gold = _NO_GOLD if is_conversation(name) else clip(outcome.gold, _MAX_ANSWER_CHARS)
        kit = kit_places[name, *outcome.parts[-1:]]
        packed, moved = _pack(answers, label_places), [change.value if change else 0 for change in changes]
        row: list[Json] = [outcome.id, kit, clip(outcome.query, _MAX_QUERY_CHARS), gold, "", packed, [*moved]]
        room -= _num_bytes(row)
        if room < 0:
            break
        rows[place] = row
    for place, row in rows.items():
        prompt = clip_start(found[place][1].prompt, _MAX_PROMPT_CHARS)
        if prompt and (room := room - _num_bytes(prompt)) >= 0:
            row[4] = prompt
    return {
        "models": [each.name for each in evaluations],
        "sets": [*names],
        "kits": [" · ".join(kit) for kit in kits],
        "kit_sets": [names.index(kit[0]) for kit in kits],
        "labels": [*labels],
        "total": len(found),
        "rows": [rows[place] for place in sorted(rows)],
    }


def _outcome(evaluation: Evaluation, name: str, key: str) -> Outcome | None:
    """A scored outcome."""
    found = evaluation.sets[name].outcomes.get(key) if name in evaluation.sets else None
    return found if found is not None and found.right is not None else None


def _pack(answers: Sequence[Outcome | None], label_places: Mapping[str, int]) -> list[Json]:
    packed: list[Json] = []
    seen: dict[str, int] = {}
    for place, answer in enumerate(answers):
        if answer is None:
            packed.append(0)
            continue
        text = clip(answer.answer, _MAX_ANSWER_CHARS)
        first = seen.setdefault(text, place)
        packed.append([text if first == place else first, label_places[answer.label], int(bool(answer.right))])
    return packed


def _num_bytes(value: Json) -> int:
    return len(to_script_json(value).encode("utf-8", "replace"))
