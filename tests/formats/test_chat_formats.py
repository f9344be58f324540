import copy
import json

import pytest
from msgspec.structs import replace

from formats.chat_rows import ANSWER, ASK, FUNCTION, ROWS, SCHEMA
from formats.reading import read_one, refuses
from tltrain.formats import export, llama_factory, ms_swift
from tltrain.formats.detect import FORMATS, detect_format
from tltrain.formats.loss_fields import with_masks
from tltrain.formats.openai_rows import INPUT_REASON
from tltrain.types import MalformedCall, Role, Tool, ToolCall, WeightSpan, iterate_calls

FORECAST = Tool(name="forecast", description="Weather of the next days.", parameters=SCHEMA)
WRONG, RIGHT = (
    ToolCall(name="forecast", arguments={"town": "Rome"}),
    ToolCall(name="forecast", arguments={"city": "Rome"}),
)


def read_fixture(name, number=0):
    return read_one(FORMATS[name], copy.deepcopy(ROWS[name][number]))


def of_assistant(trajectory, field):
    return [getattr(message, field) for message in trajectory.messages if message.role is Role.ASSISTANT]


@pytest.mark.parametrize("name", ROWS)
def test_the_format_of_each_fixture_is_found(name):
    for row in ROWS[name]:
        assert detect_format([row], "f").name == name


@pytest.mark.parametrize("name", [name for name in ROWS if name not in ("hermes",)])
def test_one_telling_row_among_plain_ones_is_enough(name):
    plain = ROWS["hermes"][1] if name == "llama_factory" else {"messages": [{"role": "user", "content": "Hi"}]}
    if name == "axolotl_segments":
        plain = ROWS[name][0]
    assert detect_format([plain] * 9 + [ROWS[name][0]] + [plain] * 10, "f").name == name


def test_weights_reasons_and_provenance_of_tltrain_rows():
    trajectory = read_fixture("tltrain")
    assert (trajectory.id, trajectory.provenance) == ("r1", {"teacher": "hand"})
    assert of_assistant(trajectory, "weight") == [0.0, None, None]
    assert of_assistant(trajectory, "mask_reason") == ["error: unexpected_argument", "", ""]


def test_openai_preference_rows_teach_the_preferred_side():
    trajectory = read_fixture("openai", 1)
    assert [step.call for step in iterate_calls(trajectory)] == [RIGHT]
    assert trajectory.tools == (FORECAST,)
    assert "non_preferred_output" in trajectory.provenance


def test_anthropic_blocks():
    trajectory = read_fixture("anthropic")
    roles = [message.role for message in trajectory.messages]
    assert roles == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL, Role.USER, Role.ASSISTANT]
    turn = trajectory.messages[2]
    assert (turn.content, turn.reasoning, turn.calls) == ("I look.", "I need the tool.", (WRONG,))
    assert [step.feedback for step in iterate_calls(trajectory)] == ["unknown argument"]
    assert trajectory.messages[4].content == "Go on."
    assert trajectory.provenance == {"is_error": ["t1"]}
    assert trajectory.tools == (Tool(name="forecast", description="Weather.", parameters=SCHEMA),)


def test_errors_of_anthropic_and_ms_swift_rows_name_the_message_of_the_file():
    row = copy.deepcopy(ROWS["anthropic"][0])
    row["messages"].append({"role": "assistant", "content": [{"type": "server_tool_use", "id": "s"}]})
    place = len(row["messages"]) - 1
    refuses(FORMATS["anthropic"], row, rf"messages\[{place}\].content\[0\] is of type 'server_tool_use'")
    row["messages"][-1]["content"] = 3
    refuses(FORMATS["anthropic"], row, rf"messages\[{place}\].content is neither")
    row = copy.deepcopy(ROWS["ms_swift"][0])
    row["messages"] += [{"role": "user", "content": "And?"}, {"role": "tool_response", "content": "late"}]
    place = len(row["messages"]) - 1
    refuses(FORMATS["ms_swift"], row, rf"messages\[{place}\] has role tool but follows neither")


def test_hermes_text():
    trajectory = read_fixture("hermes")
    assert trajectory.tools == (FORECAST,)
    assert trajectory.messages[0].role is Role.USER, "the instructions were all of the system text"
    steps = list(iterate_calls(trajectory))
    assert [step.call for step in steps] == [WRONG, RIGHT, RIGHT]
    assert [step.feedback for step in steps] == ["unknown argument", "clear", "rain"]
    assert of_assistant(trajectory, "reasoning") == ["The tool.", "", ""]
    assert of_assistant(trajectory, "content") == ["", "Both.", ANSWER]


