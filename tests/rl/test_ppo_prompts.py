import pytest
from msgspec.structs import replace

from tltrain.engine.model import load_tokenizer
from tltrain.render.conversation import render
from tltrain.render.template import ensure_tool_template
from tltrain.render.weights import KeyTokenWeighting
from tltrain.rl.prompts import make_prompts, split_heldout
from tltrain.syntax import get_syntax
from tltrain.types import MalformedCall, Message, Role, Tool, ToolCall, Trajectory

PYTHON = get_syntax("python")
TOOLS = (Tool(name="get_user"), Tool(name="finish"))


def user(content):
    return Message(role=Role.USER, content=content)


def calls(*names, text=""):
    made = tuple(MalformedCall(raw="get_user(", reason="no end") if n is None else ToolCall(name=n) for n in names)
    return Message(role=Role.ASSISTANT, content=text, calls=made)


def feedback(content="ok"):
    return Message(role=Role.TOOL, content=content)


ROW = Trajectory(
    id="row",
    tools=TOOLS,
    messages=(
        user("Go."),
        calls("finish"),  # 0: wrong, blocked
        feedback("Error: not yet"),
        calls("get_user", text="Let me see."),  # 1: a prompt
        feedback(),
        calls(None),  # 2: cannot be read
        feedback("Error: syntax"),
        calls("get_user", "finish"),  # 3, 4: two in a turn
        feedback(),
        feedback(),
        calls("finish"),  # 5: a prompt
        feedback(),
        Message(role=Role.ASSISTANT, content="Done."),
    ),
)


@pytest.fixture(scope="module")
def tokenizer(tiny_sft):
    tokenizer = load_tokenizer(tiny_sft)
    ensure_tool_template(tokenizer)
    return tokenizer


def make(tokenizer, trajectories=(ROW,), **options):
    options = {"blocked": {"row": frozenset({0})}, "max_length": 10_000} | options
    return make_prompts(trajectories, tokenizer, PYTHON, **options)


def test_each_right_call_alone_in_its_turn_is_a_prompt_and_the_rest_is_counted(tokenizer):
    made = make(tokenizer)
    assert [prompt.id for prompt in made.prompts] == ["row#1", "row#5"]
    assert [prompt.gold.name for prompt in made.prompts] == ["get_user", "finish"]
    assert [len(prompt.messages) for prompt in made.prompts] == [3, 10]  # wrong calls and their feedback are context
    assert made.left_out == {"blocked": 1, "cannot be read": 1, "one of several calls in a turn": 2}
    assert made.set_aside == {}


def test_a_prompt_is_the_beginning_of_what_sft_trains_on_up_to_the_turn(tokenizer):
    rendered = render(ROW, tokenizer, PYTHON, blocked=frozenset({0}), weighting=KeyTokenWeighting())
    for prompt, turn in zip(make(tokenizer).prompts, (rendered.turns[1], rendered.turns[4]), strict=True):
        assert list(prompt.ids) == rendered.input_ids[: turn.start]


def test_long_prompts_are_set_aside_with_reason(tokenizer):
    short, long = make(tokenizer).prompts
    made = make(tokenizer, max_length=len(short.ids))
    assert [prompt.id for prompt in made.prompts] == ["row#1"]
    assert list(made.set_aside) == ["row#5"]
    assert f"row#5: the prompt has {len(long.ids)} tokens" in made.set_aside["row#5"]
    assert str(len(short.ids)) in made.set_aside["row#5"]


def test_at_most_so_many_prompts_are_made_chosen_by_the_seed(tokenizer):
    rows = [replace(ROW, id=f"row{number}") for number in range(12)]
    chosen = {
        seed: [prompt.id for prompt in make(tokenizer, rows, blocked={}, max_prompts=5, seed=seed).prompts]
        for seed in (0, 1)
    }
    everything = [prompt.id for prompt in make(tokenizer, rows, blocked={}).prompts]
    assert len(chosen[0]) == 5
    assert chosen[0] == [name for name in everything if name in chosen[0]]  # in the order of the data
    assert chosen[0] != chosen[1]
    assert chosen[0] != everything[:5]


def test_equal_tool_lists_and_no_others_have_equal_numbers(tokenizer):
    other = replace(ROW, id="other", tools=TOOLS[::-1])
    numbers = {prompt.id: prompt.toolset for prompt in make(tokenizer, (ROW, other, replace(ROW, id="third"))).prompts}
    assert numbers["row#1"] == numbers["row#5"] == numbers["third#1"] != numbers["other#1"]


@pytest.mark.parametrize(("share", "num_trajectories"), [(0.0, 0), (0.01, 1), (0.5, 2), (0.99, 3)])
def test_whole_trajectories_are_held_out(tokenizer, share, num_trajectories):
    prompts = make(tokenizer, [replace(ROW, id=f"row{number}") for number in range(4)], blocked={}).prompts
    train, heldout = split_heldout(prompts, share, seed=0)
    held = {prompt.trajectory for prompt in heldout}
    assert len(held) == num_trajectories
    assert held.isdisjoint(prompt.trajectory for prompt in train)
    assert sorted(prompt.id for prompt in (*train, *heldout)) == sorted(prompt.id for prompt in prompts)
