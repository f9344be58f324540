"""Reading the files of rows that an evaluation leaves."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from tltrain.errors import DataError
from tltrain.files import read_json_lines

Row = TypeVar("Row", bound=BaseModel)


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Read all rows.

    Raises:
        DataError: the file is missing, empty or holds a row of another shape; names file, line and field.
    """
    rows: list[Row] = []
    for number, value in read_json_lines(path):
        if isinstance(value, DataError):
            raise value
        try:
            rows.append(kind.model_validate(value))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"{path}:{number}: {field}: {first['msg']}; make the file anew with `tltrain eval`"
            ) from None
    return rows
