"""Random JSON values, names and calls."""

from hypothesis import strategies as st

from tltrain.types import ToolCall

SPECIAL = [
    "'",
    '"',
    "\\",
    "\n",
    "\r",
    "\x00",
    "\x1b",
    "\x85",
    "\u2028",
    "é",
    "漢",
    "🙂",
    "(",
    ")",
    "=",
    ",",
    "<tool_call>",
    "Action:",
    "Thought:",
    "[TOOL_CALLS]",
    "<|python_tag|>",
    "<|assistant|>",
    "<|call|>",
    "<｜tool▁call▁end｜>",
    "```",
    "; ",
]
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.sampled_from([*SPECIAL, "</tool_call>", "\\n", "\\u0041", " ", "a"])).map("".join),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**4000), 2**63, 0, -1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e308, 5e-324, -0.0, 1e16, 1e-7]),
    texts,
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
simple_names = st.from_regex(r"[A-Za-z_][\w.\-]{0,8}", fullmatch=True)
keywords = st.sampled_from(["from", "class", "None", "True", "true", "null", "lambda"])
tool_names = st.one_of(simple_names, keywords, texts.filter(bool))
parameter_names = st.one_of(st.from_regex(r"[a-z]\w{0,5}", fullmatch=True), keywords, texts)
calls = st.builds(
    lambda name, arguments: ToolCall(name=name, arguments=arguments),
    tool_names,
    st.dictionaries(parameter_names, values, max_size=4),
)
call_like = st.lists(
    st.sampled_from(
        [
            *["f(", "g(", ")", "(", "[", "]", "{", "}", "'", '"', "\\", ",", "=", ":", "**", "a", "b", "1", "-", "\n"],
            *["True", "null", "NaN", "1e999", "'x'", '"name"', '"arguments"', "<tool_call>", "</tool_call>", "\ud800"],
            *["\x00", "\\u", "\\ud83d", "\\x", ";", " ", "f(a=1)", '{"name": "f", "arguments": {}}'],
            *["\nAction: f", "\nAction:", "\nAction Input:", "Thought:", "\nObservation:"],
            *["[TOOL_CALLS]", '{"name": "f", "parameters": {}}', "; ", "<|python_tag|>", "<|assistant|>", "f\n{}"],
            *["```tool_code\n", "\n```", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"],
            *["function", "\n```json\n", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", "to=functions.f", "<|call|>"],
            *["<|channel|>commentary ", "<|channel|>analysis", "<|message|>", "<|start|>assistant ", "<|end|>"],
        ]
    ),
    max_size=25,
).map("".join)
