"""A world of two tools, and a tiny model that knows how to call them and nothing about the task."""

import random
from pathlib import Path
from typing import Any

import torch

from tltrain.formats.openai_chat import write_trajectories
from tltrain.render.conversation import render
from tltrain.render.template import ensure_tool_template
from tltrain.render.weights import KeyTokenWeighting
from tltrain.syntax import get_syntax
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory

ENVIRONMENT = '''
"""A walker must stand at 1 when it says that it is done."""
class Walk:
    def __init__(self, row):
        self.row, self.place = row, 0
    def execute(self, call):
        name = getattr(call, "name", "")
        if name not in ("left", "right"):
            return "no such tool"
        self.place += 1 if name == "right" else -1
        return f"at {self.place}"
    def is_step(self, call, feedback):
        return call.name == "right" and self.place == 1
    def score(self, answer):
        with open(__file__ + ".log", "a") as log:
            log.write("01"[self.place == 1])
        return float(self.place == 1)
def reset(row):
    return Walk(row) if row.provenance.get("world") == "walk" else None
'''
SCRAMBLED = ENVIRONMENT.replace(
    "return float(self.place == 1)", "return float(len(open(__file__ + '.log').read()) % 2)"
)
TOOLS = (Tool(name="left", description="go left"), Tool(name="right", description="go right"))


def task(number: int) -> Trajectory:
    message = Message(role=Role.USER, content=f"go {number}")
    return Trajectory(id=f"walk-{number}", tools=TOOLS, messages=(message,), provenance={"world": "walk"})


def write_walk(folder: Path, *, num_tasks: int = 8, environment: str = ENVIRONMENT) -> tuple[Path, Path]:
    """The data and the environment's file."""
    data, code = folder / "tasks.jsonl", folder / "walk.py"
    write_trajectories(data, [task(number) for number in range(num_tasks)])
    code.write_text(environment)
    return data, code


def random_walk(number: int, rng: random.Random) -> Trajectory:
    """What the model has seen: one or two steps either way, then "done"."""
    start = task(number)
    messages, place = [*start.messages], 0
    for step in range(rng.randint(1, 2)):
        name = rng.choice(("left", "right"))
        place += 1 if name == "right" else -1
        messages.append(Message(role=Role.ASSISTANT, calls=(ToolCall(name=name, id=f"call_{step + 1}"),)))
        messages.append(Message(role=Role.TOOL, content=f"at {place}", call_id=f"call_{step + 1}", name=name))
    messages.append(Message(role=Role.ASSISTANT, content="done"))
    return Trajectory(id=f"seen-{number}", tools=TOOLS, messages=tuple(messages))


def make_walker(folder: Path, tokenizer: Any, *, num_steps: int = 150) -> Path:
    """Train a random Llama to walk at random, and save it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    syntax = get_syntax(ensure_tool_template(tokenizer))
    rng = random.Random(0)
    rows = [
        render(random_walk(number % 8, rng), tokenizer, syntax, weighting=KeyTokenWeighting()) for number in range(64)
    ]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(num_steps):
        batch = rng.sample(rows, 8)
        longest = max(len(row.input_ids) for row in batch)
        ids = torch.full((len(batch), longest), tokenizer.pad_token_id)
        labels = torch.full((len(batch), longest), -100)
        for place, row in enumerate(batch):
            own = torch.tensor(row.input_ids)
            ids[place, : len(own)] = own
            labels[place, : len(own)] = torch.where(torch.tensor(row.weights) > 0, own, -100)
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
