"""Numbers as tools answer them: few digits, so that results stay short."""


def short_number(value: float, digits: int = 4) -> int | float:
    """`value`, finite, rounded to `digits` decimals; a whole number comes back as an integer."""
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded
