"""A chat endpoint that runs as a process of its own: `python answering_server.py PORT LOG`.

It calls the first tool on offer, then finish; each answered request adds a byte to LOG.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_done = any(message["role"] == "tool" for message in request["messages"])
        first = request["tools"][0]["function"]["name"]
        name, arguments = ("finish", {"answer": "x"}) if is_done else (first, {"key": "a"})
        call = {"id": "x0", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        data = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        with open(sys.argv[2], "ab") as log:
            log.write(b".")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
