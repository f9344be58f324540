"""Key tokens: those that decide which tool a call names. Pure; pieces may be token ids or their text."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tltrain.errors import DataError
from tltrain.files import read_json_lines
from tltrain.render.weights import KeyTokenWeighting
from tltrain.types import Json

Piece = TypeVar("Piece", bound=Hashable)


def name_key_positions(name_pieces: Sequence[Piece], other_names_pieces: Iterable[Sequence[Piece]]) -> tuple[int, ...]:
    """Positions of the key tokens along the pieces of a tool's name.

    These are the first piece, and each piece at which the name leaves another name with which it shares its first:
    the branching points, along the name's own path, of the trie of all names. Where the whole name is the beginning
    of another, the position is `len(name_pieces)`, that of the token that follows the name. A name equal to this one
    is no other name.

    Source: Ye et al. 2025, arXiv:2412.15495, PKT.

    Args:
        name_pieces: the name that is called, not empty; what follows it in the call may stand after it.
        other_names_pieces: the names of the other available tools, cut by the same tokenizer.

    Returns:
        Ascending positions, 0 first.
    """
    positions = {0}
    for other in other_names_pieces:
        shared = _num_shared(name_pieces, other)
        if shared > 0 and (shared < len(name_pieces) or shared < len(other)):
            positions.add(shared)
    return tuple(sorted(positions))


def _num_shared(left: Sequence[Piece], right: Sequence[Piece]) -> int:
    """Length of the common beginning."""
    for position, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return position
    return min(len(left), len(right))


class _PiecesRow(BaseModel):
    """One call cut into pieces, as `tltrain key-tokens` reads it."""

    model_config = ConfigDict(strict=True)

    id: str | int | None = None
    tool_pieces: dict[str, list[str]]
    """Name of each available tool -> its pieces."""
    gold_tool: str
    """The tool that is called."""
    call_pieces: list[str] = Field(min_length=1)
    """The whole call, beginning with the tool's name."""


def key_tokens_file(path: Path, w_max: float = 9.0) -> Iterator[dict[str, Json]]:
    """Find the key tokens of each call of a JSON Lines file.

    Yields:
        `{"id", "key_positions", "n_key", "n_nonkey", "weight"}` for a row `{"id", "tool_pieces", "gold_tool",
        "call_pieces"}`; `{"line", "error"}` for one that cannot be used.

    Raises:
        DataError: the file cannot be read or is empty.
    """
    weighting = KeyTokenWeighting(w_max=w_max)
    for line, row in read_json_lines(path):
        try:
            if isinstance(row, DataError):
                raise row
            yield _weigh_row(row, weighting)
        except DataError as error:
            yield {"line": line, "error": str(error)}


def _weigh_row(fields: Mapping[str, Json], weighting: KeyTokenWeighting) -> dict[str, Json]:
    try:
        row = _PiecesRow.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{where}: {first['msg']}; see `tltrain key-tokens --help` for the fields of a row") from None
    name = row.tool_pieces.get(row.gold_tool)
    if not name:
        raise DataError(f"gold_tool={row.gold_tool!r} has no pieces in tool_pieces; list every available tool there")
    # The last piece of a name may be merged with what follows it in the call, hence text is compared.
    if not "".join(row.call_pieces).startswith("".join(name)):
        raise DataError(
            f"call_pieces begins {row.call_pieces[:4]}, not with the pieces {name} of gold_tool; cut both alike"
        )
    others = [pieces for pieces in row.tool_pieces.values() if pieces != name]
    positions = [
        position for position in name_key_positions(row.call_pieces, others) if position < len(row.call_pieces)
    ]
    num_nonkey = len(row.call_pieces) - len(positions)
    return {
        "id": row.id,
        "key_positions": list(positions),
        "n_key": len(positions),
        "n_nonkey": num_nonkey,
        "weight": weighting.weight(num_key=len(positions), num_nonkey=num_nonkey),
    }
