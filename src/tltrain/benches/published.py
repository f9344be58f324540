"""Scores that the TL-Training paper prints, to be shown beside measured ones and never mixed with them.

Source: Ye et al., Findings of EMNLP 2025, arXiv:2412.15495 (December 2024). How the paper prompts and counts is known
in part only, so a small difference to a score of ours says nothing.
"""

from typing import NamedTuple

WHEN = "published, 2024"
"""The mark that each row carries."""
SOURCE = "Ye et al., arXiv:2412.15495"
COLUMNS = {
    "toolalpaca": ("TS", "PI", "CF"),
    "rotbench": ("TS", "PI", "CF"),
    "bfcl": ("TS", "PI", "CF"),
    "tooleyes": ("DE", "CE", "VA"),
}
"""Test set -> the scores that the paper has of it, in percent."""
NOTES = {
    "toolalpaca": "4 values of these rows are no multiples of 1/114, the set's number of cases.",
    "rotbench": "The values are multiples of 1/105: of one level with 105 cases, clean or union, not of all levels.",
    "bfcl": "The values are those of the 240 exec cases.",
    "tooleyes": "The paper's calls went to live services.",
}
"""What a reader must know before comparing."""


class PublishedRow(NamedTuple):
    """One model of one table."""

    model: str
    table: str
    """main, or ablation: TL-CodeLLaMA-2 7B with parts of the method."""
    scores: dict[str, float]


_MAIN = """\
ToolLLaMA-2 7B | 75.56 61.40 37.72 | 70.48 43.81 25.71 | 87.08 83.75 56.67 | 21.00 36.62 52.36
NexusRaven-2 13B | 82.46 48.25 37.72 | 70.48 56.19 37.14 | 97.08 94.17 75.83 |
ChatGLM-4-chat 9B | 73.68 68.42 38.60 | 67.62 53.33 37.14 | 95.42 93.33 86.67 | 0.17 32.45 43.45
Qwen-2-Instruct 7B | 86.84 68.42 43.86 | 74.29 47.62 35.24 | 98.33 95.42 85.00 | 0.78 6.71 70.16
LLaMA-3.1-Instruct 8B | 84.21 59.65 42.98 | 62.86 17.14 8.57 | 63.75 59.58 34.58 | 4.80 3.76 4.71
Qwen-2.5-Instruct 7B | 92.11 68.42 44.74 | 80.00 32.38 15.24 | 100.00 95.42 87.92 | 4.78 4.60 74.08
GPT-3.5-turbo | 72.81 54.39 39.47 | 74.29 61.90 48.57 | 99.17 95.83 75.83 | 2.36 10.73 89.79
GPT-4o | 76.32 70.18 42.11 | 74.29 62.86 50.48 | 96.67 93.75 74.58 | 0.12 4.64 87.43
GPT-4-turbo | 74.56 73.68 42.11 | 82.86 69.52 53.33 | 97.50 93.75 76.25 | 0.34 7.83 90.31
TL-CodeLLaMA-2 7B | 87.72 78.07 57.89 | 83.81 54.29 42.86 | 96.25 93.75 88.33 | 0.82 4.84 77.75
"""
_ABLATION = """\
standard SFT | 74.56 70.18 42.98 | 76.19 55.24 38.10 | | 0.72 9.08 59.32
MAE | 73.68 64.91 43.68 | 78.10 57.14 40.95 | | 1.22 5.53 68.85
PKT | 77.78 71.72 43.86 | 82.86 63.81 48.57 | | 1.07 7.52 63.61
IRM | 88.60 84.21 57.02 | 79.05 59.05 44.76 | | 0.65 6.80 57.33
MAE, PKT | 73.68 64.91 43.86 | 80.95 56.19 40.00 | | 0.71 10.07 75.13
MAE, IRM | 87.72 78.95 57.89 | 82.86 56.19 45.71 | | 0.96 5.03 71.20
PKT, IRM | 86.84 79.82 57.02 | 82.86 63.81 48.57 | | 0.88 7.11 65.18
all three | 87.72 78.07 57.89 | 83.81 54.29 42.86 | | 0.82 4.84 77.75
"""


def published_rows(name: str) -> list[PublishedRow]:
    """The paper's rows of a test set, its main table first; none of a set that it does not report."""
    if name not in COLUMNS:
        return []
    place = 1 + list(COLUMNS).index(name)
    rows = []
    for table, text in (("main", _MAIN), ("ablation", _ABLATION)):
        for line in text.splitlines():
            cells = [cell.strip() for cell in line.split("|")]
            if values := cells[place].split():
                rows.append(PublishedRow(cells[0], table, dict(zip(COLUMNS[name], map(float, values), strict=True))))
    return rows
