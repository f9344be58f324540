"""What a page says of files that were mixed, from a mixture that was really made."""

import re
import shutil
from pathlib import Path

from corpus.rows_for_tests import chat, write
from report.synthetic_run import build_run
from report.test_page import NO_CHARTS
from tltrain.corpus.config import MixConfig
from tltrain.corpus.mix import mix
from tltrain.report.data import read_run
from tltrain.report.page import render_page


def build(folder: Path) -> Path:
    """A run whose data is two files, with a row twice and a row of the test set."""
    run = build_run(folder / "run", num_cases=3, num_steps=2, num_trajectories=5)
    shutil.rmtree(run / "generate")
    rows = [chat(f"weather in city number {number}", id=f"a{number}") for number in range(6)]
    first = write(folder / "mine.jsonl", *rows, {**rows[0], "id": "again"}, {"messages": 3})
    second = write(folder / "<b>.jsonl", chat("book a table for two", id="x"), chat("sell my car now", id="y"))
    test = write(folder / "held.jsonl", chat("book a table for two", id="t"))
    config = MixConfig.model_validate(
        {"train": [first, second], "test": test, "validation": {"share": 0.3}, "deduplicate": "exact"}
    )
    mix(config, run / "data")
    return run


def rows_of(html: str, caption: str) -> list[list[str]]:
    (table,) = re.findall(rf"<caption>{caption}</caption>(.*?)</table>", html, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in re.findall(r"<tr>(.*?)</tr>", table)]


def test_the_page_says_what_became_of_each_file_and_what_test_sets_share(tmp_path):
    html = render_page(read_run(build(tmp_path)), NO_CHARTS)
    head, mine, other = rows_of(html, "Files, in rows")
    assert (
        dict(zip(head, mine, strict=True)).items()
        >= {
            "file": "mine",
            "rows": "7",
            "bad rows": "1",
            "duplicates removed": "1",
        }.items()
    )
    assert dict(zip(head, other, strict=True)).items() >= {"file": "&lt;b&gt;", "in test sets": "1"}.items()
    _, *overlaps = rows_of(html, "Training rows that are like rows of a test set")
    assert [(row[0], Path(row[1]).name, row[2]) for row in overlaps] == [
        ("mine", "held.jsonl", "0"),
        ("&lt;b&gt;", "held.jsonl", "1"),
    ]
    assert "generate/summary.json" not in html


def test_a_mixture_whose_summary_is_gone_or_broken_is_named(tmp_path):
    run = build(tmp_path)
    summary = run / "data" / "summary.json"
    summary.write_text('{"sources": {"mine": {"rows": "many"}}}')
    html = render_page(read_run(run), NO_CHARTS)
    assert "data/summary.json: sources.mine.rows" in html
    summary.unlink()
    assert "data/summary.json is not in this run." in render_page(read_run(run), NO_CHARTS)
