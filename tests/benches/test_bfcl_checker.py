import pytest

from tltrain.benches.bfcl_checker import CRASH, CallCount, check_answer, count_of

PARAMETERS = {
    "text": {"type": "string"},
    "count": {"type": "integer"},
    "size": {"type": "float"},
    "words": {"type": "array", "items": {"type": "string"}},
    "pair": {"type": "tuple", "items": {"type": "float"}},
    "box": {"type": "dict"},
    "boxes": {"type": "array", "items": {"type": "dict"}},
    "any": {"type": "any"},
    "flag": {"type": "boolean"},
}


def document(name, *required):
    return {"name": name, "parameters": {"type": "dict", "properties": PARAMETERS, "required": list(required)}}


LOOK, DROP = document("look.at", "text"), document("drop")


def error_of(given, allowed, count=CallCount.SIMPLE):
    fault = check_answer([{"look.at": given}], [LOOK], [{"look.at": {"text": ["a"], **allowed}}], count)
    return fault and fault.error_type


def value_error(name, value, *allowed):
    return error_of({"text": "a", name: value}, {name: list(allowed)})


@pytest.mark.parametrize(
    ("name", "value", "allowed", "error"),
    [
        ("text", "A - b", ["a.b"], None),  # without case, blanks and marks
        ("text", "it's", ['it"s'], None),
        ("text", "b", ["a"], "value_error:string"),
        ("text", 1, ["a"], "type_error:simple"),
        ("count", 1, [1], None),
        ("count", 1.0, [1], "type_error:simple"),
        ("count", True, [1], "type_error:simple"),
        ("count", 2, [1], "value_error:others"),
        ("count", "n", ["n"], None),  # a variable: all allowed values are text
        ("count", "N", ["n"], "value_error:others"),  # which is compared by equality
        ("size", 2, [2.0], None),  # an integer passes for a float
        ("size", 10**400, [2.0], CRASH),
        ("words", ["A b"], [["ab"]], None),
        ("words", ["b", "a"], [["a", "b"]], "value_error:list/tuple"),
        ("words", [1], [["a"]], "type_error:nested"),
        ("words", "a", [["a"]], "type_error:simple"),
        ("words", [], ["", ["a"]], None),  # an empty list equals the mark of what may be left out
        ("pair", (1.0, 2.0), [[1.0, 2.0]], None),
        ("pair", [1, 2], [[1.0, 2.0]], "type_error:nested"),  # inside, an integer does not pass for a float
        ("words", ("a",), [["a"]], "type_error:simple"),  # a tuple passes for a tuple alone
        ("box", {"k": "X"}, [{"k": ["x", "y"], "n": [1, ""]}], None),
        ("box", {"k": "z"}, [{"k": ["x"]}], "value_error:dict_value"),
        ("box", {"k": "x", "m": 1}, [{"k": ["x"]}], "value_error:dict_key"),
        ("box", {"k": "z"}, [{"k": ["x"], "n": [1]}], "value_error:dict_key"),  # a missing key outweighs the value
        ("boxes", [{"k": 1}, {"k": 2}], [[{"k": [1]}, {"k": [2]}]], None),
        ("boxes", [{"k": 2}, {"k": 1}], [[{"k": [1]}, {"k": [2]}]], "value_error:dict_value"),
        ("boxes", [{"k": 1}], [[{"k": [1]}, {"k": [2]}]], "value_error:list_dict_count"),
        ("boxes", ["x"], [[{"k": [1]}], ""], CRASH),
        ("any", "x", ["x"], None),
        ("any", 5, [5], None),
        ("flag", False, [False, ""], None),
        ("flag", 0, [False], "type_error:simple"),
    ],
)
def test_values(name, value, allowed, error):
    assert value_error(name, value, *allowed) == error


def test_names_of_parameters():
    assert error_of({}, {}) == "simple_function_checker:missing_required"
    assert error_of({"text": "a", "other": 1}, {}) == "simple_function_checker:unexpected_param"
    assert error_of({"text": "a", "count": 1}, {}) == "simple_function_checker:unexpected_param"
    assert error_of({"text": "a"}, {"count": [1]}) == "simple_function_checker:missing_optional"
    assert error_of({"text": "a"}, {"count": [1, ""]}) is None
    # values are looked at before what is left out
    assert error_of({"text": "b"}, {"count": [1]}) == "value_error:string"


def test_counts_and_names_of_tools():
    right = [{"look.at": {"text": ["a"]}}]
    call = {"look.at": {"text": "a"}}
    for count in (CallCount.SIMPLE, CallCount.MULTIPLE):
        assert check_answer([call], [LOOK, DROP], right, count) is None
        assert (
            check_answer([call, call], [LOOK, DROP], right, count).error_type == f"{count}_function_checker:wrong_count"
        )
        wrong = check_answer([{"drop": {}}], [LOOK, DROP], right, count)
        assert wrong.error_type == "simple_function_checker:wrong_func_name"
    underscored = [{"look_at": {"text": "a"}}]
    assert check_answer(underscored, [LOOK], right, CallCount.SIMPLE, underscore_to_dot=True) is None


def test_parallel_calls_match_in_any_order():
    right = [{"look.at": {"text": ["a"]}}, {"look.at": {"text": ["b"]}}, {"drop": {}}]
    calls = [{"drop": {}}, {"look.at": {"text": "b"}}, {"look.at": {"text": "a"}}]

    def error(calls):
        fault = check_answer(calls, [LOOK, DROP], right, CallCount.PARALLEL)
        return fault and fault.error_type

    assert error(calls) is None
    assert error(calls[1:]) == "parallel_function_checker_no_order:wrong_count"
    assert error([calls[0], *calls[:2]]) == "parallel_function_checker_no_order:cannot_find_match"


def test_the_category_says_how_many_calls():
    assert count_of("live_parallel_multiple") is CallCount.PARALLEL
    assert count_of("live_multiple") is CallCount.MULTIPLE
    assert count_of("simple_python") is CallCount.SIMPLE
