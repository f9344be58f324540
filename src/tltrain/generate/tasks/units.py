"""What people ask of a converter."""

import random

from tltrain.envs.sandbox.units import Units
from tltrain.generate.templates import Plan, invoke, say, template

_LENGTHS = {"meter": "meters", "kilometer": "kilometers", "mile": "miles", "foot": "feet", "inch": "inches"}
_MASSES = {"gram": "grams", "kilogram": "kilograms", "pound": "pounds", "ounce": "ounces"}
_OTHER_CODES = ("NOK", "MXN", "KRW", "ZAR")


@template(Units)
def length(_kit: Units, rng: random.Random) -> Plan:
    value, (source, target) = rng.randint(2, 400), rng.sample(list(_LENGTHS), 2)
    yield say(
        rng,
        "How many {target} are {value} {source}?",
        "Convert {value} {source} to {target}.",
        "{value} {source} in {target}?",
        "I walked {value} {source}. What is that in {target}?",
        value=value,
        source=_LENGTHS[source],
        target=_LENGTHS[target],
    )
    result = yield invoke("convert_length", value=value, from_unit=source, to_unit=target)
    return f"{value} {_LENGTHS[source]} are {result} {_LENGTHS[target]}."


@template(Units)
def mass(_kit: Units, rng: random.Random) -> Plan:
    value, (source, target) = rng.randint(2, 40) + rng.choice((0, 0.5)), rng.sample(list(_MASSES), 2)
    yield say(
        rng,
        "How heavy are {value} {source} in {target}?",
        "The parcel weighs {value} {source}. How many {target} is that?",
        "{value} {source} to {target}, please.",
        "Express {value} {source} in {target}.",
        value=value,
        source=_MASSES[source],
        target=_MASSES[target],
    )
    result = yield invoke("convert_mass", value=value, from_unit=source, to_unit=target)
    return f"{value} {_MASSES[source]} are {result} {_MASSES[target]}."


@template(Units)
def temperature(_kit: Units, rng: random.Random) -> Plan:
    value, (source, target) = rng.randint(1, 250), rng.sample(["celsius", "fahrenheit", "kelvin"], 2)
    yield say(
        rng,
        "What is {value} degrees {source} in {target}?",
        "Convert a temperature of {value} {source} to {target}.",
        "The thermometer shows {value} {source}; how much is that in {target}?",
        "{value} {source} in {target}",
        value=value,
        source=source.capitalize(),
        target=target.capitalize(),
    )
    result = yield invoke("convert_temperature", value=value, from_unit=source, to_unit=target)
    return f"{value} {source.capitalize()} is {result} {target.capitalize()}."


@template(Units)
def money(kit: Units, rng: random.Random) -> Plan:
    amount, (source, target) = rng.randint(5, 900), _tradable(kit, rng, 2)
    yield say(
        rng,
        "How much is {amount} {source} in {target}?",
        "Convert {amount} {source} to {target}.",
        "I have {amount} {source}. What do I get for that in {target}?",
        "{amount} {source} -> {target}?",
        amount=amount,
        source=source,
        target=target,
    )
    result = yield invoke("convert_currency", amount=amount, from_currency=source, to_currency=target)
    return f"{amount} {source} are {result} {target}."


@template(Units)
def rate(kit: Units, rng: random.Random) -> Plan:
    source, target = rng.sample(["EUR", *kit.per_euro], 2)
    yield say(
        rng,
        "What is the exchange rate from {source} to {target}?",
        "Rate {source} to {target}, please.",
        "At which rate is {source} traded against {target}?",
        "Tell me the current rate from {source} to {target}.",
        source=source,
        target=target,
    )
    result = yield invoke("get_exchange_rate", from_currency=source, to_currency=target)
    return f"1 {source} is {result} {target}."


@template(Units)
def all_currencies(_kit: Units, rng: random.Random) -> Plan:
    yield say(
        rng,
        "Which currencies do you know?",
        "List all currencies that have an exchange rate.",
        "What currencies can I ask about?",
        "Show me the codes of the supported currencies.",
    )
    codes = yield invoke("list_currencies")
    return f"{', '.join(codes)}."


@template(Units)
def new_rate(kit: Units, rng: random.Random) -> Plan:
    currency = rng.choice(list(kit.per_euro))
    per_euro = _changed(kit, rng, currency)
    yield say(
        rng,
        "One euro is now worth {per_euro} {currency}. Record that.",
        "Set the rate of {currency} to {per_euro} per euro.",
        "Please update {currency}: {per_euro} for 1 euro.",
        currency=currency,
        per_euro=per_euro,
    )
    yield invoke("set_exchange_rate", currency=currency, per_euro=per_euro)
    return f"One euro is now {per_euro} {currency}."


@template(Units)
def new_rate_then_money(kit: Units, rng: random.Random) -> Plan:
    currency = rng.choice([code for code in kit.per_euro if code not in kit.suspended])
    per_euro, amount = _changed(kit, rng, currency), rng.randint(5, 300)
    yield say(
        rng,
        "Set {currency} to {per_euro} per euro and then convert {amount} EUR to {currency}.",
        "One euro now buys {per_euro} {currency}: store this rate. How much are {amount} EUR in {currency} then?",
        "Update {currency} to {per_euro} for a euro. After that, what is {amount} EUR in {currency}?",
        currency=currency,
        per_euro=per_euro,
        amount=amount,
    )
    yield invoke("set_exchange_rate", currency=currency, per_euro=per_euro)
    result = yield invoke("convert_currency", amount=amount, from_currency="EUR", to_currency=currency)
    return f"{amount} EUR are now {result} {currency}."


