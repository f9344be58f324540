"""What people ask of a database."""

import random
from typing import Any

from tltrain.envs.sandbox.database import Database
from tltrain.generate.templates import Plan, invoke, say, template
from tltrain.types import Json

_NEW_CUSTOMERS = ("Harbor Gym", "Ivy Clinic", "Juniper Bar", "Kiln Pottery", "Lark Studio")
_NEW_ITEMS = ("stool", "clock", "bench", "rug")
_NEW_TEAMS = ("logistics", "legal", "marketing", "research")


@template(Database)
def table_names(_kit: Database, rng: random.Random) -> Plan:
    yield say(
        rng,
        "Which tables does the database have?",
        "What tables are there?",
        "Give me an overview of the tables in the database.",
        "Name all tables, please.",
    )
    tables = yield invoke("list_tables")
    return f"{', '.join(tables)}."


@template(Database)
def columns_of_table(kit: Database, rng: random.Random) -> Plan:
    table = rng.choice(list(kit.tables))
    yield say(
        rng,
        "What columns does the table {table} have?",
        "How is the {table} table structured?",
        "Show me the schema of {table}.",
        "Columns of {table}?",
        table=table,
    )
    columns = yield invoke("describe_table", table=table)
    return f"{', '.join(columns)}."


@template(Database)
def order_by_id(kit: Database, rng: random.Random) -> Plan:
    row_id = rng.choice(kit.tables["orders"])["id"]
    yield say(
        rng,
        "What was ordered in row {row_id} of the orders table?",
        "Show me order {row_id} from the orders table.",
        "Pull up id {row_id} in orders.",
        "Which customer is behind row {row_id} of the table orders, and what do they want?",
        row_id=row_id,
    )
    row = yield invoke("get_row_by_id", table="orders", row_id=row_id)
    return f"{row['customer']}: {row['quantity']} x {row['item']}, {row['status']}."


@template(Database)
def employees_of_team(kit: Database, rng: random.Random) -> Plan:
    team = rng.choice(kit.tables["employees"])["team"]
    yield say(
        rng,
        "Which rows of employees have {team} as their team?",
        "Who works in the {team} team? See the team column of the table employees.",
        "List all employees whose team is {team}.",
        team=team,
    )
    rows = yield invoke("get_rows_by_value", table="employees", column="team", value=team)
    return f"{' and '.join(row['name'] for row in rows)}: {team}."


@template(Database)
def given_query(_kit: Database, rng: random.Random) -> Plan:
    sql = say(
        rng,
        "SELECT COUNT(*) FROM orders WHERE quantity > {number}",
        "SELECT name FROM employees WHERE salary > {salary}",
        "SELECT AVG(salary) FROM employees",
        "SELECT item, quantity FROM orders WHERE status = '{status}'",
        "SELECT customer FROM orders ORDER BY quantity DESC LIMIT 1",
        "SELECT MIN(salary), MAX(salary) FROM employees",
        number=rng.randint(3, 15),
        salary=rng.randint(25, 40) * 100,
        status=rng.choice(("open", "sent", "paid")),
    )
    yield say(
        rng,
        "Run this SQL: {sql}",
        "What does {sql} return?",
        "Execute the following on the database, please: {sql}",
        "{sql}",
        sql=sql,
    )
    rows = yield invoke("run_query", sql=sql)
    return f"Result: {_spell(rows)}."


@template(Database)
def add_order(kit: Database, rng: random.Random) -> Plan:
    customer, item, quantity = rng.choice(_NEW_CUSTOMERS), rng.choice(_NEW_ITEMS), rng.randint(2, 9)
    employee_id = rng.choice(kit.tables["employees"])["id"]
    yield say(
        rng,
        "Add a row to orders: customer {customer}, item {item}, quantity {quantity}, status open, "
        "employee_id {employee_id}.",
        "Please enter in orders: status open, employee_id {employee_id}, customer {customer}, item {item}, "
        "quantity {quantity}.",
        "The table orders needs a new row with quantity {quantity}, item {item}, customer {customer}, employee_id "
        "{employee_id} and status open.",
        customer=customer,
        item=item,
        quantity=quantity,
        employee_id=employee_id,
    )
    values: dict[str, Json] = {
        "customer": customer,
        "item": item,
        "quantity": quantity,
        "status": "open",
        "employee_id": employee_id,
    }
    inserted = yield invoke("insert_row", table="orders", values=values)
    return f"The order has id {inserted['id']}."


@template(Database)
def change_quantity(kit: Database, rng: random.Random) -> Plan:
    row = rng.choice([row for row in kit.tables["orders"] if row["status"] != "paid"])
    quantity = rng.randint(21, 40)
    yield say(
        rng,
        "Set the quantity of row {row_id} in orders to {quantity}.",
        "Order {row_id} in the orders table should have quantity {quantity}.",
        "The quantity in orders, id {row_id}, is wrong: make it {quantity}, please.",
        row_id=row["id"],
        quantity=quantity,
    )
    yield invoke("update_row", table="orders", row_id=row["id"], column="quantity", value=quantity)
    return f"Order {row['id']} now has quantity {quantity}."


