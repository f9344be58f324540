"""BFCL's multi-turn environments and their checker, run by a Python that has the package bfcl-eval.

    PYTHON bfcl_worker.py

Reads requests from standard input and answers each on standard output, a JSON object a line: `{"ok": ...}`, or
`{"error": text}`. Requests: {"op": "hello"}; {"op": "execute", "session", "entry", "step"}; {"op": "judge", "entry",
"result", "ground_truth"}; {"op": "forget", "session"}. An entry is a row of the questions, of which `id`,
`initial_config` and `involved_classes` are used; a step and a result are as BFCL's result files have them.

It imports nothing of tltrain. Classes, decoding of calls and checker are the package's own; one thing is narrower here:
where that evaluates whatever a model wrote, this evaluates calls of the case's methods with literal arguments, and says
of any other name that it is not defined.
"""

import ast
import contextlib
import importlib
import json
import os
import queue
import sys
import threading
import types
from importlib.metadata import version
from pathlib import Path
from typing import Any

_MEMORY_BYTES = 4 << 30
"""Address space: a call such as a power of huge numbers ends in a MemoryError, not with the whole machine."""
_PREFIX = "tltrain"
_LITERALS = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Load)


class Official:
    """What is used of bfcl-eval."""

    def __init__(self) -> None:
        for name, field in {"java": "parse_java_function_call", "js": "parse_javascript_function_call"}.items():
            module = types.ModuleType(f"bfcl_eval.model_handler.parser.{name}_parser")  # needs tree_sitter
            setattr(module, field, None)
            sys.modules[module.__name__] = module
        self._utils: Any = importlib.import_module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils")
        self._checker: Any = importlib.import_module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker")
        self._handlers: Any = importlib.import_module("bfcl_eval.model_handler.utils")
        prompts: Any = importlib.import_module("bfcl_eval.constants.default_prompts")
        package: Any = importlib.import_module("bfcl_eval")
        self._hello = {
            "version": version("bfcl-eval"),
            "data": str(Path(package.__file__).parent / "data"),
            "max_steps": prompts.MAXIMUM_STEP_LIMIT,
        }
        vars(self._utils)["eval"] = self._evaluate  # hides the builtin from that module alone

    def answer(self, request: dict[str, Any]) -> Any:
        """Answer one request."""
        match request["op"]:
            case "hello":
                return self._hello
            case "execute":
                return self._execute(f"{_PREFIX}_{request['session']}", request["entry"], request["step"])
            case "forget":
                return self._forget(f"{_PREFIX}_{request['session']}_")
            case "judge":
                return self._judge(request["entry"], request["result"], request["ground_truth"])
        raise ValueError(f"there is no op {request['op']!r}")

    def _decode(self, step: Any) -> list[str] | None:
        """The calls of a step as Python text; None if it cannot be decoded, as text cannot, or is empty."""
        try:
            calls: list[str] = self._handlers.convert_to_function_call(step)
        except Exception:  # whatever the decoder raises, the official loop goes on to the next turn
            return None
        return None if self._utils.is_empty_execute_response(calls) else calls

    def _execute(self, model: str, entry: dict[str, Any], step: Any) -> list[str] | None:
        """What each call of a step gives; None if the step cannot be decoded."""
        calls = self._decode(step)
        if calls is None:
            return None
        category = entry["id"].rsplit("_", 1)[0]
        outputs: list[str]
        outputs, _ = self._utils.execute_multi_turn_func_call(
            calls,
            entry["initial_config"],
            entry["involved_classes"],
            model,
            entry["id"],
            long_context="long_context" in category or "composite" in category,
            is_evaL_run=False,
        )
        return outputs

    def _judge(self, entry: dict[str, Any], result: Any, ground_truth: list[list[str]]) -> dict[str, Any]:
        """As `_evaluate_single_multi_turn_entry` of the package's eval_runner, whose import needs all handlers."""
        if not isinstance(result, list):
            return {"valid": False, "error_type": "multi_turn:inference_error", "message": "no list of turns"}
        if len(result) != len(ground_truth):
            message = f"{len(result)} turns of {len(ground_truth)}"
            return {"valid": False, "error_type": "multi_turn:force_terminated", "message": message}
        turns = [[calls for step in turn if (calls := self._decode(step)) is not None] for turn in result]
        model = f"{_PREFIX}_judge"
        try:
            category = entry["id"].rsplit("_", 1)[0]
            found = self._checker.multi_turn_checker(turns, ground_truth, entry, category, model)
        finally:
            self._forget(f"{model}_")  # instances would live as long as the process
        error, message = found.get("error_type"), found.get("error_message", "")
        return {"valid": found["valid"], "error_type": error, "message": message}

    def _forget(self, prefix: str) -> None:
        held = vars(self._utils)
        for name in [name for name in held if name.startswith(prefix)]:
            del held[name]

    def _evaluate(self, text: str) -> Any:
        """In place of `eval` in the package's execution of calls."""
        tree = ast.parse(text, "<string>", "eval")
        check_code(tree.body)
        return eval(compile(tree, "<string>", "eval"), vars(self._utils))


def check_code(node: ast.expr) -> None:
    """Let literals pass, and calls of environments' methods with arguments that may pass.

    Raises:
        NameError: it uses another name.
        ValueError: it is something else.
    """
    if not _is_allowed(node):
        names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and not part.id.startswith(_PREFIX)]
        raise NameError(f"name {names[0]!r} is not defined") if names else ValueError("this is no call of a function")


def _is_allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        arguments = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg)]
        is_whole = len(arguments) == len(node.args) + len(node.keywords)
        return is_whole and _is_method(node.func) and all(map(_is_allowed, arguments))
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.operand, ast.Constant)
    return isinstance(node, _LITERALS) and all(map(_is_allowed, ast.iter_child_nodes(node)))


def _is_method(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and not function.attr.startswith("_")
        and isinstance(function.value, ast.Name)
        and function.value.id.startswith(f"{_PREFIX}_")
        and function.value.id.endswith("_instance")
    )


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the package prints is no answer
    with contextlib.suppress(ImportError, ValueError, OSError):
        resource: Any = importlib.import_module("resource")
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    official: Official | None = None
    while True:
        line = requests.get()
        try:
            official = official or Official()
            answer = {"ok": official.answer(json.loads(line))}
            text = json.dumps(answer)
        except BaseException as error:
            text = json.dumps({"error": f"{type(error).__name__}: {error}"})
        answers.write(text + "\n")
        answers.flush()


def _read(requests: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # whoever asked is gone, though a call may still be running


if __name__ == "__main__":
    main()
