"""Stands in for bfcl_worker.py: its environments are sums, and some calls end, hang or disturb the process."""

import json
import os
import sys
import time
from pathlib import Path

sums = {}


def call(session, entry, name, arguments):
    if name == "die":
        print("out of cheese", file=sys.stderr)
        os._exit(3)
    if name == "hang":
        time.sleep(60)
    if name == "noise":
        print("what a package prints")
    if name == "refuse":
        return json.dumps({"error": "no"})
    sums[session] = sums.get(session, entry["initial_config"]["MathAPI"]["start"]) + arguments["by"]
    return str(sums[session])


def written(name, arguments):
    return f"{name}(" + ", ".join(f"{key}={value!r}" for key, value in arguments.items()) + ")"


def calls_of(step):
    return [(name, json.loads(text)) for one in step for name, text in one.items()]


def answer(request):
    match request["op"]:
        case "hello":
            return {"version": "2026.3.23", "data": str(Path.cwd()), "max_steps": 2}
        case "execute":
            if not isinstance(request["step"], list):
                return None
            return [call(request["session"], request["entry"], *one) for one in calls_of(request["step"])]
        case "forget":
            return sums.pop(request["session"], None)
        case "judge":
            if any("no_verdict" in texts for texts in request["ground_truth"]):
                raise AssertionError("instances do not match")
            made = [
                [written(*one) for step in turn if isinstance(step, list) for one in calls_of(step)]
                for turn in request["result"]
            ]
            valid = made == request["ground_truth"]
            return {"valid": valid, "error_type": None if valid else "multi_turn:other", "message": ""}
        case "sums":
            return sums


for line in sys.stdin:
    try:
        found = {"ok": answer(json.loads(line))}
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(found), flush=True)
