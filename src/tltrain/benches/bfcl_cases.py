"""BFCL's single-turn categories in Python as cases: the files of each, and how a row becomes a case."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tltrain.benches.bench_case import BenchCase
from tltrain.benches.bfcl_decode import UndecodableError, read_python_calls
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.policy import Request
from tltrain.errors import DataError, UsageError
from tltrain.formats.python_types import convert_schema
from tltrain.types import Json, Message, Role, Tool, ToolCall

EXEC = ("exec_simple", "exec_multiple", "exec_parallel", "exec_parallel_multiple")
NON_LIVE = ("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance")
LIVE = (
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
    "live_relevance",
)
PARTS = {"exec": EXEC, "non_live": NON_LIVE, "live": LIVE}
"""Name that stands for several categories -> them."""
MULTI_TURN = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")
"""Categories of conversations, which `bfcl_multi_turn` runs."""
ALL_PARTS = PARTS | {"multi_turn": MULTI_TURN}


@dataclass(frozen=True, kw_only=True, slots=True)
class BfclSource:
    """What the rules of one case need."""

    category: str
    functions: Sequence[Mapping[str, Any]]
    """As the question lists them."""
    wanted: Sequence[Mapping[str, Mapping[str, Sequence[Any]]]]
    """Right calls with the allowed values; empty for exec, relevance and irrelevance."""


def expand_parts(parts: Sequence[str], known: Mapping[str, Sequence[str]] = PARTS) -> tuple[str, ...]:
    """Categories that the names stand for.

    Args:
        parts: categories, or names that stand for several.
        known: those names, with their categories.

    Raises:
        UsageError: there is no such category.
    """
    categories = [category for part in known.values() for category in part]
    chosen: dict[str, None] = {}
    for part in parts:
        if part not in known and part not in categories:
            raise UsageError(f"bfcl has no part {part!r}; choose from {', '.join((*known, *categories))}")
        chosen |= dict.fromkeys(known.get(part, (part,)))
    return tuple(chosen)


def load_category(data: DataFolder, category: str) -> list[BenchCase]:
    """All cases of a category.

    Raises:
        DataError: a file is missing or changed, or a row is no question with an answer.
    """
    question, answer = _files(category)
    answers = {row.get("id"): row for _, row in data.read_rows(answer)} if answer else {}
    cases = []
    for where, row in data.read_rows(question):
        try:
            cases.append(_read_case(row, answers[row["id"]] if answer else None, category))
        except (LookupError, TypeError, ValueError, AttributeError, UndecodableError) as error:
            raise DataError(f"{where}: {error!r}; it is no BFCL question with an answer: fetch it anew") from None
    return cases


def _files(category: str) -> tuple[str, str | None]:
    """Names of the file of questions and of the file of answers."""
    name = f"BFCL_v4_{category}.json"
    if category in EXEC:
        return f"bfcl/unused_datasets/question/{name}", f"bfcl/unused_datasets/possible_answer/{name}"
    return f"bfcl/{name}", None if "relevance" in category else f"bfcl/possible_answer/{name}"


def _read_case(row: Mapping[str, Any], answer: Mapping[str, Any] | None, category: str) -> BenchCase:
    """Raises what reading an unforeseen shape raises."""
    functions = row["function"]
    tools = tuple(read_function(function) for function in functions)
    (turn,) = row["question"]
    messages = tuple(Message(role=Role(message["role"]), content=message["content"]) for message in turn)
    golds: tuple[tuple[ToolCall, ...], ...] = ()
    wanted: Sequence[Any] = ()
    if answer is not None and category in EXEC:
        golds = (tuple(_read_gold(text, tools) for text in answer["ground_truth"]),)
    elif answer is not None:
        wanted = answer["ground_truth"]
        required = {tool.name: tool.required for tool in tools}
        right = [_only(call) for call in wanted]
        golds = (tuple(ToolCall(name=name, arguments=_choose(given, required[name])) for name, given in right),)
    part = next(part for part, categories in PARTS.items() if category in categories)
    return BenchCase(
        id=row["id"],
        # one call too many is an error, but where none is wanted the first one settles it
        request=Request(tools, messages, one_call="irrelevance" in category),
        gold=golds,
        groups={"part": part, "category": category},
        source=BfclSource(category=category, functions=functions, wanted=wanted),
    )


def _only(right: Mapping[str, Any]) -> tuple[str, Mapping[str, Sequence[Any]]]:
    ((name, allowed),) = right.items()
    return name, allowed


def read_function(function: Mapping[str, Any]) -> Tool:
    """One tool; types such as dict, float and tuple become those of JSON Schema."""
    schema = convert_schema(dict(function["parameters"]))
    if not isinstance(schema, dict):
        raise TypeError("parameters is no object")
    return Tool(name=function["name"], description=function["description"], parameters=schema)


def _read_gold(text: str, tools: Sequence[Tool]) -> ToolCall:
    """A right call as exec answers write it; arguments by position take the tool's parameters in order."""
    (call,) = read_python_calls(text)
    properties = next((tool.properties for tool in tools if tool.name == call.name), {})
    given = dict(zip(properties, call.positional, strict=False)) | call.keywords
    return ToolCall(name=call.name, arguments=plain_arguments(given))


def plain_arguments(given: Mapping[Any, Any]) -> dict[str, Json]:
    """Arguments with Python values as JSON; tuples become lists, what JSON lacks becomes text."""
    return {str(name): _plain(value) for name, value in given.items()}


def _plain(value: Any) -> Json:
    if isinstance(value, Mapping):
        return plain_arguments(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def _choose(allowed: Mapping[str, Sequence[Any]], required: Container[str]) -> dict[str, Json]:
    """The arguments of one right call: the first allowed value of each parameter; what may be left out is."""
    chosen = {}
    for name, values in allowed.items():
        given = [value for value in values if value != ""]
        if "" not in values or (name in required and given):
            chosen[name] = _first(given)
    return chosen


def _first(values: Sequence[Any]) -> Json:
    value = values[0] if values else None  # an empty list allows nothing; there is no right call
    if isinstance(value, dict):
        return _choose_keys(value)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [_choose_keys(item) for item in value]
    return _plain(value)


def _choose_keys(allowed: Mapping[str, Any]) -> dict[str, Json]:
    """An object whose keys list allowed values; what stands in those is a value, whatever it is."""
    return {
        key: _plain(values[0] if isinstance(values, list) and values else values)
        for key, values in allowed.items()
        if not (isinstance(values, list) and "" in values)
    }
