"""Under every chat template that people use, the assistant's own tokens are trained and no others."""

from typing import Any

import pytest

from render.template_checks import Counts, check_sample
from render.template_shapes import SHAPES, Shape, with_shape, word_start_tokenizer
from tltrain.render.template import ensure_tool_template

NUM_SAMPLES = 15
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@pytest.fixture(scope="module")
def word_start() -> Any:
    return word_start_tokenizer()


@each_shape
@pytest.mark.parametrize("kind", ["byte_level", "word_start"])
def test_the_assistants_own_tokens_are_trained(shape: Shape, kind: str, smollm2: Any, word_start: Any):
    tokenizer = with_shape(smollm2 if kind == "byte_level" else word_start, shape)
    assert ensure_tool_template(tokenizer) == shape.syntax
    counts = Counts()
    for seed in range(NUM_SAMPLES):
        check_sample(shape, tokenizer, seed, counts)
    assert not counts.problems
    assert (counts.samples, counts.refused, counts.wrong_tokens, counts.wrong_calls) == (NUM_SAMPLES, 0, 0, 0)
    assert counts.tokens > 0
    assert counts.calls > 0
