"""A chat-completions endpoint on the loopback interface, for tests of what talks to one."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Answer:
    body: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


def completion(content: str | None = None, *calls: tuple[str, str], finish_reason: str = "stop", **message) -> Answer:
    """A chat completion; calls are (name, arguments as text)."""
    message |= {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"id": f"x{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for number, (name, arguments) in enumerate(calls)
        ]
    return Answer(body=json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}))


@dataclass
class Endpoint:
    url: str
    requests: list[dict[str, Any]]
    """Bodies of all requests so far."""
    keys: set[str]
    """Authorization headers seen."""


@contextmanager
def serve(answer: Callable[[dict[str, Any]], Answer]) -> Iterator[Endpoint]:
    """Run an endpoint whose answer to each request body is computed by the function."""
    requests: list[dict[str, Any]] = []
    keys: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/chat/completions"
            requests.append(body)
            keys.add(self.headers["Authorization"])
            reply = answer(body)
            time.sleep(reply.delay_s)
            data = reply.body.encode()
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has given up waiting

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Endpoint(f"http://127.0.0.1:{server.server_port}/v1", requests, keys)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
