from tltrain.render.conversation import render
from tltrain.render.template import ensure_tool_template
from tltrain.render.weights import KeyTokenWeighting
from tltrain.sft.answers import calls_alone, keeps_answers
from tltrain.syntax import get_syntax
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory

CALL = Message(role=Role.ASSISTANT, calls=(ToolCall(name="get_user", arguments={"n": 1}),))
ANSWER = Message(role=Role.ASSISTANT, content="It is Ana.")


def rendered(smollm2, *messages):
    syntax = get_syntax(ensure_tool_template(smollm2))
    row = Trajectory(
        id="row",
        tools=(Tool(name="get_user"),),
        messages=(Message(role=Role.USER, content="Who?"), *messages),
    )
    return render(row, smollm2, syntax, weighting=KeyTokenWeighting())


def trained(smollm2, sample) -> str:
    pairs = zip(sample.input_ids, sample.weights, strict=True)
    return smollm2.decode([token for token, weight in pairs if weight > 0])


def test_what_follows_the_last_call_is_gone(smollm2):
    feedback = Message(role=Role.TOOL, content="Ana")
    whole = rendered(smollm2, CALL, feedback, ANSWER, Message(role=Role.USER, content="And?"), CALL, feedback, ANSWER)
    alone = calls_alone(whole)
    assert trained(smollm2, alone) == "get_user(n=1)<|im_end|>get_user(n=1)<|im_end|>"
    assert alone.input_ids == whole.input_ids[: len(alone.input_ids)]
    assert smollm2.decode(alone.input_ids).endswith("get_user(n=1)<|im_end|>")
    assert len(alone.weights) == len(alone.input_ids)
    assert [turn.kind for turn in alone.turns] == ["calls", "answer", "calls"]
    assert len(alone.calls) == 2


def test_a_trajectory_of_text_alone_stays_as_it_is(smollm2):
    whole = rendered(smollm2, ANSWER)
    assert calls_alone(whole) is whole


def test_the_share_is_kept_and_decided_by_id_and_seed():
    names = [f"row-{number}" for number in range(2000)]
    kept = {seed: {name for name in names if keeps_answers(name, 0.25, seed)} for seed in (0, 1)}
    assert 400 < len(kept[0]) < 600
    assert kept[0] != kept[1]
    assert kept[0] == {name for name in reversed(names) if keeps_answers(name, 0.25, 0)}
    assert all(keeps_answers(name, 1.0, 0) and not keeps_answers(name, 0.0, 0) for name in names)
