"""ToolAlpaca's real-API evaluation set: 114 instructions for 11 APIs, with the golden steps of each.

Source: Tang et al. 2023, arXiv:2306.05301; `data/eval_real.json`. The set's own scorer asks GPT-4; TS, PI and CF are
TL-Training's scores in our reading: the answer's first call against the first golden step.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tltrain.benches.bench_case import Answer, BenchCase, Verdict
from tltrain.benches.call_sets import compare_calls
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.openapi_paths import read_operations
from tltrain.benches.policy import Request
from tltrain.errors import DataError
from tltrain.files import decode_json
from tltrain.taxonomy import diagnose
from tltrain.types import AnyCall, Json, MalformedCall, Message, Role, Tool, ToolCall

FILE = "toolalpaca/eval_real.json"
CREDENTIAL = "<credential>"
"""Stands for a secret that no model can know."""
CREDENTIAL_PARAMETERS = frozenset({"access_key", "api_key", "appid"})
"""Parameters that hold one, in files as released."""
UNREACHABLE = "unreachable_tool"
"""Label of a case whose golden tool is not on offer."""
_TYPED = re.compile(
    r"(?P<required>Required\. )?(?P<type>string|integer|number|boolean|array|object)\.\s?(?P<text>.*)", re.S
)
_DOUBLED_KEY = re.compile(r'("(?:[^"\\]|\\.)*")\s*:\s*\1\s*:')


class ToolAlpaca:
    """See `tltrain.benches.bench_case.Bench`.

    Args:
        data: where the file is.
        openapi: offer the operations of each API's OpenAPI document that its function list leaves out, too.
    """

    name = "toolalpaca"
    headline = ""

    def __init__(self, data: DataFolder, *, openapi: bool = False):
        self._data, self._openapi = data, openapi
        offered = "are offered, too" if openapi else "are not offered, so their cases count as wrong (unreachable_tool)"
        self.notes: Sequence[str] = (
            "TS, PI, CF: the first call against the first golden step; any_*: against any step; all_*: all calls "
            "against all steps, in any order.",
            f"6 cases call tools that only the OpenAPI document lists; these tools {offered}.",
            "4 golden inputs that are no JSON are repaired: a key written twice in a row counts once.",
            "Credentials are free: any value of such a parameter is right, and its absence, too.",
        )

    def load(self) -> list[BenchCase]:
        """See `Bench.load`."""
        apis = self._data.read_json(FILE)
        if not isinstance(apis, list):
            raise DataError(f"{FILE}: no list of APIs; fetch it anew")
        cases: list[BenchCase] = []
        for index, api in enumerate(apis):
            try:
                cases += _read_api(api, openapi=self._openapi)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise DataError(f"{FILE}: API {index}: {error!r}; it is no ToolAlpaca API: fetch it anew") from None
        return cases

    def judge(self, case: BenchCase, answer: Answer) -> Verdict:
        """See `Bench.judge`."""
        tools, steps = case.request.tools, case.gold[0]
        names = {tool.name for tool in tools}
        hidden = _credentials(steps)
        calls = [_without(call, hidden) for call in answer.calls]
        golds = [_without_hidden(step, hidden) for step in steps]
        first = diagnose(calls[0] if calls else None, tools, golds[0])
        reached = [diagnose(call, tools, gold) for call in calls[:1] for gold in golds if gold.name in names]
        whole = compare_calls(calls, tools, golds)
        can_finish = all(gold.name in names for gold in golds)
        details: dict[str, Json] = {
            "any_ts": any(found.tool_selected for found in reached),
            "any_pi": any(found.parameters_identified for found in reached),
            "any_cf": any(found.content_filled for found in reached),
            **{f"all_{stage}": can_finish and getattr(whole, stage) for stage in ("ts", "pi", "cf")},
        }
        if golds[0].name not in names:
            return Verdict(ts=False, pi=False, cf=False, label=UNREACHABLE, details=details)
        return Verdict(
            ts=first.tool_selected,
            pi=first.parameters_identified,
            cf=first.content_filled,
            label=first.label,
            details=details,
        )


def _read_api(api: Any, *, openapi: bool) -> list[BenchCase]:
    """Cases of one API. Raises LookupError, TypeError, ValueError or AttributeError where it has another shape."""
    descriptions = {name: text for name, text in api["Function_Description"].items() if name != "components"}
    tools = [read_function(name, text) for name, text in descriptions.items()]
    if openapi:
        document = decode_json(api["Documentation"])
        tools += [tool for tool in read_operations(document) if tool.name not in descriptions]  # type: ignore[arg-type]
    cases = []
    for index, (instruction, steps) in enumerate(zip(api["Instructions"], api["Golden_Answers"], strict=True)):
        gold = tuple(ToolCall(name=step["Action"], arguments=read_golden_input(step["Action_Input"])) for step in steps)
        if not gold:
            raise ValueError(f"Golden_Answers[{index}] is empty")
        cases.append(
            BenchCase(
                id=f"{api['Name']}/{index}",
                request=Request(tuple(tools), (Message(role=Role.USER, content=instruction),), one_call=False),
                gold=(gold,),
                groups={"api": api["Name"], "steps": "one step" if len(gold) == 1 else "several steps"},
            )
        )
    return cases


def read_function(name: str, text: str) -> Tool:
    """A tool from its description, `TEXT Parameters: {"p": "Required. string. TEXT"} Output: ...`.

    Raises:
        ValueError: there are no parameters, or they are no JSON.
    """
    before, mark, after = text.partition("Parameters: ")
    if not mark:
        raise ValueError(f"{name} has no parameters")
    written = json.JSONDecoder().raw_decode(after)[0]
    properties: dict[str, Json] = {}
    for parameter, described in written.items():
        typed = _TYPED.match(described)
        properties[parameter] = (
            {"type": typed["type"], "description": typed["text"]} if typed else {"description": described}
        )
    required: list[Json] = [parameter for parameter, described in written.items() if described.startswith("Required.")]
    return Tool(
        name=name,
        description=before.strip(),
        parameters={"type": "object", "properties": properties, "required": required},
    )


def read_golden_input(text: str) -> dict[str, Json]:
    """Decode a golden input; where it is no JSON, a key that is written twice in a row counts once.

    Raises:
        ValueError: it is no JSON object even so.
    """
    try:
        value = decode_json(text or "{}")
    except ValueError:
        value = decode_json(_DOUBLED_KEY.sub(r"\1:", text))
    if not isinstance(value, dict):
        raise ValueError("a golden input is no JSON object")
    return value


def _credentials(steps: Sequence[ToolCall]) -> frozenset[str]:
    """Parameters whose value no model can know."""
    found = {name for step in steps for name, value in step.arguments.items() if value == CREDENTIAL}
    return CREDENTIAL_PARAMETERS | found


def _without(call: AnyCall, hidden: frozenset[str]) -> AnyCall:
    return call if isinstance(call, MalformedCall) else _without_hidden(call, hidden)


def _without_hidden(call: ToolCall, hidden: frozenset[str]) -> ToolCall:
    arguments: Mapping[str, Json] = {name: value for name, value in call.arguments.items() if name not in hidden}
    return ToolCall(name=call.name, arguments=arguments)
