"""Bodies as they arrive: limits, the budget, memory, clients that lie, stall or vanish."""

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from litestar import Request

from punchcard.errors import InvalidPayload, Overloaded
from punchcard.http.bodies import BodyBudget, BodyTimeout
from tests.deployment import Deployment, Project, until
from tests.http.refusals import refused

BODY_BYTES_MAX = 32 * 1024 * 1024
RSS_MB_MAX = 300
IDLE_MB_MAX = 190
JSON = {"content-type": "application/json"}


def exchanged(project: Project, head: str, body: bytes, *, close: bool = False) -> bytes:
    """What the server answers to these bytes on a connection of their own."""
    request = (
        f"POST /v1/orders/import HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"X-App-Id: {project.application_id}\r\nX-App-Token: {project.application_token}\r\n{head}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", project.deployment.port), timeout=60) as link:
        link.sendall(request + body)
        if close:
            return b""
        return b"".join(iter(lambda: link.recv(65536), b""))


# ---- framing ----


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        ("Content-Length: 2", b"[]", 200),
        ("Transfer-Encoding: chunked", b"1\r\n[\r\n1\r\n]\r\n0\r\n\r\n", 200),
        ("Transfer-Encoding: chunked", b"0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked", b"1\r\n[\r\nzz\r\n", 400),
        ("Content-Length: 1", b"[]", 400),
        ("Content-Length: 0", b"", 400),
        ("X-Nothing: 1", b"[]", 400),
        ("Content-Length: abc", b"[]", 400),
        ("Content-Length: -2", b"[]", 400),
        ("Content-Length: 99999999999999999999999999", b"[]", 400),
    ],
)
def test_bodies_by_their_framing(project_18: Project, head: str, body: bytes, status: int) -> None:
    assert exchanged(project_18, head, body).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_body_that_comes_slowly_is_taken(project_18: Project) -> None:
    def slowly() -> Iterator[bytes]:
        for part in (b"[{", b'"source_id"', b':"o"', b"}]"):
            time.sleep(0.1)
            yield part

    answer = project_18.http.post("/v1/orders/import", content=slowly(), headers=JSON)
    assert project_18.finished(answer.json()["async_action_id"])["result"]["done_count"] == 1


# ---- limits ----


def padded(size: int) -> bytes:
    """An import of one order, of exactly so many bytes."""
    return b'[{"source_id":"o"}' + b" " * (size - 19) + b"]"


def test_the_largest_body_and_one_byte_more(project_18: Project) -> None:
    assert project_18.import_orders(padded(BODY_BYTES_MAX))["done_count"] == 1
    body = refused(
        project_18.http.post("/v1/orders/import", content=padded(BODY_BYTES_MAX + 1), headers=JSON),
        413,
        "payload_too_large",
    )
    assert body["message"] == f"Payload content length greater than maximum allowed: {BODY_BYTES_MAX}"
    assert body["details"] == f"The limit of this server is {BODY_BYTES_MAX} bytes (setting body_bytes_max)"
    assert (body["statusCode"], body["error"]) == (413, "Request Entity Too Large")


@pytest.mark.parametrize(
    ("path", "setting", "size"),
    [("/v1/orders", "order_bytes_max", 4 * 1024 * 1024), ("/v1/customers", "object_bytes_max", 1024 * 1024)],
)
def test_the_largest_object_and_one_byte_more(project_18: Project, path: str, setting: str, size: int) -> None:
    body = b'{"source_id":"large"' + b" " * (size - 21) + b"}"
    assert project_18.http.post(path, content=body, headers=JSON).status_code == 200
    assert project_18.http.put(f"{path}/large", content=body, headers=JSON).status_code == 200
    for method, where in (("POST", path), ("PUT", f"{path}/large")):
        answer = project_18.http.request(method, where, content=body + b" ", headers=JSON)
        assert refused(answer, 413, "payload_too_large")["details"].endswith(f"{size} bytes (setting {setting})")


def test_an_order_that_an_import_takes_is_taken_alone(project_18: Project) -> None:
    items = [{"source_id": f"p{no}", "quantity": 1, "metadata": {"text": "x" * 2_500}} for no in range(500)]
    project_18.imported({"source_id": "o", "items": items})
    shown = project_18.get("/v1/orders/o")
    sent = project_18.http.put("/v1/orders/o", json=shown)
    assert (sent.status_code, sent.json()["items"]) == (200, shown["items"])


def test_a_body_that_never_says_how_long_it_is_has_the_same_limit(project_18: Project) -> None:
    endless = iter([b" " * 1024 * 1024] * 40)
    refused(project_18.http.post("/v1/orders/import", content=endless, headers=JSON), 413, "payload_too_large")


