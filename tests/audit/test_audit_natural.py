"""The audit on data that nobody made for it. The readers here are for these files alone."""

import json
from collections import Counter
from collections.abc import Iterator

from shared import data_file
from tltrain.audit.feedback import judge_feedback


def tau_feedback() -> Iterator[tuple[str, str]]:
    for dialogue in json.loads(data_file("tau-bench/gpt-4o-airline.even.json").read_text()):
        for message in dialogue["traj"]:
            if message["role"] == "tool":
                yield message["name"], message["content"]


def toolalpaca_feedback() -> Iterator[tuple[str, str]]:
    for api in json.loads(data_file("toolalpaca-trajectories/Mistral-7B-sim.json").read_text()):
        for instance in api["Instances"]:
            for call, feedback in instance.get("intermediate_steps", []):
                yield call[0], feedback


def toolbench_feedback() -> Iterator[tuple[str, str]]:
    for path in sorted(data_file("toolbench/answer").glob("*/*.json")):
        yield from _below(json.loads(path.read_text())["tree"]["tree"], "")


def _below(node: dict, tool: str) -> Iterator[tuple[str, str]]:
    tool = node["description"] if node.get("node_type") == "Action" else tool
    if node.get("node_type") == "Action Input" and tool != "Finish" and node.get("observation") is not None:
        yield tool, node["observation"]
    for child in node.get("children", []):
        yield from _below(child, tool)


def test_tau_bench_without_a_miss_or_a_false_alarm():
    rows = [(feedback.startswith("Error: "), judge_feedback(feedback, tool).label) for tool, feedback in tau_feedback()]
    assert Counter(rows) == {(True, "error"): 21, (False, "ok"): 556}


def test_toolalpaca_without_a_miss_or_a_false_alarm():
    rows = [
        (feedback.startswith("Status Code: 200"), judge_feedback(feedback, tool).label)
        for tool, feedback in toolalpaca_feedback()
    ]
    assert Counter(rows) == {(True, "ok"): 86, (False, "error"): 80}


def test_toolbench_as_looked_at_by_eye():
    """300 calls with an `error` key each. Ambiguous: an error beside a result that was cut, or nothing at all."""
    verdicts = [(feedback, judge_feedback(feedback, tool)) for tool, feedback in toolbench_feedback()]
    assert Counter(verdict.label.value for _, verdict in verdicts) == {"error": 180, "ok": 82, "ambiguous": 38}
    for feedback, verdict in verdicts:
        says_nothing = feedback.startswith('{"error": "", ')
        if verdict.label == "ok":
            assert says_nothing
        if verdict.label == "ambiguous":
            assert feedback == '{"error": "", "response": ""}' or feedback.startswith('{"error": "Message error...", ')
