from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tltrain.sft.heldout as heldout_module
from tltrain.engine.head import TokenScores
from tltrain.render.rendered import RenderedCall, RenderedParameter, RenderedTrajectory
from tltrain.render.tokens import TokenSpan
from tltrain.sft.heldout import is_measurable, measure_heldout


def _call(start: int, *, has_parameter: bool, blocked: bool = False) -> RenderedCall:
    """A name of one token, then a parameter's name and its value of one each."""
    parameter = RenderedParameter(name="n", key=TokenSpan(start + 1, start + 2), value=TokenSpan(start + 2, start + 3))
    return RenderedCall(
        number=0,
        span=TokenSpan(start, start + 3),
        name=TokenSpan(start, start + 1),
        key_positions=(),
        num_key=0,
        num_nonkey=3,
        weight=1.0,
        blocked=blocked,
        parameters=(parameter,) if has_parameter else (),
    )


def _rendered(*calls: RenderedCall) -> RenderedTrajectory:
    return RenderedTrajectory(
        id="t", input_ids=list(range(10)), weights=[0.0] + [1.0] * 9, turns=(), calls=calls, text=""
    )


def test_a_call_is_right_if_its_name_parameters_and_values_all_are(monkeypatch: pytest.MonkeyPatch):
    # one with a wrong value, one that is right, one without parameters whose next tokens are wrong
    greedy = torch.tensor([True, True, False, True, True, True, True, False, False])
    scores = TokenScores(-torch.arange(1.0, 10.0), torch.zeros(9), greedy)
    monkeypatch.setattr(heldout_module, "target_scores", lambda *_, **__: SimpleNamespace(scores=scores))
    model: Any = torch.nn.Linear(1, 1)
    rendered = _rendered(*(_call(start, has_parameter=start < 7) for start in (1, 4, 7)))
    measured = measure_heldout(model, [rendered], max_tokens=100)
    assert measured == {
        "nll": 5.0,
        "name_nll": 4.0,  # of 1, 4 and 7
        "parameter_nll": 3.5,
        "value_nll": 4.5,
        "text_nll": 8.5,
        "call_accuracy": pytest.approx(2 / 3),
        "name_accuracy": 1.0,
        "parameter_accuracy": 1.0,
        "value_accuracy": 0.5,
    }


def test_what_can_be_measured():
    plain, blocked = _rendered(_call(1, has_parameter=False)), _rendered(_call(1, has_parameter=True, blocked=True))
    measures = ("nll", "call_accuracy", "name_accuracy", "parameter_accuracy", "value_accuracy")
    assert [is_measurable([plain], measure) for measure in measures] == [True, True, True, False, False]
    assert [is_measurable([blocked], measure) for measure in measures] == [True, False, False, False, False]
    assert not any(is_measurable([], measure) for measure in measures)
