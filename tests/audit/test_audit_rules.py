import pytest

from tltrain.audit.feedback import judge_feedback
from tltrain.audit.rules import Reach, compile_rule, kind_of_status, shipped_rules, split_name
from tltrain.audit.verdict import VerdictLabel
from tltrain.errors import UsageError
from tltrain.taxonomy import FeedbackKind

RULES = shipped_rules().rules
EXAMPLES = [(rule, example) for rule in RULES for example in rule.examples]


def test_every_rule_has_a_name_of_its_own_and_an_example():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert [rule.name for rule in RULES if not rule.examples] == []


@pytest.mark.parametrize(("rule", "example"), EXAMPLES, ids=[f"{rule.name}: {text[:40]}" for rule, text in EXAMPLES])
def test_examples_are_matched_by_their_rule(rule, example):
    assert rule.pattern.search(example)


PROVING = [(rule, text) for rule, text in EXAMPLES if rule.reach is not Reach.NAMING]


@pytest.mark.parametrize(("rule", "example"), PROVING, ids=[f"{rule.name}: {text[:40]}" for rule, text in PROVING])
def test_examples_are_judged_as_their_rule_says(rule, example):
    tool = min(rule.tools, default="tool")
    verdict = judge_feedback(example, tool)
    assert verdict.label is rule.label
    if rule.label is VerdictLabel.ERROR and rule.kind is not FeedbackKind.UNCATEGORISED:
        assert verdict.kind is rule.kind


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("getUserByID", {"get", "user", "by", "id"}),
        ("get_user-by.id", {"get", "user", "by", "id"}),
        ("HTTPRequest2", {"http", "request"}),
        ("", set()),
    ],
)
def test_names_are_split_into_words(name, words):
    assert split_name(name) == words


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "type_or_value"),
        (401, "service_failure"),
        (404, "refused"),
        (409, "refused"),
        (422, "type_or_value"),
        (429, "service_failure"),
        (503, "service_failure"),
    ],
)
def test_kinds_of_http_status(status, kind):
    assert kind_of_status(status) == kind


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"patterns": ["x"]}, "give a name"),
        ({"name": "a", "pattern": "x"}, "no other fields"),
        ({"name": "a", "patterns": "x"}, "must be a list"),
        ({"name": "a", "patterns": []}, "must be a list"),
        ({"name": "a", "patterns": ["("]}, "unterminated"),
        ({"name": "a", "patterns": ["x"], "kind": "odd"}, "odd"),
        ({"name": "a", "patterns": ["x"], "reach": "far"}, "far"),
        ({"name": "a", "patterns": ["x"], "label": "wrong"}, "wrong"),
        ({"name": "a", "patterns": ["<nonsense>"]}, "nonsense"),
        ({"name": "a", "patterns": ["x"], "tools": "spanners"}, "spanners"),
    ],
)
def test_faulty_rules_are_refused(row, message):
    with pytest.raises(UsageError, match="audit rule") as error:
        compile_rule(row)
    assert message in str(error.value)
