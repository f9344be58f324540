import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from shared import data_file
from tltrain.benches.bench_case import Answer
from tltrain.benches.bfcl import Bfcl, judge_result
from tltrain.benches.bfcl_cases import PARTS
from tltrain.benches.bfcl_results import find_results, read_results, result_of, result_path, write_results
from tltrain.benches.data_folder import DataFolder
from tltrain.errors import DataError, UsageError
from tltrain.types import MalformedCall, ToolCall

BROKEN_GOLDS = {
    "live_simple_106-63-0": "type_error:simple",  # parameters without any allowed value
    "live_simple_112-68-0": "type_error:simple",
    "live_multiple_507-149-4": "simple_function_checker:missing_required",  # required, and only to be left out
    "live_multiple_862-181-3": "simple_function_checker:unexpected_param",  # an undocumented parameter
    "live_multiple_964-207-0": "simple_function_checker:missing_required",  # without a required one
}
"""Cases of the published files that no answer can pass."""
FUNCTION = {
    "name": "geo.find",
    "description": "Find it.",
    "parameters": {
        "type": "dict",
        "properties": {"name": {"type": "string"}, "at": {"type": "tuple", "items": {"type": "float"}}},
        "required": ["name"],
    },
}


def find(**arguments):
    return ToolCall(name="geo.find", arguments=arguments)


@pytest.fixture
def bench(tmp_path):
    """Three categories of our own."""

    def write(path, *rows):
        path = tmp_path / "bfcl" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    question = {"question": [[{"role": "user", "content": "Where is it?"}]], "function": [FUNCTION]}
    exec_name, name = "BFCL_v4_exec_parallel.json", "BFCL_v4_live_parallel.json"
    write(f"unused_datasets/question/{exec_name}", {"id": "exec_parallel_0", **question})
    texts = ["geo.find('a', (1/2, 1))", "geo.find(name='b')"]
    write(f"unused_datasets/possible_answer/{exec_name}", {"id": "exec_parallel_0", "ground_truth": texts})
    write(name, {"id": "live_parallel_0", **question})
    wanted = [{"geo.find": {"name": ["a"], "at": ["", [1.0, 2.0]]}}, {"geo.find": {"name": ["b"]}}]
    write(f"possible_answer/{name}", {"id": "live_parallel_0", "ground_truth": wanted})
    write("BFCL_v4_irrelevance.json", {"id": "irrelevance_0", **question})

    def make(*parts, **options):
        return Bfcl(DataFolder(tmp_path, allow_changed=True), parts=parts, **options)

    return make


def judge(bench, *calls):
    (case,) = bench.load()
    verdict = bench.judge(case, Answer("text", calls))
    return (verdict.ts, verdict.pi, verdict.cf), verdict.label


def test_exec_cases_compare_all_calls(bench):
    every = bench("exec_parallel")
    (case,) = every.load()
    assert case.gold == ((find(name="a", at=[0.5, 1]), find(name="b")),)
    assert case.request.tools[0].properties["at"] == {"type": "array", "items": {"type": "number"}}
    assert judge(every, *case.gold[0][::-1]) == ((True, True, True), "all_right")
    assert judge(every, case.gold[0][0], find(name="c")) == ((True, True, False), "content_mismatch")
    assert judge(every, case.gold[0][0]) == ((False, False, False), "missing_call")
    first = bench("exec_parallel", first_call=True)
    assert judge(first, case.gold[0][0]) == ((True, True, True), "all_right")
    assert judge(first, *case.gold[0][::-1]) == ((True, False, False), "param_missing")


def test_other_cases_follow_the_official_checker(bench):
    live = bench("live_parallel")
    first, second = find(name="A."), find(name="b")
    assert judge(live, second, first) == ((True, True, True), "all_right")
    wrong = "parallel_function_checker_no_order:cannot_find_match"
    assert judge(live, first, find(name="c")) == ((True, True, False), wrong)
    assert judge(live, first, find(at=[1.0])) == ((True, False, False), wrong)
    assert judge(live, first) == ((False, False, False), "parallel_function_checker_no_order:wrong_count")
    assert judge(live) == ((False, False, False), "ast_decoder:decoder_failed")
    assert judge(live, MalformedCall(raw="", reason="")) == ((False, False, False), "ast_decoder:decoder_failed")


