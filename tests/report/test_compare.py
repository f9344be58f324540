import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from report.compared_folders import case, level_row, noisy, query_row, write_own, write_public
from report.test_page import ATTACK, Tags, poison, script_data
from tltrain.benches.changes import build_changes
from tltrain.benches.compare import DifferenceRow, compare, headlines, leading_score, pair_rows
from tltrain.benches.comparison import Difference
from tltrain.benches.evaluations import read_evaluations
from tltrain.benches.published import published_rows
from tltrain.benches.scores import Score
from tltrain.cli import main
from tltrain.errors import UsageError
from tltrain.report.palette import Outcome, outcome_of

BEFORE = [case(0), case(1), case(2, "wrong_tool"), case(3, "wrong_tool"), case(4, "format_error"), case(5)]
AFTER = [case(0), case(1, "content_mismatch"), case(2), case(3, "param_missing"), case(4, "format_error"), case(6)]
SETS = {
    "rotbench": noisy(9),
    "bfcl": [
        level_row("x", number, groups={"part": "exec" if number < 2 else "live", "category": f"c{number // 2}"})
        for number in range(4)
    ],
    "toolalpaca": [level_row("x", 0, groups={}), level_row("x", 1, "wrong_tool", groups={})],
    "tooleyes": [query_row(0, valid=True), query_row(1, valid=False, num_failed=1)],
}


@pytest.fixture
def own(tmp_path) -> list[Path]:
    return [write_own(tmp_path / "before", BEFORE), write_own(tmp_path / "after", AFTER)]


@pytest.fixture(scope="module")
def public(tmp_path_factory) -> Path:
    """The page of three evaluations on public sets."""
    root = tmp_path_factory.mktemp("public")
    folders = [
        write_public(root / name, {**SETS, "rotbench": noisy(skill)})
        for name, skill in zip("abc", (9, 7, 5), strict=True)
    ]
    return compare(folders, root / "page").page


def changes(*folders, **options):
    return build_changes(read_evaluations(folders), **options)


# ----------------------------------------------------------------------------------------------------------- the page


def test_page_has_all_sections_and_needs_no_network(public):
    html = public.read_text()
    tags = Tags(html)
    assert all(
        f'id="{section}"' in html for section in ("headline", "scores", "differences", "noise", "errors", "changes")
    )
    assert not [tag for tag, _ in tags.tags if tag in ("link", "img", "iframe", "object", "embed", "base")]
    assert not [attrs for tag, attrs in tags.tags if tag == "script" and "src" in attrs]
    links = [
        value for _, attrs in tags.tags for name, value in attrs.items() if name in ("href", "xlink:href", "action")
    ]
    assert all(link.startswith("#") for link in links)
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    ids = re.findall(r'<[^>]*\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_charts_lie_beside_the_page_and_follow_the_theme(public):
    html = public.read_text()
    names = {path.name for path in (public.parent / "charts").iterdir()}
    assert names == {
        "noise.png",
        *(f"{kind}_{name}.png" for kind in ("scores", "errors") for name in ("rotbench", "bfcl", "toolalpaca")),
    }
    svgs = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(svgs) == len(names)
    assert all("var(--" in svg and not re.search(r"(fill|stroke): #", svg) for svg in svgs)


def test_the_fall_with_noise_is_one_picture_with_a_curve_for_each_model(public):
    (summary,) = re.findall(r'aria-label="(RoTBench: from clean names to noise[^"]*)"', public.read_text())
    assert summary.count("clean 90.0") == 3  # TS, PI and CF of the first model
    for model, shares in (("a", (90, 80, 70, 60, 50)), ("c", (50, 40, 30, 20, 10))):
        told = re.search(rf"CF, {model}: (.*?)[;.] ?(?=$|TS|PI|CF)", summary)[1]
        assert [float(share) for share in re.findall(r"(?:clean|slight|medium|heavy|union) (\d+\.\d)", told)] == list(
            shares
        )


def test_published_rows_stand_apart_and_each_carries_its_mark(public):
    html = public.read_text()
    tables = re.findall(r'<table class="(compared|published)">(.*?)</table>', html, re.DOTALL)
    measured, published = (
        " ".join(text for kind, text in tables if kind == wanted) for wanted in ("compared", "published")
    )
    num_rows = sum(len(published_rows(name)) for name in SETS)
    assert (
        published.count('<span class="tag">published, 2024</span>')
        == published.count('<tr><th scope="row">')
        == num_rows
    )
    assert "GPT-4o" in published
    assert "GPT-4o" not in measured
    assert "published, 2024" not in measured


def test_a_page_of_own_trajectories_has_no_published_row_and_no_noise(own, tmp_path):
    html = compare(own, tmp_path / "page.html").page.read_text()
    assert "published, 2024" not in html
    assert 'id="noise"' not in html
    assert "1 / 1 left out" in html  # case 5 and case 6
    assert "in 5 groups" not in html  # as many groups as cases
    assert (tmp_path / "charts" / "errors_cases.png").read_bytes()[:4] == b"\x89PNG"


def test_same_folders_give_the_same_bytes(own, tmp_path):
    pages = [compare(own, tmp_path / name).page for name in ("one", "two")]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert (pages[0].parent / "charts/errors_cases.png").read_bytes() == (
        pages[1].parent / "charts/errors_cases.png"
    ).read_bytes()


def test_hostile_texts_stay_texts(tmp_path):
    folders = []
    for name, rows in (("before", BEFORE), ("after", AFTER)):
        free = ("query", "prompt", "completion", "label", "kit")
        hostile = [{key: poison(value) if key in free else value for key, value in row.items()} for row in rows]
        folders.append(write_own(tmp_path / f"<img src=x onerror=alert(1)>{name}", hostile))
    html = compare(folders, tmp_path / "page").page.read_text()
    tags = Tags(html)
    assert not [tag for tag, _ in tags.tags if tag == "img"]
    assert not [name for _, attrs in tags.tags for name in attrs if name.startswith("on")]
    assert len(tags.scripts) == 2
    assert script_data(html, "answer-data")["rows"][0][2].endswith(ATTACK)


def test_half_a_surrogate_pair_in_an_answer(tmp_path):
    rows = [case(0, "wrong_tool", completion="\ud83d")]
    path = write_own(tmp_path / "b", rows) / "cases.jsonl"
    assert "\\ud83d" in path.read_text()
    # the reader of rows refuses it by name; nothing is written
    write_own(tmp_path / "a", [case(0)])
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "page")]) == 1
    assert not (tmp_path / "page").exists()


