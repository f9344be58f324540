"""Laws of the reward, on calls at random and on an adversarial corpus."""

import json
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltrain.rewards.compare import CompareConfig
from tltrain.rewards.judge import RewardRules, judge_calls, judge_text
from tltrain.rewards.rules import RewardTable
from tltrain.syntax import SYNTAXES, get_syntax
from tltrain.taxonomy import OneOf, RightCall
from tltrain.types import AnyCall, MalformedCall, Tool, ToolCall

NAMES = ("day", "hour", "note")
TOOLS = (
    Tool(name="find", parameters={"properties": {name: {} for name in NAMES}}),
    Tool(name="find_all", parameters={"properties": {"day": {}}}),
    Tool(name="finish"),
)
VALUES = st.sampled_from(
    [None, True, 1, 1.0, 0, "1", "Mon", "mon ", "", [], ["a", "b"], ["b", "a"], {"x": [1]}, "1 km", "1000 m"]
)
CALLS = st.builds(
    lambda name, arguments: ToolCall(name=name, arguments=arguments),
    st.sampled_from(["find", "find", "find", "find_all", "finish", "no_tool"]),
    st.dictionaries(st.sampled_from([*NAMES, "colour"]), VALUES, max_size=3),
)
ANY_CALLS = CALLS | st.just(MalformedCall(raw="find(", reason="?"))
GOLDS = st.lists(
    CALLS | st.builds(lambda calls: OneOf(tuple(calls)), st.lists(CALLS, min_size=1, max_size=3)), max_size=3
)
RULES = st.sampled_from(
    [
        RewardRules(),
        RewardRules(compare=CompareConfig(text="folded", units=True, lists_as_sets=True, number_tolerance=1)),
        RewardRules(reward=RewardTable(format=-1, redundant=-3, missing=-2, right=2), compare={"text": "ignored"}),
    ]
)


def first_of(golds: list[RightCall]) -> list[AnyCall]:
    return [gold.calls[-1] if isinstance(gold, OneOf) else gold for gold in golds]


def earn(calls: list[AnyCall], golds: list[RightCall], rules: RewardRules) -> float:
    return judge_calls(calls, TOOLS, golds, rules).total


@given(st.lists(ANY_CALLS, max_size=4), GOLDS, RULES)
def test_a_reward_stays_in_its_range_and_its_parts_add_up(calls, golds, rules):
    result = judge_calls(calls, TOOLS, golds, rules)
    assert rules.reward.lowest <= result.total <= rules.reward.right
    assert sum(result.parts.values()) == pytest.approx(result.total)
    assert (result.total == rules.reward.right) == (result.diagnosis.label == "all_right")


@given(GOLDS, RULES, st.randoms())
def test_the_right_calls_earn_the_most_in_any_order_and_any_order_of_arguments(golds, rules, rng):
    calls = [
        ToolCall(name=call.name, arguments=dict(rng.sample(list(call.arguments.items()), len(call.arguments))))
        for call in first_of(golds)
    ]
    rng.shuffle(calls)
    assert earn(calls, golds, rules) == rules.reward.right


@given(GOLDS, ANY_CALLS, RULES, st.integers(0, 3))
def test_a_call_added_to_the_right_ones_makes_them_wrong(golds, extra, rules, place):
    calls = first_of(golds)
    assert earn([*calls[:place], extra, *calls[place:]], golds, rules) == rules.reward.format


@given(st.lists(ANY_CALLS, min_size=1, max_size=3), ANY_CALLS, CALLS, RULES)
def test_a_call_added_to_any_answer_to_one_call_never_helps(calls, extra, gold, rules):
    assert earn([*calls, extra], [gold], rules) == rules.reward.format


SEVERAL = st.lists(CALLS, min_size=2, max_size=4)


