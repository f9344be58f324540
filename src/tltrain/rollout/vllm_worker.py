"""A vLLM engine, run by a Python that has the package vllm.

    PYTHON vllm_worker.py

Reads requests from standard input and answers each on standard output, a JSON object a line: `{"ok": ...}`, or
`{"error": text}`. Requests:

    {"op": "hello"}                                                                 -> version of vllm
    {"op": "start", "model": folder, "options": keyword arguments of EngineArgs}    -> null
    {"op": "load", "folder": weights in safetensors}                                -> null
    {"op": "sample", "prompts": token ids, "seeds": one a prompt, "params": keyword arguments of SamplingParams}

The last is answered more than once: after every step of the engine with `{"step": rows}`, a row being [prompt's number,
new tokens, their log-probs, whether it ended]. The next line of the input must then be {"stop": numbers}, completions
that need no more tokens. So whoever asked says what is complete, and two runs sample alike. `{"ok": null}` is the end.

It imports nothing of tltrain, and ends when standard input does.
"""

import importlib
import json
import os
import queue
import signal
import threading
from typing import Any, TextIO


class Engine:
    """The engine, in this process, so that nothing is left when this ends."""

    def __init__(self, requests: "queue.Queue[str]", answers: TextIO):
        self._requests, self._answers = requests, answers
        self._vllm: Any = importlib.import_module("vllm")
        self._engine: Any = None

    def answer(self, request: dict[str, Any]) -> Any:
        """Answer one request."""
        match request["op"]:
            case "hello":
                return self._vllm.__version__
            case "start":
                args = self._vllm.EngineArgs(model=request["model"], **request["options"])
                self._engine = self._vllm.LLMEngine.from_engine_args(args, enable_multiprocessing=False)
                return None
            case "load":
                self._engine.collective_rpc("reload_weights", kwargs={"weights_path": request["folder"]})
                self._engine.apply_model(_renew_head)
                # what is cached was computed with the weights of before
                if not self._engine.reset_prefix_cache():
                    raise RuntimeError("vLLM could not empty its prefix cache")
                return None
            case "sample":
                return self._sample(request["prompts"], request["seeds"], request["params"])
        raise ValueError(f"there is no op {request['op']!r}")

    def _sample(self, prompts: list[list[int]], seeds: list[int], params: dict[str, Any]) -> None:
        delta = importlib.import_module("vllm.sampling_params").RequestOutputKind.DELTA
        for number, (ids, seed) in enumerate(zip(prompts, seeds, strict=True)):
            settings = self._vllm.SamplingParams(**params, seed=seed, output_kind=delta)
            self._engine.add_request(str(number), {"prompt_token_ids": ids}, settings)
        try:
            while self._engine.has_unfinished_requests():
                rows = [_row(output) for output in self._engine.step()]
                if not rows:  # a step that only read a part of the prompts
                    continue
                self.write({"step": rows})
                stopped = json.loads(self._requests.get())["stop"]
                if stopped:
                    self._engine.abort_request([str(number) for number in stopped])
        except BaseException:
            self._engine.abort_request([str(number) for number in range(len(prompts))])
            raise

    def write(self, answer: dict[str, Any]) -> None:
        """Write a line of the answer."""
        write(self._answers, answer)


def _renew_head(model: Any) -> None:
    """Have an output layer that shares its weights with the embedding see the new ones.

    On a CPU vLLM 0.32 keeps a repacked copy, which `reload_weights` renews for layers with weights of their own alone.
    """
    for module in model.modules():
        if type(module).__name__ == "ParallelLMHead":
            module.quant_method.process_weights_after_loading(module)


def _row(output: Any) -> list[Any]:
    told = output.outputs[0]
    ids = list(told.token_ids)
    logprobs = [float(place[token].logprob) for token, place in zip(ids, told.logprobs, strict=True)]
    return [int(output.request_id), ids, logprobs, output.finished]


def write(answers: TextIO, answer: dict[str, Any]) -> None:
    """Write a JSON object as a line."""
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the packages print is no answer
    source = os.fdopen(os.dup(0), encoding="utf-8")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)  # whatever these start does not read requests
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(source, requests), daemon=True).start()
    engine: Engine | None = None
    while True:
        line = requests.get()
        try:
            engine = engine or Engine(requests, answers)
            answer = {"ok": engine.answer(json.loads(line))}
        except BaseException as error:
            import traceback

            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        write(answers, answer)


def _read(source: TextIO, requests: "queue.Queue[str]") -> None:
    for line in source:
        requests.put(line)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # and all that vLLM started
    os._exit(0)  # whoever asked is gone, though a step may still be running


if __name__ == "__main__":
    main()
