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
    tells_all_failures: bool = True
    knows_dry_runs: bool = True
    dry: list[bool] = field(default_factory=list)
    # what the requests of a key were answered, as a server does that drops repeats
    answers: dict[str, tuple[bytes, Answer]] = field(default_factory=dict)
    failures_per_page: int = 100
    # keeps of each request only how many orders it had
    forgets: bool = False

    def taken(self) -> list[dict[str, Any]]:
        """All orders of all accepted requests, in their order."""
        return list(itertools.chain.from_iterable(self.accepted))

    def answer_post(self, body: bytes) -> Any:
        """What a POST is answered with; records it."""
        if self.forgets:
            self.accepted.append([{}] * body.count(b'{"source_id":"order-'))
            return Answer(200, raw=b'{"async_action_id":"aa_%d"}' % (len(self.accepted) - 1))
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

    def answer_key(self, key: str, body: bytes, *, dry_run: bool) -> Any:
        """What a POST with an idempotency key is answered: an accepted one once, and its repeats the same."""
        if key in self.answers:
            stored, answer = self.answers[key]
            assert stored == body, "a key stands for one body"
            return answer
        accepted = len(self.accepted)
        answer = self.answer_post(body)
        if len(self.accepted) > accepted:
            self.dry.append(dry_run)
            self.answers[key] = (
                b"" if self.forgets else body,
                Answer(200, raw=b'{"async_action_id":"aa_%d"}' % accepted),
            )
        return answer

    def failed(self, action_id: str) -> list[dict[str, Any]]:
        """All failures of an action."""
        orders = self.accepted[int(action_id.removeprefix("aa_"))]
        return [
            {"source_id": order["source_id"], "index": n, "reason": "Cannot find customer with id cust_x"}
            for n, order in enumerate(orders)
            if str(order.get("source_id")).startswith("fail")
        ]

    def answer_failures(self, action_id: str, after: int) -> Any:
        """A page of them."""
        if not self.tells_all_failures:
            return Answer(404, raw=b"nothing here")
        left = [failure for failure in self.failed(action_id) if failure["index"] > after]
        page = left[: self.failures_per_page]
        body = {"object": "list", "data_ref": "data", "data": page, "has_more": len(left) > len(page)}
        return Answer(200, raw=json.dumps(body).encode())

    def answer_action(self, action_id: str) -> Any:
        """The action as the documented object."""
        if self.action_script and (scripted := self.action_script.pop(0)) is not ACCEPT:
            return scripted
        orders = self.accepted[int(action_id.removeprefix("aa_"))]
        failed = self.failed(action_id)
        result = {
            "message": "done",
            "failed": failed[: self.failed_listed_max],
            "done_count": len(orders) - len(failed),
            "failed_count": len(failed),
        }
        action = {"id": action_id, "status": "DONE", "progress": 100, "result": result, "object": "async_action"}
        if self.knows_dry_runs:
            action["dry_run"] = self.dry[int(action_id.removeprefix("aa_"))]
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
        key, dry_run = self.headers["Idempotency-Key"], self.path.endswith("?dry_run=true")
        right = keys == ("id", "token")
        self._send(self.acted.answer_key(key, body, dry_run=dry_run) if right else Answer(401, "Wrong keys"))

    def do_GET(self) -> None:
        action_id = self.path.removeprefix("/v1/async-actions/").partition("?")[0]
        self.acted.calls.append(action_id)
        if action_id.endswith("/failures"):
            after = int(self.path.partition("starting_after_id=")[2] or -1)
            self._send(self.acted.answer_failures(action_id.removesuffix("/failures"), after))
            return
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