@given(SEVERAL, st.lists(ANY_CALLS, max_size=6), ANY_CALLS, RULES, st.integers(0, 6))
def test_a_call_added_to_as_many_as_are_right_never_helps(golds, calls, extra, rules, place):
    calls = (calls + golds)[: max(len(calls), len(golds))]
    more = [*calls[:place], extra, *calls[place:]]
    assert earn(more, golds, rules) == rules.reward.format
    if rules.reward.format == rules.reward.lowest:  # as in the paper's table
        assert earn(more, golds, rules) <= earn(calls, golds, rules)


@given(SEVERAL, ANY_CALLS, RULES, st.data())
def test_a_wrong_call_in_place_of_a_right_one_costs_what_it_is_worth_alone_or_more(golds, wrong, rules, data):
    most = rules.reward.right
    alone = [earn([wrong], [gold], rules) for gold in golds]
    if most in alone:
        return
    calls = list(golds)
    calls[data.draw(st.integers(0, len(calls) - 1))] = wrong
    earned = earn(calls, golds, rules)
    assert earned <= ((len(golds) - 1) * most + max(alone)) / len(golds) + 1e-9
    assert earned < most


@given(SEVERAL, st.sampled_from(["colour", "size"]), VALUES, RULES, st.data())
def test_an_invented_or_missing_argument_never_helps_among_several_calls(golds, name, value, rules, data):
    place = data.draw(st.integers(0, len(golds) - 1))
    arguments = dict(golds[place].arguments)
    if any(name in gold.arguments for gold in golds):  # a right argument of another call may fit there
        return
    is_invented = data.draw(st.booleans()) or not arguments
    if is_invented:
        arguments[name] = value
    else:
        del arguments[next(iter(arguments))]
    spoilt = ToolCall(name=golds[place].name, arguments=arguments)
    if not is_invented and any(earn([spoilt], [gold], rules) == rules.reward.right for gold in golds):
        return  # what is left is another right call, which the next test is about
    earned = earn([*golds[:place], spoilt, *golds[place + 1 :]], golds, rules)
    assert earned < earn(golds, golds, rules) == rules.reward.right


@given(SEVERAL, RULES, st.data())
def test_a_right_call_said_twice_or_left_out_does_not_stand_for_another(golds, rules, data):
    first, second = data.draw(st.permutations(range(len(golds))))[:2]
    left_out = golds[:first] + golds[first + 1 :]
    expected = ((len(golds) - 1) * rules.reward.right + rules.reward.format) / len(golds)
    assert earn(left_out, golds, rules) == pytest.approx(expected)
    if earn([golds[second]], [golds[first]], rules) != rules.reward.right:
        assert earn([*left_out, golds[second]], golds, rules) < rules.reward.right


@given(CALLS, CALLS, st.sampled_from(["colour", "size"]), VALUES, RULES)
def test_an_invented_argument_never_helps(call, gold, name, value, rules):
    if name in gold.arguments or name in call.arguments:
        return
    more = ToolCall(name=call.name, arguments={**call.arguments, name: value})
    before, after = earn([call], [gold], rules), earn([more], [gold], rules)
    assert after <= max(before, rules.reward.hallucinated)
    assert after < rules.reward.right
    if before == rules.reward.right:
        assert after == rules.reward.hallucinated


@given(CALLS, st.data(), RULES)
def test_leaving_an_argument_out_or_spoiling_it_never_helps(gold, data, rules):
    if not gold.arguments:
        return
    name = data.draw(st.sampled_from(sorted(gold.arguments)))
    less = {key: value for key, value in gold.arguments.items() if key != name}
    spoilt = {**gold.arguments, name: {"changed": gold.arguments[name]}}
    assert earn([ToolCall(name=gold.name, arguments=less)], [gold], rules) == rules.reward.missing
    assert earn([ToolCall(name=gold.name, arguments=spoilt)], [gold], rules) == rules.reward.content


@pytest.mark.parametrize("syntax", SYNTAXES)
@given(text=st.text(max_size=80))
def test_no_text_breaks_the_judge_and_none_is_right_by_chance(syntax, text):
    gold = ToolCall(name="find", arguments={"day": "a day that no chance would write"})
    result = judge_text(text, TOOLS, [gold], get_syntax(syntax), RewardRules())
    assert -2 <= result.total < 1