def test_a_413_is_answered_before_the_body_is_sent(project_18: Project) -> None:
    with socket.create_connection(("127.0.0.1", project_18.deployment.port), timeout=60) as link:
        link.sendall(
            f"POST /v1/orders/import HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES_MAX + 1}\r\n"
            f"X-App-Id: {project_18.application_id}\r\nX-App-Token: {project_18.application_token}\r\n\r\n".encode()
        )
        assert link.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_2000_orders_of_500_items_are_refused_by_their_size(project_18: Project) -> None:
    order = {"items": [{"source_id": "product-0000001", "quantity": 1, "price": 100}] * 500}
    body = json.dumps([order] * 2000).encode()
    refused(project_18.http.post("/v1/orders/import", content=body, headers=JSON), 413, "payload_too_large")


@pytest.mark.parametrize("close", [True, False])
def test_an_unread_body_does_not_keep_the_answer_from_the_client(project_18: Project, *, close: bool) -> None:
    headers = JSON | {"x-app-token": "wrong"} | ({"connection": "close"} if close else {})
    for _ in range(3):
        answer = project_18.http.post("/v1/orders/import", content=b"x" * 5_000_000, headers=headers)
        refused(answer, 401, "unauthorized")


# ---- the budget ----


@pytest.fixture(scope="module")
def narrow() -> Iterator[Project]:
    """A deployment that takes bodies of 1 MB, and 2 MB of them at a time."""
    deployment = Deployment(settings={"body_bytes_max": 1_000_000, "bodies_in_flight_bytes_max": 2_000_000})
    try:
        first = deployment.start().first_project()
        yield first
        first.close()
    finally:
        deployment.close()


def stalled(project: Project, size: int) -> socket.socket:
    """A connection that was let in and has sent `size` bytes of a larger body."""
    link = socket.create_connection(("127.0.0.1", project.deployment.port), timeout=60)
    link.sendall(
        f"POST /v1/orders/import HTTP/1.1\r\nHost: x\r\nContent-Length: {size + 2}\r\nExpect: 100-continue\r\n"
        f"X-App-Id: {project.application_id}\r\nX-App-Token: {project.application_token}\r\n\r\n".encode()
    )
    # the server asks for the body after it has counted what was announced
    assert link.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    link.sendall(b"[" + b" " * (size - 1))
    return link


def is_taken(project: Project, size: int) -> bool:
    answer = project.http.post("/v1/orders/import", content=padded(size), headers=JSON)
    assert answer.status_code in {200, 429}
    return answer.status_code == 200


def test_bodies_beyond_the_budget_are_refused_until_others_are_gone(narrow: Project) -> None:
    first, second = stalled(narrow, 950_000), stalled(narrow, 950_000)
    answer = narrow.http.post("/v1/orders/import", content=padded(150_000), headers=JSON)
    body = refused(answer, 429, "too_many_requests")
    assert answer.headers["retry-after"] == "1"
    assert body["message"] == "Too many requests hit the API too quickly."
    assert is_taken(narrow, 50_000)
    assert narrow.http.get("/v1/orders").status_code == 200
    first.sendall(b" ]")
    assert first.recv(65536).startswith(b"HTTP/1.1 200 ")  # who was let in is served
    second.close()
    until(lambda: is_taken(narrow, 150_000))
    first.close()


def test_clients_that_vanish_give_their_budget_back(narrow: Project) -> None:
    for _ in range(10):
        stalled(narrow, 900_000).close()
        exchanged(narrow, "Content-Length: 500000", b"[" * 400_000, close=True)
        until(lambda: is_taken(narrow, 1_000_000))
        narrow.refused_import(b"[" * 900_000)
    # all of it is there again: room for two of the largest bodies
    link = stalled(narrow, 950_000)
    until(lambda: is_taken(narrow, 1_000_000))
    link.close()


def test_the_configured_limit_is_the_one_that_is_named(narrow: Project) -> None:
    answer = narrow.http.post("/v1/orders/import", content=padded(1_000_001), headers=JSON)
    assert refused(answer, 413, "payload_too_large")["message"].endswith("allowed: 1000000")
    assert narrow.import_orders(padded(1_000_000))["done_count"] == 1


def request_of(*messages: dict[str, Any]) -> Request[Any, Any, Any]:
    """A request whose body arrives as `messages`, and then nothing more."""
    waiting = list(messages)

    async def receive() -> Any:
        if not waiting:
            await asyncio.sleep(60)
        return waiting.pop(0)

    return Request({"type": "http", "headers": [], "method": "POST", "path": "/"}, receive)  # type: ignore[arg-type]


async def read(budget: BodyBudget, request: Request[Any, Any, Any]) -> bytes:
    async with budget.json(request) as body:
        return body


