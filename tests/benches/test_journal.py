import json

import pytest
from policies import TextPolicy, reply

from tltrain.benches.journal import Journal
from tltrain.benches.policy import Request, Stop
from tltrain.types import Message, Role, Tool

TOOLS_A, TOOLS_B = (Tool(name="a"),), (Tool(name="b"),)


def request(text: str, tools: tuple[Tool, ...] = TOOLS_A) -> Request:
    return Request(tools, (Message(role=Role.USER, content=text),))


REQUESTS = [request(f"{number}", TOOLS_B if number % 2 else TOOLS_A) for number in range(7)]


def echo() -> TextPolicy:
    return TextPolicy(lambda asked: asked.messages[0].content)


def test_replies_come_in_order_though_like_is_asked_with_like(tmp_path):
    policy, heard = echo(), []
    replies = Journal(tmp_path / "j", policy, chunk_size=3).answer(REQUESTS, heard.append)
    assert [found.text for found in replies] == list("0123456")
    asked = [[(found.tools[0].name, found.messages[0].content) for found in chunk] for chunk in policy.asked]
    assert asked == [
        [("a", "0"), ("a", "2"), ("a", "4")],
        [("a", "6"), ("b", "1"), ("b", "3")],
        [("b", "5")],
    ]
    assert heard == sorted(heard)
    assert heard[-1] == 7


def test_a_later_journal_asks_for_what_is_missing_alone(tmp_path):
    def fail_at_third(asked):
        if asked.messages[0].content == "5":
            raise KeyboardInterrupt
        return reply(asked.messages[0].content, Stop.LENGTH, note="n", prompt="p")

    with pytest.raises(KeyboardInterrupt):
        Journal(tmp_path / "j", TextPolicy(fail_at_third), chunk_size=3).answer(REQUESTS)
    policy = echo()
    replies = Journal(tmp_path / "j", policy, chunk_size=3).answer(REQUESTS)
    assert [[found.messages[0].content for found in chunk] for chunk in policy.asked] == [["5"]]
    assert replies[0] == reply("0", Stop.LENGTH, note="n", prompt="p")
    assert replies[5] == reply("5")


def test_a_line_that_a_kill_cut_short_is_asked_again(tmp_path):
    journal = Journal(tmp_path / "j", echo(), chunk_size=3)
    journal.answer(REQUESTS)
    journal.close()
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole[:-20])
    policy = echo()
    journal = Journal(tmp_path / "j", policy, chunk_size=3)
    assert [found.text for found in journal.answer(REQUESTS)] == list("0123456")
    assert [len(chunk) for chunk in policy.asked] == [1]
    journal.close()
    policy = echo()
    Journal(tmp_path / "j", policy, chunk_size=3).answer(REQUESTS)
    assert policy.asked == []


def test_nothing_is_asked_twice(tmp_path):
    policy, heard = echo(), []
    journal = Journal(tmp_path / "j", policy, chunk_size=3)
    journal.answer([REQUESTS[1], REQUESTS[1]])
    assert [found.text for found in journal.answer(REQUESTS[:4], heard.append)] == list("0123")
    assert [[found.messages[0].content for found in chunk] for chunk in policy.asked] == [["1"], ["0", "2", "3"]]
    assert heard == [4, 4]  # one was known, three were told at once


def test_what_is_kept(tmp_path):
    Journal(tmp_path / "j", echo(), chunk_size=3).answer(REQUESTS[:1])
    row = json.loads((tmp_path / "j").read_text())
    assert list(row.values()) == [{"text": "0", "num_tokens": 1, "stop": "end", "prompt": "", "note": ""}]


def test_nothing_to_ask(tmp_path):
    assert Journal(tmp_path / "j", echo(), chunk_size=3).answer([]) == []
