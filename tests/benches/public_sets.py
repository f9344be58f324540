"""Small test sets of our own in the layout of the public ones."""

import json
from pathlib import Path
from typing import Any


def write_public_sets(root: Path) -> Path:
    """Two cases of RoTBench clean, two of ToolAlpaca, two of BFCL, two queries of ToolEyes."""
    look, ask, finish = _document("look", "key"), _document("ask_to_user", "question"), _document("finish", "answer")
    system = f"Use these:\n{json.dumps([look, ask, finish])}\n\nLet's Begin!"
    golden = ['Thought:\nAction: look\nAction Input: {"key": "a"}']
    talk = [_turn("system", system), _turn("user", "Look at a.\nBegin!\n"), _turn("assistant", golden)]
    _write(root / "rotbench/First_Turn/clean.json", [{"scenario": "TG", "conversations": talk}] * 2)
    api = {
        "Name": "Look",
        "Documentation": "{}",
        "Function_Description": {"look": 'Look.\nParameters: {"key": "Required. string. What."}\nOutput: OK.'},
        "Instructions": ["Look at a.", "Look at b."],
        "Golden_Answers": [[{"Action": "look", "Action_Input": json.dumps({"key": key})}] for key in "ab"],
    }
    _write(root / "toolalpaca/eval_real.json", [api])
    function = {"name": "look.at", "description": "Look.", "parameters": look["parameters"] | {"type": "dict"}}
    for number, (category, wanted) in enumerate({"simple_python": "a", "irrelevance": None}.items()):
        question = [[{"role": "user", "content": f"Look {number}."}]]
        row = {"id": f"{category}_0", "question": question, "function": [function]}
        _write(root / f"bfcl/BFCL_v4_{category}.json", row)
        if wanted:
            answer = {"id": f"{category}_0", "ground_truth": [{"look.at": {"key": [wanted]}}]}
            _write(root / f"bfcl/possible_answer/BFCL_v4_{category}.json", answer)
    _write(root / "tooleyes/Tool_Library/Look/Look/config_gpt4.json", [look, ask, finish])
    queries = [
        {"id": query, "conversations": [_turn("system", system), _turn("user", query)], "path": path, "scenario": "TG"}
        for query, path in (("Look.", "ToolEyes/Tool_Library/Look/Look"), ("See.", "ToolEyes/Tool_Library/Look/Look"))
    ]
    _write(root / "tooleyes/Test_Data/scenario_data_zero_processed.json", queries)
    return root


def _document(name: str, parameter: str) -> dict[str, Any]:
    properties = {parameter: {"type": "string", "description": "What."}}
    schema = {"type": "object", "properties": properties, "required": [parameter]}
    return {"name": name, "description": "Do it.", "parameters": schema}


def _turn(speaker: str, value: object) -> dict[str, object]:
    return {"from": speaker, "value": value}


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value) + "\n")
