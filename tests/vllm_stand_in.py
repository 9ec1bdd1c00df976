"""Stands in for vLLM's server in quick tests: takes its command line and serves its health on a socket.

It is put where `python -m vllm.entrypoints.openai.api_server` finds it, so nothing that starts it can tell. As vLLM
does, it has an engine in a process of its own. The model's `config.json` says how it behaves:

    {"says": "…", "fails": true}    says that, and ends before it serves
    {"crashes_after": 0.1}          serves, and ends after so many seconds, its engine left behind

POST /crash ends it at once, POST /sick makes its health bad, GET /argv shows how it was called.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_ENGINE = "import time\nwhile True: time.sleep(1)"


class Handler(BaseHTTPRequestHandler):
    well = True
    name = ""

    def do_GET(self) -> None:
        key = os.environ.get("VLLM_API_KEY")
        if self.path == "/health":
            self.answer(200 if Handler.well else 503, {})
        elif key and self.path.startswith("/v1") and self.headers.get("Authorization") != f"Bearer {key}":
            self.answer(401, {"error": "Unauthorized"})
        elif self.path == "/v1/models":
            self.answer(200, {"object": "list", "data": [{"id": Handler.name, "max_model_len": 2048}]})
        elif self.path == "/version":
            self.answer(200, {"version": "0.32.0"})
        elif self.path == "/argv":
            self.answer(200, sys.argv[1:])
        else:
            self.answer(404, {})

    def do_POST(self) -> None:
        if self.path == "/crash":
            os._exit(0)
        Handler.well = False
        self.answer(200, {})

    def answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--model", "--served-model-name", "--host", "--port"):
        parser.add_argument(option, required=True)
    arguments, _ = parser.parse_known_args()
    model = Path(arguments.model)
    behaviour = json.loads((model / "config.json").read_text(encoding="utf-8"))
    engine = subprocess.Popen([sys.executable, "-c", _ENGINE])
    with (model / "engines").open("a", encoding="utf-8") as engines:
        engines.write(f"{engine.pid}\n")
    said = behaviour.get("says", "(APIServer pid=7) INFO 11-27 09:48:19 [model.py:733] Loading weights")
    os.write(1, f"{said}\n".encode())
    if behaviour.get("fails"):
        os._exit(1)
    if seconds := behaviour.get("crashes_after"):
        threading.Timer(seconds, os._exit, [0]).start()
    Handler.name = arguments.served_model_name
    ThreadingHTTPServer((arguments.host, int(arguments.port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
