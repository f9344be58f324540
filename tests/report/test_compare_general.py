"""`compare` on folders of `eval general`, alone and within those of other evaluations."""

import json
import re
from pathlib import Path

import pytest

from report.compared_folders import case, write_own
from tltrain.benches.compare import compare
from tltrain.benches.general_config import GeneralConfig
from tltrain.benches.general_run import GeneralScores
from tltrain.benches.general_scores import WindowRow, score_windows
from tltrain.benches.lm_eval_run import read_results
from tltrain.cli import main
from tltrain.errors import DataError

WINDOWS = ((10, 5), (20, 8), (10, 4))
"""Bytes and tokens of each."""


def write_general(
    folder: Path, loss: float, *, windows=WINDOWS, base="raw", text="e" * 64, acc=None, **settings
) -> Path:
    """A folder as `eval general` leaves it, made up: the model loses `loss` nats in each byte, its base 1."""
    config = GeneralConfig(num_resamples=200, **settings)
    starts = [sum(size for size, _ in windows[:place]) for place in range(len(windows))]
    rows = [
        WindowRow(
            document=0,
            start=start,
            num_bytes=num_bytes,
            num_tokens=num_tokens,
            nll=loss * num_bytes + 0.01 * start,
            **({"base_nll": num_bytes, "kl": 0.1 * num_tokens, "reverse_kl": 0.2 * num_tokens} if base else {}),
            **({"num_agreeing": num_tokens - 1} if base else {}),
        )
        for start, (num_bytes, num_tokens) in zip(starts, windows, strict=True)
    ]
    general = score_windows(rows, config, text="book.txt", is_whole=True, num_documents=1, base=base)
    results = {"results": {"quiz": {"acc,none": acc, "acc_stderr,none": 0.05}}, "n-samples": {"quiz": {"effective": 9}}}
    tasks = None if acc is None else read_results(results, limit=None)
    scores = GeneralScores(model=folder.name, precision="float32", general=general, lm_eval=tasks)
    folder.mkdir(parents=True)
    record = {"stage": "eval", "status": "done", "config": config.model_dump(mode="json"), "inputs": {"text": text}}
    (folder / "stage.json").write_text(json.dumps(record))
    (folder / "scores.json").write_text(scores.model_dump_json())
    (folder / "windows.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    return folder


def test_models_stand_side_by_side_with_paired_changes(tmp_path):
    folders = [write_general(tmp_path / name, loss) for name, loss in (("raw", 1.0), ("sft", 1.1), ("ppo", 0.9))]
    found = compare(folders, tmp_path / "page").comparison.general
    raw, sft, ppo = found.models
    assert [each.model for each in found.models] == ["raw", "sft", "ppo"]
    assert raw.change is None
    # each window loses as much more a byte, so pairs leave nothing to vary, while the values themselves do
    step = 0.1 / 0.6931471805599453
    assert sft.change.model_dump() == pytest.approx({"mean": step, "low": step, "high": step})
    assert ppo.change.mean == pytest.approx(-step)
    assert sft.bits_per_byte.high - sft.bits_per_byte.low > 0.01
    assert (sft.kl.mean, sft.reverse_kl.mean) == pytest.approx((0.1, 0.2))
    assert sft.top1_agreement.mean == pytest.approx(100 * 14 / 17)
    assert (found.text, found.num_bytes, sft.num_tokens) == ("book.txt", 40, 17)


def test_other_windows_have_a_change_without_an_interval(tmp_path):
    folders = [
        write_general(tmp_path / "raw", 1.0, base=None),
        write_general(tmp_path / "other", 1.2, base=None, windows=((15, 9), (25, 12))),
    ]
    change = compare(folders, tmp_path / "page").comparison.general.models[1].change
    # 1.2 * 40 + 0.01 * 15 against 1.0 * 40 + 0.01 * (10 + 30) nats in 40 bytes
    assert change.mean == pytest.approx((48.15 - 40.4) / 40 / 0.6931471805599453)
    assert change.low is change.high is None


def test_tasks_of_lm_eval_are_rows(tmp_path):
    folders = [write_general(tmp_path / name, 1.0, acc=acc) for name, acc in (("raw", 0.5), ("sft", 0.25))]
    (task,) = compare(folders, tmp_path / "page").comparison.general.tasks
    assert (task.task, task.metric) == ("quiz", "acc")
    assert {name: metric.value for name, metric in task.values.items()} == {"raw": 0.5, "sft": 0.25}
    assert task.num_questions == {"raw": 9, "sft": 9}


def test_it_is_found_within_the_folder_of_another_evaluation(tmp_path):
    folders = [write_own(tmp_path / name, [case(0), case(1)]) for name in ("raw", "sft", "plain")]
    for folder, loss in zip(folders[:2], (1.0, 1.1), strict=True):
        write_general(folder / "general", loss)
    comparison = compare(folders, tmp_path / "page").comparison
    assert [each.model for each in comparison.general.models] == ["raw", "sft"]
    assert comparison.pairs[0].differences["cases"]
    assert "plain has no results on general ability." in comparison.remarks
    assert compare(folders[2:] + folders[:1], tmp_path / "page").comparison.general.models[0].change is None


def test_the_page_has_a_section_for_it_and_none_without(tmp_path):
    folders = [write_general(tmp_path / name, loss, acc=0.5) for name, loss in (("raw", 1.0), ("sft", 1.1))]
    html = compare(folders, tmp_path / "page").page.read_text()
    section = re.search(r'<section id="general">.*?</section>', html, re.DOTALL)[0]
    assert "book.txt: 40 bytes" in section
    assert "0.1000" in section  # KL
    assert "+0.1443" in section  # 0.1 nats in bits
    assert "quiz" in section
    assert [name for name in ("scores", "errors", "changes") if f'id="{name}"' in html] == []
    assert set(re.findall(r'href="#(\w+)"', html)) == set(re.findall(r'<(?:section|header) id="(\w+)"', html))
    others = [write_own(tmp_path / name, [case(0)]) for name in ("one", "two")]
    assert "general" not in re.findall(r'id="(\w+)"', compare(others, tmp_path / "other").page.read_text())


def test_the_verb_prints_it(tmp_path, capsys):
    folders = [write_general(tmp_path / name, loss, acc=0.5) for name, loss in (("raw", 1.0), ("sft", 1.1))]
    assert main(["compare", *map(str, folders), "--out", str(tmp_path / "page")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"sft .* \+0\.1443 ±0\.0000 .* 0\.1000 ±0\.0000", printed)
    assert re.search(r"quiz acc +0\.5 ± 0\.05 +0\.5 ± 0\.05", printed)
    assert "right→wrong" not in printed


# ------------------------------------------------------------------------------------------------- not one measurement


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": "f" * 64}, r"were measured on different texts: SHA-256 eeeeeeeeeeee… and ffffffffffff…"),
        ({"max_bytes": 7}, r"other lengths of a text: max_bytes is 100000 and 7"),
    ],
)
def test_other_texts_are_refused(tmp_path, change, said):
    folders = [write_general(tmp_path / "raw", 1.0), write_general(tmp_path / "sft", 1.0, **change)]
    with pytest.raises(DataError, match=said):
        compare(folders, tmp_path / "page")


def test_nothing_in_common_is_refused(tmp_path):
    folders = [write_general(tmp_path / "raw", 1.0), write_own(tmp_path / "own", [case(0)])]
    with pytest.raises(DataError, match="no test set in common: general ability; cases"):
        compare(folders, tmp_path / "page")


def test_what_is_not_alike_is_told(tmp_path):
    folders = [
        write_general(tmp_path / "raw", 1.0),
        write_general(tmp_path / "sft", 1.0, base="another", stride=99),
    ]
    assert compare(folders, tmp_path / "page").comparison.remarks == [
        "General ability: stride is 512 in raw and 99 in sft.",
        "General ability: base is raw in raw and another in sft.",
    ]


def test_a_damaged_folder_is_named(tmp_path):
    folders = [write_general(tmp_path / name, 1.0) for name in ("raw", "sft")]
    (folders[1] / "scores.json").write_text("{}")
    with pytest.raises(DataError, match=r"sft/scores.json: .*make it anew with `tltrain eval general --overwrite`"):
        compare(folders, tmp_path / "page")
