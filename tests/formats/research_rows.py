"""One row or record in each research format, written for the tests."""

import copy
import json
from typing import Any

WEATHER_TOOL = {
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Name of the city"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
FINISH_TOOL = {
    "name": "Finish",
    "description": "Ends the task",
    "parameters": {
        "type": "object",
        "properties": {"return_type": {"type": "string"}, "final_answer": {"type": "string"}},
        "required": ["return_type"],
    },
}

TAU_BENCH: dict[str, Any] = {
    "task_id": 4,
    "trial": 1,
    "reward": 1.0,
    "info": {"task": {"user_id": "ann", "instruction": "You want rain.", "actions": [], "outputs": []}, "cost": 0.1},
    "traj": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Will it rain in Oslo?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "think", "arguments": '{"thought": "Oslo"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "name": "think", "content": ""},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"id": "c2", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"'}}],
        },
        {"role": "tool", "tool_call_id": "c2", "name": "get_weather", "content": "Error: bad call"},
        {"role": "assistant", "content": "I do not know."},
    ],
}

TOOLALPACA: dict[str, Any] = {
    "Name": "Skies",
    "Category": "Weather",
    "Function_Description": {
        "getWeather": 'Weather of a city\nParameters: {"city": "Required. string. One of: [Oslo, Rome]. The city.", '
        '"days": "integer. How far ahead.", "filter": "Array[Object{key: string. A key.}]. Filters."}\nOutput: Text.',
        "getTime": "The time\nParameters: {}\nOutput: Text.",
        "components": "",
    },
    "Instructions": ["Weather in Oslo?", "And in Rome, then the time?"],
    "Golden_Answers": [
        [{"Action": "getWeather", "Action_Input": '{"city": "city": "Oslo"}'}],
        [
            {"Action": "getWeather", "Action_Input": '{"city": "Rome"}'},
            {"Action": "getTime", "Action_Input": '{"zone": ${zone from getWeather}}'},
        ],
    ],
}
TOOLALPACA_INSTANCES: dict[str, Any] = {
    **{key: value for key, value in TOOLALPACA.items() if key != "Instructions"},
    "Instructions": ["Weather in Oslo?", "And in Rome, then the time?", "Snow?"],
    "Golden_Answers": [*TOOLALPACA["Golden_Answers"], []],
    "Instances": [
        {
            "input": "Weather in Oslo?",
            "intermediate_steps": [
                [
                    [
                        "getWeather",
                        '{"city": "Oslo"}',
                        ' I look.\nASSISTANT Action: getWeather\nASSISTANT Action Input: {"city": "Oslo"}',
                    ],
                    "Status Code: 200. Response: rain",
                ]
            ],
            "Final Thought": " I know.",
            "output": "Rain.",
        },
        {"error": "Could not parse LLM output: ` I look.\nASSISTANT Action: getWeather`"},
        {"error": "Did not get output keys that were expected."},
    ],
}


def node(kind: str, text: str, *children: dict[str, Any], observation: str | None = None) -> dict[str, Any]:
    fields: dict[str, Any] = {"node_type": kind, "description": text, "children": list(children)}
    return fields if observation is None else {**fields, "observation": observation, "observation_code": 0}


def call_node(
    name: str, arguments: object, observation: str | None, *children: dict[str, Any], thought: str = ""
) -> dict[str, Any]:
    inner = node("Action Input", json.dumps(arguments), *children, observation=observation)
    action = node("Action", name, inner)
    return node("Thought", thought, action) if thought else action


TOOLBENCH: dict[str, Any] = {
    "win": True,
    "answer_generation": {
        "query": "Rain in Oslo?",
        "function": [WEATHER_TOOL, FINISH_TOOL],
        "finish_type": "give_answer",
        "valid_data": True,
    },
    "tree": {
        "tree": node(
            "Action Input",
            "",
            call_node(
                "get_weather",
                {"city": "Olso"},
                '{"error": "no such city", "response": ""}',
                call_node("Finish", {"return_type": "give_up_and_restart"}, '{"response":"chose to give up"}'),
                node("Thought", "No way on."),
                thought="I look.",
            ),
            call_node(
                "get_weather",
                {"city": "Oslo"},
                '{"error": "", "response": "rain"}',
                call_node("Finish", {"return_type": "give_answer", "final_answer": "Rain."}, '{"response":"ok"}'),
            ),
        )
    },
}

