"""Stands in for a vLLM server: the answers of vLLM 0.32 to what tltrain asks, and the ways in which it fails."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class FakeServer(ThreadingHTTPServer):
    """Its next token is 3 plus seed and place; `mode` says what goes wrong, `asked` what it was told."""

    daemon_threads = True

    def __init__(self, mode=""):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mode = mode
        self.asked = []
        self.num_busy = 0
        """Times that the prefix cache is still in use."""
        self.tokens = []
        """What is sampled first."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        """A client that has enough breaks off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        mode = self.server.mode
        if self.path == "/v1/models":
            if mode == "key":
                return self._say({"error": "Unauthorized"}, 401)
            if mode == "html":
                return self._say(None, raw=b"<html>It works!</html>")
            if mode == "other":
                return self._say({"models": []})
            return self._say({"data": [{"id": "m", "max_model_len": 32 if mode == "short" else 64}]})
        if mode == "no_dev":
            return self._say({"detail": "Not Found"}, 404)
        settings = {
            "model_config": {"logprobs_mode": "raw_logprobs" if mode == "raw" else "processed_logprobs"},
            "load_config": {"load_format": "dummy" if mode == "dummy" else "auto"},
        }
        return self._say({"vllm_config": settings})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.asked.append((self.path, body))
        if self.path == "/collective_rpc":
            if server.mode == "blind":
                return self._say({"error": {"message": "Repo id must be in the form"}}, 500)
            return self._say({"results": [None]})
        if self.path == "/reset_prefix_cache":
            server.num_busy -= 1
            return self._say({"success": server.num_busy < 0})
        return self._complete(body)

    def _complete(self, body):
        mode = self.server.mode
        if mode == "dead":
            self._say({"error": {"message": "EngineCore encountered an issue"}}, 500)
            return
        if mode == "slow":
            time.sleep(1)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for place in range(body["max_tokens"]):
            if place == 1 and mode == "dies":
                self.close_connection = True
                self.connection.close()
                return
            if place == 1 and mode == "fails":
                self._chunk({"error": {"message": "EngineCore encountered an issue"}})
                break
            is_aborted = place == 1 and mode == "aborts"
            tokens = self.server.tokens
            token = tokens[place] if place < len(tokens) else 3 + (body["seed"] + place) % 50
            choice = {
                "text": "x",
                "logprobs": {"token_logprobs": [-0.5 - place]},
                "token_ids": None if mode == "old" else [token],
                "finish_reason": "abort" if is_aborted else None,
            }
            self._chunk({"choices": [choice]})
            if is_aborted or token in body["stop_token_ids"]:
                break
        self._chunk(None)

    def _chunk(self, value):
        data = b"data: [DONE]\n\n" if value is None else f"data: {json.dumps(value)}\n\n".encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if value is None:
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _say(self, value, status=200, raw=None):
        data = json.dumps(value).encode() if raw is None else raw
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def fake_server(mode="") -> Iterator[FakeServer]:
    """One that runs until the context is left."""
    with FakeServer(mode) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()
