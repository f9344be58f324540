"""A small company database, read with SQL and changed row by row."""

import math
import re
import sqlite3
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from tltrain.envs.sandbox.rounding import short_number
from tltrain.envs.toolkit import Toolkit, bad_value, refuse, tool

_Row: TypeAlias = dict[str, str | int]

_COLUMNS: dict[str, dict[str, str]] = {
    "employees": {"id": "integer", "name": "text", "team": "text", "salary": "integer"},
    "orders": {
        "id": "integer",
        "customer": "text",
        "item": "text",
        "quantity": "integer",
        "status": "text",
        "employee_id": "integer",
    },
    "reports": {"id": "integer", "name": "text", "sql": "text"},
}
_STATUSES = ("open", "sent", "paid")
_NAMES = ("Mara Voss", "Luca Bianchi", "Nina Kowal", "Omar Aziz", "Petra Lund", "Rui Costa", "Sofia Marin")
_TEAMS = ("sales", "support", "design", "finance")
_CUSTOMERS = ("Alder Cafe", "Birch Books", "Cedar Hotel", "Dune Bikes", "Elm School", "Fjord Tours", "Grove Market")
_ITEMS = ("lamp", "desk", "chair", "shelf", "mirror", "carpet")
_REPORTS = {
    "open orders": "SELECT COUNT(*) FROM orders WHERE status = 'open'",
    "payroll": "SELECT SUM(salary) FROM employees",
    "top salary": "SELECT name FROM employees ORDER BY salary DESC LIMIT 1",
    "units ordered": "SELECT SUM(quantity) FROM orders",
}
_MAX_ROWS = 6
_MAX_TEXT = 60
_MAX_STEPS = 20_000
_MAX_SQL = 2_000
_FUNCTIONS = frozenset({
    "abs", "avg", "coalesce", "count", "group_concat", "ifnull", "length", "like", "lower", "max", "min", "nullif",
    "round", "substr", "sum", "total", "upper",
})  # fmt: skip
_READS = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ)


