"""Statistics of stored series, determinants and linear systems."""

import math
from typing import Annotated, TypeAlias

import numpy as np

from tltrain.envs.sandbox.rounding import short_number
from tltrain.envs.toolkit import Toolkit, bad_value, refuse, tool

_NAMES = ("rainfall", "visitors", "sales", "tides", "heartbeat", "traffic", "voltage", "harvest")
_NUM_VALUES = (5, 5, 5, 4)
_MAX_VALUES = 8
_MAX_ROWS = 4
_MAX_MAGNITUDE = 1e6

_Number: TypeAlias = int | float
_VALUES = list[float]
_MATRIX = Annotated[list[list[float]], "rows"]


class Numbers(Toolkit):
    """Named series of numbers. Results are rounded to 3 decimals."""

    name = "numbers"

    def __init__(self, seed: int):
        super().__init__(seed)
        names = self.rng.sample(_NAMES, len(_NUM_VALUES))
        self.series: dict[str, list[_Number]] = {
            name: [value / 2 for value in self.rng.sample(range(4, 60), num_values)]
            for name, num_values in zip(names, _NUM_VALUES, strict=True)
        }

    @tool
    def store_series(self, series: str, values: _VALUES, overwrite: bool = False) -> str:
        """Store numbers as a named series."""
        if not 1 <= len(values) <= _MAX_VALUES:
            raise bad_value(f"values must hold 1 to {_MAX_VALUES} numbers, got {len(values)}")
        _check_magnitude(values, "values")
        if series in self.series and not overwrite:
            raise refuse(f"series {series!r} exists already; overwrite is off")
        self.series[series] = list(values)
        return f"stored {len(values)} values"

    @tool
    def compute_mean(self, series: str) -> _Number:
        """Mean of a stored series."""
        return _short(np.mean(self._get(series)))

    @tool
    def compute_median(self, series: str) -> _Number:
        """Median of a stored series."""
        return _short(np.median(self._get(series)))

    @tool
    def compute_standard_deviation(
        self, series: str, sample: Annotated[bool, "divide by n - 1 instead of n"] = False
    ) -> _Number:
        """Standard deviation of a stored series."""
        values = self._get(series)
        if sample and len(values) < 2:
            raise refuse(f"series {series!r} has one value; a sample deviation needs two")
        return _short(np.std(values, ddof=int(sample)))

    @tool
    def compute_correlation(self, first: str, second: str) -> _Number:
        """Pearson correlation of two stored series."""
        left, right = self._get(first), self._get(second)
        if len(left) != len(right):
            raise refuse(f"{first!r} has {len(left)} values and {second!r} {len(right)}; they must be equally long")
        for name, values in ((first, left), (second, right)):
            if np.ptp(values) == 0:
                raise refuse(f"all values of series {name!r} are equal; its correlation is undefined")
        return _short(np.corrcoef(left, right)[0, 1])

    @tool
    def compute_determinant(self, matrix: _MATRIX) -> _Number:
        """Determinant of a square matrix."""
        return _short(np.linalg.det(_square(matrix)))

    @tool
    def solve_linear_system(self, matrix: _MATRIX, right_side: _VALUES) -> list[_Number]:
        """Solve matrix times x = right side."""
        coefficients = _square(matrix)
        if len(right_side) != len(matrix):
            raise bad_value(f"right_side must hold {len(matrix)} numbers, one per row, got {len(right_side)}")
        _check_magnitude(right_side, "right_side")
        if np.linalg.matrix_rank(coefficients) < len(matrix):
            raise refuse("the matrix is singular; there is no single solution")
        return [_short(value) for value in np.linalg.solve(coefficients, np.array(right_side, dtype=float))]

    def _get(self, series: str) -> list[_Number]:
        if series not in self.series:
            raise refuse(f"no series {series!r}; there are {', '.join(self.series)}")
        return self.series[series]


def _square(matrix: list[list[float]]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    size = len(matrix)
    if not 1 <= size <= _MAX_ROWS or any(len(row) != size for row in matrix):
        raise bad_value(f"matrix must be square with 1 to {_MAX_ROWS} rows, got row lengths {[*map(len, matrix)]}")
    for row in matrix:
        _check_magnitude(row, "matrix")
    return np.array(matrix, dtype=float).reshape(size, size)


def _check_magnitude(values: list[float], name: str) -> None:
    for value in values:
        if math.isnan(value) or abs(value) > _MAX_MAGNITUDE:
            raise bad_value(f"{name} must lie within {_MAX_MAGNITUDE:.0f} of zero, got {value}")


def _short(value: np.floating) -> _Number:
    return short_number(float(value), 3)
