import pytest

from tltrain.audit.config import AuditConfig
from tltrain.audit.layers import Auditor
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory

FIND = Tool(
    name="find",
    parameters={"properties": {"city": {"type": "string"}, "day": {"type": "string"}}, "required": ["city"]},
)
SORRY = "I am sorry, I searched for the wrong city."


def talk(*turns, tools=(FIND,)):
    """Turns are (words of the assistant, arguments or None, feedback or None); a plain string is the user's."""
    messages = [Message(role=Role.USER, content="Go.")]
    for turn in turns:
        if isinstance(turn, str):
            messages.append(Message(role=Role.USER, content=turn))
            continue
        words, arguments, feedback = turn
        calls = () if arguments is None else (ToolCall(name="find", arguments=arguments),)
        messages.append(Message(role=Role.ASSISTANT, content=words, calls=calls))
        if feedback is not None:
            messages.append(Message(role=Role.TOOL, content=feedback))
    return Trajectory(id="t", tools=tools, messages=tuple(messages))


def first(trajectory, **auditor):
    return Auditor(**auditor).judge(trajectory)[0].verdict


def test_a_fault_that_the_tool_took_is_noted_and_decides_nothing():
    verdict = first(talk(("", {"city": "Ulm", "odd": 1}, "[1]")))
    assert (verdict.label, verdict.kind, verdict.rule) == ("ok", None, "literal")
    assert [(one.layer, one.rule, one.says) for one in verdict.witnesses] == [
        ("feedback", "literal", "ok"),
        ("call", "call:param_hallucination", "error"),
    ]


@pytest.mark.parametrize(
    ("arguments", "label", "kind"),
    [
        ({"city": "Ulm"}, "unanswered", "unanswered"),
        ({"city": 5}, "unanswered", "unanswered"),  # reads as text: noted only
        ({"city": [5]}, "error", "type_or_value"),
        ({}, "error", "missing_argument"),
        ({"city": "Ulm", "odd": 1}, "error", "unexpected_argument"),
    ],
)
def test_without_feedback_the_document_decides(arguments, label, kind):
    verdict = first(talk(("", arguments, None)))
    assert (verdict.label, verdict.kind) == (label, kind)
    if label == "error":
        assert verdict.blame == "model"
        assert verdict.witnesses[0].layer == "call"


@pytest.mark.parametrize(
    ("arguments", "following", "label", "rule"),
    [
        # one sign alone never turns it
        ({"city": "Um"}, [("", {"city": "Ulm"}, "[1]")], "ambiguous", "nothing_found"),
        ({"city": "Um"}, [(SORRY, None, None)], "ambiguous", "nothing_found"),
        ({"odd": 1}, [], "ambiguous", "nothing_found"),
        # apology, changed arguments, plain success
        ({"city": "Um"}, [(SORRY, {"city": "Ulm"}, "[1]")], "error", "then:apology+then:corrected"),
        ({"city": "Um"}, [(SORRY, {"city": "Ulm"}, "No results found")], "ambiguous", "nothing_found"),
        ({"city": "Um"}, [(SORRY, {"city": "Um"}, "[1]")], "ambiguous", "nothing_found"),
        ({"city": "Um"}, ["And Ulm?", (SORRY, {"city": "Ulm"}, "[1]")], "ambiguous", "nothing_found"),
        # a fault of the call and one sign after it
        ({"odd": 1}, [("", {"city": "Ulm"}, "[1]")], "error", "call:param_hallucination"),
        ({"odd": 1}, [(SORRY, None, None)], "error", "call:param_hallucination"),
    ],
)
def test_ambiguous_feedback_needs_two_signs(arguments, following, label, rule):
    verdict = first(talk(("", arguments, "No results found"), *following))
    assert (verdict.label, verdict.rule) == (label, rule)
    if label == "error":
        assert verdict.witnesses[0].layer in {"then", "call"}
        assert verdict.witnesses[0].rule in rule
    assert "nothing_found" in [one.rule for one in verdict.witnesses]


def test_regret_does_not_turn_feedback_that_holds_a_result():
    told = '{"error": "Message cut", "response": {"flights": [1]}}'
    verdict = first(talk(("", {"city": "Um"}, told), (SORRY, {"city": "Ulm"}, "[1]")))
    assert (verdict.label, verdict.rule) == ("ambiguous", "error_beside_result")
    assert [one.rule for one in verdict.witnesses][1:] == ["then:apology", "then:corrected"]


def test_what_follows_stands_beside_feedback_that_tells():
    verdict = first(talk(("", {"city": "Um"}, "Error: no such city"), ("", {"city": "Ulm"}, "[1]")))
    assert [(one.rule, one.words) for one in verdict.witnesses][1:] == [("then:corrected", "call 1")]
    repeated = first(talk(("", {"city": "Ulm"}, "HTTP 503"), ("", {"city": "Ulm"}, "[1]")))
    assert [one.rule for one in repeated.witnesses] == ["http_service", "then:repeated"]


def test_rules_of_every_layer_can_be_switched_off():
    corrected = talk(("", {"city": "Um"}, "No results found"), (SORRY, {"city": "Ulm"}, "[1]"))
    assert AuditConfig(off=("then:apology",)).auditor().judge(corrected)[0].verdict.label == "ambiguous"
    unanswered = talk(("", {}, None))
    assert AuditConfig(off=("call:param_missing",)).auditor().judge(unanswered)[0].verdict.label == "unanswered"
    flagged = talk(("", {"city": "Ulm"}, '{"success": false, "items": [1]}'))
    assert first(flagged).label == "error"
    assert AuditConfig(off=("success_false",)).auditor().judge(flagged)[0].verdict.label == "ok"
    told = talk(("", {"city": "Ulm"}, "no such file"))
    assert AuditConfig(off=("not_found",)).auditor().judge(told)[0].verdict.label != "error"


def test_a_name_in_off_that_no_rule_has_is_refused():
    with pytest.raises(ValueError, match="off: 'not_fond' is no rule; did you mean not_found"):
        AuditConfig(off=("not_fond",))


def test_packs_are_asked_between_own_and_shipped_rules(tmp_path):
    pack = tmp_path / "pack.yaml"
    pack.write_text("rules:\n- {name: nack, patterns: ['^NACK'], kind: refused}\n- {name: b, patterns: [no such]}\n")
    config = AuditConfig(packs=(pack,), rules=({"name": "drill", "patterns": ["DRILL"], "label": "ok"},))
    names = [rule.name for rule in config.book().rules[:3]]
    assert names == ["drill", "nack", "b"]
    judged = [config.auditor().judge(talk(("", {"city": "Ulm"}, text)))[0].verdict for text in ("NACK", "NACK DRILL")]
    assert [verdict.label for verdict in judged] == ["error", "ok"]
    assert AuditConfig(packs=(pack,), off=("nack",)).book().rules[0].name == "b"


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a", "pack.yaml"), ("rule: []", "one list of rules"), ("rules: [{name: a}]", "pack.yaml: audit rule 'a'")],
)
def test_packs_that_cannot_be_used_are_named(tmp_path, text, message):
    pack = tmp_path / "pack.yaml"
    pack.write_text(text)
    with pytest.raises(ValueError, match=message):
        AuditConfig(packs=(pack,))