def test_irrelevant_questions_want_no_call(bench):
    irrelevance = bench("irrelevance")
    assert judge(irrelevance) == ((True, None, None), "all_right")
    assert judge(irrelevance, find(name="a")) == ((False, None, None), "unwanted_call")


def test_parts_are_known(bench):
    assert bench("exec").categories == PARTS["exec"]
    assert bench("live_parallel", "live").categories[0] == "live_parallel"
    assert len(bench("live_parallel", "live").categories) == len(PARTS["live"])
    with pytest.raises(UsageError, match="bfcl has no part 'multi_turn_base'; choose from exec, non_live, live"):
        bench("multi_turn_base")


def test_result_files_of_bfcl(bench, tmp_path):
    (case,) = bench("live_parallel").load()
    result = result_of("", case.gold[0])
    assert result == [{"geo.find": '{"name": "a"}'}, {"geo.find": '{"name": "b"}'}]
    assert result_of("No.", ()) == "No."
    assert result_of("geo.find(", (*case.gold[0], MalformedCall(raw="geo.find(", reason=""))) == "geo.find("
    (path,) = write_results(tmp_path / "result", "a/model", {"live_parallel": [(case.id, result, 7)]})
    assert path == result_path(tmp_path / "result", "a/model", "live_parallel")
    assert path.relative_to(tmp_path).as_posix() == "result/a_model/live/BFCL_v4_live_parallel_result.json"
    assert json.loads(path.read_text()) == {"id": case.id, "result": result, "output_token_count": 7}
    assert find_results(tmp_path / "result" / "a_model") == {"live_parallel": path}
    (row,) = read_results(path, "live_parallel")
    assert judge_result(case, row.result).cf
    assert judge_result(case, "[geo.find(name='a'), geo.find(name='b')]").cf
    assert not judge_result(case, "[geo_find(name='a'), geo_find(name='b')]").ts
    assert judge_result(case, "[geo_find(name='a'), geo_find(name='b')]", underscore_to_dot=True).cf
    (case,) = bench("exec_parallel").load()
    assert judge_result(case, "[geo_find(name='a', at=(0.5, 1)), geo_find(name='b')]", underscore_to_dot=True).cf


def test_result_files_of_version_3(tmp_path):
    path = tmp_path / "model" / "BFCL_v3_simple_result.json"
    path.parent.mkdir()
    path.write_text('{"id": "simple_7", "result": "f()"}\n')
    assert find_results(tmp_path) == {"simple_python": path}
    assert [row.id for row in read_results(path, "simple_python")] == ["simple_python_7"]
    path.write_text('{"id": "simple_7"}\n')
    with pytest.raises(DataError, match=r"result.json:1: no id or no result"):
        list(read_results(path, "simple_python"))
    with pytest.raises(DataError, match=r"holds no BFCL_v4_\*_result.json"):
        find_results(tmp_path / "absent")


def test_golden_answers_of_the_published_files_pass():
    bench = Bfcl(DataFolder(data_file("bfcl").parent), parts=list(PARTS))
    cases = bench.load()
    assert len(cases) == 240 + 1240 + 2251
    failed = {}
    for case in cases:
        if case.source.category == "live_relevance":
            continue
        verdict = bench.judge(case, Answer("", case.gold[0] if case.gold else ()))
        if verdict.label != "all_right":
            failed[case.id] = verdict.label
    assert failed == BROKEN_GOLDS


@pytest.mark.slow
def test_the_official_checker_agrees():
    official = os.environ.get("TLTRAIN_BFCL_PYTHON")
    if not official:
        pytest.skip("set TLTRAIN_BFCL_PYTHON to a Python that has the package bfcl-eval")
    path = Path(__file__).parents[2] / "bench" / "bfcl_agreement.py"
    spec = importlib.util.spec_from_file_location("bfcl_agreement", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bfcl_agreement"] = module
    spec.loader.exec_module(module)
    categories = ["simple_python", "live_simple", "parallel_multiple", "live_parallel_multiple", "irrelevance"]
    rows = list(module.make_answers(data_file("bfcl").parent, categories, 6))
    assert len(rows) > 5000
    assert module.compare(rows, official) == []
