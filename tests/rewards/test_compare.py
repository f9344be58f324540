import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltrain.config import check_config, load_config
from tltrain.errors import UsageError
from tltrain.rewards.compare import CompareConfig, check_parameters
from tltrain.rewards.values import read_date, read_quantity
from tltrain.rl.config import PpoConfig
from tltrain.types import Json, Tool


def same(given: Json, wanted: Json, **settings) -> bool:
    return CompareConfig(**settings).same_value("find", "day", given, wanted)


@pytest.mark.parametrize(
    ("settings", "first", "second"),
    [
        ({"text": "folded"}, "  New\u00a0York ", "new york"),
        ({"text": "folded"}, "STRASSE", "straße"),
        ({"text": "folded"}, "cafe\u0301", "CAFÉ"),
        ({"text": "ignored"}, "any text", "quite another"),
        ({"number_tolerance": 0.5}, 2.5, 3),
        ({"relative_tolerance": 0.01}, 101, 100),
        ({"dates": True}, "2025-03-14", "March 14th, 2025"),
        ({"dates": True}, "14 Mar 2025", "2025/3/14"),
        ({"dates": True}, "2025-03-14T15:00", "14 March 2025 at 3 pm"),
        ({"dates": True}, "2025-03-14T15:00:00+02:00", "2025-03-14T13:00:00+00:00"),
        ({"dates": True}, "3 pm", "15:00"),
        ({"dates": True}, "12:30 AM", "00:30"),
        ({"units": True}, "1.5 km", "1500 m"),
        ({"units": True}, "2 hours", "120min"),
        ({"units": True}, "1,000 g", "1 kilogram"),
        ({"units": True}, "212 °F", "100 celsius"),
        ({"units": True}, "50%", "50 percent"),
        ({"units": True, "relative_tolerance": 0.1}, "1 mile", "1.6 km"),
        ({"lists_as_sets": True}, ["b", "a", "a"], ["a", "b"]),
        ({"lists_as_sets": True}, [], []),
        ({"lists_as_sets": True, "text": "folded"}, ["B", "A"], ["a", "b"]),
        ({"text": "folded", "dates": True}, {"to": ["ANA", "1 May 2025"]}, {"to": ["ana", "2025-05-01"]}),
    ],
)
def test_values_that_an_option_makes_the_same(settings, first, second):
    assert same(first, second, **settings)
    assert not same(first, second) or first == second


@pytest.mark.parametrize(
    ("settings", "given", "wanted"),
    [
        ({"text": "folded"}, "newyork", "new york"),
        ({"text": "folded"}, 1, "1"),
        ({"text": "ignored"}, " ", "text"),
        ({"text": "ignored"}, 1, "text"),
        ({"text": "ignored"}, "text", ["text"]),
        ({"text": "ignored"}, {"a": "x", "b": "x"}, {"a": "x"}),
        ({"number_tolerance": 0.5}, 2.4, 3),
        ({"number_tolerance": 1}, True, 1),
        ({"number_tolerance": 1}, 10**400, 10**400 + 9),
        ({"relative_tolerance": 0.5}, "1", 1),
        ({"dates": True}, "03/04/2025", "04/03/2025"),
        ({"dates": True}, "2025-03-15", "14 March 2025"),
        ({"dates": True}, "2025-03-14", "2025-03-14T00:00"),
        ({"dates": True}, "2025-02-30", "2025-03-02"),
        ({"units": True}, "1 m", "1 M"),
        ({"units": True}, "1 kg", "1 km"),
        ({"units": True}, "1500", "1500 m"),
        ({"units": True}, "10 mm", "1 m"),
        ({"lists_as_sets": True}, ["a"], ["a", "b"]),
        ({"lists_as_sets": True}, ["a", "b", "c"], ["a", "b"]),
        ({"lists_as_sets": True}, [], ["a"]),
        ({"lists_as_sets": True}, "ab", ["a", "b"]),
        ({"lists_as_sets": True}, [True], [1]),
    ],
)
def test_values_that_stay_different(settings, given, wanted):
    assert not same(given, wanted, **settings)


