"""Files, contacts, database, numbers and units: what their tools answer, refuse and leave alone."""

import json
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tltrain.envs.sandbox.contacts import Contacts
from tltrain.envs.sandbox.database import Database
from tltrain.envs.sandbox.environment import Sandbox
from tltrain.envs.sandbox.files import Files
from tltrain.envs.sandbox.numbers import Numbers
from tltrain.envs.sandbox.rounding import short_number
from tltrain.envs.sandbox.units import Units
from tltrain.envs.toolkit import ToolFault, Toolkit
from tltrain.taxonomy import FeedbackKind
from tltrain.types import Json, ToolCall

KITS = (Files, Contacts, Database, Numbers, Units)
REFUSED, VALUE = FeedbackKind.REFUSED, FeedbackKind.TYPE_OR_VALUE


def files() -> Files:
    kit = Files(0)
    kit.folders = ["/home", "/office", "/empty"]
    kit.files = {
        "/home/todo.txt": "Buy paint.",
        "/home/Todo-old.txt": "Sell boat.",
        "/office/law.txt": "Keep out of paint.",
    }
    kit.read_only = ["/office/law.txt"]
    return kit


def contacts() -> Contacts:
    kit = Contacts(0)
    kit.contacts = {
        "c1": {"name": "Ana Silva", "phone": "+4911111111", "city": "Porto"},
        "c2": {"name": "Emil Silva", "phone": "+4922222222", "city": "Graz"},
        "c3": {"name": "Chen Novak", "phone": "+4933333333", "city": "Porto"},
    }
    kit.blocked = ["c3"]
    kit.received = [
        {"contact_id": "c1", "day": "2025-03-03", "text": "The boiler is fixed."},
        {"contact_id": "c2", "day": "2025-03-04", "text": "A boiler? Really?"},
        {"contact_id": "c1", "day": "2025-03-05", "text": "Yes."},
    ]
    return kit


def database() -> Database:
    kit = Database(0)
    kit.tables = {
        "employees": [
            {"id": 11, "name": "Mara Voss", "team": "sales", "salary": 3000},
            {"id": 12, "name": "Rui Costa", "team": "design", "salary": 3500},
            {"id": 15, "name": "Nina Kowal", "team": "sales", "salary": 3600},
        ],
        "orders": [
            {"id": 41, "customer": "Elm School", "item": "desk", "quantity": 4, "status": "open", "employee_id": 12},
            {"id": 44, "customer": "Dune Bikes", "item": "lamp", "quantity": 9, "status": "paid", "employee_id": 11},
        ],
        "reports": [{"id": 1, "name": "payroll", "sql": "SELECT SUM(salary) FROM employees"}],
    }
    return kit


def numbers() -> Numbers:
    kit = Numbers(0)
    kit.series = {"a": [2, 4, 4, 4, 5, 5, 7, 9], "b": [1, 2, 3], "c": [6, 4, 2], "flat": [3, 3, 3], "one": [8]}
    return kit


def units() -> Units:
    kit = Units(0)
    kit.per_euro = {"USD": 1.25, "GBP": 0.8, "JPY": 160.0}
    kit.suspended = ["JPY"]
    return kit


MAKE: dict[type[Toolkit], Callable[[], Toolkit]] = {
    Files: files, Contacts: contacts, Database: database, Numbers: numbers, Units: units,
}  # fmt: skip
ORDER = {"customer": "Ivy Clinic", "item": "rug", "quantity": 2, "status": "open", "employee_id": 12}

