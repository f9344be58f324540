"""What people ask of series of numbers and small linear systems."""

import random
from typing import Any, TypeAlias

from tltrain.envs.sandbox.numbers import Numbers
from tltrain.generate.templates import Plan, invoke, say, template

_Values: TypeAlias = list[Any]
"""Numbers, or rows of numbers. `Any`, since a `list[int]` is no `list[Json]` to a type checker."""
_NEW_NAMES = ("weights", "scores", "delays", "prices", "depths", "results")


@template(Numbers)
def mean_of_series(kit: Numbers, rng: random.Random) -> Plan:
    name = rng.choice(list(kit.series))
    yield say(
        rng,
        "What is the mean of {name}?",
        "Average of the series {name}, please.",
        "How high is {name} on average?",
        "Work out the arithmetic mean of the stored series {name}.",
        name=name,
    )
    mean = yield invoke("compute_mean", series=name)
    return f"The mean of {name} is {mean}."


@template(Numbers)
def median_of_series(kit: Numbers, rng: random.Random) -> Plan:
    name = rng.choice(list(kit.series))
    yield say(
        rng,
        "What is the median of {name}?",
        "I need the median of the series {name}.",
        "Median of {name}?",
        "Tell me the middle value (median) of {name}.",
        name=name,
    )
    median = yield invoke("compute_median", series=name)
    return f"The median of {name} is {median}."


@template(Numbers)
def sample_deviation(kit: Numbers, rng: random.Random) -> Plan:
    name = rng.choice(list(kit.series))
    yield say(
        rng,
        "What is the sample standard deviation of {name}?",
        "Standard deviation of {name} as a sample, so dividing by n - 1.",
        "Please give me the sample standard deviation of the series {name}.",
        name=name,
    )
    deviation = yield invoke("compute_standard_deviation", series=name, sample=True)
    return f"The sample standard deviation of {name} is {deviation}."


@template(Numbers)
def correlation(kit: Numbers, rng: random.Random) -> Plan:
    first, second = _equally_long(kit, rng, 2)
    yield say(
        rng,
        "How strongly are {first} and {second} correlated?",
        "Correlation between {first} and {second}?",
        "Give me the Pearson coefficient for the series {first} and {second}.",
        "Do {first} and {second} go together? I want their correlation.",
        first=first,
        second=second,
    )
    coefficient = yield invoke("compute_correlation", first=first, second=second)
    return f"The correlation of {first} and {second} is {coefficient}."


@template(Numbers)
def determinant(_kit: Numbers, rng: random.Random) -> Plan:
    size = rng.choice((2, 2, 3))
    matrix: _Values = [[rng.randint(2, 9) for _ in range(size)] for _ in range(size)]
    yield say(
        rng,
        "What is the determinant of {matrix}?",
        "Compute det {matrix}.",
        "I have a matrix with the rows {rows}. Its determinant?",
        "Determinant of the matrix with rows {rows}, please.",
        matrix=matrix,
        rows=" and ".join(_listed(row) for row in matrix),
    )
    value = yield invoke("compute_determinant", matrix=matrix)
    return f"The determinant is {value}."


@template(Numbers)
def linear_system(_kit: Numbers, rng: random.Random) -> Plan:
    matrix, right_side = _system(rng)
    yield say(
        rng,
        "Solve {equations}.",
        "Which x and y satisfy {equations}?",
        "Please find x and y: {equations}",
        "I have two equations, {equations}. What are x and y?",
        equations=_equations(matrix, right_side),
    )
    x, y = yield invoke("solve_linear_system", matrix=matrix, right_side=right_side)
    return f"x = {x}, y = {y}."


@template(Numbers)
def store_new_series(_kit: Numbers, rng: random.Random) -> Plan:
    name, values = rng.choice(_NEW_NAMES), _values(rng)
    yield say(
        rng,
        "Save the numbers {values} as {name}.",
        "Remember this series under the name {name}: {values}",
        "Please keep {values} as a series called {name}.",
        name=name,
        values=_listed(values),
    )
    yield invoke("store_series", series=name, values=values)
    return f"{len(values)} values are stored as {name}."


@template(Numbers)
def store_and_deviation(_kit: Numbers, rng: random.Random) -> Plan:
    name, values = rng.choice(_NEW_NAMES), _values(rng)
    yield say(
        rng,
        "Save {values} as {name} and tell me the population standard deviation.",
        "New series {name}: {values}. What is its population standard deviation?",
        "Put the numbers {values} under the name {name}; then compute the population standard deviation.",
        name=name,
        values=_listed(values),
    )
    yield invoke("store_series", series=name, values=values)
    deviation = yield invoke("compute_standard_deviation", series=name)
    return f"The standard deviation of {name} is {deviation}."


