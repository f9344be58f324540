import pytest
from pydantic import ValidationError

from tltrain.render.rendered import RenderedCall, RenderedParameter
from tltrain.render.tokens import TokenSpan
from tltrain.render.weights import KeyTokenWeighting, argument_weights


@pytest.mark.parametrize(
    ("num_key", "num_nonkey", "weight"),
    [(2, 15, 7.5), (1, 49, 9.0), (4, 2, 1.0), (3, 3, 1.0), (0, 5, 1.0)],
    ids=["ratio", "clipped_above", "clipped_below", "equal", "no_key_tokens"],
)
def test_weight_is_the_clipped_ratio_of_other_tokens_to_key_tokens(num_key, num_nonkey, weight):
    assert KeyTokenWeighting().weight(num_key=num_key, num_nonkey=num_nonkey) == weight


def test_off_weighs_all_tokens_alike():
    assert KeyTokenWeighting(variant="off").weight(num_key=1, num_nonkey=49) == 1.0


@pytest.mark.parametrize(
    ("num_nonkey", "num_values", "weight"),
    [(18, 3, 7.5), (18, 0, 9.0), (3, 3, 1.0)],
    ids=["fewer", "none", "at_least_1"],
)
def test_the_released_code_does_not_count_the_ends_of_values(num_nonkey, num_values, weight):
    # (18 - 3) / 2 = 7.5, where the paper has 18 / 2 = 9.
    weighting = KeyTokenWeighting(variant="released")
    assert weighting.weight(num_key=2, num_nonkey=num_nonkey, num_values=num_values) == weight
    assert KeyTokenWeighting().weight(num_key=2, num_nonkey=18, num_values=3) == 9.0


@pytest.mark.parametrize(
    "fields", [{"w_max": 0.5}, {"w_max": float("inf")}, {"variant": "on"}, {"wmax": 3}, {"value_weight": -1}]
)
def test_bad_settings_are_refused(fields):
    with pytest.raises(ValidationError):
        KeyTokenWeighting(**fields)


def test_a_token_of_a_name_and_a_value_has_the_greater_weight_and_key_tokens_none():
    # Token 2 holds the end of a name and the beginning of its value; token 0 is the name of the tool, 3 a key token.
    parameter = RenderedParameter(name="n", key=TokenSpan(1, 3), value=TokenSpan(2, 4))
    call = RenderedCall(
        number=0,
        span=TokenSpan(0, 4),
        name=TokenSpan(0, 1),
        key_positions=(0, 3),
        num_key=2,
        num_nonkey=2,
        weight=1.0,
        blocked=False,
        parameters=(parameter,),
    )
    assert argument_weights(call, KeyTokenWeighting(parameter_weight=3, value_weight=0)) == {1: 3, 2: 3}
    assert argument_weights(call, KeyTokenWeighting(parameter_weight=0, value_weight=2)) == {1: 0, 2: 2}
    assert argument_weights(call, KeyTokenWeighting()) == {}
