"""The report: one self-contained HTML page of a run, and its charts as PNG files beside it."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltrain.files import write_text_atomic
from tltrain.report.data import RunData, Stage, read_run
from tltrain.report.examples import choose_episodes, choose_rollouts, choose_wrong_calls
from tltrain.report.gallery import draw_gallery
from tltrain.report.palette import Colour, stage_colours, words
from tltrain.report.payload import build_answers, build_tokens, clip, clip_start, count_changes, to_script_json
from tltrain.report.picture import draw_summary
from tltrain.report.views import (
    SummaryGroup,
    count_rows,
    describe_change,
    error_counts,
    group_summary,
    kit_scores,
    mean_reward,
    score_rows,
    source_rows,
)

if TYPE_CHECKING:
    import jinja2

_HERE = Path(__file__).parent
_SECTIONS = (
    ("headline", "Headline"),
    ("data", "Data and audit"),
    ("tokens", "What is trained"),
    ("sft", "SFT"),
    ("ppo", "PPO"),
    ("kits", "Scores by kit"),
    ("errors", "Error mix"),
    ("answers", "Answers"),
    ("episodes", "Episodes"),
    ("config", "Config"),
)
_MAX_TABLE_ROWS = 12


def report(run: Path, out: Path | None = None) -> Path:
    """Write the page of a run; it needs no network and no other file.

    Args:
        run: folder of the run. Parts may be missing or broken; the page says so where they would stand.
        out: folder for index.html, summary.png and charts/*.png, by default report/ in the run; or a name that ends
            in .html, for the page, with the pictures beside it.

    Returns:
        The HTML file.

    Raises:
        UsageError: there is no such run.
    """
    target = run / "report" if out is None else out
    page = target if target.suffix == ".html" else target / "index.html"
    data = read_run(run)
    drawn = draw_gallery(data)
    (page.parent / "charts").mkdir(parents=True, exist_ok=True)
    for chart in (chart for charts in drawn.values() for chart in charts):
        (page.parent / "charts" / f"{chart.name}.png").write_bytes(chart.png)
    (page.parent / "summary.png").write_bytes(draw_summary(data))
    write_text_atomic(page, render_page(data, drawn))
    return page


def render_page(data: RunData, drawn: Mapping[str, Any]) -> str:
    """The HTML of a run, with charts by section."""
    script = read_script("page.js")
    html = (
        environment()
        .get_template("page.html.j2")
        .render(
            data=data,
            drawn=drawn,
            sections=_SECTIONS,
            style=read_style(),
            script=script,
            script_hash=hash_of(script),
            change=describe_change(data),
            colours=stage_colours([stage.name for stage in data.stages]),
            scores=score_rows(data.stages),
            reward=mean_reward(data),
            rollouts=choose_rollouts(data.rollouts),
            error_table=_error_table(data.stages),
            kit_table=_kit_table(data.stages),
            episodes=choose_episodes(data.stages),
            wrong_calls=choose_wrong_calls(data),
            audit=_audit(data),
            changes=_changes(data.stages),
            num_answers=sum(len(stage.cases) for stage in data.stages),
            answer_json=to_script_json(build_answers(data.stages)),
            generated=[_cut_group(group) for group in group_summary(data.generated)],
            **_tokens(data),
        )
    )
    return writable(html)


def writable(text: str) -> str:
    """Text that a file can hold: half of a surrogate pair, which a model may write, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def read_script(name: str) -> str:
    """The script of a page, with what all pages share."""
    return "\n".join((_HERE / file).read_text(encoding="utf-8") for file in ("common.js", name))


def hash_of(script: str) -> str:
    """What the page's policy says of its script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def read_style() -> str:
    """The style sheet, with the palette's colours for light pages; page.css has those for dark ones."""
    colours = "".join(f"{colour.variable}:{colour};" for colour in Colour)
    return f":root{{{colours}}}\n" + (_HERE / "page.css").read_text(encoding="utf-8")


def _cut_group(group: SummaryGroup) -> dict[str, Any]:
    tables = {title: _cut(rows) for title, rows in group.tables.items()}
    return {"title": group.title, "facts": group.facts, "tables": tables}


def _cut(rows: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A long table's first rows, and how many more there are."""
    shown = list(rows.items())[:_MAX_TABLE_ROWS]
    return shown if len(rows) == len(shown) else [*shown, (f"… {len(rows) - len(shown)} more", "")]


def _tokens(data: RunData) -> dict[str, Any]:
    tokens = build_tokens(data.samples)
    return {"token_json": to_script_json(tokens), "max_weight": tokens["max_weight"]}


def _audit(data: RunData) -> dict[str, Any]:
    faults = [verdict for verdict in data.verdicts if verdict.label not in ("ok", "unanswered")]
    titles = {"truth": "Audit against the truth", "blocked": "Calls kept from training, by policy"}
    shown = {title: data.audited[name] for name, title in titles.items() if data.audited.get(name)}
    tables = {title: rows for group in group_summary({"": shown}) for title, rows in group.tables.items()}
    return {
        "labels": count_rows(verdict.label for verdict in data.verdicts),
        "kinds": count_rows(verdict.kind or verdict.label for verdict in faults),
        "blames": count_rows(verdict.blame for verdict in faults),
        "sources": source_rows(data.verdicts),
        "tools": sorted(source_rows(data.verdicts, "tool"), key=lambda row: -row.num_errors)[:_MAX_TABLE_ROWS],
        "tables": {title: _cut(rows) for title, rows in tables.items()},
    }


def _error_table(stages: tuple[Stage, ...]) -> list[tuple[str, list[tuple[int, float]]]]:
    """(label, (number, percent) for each stage), right answers first, then what the first stage does most."""
    counts = [error_counts(stage) for stage in stages]
    totals = [sum(count.values()) or 1 for count in counts]
    labels = {label for count in counts for label in count}
    ordered = sorted(labels, key=lambda label: (label != "all_right", *(-count.get(label, 0) for count in counts)))
    return [
        (label, [(c.get(label, 0), 100 * c.get(label, 0) / total) for c, total in zip(counts, totals, strict=True)])
        for label in ordered
    ]


def _kit_table(stages: tuple[Stage, ...]) -> list[tuple[str, dict[str, Any]]]:
    """(kit, {n, cells: (TS, PI, CF) for each stage}), the worst kit of the last stage first."""
    tables = [kit_scores(stages, field) for field in ("TS", "PI", "CF")]
    sizes = [stage.scores.single.by_kit for stage in stages if stage.scores.single]
    return [
        (
            kit,
            {
                "n": max(size[kit].n for size in sizes if kit in size),
                "cells": list(zip(*(table[kit] for table in tables), strict=True)),
            },
        )
        for kit in tables[-1]
    ]


def _changes(stages: tuple[Stage, ...]) -> dict[str, Any] | None:
    answered = [stage for stage in stages if stage.cases]
    if len(answered) < 2:
        return None
    first, last = answered[0], answered[-1]
    counts = count_changes(first.cases, last.cases)
    return {
        "first": first.name,
        "last": last.name,
        "fixed": counts[False, True],
        "broken": counts[True, False],
        "right": counts[True, True],
        "wrong": counts[False, False],
    }


@cache
def environment() -> "jinja2.Environment":
    """Templates of all pages."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "words": words,
        "fixed": lambda value, digits=1: f"{value:.{digits}f}",
        "signed": _signed,
        "grouped": lambda value: f"{value:,}",
        "plain": _plain,
        "plain_share": lambda value: f"{100 * value:.1f}%" if isinstance(value, float) else _plain(value),
        "duration": _duration,
        "memory": _memory,
        "clipped": clip,
        "clipped_start": clip_start,
        "slug": lambda value: value if value in ("system", "user", "assistant", "tool", "call") else "other",
    }
    return made


def _plain(value: Any) -> str:
    """A value of a summary, for people."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case list():
            return ", ".join(_plain(item) for item in value[:20]) + (" …" if len(value) > 20 else "")
    return clip(str(value), 200)


def _signed(value: float | None, digits: int = 1) -> str:
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _memory(megabytes: float | None) -> str:
    if megabytes is None:
        return "–"
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"