ANSWERS: list[tuple[type[Toolkit], str, dict[str, Json], Json]] = [
    (Files, "find_files_by_name", {"name": "TODO"}, ["/home/Todo-old.txt", "/home/todo.txt"]),
    (Files, "find_files_by_name", {"name": "home"}, []),  # a folder is no part of the name
    (Files, "find_files_by_text", {"text": "paint"}, ["/home/todo.txt", "/office/law.txt"]),
    (Files, "find_files_in_folder", {"folder": "/office"}, ["/office/law.txt"]),
    (Files, "find_files_in_folder", {"folder": "/empty"}, []),
    (Files, "read_file", {"path": "/office/law.txt"}, "Keep out of paint."),
    (Contacts, "get_contact", {"contact_id": "c2"}, {"name": "Emil Silva", "phone": "+4922222222", "city": "Graz"}),
    (Contacts, "find_contacts_by_name", {"name": "ana"}, [{"contact_id": "c1", "name": "Ana Silva", "city": "Porto"}]),
    (
        Contacts,
        "find_contacts_by_city",
        {"city": "porto"},
        [{"contact_id": "c1", "name": "Ana Silva"}, {"contact_id": "c3", "name": "Chen Novak"}],
    ),
    (Contacts, "find_contacts_by_city", {"city": "Por"}, []),
    (
        Contacts,
        "get_messages_from",
        {"contact_id": "c1"},
        [{"day": "2025-03-05", "text": "Yes."}, {"day": "2025-03-03", "text": "The boiler is fixed."}],
    ),
    (Contacts, "get_messages_from", {"contact_id": "c1", "limit": 1}, [{"day": "2025-03-05", "text": "Yes."}]),
    (Contacts, "get_messages_about", {"word": "really"}, [{"contact_id": "c2", "text": "A boiler? Really?"}]),
    (Database, "list_tables", {}, ["employees", "orders", "reports"]),
    (Database, "describe_table", {"table": "reports"}, {"id": "integer", "name": "text", "sql": "text"}),
    (
        Database,
        "get_row_by_id",
        {"table": "employees", "row_id": 12},
        {"id": 12, "name": "Rui Costa", "team": "design", "salary": 3500},
    ),
    (Database, "get_rows_by_value", {"table": "employees", "column": "salary", "value": 1}, []),
    (Database, "run_query", {"sql": "SELECT AVG(salary) FROM employees"}, [[3366.6667]]),  # 10100 / 3
    (
        Database,
        "run_query",
        {"sql": "select team, count(*) from employees group by team order by 1"},
        [["design", 1], ["sales", 2]],
    ),
    (
        Database,
        "run_query",
        {"sql": "SELECT o.customer FROM orders o JOIN employees e ON e.id = o.employee_id WHERE e.team = 'design'"},
        [["Elm School"]],
    ),
    (Database, "run_query", {"sql": "SELECT NULL"}, [[None]]),
    (Database, "insert_row", {"table": "orders", "values": ORDER}, {"id": 45}),
    # Mean 40 / 8 = 5; squares 9 1 1 1 0 0 4 16 sum to 32: 32 / 8 = 2 squared, 32 / 7 = 2.13809 squared.
    (Numbers, "compute_mean", {"series": "a"}, 5),
    (Numbers, "compute_median", {"series": "a"}, 4.5),
    (Numbers, "compute_standard_deviation", {"series": "a"}, 2),
    (Numbers, "compute_standard_deviation", {"series": "a", "sample": True}, 2.138),
    (Numbers, "compute_standard_deviation", {"series": "one"}, 0),
    (Numbers, "compute_correlation", {"first": "b", "second": "c"}, -1),
    (Numbers, "compute_determinant", {"matrix": [[2, 1], [4, 3]]}, 2),
    (Numbers, "compute_determinant", {"matrix": [[1, 2], [2, 4]]}, 0),
    (Numbers, "solve_linear_system", {"matrix": [[2, 3], [1, -1]], "right_side": [8, -1]}, [1, 2]),
    (Units, "convert_length", {"value": 2, "from_unit": "mile", "to_unit": "kilometer"}, 3.219),  # 3218.688 m
    (Units, "convert_length", {"value": 6, "from_unit": "foot", "to_unit": "inch"}, 72),
    (Units, "convert_mass", {"value": 1, "from_unit": "pound", "to_unit": "ounce"}, 16),
    (Units, "convert_mass", {"value": 1.5, "from_unit": "kilogram", "to_unit": "gram"}, 1500),
    (
        Units,
        "convert_temperature",
        {"value": 451, "from_unit": "fahrenheit", "to_unit": "celsius"},
        232.78,
    ),  # 419 * 5/9
    (Units, "convert_temperature", {"value": 0, "from_unit": "kelvin", "to_unit": "fahrenheit"}, -459.67),
    (Units, "convert_currency", {"amount": 10, "from_currency": "USD", "to_currency": "GBP"}, 6.4),  # 10 / 1.25 * 0.8
    (Units, "convert_currency", {"amount": 12_500, "from_currency": "USD", "to_currency": "EUR"}, 10_000),
    (Units, "convert_currency", {"amount": 10, "from_currency": "EUR", "to_currency": "USD"}, 12.5),
    (Units, "get_exchange_rate", {"from_currency": "JPY", "to_currency": "EUR"}, 0.0063),  # 0.00625, suspended or not
    (Units, "list_currencies", {}, ["EUR", "GBP", "JPY", "USD"]),
]

