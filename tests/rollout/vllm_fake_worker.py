"""Stands in for vllm_worker.py: a "model" whose next token is a function of the seed, the place and the weights."""

import json
import os
import sys
from pathlib import Path

weights = ""


def say(answer):
    print(json.dumps(answer), flush=True)


def sample(request):
    limit, ends = request["params"]["max_tokens"], request["params"]["stop_token_ids"]
    script = json.loads(os.environ.get("FAKE_TOKENS", "[]"))
    running = dict.fromkeys(range(len(request["prompts"])), 0)
    while running:
        rows = []
        for row, place in list(running.items()):
            token = script[place] if place < len(script) else 3 + (request["seeds"][row] + place) % 50
            running[row] += 1
            is_done = token in ends or running[row] == limit
            if is_done:
                del running[row]
            rows.append([row, [token], [-0.5 - place], is_done])
        say({"step": rows})
        for row in json.loads(sys.stdin.readline())["stop"]:
            running.pop(row, None)


for line in sys.stdin:
    request = json.loads(line)
    mode = os.environ.get("FAKE_MODE", "")
    with open(os.environ["FAKE_LOG"], "a") as log:
        kept = {name: value for name, value in request.items() if name not in ("prompts", "seeds")}
        kept["has_weights"] = (
            Path(request.get("folder") or request.get("model") or ".") / "model.safetensors"
        ).is_file()
        log.write(json.dumps(kept) + "\n")
    if mode == "missing":
        say({"error": "ModuleNotFoundError: No module named 'vllm'"})
    elif mode == "unknown" and request["op"] == "start":
        say({"error": "ValueError: Model architectures ['Odd'] are not supported"})
    elif mode == "die" and request["op"] == "sample":
        print("out of cheese", file=sys.stderr, flush=True)
        os._exit(3)
    elif request["op"] == "sample":
        sample(request)
        say({"ok": None})
    else:
        say({"ok": "0.32.0"})
