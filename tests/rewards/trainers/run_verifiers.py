"""Rollouts of an environment of verifiers whose rubric is the reward; prints JSON. The model is a table of answers."""

import asyncio
import importlib.metadata
import json

import verifiers as vf
from datasets import Dataset
from rows import CASES, TOOLS
from verifiers.types import Response, ResponseMessage, ToolCall

from tltrain.rewards.adapters.verifiers import make_reward
from tltrain.syntax import get_syntax

FLAT = [tool["function"] for tool in TOOLS]


class Table(vf.Client):
    """Answers row by row, with calls as text or as objects."""

    def __init__(self, as_objects):
        super().__init__(None)
        self.as_objects = as_objects

    async def get_response(self, prompt, model, *_, **__):
        """The answer to the row that the question names."""
        text = CASES[int(prompt[-1].content.split()[-1])][1]
        calls = None
        if self.as_objects:
            parsed = get_syntax("hermes").parse(text)
            text = parsed.text
            calls = [
                ToolCall(id=f"call-{number}", name=call.name, arguments=json.dumps(dict(call.arguments)))
                for number, call in enumerate(parsed.calls)
            ]
        message = ResponseMessage(content=text, tool_calls=calls or None, finish_reason="stop", is_truncated=False)
        return Response(id="one", created=0, model=model, message=message)

    def setup_client(self, config):
        """Not used."""

    async def to_native_tool(self, tool):
        """Not used."""

    async def to_native_prompt(self, messages):
        """Not used."""

    async def get_native_response(self, *_, **__):
        """Not used."""

    async def raise_from_native_response(self, response):
        """Not used."""

    async def from_native_response(self, response):
        """Not used."""

    async def close(self):
        """Nothing to close."""


async def run(tools_in, as_objects):
    """Rewards of all rows, with the tools in their info or in the environment."""
    infos = [
        {"gold": json.dumps(gold)} | ({"tools": json.dumps(TOOLS)} if tools_in == "info" else {}) for gold, *_ in CASES
    ]
    rows = Dataset.from_dict(
        {
            "prompt": [[{"role": "user", "content": f"When, {number}"}] for number in range(len(CASES))],
            "answer": [""] * len(CASES),
            "info": [json.dumps(info) for info in infos],
        }
    )
    rubric = vf.Rubric(funcs=[make_reward(syntax="hermes")], weights=[1.0])
    offered = {"tool_defs": [vf.Tool(**tool) for tool in FLAT]} if tools_in == "environment" else {}
    environment = vf.SingleTurnEnv(dataset=rows, rubric=rubric, **offered)
    made = await environment.generate(environment.get_dataset(), Table(as_objects), "table", on_progress=[])
    outputs = sorted(made["outputs"], key=lambda output: output["example_id"])
    return [[output["reward"], output["metrics"]] for output in outputs]


async def main():
    """All ways."""
    found = {"version": importlib.metadata.version("verifiers")}
    for tools_in in ("info", "environment", "nowhere"):
        for as_objects in (False, True):
            found[f"{tools_in}, {'objects' if as_objects else 'text'}"] = await run(tools_in, as_objects)
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