def test_bfcl_is_led_by_the_checkers_verdict_and_its_exec_cases_by_content(tmp_path):
    parts = [
        ("exec", "exec_simple", {}),
        ("live", "live_simple", {"valid": True}),
        ("live", "live_multiple", {"valid": True}),
    ]
    rows = [
        level_row("x", number, groups={"part": part, "category": category}, details=details)
        for number, (part, category, details) in enumerate(parts)
    ]
    folders = [write_public(tmp_path / name, {"bfcl": rows}) for name in "ab"]
    found = compare(folders, tmp_path / "page").comparison
    differences = found.pairs[0].differences
    assert leading_score(found, "bfcl") == "valid"
    assert [(row.found.part, row.found.score) for row in headlines(found, differences)] == [
        ("", "valid"),
        ("exec", "CF"),
    ]
    shown = [(row.found.part, row.found.score) for row in pair_rows(found, differences)["parts"]["bfcl"]]
    wider = [("exec", "CF"), ("exec_simple", "CF"), ("live", "valid")]
    assert shown == [*wider, ("live_simple", "valid"), ("live_multiple", "valid")]


def test_a_difference_is_better_or_worse_only_where_its_interval_leaves_out_0():
    def verdict(low, high, score="CF"):
        found = Difference(
            part="", score=score, n=9, num_clusters=9, only_first=0, only_second=0, first=1, second=2,
            difference=Score(mean=(low + high) / 2, low=low, high=high, n=9),
            right_to_wrong=0, wrong_to_right=0, p_value=1,
        )  # fmt: skip
        return DifferenceRow("cases", found).verdict

    assert [verdict(1, 2), verdict(-2, -1), verdict(-1, 2), verdict(0, 2)] == ["better", "worse", "same", "same"]
    assert [verdict(1, 2, "CE"), verdict(-2, -1, "DE")] == ["worse", "better"]


# ------------------------------------------------------------------------------------------------------ changed cases


def test_changed_cases_with_both_answers(own):
    found = changes(*own)
    assert found == {
        "models": ["before", "after"],
        "sets": ["cases"],
        "kits": ["cases · bank", "cases · shop"],
        "kit_sets": [0, 0],
        "labels": ["all_right", "content_mismatch", "param_missing", "wrong_tool"],
        "total": 3,
        "rows": [
            _packed(1, 0, ["right(n=1)", 0, 1], ["wrong(n=1)", 1, 0], "right_to_wrong"),
            _packed(2, 1, ["wrong(n=2)", 3, 0], ["right(n=2)", 0, 1], "wrong_to_right"),
            _packed(3, 0, ["wrong(n=3)", 3, 0], [0, 2, 0], "other"),
        ],
    }


