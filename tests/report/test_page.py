import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from report.synthetic_run import STAGES, build_run
from tltrain.errors import UsageError
from tltrain.report import report, summary_picture
from tltrain.report.data import read_run
from tltrain.report.page import render_page

SECTIONS = ("headline", "data", "tokens", "sft", "ppo", "kits", "errors", "answers", "episodes", "config")
NO_CHARTS = {section: [] for section in SECTIONS}
PARTS = (
    "config.yaml",
    "run.json",
    "generate/summary.json",
    "generate/train.jsonl",
    "audit/verdicts.jsonl",
    "audit/summary.json",
    "sft/metrics.jsonl",
    "sft/samples.jsonl",
    "ppo/metrics.jsonl",
    "ppo/rollouts.jsonl",
    *(f"eval/{stage}/{name}" for stage in STAGES for name in ("scores.json", "cases.jsonl", "episodes.jsonl")),
)
ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'<!--"


class Tags(HTMLParser):
    """Collects what a browser would see as elements."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags and self.cdata_elem == "script":
            self.scripts[-1] += data


def render(run: Path) -> str:
    return render_page(read_run(run), NO_CHARTS)


def build_small(folder: Path) -> Path:
    return build_run(folder / "run", num_cases=5, num_steps=3, num_trajectories=25)


def script_data(html: str, name: str) -> dict:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.DOTALL)
    return json.loads(found[1])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return build_run(tmp_path_factory.mktemp("runs") / "first", num_cases=40, num_steps=30)


@pytest.fixture
def short_run(tmp_path) -> Path:
    """A run with few charts, which take most of the time."""
    run = build_small(tmp_path)
    for stage in ("sft", "ppo"):
        (run / stage / "metrics.jsonl").unlink()
    return run


@pytest.fixture(scope="module")
def page(run) -> Path:
    return report(run)


def test_page_has_all_sections_with_charts_and_no_excuses(page):
    html = page.read_text()
    assert page.name == "index.html"
    assert page.parent.name == "report"
    assert all(f'id="{section}"' in html for section in SECTIONS)
    assert html.count("<svg") == len(list((page.parent / "charts").glob("*.png"))) == 18
    assert html.count('class="missing"') == html.count("<noscript>") == 1
    assert "while reading this run" not in html
    assert "went from" in html


def test_page_needs_no_network(page):
    html = page.read_text()
    tags = Tags(html).tags
    assert not [tag for tag, _ in tags if tag in ("link", "img", "iframe", "object", "embed", "base")]
    assert not [attrs for tag, attrs in tags if tag == "script" and "src" in attrs]
    links = [value for _, attrs in tags for name, value in attrs.items() if name in ("href", "xlink:href", "action")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}


def test_policy_allows_the_pages_own_script_alone(page):
    html = page.read_text()
    tags = Tags(html)
    policy = next(attrs["content"] for tag, attrs in tags.tags if tag == "meta" and "http-equiv" in attrs)
    digest = base64.b64encode(hashlib.sha256(tags.scripts[-1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'")


def test_ids_of_inlined_charts_are_unique_and_references_meet_them(page):
    html = page.read_text()
    ids = re.findall(r'<[^>]*\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|xlink:href=")#([^")]+)', html)) <= set(ids)


def test_charts_follow_the_theme(page):
    svgs = re.findall(r"<svg.*?</svg>", page.read_text(), re.DOTALL)
    assert all("var(--" in svg for svg in svgs)
    assert not [svg for svg in svgs if re.search(r"(fill|stroke): #", svg)]


def test_same_run_gives_the_same_bytes(short_run, tmp_path):
    first, again = report(short_run, tmp_path / "first"), report(short_run, tmp_path / "again.html")
    assert first == tmp_path / "first" / "index.html"
    assert again == tmp_path / "again.html"
    assert first.read_bytes() == again.read_bytes()
    for picture in ("charts/scores.png", "summary.png"):
        assert (first.parent / picture).read_bytes() == (again.parent / picture).read_bytes()


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_named_in_one_line(part, tmp_path):
    run = build_small(tmp_path)
    (run / part).unlink()
    html = render(run)
    is_optional = part == "audit/summary.json"  # the verdicts say all but the truth
    assert (f"{part} is not in this run." in html) is not is_optional
    assert "while reading this run" not in html


@pytest.mark.parametrize("part", PARTS)
def test_a_broken_file_is_named_and_breaks_nothing(part, tmp_path):
    run = build_small(tmp_path)
    (run / part).write_text('{"open: [1, ')
    html = render(run)
    assert "1 problem while reading this run" in html
    assert re.search(rf"<li>{re.escape(part)}\b", html)
    assert str(tmp_path) not in html


def test_an_empty_run_still_gives_a_page_and_a_picture(tmp_path):
    page = report(tmp_path)
    html = page.read_text()
    assert all(f'id="{section}"' in html for section in SECTIONS)
    assert html.count('class="missing"') >= 9
    assert (page.parent / "summary.png").read_bytes()[:4] == b"\x89PNG"


def test_no_such_run_is_said(tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        report(tmp_path / "nowhere")


def poison(value):
    """The value with an attack in every text, keys that name things included."""
    match value:
        case str():
            return value + ATTACK
        case list():
            return [poison(item) for item in value]
        case dict():
            free = {"kits", "mistakes", "versions", "by_kit", "errors", "truth", "heldout"}
            return {
                key: {name + ATTACK: poison(item) for name, item in inner.items()}
                if key in free and isinstance(inner, dict)
                else poison(inner)
                for key, inner in value.items()
            }
    return value


def test_hostile_texts_stay_texts(short_run):
    run = short_run
    for path in run.rglob("*.json*"):
        if path.name != "train.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            path.write_text("".join(json.dumps(poison(row)) + "\n" for row in rows))
    rows = (run / "generate" / "train.jsonl").read_text()
    (run / "generate" / "train.jsonl").write_text(rows.replace("Error: no", f"<img src=x onerror=a>{ATTACK[:9]} no"))
    (run / "config.yaml").write_text(f"model: '{ATTACK.replace(chr(39), '')}'")
    (run / "eval" / "sft").rename(run / "eval" / "<img src=x onerror=alert(1)>")
    html = report(run).read_text()
    tags = Tags(html)
    assert len(tags.scripts) == 3
    assert not [tag for tag, _ in tags.tags if tag == "img"]
    assert not [attrs for _, attrs in tags.tags if any(name.startswith("on") for name in attrs)]
    assert script_data(html, "answer-data")["rows"][0][2].endswith(ATTACK)
    assert script_data(html, "token-data")["samples"][0]["id"].endswith(ATTACK)


def test_half_a_surrogate_pair_and_control_characters_do_not_stop_the_page(tmp_path):
    run = build_small(tmp_path)
    (run / "config.yaml").write_text("model: 'a\\tb'\n# \x1b[31m")
    data = read_run(run)
    case = data.stages[0].cases[0].model_copy(update={"completion": "\ud800 \x00", "kit": "$x$\n"})
    stage = type(data.stages[0])(name="base", scores=data.stages[0].scores, cases=(case,), episodes=())
    changed = {field: getattr(data, field) for field in data.__slots__} | {"stages": (stage,)}
    assert "charset" in render_page(type(data)(**changed), NO_CHARTS)


def test_five_thousand_cases_fit_into_three_megabytes(tmp_path):
    run = build_run(tmp_path / "run", num_cases=5000, num_steps=3)
    html = render(run)
    charts = 17 * 30_000
    assert len(html.encode()) + charts < 3_000_000
    assert len(script_data(html, "answer-data")["rows"]) == 5000


def test_importing_the_report_imports_nothing_heavy():
    code = "import sys, tltrain.report; print(sorted({'torch', 'matplotlib', 'jinja2', 'numpy'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_summary_picture_is_1600_by_700(run, tmp_path):
    path = summary_picture(run, tmp_path / "new" / "s.png")
    header = path.read_bytes()[:24]
    assert (int.from_bytes(header[16:20]), int.from_bytes(header[20:24])) == (1600, 700)


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("is_dark", [False, True])
def test_texts_have_a_contrast_of_4_5(page, is_dark):
    style = page.read_text().partition("</style>")[0]
    light, dark = style.split("@media (prefers-color-scheme: dark)")[:2]
    colours = dict(re.findall(r"(--\w+): ?(#\w{6})", light))
    if is_dark:
        colours |= dict(re.findall(r"(--\w+): ?(#\w{6})", dark.partition("}")[0]))
    for text in ("--ink", "--muted", "--accent", "--right", "--wrong"):
        for ground in ("--paper", "--sheet"):
            one, other = sorted((luminance(colours[text]), luminance(colours[ground])))
            assert (other + 0.05) / (one + 0.05) >= 4.5, (text, ground)


def test_worries_about_ppo_stand_above_its_curves(tmp_path):
    run = build_small(tmp_path)
    log = run / "ppo" / "metrics.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert "from step 1" not in render(run)
    rows[1]["warnings"] = {"reward_hacking": "the reward rose & <b>calls</b> fell"}
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    html = render(run)
    assert "<strong>reward hacking</strong>, from step 1: the reward rose &amp; &lt;b&gt;calls" in html