# ------------------------------------------------------------------------------------------------ adversarial corpus

GOLD = ToolCall(name="find", arguments={"day": "Mon 'x' \"y\"", "hour": 3})


def spoilt_texts(syntax_name: str) -> Iterator[tuple[str, float]]:
    """Texts with the most that each deserves."""
    syntax = get_syntax(syntax_name)
    rng = random.Random(f"corpus:{syntax_name}")
    right = syntax.render("", [GOLD])
    values = ["Mon", "mon 'x' \"y\"", "Mon 'x' \"y\" ", 3, "3", None, True, [GOLD.arguments["day"]], {"day": "Mon"}, ""]
    for value in values:
        yield syntax.render("", [ToolCall(name="find", arguments={"day": value, "hour": 3})]), -0.25
        yield syntax.render("", [ToolCall(name="find", arguments={"day": value})]), -0.5
        yield syntax.render("", [ToolCall(name="find", arguments={**GOLD.arguments, "note": value})]), -0.5
        yield syntax.render("", [ToolCall(name="find", arguments={**GOLD.arguments, "colour": value})]), -0.8
    for name in (
        "Find",
        "find ",
        " find",
        "find_",
        "fin",
        "find_all",
        "finish",
        "find.find",
        "fi\u200bnd",
        "ｆｉｎｄ",
        "fïnd",
    ):
        yield syntax.render("", [ToolCall(name=name, arguments=GOLD.arguments)]), -1.5
    for number in range(2, 60):  # the right call hidden among others, or said again and again
        others = [ToolCall(name=rng.choice(["find", "finish"]), arguments={"day": n}) for n in range(number - 1)]
        yield syntax.render("", rng.sample([*others, GOLD], number)), -2
        yield syntax.render("", [GOLD] * number), -2
    for cut in range(len(right)):  # every beginning, and each sign left out
        # sampling stops once the call is closed, before what may close the list around it
        yield right[:cut], 1 if syntax.looks_complete(right[:cut]) else -2
        yield right[:cut] + right[cut + 1 :], 1
    for _ in range(500):  # one sign put in somewhere
        place = rng.randrange(1, len(right))
        yield right[:place] + rng.choice("'\"(){}[]<>=:,;\\/#\x00\u202e\ud7ff0a_é") + right[place:], 1
    for _ in range(300):  # pieces in another order
        pieces = [right[start : start + 4] for start in range(0, len(right), 4)]
        yield "".join(rng.sample(pieces, len(pieces))), -0.25
    for _ in range(200):  # talk about the call
        words = " ".join(
            rng.choice(["call", "find", "day", "hour=3", "the", "right", "answer", "Mon"]) for _ in range(20)
        )
        yield words, -2
        yield json.dumps({"reward": 1, "answer": words}), -2
        yield f"<!-- {words} --> score: 1.0 \\boxed{{find}} {words}", -2


@pytest.mark.parametrize("syntax_name", SYNTAXES)
def test_no_text_of_the_corpus_earns_more_than_it_deserves(syntax_name):
    syntax = get_syntax(syntax_name)
    corpus = list(spoilt_texts(syntax_name))
    assert len(corpus) >= 2000 / len(SYNTAXES)
    for text, most in corpus:
        calls = syntax.parse(text, tools=TOOLS).calls
        earned = judge_text(text, TOOLS, [GOLD], syntax, RewardRules()).total
        if most == 1:  # full marks only where the very call can be read, and nothing else can
            is_right = len(calls) == 1 and calls[0] == GOLD
            assert (earned == 1) == is_right, text
        else:
            assert earned <= most, (text, earned, most)


def test_the_corpus_is_large():
    assert sum(len({text for text, _ in spoilt_texts(name)}) for name in SYNTAXES) >= 2000
