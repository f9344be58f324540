"""The rules on feedback that was labelled before they were tried on it.

At first sight 158 of 201 labels of the first set were met, precision was 0.903 and recall 0.771 (ambiguous apart); of
the second set, written after the causes found with the first were mended, 59 of 70, precision 1.0 and recall 0.818.
The three sets in plain words, whose refusals avoid the words of programs on purpose, were met so at first sight, one
after the other, each before what it showed was mended: precision 0.906, 0.579 and 0.920, recall 0.537, 0.193 and 0.639;
the rules as they were before the first of them had a recall of 0.123 on the second and 0.361 on the third.
Two sets in files, each by somebody who had not seen the rules, were met so: tricky_feedback.jsonl (400 rows; fields and
texts chosen to mislead) precision 0.843 and recall 0.763, and natural_feedback.jsonl (300 rows in the manner of agents'
trajectories), tried after the first was mended, 0.957 and 0.924 (0.949 and 0.890 with the rules from before the first).
What was missed was mended by its cause; from that moment on the sets guard those causes, and prove nothing about other
feedback.
"""

import json
from collections import Counter
from pathlib import Path

import pytest
from plain_words_table import ALL_SORTS, HARD, PLAIN
from unseen_table import LATER, UNSEEN

from tltrain.audit.feedback import judge_feedback

DIFFER = {
    "null",  # a tool that deletes may have nothing to say
    "I failed to see the signs, access denied to your heart",
    "caught: division by zero\nfinished with result 7",
    "Refunds are not possible after 30 days. Invalid requests are rejected.",
    "???",
    "false",
    "Now playing: Error by Madeon",
    "Status: delivery failed - recipient absent",
}
"""Feedback that the rules read otherwise than the person did, and may go on so."""


@pytest.mark.parametrize("table", [UNSEEN, LATER], ids=["first", "second"])
def test_labels(table):
    pairs = {(row[0], row[1]): (row[2], judge_feedback(row[1], row[0]).label.value) for row in table}
    assert {text for (_, text), (label, verdict) in pairs.items() if label != verdict} <= DIFFER
    counts = Counter(pairs.values())
    assert counts["error", "error"] / sum(n for (_, verdict), n in counts.items() if verdict == "error") >= 0.95
    assert counts["error", "error"] / sum(n for (label, _), n in counts.items() if label == "error") >= 0.95


def test_kinds():
    rows = [*UNSEEN, *LATER]
    named = [(kind, judge_feedback(text, tool).kind) for tool, text, label, kind, _ in rows if label == "error"]
    right = [kind == found for kind, found in named if kind is not None]
    assert sum(right) / len(right) >= 0.95


@pytest.mark.parametrize(
    ("table", "precision", "recall"),
    [(ALL_SORTS, 0.97, 0.9), (HARD, 0.95, 0.7), (PLAIN, 0.95, 0.75)],
    ids=["all sorts", "hard", "plain"],
)
def test_plain_words(table, precision, recall):
    counts = Counter((label, judge_feedback(text, tool).label.value) for tool, text, label in table)
    found = counts["error", "error"]
    assert found / (found + counts["ok", "error"]) >= precision
    assert found / sum(n for (label, _), n in counts.items() if label == "error") >= recall


@pytest.mark.parametrize(("name", "precision", "recall"), [("tricky", 0.96, 0.94), ("natural", 0.98, 0.97)])
def test_sets_in_files(name, precision, recall):
    lines = (Path(__file__).parent / f"{name}_feedback.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    counts = Counter((row["label"], judge_feedback(row["feedback"], row["tool"]).label.value) for row in rows)
    found = counts["error", "error"]
    assert found / (found + counts["ok", "error"]) >= precision
    assert found / sum(n for (label, _), n in counts.items() if label == "error") >= recall
