"""Examples that readers look at: wrong calls with their evidence, conversations, rollouts. Pure functions."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tltrain.report.data import RunData, Stage
from tltrain.report.payload import clip, clip_start
from tltrain.report.records import Rollout, VerdictRow
from tltrain.types import AnyCall, MalformedCall, Trajectory, iterate_calls


@dataclass(frozen=True, kw_only=True, slots=True)
class WrongCall:
    """A call that the audit did not pass, with the words of the feedback that say so."""

    verdict: VerdictRow
    call: str
    """Text of the call; empty where the trajectory is not in the run."""
    before: str
    marked: str
    after: str
    """The feedback, cut in three around the evidence."""


class WrongCalls(NamedTuple):
    """One group of calls to look at."""

    title: str
    num: int
    examples: list[WrongCall]


_CONTEXT_CHARS = 300


def choose_wrong_calls(data: RunData, *, per_group: int = 3) -> list[WrongCalls]:
    """Examples of calls with a verdict other than ok, by kind, the most frequent kind first; then the audit's mistakes.

    Of each group, calls of different tools and rules come before repetitions.
    """
    by_kind: dict[str, list[VerdictRow]] = defaultdict(list)
    for verdict in data.verdicts:
        if verdict.label not in ("ok", "unanswered"):
            by_kind[verdict.kind or verdict.label].append(verdict)
    groups = sorted(by_kind.items(), key=lambda item: (-len(item[1]), item[0]))
    groups.append(("false alarms of the audit", [verdict for verdict in data.verdicts if verdict.is_false_alarm]))
    groups.append(("mistakes that the audit did not find", [verdict for verdict in data.verdicts if verdict.is_missed]))
    return [
        WrongCalls(
            title,
            len(verdicts),
            [_show_wrong_call(verdict, data.trajectories) for verdict in _most_varied(verdicts)[:per_group]],
        )
        for title, verdicts in groups
        if verdicts
    ]


def _most_varied(verdicts: Sequence[VerdictRow]) -> list[VerdictRow]:
    seen: Counter[tuple[str, str]] = Counter()
    ranks = []
    for verdict in verdicts:
        ranks.append(seen[verdict.rule, verdict.tool] + seen[verdict.rule, ""])
        seen.update([(verdict.rule, verdict.tool), (verdict.rule, "")])
    order = sorted(range(len(verdicts)), key=lambda index: ranks[index])
    return [verdicts[index] for index in order]


def _show_wrong_call(verdict: VerdictRow, trajectories: Mapping[str, Trajectory]) -> WrongCall:
    trajectory = trajectories.get(verdict.id)
    steps = list(iterate_calls(trajectory)) if trajectory else []
    if not 0 <= verdict.call < len(steps):
        return WrongCall(verdict=verdict, call="", before="", marked=verdict.evidence, after="")
    step = steps[verdict.call]
    feedback = step.feedback or ""
    start, end = _locate(verdict, feedback)
    return WrongCall(
        verdict=verdict,
        call=clip(_call_text(step.call), 600),
        before=clip_start(feedback[:start], _CONTEXT_CHARS),
        marked=clip(feedback[start:end], _CONTEXT_CHARS),
        after=clip(feedback[end:], _CONTEXT_CHARS),
    )


def _call_text(call: AnyCall) -> str:
    if isinstance(call, MalformedCall):
        return call.raw
    arguments = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
    return f"{call.name}({arguments})"


def _locate(verdict: VerdictRow, feedback: str) -> tuple[int, int]:
    """Where the evidence stands in the feedback; an empty span at its end if it does not."""
    start, end = verdict.start, verdict.end
    if start is not None and end is not None and 0 <= start < end <= len(feedback):
        return start, end
    found = feedback.find(verdict.evidence) if verdict.evidence else -1
    return (found, found + len(verdict.evidence)) if found >= 0 else (len(feedback), len(feedback))


class Answered(NamedTuple):
    """One episode as one stage went through it."""

    stage: str
    success: bool | None
    messages: list[tuple[str, str]]
    """(role, text)."""


def choose_episodes(stages: Sequence[Stage], *, limit: int = 6) -> list[tuple[str, list[Answered]]]:
    """A few conversations, each with all stages that had it: changed outcomes first, then failures."""
    by_stage = [(stage.name, {episode.id: episode for episode in stage.episodes}) for stage in stages if stage.episodes]
    ids = list(dict.fromkeys(key for _, episodes in by_stage for key in episodes))

    def interest(key: str) -> tuple[bool, bool]:
        outcomes = [episodes[key].success for _, episodes in by_stage if key in episodes]
        return len(set(outcomes)) < 2, outcomes[-1] is True

    chosen = []
    for key in sorted(ids, key=interest)[:limit]:
        told = [(name, episodes[key]) for name, episodes in by_stage if key in episodes]
        answered = [
            Answered(name, episode.success, [line for message in episode.messages for line in _message_lines(message)])
            for name, episode in told
        ]
        chosen.append((next((episode.query for _, episode in told if episode.query), key), answered))
    return chosen


def _message_lines(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A chat message as (role, text) lines; calls are lines of their own."""
    role = str(message.get("role") or "?")
    content, calls = message.get("content"), message.get("tool_calls")
    lines = [(role, clip(content if isinstance(content, str) else str(content), 900))] if content else []
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function", call) if isinstance(call, Mapping) else {"name": call}
        function = function if isinstance(function, Mapping) else {"name": function}
        lines.append(("call", clip(f"{function.get('name')}({function.get('arguments', '')})", 900)))
    return lines or [(role, "(empty)")]


def choose_rollouts(rollouts: Sequence[Rollout], *, per_step: int = 4) -> dict[int, list[Rollout]]:
    """Step -> a few rollouts with different rewards, for the first, the middle and the last step."""
    steps = sorted({rollout.step for rollout in rollouts})
    chosen: dict[int, list[Rollout]] = {}
    for step in sorted({steps[0], steps[len(steps) // 2], steps[-1]}) if steps else []:
        here = [rollout for rollout in rollouts if rollout.step == step]
        by_label: dict[str, list[Rollout]] = defaultdict(list)
        for rollout in here:
            by_label[rollout.label].append(rollout)
        turns = max(map(len, by_label.values()))
        varied = [found[turn] for turn in range(turns) for found in by_label.values() if turn < len(found)]
        chosen[step] = varied[:per_step]
    return chosen
