"""ToolEyes: 382 queries that are answered over several turns, with 568 tools of 95 sets, and no golden answers.

Source: Ye et al. 2025, ToolEyes (COLING), arXiv:2401.00741. Its own loop calls live services. Here calls are checked
against the tool documents and answered by a simulation, from a recording, or live, see `tool_answers`. DE needs no
service; under simulation CE counts the errors that come from the call alone, and VA depends on made-up answers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict

from tltrain.benches.advance import advance
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.documents import read_document
from tltrain.benches.episodes import gives_up
from tltrain.benches.policy import Policy, Reply, Request, Stop
from tltrain.benches.recorded_tools import Place
from tltrain.benches.rotbench import PromptStyle
from tltrain.benches.simulated_tools import UNREADABLE, SimulatedTools
from tltrain.benches.tool_answers import ToolAnswers
from tltrain.errors import DataError
from tltrain.formats.openai_chat import row_from_trajectory
from tltrain.stage import Progress
from tltrain.syntax import CallSyntax, get_syntax
from tltrain.taxonomy import diagnose_schema
from tltrain.types import AnyCall, MalformedCall, Message, Role, Tool, ToolCall, Trajectory

FILE = "tooleyes/Test_Data/scenario_data_zero_processed.json"
FINISH = "finish"
DEFINITIONS = {
    "DE": "documentation understanding errors: of the calls that can be read, the percentage that names an unknown "
    "tool or parameter, or lacks a required one",
    "CE": "call errors: of all calls, the percentage whose feedback is an error; unreadable calls are among them",
    "VA": "valid answers: the percentage of queries that end with finish and an answer that does not give up, as "
    "'I cannot handle the task' does",
}
"""Score -> what it is, in our reading; the paper prints the names alone."""
_SYSTEM = (
    "You are an expert in using tools to handle real-time queries from users. Call one of the given tools at each "
    'step; you will get its result, and decide what to do next. Always use the "finish" tool upon task completion; '
    'its answer should be comprehensive enough for the user. If the task is unmanageable, use the "finish" tool and '
    'respond with "I cannot handle the task".'
)


def describe_queries(answers: ToolAnswers) -> list[str]:
    """What a reader must know about the scores, a sentence each."""
    first = f"DE, CE, VA are our reading of the paper's names. {answers.describe()}"
    return [first, *(f"{name}: {text}." for name, text in DEFINITIONS.items())]


class QueryEnd(StrEnum):
    """How the work on a query came to its end."""

    FINISH = "finish"
    """The model called finish."""
    MAX_TURNS = "max_turns"
    """It had not called finish in the last turn allowed."""
    CONTEXT_FULL = "context_full"
    """The conversation left no room for a reply in the model's context."""
    UNWRITABLE = "unwritable"
    """The model's chat template cannot write the conversation; VA leaves the query out."""
    FAILED = "failed"
    """An endpoint gave no reply; VA leaves the query out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """One query with its tools."""

    id: str
    scenario: str
    path: str
    """Of the tool set."""
    query: str
    tools: tuple[Tool, ...]
    prompt: str
    """The set's own system text."""


class QueryRow(BaseModel):
    """One line of the results: a query and what became of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    scenario: str
    path: str
    query: str
    completions: list[str]
    """The model's turns as it wrote them; the row can be judged again from them."""
    stop: Stop | None
    """Why the last turn was not written, if it was not."""
    syntax: str
    """In which the turns are read."""
    style: PromptStyle
    end: QueryEnd
    answer: str | None
    """What finish was given."""
    valid_answer: bool | None
    """None: not scored."""
    num_calls: int
    num_malformed: int
    num_undocumented: int
    num_failed: int
    num_without_call: int
    """Turns in which there was no attempt at a call."""
    num_tokens: int
    messages: list[dict[str, Any]]
    """The conversation, in chat format."""
    note: str = ""


def load_queries(data: DataFolder) -> list[Query]:
    """All queries, in the order of the file; two of them occur twice, as in the published number of 382.

    Raises:
        DataError: a file is missing or changed, or an entry is not of the set's shape.
    """
    library = data.read_tool_library()
    entries = data.read_json(FILE)
    if not isinstance(entries, list):
        raise DataError(f"{FILE}: no list of queries; fetch it anew")
    queries = []
    for index, entry in enumerate(entries):
        try:
            queries.append(_read_query(entry, index, library))
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(f"{FILE}: entry {index}: {error!r}; it is no ToolEyes query: fetch it anew") from None
    return queries


def _read_query(entry: Any, index: int, library: Mapping[str, Any]) -> Query:
    system, user = (turn["value"] for turn in entry["conversations"])
    path = entry["path"].removeprefix("ToolEyes/")
    return Query(
        id=f"{entry['scenario']}/{index}",
        scenario=entry["scenario"],
        path=path,
        query=user,
        tools=tuple(read_document(document) for document in library[path]),
        prompt=system,
    )


