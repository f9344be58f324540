"""Rows of each trainer's and provider's format, written by hand after their documentation."""

import json
from typing import Any

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
FUNCTION = {"name": "forecast", "description": "Weather of the next days.", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
ASK = "How is Rome?"
ANSWER = "Sunny in Rome."


def _call(arguments: Any, **extra: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "forecast", "arguments": arguments}, **extra}


def _chat(arguments: Any, wrong: dict[str, Any] | None = None, **extra: Any) -> list[dict[str, Any]]:
    """A wrong call, its error, the right call and the answer."""
    return [
        {"role": "user", "content": ASK},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [_call(arguments({"town": "Rome"}), id="c1")],
            **(wrong or {}),
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"error": "unknown argument town"}'},
        {"role": "assistant", "content": "", "tool_calls": [_call(arguments({"city": "Rome"}), id="c2")], **extra},
        {"role": "tool", "tool_call_id": "c2", "content": '{"sky": "clear"}'},
        {"role": "assistant", "content": ANSWER, **extra},
    ]


def _said(name: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"name": name, "arguments": arguments})


HERMES_SYSTEM = (
    "You are a function calling AI model. You are provided with function signatures within <tools></tools> XML tags. "
    "You may call one or more functions to assist with the user query. Don't make assumptions about what values to "
    f"plug into functions. Here are the available tools: <tools> {json.dumps([TOOL])} </tools> For each function call "
    "return a json object with function name and arguments within <tool_call></tool_call> XML tags as follows:\n"
    '<tool_call>\n{"name": <function-name>, "arguments": <args-dict>}\n</tool_call>'
)
FIRST, SECOND = _said("forecast", {"town": "Rome"}), _said("forecast", {"city": "Rome"})

