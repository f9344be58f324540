import pytest
from policies import TextPolicy

from tltrain.benches.advance import advance
from tltrain.benches.policy import Request
from tltrain.types import Message, Role, Tool


class Counting:
    """Ends after so many replies."""

    def __init__(self, number: int, tool: str):
        self.number, self.tool, self.heard, self.end = number, tool, 0, None

    def request(self) -> Request:
        return Request((Tool(name=self.tool),), (Message(role=Role.USER, content=str(self.heard)),))

    def take(self, _) -> None:
        self.heard += 1
        self.end = "over" if self.heard == self.number else None


@pytest.mark.parametrize("at_once", [1, 2, None])
def test_so_many_go_on_at_once_and_those_of_a_tool_follow_each_other(at_once):
    talks = [Counting(number, tool) for number, tool in ((1, "b"), (3, "a"), (2, "b"), (9, "a"), (1, "c"))]
    policy, told = TextPolicy(lambda _: "x"), []
    advance(talks, policy, max_replies=4, at_once=at_once, progress=lambda *args: told.append(args[:2]))
    assert [talk.heard for talk in talks] == [1, 3, 2, 4, 1]
    assert max(map(len, policy.asked)) == (at_once or 5)
    first = [asked.tools[0].name for batch in policy.asked for asked in batch if asked.messages[0].content == "0"]
    assert first == ["a", "a", "b", "b", "c"]
    assert told[-1] == (5, 5)