def run_queries(
    queries: Sequence[Query],
    policy: Policy,
    *,
    max_turns: int,
    at_once: int | None = None,
    style: PromptStyle = PromptStyle.NATIVE,
    answers: ToolAnswers | None = None,
    progress: Progress | None = None,
) -> list[QueryRow]:
    """Let a policy work on queries; they advance together, a turn at a time.

    Args:
        queries: what to do.
        policy: who does it.
        max_turns: most replies to one query.
        at_once: most of them under way at the same time; None: all.
        style: how tools and feedback are put to the policy.
        answers: who answers calls; None: the simulation.
        progress: told (queries ended, all queries, a remark).

    Returns:
        One row a query, in order.
    """
    answers = answers or ToolAnswers()
    episodes = [_Episode(query, policy.syntax, style, answers) for query in queries]
    advance(episodes, policy, max_replies=max_turns, at_once=at_once, progress=progress)
    return [episode.row() for episode in episodes]


def rejudge_query(row: QueryRow, query: Query, answers: ToolAnswers | None = None) -> QueryRow:
    """The row with its turns read and answered anew; no model is needed."""
    episode = _Episode(query, get_syntax(row.syntax), row.style, answers or ToolAnswers())
    for text in row.completions:
        if episode.end is None:
            episode.take(Reply(text=text, num_tokens=0, stop=Stop.END))
    if row.stop is not None and episode.end is None:
        episode.take(Reply(text="", num_tokens=0, stop=row.stop, note=row.note))
    return episode.row().model_copy(update={"num_tokens": row.num_tokens})


_ENDS = {
    Stop.TOO_LONG: QueryEnd.CONTEXT_FULL,
    Stop.UNWRITABLE: QueryEnd.UNWRITABLE,
    Stop.FAILED: QueryEnd.FAILED,
}


class _Episode:
    """One query on its way."""

    def __init__(self, query: Query, syntax: CallSyntax, style: PromptStyle, answers: ToolAnswers):
        self._query, self._syntax, self._style = query, syntax, style
        self._answers, self._simulated = answers, SimulatedTools(query.tools)
        system = _SYSTEM if style is PromptStyle.NATIVE else query.prompt
        self._messages = [Message(role=Role.SYSTEM, content=system), Message(role=Role.USER, content=query.query)]
        self._completions: list[str] = []
        self._counts: Counter[str] = Counter()
        self._stop: Stop | None = None
        self._answer: str | None = None
        self._note = ""
        self.end: QueryEnd | None = None

    def request(self) -> Request:
        """What the model reads next."""
        tools = self._query.tools if self._style is PromptStyle.NATIVE else ()
        return Request(tools, tuple(self._messages), goes_on=True)

    def take(self, reply: Reply) -> None:
        """Act on one reply of the model."""
        if reply.stop in _ENDS:
            self.end = _ENDS[reply.stop]
            self._stop, self._note = reply.stop, reply.note
            return
        self._completions.append(reply.text)
        self._counts["tokens"] += reply.num_tokens
        parsed = self._syntax.parse(reply.text, tools=self._query.tools)
        first = self._counts["calls"] + 1
        calls = tuple(replace(call, id=f"call_{number}") for number, call in enumerate(parsed.calls, start=first))
        if self._style is PromptStyle.NATIVE:
            self._messages.append(Message(role=Role.ASSISTANT, content=parsed.text, calls=calls))
        else:
            self._messages.append(Message(role=Role.ASSISTANT, content=reply.text))
        for call in calls:
            if self.end is None:
                self._make(call)
        if not calls:
            self._counts["without_call"] += 1
            self._messages.append(Message(role=Role.USER, content=UNREADABLE))

    def _make(self, call: AnyCall) -> None:
        self._counts["calls"] += 1
        if isinstance(call, MalformedCall):
            self._counts["malformed"] += 1
        elif diagnose_schema(call, self._query.tools).errors:
            self._counts["undocumented"] += 1
        if isinstance(call, ToolCall) and call.name == FINISH:
            answer = call.arguments.get("answer")
            self._answer = answer if isinstance(answer, str) else None
            self.end = QueryEnd.FINISH
            return
        place = Place(self._query.id, self._counts["calls"])
        feedback = self._answers.execute(call, self._simulated, place=place, tool_set=self._query.path)
        self._counts["failed"] += feedback.error is not None
        self._say(feedback.text, call)

    def _say(self, text: str, call: AnyCall) -> None:
        name = call.name if isinstance(call, ToolCall) else None
        if self._style is PromptStyle.NATIVE:
            self._messages.append(Message(role=Role.TOOL, content=text, call_id=call.id, name=name))
        else:
            self._messages.append(Message(role=Role.USER, content=text))

    def row(self) -> QueryRow:
        """What became of it."""
        query, counts = self._query, self._counts
        trajectory = Trajectory(id=query.id, tools=(), messages=tuple(self._messages))
        messages: Any = row_from_trajectory(trajectory)["messages"]
        is_valid = bool(self._answer and self._answer.strip()) and not gives_up(self._answer or "")
        return QueryRow(
            id=query.id,
            scenario=query.scenario,
            path=query.path,
            query=query.query,
            completions=self._completions,
            stop=self._stop,
            syntax=self._syntax.name,
            style=self._style,
            end=self.end or QueryEnd.MAX_TURNS,
            answer=self._answer,
            valid_answer=None if self.end in (QueryEnd.UNWRITABLE, QueryEnd.FAILED) else is_valid,
            num_calls=counts["calls"],
            num_malformed=counts["malformed"],
            num_undocumented=counts["undocumented"],
            num_failed=counts["failed"],
            num_without_call=counts["without_call"],
            num_tokens=counts["tokens"],
            messages=messages,
            note=self._note,
        )