@template(Numbers)
def replace_and_median(kit: Numbers, rng: random.Random) -> Plan:
    name, values = rng.choice(list(kit.series)), _values(rng)
    yield say(
        rng,
        "Overwrite the series {name} with {values}, then give me the median.",
        "The stored {name} are wrong. Replace them by {values}; what is the new median?",
        "{name} already exists; overwrite it with {values} and compute its median.",
        name=name,
        values=_listed(values),
    )
    yield invoke("store_series", series=name, values=values, overwrite=True)
    median = yield invoke("compute_median", series=name)
    return f"The median of {name} is now {median}."


@template(Numbers)
def compare_means(kit: Numbers, rng: random.Random) -> Plan:
    first, second = rng.sample(list(kit.series), 2)
    yield say(
        rng,
        "Which has the higher mean, {first} or {second}?",
        "Is {first} higher than {second} on average? Check them in this order.",
        "Compare the mean of {first} with the mean of {second}.",
        first=first,
        second=second,
    )
    one = yield invoke("compute_mean", series=first)
    other = yield invoke("compute_mean", series=second)
    sign = ">" if one > other else "<" if one < other else "="
    return f"{first} {one} {sign} {second} {other}."


@template(Numbers)
def store_means(kit: Numbers, rng: random.Random) -> Plan:
    first, second = rng.sample(list(kit.series), 2)
    name = rng.choice(_NEW_NAMES)
    yield say(
        rng,
        "Compute the means of {first} and of {second}, and store the two as {name}.",
        "I want a series {name} that holds the mean of {first} and then the mean of {second}.",
        "Take the average of {first}, then that of {second}; save both under {name}.",
        first=first,
        second=second,
        name=name,
    )
    means = []
    for series in (first, second):
        mean = yield invoke("compute_mean", series=series)
        means.append(mean)
    yield invoke("store_series", series=name, values=means)
    return f"{name} holds {means[0]} and {means[1]}."


@template(Numbers)
def solve_and_store(_kit: Numbers, rng: random.Random) -> Plan:
    matrix, right_side = _system(rng)
    name = rng.choice(_NEW_NAMES)
    yield say(
        rng,
        "Solve {equations}; store the solution as {name} and tell me its mean.",
        "Find x and y in {equations}. Save them as the series {name}, then compute its mean.",
        "{equations}: keep x and y as {name} and give me the average of {name}.",
        equations=_equations(matrix, right_side),
        name=name,
    )
    solution = yield invoke("solve_linear_system", matrix=matrix, right_side=right_side)
    yield invoke("store_series", series=name, values=solution)
    mean = yield invoke("compute_mean", series=name)
    return f"x = {solution[0]}, y = {solution[1]}, with mean {mean}."


@template(Numbers)
def three_statistics(kit: Numbers, rng: random.Random) -> Plan:
    name = rng.choice(list(kit.series))
    yield say(
        rng,
        "Median, mean and sample standard deviation of {name}, in this order.",
        "Describe {name}: first the median, then the mean, then the sample standard deviation.",
        "For {name} I need the median, the mean and, last, the sample standard deviation.",
        name=name,
    )
    median = yield invoke("compute_median", series=name)
    mean = yield invoke("compute_mean", series=name)
    deviation = yield invoke("compute_standard_deviation", series=name, sample=True)
    return f"Median {median}, mean {mean}, sample standard deviation {deviation}."


def _equally_long(kit: Numbers, rng: random.Random, num_series: int) -> list[str]:
    longest = max(len(values) for values in kit.series.values())
    return rng.sample([name for name, values in kit.series.items() if len(values) == longest], num_series)


def _values(rng: random.Random) -> _Values:
    values = rng.sample(range(2, 80), rng.randint(3, 5))
    return [value / 4 if rng.random() < 0.2 and value % 4 else value for value in values]


def _listed(values: _Values) -> str:
    return ", ".join(str(value) for value in values)


def _system(rng: random.Random) -> tuple[_Values, _Values]:
    """Two equations in x and y with one solution in integers."""
    x, y = rng.randint(-6, 9), rng.randint(-6, 9)
    while True:
        matrix: _Values = [[rng.randint(2, 7), rng.choice((-5, -4, -3, -2, 2, 3, 4, 5))] for _ in range(2)]
        (a, b), (c, d) = matrix
        if a * d != b * c:
            return matrix, [a * x + b * y, c * x + d * y]


def _equations(matrix: _Values, right_side: _Values) -> str:
    return " and ".join(
        f"{a}x {'+' if b > 0 else '-'} {abs(b)}y = {value}" for (a, b), value in zip(matrix, right_side, strict=True)
    )
