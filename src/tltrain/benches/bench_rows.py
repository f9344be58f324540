"""Answers to the cases of a public test set, as they are written down and judged again."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from tltrain.benches.bench_case import Answer, Bench, BenchCase, Verdict
from tltrain.benches.policy import Reply, Stop
from tltrain.errors import DataError
from tltrain.syntax import CallSyntax, get_syntax
from tltrain.types import Json, Role


class BenchRow(BaseModel):
    """One line of a test set's file: a case with its answer and verdict."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    bench: str
    groups: dict[str, str]
    cluster: str
    prompt_sha256: str
    """Of the prompt as the model read it."""
    completion: str
    stop: Stop
    syntax: str
    """In which the answer is read."""
    num_tokens: int
    label: str
    """What is wrong, or `all_right`; or `too_long`, `unwritable`, `failed`."""
    ts: bool | None
    """None: not scored, or the set has no such score."""
    pi: bool | None
    cf: bool | None
    details: dict[str, Any]
    """What the set's own rules add."""
    note: str = ""
    query: str = ""
    """What the user said last; empty in rows of older versions, until `eval score` judges them again."""
    gold: str = ""
    """The right answers in the syntax of the answer, one a paragraph; empty where no call is wanted or none listed."""

    @classmethod
    def from_reply(cls, bench: Bench, case: BenchCase, reply: Reply, syntax: CallSyntax) -> Self:
        """Read and judge a reply."""
        return cls(
            id=case.id,
            bench=bench.name,
            groups=dict(case.groups),
            cluster=case.cluster or case.id,
            prompt_sha256=hashlib.sha256(reply.prompt.encode()).hexdigest(),
            completion=reply.text,
            stop=reply.stop,
            syntax=syntax.name,
            num_tokens=reply.num_tokens,
            note=reply.note,
            **_describe(case, syntax),
            **_judge(bench, case, reply.text, reply.stop, syntax),
        )

    def rejudged(self, bench: Bench, case: BenchCase) -> Self:
        """The row with its completion read and judged anew."""
        syntax = get_syntax(self.syntax)
        judged = _judge(bench, case, self.completion, self.stop, syntax)
        return self.model_copy(update={"groups": dict(case.groups), **_describe(case, syntax), **judged})


def _describe(case: BenchCase, syntax: CallSyntax) -> dict[str, Any]:
    """Query and right answers, for readers."""
    said = (message.content for message in reversed(case.request.messages) if message.role is Role.USER)
    return {"query": next(said, ""), "gold": "\n\n".join(syntax.render("", calls) for calls in case.gold)}


def _judge(bench: Bench, case: BenchCase, text: str, stop: Stop, syntax: CallSyntax) -> dict[str, Any]:
    if stop in (Stop.UNWRITABLE, Stop.FAILED):
        return {"ts": None, "pi": None, "cf": None, "label": stop.value, "details": {}}
    # A prompt that does not fit is answered with nothing, and judged as that: where no call is wanted it is no merit.
    parsed = syntax.parse(text, tools=case.request.tools)
    verdict = bench.judge(case, Answer(text, parsed.calls))
    if stop is Stop.TOO_LONG:
        verdict = _as_wrong(verdict)
    return {
        "ts": verdict.ts,
        "pi": verdict.pi,
        "cf": verdict.cf,
        "label": verdict.label,
        "details": dict(verdict.details),
    }


def _as_wrong(verdict: Verdict) -> Verdict:
    details: Mapping[str, Json] = {
        name: False if isinstance(value, bool) else value for name, value in verdict.details.items()
    }
    stages = (None if value is None else False for value in (verdict.ts, verdict.pi, verdict.cf))
    ts, pi, cf = stages
    return Verdict(ts=ts, pi=pi, cf=cf, label=Stop.TOO_LONG.value, details=details)


def rejudge(rows: Sequence[BenchRow], bench: Bench, cases: Mapping[str, BenchCase]) -> list[BenchRow]:
    """Judge rows again.

    Raises:
        DataError: a row answers a case that the set does not have.
    """
    unknown = next((row.id for row in rows if row.id not in cases), None)
    if unknown is not None:
        raise DataError(f"{bench.name} has no case {unknown!r}; name the data that the run was made from")
    return [row.rejudged(bench, cases[row.id]) for row in rows]