REFUSALS: list[tuple[type[Toolkit], FeedbackKind, str, dict[str, Json]]] = [
    (Files, REFUSED, "find_files_in_folder", {"folder": "/nowhere"}),
    (Files, REFUSED, "read_file", {"path": "/home/law.txt"}),
    (Files, VALUE, "read_file", {"path": "todo.txt"}),
    (Files, VALUE, "read_file", {"path": "/home/../home/todo.txt"}),
    (Files, REFUSED, "write_file", {"path": "/home/todo.txt", "text": "x", "mode": "create"}),
    (Files, REFUSED, "write_file", {"path": "/nowhere/todo.txt", "text": "x", "mode": "create"}),
    (Files, REFUSED, "write_file", {"path": "/home/new.txt", "text": "x", "mode": "replace"}),
    (Files, REFUSED, "write_file", {"path": "/home/new.txt", "text": "x", "mode": "append"}),
    (Files, REFUSED, "write_file", {"path": "/home/new.txt", "text": "x" * 121, "mode": "create"}),
    (Files, REFUSED, "write_file", {"path": "/home/todo.txt", "text": "x" * 110, "mode": "append"}),  # 10 + 1 + 110
    (Files, REFUSED, "write_file", {"path": "/office/law.txt", "text": "x", "mode": "append"}),
    (Files, VALUE, "write_file", {"path": "/home/new.txt", "text": "x", "mode": "w"}),
    (Files, REFUSED, "move_file", {"path": "/office/law.txt", "folder": "/home"}),
    (Files, REFUSED, "move_file", {"path": "/home/todo.txt", "folder": "/nowhere"}),
    (Files, REFUSED, "move_file", {"path": "/home/todo.txt", "folder": "/home", "new_name": "Todo-old.txt"}),
    (Files, REFUSED, "move_file", {"path": "/home/todo.txt", "folder": "/home"}),
    (Files, VALUE, "move_file", {"path": "/home/todo.txt", "folder": "/office", "new_name": "../x.txt"}),
    (Files, REFUSED, "delete_file", {"path": "/office/law.txt"}),
    (Files, REFUSED, "delete_file", {"path": "/office/todo.txt"}),
    (Contacts, REFUSED, "get_contact", {"contact_id": "Ana Silva"}),
    (Contacts, REFUSED, "add_contact", {"name": "Ana Two", "phone": "+4911111111"}),
    (Contacts, VALUE, "add_contact", {"name": "Ana Two", "phone": "04911111111"}),
    (Contacts, VALUE, "add_contact", {"name": " ", "phone": "+4912345678"}),
    (Contacts, REFUSED, "send_message", {"contact_id": "c3", "text": "Hello"}),
    (Contacts, REFUSED, "send_message", {"contact_id": "c9", "text": "Hello"}),
    (Contacts, REFUSED, "send_message", {"contact_id": "c1", "text": "x" * 101}),
    (Contacts, REFUSED, "send_message", {"contact_id": "c1", "text": ""}),
    (Contacts, VALUE, "send_message", {"contact_id": "c1", "text": "Hello", "urgent": "yes"}),
    (Contacts, REFUSED, "get_messages_from", {"contact_id": "c9"}),
    (Contacts, VALUE, "get_messages_from", {"contact_id": "c1", "limit": 0}),
    (Database, REFUSED, "describe_table", {"table": "clients"}),
    (Database, REFUSED, "get_row_by_id", {"table": "orders", "row_id": 12}),
    (Database, VALUE, "get_rows_by_value", {"table": "orders", "column": "price", "value": 3}),
    (Database, REFUSED, "insert_row", {"table": "orders", "values": ORDER | {"id": 7}}),
    (Database, REFUSED, "insert_row", {"table": "orders", "values": ORDER | {"employee_id": 41}}),
    (Database, REFUSED, "insert_row", {"table": "reports", "values": {"name": "x", "sql": "SELECT 1"}}),
    (Database, VALUE, "insert_row", {"table": "orders", "values": ORDER | {"status": "lost"}}),
    (Database, VALUE, "insert_row", {"table": "orders", "values": ORDER | {"price": 3}}),
    (Database, VALUE, "insert_row", {"table": "orders", "values": ORDER | {"quantity": True}}),
    (Database, VALUE, "insert_row", {"table": "orders", "values": {"customer": "Ivy Clinic"}}),
    (Database, VALUE, "update_row", {"table": "orders", "row_id": 41, "column": "quantity", "value": 0}),
    (Database, VALUE, "update_row", {"table": "orders", "row_id": 41, "column": "customer", "value": "\ud800"}),
    (Database, VALUE, "update_row", {"table": "orders", "row_id": 41, "column": "quantity", "value": 2**70}),
    (Database, REFUSED, "update_row", {"table": "orders", "row_id": 41, "column": "id", "value": 5}),
    (Database, REFUSED, "update_row", {"table": "orders", "row_id": 41, "column": "employee_id", "value": 13}),
    (Database, REFUSED, "update_row", {"table": "orders", "row_id": 44, "column": "status", "value": "open"}),
    (Database, REFUSED, "update_row", {"table": "reports", "row_id": 1, "column": "name", "value": "x"}),
    (Database, REFUSED, "run_query", {"sql": "SELECT 1 FROM orders a, orders b, orders c"}),  # 8 rows
    (Numbers, REFUSED, "store_series", {"series": "a", "values": [1, 2]}),
    (Numbers, VALUE, "store_series", {"series": "new", "values": []}),
    (Numbers, VALUE, "store_series", {"series": "new", "values": [1] * 9}),
    (Numbers, VALUE, "store_series", {"series": "new", "values": [float("nan")]}),
    (Numbers, VALUE, "store_series", {"series": "new", "values": [1, "2"]}),
    (Numbers, REFUSED, "compute_mean", {"series": "new"}),
    (Numbers, REFUSED, "compute_median", {"series": "new"}),
    (Numbers, REFUSED, "compute_standard_deviation", {"series": "one", "sample": True}),
    (Numbers, REFUSED, "compute_correlation", {"first": "a", "second": "b"}),
    (Numbers, REFUSED, "compute_correlation", {"first": "b", "second": "flat"}),
    (Numbers, VALUE, "compute_determinant", {"matrix": [[1, 2]]}),
    (Numbers, VALUE, "compute_determinant", {"matrix": []}),
    (Numbers, REFUSED, "solve_linear_system", {"matrix": [[1, 2], [2, 4]], "right_side": [1, 2]}),
    (Numbers, VALUE, "solve_linear_system", {"matrix": [[1, 2], [3, 4]], "right_side": [1]}),
    (Units, REFUSED, "convert_length", {"value": 1, "from_unit": "mile", "to_unit": "mile"}),
    (Units, VALUE, "convert_length", {"value": 1, "from_unit": "yard", "to_unit": "mile"}),
    (Units, VALUE, "convert_mass", {"value": -1, "from_unit": "gram", "to_unit": "pound"}),
    (Units, VALUE, "convert_temperature", {"value": -300, "from_unit": "celsius", "to_unit": "kelvin"}),
    (Units, VALUE, "convert_temperature", {"value": -460, "from_unit": "fahrenheit", "to_unit": "kelvin"}),
    (Units, REFUSED, "convert_currency", {"amount": 5, "from_currency": "EUR", "to_currency": "JPY"}),
    (Units, REFUSED, "convert_currency", {"amount": 5, "from_currency": "EUR", "to_currency": "CHF"}),
    (Units, VALUE, "convert_currency", {"amount": 12_501, "from_currency": "USD", "to_currency": "EUR"}),  # 10000.8 EUR
    (Units, VALUE, "convert_currency", {"amount": 0, "from_currency": "EUR", "to_currency": "USD"}),
    (Units, REFUSED, "get_exchange_rate", {"from_currency": "EUR", "to_currency": "usd"}),
    (Units, REFUSED, "get_exchange_rate", {"from_currency": "USD", "to_currency": "USD"}),
    (Units, REFUSED, "set_exchange_rate", {"currency": "EUR", "per_euro": 1.0}),
    (Units, REFUSED, "set_exchange_rate", {"currency": "CHF", "per_euro": 1.0}),
    (Units, REFUSED, "set_exchange_rate", {"currency": "USD", "per_euro": 1.6}),  # 28% up
    (Units, VALUE, "set_exchange_rate", {"currency": "USD", "per_euro": 0}),
]

