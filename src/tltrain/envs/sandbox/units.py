"""Unit and currency conversion, with exchange rates that can be set."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from tltrain.envs.sandbox.rounding import short_number
from tltrain.envs.toolkit import Toolkit, bad_value, refuse, tool

_LENGTH = Literal["meter", "kilometer", "mile", "foot", "inch"]
_MASS = Literal["gram", "kilogram", "pound", "ounce"]
_TEMPERATURE = Literal["celsius", "fahrenheit", "kelvin"]
_CURRENCY = Annotated[str, "code such as EUR"]
_Number: TypeAlias = int | float

# Exact by definition: the international yard and pound of 1959.
_METERS = {"meter": 1.0, "kilometer": 1000.0, "mile": 1609.344, "foot": 0.3048, "inch": 0.0254}
_GRAMS = {"gram": 1.0, "kilogram": 1000.0, "pound": 453.59237, "ounce": 28.349523125}
_MAX_QUANTITY = 1e9

_BASE = "EUR"
_PER_EURO = {
    "USD": 1.09,
    "GBP": 0.85,
    "CHF": 0.96,
    "JPY": 162.0,
    "SEK": 11.3,
    "CAD": 1.48,
    "PLN": 4.3,
    "BRL": 5.9,
    "INR": 90.5,
}
_MAX_EUROS = 10_000
_MAX_CHANGE = 0.25


class Units(Toolkit):
    """Conversions. Exchange rates are per euro; one currency is suspended: it has a rate but cannot be converted."""

    name = "units"

    def __init__(self, seed: int):
        super().__init__(seed)
        codes = self.rng.sample(list(_PER_EURO), 5)
        self.per_euro: dict[str, _Number] = {
            code: float(f"{_PER_EURO[code] * self.rng.uniform(0.95, 1.05):.4g}") for code in codes
        }
        self.suspended: list[str] = [codes[-1]]

    @tool
    def convert_length(self, value: float, from_unit: _LENGTH, to_unit: _LENGTH) -> _Number:
        """Convert a length."""
        return _convert(value, from_unit, to_unit, _METERS)

    @tool
    def convert_mass(self, value: float, from_unit: _MASS, to_unit: _MASS) -> _Number:
        """Convert a mass."""
        return _convert(value, from_unit, to_unit, _GRAMS)

    @tool
    def convert_temperature(self, value: float, from_unit: _TEMPERATURE, to_unit: _TEMPERATURE) -> _Number:
        """Convert a temperature."""
        _check_different(from_unit, to_unit)
        if not -1e6 <= value <= 1e6:
            raise bad_value(f"value must lie within 1000000 degrees of zero, got {value}")
        celsius = {"celsius": value, "fahrenheit": (value - 32) * 5 / 9, "kelvin": value - 273.15}[from_unit]
        if round(celsius, 6) < -273.15:
            raise bad_value(f"value must not be below absolute zero (-273.15 celsius), got {value} {from_unit}")
        return short_number(
            {"celsius": celsius, "fahrenheit": celsius * 9 / 5 + 32, "kelvin": celsius + 273.15}[to_unit], 2
        )

    @tool
    def convert_currency(self, amount: float, from_currency: _CURRENCY, to_currency: _CURRENCY) -> _Number:
        """Convert an amount of money."""
        rate = self._rate(from_currency, to_currency)
        if not 0 < amount <= _MAX_EUROS * self._get(from_currency):
            raise bad_value(f"amount must be above 0 and worth at most {_MAX_EUROS} EUR, got {amount} {from_currency}")
        for currency in (from_currency, to_currency):
            if currency in self.suspended:
                raise refuse(f"conversion of {currency} is suspended")
        return short_number(amount * rate, 2)

    @tool
    def list_currencies(self) -> list[str]:
        """Codes of all currencies that have a rate."""
        return [_BASE, *sorted(self.per_euro)]

    @tool
    def get_exchange_rate(self, from_currency: _CURRENCY, to_currency: _CURRENCY) -> _Number:
        """Price of one unit of a currency in another."""
        return short_number(self._rate(from_currency, to_currency))

    @tool
    def set_exchange_rate(self, currency: _CURRENCY, per_euro: float) -> str:
        """Set what one euro is worth in a currency."""
        if currency == _BASE:
            raise refuse("the rate of EUR is fixed at 1")
        old = self._get(currency)
        if not per_euro > 0:  # not-a-number fails, too
            raise bad_value(f"per_euro must be above 0, got {per_euro}")
        if abs(per_euro / old - 1) > _MAX_CHANGE:
            raise refuse(f"{per_euro} is more than {_MAX_CHANGE:.0%} away from the present rate {old}")
        self.per_euro[currency] = per_euro
        return "set"

    def _rate(self, from_currency: str, to_currency: str) -> float:
        _check_different(from_currency, to_currency)
        return self._get(to_currency) / self._get(from_currency)

    def _get(self, currency: str) -> float:
        if currency == _BASE:
            return 1.0
        if currency not in self.per_euro:
            raise refuse(f"no rate for {currency!r}; there are {', '.join(self.list_currencies())}")
        return self.per_euro[currency]


def _convert(value: float, from_unit: str, to_unit: str, factors: Mapping[str, float]) -> _Number:
    _check_different(from_unit, to_unit)
    if not 0 <= value <= _MAX_QUANTITY:
        raise bad_value(f"value must be 0 to {_MAX_QUANTITY:.0f}, got {value}")
    return short_number(value * factors[from_unit] / factors[to_unit], 3)


def _check_different(source: str, target: str) -> None:
    if source == target:
        raise refuse(f"{source} to {target}: nothing to convert")