SEAL_TOOL = {
    "api_name": "getWeather",
    "api_description": "Weather of a city",
    "field": "Weather/Forecast",
    "parameters": {
        "city": {"type": "str", "description": "Name of the city"},
        "days": {"type": "int", "description": "How far"},
    },
    "required": ["city"],
    "responses": {"sky": {"type": "str", "description": "Rain or sun"}},
}
SEAL_CALLS = [
    {"api": "getWeather", "parameters": {"city": "Oslo's", "days": 2}, "responses": ["API_call_0"]},
    {"api": "drawPicture", "parameters": {"sky": "API_call_0"}, "responses": []},
]
SEAL_TOOLS: dict[str, Any] = {"id": "dev-hard-1", "query": "Draw Oslo's sky.", "calling": SEAL_CALLS}
SEAL_TOOLS_PROMPT: dict[str, Any] = {
    "id": "dev-hard-1",
    "conversations": [
        {
            "from": "human",
            "value": f"Choose.\n\nInput:\napi_list = {[SEAL_TOOL]!r}\n"
            'task_instruction = "Draw "Oslo\'s" sky."\nOutput:\n',
        },
        {"from": "gpt", "value": repr(SEAL_CALLS)},
    ],
}

TOOLRL: dict[str, Any] = {
    "instruction": "You are helpful.\n\n**Available Tools**\nYou can use:\n"
    "1. Name: Get Weather\nDescription: Weather of a city\n"
    'Parameters: {"city": {"description": "Name", "type": "string", "default": ""}, '
    '"days": {"description": "How far", "type": "int, optional", "default": "1"}}\n'
    "2. Name: now\nDescription: The time\nParameters: {}\n\n"
    "**Steps for Each Turn**\n1. **Think:** recall.\n\n**Output Format**\n<tool_call>\n...\n</tool_call>\n",
    "input": "**Dialogue Records History**\n<user> Rain in Oslo and Rome? </user>\n\n"
    "<think> I call. </think>\n<tool_call>\n"
    '{"name": "Get Weather", "parameters": {"city": "Oslo"}}\n{"name": "Get Weather", "parameters": {"city": "Rome"}}\n'
    '</tool_call>\n<obs> [{"name": "Get Weather", "results": "rain"}, "sun"] </obs>\n\n'
    "<think> I answer. </think>\n<response> Rain, and sun. </response>\n\n<user> The time? </user>",
    "output": "<think> The <tool_call> tag is for calls. </think>\n"
    '<tool_call>\n{"name": "now", "parameters": {}}\n{"name": "now", oops}\n</tool_call>',
}

XLAM: dict[str, Any] = {
    "id": 7,
    "query": "Rain in Oslo?",
    "tools": json.dumps(
        [
            {
                "name": "get_weather",
                "description": "Weather",
                "parameters": {
                    "city": {"type": "str", "description": "Name"},
                    "days": {"type": "int, optional", "description": "How far"},
                    "units": {"type": "str", "description": "Units", "default": "metric"},
                    "tags": {"type": "List[str], optional", "description": "Tags"},
                },
            }
        ]
    ),
    "answers": json.dumps([{"name": "get_weather", "arguments": {"city": "Oslo", "days": 2}}]),
    "split": "train",
}

GLAIVE: dict[str, Any] = {
    "system": "SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n"
    + json.dumps(WEATHER_TOOL, indent=4)
    + "\n\n"
    + json.dumps({"name": "now", "description": "The time"}),
    "chat": "USER: Rain in Oslo?\n\n\nASSISTANT: I look. <functioncall> "
    '{"name": "get_weather", "arguments": \'{\n  "city": "Oslo",\n  "note": "it\'s far"}\'} <|endoftext|>\n\n\n'
    'FUNCTION RESPONSE: {"sky": "rain"}\n\n\nASSISTANT: Rain. <|endoftext|>\n\n\n'
    "USER: And the time?\n\n\nASSISTANT: <functioncall> "
    '{"name": "now"} <|endoftext|> FUNCTION RESPONSE: 12:00\n\n\nASSISTANT: Noon: USER: time. <|endoftext|>',
}