FORBIDDEN_SQL = [
    "",
    "DELETE FROM orders",
    "UPDATE orders SET quantity = 1",
    "WITH t AS (SELECT 1) DELETE FROM orders",
    "SELECT 1; SELECT 2",
    "PRAGMA table_list",
    "SELECT * FROM pragma_table_info('orders')",
    "ATTACH 'other' AS other",
    "EXPLAIN SELECT 1",
    "SELECT random()",
    "SELECT CURRENT_TIMESTAMP",
    "SELECT load_extension('x')",
    "SELECT price FROM orders",
    "SELECT * FROM clients",
    "SELECT x'00'",
    "SELECT 9e999",
    "SELECT ?",
    "SELECT '\x00'",
    "SELECT '\ud800'",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
    "SELECT COUNT(*) FROM " + ", ".join(f"employees e{number}" for number in range(12)),  # 3 ** 12 rows
]


@pytest.mark.parametrize(("kit", "name", "arguments", "expected"), ANSWERS)
def test_answer(kit, name, arguments, expected):
    answer = MAKE[kit]().call(name, arguments)
    assert answer == expected
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


@pytest.mark.parametrize(("kit", "kind", "name", "arguments"), REFUSALS)
def test_refusal_leaves_the_state_alone(kit, kind, name, arguments):
    assert_refused(MAKE[kit](), kind, name, arguments)


