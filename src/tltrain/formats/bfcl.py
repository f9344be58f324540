"""Berkeley Function-Calling Leaderboard: `{"id", "question", "function"}`, questions with answers in a second file.

- `question` is a list of turns, each a list of messages. `function` lists the tools with Python's type names; the
  multi-turn rows name `involved_classes` instead, whose tools are in the folder `multi_turn_func_doc`
  (`Companions.tools`, or one file with all of them).
- `Companions.answers` is the file in `possible_answer`, or that folder. Without answers the questions alone are read,
  as those of irrelevance and relevance are. What an answer looks like: `bfcl_answers`. The row's answer is kept in
  `provenance["ground_truth"]`, as it holds more than the one call that a trajectory can.
- Second files that are not named are looked for where the leaderboard has them, beside the file of questions.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from tltrain.errors import DataError
from tltrain.formats.base import Companions
from tltrain.formats.bfcl_answers import read_answer
from tltrain.formats.companion_file import file_stamp, load_records, require_file
from tltrain.formats.python_types import object_schema
from tltrain.formats.untrusted import (
    described,
    expect_object,
    fail,
    keep,
    missing,
    read_list,
    read_text,
    read_tool,
)
from tltrain.types import AnyCall, Json, Message, Role, Tool, Trajectory

_CATEGORY = re.compile(r"(?P<category>.+?)_\d+(?:-\d+)*")
_CLASS_FILES = {
    "GorillaFileSystem": "gorilla_file_system.json",
    "MathAPI": "math_api.json",
    "MessageAPI": "message_api.json",
    "TwitterAPI": "posting_api.json",
    "TicketAPI": "ticket_api.json",
    "TradingBot": "trading_bot.json",
    "TravelAPI": "travel_booking.json",
    "VehicleControlAPI": "vehicle_control.json",
}
_KEPT = ("initial_config", "involved_classes", "excluded_function", "missed_function")


class Bfcl:
    """See the module."""

    name = "bfcl"
    summary = "BFCL questions, single and multi turn, with answers from a second file"

    def refuse(self, record: Json) -> str | None:
        """A row has `id`, a text, `question`, a list of lists, and `function` or `involved_classes`."""
        reason = missing(record, id=str, question=list)
        if reason or not isinstance(record, dict):
            return reason
        turns = record["question"]
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, list) for turn in turns):
            return "'question' is no list of turns, each a list of messages"
        if isinstance(record.get("function"), list | dict) or isinstance(record.get("involved_classes"), list):
            return None
        return "it has neither 'function' nor 'involved_classes'"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:
        """One trajectory; each call of a multi-turn answer is a message of its own, as it may need the one before."""
        row = expect_object(record, where, "the record")
        companions = _completed(companions, Path(where.rpartition(":")[0]))
        identifier = read_text(row, "id", where)
        turns = read_list(row, "question", where)
        is_multi_turn = isinstance(row.get("involved_classes"), list)
        tools = _read_class_tools(row, where, companions) if is_multi_turn else _read_functions(row, where)
        answer = None if companions.answers is None else _find_answer(companions.answers, identifier, where)
        calls: list[tuple[AnyCall, ...]] = [()] * len(turns) if answer is None else read_answer(answer, tools, where)
        if len(calls) != len(turns):
            fail(where, "question", f"has {len(turns)} turns, its answer {len(calls)}", "use the answers of this file")
        messages: list[Message] = []
        for index, (turn, answers) in enumerate(zip(turns, calls, strict=True)):
            messages += _read_question(turn, where, f"question[{index}]")
            groups = [(call,) for call in answers] if is_multi_turn else [answers] if answers else []
            messages += [Message(role=Role.ASSISTANT, calls=group) for group in groups]
        if not messages:
            fail(where, "question", "holds no message", "give the user's text")
        category = _CATEGORY.fullmatch(identifier)
        provenance = {"source": self.name, "category": category["category"] if category else identifier}
        if answer is not None:
            provenance |= keep(answer, ("ground_truth", "execution_result_type"))
        yield Trajectory(id=identifier, tools=tools, messages=tuple(messages), provenance=provenance | keep(row, _KEPT))


def _completed(named: Companions, path: Path) -> Companions:
    """The second files that were named, and those beside the file of questions for the rest."""
    beside = find_companions(path)
    return Companions(tools=named.tools or beside.tools, answers=named.answers or beside.answers)


@lru_cache(maxsize=32)
def find_companions(path: Path) -> Companions:
    """The second files that lie where the leaderboard has them beside a file of questions; None where they do not."""
    answers = (folder / "possible_answer" / path.name for folder in (path.parent, path.parent.parent))
    documents = path.parent / "multi_turn_func_doc"
    return Companions(
        answers=next((file for file in answers if file.is_file()), None),
        tools=documents if documents.is_dir() else None,
    )


def _read_functions(row: Mapping[str, Json], where: str) -> tuple[Tool, ...]:
    functions = row.get("function")
    values = [functions] if isinstance(functions, dict) else functions
    if not isinstance(values, list):
        fail(where, "function", described(functions), "give the list of tools")
    return tuple(_read_tool(value, where, f"function[{index}]") for index, value in enumerate(values))


def _read_tool(value: Json, where: str, field: str) -> Tool:
    tool = read_tool(value, where, field)
    return Tool(name=tool.name, description=tool.description, parameters=object_schema(tool.parameters))


def _read_class_tools(row: Mapping[str, Json], where: str, companions: Companions) -> tuple[Tool, ...]:
    """Tools of the involved classes, without the excluded ones."""
    path = require_file(companions.tools, where, "tool documents", "--tools multi_turn_func_doc")
    tools: list[Tool] = []
    for name in read_list(row, "involved_classes", where):
        if path.is_file():
            continue
        if name not in _CLASS_FILES:
            fail(where, "involved_classes", f"names {str(name)[:40]!r}", f"use some of {', '.join(_CLASS_FILES)}")
        file = path / _CLASS_FILES[str(name)]
        tools += _load_tools(require_file(file, where, "tool documents", "--tools"), file_stamp(file))
    if path.is_file():
        tools += _load_tools(path, file_stamp(path))
    excluded = row.get("excluded_function")
    names = excluded if isinstance(excluded, list) else []
    return tuple(tool for tool in tools if tool.name not in names)


@lru_cache(maxsize=32)
def _load_tools(path: Path, stamp: tuple[int, int]) -> tuple[Tool, ...]:  # noqa: ARG001 - part of the key
    return tuple(_read_tool(value, str(path), f"[{index}]") for index, value in enumerate(load_records(path)))


def _find_answer(path: Path, identifier: str, where: str) -> dict[str, Json]:
    """The answer of that id, in the file, or in the folder's file of the same name as that of the questions."""
    file = path / Path(where.rpartition(":")[0]).name if path.is_dir() else path
    require_file(file, where, "answers", "--answers")
    answers = _load_answers(file, file_stamp(file))
    if identifier not in answers:
        fail(where, "id", f"{identifier!r} has no answer in {file}", "use the answers of this file")
    return answers[identifier]


@lru_cache(maxsize=32)
def _load_answers(path: Path, stamp: tuple[int, int]) -> dict[str, dict[str, Json]]:  # noqa: ARG001 - part of the key
    rows = [expect_object(row, f"{path}:{number}", "the answer") for number, row in enumerate(load_records(path), 1)]
    return {read_text(row, "id", f"{path}:{number}"): row for number, row in enumerate(rows, start=1)}


def _read_question(turn: Json, where: str, field: str) -> Iterator[Message]:
    if not isinstance(turn, list):
        fail(where, field, described(turn), "give a list of messages")
    for index, value in enumerate(turn):
        place = f"{field}[{index}]"
        message = expect_object(value, where, place)
        role = message.get("role")
        if not isinstance(role, str) or role not in {Role.SYSTEM, Role.USER, Role.ASSISTANT}:
            fail(where, f"{place}.role", described(role), "use system, user or assistant")
        yield Message(role=Role(role), content=read_text(message, "content", where, of=place))


BFCL = Bfcl()
