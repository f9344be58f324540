import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltrain.audit.feedback import judge_feedback
from tltrain.audit.folding import fold_feedback, label_key
from tltrain.audit.groups import Groups, read_groups
from tltrain.audit.labels import Label, LabelBook, LabelChoice, read_labels, write_labels
from tltrain.audit.run import audit_trajectories
from tltrain.errors import DataError
from tltrain.files import encode_line
from tltrain.taxonomy import FeedbackKind
from tltrain.types import Message, Role, ToolCall, Trajectory


def key(tool, text):
    return label_key(tool, fold_feedback(text))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Order 17 is odd", "Order 4,711 is odd"),
        ("No hits for 'red shoes'", 'No hits for "blue hats"'),
        ("id ab-12f3 odd", "id zz-99x1 odd"),
        ("see https://a.test/x?y=1", "see https://b.test/"),
        ("mail to ann@a.test", "mail to bob@b.test"),
        ("on 2024-01-02 10:00", "on 2025-11-30 23:59"),
        ("a  b\n c", "a b c"),
        ('{"n": 17, "note": "odd"}', '{"n": 3, "note": "odd"}'),
    ],
)
def test_what_folds_together(one, other):
    assert fold_feedback(one) == fold_feedback(other)
    assert key("x", one) == key("x", other) != key("y", one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0 rows", "5 rows"),
        ("status 200", "status 404"),
        ('{"code": 0}', '{"code": 17}'),
        ('{"state": "failed"}', '{"state": "done"}'),
        ('{"message": "could not do it"}', '{"message": "did it"}'),
        ("it went well", "it went badly"),
        ("errno=0", "errno=2"),
    ],
)
def test_what_stays_apart(one, other):
    assert fold_feedback(one) != fold_feedback(other)


@given(st.text(max_size=60))
def test_folding_never_fails_and_folds_once(text):
    assert fold_feedback(text) == fold_feedback(text + " ")
    assert len(key("tool", text)) == 16


def label(text, choice, kind=None, by="hand"):
    return Label(key=key("x", text), tool="x", feedback=text, label=LabelChoice(choice), kind=kind, by=by)


def judged(book, text, tool="x"):
    return book.judge(tool, text, judge_feedback(text, tool))


def test_a_label_holds_for_its_group_and_tool():
    book = LabelBook((label("No results for 'a'", "error", FeedbackKind.REFUSED),))
    verdict = judged(book, "No results for 'b'")
    assert (verdict.label, verdict.kind, verdict.blame, verdict.rule) == ("error", "refused", "world", "label:hand")
    assert [(one.layer, one.says) for one in verdict.witnesses] == [("label", "error"), ("feedback", "ambiguous")]
    assert judged(book, "No results for 'b'", "y").label == "ambiguous"


def test_a_person_stands_above_the_rules_and_a_judge_fills_their_gaps():
    text = "Error: no such file"
    assert judged(LabelBook((label(text, "ok"),)), text).label == "ok"
    assert judged(LabelBook((label(text, "ok", by="judge:m"),)), text).label == "error"
    odd = "It raised an odd error."
    assert judge_feedback(odd, "x").kind == "uncategorised"
    assert judged(LabelBook((label(odd, "error", FeedbackKind.REFUSED, by="judge:m"),)), odd).kind == "refused"
    assert judged(LabelBook((label("{}", "ok", by="judge:m"),)), "{}").rule == "label:judge:m"


def test_looked_at_and_not_told_is_an_answer_too():
    assert judged(LabelBook((label("{}", "ambiguous"),)), "{}").rule == "label:hand"


def test_labels_survive_their_file_and_the_last_of_a_key_holds(tmp_path):
    path = tmp_path / "labels.jsonl"
    waiting = Label(key="k", tool="x", feedback="?", label=None)
    write_labels(path, [label("{}", "ok"), waiting, label("{}", "error", FeedbackKind.REFUSED)])
    book = read_labels(path)
    assert book.labels == (label("{}", "error", FeedbackKind.REFUSED), waiting)
    assert judged(book, "{}").kind == "refused"
    path.write_text(path.read_text() + encode_line(label("{}", "ok").to_json()))
    assert judged(read_labels(path), "{}").label == "ok"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "wrong"}, "1: label is 'wrong'; give ok, error, ambiguous or null"),
        ({"label": "error", "kind": "unanswered"}, "kind is 'unanswered'"),
        ({"kind": "refused"}, "only an error has a kind"),
        ({"key": ""}, "key is ''"),
        ({"lable": "ok"}, "lable is not known"),
    ],
)
def test_damaged_labels_are_refused(tmp_path, change, message):
    path = tmp_path / "labels.jsonl"
    path.write_text(encode_line(label("{}", "ok").to_json() | change))
    with pytest.raises(DataError, match=message):
        read_labels(path)


def verdicts(*feedback):
    messages = [Message(role=Role.USER, content="Go.")]
    for text in feedback:
        messages.append(Message(role=Role.ASSISTANT, calls=(ToolCall(name="x"),)))
        messages.append(Message(role=Role.TOOL, content=text))
    return audit_trajectories([Trajectory(id="t", tools=(), messages=tuple(messages))])


def test_doubtful_feedback_is_grouped_and_counted(tmp_path):
    groups = Groups()
    for row in verdicts("{}", "No results for 'a'", "No results for 'b'", "[1]", "Error: no such file", "HTTP 503"):
        groups.add(row)
    first, second = groups.most_frequent()
    assert (first.count, first.form, first.kind) == (2, "No results for <name>", "ambiguous")
    assert [one.feedback for one in first.examples] == ["No results for 'a'", "No results for 'b'"]
    assert (second.count, second.form) == (1, "{}")
    path = tmp_path / "doubtful.jsonl"
    path.write_text("".join(encode_line(group.to_json()) for group in (first, second)))
    assert read_groups(path) == [first, second]
    path.write_text('{"key": 1}\n')
    with pytest.raises(DataError, match=r"doubtful\.jsonl:1: 'None' is not a valid"):
        read_groups(path)


def test_groups_have_an_end(monkeypatch):
    monkeypatch.setattr("tltrain.audit.groups.MAX_GROUPS", 1)
    groups = Groups()
    for row in verdicts("{}", "No results found", "{}"):
        groups.add(row)
    assert [group.count for group in groups.most_frequent()] == [2]
    assert groups.num_further == 1