class Database(Toolkit):
    """Employees, the orders they handle, and saved reports (names of queries).

    Of five orders the first two are open and belong to one employee, the others to one each; the last one is paid.
    """

    name = "database"

    def __init__(self, seed: int):
        super().__init__(seed)
        employees = self.rng.sample(range(11, 40), 4)
        salaries = self.rng.sample(range(24, 52), 4)
        handlers = self.rng.sample(employees, 4)
        teams = self.rng.sample(_TEAMS * 2, 4)
        reports = self.rng.sample(list(_REPORTS), 3)
        self.tables: dict[str, list[_Row]] = {
            "employees": [
                {"id": key, "name": name, "team": team, "salary": salary * 100}
                for key, name, team, salary in zip(employees, self.rng.sample(_NAMES, 4), teams, salaries, strict=True)
            ],
            "orders": [
                {
                    "id": key,
                    "customer": customer,
                    "item": self.rng.choice(_ITEMS),
                    "quantity": self.rng.randint(2, 20),
                    "status": status,
                    "employee_id": handler,
                }
                for key, customer, status, handler in zip(
                    self.rng.sample(range(41, 99), 5),
                    self.rng.sample(_CUSTOMERS, 5),
                    ("open", "open", "open", "sent", "paid"),
                    (handlers[0], *handlers),
                    strict=True,
                )
            ],
            "reports": [{"id": key, "name": name, "sql": _REPORTS[name]} for key, name in enumerate(reports, start=1)],
        }

    @tool
    def list_tables(self) -> list[str]:
        """Names of all tables."""
        return list(self.tables)

    @tool
    def describe_table(self, table: str) -> dict[str, str]:
        """Columns of a table with their types."""
        self._check_table(table)
        return dict(_COLUMNS[table])

    @tool
    def get_row_by_id(self, table: str, row_id: int) -> _Row:
        """Get one row of a table by its id."""
        return dict(self._row(table, row_id))

    @tool
    def get_rows_by_value(self, table: str, column: str, value: str | int) -> list[_Row]:
        """Get the rows whose column equals a value."""
        self._check_table(table)
        _check_column(table, column)
        return [dict(row) for row in self.tables[table] if row[column] == value]

    @tool
    def run_query(self, sql: Annotated[str, "one SELECT statement"]) -> list[list[Any]]:
        """Run a given SQL query; it can only read."""
        rows = _select(self.tables, sql)
        if len(rows) > _MAX_ROWS:
            raise refuse(f"the query returns more than {_MAX_ROWS} rows; add a LIMIT")
        return rows

    @tool
    def insert_row(
        self, table: str, values: Annotated[dict[str, Any], "column to value, without id"]
    ) -> dict[str, int]:
        """Add a row; its id is assigned."""
        self._check_changeable(table)
        for column in values:
            _check_column(table, column)
        for column in _COLUMNS[table]:
            if column == "id" and column in values:
                raise refuse("column id is assigned by the database")
            if column != "id" and column not in values:
                raise bad_value(f"values must give column {column!r} of {table}")
        for column, value in values.items():
            self._check_value(table, column, value)
        key = 1 + max(int(row["id"]) for row in self.tables[table])
        self.tables[table].append(
            {"id": key} | {column: values[column] for column in _COLUMNS[table] if column != "id"}
        )
        return {"id": key}

    @tool
    def update_row(self, table: str, row_id: int, column: str, value: str | int) -> str:
        """Change one column of one row."""
        self._check_changeable(table)
        row = self._row(table, row_id)
        _check_column(table, column)
        if column == "id":
            raise refuse("column id cannot be changed")
        if row.get("status") == "paid":
            raise refuse(f"order {row_id} is paid; paid orders are closed")
        self._check_value(table, column, value)
        row[column] = value
        return "updated"

    def _row(self, table: str, row_id: int) -> _Row:
        self._check_table(table)
        for row in self.tables[table]:
            if row["id"] == row_id:
                return row
        raise refuse(f"no row {row_id} in {table}")

    def _check_table(self, table: str) -> None:
        if table not in self.tables:
            raise refuse(f"no table {table!r}; there are {', '.join(self.tables)}")

    def _check_changeable(self, table: str) -> None:
        self._check_table(table)
        if table == "reports":
            raise refuse("table reports can only be read")

    def _check_value(self, table: str, column: str, value: object) -> None:
        if _COLUMNS[table][column] == "text":
            if not isinstance(value, str) or not 1 <= len(value) <= _MAX_TEXT or not value.isprintable():
                raise bad_value(f"{column} must be a printable text of 1 to {_MAX_TEXT} characters, got {value!r}")
        elif not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10**6:
            raise bad_value(f"{column} must be an integer from 1 to 1000000, got {value!r}")
        if column == "status" and value not in _STATUSES:
            raise bad_value(f"status must be one of {', '.join(_STATUSES)}, got {value!r}")
        if column == "employee_id" and all(row["id"] != value for row in self.tables["employees"]):
            raise refuse(f"no row {value} in employees")


def _check_column(table: str, column: str) -> None:
    if column not in _COLUMNS[table]:
        raise bad_value(f"{table} has no column {column!r}; it has {', '.join(_COLUMNS[table])}")


def _select(tables: Mapping[str, list[_Row]], sql: str) -> list[list[Any]]:
    """At most `_MAX_ROWS` + 1 rows of a query that runs on an in-memory copy of the tables.

    The authorizer lets it read, and call functions whose result depends on their arguments alone; the limits on steps
    and lengths end queries that would run away.
    """
    if not re.match(r"\s*(SELECT|WITH)\b", sql, re.IGNORECASE):  # EXPLAIN passes the authorizer
        raise bad_value(f"sql must start with SELECT or WITH, got {sql[:20]!r}")
    connection = sqlite3.connect(":memory:")
    try:
        for table, columns in _COLUMNS.items():
            connection.execute(
                f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
            )
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", [[*row.values()] for row in tables[table]])
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_SQL)
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _MAX_SQL)
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(lambda: 1, _MAX_STEPS)
        rows = connection.execute(sql).fetchmany(_MAX_ROWS + 1)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        raise bad_value(f"sql: {error}") from None
    finally:
        connection.close()
    return [[_json_value(value) for value in row] for row in rows]


def _authorize(action: int, _table: str | None, function: str | None, _database: str | None, _via: str | None) -> int:
    is_allowed = action in _READS or (action == sqlite3.SQLITE_FUNCTION and function in _FUNCTIONS)
    return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY


def _json_value(value: object) -> object:
    if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        raise bad_value("sql: the result must hold finite numbers and texts only")
    return short_number(value) if isinstance(value, float) else value