@pytest.mark.parametrize("sql", FORBIDDEN_SQL)
def test_query_that_does_more_than_read_is_refused(sql):
    assert_refused(database(), VALUE, "run_query", {"sql": sql})


def assert_refused(kit: Toolkit, kind: FeedbackKind, name: str, arguments: Mapping[str, Json]) -> None:
    before = kit.snapshot()
    with pytest.raises(ToolFault) as caught:
        kit.call(name, arguments)
    assert caught.value.kind is kind
    assert kit.snapshot() == before


def test_sixth_message_of_the_day_is_refused():
    kit = contacts()
    for _ in range(5):
        assert kit.call("send_message", {"contact_id": "c1", "text": "Hello"}) == "sent"
    assert_refused(kit, REFUSED, "send_message", {"contact_id": "c1", "text": "Hello"})


def test_files_change_as_told():
    kit = files()
    assert kit.call("write_file", {"path": "/home/todo.txt", "text": "Go.", "mode": "append"})["characters"] == 14
    assert kit.call("move_file", {"path": "/home/todo.txt", "folder": "/empty", "new_name": "a.txt"}) == {
        "path": "/empty/a.txt"
    }
    assert kit.call("write_file", {"path": "/empty/b.txt", "text": "New.", "mode": "create"})["characters"] == 4
    assert kit.call("write_file", {"path": "/home/Todo-old.txt", "text": "B.", "mode": "replace"})["characters"] == 2
    assert kit.call("delete_file", {"path": "/empty/b.txt"}) == "deleted"
    assert kit.files == {
        "/office/law.txt": "Keep out of paint.",
        "/empty/a.txt": "Buy paint. Go.",
        "/home/Todo-old.txt": "B.",
    }


