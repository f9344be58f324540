import pytest
from pydantic import ValidationError

from tltrain.render.weights import KeyTokenWeighting


@pytest.mark.parametrize(
    ("num_key", "num_nonkey", "weight"),
    [(2, 15, 7.5), (1, 49, 9.0), (4, 2, 1.0), (3, 3, 1.0), (0, 5, 1.0)],
    ids=["ratio", "clipped_above", "clipped_below", "equal", "no_key_tokens"],
)
def test_weight_is_the_clipped_ratio_of_other_tokens_to_key_tokens(num_key, num_nonkey, weight):
    assert KeyTokenWeighting().weight(num_key=num_key, num_nonkey=num_nonkey) == weight


def test_off_weighs_all_tokens_alike():
    assert KeyTokenWeighting(variant="off").weight(num_key=1, num_nonkey=49) == 1.0


@pytest.mark.parametrize("fields", [{"w_max": 0.5}, {"w_max": float("inf")}, {"variant": "on"}, {"wmax": 3}])
def test_bad_settings_are_refused(fields):
    with pytest.raises(ValidationError):
        KeyTokenWeighting(**fields)