def test_llama_factory_v0():
    trajectory = read_fixture("llama_factory")
    steps = list(iterate_calls(trajectory))
    assert [step.call for step in steps] == [WRONG, RIGHT, RIGHT]
    assert [step.feedback for step in steps] == ["unknown argument", "clear", "rain"]
    assert of_assistant(trajectory, "weight") == [0.0, 1.0, 1.0]
    assert trajectory.messages[0].content == "Be brief."
    assert trajectory.tools == (FORECAST,)


def test_llama_factory_v1():
    trajectory = read_fixture("llama_factory_v1")
    turn = trajectory.messages[1]
    assert (turn.reasoning, turn.content, turn.calls, turn.weight) == ("The tool.", "I look.", (WRONG,), 0.5)
    assert trajectory.provenance == {"teacher": "hand"}


def test_ms_swift_groups_of_calls_have_one_flag():
    trajectory = read_fixture("ms_swift")
    turn = trajectory.messages[1]
    assert (turn.reasoning, turn.content, turn.calls) == ("The tool.", "I look.", (WRONG, RIGHT))
    assert (turn.weight, turn.spans) == (
        1.0,
        (WeightSpan("tool_calls[0]", 0, None, 0.0), WeightSpan("tool_calls[1]", 0, None, 0.0)),
    )
    assert [step.feedback for step in iterate_calls(trajectory)] == ["unknown argument", "clear"]
    assert trajectory.messages[-1].weight == 2.0


def test_axolotl_details_end_with_their_last_character():
    trajectory = read_fixture("axolotl")
    assert of_assistant(trajectory, "weight") == [0.0, 1.0, 1.0]
    assert ANSWER[0:5] == "Sunny"
    assert trajectory.messages[-1].spans == (WeightSpan("content", 0, 5, 1.0), WeightSpan("content", 5, 14, 0.0))


def test_axolotl_does_not_train_what_no_detail_covers():
    row = copy.deepcopy(ROWS["axolotl"][0])
    del row["messages"][-1]["train_detail"][1]
    assert read_one(FORMATS["axolotl"], row).messages[-1].spans == (
        WeightSpan("content", 0, None, 0.0),
        WeightSpan("content", 0, 5, 1.0),
    )


def test_axolotl_details_cover_the_whole_text():
    trajectory = read_fixture("axolotl")
    last = replace(trajectory.messages[-1], spans=(WeightSpan("content", 0, 5, 0.0),), weight=None)
    row, _ = FORMATS["axolotl"].write(replace(trajectory, messages=(*trajectory.messages[:-1], last)), {})
    assert row["messages"][-1]["train_detail"] == [
        {"begin_offset": 0, "end_offset": 4, "train": False},
        {"begin_offset": 5, "end_offset": len(ANSWER) - 1, "train": True},
    ]


def test_calls_that_cannot_be_read_are_text_in_axolotl_rows():
    row, lost = FORMATS["axolotl"].write(with_unreadable_call(), BOTH)
    turn = row["messages"][1]
    assert (turn["content"], len(turn["tool_calls"]), turn["train"]) == (UNREADABLE.raw, 1, False)
    assert export.MALFORMED_AS_TEXT in lost


def test_axolotl_segments_have_feedback_in_turns_of_the_user_and_train_up_to_the_end_of_a_turn():
    row, _ = written("axolotl_segments", {})
    text = "".join(segment["text"] for segment in row["segments"])
    assert "<|im_start|>user\n<tool_response>\n" in text
    assert "<|im_start|>tool" not in text
    trained = [segment["text"] for segment in row["segments"] if segment["label"]]
    assert all(each.endswith("<|im_end|>") for each in trained)


def test_ms_swift_trains_the_end_of_a_last_message_that_does_not_teach():
    trajectory = two_calls()
    messages = (*trajectory.messages[:-1], replace(trajectory.messages[-1], weight=0.0))
    _, lost = FORMATS["ms_swift"].write(replace(trajectory, messages=messages), {})
    assert ms_swift.LAST_END in lost
    assert ms_swift.LAST_END not in written("ms_swift", BOTH).lost


def test_axolotl_segments_label_single_calls():
    trajectory = read_fixture("axolotl_segments")
    assert trajectory.messages[0].content == ASK
    turn = trajectory.messages[1]
    assert (turn.calls, turn.weight, turn.spans) == (
        (WRONG, RIGHT),
        None,
        (WeightSpan("tool_calls[0]", 0, None, 0.0),),
    )


def test_verl_rows():
    assert of_assistant(read_fixture("verl"), "weight") == [0.0, 1.0, 1.0]
    prompt = read_fixture("verl", 1)
    assert [message.role for message in prompt.messages] == [Role.SYSTEM, Role.USER]
    assert prompt.provenance["reward_model"]["ground_truth"].startswith('{"name": "forecast"')