ROWS: dict[str, list[dict[str, Any]]] = {
    "tltrain": [
        {
            "id": "r1",
            "messages": _chat(json.dumps, {"weight": 0, "mask_reason": "error: unexpected_argument"}),
            "tools": [TOOL],
            "provenance": {"teacher": "hand"},
        }
    ],
    "openai": [
        {"messages": _chat(json.dumps, {"weight": 0}), "tools": [TOOL], "parallel_tool_calls": False},
        {
            "input": {"messages": [{"role": "user", "content": ASK}], "tools": [TOOL]},
            "preferred_output": [{"role": "assistant", "content": "", "tool_calls": [_call('{"city": "Rome"}')]}],
            "non_preferred_output": [{"role": "assistant", "content": "No idea."}],
        },
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": ASK}]},
                {"role": "assistant", "content": None, "function_call": {"name": "forecast", "arguments": "{}"}},
                {"role": "function", "name": "forecast", "content": "clear"},
            ],
            "functions": [FUNCTION],
        },
    ],
    "anthropic": [
        {
            "system": "Be brief.",
            "messages": [
                {"role": "user", "content": ASK},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "I need the tool.", "signature": "abc"},
                        {"type": "text", "text": "I look."},
                        {"type": "tool_use", "id": "t1", "name": "forecast", "input": {"town": "Rome"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": "unknown argument"},
                        {"type": "text", "text": "Go on."},
                    ],
                },
                {"role": "assistant", "content": ANSWER},
            ],
            "tools": [{"name": "forecast", "description": "Weather.", "input_schema": SCHEMA}],
        }
    ],
    "hermes": [
        {
            "conversations": [
                {"from": "system", "value": HERMES_SYSTEM},
                {"from": "human", "value": ASK},
                {"from": "gpt", "value": f"<think>\nThe tool.\n</think>\n\n<tool_call>\n{FIRST}\n</tool_call>"},
                {"from": "tool", "value": "<tool_response>\nunknown argument\n</tool_response>"},
                {
                    "from": "gpt",
                    "value": f"Both.\n<tool_call>\n{SECOND}\n</tool_call>\n<tool_call>\n{SECOND}\n</tool_call>",
                },
                {
                    "from": "tool",
                    "value": "<tool_response>\nclear\n</tool_response>\n<tool_response>\nrain\n</tool_response>",
                },
                {"from": "gpt", "value": ANSWER},
            ]
        },
        {"conversations": [{"from": "human", "value": ASK}, {"from": "gpt", "value": "No idea."}]},
    ],
    "llama_factory": [
        {
            "system": "Be brief.",
            "conversations": [
                {"from": "human", "value": ASK},
                {"from": "function_call", "value": FIRST},
                {"from": "observation", "value": "unknown argument"},
                {"from": "function_call", "value": f"[{SECOND}, {SECOND}]"},
                {"from": "observation", "value": "clear\n</tool_response>\n<tool_response>\nrain"},
                {"from": "gpt", "value": ANSWER},
            ],
            "tools": json.dumps([FUNCTION]),
            "loss_mask": [0, 0, 0, 1, 0, 1],
        }
    ],
    "llama_factory_v1": [
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "value": ASK}], "loss_weight": 0.0},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "reasoning", "value": "The tool."},
                        {"type": "text", "value": "I look."},
                        {"type": "tool_call", "value": FIRST},
                    ],
                    "loss_weight": 0.5,
                },
                {"role": "tool", "content": [{"type": "text", "value": "unknown argument"}], "loss_weight": 0.0},
                {"role": "assistant", "content": [{"type": "text", "value": ANSWER}], "loss_weight": 1.0},
            ],
            "tools": json.dumps([FUNCTION]),
            "extra_info": {"teacher": "hand"},
        }
    ],
    "ms_swift": [
        {
            "tools": json.dumps([TOOL]),
            "messages": [
                {"role": "user", "content": ASK},
                {"role": "assistant", "content": "<think>\nThe tool.\n</think>\n\nI look.", "loss": True},
                {"role": "tool_call", "content": FIRST, "loss": False},
                {"role": "tool_call", "content": SECOND},
                {"role": "tool_response", "content": "unknown argument"},
                {"role": "tool_response", "content": "clear"},
                {"role": "assistant", "content": ANSWER, "loss_scale": 2.0},
            ],
        }
    ],
    "axolotl": [
        {
            "messages": [
                *_chat(json.dumps, {"train": False}, train=True)[:-1],
                {
                    "role": "assistant",
                    "content": ANSWER,
                    "train": True,
                    "train_detail": [
                        {"begin_offset": 0, "end_offset": 4, "train": True},
                        {"begin_offset": 5, "end_offset": 13, "train": False},
                    ],
                },
            ],
            "tools": [TOOL],
        }
    ],
    "axolotl_segments": [
        {
            "segments": [
                {"label": False, "text": f"<|im_start|>user\n{ASK}<|im_end|>\n<|im_start|>assistant\n"},
                {"label": False, "text": f"<tool_call>\n{FIRST}\n</tool_call>\n"},
                {"label": True, "text": f"<tool_call>\n{SECOND}\n</tool_call><|im_end|>\n"},
                {"label": False, "text": "<|im_start|>tool\n<tool_response>\nclear\n</tool_response><|im_end|>\n"},
                {"label": False, "text": "<|im_start|>assistant\n"},
                {"label": True, "text": f"{ANSWER}<|im_end|>\n"},
            ]
        }
    ],
    "verl": [
        {"messages": _chat(json.dumps, {"loss_mask": 0}, loss_mask=1), "tools": [TOOL], "enable_thinking": False},
        {
            "data_source": "weather",
            "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASK}],
            "ability": "tools",
            "reward_model": {"style": "rule", "ground_truth": SECOND},
            "extra_info": {"split": "train", "index": 3},
        },
    ],
    "trl": [
        {"messages": _chat(dict), "tools": json.dumps([TOOL]), "chat_template_kwargs": {"enable_thinking": False}},
        {"prompt": _chat(dict)[:3], "completion": _chat(dict)[3:], "tools": [TOOL]},
        {"prompt": _chat(dict)[:1], "chosen": _chat(dict)[3:], "rejected": _chat(dict)[1:2], "tools": [TOOL]},
    ],
}
