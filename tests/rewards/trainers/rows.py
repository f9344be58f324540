"""Rows and answers that the scripts here share; plain Python, as each runs in another trainer's interpreter."""

import json

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find",
            "description": "Find a slot.",
            "parameters": {"type": "object", "properties": {"day": {"type": "string"}, "hour": {"type": "integer"}}},
        },
    },
    {"type": "function", "function": {"name": "finish", "description": "End.", "parameters": {"type": "object"}}},
]


def call(name, **arguments):
    """A call as data has it."""
    return {"name": name, "arguments": arguments}


def hermes(*calls):
    """Calls as a model writes them."""
    return "\n".join(f"<tool_call>\n{json.dumps(one)}\n</tool_call>" for one in calls)


MONDAY, TUESDAY = call("find", day="Mon"), call("find", day="Tue")

CASES = [
    # right calls, completion, and by the paper's table: reward, and 1 or 0 for tools, parameters, values
    (MONDAY, hermes(MONDAY), 1.0, (1, 1, 1)),
    (MONDAY, "I look.\n" + hermes(TUESDAY), -0.25, (1, 1, 0)),
    (MONDAY, hermes(call("find", day="Mon", hour=3)), -0.5, (1, 0, 0)),
    (MONDAY, hermes(call("finish")), -1.5, (0, 0, 0)),
    (MONDAY, "It is on Monday.", -2.0, (0, 0, 0)),
    ([MONDAY, TUESDAY], hermes(TUESDAY, MONDAY), 1.0, (1, 1, 1)),
    ([MONDAY, TUESDAY], hermes(TUESDAY), -0.5, (0, 0, 0)),
    (None, "It is on Monday.", 1.0, (1, 1, 1)),
    (None, hermes(MONDAY), -2.0, (0, 0, 0)),
]