def test_trl_prompts_do_not_teach():
    whole, pair, preference = (read_fixture("trl", number) for number in range(3))
    assert whole.tools == pair.tools == (FORECAST,)
    assert whole.provenance == {"chat_template_kwargs": {"enable_thinking": False}}
    assert [step.call for step in iterate_calls(whole)] == [WRONG, RIGHT]
    assert of_assistant(pair, "weight") == [0.0, None, None]
    assert of_assistant(pair, "mask_reason") == [INPUT_REASON, "", ""]
    assert [step.call for step in iterate_calls(preference)] == [RIGHT]


def two_calls():
    """A message with text, a wrong call and a right one; its first call is to be masked."""
    trajectory = read_fixture("ms_swift")
    messages = tuple(replace(message, weight=None, spans=()) for message in trajectory.messages)
    return replace(trajectory, messages=messages)


def written(name, masks):
    return FORMATS[name].write(two_calls(), masks)


ONE = {0: "error: unexpected_argument"}
BOTH = {0: "error: unexpected_argument", 1: "error: refused"}


def test_masks_become_weights_and_spans():
    turn = with_masks(two_calls(), ONE).messages[1]
    assert (turn.weight, turn.spans) == (None, (WeightSpan("tool_calls[0]", 0, None, 0.0),))
    assert turn.mask_reason == "error: unexpected_argument"
    turn = with_masks(two_calls(), BOTH).messages[1]
    assert (turn.weight, turn.spans) == (0.0, ())
    assert turn.mask_reason == "error: unexpected_argument; error: refused"


PART = "loss weights of parts of a message; the whole message takes the lowest of them"


def test_masks_in_tltrain_rows():
    message = written("tltrain", ONE).row["messages"][1]
    assert message["spans"] == [{"field": "tool_calls[0]", "start": 0, "end": None, "weight": 0.0}]
    assert "weight" not in message
    assert written("tltrain", BOTH).row["messages"][1]["weight"] == 0.0
    assert written("tltrain", ONE).lost == ()


@pytest.mark.parametrize(
    ("name", "field", "masked", "trained"),
    [("openai", "weight", 0, None), ("axolotl", "train", False, True), ("verl", "loss_mask", 0, 1)],
)
@pytest.mark.parametrize("masks", [ONE, BOTH])
def test_masks_of_whole_messages(name, field, masked, trained, masks):
    row, lost = written(name, masks)
    flags = [message.get(field) for message in row["messages"] if message["role"] == "assistant"]
    assert flags == [masked, trained]
    assert (PART in lost) is (masks is ONE)


def test_masks_in_llama_factory_rows():
    row, lost = written("llama_factory", BOTH)
    assert [turn["from"] for turn in row["conversations"]] == ["human", "function_call", "observation", "gpt"]
    assert row["loss_mask"] == [0, 0, 0, 1]
    assert any("pending" in phrase for phrase in lost)
    row, _ = written("llama_factory_v1", BOTH)
    assert [message["loss_weight"] for message in row["messages"]] == [0.0, 0.0, 0.0, 0.0, 1.0]


def test_masks_in_ms_swift_rows_stand_on_the_first_of_a_group():
    row, lost = written("ms_swift", BOTH)
    assert [(m["role"], m.get("loss")) for m in row["messages"]] == [
        ("user", None),
        ("assistant", False),
        ("tool_call", False),
        ("tool_call", None),
        ("tool_response", None),
        ("tool_response", None),
        ("assistant", None),
    ]
    row, lost = written("ms_swift", ONE)
    assert [m.get("loss") for m in row["messages"]] == [None, None, False, None, None, None, None]
    assert PART in lost, "the second call stands in the same group"


UNREADABLE = MalformedCall(raw="forecast(city: 'Rome')", reason="a colon")


def with_unreadable_call():
    """The first call of the second message cannot be read."""
    trajectory = two_calls()
    messages = list(trajectory.messages)
    messages[1] = replace(messages[1], calls=(UNREADABLE, RIGHT), content="", reasoning="")
    return replace(trajectory, messages=tuple(messages))


# Each of these trainers decodes a call as JSON, and at one that is none leaves out the row or stops.
def test_calls_that_cannot_be_read_are_text_in_ms_swift_rows():
    row, lost = FORMATS["ms_swift"].write(with_unreadable_call(), ONE)
    assert [(m["role"], m["content"], m.get("loss")) for m in row["messages"][1:3]] == [
        ("assistant", UNREADABLE.raw, False),
        ("tool_call", '{"name": "forecast", "arguments": {"city": "Rome"}}', None),
    ]
    assert export.MALFORMED_AS_TEXT in lost