def test_a_client_that_falls_silent_is_given_up() -> None:
    budget = BodyBudget(body_bytes_max=100, in_flight_bytes_max=100, silence_seconds_max=0.2)
    begun = {"type": "http.request", "body": b"x" * 90, "more_body": True}
    whole = {"type": "http.request", "body": b"y" * 90, "more_body": False}

    async def exchange() -> None:
        first = asyncio.create_task(read(budget, request_of(begun)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await read(budget, request_of(whole))
        with pytest.raises(BodyTimeout, match=r"Nothing of the body arrived for 0\.2 seconds"):
            await first
        assert await read(budget, request_of(whole)) == b"y" * 90
        with pytest.raises(InvalidPayload, match="ended before it was complete"):
            await read(budget, request_of(begun, {"type": "http.disconnect"}))
        assert await read(budget, request_of(whole)) == b"y" * 90

    asyncio.run(exchange())


# ---- memory ----


def api_process(deployment: Deployment) -> Path:
    """The directory in /proc of the deployment's API process."""
    assert deployment.process is not None
    parts = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(deployment.process.pid)], capture_output=True, text=True, check=True
    ).stdout
    return Path("/proc", next(line.split()[0] for line in parts.splitlines() if line.endswith("punchcard api")))


def memory_mb(process: Path, figure: str) -> int:
    status = (process / "status").read_text()
    return int(status.partition(figure)[2].split()[0]) // 1024


@pytest.fixture(scope="module")
def roomy() -> Iterator[Project]:
    """A deployment of its own with the default limits, whose memory nobody else uses."""
    deployment = Deployment()
    try:
        first = deployment.start().first_project()
        yield first
        first.close()
    finally:
        deployment.close()


def filled(head: bytes, unit: bytes, tail: bytes, size: int = BODY_BYTES_MAX) -> bytes:
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


ORDER = {
    "status": "PAID",
    "customer": {"source_id": "c", "name": "x" * 50},
    "items": [{"source_id": f"p-{n}", "price": 5, "metadata": {"a": "b" * 100}} for n in range(80)],
}
LARGE: dict[str, tuple[bytes, int]] = {
    "15 MB of {}": (filled(b"[{}", b",{}", b"]", 15_000_000), 400),
    "32 MB of {}": (filled(b"[{}", b",{}", b"]"), 400),
    "32 MB of []": (filled(b"[[]", b",[]", b"]"), 400),
    "32 MB of {} as items": (filled(b'[{"items":[{}', b",{}", b"]}]"), 400),
    "32 MB of {} in metadata": (filled(b'[{"metadata":{"a":[{}', b",{}", b"]}}]"), 400),
    "32 MB of floats": (filled(b'[{"amount":5.0,"unknown":[1.5', b",1.5", b"]}]"), 400),
    "32 MB of brackets": (b"[" * BODY_BYTES_MAX, 400),
    "one text": (filled(b'[{"metadata":{"a":"', b"x", b'"}}]'), 200),
    "one wide text": (filled('[{"metadata":{"a":"😀'.encode(), b"x", b'"}}]'), 400),
    "one wide text, escaped": (filled(b'[{"metadata":{"a":"\\ud83d\\ude00', b"x", b'"}}]'), 400),
    "spaces": (filled(b"[", b" ", b"]"), 200),
    "many orders": (json.dumps([{"source_id": f"o-{n}", **ORDER} for n in range(2000)]).encode(), 200),
}


@pytest.mark.parametrize("name", LARGE)
def test_no_body_takes_much_memory(roomy: Project, name: str) -> None:
    body, status = LARGE[name]
    answer = roomy.http.post("/v1/orders/import", content=body, headers=JSON)
    assert answer.status_code == status, answer.text[:300]
    assert memory_mb(api_process(roomy.deployment), "VmHWM:") < RSS_MB_MAX


@pytest.mark.parametrize("name", ["one text", "one wide text", "many orders"])
def test_many_large_bodies_at_once_take_no_more(roomy: Project, name: str) -> None:
    body = LARGE[name][0]
    with ThreadPoolExecutor(8) as threads:
        sent = [threads.submit(roomy.http.post, "/v1/orders/import", content=body, headers=JSON) for _ in range(8)]
        statuses = {answer.result().status_code for answer in sent}
    assert statuses <= {LARGE[name][1], 429}
    assert roomy.http.post("/v1/orders/import", content=b"[]", headers=JSON).status_code == 200
    assert memory_mb(api_process(roomy.deployment), "VmHWM:") < RSS_MB_MAX


def test_the_memory_of_large_bodies_is_given_back(roomy: Project) -> None:
    for name in ("one text", "many orders", "one wide text"):
        roomy.http.post("/v1/orders/import", content=LARGE[name][0], headers=JSON)
    # about 100; without the setting of the C library 220
    until(lambda: memory_mb(api_process(roomy.deployment), "VmRSS:") < IDLE_MB_MAX)
