"""Verdicts of BFCL's own checker, for comparison; run by a Python that has the package bfcl-eval.

    PYTHON bench/bfcl_official.py < answers.jsonl > verdicts.jsonl

Each line in: {"category", "functions", "wanted", "result"}; each line out: {"error_type"}, null where the answer is
right. Only the checker and the reading of Python calls are imported: the handlers of all models, which need dozens of
packages, and the readers of Java and JavaScript are replaced by empty modules.
"""

import json
import sys
import types
from types import SimpleNamespace

MODELS = {"dots": SimpleNamespace(underscore_to_dot=False), "underscores": SimpleNamespace(underscore_to_dot=True)}


def stand_in(name: str, **fields: object) -> None:
    module = types.ModuleType(name)
    vars(module).update(fields)
    sys.modules[name] = module


stand_in("bfcl_eval.constants.model_config", MODEL_CONFIG_MAPPING=MODELS)
stand_in("bfcl_eval.model_handler.parser.java_parser", parse_java_function_call=None)
stand_in("bfcl_eval.model_handler.parser.js_parser", parse_javascript_function_call=None)

from bfcl_eval.constants.enums import Language, ReturnFormat  # noqa: E402
from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker  # noqa: E402
from bfcl_eval.model_handler.utils import default_decode_ast_prompting  # noqa: E402
from bfcl_eval.utils import is_empty_output, is_function_calling_format_output  # noqa: E402


def decode(result):
    """As the handlers of models with function calls do for lists, and those of others for text."""
    if isinstance(result, str):
        return default_decode_ast_prompting(result, ReturnFormat.PYTHON, False)
    decoded = []
    for call in result:
        name = list(call.keys())[0]  # noqa: RUF015 - as there
        decoded.append({name: json.loads(call[name])})
    return decoded


def judge(row):
    """Error type of one answer, as the official runner reports it."""
    category, result = row["category"], row["result"]
    try:
        decoded = decode(result)
    except Exception:
        decoded = None
    if "relevance" in category:
        has_call = decoded is not None and not is_empty_output(decoded)
        if "irrelevance" in category:
            return "irrelevance_error:decoder_success" if has_call else None
        return None if has_call else "relevance_error:decoder_failed"
    if decoded is None:
        return "ast_decoder:decoder_failed"
    if not is_function_calling_format_output(decoded):
        return "ast_decoder:decoder_wrong_output_format"
    try:
        model = row.get("model", "dots")
        found = ast_checker(row["functions"], decoded, row["wanted"], Language.PYTHON, category, model)
    except Exception:
        return "checker_crash"
    return None if found["valid"] else found["error_type"]


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps({"error_type": judge(json.loads(line))}))
