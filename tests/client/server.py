"""A small server that acts out the documented API, well or badly, on a real socket.

What it answers to each POST is a script: a list of `Answer`; behind the end of the script every request is
accepted. Orders whose source id begins with `fail` fail in the action's result.
"""

import itertools
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ACCEPT = object()
RESET = object()


@dataclass
class Answer:
    """One scripted answer: a status with a body, or `RESET` for a connection that breaks without one."""

    status: int
    details: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None


@dataclass
class Server:
    """What the test sees: the script in, the requests out."""

    url: str = ""
    script: list[Any] = field(default_factory=list)
    action_script: list[Any] = field(default_factory=list)
    posts: list[list[dict[str, Any]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    accepted: list[list[dict[str, Any]]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    refuse_bad: bool = False
    body_bytes_max: int | None = None
    failed_listed_max: int = 100

    def taken(self) -> list[dict[str, Any]]:
        """All orders of all accepted requests, in their order."""
        return list(itertools.chain.from_iterable(self.accepted))

    def answer_post(self, body: bytes) -> Any:
        """What a POST is answered with; records it."""
        orders = json.loads(body)
        self.posts.append(orders)
        self.bodies.append(body)
        if self.script and (scripted := self.script.pop(0)) is not ACCEPT:
            return scripted
        if self.body_bytes_max and len(body) > self.body_bytes_max:
            return Answer(413, raw=b'{"statusCode":413,"error":"Request Entity Too Large","message":"too large"}')
        bad = [n for n, order in enumerate(orders) if order.get("amount") == "bad"]
        if self.refuse_bad and bad:
            return Answer(400, f"Property .[{bad[0]}].amount should be integer")
        self.accepted.append(orders)
        return Answer(200, raw=b'{"async_action_id":"aa_%d"}' % (len(self.accepted) - 1))

    def answer_action(self, action_id: str) -> Any:
        """The action as the documented object."""
        if self.action_script and (scripted := self.action_script.pop(0)) is not ACCEPT:
            return scripted
        orders = self.accepted[int(action_id.removeprefix("aa_"))]
        failed = [
            {"source_id": order["source_id"], "index": n, "reason": "Cannot find customer with id cust_x"}
            for n, order in enumerate(orders)
            if str(order.get("source_id")).startswith("fail")
        ]
        result = {
            "message": "done",
            "failed": failed[: self.failed_listed_max],
            "done_count": len(orders) - len(failed),
            "failed_count": len(failed),
        }
        action = {"id": action_id, "status": "DONE", "progress": 100, "result": result, "object": "async_action"}
        return Answer(200, raw=json.dumps(action).encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer; two would wait 40 ms for each other
    acted: Server

    def do_POST(self) -> None:
        self.acted.keys.append(self.headers["Idempotency-Key"])
        self.acted.calls.append("POST")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        keys = (self.headers["X-App-Id"], self.headers["X-App-Token"])
        self._send(self.acted.answer_post(body) if keys == ("id", "token") else Answer(401, "Wrong keys"))

    def do_GET(self) -> None:
        action_id = self.path.removeprefix("/v1/async-actions/").partition("?")[0]
        self.acted.calls.append(action_id)
        self._send(self.acted.answer_action(action_id))

    def _send(self, answer: Any) -> None:
        if answer is RESET:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        body = answer.raw
        if body is None:
            error = {"code": answer.status, "key": "k", "message": "Message", "details": answer.details}
            body = json.dumps(error).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Silence: the tests look at what was recorded."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port of the loopback address."""
    acted = Server()
    handler = type("Handler", (_Handler,), {"acted": acted})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        acted.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield acted
        finally:
            http.shutdown()
            thread.join()