@template(Units)
def money_twice(kit: Units, rng: random.Random) -> Plan:
    amount, (first, second, third) = rng.randint(20, 90), _tradable(kit, rng, 3)
    yield say(
        rng,
        "I change {amount} {first} to {second}, and later all of that to {third}. How much do I end up with?",
        "Convert {amount} {first} to {second}, then the result to {third}.",
        "{amount} {first} into {second}, and what comes out into {third}, please.",
        amount=amount,
        first=first,
        second=second,
        third=third,
    )
    middle = yield invoke("convert_currency", amount=amount, from_currency=first, to_currency=second)
    result = yield invoke("convert_currency", amount=middle, from_currency=second, to_currency=third)
    return f"You get {middle} {second}, and for that {result} {third}."


@template(Units)
def check_then_rate(kit: Units, rng: random.Random) -> Plan:
    currency = rng.choice([*kit.per_euro, *_OTHER_CODES])
    yield say(
        rng,
        "Check the list of currencies for {currency}. If it is there, what is the rate from EUR to {currency}?",
        "Look whether {currency} is among the supported currencies, and if so give me the rate from EUR to {currency}.",
        "Is {currency} one of the listed currencies? If yes, tell me the exchange rate from EUR to {currency}.",
        currency=currency,
    )
    codes = yield invoke("list_currencies")
    if currency not in codes:
        return f"No, {currency} is not on the list."
    result = yield invoke("get_exchange_rate", from_currency="EUR", to_currency=currency)
    return f"Yes, 1 EUR is {result} {currency}."


@template(Units)
def room_size(_kit: Units, rng: random.Random) -> Plan:
    wide, long = rng.sample(range(6, 40), 2)
    source, target = rng.choice([("foot", "meter"), ("meter", "foot"), ("inch", "meter")])
    yield say(
        rng,
        "A rug is {wide} {source} wide and {long} {source} long. Give me the width, then the length, in {target}.",
        "Width {wide} {source}, length {long} {source}: convert the two to {target}, one after the other.",
        "I need {wide} {source} and then {long} {source} in {target}.",
        wide=wide,
        long=long,
        source=_LENGTHS[source],
        target=_LENGTHS[target],
    )
    first = yield invoke("convert_length", value=wide, from_unit=source, to_unit=target)
    second = yield invoke("convert_length", value=long, from_unit=source, to_unit=target)
    return f"{first} by {second} {_LENGTHS[target]}."


@template(Units)
def recipe(_kit: Units, rng: random.Random) -> Plan:
    flour, sugar, butter = rng.sample(range(2, 30), 3)
    source, target = rng.choice([("ounce", "gram"), ("gram", "ounce"), ("pound", "gram")])
    yield say(
        rng,
        "A cake takes {flour} {source} of flour, {sugar} of sugar and {butter} of butter. In this order, in {target}?",
        "Convert my recipe to {target}, one by one: flour {flour}, sugar {sugar}, butter {butter}, all in {source}.",
        "Flour {flour} {source}, sugar {sugar} {source}, butter {butter} {source}: each in {target}, please.",
        flour=flour,
        sugar=sugar,
        butter=butter,
        source=_MASSES[source],
        target=_MASSES[target],
    )
    results = []
    for value in (flour, sugar, butter):
        result = yield invoke("convert_mass", value=value, from_unit=source, to_unit=target)
        results.append(result)
    return "Flour {}, sugar {}, butter {} {}.".format(*results, _MASSES[target])


@template(Units)
def before_and_after(kit: Units, rng: random.Random) -> Plan:
    currency, amount = rng.choice([code for code in kit.per_euro if code not in kit.suspended]), rng.randint(5, 300)
    per_euro = _changed(kit, rng, currency)
    yield say(
        rng,
        "Convert {amount} EUR to {currency}, set {currency} to {per_euro} per euro, then convert {amount} EUR again.",
        "How much are {amount} EUR in {currency} now, and how much after you set the rate to {per_euro} per euro?",
        "First {amount} EUR in {currency}; then make it {per_euro} {currency} per euro; then the same amount again.",
        currency=currency,
        amount=amount,
        per_euro=per_euro,
    )
    before = yield invoke("convert_currency", amount=amount, from_currency="EUR", to_currency=currency)
    yield invoke("set_exchange_rate", currency=currency, per_euro=per_euro)
    after = yield invoke("convert_currency", amount=amount, from_currency="EUR", to_currency=currency)
    return f"{before} {currency} before, {after} {currency} after."


def _tradable(kit: Units, rng: random.Random, num_currencies: int) -> list[str]:
    return rng.sample(["EUR", *(code for code in kit.per_euro if code not in kit.suspended)], num_currencies)


def _changed(kit: Units, rng: random.Random, currency: str) -> float:
    """A new rate that differs from the present one by a tenth or two."""
    return float(f"{kit.per_euro[currency] * rng.choice((0.82, 0.9, 1.1, 1.18)):.3g}")
