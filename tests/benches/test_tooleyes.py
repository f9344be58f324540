import json
from collections import Counter

import pytest
from policies import Script, TextPolicy, reply

from shared import data_file
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.policy import Stop
from tltrain.benches.rotbench import PromptStyle
from tltrain.benches.tool_answers import USER_REPLY
from tltrain.benches.tooleyes import QueryEnd, load_queries, rejudge_query, run_queries
from tltrain.errors import DataError
from tltrain.types import Role


def document(name, *parameters):
    properties = {key: {"type": "string", "description": ""} for key in parameters}
    return {
        "name": name,
        "description": "Does it.",
        "parameters": {"type": "object", "properties": properties, "required": list(parameters)},
    }


TOOLS = [document("look", "key"), document("ask_to_user", "question"), document("finish", "answer")]


@pytest.fixture
def folder(tmp_path):
    library = tmp_path / "tooleyes" / "Tool_Library" / "Look" / "Look" / "config_gpt4.json"
    library.parent.mkdir(parents=True)
    library.write_text(json.dumps(TOOLS))
    entry = {
        "id": "Turn 1: Look.",
        "conversations": [{"from": "system", "value": "Use the tools."}, {"from": "user", "value": "Look."}],
        "path": "ToolEyes/Tool_Library/Look/Look",
        "scenario": "TG",
    }
    path = tmp_path / "tooleyes" / "Test_Data" / "scenario_data_zero_processed.json"
    path.parent.mkdir()
    path.write_text(json.dumps([entry, entry]))
    return tmp_path


@pytest.fixture
def query(folder):
    first, second = load_queries(DataFolder(folder, allow_changed=True))
    assert (first.id, second.id) == ("TG/0", "TG/1")
    return first


def run(query, *texts, **options):
    (row,) = run_queries([query], Script(*texts), max_turns=4, **options)
    return row


def counts(row):
    return row.num_calls, row.num_malformed, row.num_undocumented, row.num_failed, row.num_without_call


def test_a_query_ends_with_finish(query):
    row = run(query, "look(key='a')", "finish(answer='It is there.')")
    assert (row.end, row.answer, row.valid_answer) == (QueryEnd.FINISH, "It is there.", True)
    assert counts(row) == (2, 0, 0, 0, 0)
    assert [message["role"] for message in row.messages] == ["system", "user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize("answer", ["finish(answer='I cannot handle the task.')", "finish(answer=' ')", "finish()"])
def test_answers_that_are_none(query, answer):
    row = run(query, answer)
    assert (row.end, row.valid_answer) == (QueryEnd.FINISH, False)
    assert row.num_undocumented == (answer == "finish()")


def test_errors_are_counted_and_the_work_goes_on(query):
    row = run(query, "find(key='a')\nlook(it='a')", "look(key=['a'])\nlook(key=", "I look.", "look(key='a')")
    assert (row.end, row.valid_answer) == (QueryEnd.MAX_TURNS, False)
    assert counts(row) == (5, 1, 2, 4, 1)
    told = [message["content"] for message in row.messages if message["role"] == "tool"]
    assert told[:2] == ["name 'find' is not defined", "look() got an unexpected keyword argument 'it'"]


def test_the_user_has_nothing_to_add(query):
    row = run(query, "ask_to_user(question='Where?')", "finish(answer='There.')")
    assert row.messages[3]["content"] == USER_REPLY
    assert counts(row) == (2, 0, 0, 0, 0)


def test_conversations_that_cannot_go_on(query):
    row = run(query, "look(key='a')", reply("", Stop.TOO_LONG))
    assert (row.end, row.valid_answer, row.stop) == (QueryEnd.CONTEXT_FULL, False, Stop.TOO_LONG)
    row = run(query, reply("", Stop.UNWRITABLE, note="no tools"))
    assert (row.end, row.valid_answer, row.note) == (QueryEnd.UNWRITABLE, None, "no tools")


def test_the_sets_own_prompt(query):
    policy = TextPolicy(lambda _: "Thought: so\nAction: look\nAction Input: {'key': 'a'}", syntax="react")
    (row,) = run_queries([query], policy, max_turns=2, style=PromptStyle.ORIGINAL)
    assert counts(row) == (2, 0, 0, 0, 0)
    ((request,), (later,)) = policy.asked
    assert (request.tools, request.messages[0].content) == ((), "Use the tools.")
    assert [message.role for message in later.messages[2:]] == [Role.ASSISTANT, Role.USER]


@pytest.mark.parametrize(
    "texts",
    [
        ["look(key='a')", "finish(answer='x')"],
        ["find(key='a')", "No.", reply("", Stop.TOO_LONG)],
        [reply("", Stop.UNWRITABLE, note="no tools")],
        ["look(key="],
    ],
)
def test_rows_are_judged_again_from_their_turns(query, texts):
    row = run(query, *texts)
    assert rejudge_query(row, query) == row


def test_entries_of_another_shape_are_named(folder):
    path = folder / "tooleyes" / "Test_Data" / "scenario_data_zero_processed.json"
    entries = json.loads(path.read_text())
    entries[1]["path"] = "ToolEyes/Tool_Library/None/None"
    path.write_text(json.dumps(entries))
    with pytest.raises(DataError, match=r"entry 1: KeyError.*it is no ToolEyes query"):
        load_queries(DataFolder(folder, allow_changed=True))


def test_the_published_set():
    queries = load_queries(DataFolder(data_file("tooleyes").parent))
    assert len(queries) == 382
    assert len({query.query for query in queries}) == 380
    assert Counter(query.scenario for query in queries) == {
        "PL": 70, "TG": 58, "RS": 56, "IR": 54, "FT": 50, "DU": 49, "AM": 45,
    }  # fmt: skip
    tools = {query.path: query.tools for query in queries}
    assert all([tool.name for tool in listed[-2:]] == ["ask_to_user", "finish"] for listed in tools.values())
    rows = run_queries(queries, Script("finish(answer='Done.')"), max_turns=1)
    assert all(row.valid_answer and not row.num_undocumented for row in rows)
