"""AWS on loopback, in a process of its own, so that what it takes isn't counted as ours: `python -m bench.aws_server`.

It prints its port. A POST to /bench/<world> with its arguments in JSON begins a world anew; a GET of /bench/calls
answers with the calls since. It ends when its standard input does.
"""

import json
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from botocore.exceptions import ClientError

from bench import wire
from bench.worlds import WORLDS

CONTROL = "/bench/"


class World(Protocol):
    """What answers: an answer as boto3 gives it, or the bytes of one. It raises a ClientError to refuse."""

    def answer(self, request: wire.Request) -> Mapping[str, Any] | bytes:
        """Answer one call; calls come one at a time."""


class Server(ThreadingHTTPServer):
    """See the module."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.world: World
        self.made: list[wire.Request] = []
        self.counted: Counter[str] = Counter()
        self.started: list[Any] = []
        self.refused: list[str] = []
        self.keeps = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell an error, but for a caller who was ended meanwhile: the console is, once it was timed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def begin(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Begin a world; `keeps` says whether the calls' own bytes are kept."""
        with self.lock:
            self.keeps = bool(arguments.get("keeps"))
            self.world = WORLDS[name](**{key: value for key, value in arguments.items() if key != "keeps"})
            self.made, self.refused, self.started = [], [], []
            self.counted.clear()

    def calls(self) -> dict[str, Any]:
        """What was called since the world began."""
        with self.lock:
            kept = [
                {
                    "service": each.service,
                    "operation": each.operation,
                    "params": each.params,
                    "headers": {
                        name: each.headers[name] for name in ("X-Amz-Target", "Content-Type") if name in each.headers
                    },
                    "body": each.body,
                }
                for each in self.made
            ]
            return {"made": kept, "counted": dict(self.counted), "started": self.started, "refused": self.refused}

    def answer(self, headers: Mapping[str, str], body: str) -> tuple[int, str, bytes]:
        """Status, content type and bytes of the answer to a call."""
        request = wire.read(headers, body)
        with self.lock:
            self.counted[request.operation] += 1
            if request.operation == "StartExecution":
                self.started.append(json.loads(request.params["input"]))
            if self.keeps:
                self.made.append(request)
            try:
                found = self.world.answer(request)
            except ClientError as error:
                told: Any = error.response["Error"]
                self.refused.append(f"{request.operation}: {error}")
                return HTTPStatus.BAD_REQUEST, *wire.refusal(request.service, told["Code"], told["Message"])
            except Exception as error:  # noqa: BLE001  # what the world doesn't know is told, and fails the part
                self.refused.append(f"{request.operation}: {error!r}")
                return HTTPStatus.BAD_REQUEST, *wire.refusal(request.service, "NotKnownHere", repr(error))
        if isinstance(found, bytes):
            return HTTPStatus.OK, "text/xml", found
        return HTTPStatus.OK, *wire.write(request.service, request.operation, found)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    # A large answer's head is sent by itself: nothing waits for its acknowledgement.
    wbufsize, disable_nagle_algorithm = -1, True

    def do_POST(self) -> None:
        """A call, or a world's beginning."""
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length)
        if len(sent) < length:
            raise ConnectionResetError
        body = sent.decode()
        if self.path.startswith(CONTROL):
            self.server.begin(self.path.removeprefix(CONTROL), json.loads(body))
            self._send(HTTPStatus.OK, "application/json", b"{}")
        else:
            self._send(*self.server.answer(self.headers, body))  # type: ignore[arg-type]  # a mapping of its headers

    def do_GET(self) -> None:
        """The calls since the world began."""
        self._send(HTTPStatus.OK, "application/json", json.dumps(self.server.calls()).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's own name
        """Say nothing."""

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until whoever started us is gone."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
