r"""Tools as TL-Training shows them to a model, `Function:\ndef name(a: string, b: string = None):` with a docstring.

The docstring has the description, then `Args:` with a line `a (string): description` for each parameter. A parameter
without a default is required.
"""

import re
from collections.abc import Iterator

from tltrain.formats.python_types import read_type
from tltrain.formats.untrusted import fail, sections
from tltrain.types import Json, Tool

HEADING = re.compile(r"\s*Function:[ \t]*\n[ \t]*def ")
_DEFINITION = re.compile(r"^Function:[ \t]*\n[ \t]*def[ \t]+(?P<name>[^\n(]+)\((?P<parameters>[^\n]*)\):[^\n]*$", re.M)
_QUOTES = '"""'


def read_functions(text: str, where: str) -> tuple[Tool, ...]:
    """The tools of a system text.

    Raises:
        DataError: it has text before the first function, or a definition that is none.
    """
    definitions = sections(_DEFINITION, text)
    if not definitions or len(definitions) != len(re.findall(r"^Function:[ \t]*$", text, re.M)):
        fail(where, "the system text", "has a 'Function:' without 'def name(...):' on the next line", "write it anew")
    return tuple(_read_function(definition, body) for definition, body in definitions)


def _read_function(definition: re.Match[str], body: str) -> Tool:
    parameters = list(_split_parameters(definition["parameters"]))
    documentation = body.strip().removeprefix(_QUOTES).removesuffix(_QUOTES)
    description, _, arguments = documentation.partition("\n    Args:") if parameters else (documentation, "", "")
    texts = _read_arguments(arguments, [name for name, _, _ in parameters])
    properties: dict[str, Json] = {}
    for name, kind, _ in parameters:
        schema: dict[str, Json] = dict(read_type(kind).schema)
        properties[name] = schema | ({"description": texts[name]} if texts.get(name) else {})
    required: list[Json] = [name for name, _, is_required in parameters if is_required]
    return Tool(
        name=definition["name"].strip(),
        description=description.strip(),
        parameters={"type": "object", "properties": properties, "required": required} if properties else {},
    )


def _split_parameters(text: str) -> Iterator[tuple[str, str, bool]]:
    """Name, type and whether it is required, of `a: Dict[str, int], b: string = None`."""
    depth = start = 0
    for position, char in enumerate(f"{text},"):
        depth += (char in "[({") - (char in "])}")
        if char == "," and depth <= 0:
            part, start = text[start:position], position + 1
            declared, has_default, _ = part.partition("=")
            name, _, kind = declared.partition(":")
            if name.strip():
                yield name.strip(), kind.strip(), not has_default


def _read_arguments(text: str, names: list[str]) -> dict[str, str]:
    """Descriptions by parameter; a line that starts no next parameter goes on with the one before."""
    texts: dict[str, str] = {}
    waiting = list(names)
    current = ""
    for line in text.split("\n"):
        stripped = line.strip()
        if waiting and re.match(rf"{re.escape(waiting[0])}[ \t]*(?:\([^\n]*?\))?:", stripped):
            current = waiting.pop(0)
            texts[current] = re.sub(rf"^{re.escape(current)}[ \t]*(?:\([^\n]*?\))?:[ \t]*", "", stripped)
        elif current and stripped:
            texts[current] += f"\n{stripped}"
    return texts
