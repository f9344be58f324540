import json

import pytest

from shared import data_file
from tltrain.benches.bench_case import Answer
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.openapi_paths import read_operations
from tltrain.benches.toolalpaca import ToolAlpaca, read_function, read_golden_input
from tltrain.errors import DataError
from tltrain.types import ToolCall

FUNCTIONS = {
    "rate_get": 'Get a rate.\nParameters: {"api_key": "Required. string. A key.", "base": "Required. string. In words, '
    'of 3.\\nNow", "n": "integer. How many."}\nOutput: OK.\n - Structure: Array[#Rate]',
    "list-all_get": "Parameters: {}\nOutput: OK.",
    "components": "The detailed output format: {}",
}
DOCUMENT = {
    "paths": {
        "/rate": {"get": {"summary": "Get a rate."}, "/deep/{id}": {"get": {"parameters": [{"$ref": "#/shared/id"}]}}},
        "components": {"schemas": {"get": {}}},
    },
    "shared": {"id": {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}},
}


@pytest.fixture
def bench(tmp_path):
    def write(golden, *, openapi=False):
        (tmp_path / "toolalpaca").mkdir(exist_ok=True)
        api = {
            "Name": "Rates",
            "Documentation": json.dumps(DOCUMENT),
            "Function_Description": FUNCTIONS,
            "Instructions": ["Do it."] * len(golden),
            "Golden_Answers": [[{"Action": name, "Action_Input": text} for name, text in steps] for steps in golden],
        }
        (tmp_path / "toolalpaca" / "eval_real.json").write_text(json.dumps([api]))
        return ToolAlpaca(DataFolder(tmp_path, allow_changed=True), openapi=openapi)

    return write


def test_functions_are_read_off_their_descriptions():
    tool = read_function("rate_get", FUNCTIONS["rate_get"])
    assert (tool.name, tool.description) == ("rate_get", "Get a rate.")
    assert tool.required == {"api_key", "base"}
    assert tool.properties["base"] == {"type": "string", "description": "In words, of 3.\nNow"}
    assert tool.properties["n"] == {"type": "integer", "description": "How many."}
    assert read_function("list-all_get", FUNCTIONS["list-all_get"]).properties == {}


def test_a_key_that_is_written_twice_counts_once():
    assert read_golden_input('{"base": "USD", "symbols": "symbols": ["EUR"]}') == {"base": "USD", "symbols": ["EUR"]}
    assert read_golden_input('{"a": "a: b"}') == {"a": "a: b"}
    assert read_golden_input("") == {}
    with pytest.raises(ValueError, match="not JSON"):
        read_golden_input('{"a": }')


def test_operations_of_a_badly_indented_document():
    tools = list(read_operations(DOCUMENT))
    assert [tool.name for tool in tools] == ["rate_get", "deep_id_get"]
    assert (tools[1].properties, tools[1].required) == ({"id": {"type": "integer"}}, {"id"})
    (odd,) = read_operations({"paths": {"/a": {"get": {"parameters": [{"$ref": "#/paths"}, 3]}}}})
    assert odd.properties == {}


def call(name, **arguments):
    return ToolCall(name=name, arguments=arguments)


STEPS = [("rate_get", '{"api_key": "<credential>", "base": "USD"}'), ("list-all_get", "{}")]
RATE, ALL = call("rate_get", base="USD"), call("list-all_get")


@pytest.mark.parametrize(
    ("calls", "stages", "any_step", "all_steps"),
    [
        ([RATE, ALL], "111", "111", "111"),
        ([ALL, RATE], "000", "111", "111"),
        ([RATE], "111", "111", "000"),
        ([call("rate_get", base="USD", api_key="mine")], "111", "111", "000"),
        ([call("rate_get", base="EUR", api_key="mine"), ALL], "110", "110", "110"),
        ([call("rate_get", base="USD", n=1), ALL], "100", "100", "100"),
        ([], "000", "000", "000"),
    ],
)
def test_first_step_any_step_and_all_steps(bench, calls, stages, any_step, all_steps):
    toolalpaca = bench([STEPS])
    (case,) = toolalpaca.load()
    verdict = toolalpaca.judge(case, Answer("", tuple(calls)))

    def digits(*values):
        return "".join(str(int(value)) for value in values)

    assert digits(verdict.ts, verdict.pi, verdict.cf) == stages
    assert digits(*(verdict.details[f"any_{stage}"] for stage in ("ts", "pi", "cf"))) == any_step
    assert digits(*(verdict.details[f"all_{stage}"] for stage in ("ts", "pi", "cf"))) == all_steps


def test_tools_of_the_openapi_document_alone(bench):
    golden = [[("deep_id_get", '{"id": 3}')]]
    for openapi, label in ((False, "unreachable_tool"), (True, "all_right")):
        toolalpaca = bench(golden, openapi=openapi)
        (case,) = toolalpaca.load()
        verdict = toolalpaca.judge(case, Answer("", case.gold[0]))
        assert (verdict.label, verdict.ts, verdict.details["all_cf"]) == (label, openapi, openapi)
    assert [tool.name for tool in case.request.tools] == ["rate_get", "list-all_get", "deep_id_get"]


def test_apis_of_another_shape_are_named(bench):
    with pytest.raises(DataError, match=r"eval_real.json: API 0: .*Golden_Answers\[0\] is empty"):
        bench([[]]).load()


def test_golden_answers_reach_all_but_the_undocumented_tools():
    folder = DataFolder(data_file("toolalpaca").parent)
    for openapi, reached in ((False, 94.74), (True, 100.0)):
        toolalpaca = ToolAlpaca(folder, openapi=openapi)
        cases = toolalpaca.load()
        assert (len(cases), sum(len(case.gold[0]) for case in cases)) == (114, 143)
        verdicts = [toolalpaca.judge(case, Answer("", case.gold[0])) for case in cases]
        assert round(100 * sum(verdict.ts for verdict in verdicts) / 114, 2) == reached
        assert all(verdict.cf is verdict.ts is verdict.details["all_cf"] for verdict in verdicts)
        assert sum(verdict.label == "unreachable_tool" for verdict in verdicts) == (0 if openapi else 6)
