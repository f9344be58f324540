import pytest

from formats.reading import count, read, read_file, refuses, steps, tool_call
from formats.research_rows import TOOLALPACA, TOOLALPACA_INSTANCES, changed, without
from shared import data_file
from tltrain.errors import DataError
from tltrain.formats.base import Companions
from tltrain.formats.toolalpaca import TOOLALPACA as FORMAT
from tltrain.formats.toolalpaca import read_golden_call
from tltrain.types import MalformedCall, Message, Role, ToolCall, Trajectory


def test_each_instruction_is_a_trajectory_of_golden_calls():
    first, second = read(FORMAT, TOOLALPACA)
    assert first.messages == (
        Message(role=Role.USER, content="Weather in Oslo?"),
        Message(role=Role.ASSISTANT, calls=(ToolCall(name="getWeather", arguments={"city": "Oslo"}),)),
    )
    assert first.provenance == {"source": "toolalpaca", "Name": "Skies", "Category": "Weather", "case": 0}
    assert second.provenance["case"] == 1
    rome, time = steps([second])
    assert tool_call(rome).arguments == {"city": "Rome"}
    assert isinstance(time.call, MalformedCall)
    assert time.call.raw == 'getTime({"zone": ${zone from getWeather}})'
    assert rome.message != time.message


def test_tools_have_schemas():
    weather, time = read(FORMAT, TOOLALPACA)[0].tools
    assert weather.description == "Weather of a city\nOutput: Text."
    assert weather.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "enum": ["Oslo", "Rome"], "description": "The city."},
            "days": {"type": "integer", "description": "How far ahead."},
            "filter": {"type": "array", "description": "Array[Object{key: string. A key.}]. Filters."},
        },
        "required": ["city"],
    }
    assert time.parameters == {}


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ('{"s": "s": ["EUR", "GBP"]}', {"s": ["EUR", "GBP"]}),
        ('{"a": 1, "s" : "s" :  "JPY"}', {"a": 1, "s": "JPY"}),
        ('{"s": "t": "JPY"}', None),
        ('{"a": 1, "s": "s": "JPY", "t": "t": 2}', {"a": 1, "s": "JPY", "t": 2}),
        ('{"s": "s"}', {"s": "s"}),
        ('{"s": "s: s: "}', {"s": "s: s: "}),
        ("", {}),
        ("{'s': 'x'}", {"s": "x"}),
        ('{"s": ${s}}', None),
        ("[1]", None),
    ],
)
def test_golden_inputs_are_read_or_repaired_or_kept(written: str, arguments: dict[str, object] | None):
    call = read_golden_call("f", written)
    if arguments is None:
        assert isinstance(call, MalformedCall)
        assert call.raw == f"f({written})"
    else:
        assert call == ToolCall(name="f", arguments=arguments)  # type: ignore[arg-type]


def test_instances_are_what_a_model_did():
    good, lost, failed = read(FORMAT, TOOLALPACA_INSTANCES)
    (step,) = steps([good])
    assert step.call == ToolCall(name="getWeather", arguments={"city": "Oslo"})
    assert tool_call(step).raw == 'ASSISTANT Action: getWeather\nASSISTANT Action Input: {"city": "Oslo"}'
    assert step.feedback == "Status Code: 200. Response: rain"
    assert good.messages[1].content == "I look."
    assert good.messages[3].content == "I know.\nRain."
    assert good.provenance["golden"] == TOOLALPACA["Golden_Answers"][0]
    assert lost.messages[0].content == "And in Rome, then the time?"
    assert lost.messages[1].content == "I look.\nASSISTANT Action: getWeather"
    assert (lost.messages[1].weight, lost.messages[1].calls) == (0.0, ())
    assert [message.role for message in failed.messages] == [Role.USER]
    assert failed.provenance["error"] == "Did not get output keys that were expected."


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (without(TOOLALPACA, "Function_Description"), "Function_Description is missing"),
        (changed(TOOLALPACA, "Instructions", to=[]), "Instructions is empty"),
        (changed(TOOLALPACA, "Instructions", 0, to=None), r"Instructions\[0\] is missing"),
        (changed(TOOLALPACA, "Golden_Answers", to=[]), r"Golden_Answers\[0\] is missing"),
        (changed(TOOLALPACA, "Golden_Answers", 0, 0, to="f"), r"Golden_Answers\[0\]\[0\] is of type string"),
        (changed(TOOLALPACA, "Function_Description", "getTime", to=1), "getTime is of type integer"),
        (changed(TOOLALPACA, "Function_Description", "getTime", to='Parameters: {"a": "b'), "that are no JSON"),
        (changed(TOOLALPACA_INSTANCES, "Instances", 0, "intermediate_steps", 0, to=[]), r"steps\[0\] is not \[\["),
        (changed(TOOLALPACA_INSTANCES, "Instances", 0, to={}), "has no intermediate_steps, output or error"),
    ],
)
def test_bad_records_name_their_field(row: dict[str, object], message: str):
    refuses(FORMAT, row, message)


def test_a_bad_case_leaves_the_others():
    row = changed(TOOLALPACA, "Instructions", 0, to=7)
    bad, good = FORMAT.read(row, where="data.json:3", companions=Companions())
    assert isinstance(bad, DataError)
    assert isinstance(good, Trajectory)
    assert good.provenance["case"] == 1


def test_the_real_evaluation_set():
    # 143 golden steps on 114 instructions; the 4 that are no JSON are repaired, and the 6 of AviationAPI name tools
    # that no document lists.
    found = read_file(FORMAT, data_file("toolalpaca/eval_real.json"))
    assert count(found) == (114, 143, 0, 0)
    unknown = [
        tool_call(step).name
        for trajectory in found
        for step in steps([trajectory])
        if tool_call(step).name not in {tool.name for tool in trajectory.tools}
    ]
    assert len(unknown) == 6
    assert sum(not tool_call(step).arguments for step in steps(found)) == 25
    repaired = [steps([case])[0] for case in found if case.provenance["Name"] == "CurrencyBeacon"][9]
    assert tool_call(repaired).arguments["symbols"] == "JPY"


def test_the_simulated_evaluation_set():
    # 32 golden inputs hold ${...} placeholders or broken JSON and stay malformed.
    found = read_file(FORMAT, data_file("toolalpaca/eval_simulated.json"))
    assert count(found) == (100, 154, 32, 0)


def test_the_trajectories_of_a_model():
    found = read_file(FORMAT, data_file("toolalpaca-trajectories/Mistral-7B-sim.json"))
    assert count(found) == (100, 166, 0, 166)
    statuses = [(step.feedback or "")[:17] for step in steps(found)]
    assert sum(status == "Status Code: 500." for status in statuses) == 67
    assert sum("error" in trajectory.provenance for trajectory in found) == 17