def test_a_parameter_has_its_own_rule_and_the_rest_from_all():
    config = CompareConfig(text="folded", dates=True, parameters={"find.note": {"text": "ignored"}})
    assert config.same_value("find", "note", "x", "y")
    assert config.same_value("find", "note", "1 May 2025", "2025-05-01")
    assert not config.same_value("find", "day", "x", "y")
    assert not config.same_value("seek", "note", "x", "y")
    strict = CompareConfig(text="folded", parameters={"a.b.c": {"text": "exact"}})
    assert not strict.same_value("a.b", "c", "X", "x")
    assert strict.same_value("a.b", "d", "X", "x")


def test_settings_survive_being_written_down():
    config = CompareConfig(text="folded", parameters={"f.a": {"text": "exact", "number_tolerance": 0}})
    again = CompareConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert not again.same_value("f", "a", "X", "x")


@pytest.mark.parametrize(
    ("compare", "said"),
    [
        ({"txt": "folded"}, "compare.txt is not known; did you mean text?"),
        ({"text": "foldet"}, "did you mean folded?"),
        ({"number_tolerance": -1}, "greater than or equal to 0"),
        ({"parameters": {"day": {}}}, "'day' is no tool.parameter; write for example find_event.day"),
        (
            {"parameters": {"find.day": {"datse": True}}},
            "compare.parameters.find.day.datse is not known; did you mean dates",
        ),
    ],
)
def test_wrong_settings_are_explained(compare, said):
    with pytest.raises(UsageError) as failed:
        check_config(PpoConfig, {"compare": compare})
    assert said in str(failed.value)


def test_the_command_line_sets_one_parameter():
    config = load_config(PpoConfig, settings=['compare.parameters={"find.day": {dates: true}}', "compare.text=folded"])
    assert config.compare.same_value("find", "day", "1 May 2025", "2025-05-01")
    assert config.compare.same_value("find", "day", "X", "x")


def test_rules_for_parameters_that_no_tool_has_are_refused():
    tools = [Tool(name="find", parameters={"properties": {"day": {}}, "required": ["hour"]})]
    check_parameters(CompareConfig(parameters={"find.day": {}, "find.hour": {}}), tools)
    with pytest.raises(UsageError, match=r"'find.dya' is no parameter .* did you mean find.day"):
        check_parameters(CompareConfig(parameters={"find.dya": {}}), tools)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
SETTINGS = st.builds(
    CompareConfig,
    text=st.sampled_from(["exact", "folded", "ignored"]),
    number_tolerance=st.sampled_from([0.0, 0.5]),
    relative_tolerance=st.sampled_from([0.0, 0.1]),
    dates=st.booleans(),
    units=st.booleans(),
    lists_as_sets=st.booleans(),
)


@given(JSON, JSON, SETTINGS)
def test_a_value_is_as_good_as_itself_and_another_type_never_is(value: Json, other: Json, config: CompareConfig):
    assert config.same_value("f", "a", value, value)
    assert not config.same_value("f", "a", {"changed": value}, value)
    kinds = (bool, str, list, dict, type(None))
    if any(isinstance(value, kind) != isinstance(other, kind) for kind in kinds):
        assert not config.same_value("f", "a", other, value)


@given(st.text(max_size=70))
def test_no_text_breaks_the_readers(text: str):
    read_date(text)
    read_quantity(text)


@given(st.dates(), st.sampled_from(["{:%Y-%m-%d}", "{:%d %B %Y}", "{:%b %d, %Y}", "{:%Y/%m/%d}"]))
def test_days_are_read_in_every_way_of_writing(day, form):
    if day.year >= 1000:  # strftime does not pad all years
        assert read_date(form.format(day)) == day
