"""The data of a page of `tltrain inspect`, as its script reads it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tltrain.inspection.chunks import read_script_element

ELEMENT = re.compile(r'<script type="text/plain" id="([a-z0-9-]+)">([^<]*)</script>')


@dataclass
class Page:
    """A page as its script reads it."""

    html: str
    index: dict[str, Any]
    rows: list[dict[str, Any]]
    shared: list[Any]

    def text(self, body: dict[str, Any], reference: int) -> str:
        return body["texts"][reference] if reference >= 0 else self.shared[-1 - reference]


def read_page(path: Path) -> Page:
    html = path.read_text(encoding="utf-8")
    elements = {name: read_script_element(content) for name, content in ELEMENT.findall(html)}

    def joined(kind: str) -> list[Any]:
        starts = elements["index"][f"{kind}_chunks" if kind == "shared" else "row_chunks"]
        values: list[Any] = []
        for number, start in enumerate(starts):
            assert len(values) == start
            values += elements[f"{kind}-{number}"]
        return values

    return Page(html=html, index=elements["index"], rows=joined("rows"), shared=joined("shared"))
