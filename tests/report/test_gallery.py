import json
from pathlib import Path

from tltrain.report.data import read_run
from tltrain.report.gallery import draw_gallery


def test_sft_curves_by_part_and_accuracies_without_losses(tmp_path: Path):
    rows = [
        {"step": 0, "loss": 2.0, "spans": {"name": {"nll": 3.0, "accuracy": 0.1, "num_tokens": 4}, "x": {"nll": 9}}},
        {
            "step": 1,
            "loss": 1.0,
            "spans": {"name": {"nll": 1.5, "accuracy": 0.4, "num_tokens": 4}, "text": {"nll": 0.5}},
            "heldout": {"nll": 1.25, "name_nll": 0.75, "call_accuracy": 0.25, "name_accuracy": 0.5},
        },
    ]
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    charts = {chart.name: chart.summary for chart in draw_gallery(read_run(tmp_path))["sft"]}
    assert charts["sft_spans"] == (
        "Training loss by part. tool name: 3 at step 0, 1.5 at step 1; text: 0.5 at step 1, 0.5 at step 1."
    )
    assert (
        charts["sft_heldout"]
        == "Held-out accuracy. call: 0.25 at step 1, 0.25 at step 1; name: 0.5 at step 1, 0.5 at step 1."
    )