def _packed(number, kit, before, after, change):
    texts = [f"Question {number}?", f"right(n={number})", f"tools, then: Question {number}?"]
    return [f"t{number}#0", kit, *texts, [before, after], [change]]


def test_a_third_model_that_lacks_a_case(own, tmp_path):
    third = write_own(tmp_path / "third", [case(1), case(2, "wrong_tool"), case(3)])
    rows = {row[0]: row for row in changes(*own, third)["rows"]}
    assert rows["t1#0"][6] == ["right_to_wrong", 0]
    assert rows["t3#0"][6] == ["other", "wrong_to_right"]
    assert rows["t3#0"][5][2][2] == 1
    fourth = write_own(tmp_path / "fourth", [case(1)])
    assert {row[0]: row[5] for row in changes(*own, fourth)["rows"]}["t2#0"][2] == 0


def test_without_room_cases_that_became_wrong_stay_then_those_that_became_right(tmp_path):
    labels = ["wrong_tool", "wrong_tool", "all_right", "all_right"]
    before = [case(n, labels[n % 4], completion="x" * 100) for n in range(12)]
    after = [
        case(n, ["format_error", "all_right"][n % 2] if n % 4 < 2 else "wrong_tool", completion="y" * 100)
        for n in range(12)
    ]
    folders = [write_own(tmp_path / "a", before), write_own(tmp_path / "b", after)]
    whole = changes(*folders)
    size = len(json.dumps(whole["rows"])) / 12
    kept = changes(*folders, max_bytes=int(8.5 * size))
    assert (whole["total"], kept["total"], len(whole["rows"])) == (12, 12, 12)
    kinds = [row[6][0] for row in kept["rows"]]
    assert kinds.count("right_to_wrong") == 6
    assert kinds.count("wrong_to_right") in (2, 3)
    assert kinds.count("other") == 0 or kinds.count("wrong_to_right") == 3
    assert [row[0] for row in kept["rows"]] == [
        row[0] for row in whole["rows"] if row[0] in {r[0] for r in kept["rows"]}
    ]


def test_five_thousand_changed_cases_fit_and_are_drawn_a_page_at_a_time(tmp_path):
    query, prompt = "Find me a train from Kraków to Gdynia on Monday morning. " * 4, "a long list of tools " * 200
    folders = []
    for name, label in (("a", "all_right"), ("b", "wrong_tool")):
        rows = [
            case(n, label, query=f"{n}: {query}", prompt=prompt, completion=f"{label} {n} " * 15) for n in range(5000)
        ]
        folders.append(write_own(tmp_path / name, rows))
    started = time.monotonic()
    html = compare(folders, tmp_path / "page").page.read_text()
    assert time.monotonic() - started < 60
    data = script_data(html, "answer-data")
    assert len(data["rows"]) == data["total"] == 5000
    assert len(html.encode()) < 9_000_000
    # rows stand in the script's data alone
    assert html.count("<article") == 0


def test_nothing_that_changed_is_said(tmp_path):
    folders = [write_own(tmp_path / name, BEFORE) for name in "ab"]
    html = compare(folders, tmp_path / "page").page.read_text()
    assert "No case that two models have got another verdict." in html
    assert 'id="answer-data"' not in html


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ("value_error:string", Outcome.CONTENT),
        ("simple_function_checker:missing_required", Outcome.PARAMETERS),
        ("simple_function_checker:wrong_func_name", Outcome.WRONG_TOOL),
        ("ast_decoder:decoder_failed", Outcome.FORMAT),
        ("parallel_function_checker_no_order:wrong_count", Outcome.OTHER),
        ("value_error", Outcome.OTHER),
    ],
)
def test_labels_of_the_official_checker_have_an_outcome(label, wanted):
    assert outcome_of(label) is wanted


# -------------------------------------------------------------------------------------------------- the command line