@template(Database)
def handler_of_order(kit: Database, rng: random.Random) -> Plan:
    row_id = rng.choice(kit.tables["orders"])["id"]
    yield say(
        rng,
        "Who handles row {row_id} of the orders table? I need the name from employees.",
        "Look at id {row_id} in orders, then at its employee_id in employees: what is the name?",
        "Order {row_id} in orders has an employee_id. Tell me the name that goes with it in employees.",
        row_id=row_id,
    )
    order = yield invoke("get_row_by_id", table="orders", row_id=row_id)
    employee = yield invoke("get_row_by_id", table="employees", row_id=order["employee_id"])
    return f"{employee['name']} of {employee['team']} handles it."


@template(Database)
def saved_report(kit: Database, rng: random.Random) -> Plan:
    name = rng.choice(kit.tables["reports"])["name"]
    yield say(
        rng,
        'The table reports has a row with name "{name}". Fetch it and run its sql.',
        'Get the row named "{name}" from reports, then execute the query in it.',
        'What comes out of the saved query named "{name}" in the table reports?',
        name=name,
    )
    rows = yield invoke("get_rows_by_value", table="reports", column="name", value=name)
    result = yield invoke("run_query", sql=rows[0]["sql"])
    return f"{name}: {_spell(result)}."


@template(Database)
def change_team_by_name(kit: Database, rng: random.Random) -> Plan:
    name, team = rng.choice(kit.tables["employees"])["name"], rng.choice(_NEW_TEAMS)
    yield say(
        rng,
        "In employees, find the row with name {name} and change its team to {team}.",
        "Look up the name {name} in the table employees, then set the team to {team}.",
        "Employee {name} (column name) is in team {team} from now on; update the table employees.",
        name=name,
        team=team,
    )
    rows = yield invoke("get_rows_by_value", table="employees", column="name", value=name)
    yield invoke("update_row", table="employees", row_id=rows[0]["id"], column="team", value=team)
    return f"{name} is now in team {team}."


@template(Database)
def send_largest(_kit: Database, rng: random.Random) -> Plan:
    sql = "SELECT id FROM orders WHERE status = 'open' ORDER BY quantity DESC, id LIMIT 1"
    yield say(
        rng,
        "Run {sql} and set the status of that order to sent.",
        "{sql} gives me an order. Execute it, then change the status in orders to sent.",
        "First run the query {sql}; then mark the resulting row of orders with status sent.",
        sql=sql,
    )
    rows = yield invoke("run_query", sql=sql)
    row_id = rows[0][0]
    yield invoke("update_row", table="orders", row_id=row_id, column="status", value="sent")
    return f"Order {row_id} is marked as sent."


@template(Database)
def reassign_orders(kit: Database, rng: random.Random) -> Plan:
    handlers = [row["employee_id"] for row in kit.tables["orders"]]
    old = next(key for key in handlers if handlers.count(key) > 1)
    new = rng.choice([row["id"] for row in kit.tables["employees"] if row["id"] != old])
    yield say(
        rng,
        "Find all rows of orders with employee_id {old} and change their employee_id to {new}.",
        "Employee {old} is ill. Every row of orders with this employee_id should get employee_id {new}.",
        "In orders, employee_id {old} should become {new} in each row that has it.",
        old=old,
        new=new,
    )
    rows = yield invoke("get_rows_by_value", table="orders", column="employee_id", value=old)
    for row in rows:
        yield invoke("update_row", table="orders", row_id=row["id"], column="employee_id", value=new)
    return f"Orders {' and '.join(str(row['id']) for row in rows)} now belong to employee {new}."


@template(Database)
def send_order_of_employee(kit: Database, rng: random.Random) -> Plan:
    handlers = [row["employee_id"] for row in kit.tables["orders"] if row["status"] == "open"]
    key = rng.choice([key for key in handlers if handlers.count(key) == 1])
    name = next(row["name"] for row in kit.tables["employees"] if row["id"] == key)
    yield say(
        rng,
        "Find the name {name} in employees, then the row of orders with that employee_id, and set its status to sent.",
        "{name} has shipped something. Look up the name in employees, use the id as employee_id to find the row in "
        "orders, and set status sent.",
        "Search employees for name {name}, then orders for that employee_id, and give the order the status sent.",
        name=name,
    )
    employees = yield invoke("get_rows_by_value", table="employees", column="name", value=name)
    orders = yield invoke("get_rows_by_value", table="orders", column="employee_id", value=employees[0]["id"])
    yield invoke("update_row", table="orders", row_id=orders[0]["id"], column="status", value="sent")
    return f"Order {orders[0]['id']} of {name} is marked as sent."


def _spell(rows: list[list[Any]]) -> str:
    return "; ".join(" ".join(str(value) for value in row) for row in rows) or "no rows"
