"""Single-turn cases: everything before one right call of a trajectory, to be answered with that call.

Any file of trajectories is a test set.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict

from tltrain.audit.run import audit_trajectories, blocked_calls, source_of
from tltrain.audit.verdict import CallVerdict
from tltrain.benches.policy import Reply, Request, Stop
from tltrain.errors import DataError
from tltrain.syntax import CallSyntax
from tltrain.taxonomy import diagnose_turn
from tltrain.types import MalformedCall, Role, Tool, ToolCall, Trajectory, iterate_calls

ALL_KITS = "all"
"""Stands for the kit where the provenance names none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SingleTurnCase:
    """One prompt and the call that answers it."""

    trajectory: str
    call: int
    """Number of the call in its trajectory."""
    kit: str
    group: str
    """What cases are balanced over: the kit, or, where there is none, teacher and environment."""
    request: Request
    gold: ToolCall

    @property
    def query(self) -> str:
        """What the user said last."""
        said = (message.content for message in reversed(self.request.messages) if message.role is Role.USER)
        return next(said, "")


class FoundCases(NamedTuple):
    """Cases of a data set."""

    cases: list[SingleTurnCase]
    left_out: Counter[str]
    """Calls that make no case, by reason."""


def find_cases(trajectories: Sequence[Trajectory], wrong: Mapping[str, frozenset[int]]) -> FoundCases:
    """Every call that is the only one of its turn and is right makes a case.

    Args:
        trajectories: of any source.
        wrong: numbers of calls that are wrong, by trajectory; see `wrong_calls`.
    """
    cases: list[SingleTurnCase] = []
    left_out: Counter[str] = Counter()
    for trajectory in trajectories:
        for step in iterate_calls(trajectory):
            if isinstance(step.call, MalformedCall):
                left_out["unreadable call"] += 1
            elif step.number in wrong.get(trajectory.id, ()):
                left_out["wrong call"] += 1
            elif len(trajectory.messages[step.message].calls) > 1:
                left_out["one of several calls in a turn"] += 1
            else:
                case = SingleTurnCase(
                    trajectory=trajectory.id,
                    call=step.number,
                    kit=kit_of(trajectory),
                    group=group_of(trajectory),
                    request=Request(trajectory.tools, trajectory.messages[: step.message]),
                    gold=step.call,
                )
                cases.append(case)
    return FoundCases(cases, left_out)


def kit_of(trajectory: Trajectory) -> str:
    """The kit that the provenance names, or `all`."""
    kit = trajectory.provenance.get("kit")
    return kit if isinstance(kit, str) and kit else ALL_KITS


def group_of(trajectory: Trajectory) -> str:
    """What a choice is balanced over: the kit, or, without one, the source."""
    kit = kit_of(trajectory)
    return source_of(trajectory.provenance) if kit == ALL_KITS else kit


def wrong_calls(
    trajectories: Sequence[Trajectory], verdicts: Sequence[CallVerdict] | None = None
) -> dict[str, frozenset[int]]:
    """Numbers of the calls that no model should be asked to repeat, by trajectory.

    Those that the verdicts block, and those that the provenance knows to be wrong: its `mistakes`, or, where it has
    none, the errors of its `truth`. A trajectory of which neither says anything is audited.

    Raises:
        DataError: a `mistakes` or `truth` that is no list of one entry for each call; names the row.
    """
    known = {
        trajectory.id: numbers for trajectory in trajectories if (numbers := _known_mistakes(trajectory)) is not None
    }
    if verdicts is None:
        verdicts = audit_trajectories(trajectory for trajectory in trajectories if trajectory.id not in known)
    blocked = blocked_calls(verdicts)
    return {key: known.get(key, frozenset()) | blocked.get(key, frozenset()) for key in known.keys() | blocked.keys()}


def _known_mistakes(trajectory: Trajectory) -> frozenset[int] | None:
    # A right call that met a broken service is an error in `truth` but not in `mistakes`.
    for field in ("mistakes", "truth"):
        entries = trajectory.provenance.get(field)
        if entries is None:
            continue
        num_calls = sum(1 for _ in iterate_calls(trajectory))
        if not isinstance(entries, list) or len(entries) != num_calls:
            held = f"{len(entries)} entries" if isinstance(entries, list) else "no list"
            raise DataError(
                f"trajectory {trajectory.id!r}: provenance.{field} has {held} for {num_calls} calls; give one entry "
                "for each call, or leave it out"
            )
        return frozenset(number for number, entry in enumerate(entries) if entry is not None)
    return None


class CaseRow(BaseModel):
    """One line of cases.jsonl: a case with its answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    """`<trajectory>#<call>`."""
    trajectory: str
    call: int
    kit: str
    query: str
    prompt: str
    completion: str
    gold: str
    """The right call in the syntax of the answer."""
    label: str
    """Label of the diagnosis, or `too_long` or `unwritable`."""
    ts: bool | None
    """Tool selected; this and the next two are None where the case was not asked (`unwritable`)."""
    pi: bool | None
    """And the parameters identified."""
    cf: bool | None
    """And their content filled."""
    num_tokens: int
    stop: Stop
    syntax: str
    """In which the answer is read."""
    note: str = ""

    @classmethod
    def from_reply(cls, case: SingleTurnCase, reply: Reply, syntax: CallSyntax) -> Self:
        """Read a reply and compare it with the right call."""
        return cls(
            id=f"{case.trajectory}#{case.call}",
            trajectory=case.trajectory,
            call=case.call,
            kit=case.kit,
            query=case.query,
            prompt=reply.prompt,
            completion=reply.text,
            gold=syntax.render("", [case.gold]),
            num_tokens=reply.num_tokens,
            stop=reply.stop,
            syntax=syntax.name,
            note=reply.note,
            **_judge(reply.text, reply.stop, syntax, case.request.tools, case.gold),
        )

    def rejudged(self, syntax: CallSyntax, tools: Sequence[Tool], gold: ToolCall) -> Self:
        """The row with its completion read and compared anew."""
        return self.model_copy(
            update={"gold": syntax.render("", [gold]), **_judge(self.completion, self.stop, syntax, tools, gold)}
        )


def _judge(text: str, stop: Stop, syntax: CallSyntax, tools: Sequence[Tool], gold: ToolCall) -> dict[str, Any]:
    if stop is Stop.UNWRITABLE:
        return {"label": stop.value, "ts": None, "pi": None, "cf": None}
    if stop is Stop.TOO_LONG:
        return {"label": stop.value, "ts": False, "pi": False, "cf": False}
    found = diagnose_turn(syntax.parse(text, tools=tools).calls, tools, gold)
    return {
        "label": found.label,
        "ts": found.tool_selected,
        "pi": found.parameters_identified,
        "cf": found.content_filled,
    }