def test_the_command_prints_a_table_or_all_numbers(own, tmp_path, capsys):
    command = ["compare", *map(str, own), "--out", str(tmp_path / "page")]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "after against before" in shown
    assert re.search(r"cases CF +5 +40\.0 +40\.0 +\+0\.0 \(.*\) +1 +1 +1\.000 +2", shown)
    assert f"page  {tmp_path}/page/index.html" in shown
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["page"] == str(tmp_path / "page" / "index.html")
    (cf,) = [each for each in found["pairs"][0]["differences"]["cases"] if (each["score"], each["part"]) == ("CF", "")]
    assert (cf["n"], cf["only_first"], cf["only_second"], cf["p_value"]) == (5, 1, 1, 1.0)


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda one, _: [one], 2, "give two or more folders"),
        (lambda one, _: [one, one.parent / "none"], 2, "none is no folder"),
        (lambda one, _: [one, one], 2, "before is given twice"),
        (lambda one, two: [one, two.parent], 1, "no stage.json; name a folder that has, such as"),
        (lambda one, two: (two / "cases.jsonl").unlink() or [one, two], 1, "after has neither cases.jsonl"),
        (lambda one, two: (two / "cases.jsonl").write_text("") * 0 or [one, two], 1, "after/cases.jsonl is empty"),
        (lambda one, two: [one, write_own(two.parent / "x", AFTER, data="e" * 64)], 1, "were made from different data"),
        (lambda one, two: [one, write_own(two.parent / "x", [case(9)])], 1, "have no case in common"),
    ],
)
def test_what_cannot_be_compared_is_said_and_nothing_is_written(own, tmp_path, capsys, spoil, code, said):
    folders = spoil(*own)
    assert main(["compare", *map(str, folders), "--out", str(tmp_path / "page")]) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert not (tmp_path / "page").exists()


def test_a_page_cannot_be_where_a_file_is(own, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match=r"--out .*taken: give a folder"):
        compare(own, tmp_path / "taken")


def test_comparing_loads_no_torch(own, tmp_path):
    script = f"""
import sys
from pathlib import Path
from tltrain import compare
from tltrain.benches.compare import compare as same
assert compare is same
compare([Path({str(own[0])!r}), Path({str(own[1])!r})], Path({str(tmp_path / "page")!r}))
print({{"torch", "transformers"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_what_must_be_known_about_numbers_stands_beside_them(tmp_path):
    folders = [write_public(tmp_path / name, {"tooleyes": SETS["tooleyes"]}) for name in ("a", "b")]
    for folder, notes, truncated, max_cases in ((folders[0], ["Simulated."], 3, 2), (folders[1], ["Live."], 0, 2)):
        path, record = folder / "scores.json", folder / "stage.json"
        scores, stage = json.loads(path.read_text()), json.loads(record.read_text())
        rest = {"n": 2, "scores": {}, "groups": {}, "errors": {}, "mean_tokens": 1.0}
        counts = dict.fromkeys(("too_long", "unwritable", "failed", "script_crashes"), 0)
        scores["benches"]["tooleyes"] |= rest | counts | {"truncated": truncated, "notes": ["Ours.", *notes]}
        stage["config"]["max_cases"] = max_cases
        path.write_text(json.dumps(scores))
        record.write_text(json.dumps(stage))
    result = compare(folders, tmp_path / "page")
    assert result.comparison.notes["tooleyes"] == [
        "Ours.",
        "2 cases were chosen of the set (max_cases), balanced over its parts.",
        "a: Simulated.",
        "a: 3 answers were cut off at the limit of tokens.",
        "b: Live.",
    ]
    assert "<li>b: Live.</li>" in result.page.read_text()


def test_on_narrow_screens_each_cell_says_what_it_is(public):
    html = public.read_text()
    tables = re.findall(r'<table class="compared stacks">.*?</table>', html, re.DOTALL)
    assert tables
    for table in tables:
        cells = re.findall(r"<td ([^>]*)>", table)
        assert all("data-label=" in cell or "colspan=" in cell for cell in cells)
    assert all(before.endswith('<div class="scroll">') for before in html.split("<table")[:-1])


def test_calls_that_only_one_model_made_are_shown_without_a_difference(tmp_path):
    mute = [query_row(0, valid=False) | {"num_calls": 0, "num_failed": 0, "num_undocumented": 0, "num_malformed": 0}]
    folders = [
        write_public(tmp_path / "a", {"tooleyes": mute}),
        write_public(tmp_path / "b", {"tooleyes": [query_row(0, valid=True, num_failed=1)]}),
    ]
    result = compare(folders, tmp_path / "page")
    found = {each.score: each for each in result.comparison.pairs[0].differences["tooleyes"]}["CE"]
    assert (found.n, found.first, found.difference.mean) == (1, None, None)
    assert found.second > 0
    html = result.page.read_text()
    assert "where no call was made" in html
    assert "no cases in common" not in html
