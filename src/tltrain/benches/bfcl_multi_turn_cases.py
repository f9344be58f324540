"""BFCL's multi-turn categories as cases: what the user says turn by turn, the tools of each turn, the right calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tltrain.benches.bfcl_cases import read_function
from tltrain.benches.data_folder import DataFolder
from tltrain.errors import DataError
from tltrain.types import Json, Message, Role, Tool

MORE_TOOLS = "I have updated some more functions you can choose from. What about now?"
"""What the user says in the turn in which tools are added; source: `constants/default_prompts.py` of bfcl-eval."""
_DOCUMENTS = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}
"""Class of an environment -> name of the file that documents its methods."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiTurnCase:
    """One conversation of a test set; all fields of turns have one item a turn."""

    id: str
    category: str
    entry: Mapping[str, Any]
    """What the official environments need: id, initial_config, involved_classes."""
    said: tuple[tuple[Message, ...], ...]
    tools: tuple[tuple[Tool, ...], ...]
    ground_truth: Sequence[Sequence[str]]
    """The right calls as Python text; empty where none is asked for."""


def load_multi_turn(data: DataFolder, category: str) -> list[MultiTurnCase]:
    """All cases of a category.

    Raises:
        DataError: a file is missing or changed, or a row is no question with an answer.
    """
    answers = {row.get("id"): row for _, row in data.read_rows(f"bfcl/possible_answer/BFCL_v4_{category}.json")}
    documents: dict[str, list[Tool]] = {}
    cases = []
    for where, row in data.read_rows(f"bfcl/BFCL_v4_{category}.json"):
        try:
            classes: Any = row["involved_classes"]
            for name in (name for name in classes if name not in documents):
                documents[name] = _read_documents(data, _DOCUMENTS[name])
            tools = [tool for name in classes for tool in documents[name]]
            cases.append(_read_case(row, answers[row["id"]], category, tools))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{where}: {error!r}; it is no BFCL conversation with an answer: fetch it anew") from None
    return cases


def _read_documents(data: DataFolder, name: str) -> list[Tool]:
    return [read_function(row) for _, row in data.read_rows(f"bfcl/multi_turn_func_doc/{name}.json")]


def _read_case(row: Mapping[str, Any], answer: Mapping[str, Any], category: str, tools: list[Tool]) -> MultiTurnCase:
    """Raises what reading an unforeseen shape raises."""
    added: Mapping[str, list[str]] = row.get("missed_function", {})
    held_back = {name for names in added.values() for name in names}
    by_name = {tool.name: tool for tool in tools}
    offered = [tool for tool in tools if tool.name not in held_back]
    said, on_offer = [], []
    for turn, messages in enumerate(row["question"]):
        names = added.get(str(turn), ())
        offered = [*offered, *(by_name[name] for name in names)]
        spoken = [Message(role=Role(message["role"]), content=message["content"]) for message in messages]
        said.append(tuple(spoken) if not names else (Message(role=Role.USER, content=MORE_TOOLS),))
        on_offer.append(tuple(offered))
    ground_truth = answer["ground_truth"]
    if not said or len(said) != len(ground_truth):
        raise ValueError(f"{len(said)} turns, and answers to {len(ground_truth)}")
    entry: dict[str, Json] = {key: row[key] for key in ("id", "initial_config", "involved_classes")}
    return MultiTurnCase(
        id=row["id"],
        category=category,
        entry=entry,
        said=tuple(said),
        tools=tuple(on_offer),
        ground_truth=ground_truth,
    )