BFCL: dict[str, Any] = {
    "id": "simple_python_3",
    "question": [[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Rain in Oslo?"}]],
    "function": [
        {
            "name": "sky.get_weather",
            "description": "Weather",
            "parameters": {
                "type": "dict",
                "properties": {
                    "city": {"type": "string"},
                    "at": {"type": "tuple", "items": {"type": "float"}},
                    "type": {"type": "any"},
                    "options": {"type": "dict", "properties": {"days": {"type": "integer"}}},
                },
                "required": ["city"],
            },
        }
    ],
}
BFCL_ANSWER: dict[str, Any] = {
    "id": "simple_python_3",
    "ground_truth": [
        {
            "sky.get_weather": {
                "city": ["", "Oslo", "Oslo, Norway"],
                "at": [[59.9, 10.8]],
                "type": ["", "short"],
                "options": [{"days": [2, 3], "units": ["", "metric"]}],
            }
        }
    ],
}
BFCL_MULTI_TURN: dict[str, Any] = {
    "id": "multi_turn_base_0",
    "question": [[{"role": "user", "content": "Open the log."}], [{"role": "user", "content": "Sort it."}], []],
    "involved_classes": ["GorillaFileSystem"],
    "excluded_function": ["rm"],
    "initial_config": {"GorillaFileSystem": {"root": {}}},
    "path": ["GorillaFileSystem.cd"],
}

REACT_PROMPT = (
    "You are an expert.\n\nDesired format:\nThought: <The thought>\nAction: <The tool>\nAction Input: <The parameters>"
    "\n\nYou have access of the following tools:\n"
)
REACT: dict[str, Any] = {
    "id": "Turn 1: Rain in Oslo?",
    "scenario": "PL",
    "conversations": [
        {"from": "system", "value": REACT_PROMPT + json.dumps([WEATHER_TOOL]) + "\n\nLet's Begin!"},
        {"from": "user", "value": "Rain in Oslo?\nBegin!\n"},
        {
            "from": "assistant",
            "value": [
                'Thought:\nAction: get_weather\nAction Input: {"city": "Oslo"}',
                'Thought:\nAction: get_weather\nAction Input: {"city": "Oslo", "days": "None"}',
                "I cannot.",
            ],
        },
    ],
}
REACT_DIALOGUE: dict[str, Any] = {
    "conversations": [
        {"from": "system", "value": REACT_PROMPT.replace("tools", "APIs") + repr([WEATHER_TOOL])},
        {"from": "user", "value": "Rain?"},
        {"from": "assistant", "value": "Thought: Where?\nAction: ask_to_user\nAction Input: {'question': 'Where?'}"},
        {"from": "user", "value": "In Oslo."},
        {"from": "assistant", "value": "Thought: I look.\nAction: get_weather\nAction Input: Oslo"},
        {"from": "function", "value": "Observation: name 'Oslo' is not defined"},
        {"from": "assistant", "value": "I give up."},
    ]
}

TL_RAW: dict[str, Any] = {
    "id": "Rain in Oslo?",
    "conversations": [
        {"role": "system", "content": json.dumps([{"type": "function", "function": WEATHER_TOOL}])},
        {"role": "user", "content": "Rain in Oslo?"},
        {"role": "assistant", "content": 'get_weather\n{"city": "Olso", "days": 2}'},
        {"role": "function", "content": "KeyError: 'Olso'"},
        {"role": "assistant", "content": "get_weather\n{'city': 'Oslo', 'days': true}\nI try again."},
    ],
}
TL_TRAINED: dict[str, Any] = {
    "id": "Turn 2: Rain in Oslo?",
    "conversations": [
        {
            "role": "System",
            "content": "Function:\ndef get_weather(city: string, days: Dict[str, int] = None):\n"
            '    """\n    Weather of a city.\n    Any city.\n\n    Args:\n    city (string): Name of the city\n'
            "        in English\n    days (Dict[str, int]): How far\n"
            '    """\n\nFunction:\ndef now():\n    """\n    The time.\n    """',
        },
        {"role": "User", "content": "Rain in Oslo?"},
        {"role": "Assistant", "content": "get_weather(city = 'Olso') "},
        {"role": "Output", "content": "KeyError: 'Olso'"},
        {"role": "Assistant", "content": 'get_weather("Oslo", days={"n": 2})'},
    ],
}

OPENAI: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "get_weather", "arguments": "{}"}}]},
    ],
    "tools": [{"type": "function", "function": WEATHER_TOOL}],
}
SHAREGPT: dict[str, Any] = {
    "conversations": [
        {"from": "system", "value": "You are kind."},
        {"from": "human", "value": "Rain?"},
        {"from": "function_call", "value": '{"name": "get_weather", "arguments": {}}'},
    ],
    "tools": json.dumps([WEATHER_TOOL]),
}
ALPACA: dict[str, Any] = {"instruction": "Say hello.", "input": "", "output": "Hello."}

ROWS: dict[str, list[dict[str, Any]]] = {
    "tau_bench": [TAU_BENCH],
    "toolalpaca": [TOOLALPACA, TOOLALPACA_INSTANCES],
    "toolbench": [TOOLBENCH],
    "seal_tools": [SEAL_TOOLS, SEAL_TOOLS_PROMPT],
    "toolrl": [TOOLRL],
    "xlam": [XLAM],
    "glaive": [GLAIVE],
    "bfcl": [BFCL, BFCL_MULTI_TURN],
    "react": [REACT, REACT_DIALOGUE],
    "tl_training": [TL_RAW, TL_TRAINED],
}
"""Rows of each format by its name."""
OTHERS = [OPENAI, SHAREGPT, ALPACA]
"""Rows of formats that are read elsewhere."""


def changed(row: dict[str, Any], *path: str | int, to: object) -> dict[str, Any]:
    """A copy of a row with the value at a path replaced."""
    new = copy.deepcopy(row)
    place: Any = new
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return new


def without(row: dict[str, Any], *path: str | int) -> dict[str, Any]:
    """A copy of a row without the field at a path."""
    new = copy.deepcopy(row)
    place: Any = new
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return new