def test_calls_that_cannot_be_read_are_text_in_llama_factory_rows():
    row, lost = FORMATS["llama_factory"].write(with_unreadable_call(), BOTH)
    turn = row["conversations"][1]
    assert (turn["from"], turn["value"].split("\n")[0]) == ("function_call", UNREADABLE.raw)
    assert row["loss_mask"][1] == 0
    assert export.MALFORMED_AS_TEXT in lost
    row, lost = FORMATS["llama_factory_v1"].write(with_unreadable_call(), BOTH)
    assert row["messages"][1]["content"][0] == {"type": "text", "value": UNREADABLE.raw}
    assert export.MALFORMED_AS_TEXT in lost


@pytest.mark.parametrize("name", ["ms_swift", "llama_factory", "llama_factory_v1"])
def test_a_text_that_a_tool_answers_is_read_as_a_call(name):
    trajectory = read_fixture("verl")
    messages = list(trajectory.messages)
    place = next(place for place, message in enumerate(messages) if message.calls)
    messages[place] = replace(messages[place], calls=(UNREADABLE,), content="", reasoning="")
    row, _ = FORMATS[name].write(replace(trajectory, messages=tuple(messages)), {})
    [first, *_] = iterate_calls(read_one(FORMATS[name], row))
    assert isinstance(first.call, MalformedCall)
    assert first.call.raw == UNREADABLE.raw


def test_llama_factory_rows_all_have_the_columns_that_dataset_info_names():
    row, _ = written("llama_factory", {})
    assert row["system"] == ""


def test_llama_factory_leaves_out_rows_that_end_with_feedback():
    trajectory = two_calls()
    _, lost = FORMATS["llama_factory"].write(replace(trajectory, messages=trajectory.messages[:-1]), {})
    assert llama_factory.ALTERNATION in lost
    assert llama_factory.ALTERNATION not in written("llama_factory", {}).lost


def test_llama_factory_calls_beside_text_stand_between_tags():
    row, lost = written("llama_factory", {})
    value = row["conversations"][1]["value"]
    assert value.startswith("<think>\nThe tool.\n</think>\n\nI look.\n<tool_call>[{")
    assert value.endswith("}]</tool_call>")
    assert llama_factory.CALLS_BESIDE_TEXT not in lost
    turn = read_one(FORMATS["llama_factory"], row).messages[1]
    assert (turn.reasoning, turn.content, turn.calls) == ("The tool.", "I look.", (WRONG, RIGHT))


def test_llama_factory_v1_shows_whole_tool_documents_and_none_where_there_are_none():
    row, _ = written("llama_factory_v1", {})
    assert json.loads(row["tools"]) == [{"type": "function", "function": FUNCTION}]
    row, _ = FORMATS["llama_factory_v1"].write(replace(two_calls(), tools=()), {})
    assert row["tools"] == ""


def test_masks_in_axolotl_segments_fall_on_single_calls():
    row, _ = written("axolotl_segments", ONE)
    untrained = "".join(segment["text"] for segment in row["segments"] if not segment["label"])
    trained = "".join(segment["text"] for segment in row["segments"] if segment["label"])
    assert '"town"' in untrained
    assert '"city": "Rome"' in trained
    assert "I look." in trained
    assert ANSWER in trained


def test_trl_trains_what_follows_the_last_masked_message():
    row, lost = written("trl", BOTH)
    assert [message["role"] for message in row["prompt"]] == ["user", "assistant", "tool", "tool"]
    assert row["completion"] == [{"role": "assistant", "content": ANSWER}]
    assert not any("TRL" in phrase for phrase in lost)


def test_what_trl_cannot_mask_is_said():
    trajectory = read_fixture("openai")
    later = FORMATS["trl"].write(trajectory, {1: "error: refused"})
    assert later.row["prompt"], "the first two calls are masked, and the answer teaches"
    first = read_fixture("verl")
    weights = iter([None, 0.0, None])
    messages = tuple(replace(m, weight=next(weights)) if m.role is Role.ASSISTANT else m for m in first.messages)
    row, lost = FORMATS["trl"].write(replace(first, messages=messages), {})
    assert [message.get("weight") for message in row["messages"] if message["role"] == "assistant"] == [None, 0.0, None]
    assert any("TRL does not look" in phrase for phrase in lost)


def test_openai_weights_are_rounded_and_said_to_be():
    trajectory = read_fixture("llama_factory_v1")
    row, lost = FORMATS["openai"].write(trajectory, {})
    assert [m.get("weight") for m in row["messages"]] == [None, 1, None, 1]
    assert any("rounded" in phrase for phrase in lost)
    assert FUNCTION in [tool["function"] for tool in row["tools"]]