def test_contacts_change_as_told():
    kit = contacts()
    added = kit.call("add_contact", {"name": "Ivo Moreau", "phone": "+4944444444", "city": "Lyon"})
    assert kit.call("get_contact", added) == {"name": "Ivo Moreau", "phone": "+4944444444", "city": "Lyon"}
    kit.call("send_message", {"contact_id": added["contact_id"], "text": "Hi", "urgent": True})
    assert kit.sent == [{"contact_id": added["contact_id"], "text": "Hi", "urgent": True}]


def test_database_changes_as_told():
    kit = database()
    key = kit.call("insert_row", {"table": "orders", "values": ORDER})["id"]
    kit.call("update_row", {"table": "orders", "row_id": key, "column": "quantity", "value": 7})
    assert kit.call("run_query", {"sql": "SELECT * FROM orders WHERE item = 'rug'"}) == [
        [45, "Ivy Clinic", "rug", 7, "open", 12]
    ]


def test_series_is_overwritten_only_on_demand():
    kit = numbers()
    kit.call("store_series", {"series": "b", "values": [10, 20.5], "overwrite": True})
    assert kit.call("compute_mean", {"series": "b"}) == 15.25


def test_new_rate_decides_the_next_conversion():
    kit = units()
    kit.call("set_exchange_rate", {"currency": "USD", "per_euro": 1.5})  # 20% up
    assert kit.call("convert_currency", {"amount": 3, "from_currency": "USD", "to_currency": "EUR"}) == 2


@pytest.mark.parametrize(("value", "digits", "expected"), [(2.0, 3, 2), (-0.00001, 3, 0), (0.12345, 4, 0.1235)])
def test_short_number(value, digits, expected):
    answer = short_number(value, digits)
    assert answer == expected
    assert "-0" not in json.dumps(answer)


@pytest.mark.parametrize("kit", KITS)
def test_state_comes_from_the_seed_alone(kit):
    assert kit(5).snapshot() == kit(5).snapshot()
    assert len({json.dumps(kit(seed).snapshot(), allow_nan=False) for seed in range(30)}) == 30


@pytest.mark.parametrize("kit", KITS)
def test_snapshot_is_a_copy(kit):
    made = kit(1)
    before = json.dumps(made.snapshot())
    state = made.snapshot()
    for part in state.values():
        part.clear()
    assert json.dumps(made.snapshot()) == before


def test_first_names_identify_contacts():
    for seed in range(50):
        kit = Contacts(seed)
        for contact in kit.contacts.values():
            assert len(kit.call("find_contacts_by_name", {"name": contact["name"].split()[0]})) == 1


@pytest.mark.parametrize("kit", KITS)
def test_documents_are_short_and_siblings_share_a_prefix(kit):
    tools = kit.tools()
    assert 5 <= len(tools) <= 7
    names = [tool.name for tool in tools]
    stems = [name.split("_")[0] for name in names]
    assert max(stems.count(stem) for stem in stems) >= 2
    for tool in tools:
        assert 1 <= len(tool.description.split()) <= 10
        assert len(tool.properties) <= 4


def test_tool_names_are_unique():
    names = [tool.name for kit in KITS for tool in kit.tools()]
    assert len(names) == len(set(names))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["c1", "/home/todo.txt", "/home", "orders", "id", "status", "USD", "EUR", "mile", "create", "a", 41]
    ),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=4), parts, max_size=2),
    max_leaves=5,
)


@pytest.mark.parametrize("kit", KITS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_arguments_are_answered_or_refused(kit, data):
    made = MAKE[kit]()
    tool = data.draw(st.sampled_from(kit.tools()))
    arguments = {name: data.draw(VALUES) for name in tool.properties}
    before = made.snapshot()
    feedback = Sandbox([made]).execute(ToolCall(name=tool.name, arguments=arguments))
    assert feedback.error in (None, REFUSED, VALUE)
    if feedback.error:
        assert made.snapshot() == before
    json.dumps([feedback.value, made.snapshot()], allow_nan=False)
