"""`Idempotency-Key`: a request that is sent again takes effect once, whatever happens to the first one."""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from punchcard.http.idempotency import WAIT_SECONDS_MAX
from tests.crash import targets
from tests.deployment import Deployment, Project, until
from tests.http.refusals import refused

PATH = "/v1/orders/import"
ORDERS = [{"source_id": "o-1", "amount": 5, "customer": {"source_id": "ann"}}]
BODY = msgspec.json.encode(ORDERS)
CONCURRENT = 32
ROUNDS = 6


def sent(project: Project, key: str, body: bytes = BODY, *, query: str = "") -> httpx.Response:
    headers = {"content-type": "application/json", "idempotency-key": key}
    return project.http.post(f"{PATH}{query}", content=body, headers=headers)


def accepted(answer: httpx.Response, *, replayed: bool) -> str:
    """The action's id of an answer that must be one, new or repeated."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers.get("idempotent-replayed") == ("true" if replayed else None)
    return str(answer.json()["async_action_id"])


def actions(project: Project) -> list[str]:
    return [action["id"] for action in project.get("/v1/async-actions", limit=100)["async_actions"]]


def stored(project: Project) -> int:
    with psycopg.connect(project.deployment.dsn) as conn:
        row = conn.execute("SELECT count(*) FROM idempotency_keys WHERE project_id = %s", [project.id]).fetchone()
    return int(row[0]) if row else 0


# ---- repeats ----


def test_the_same_request_gets_the_same_answer(project: Project) -> None:
    first = accepted(sent(project, "k"), replayed=False)
    assert accepted(sent(project, "k"), replayed=True) == first
    assert project.finished(first)["result"]["created_count"] == 1
    again = sent(project, "k")
    assert accepted(again, replayed=True) == first, "also when the action is finished"
    assert again.headers["x-request-id"] != sent(project, "k").headers["x-request-id"]
    assert actions(project) == [first]


def test_without_a_key_every_request_counts(project_18: Project) -> None:
    ids = {project_18.post_import(ORDERS) for _ in range(3)}
    assert len(ids) == 3
    assert stored(project_18) == 0


def test_keys_belong_to_a_project(project_18: Project) -> None:
    with closing(project_18.deployment.new_project()) as other:
        ids = {accepted(sent(project, "shared"), replayed=False) for project in (project_18, other)}
        assert len(ids) == 2
        assert actions(other) == [accepted(sent(other, "shared"), replayed=True)]


def test_keys_are_told_apart_by_every_character(project_18: Project) -> None:
    keys = ["k", "K", "k k", "k  k", '"k"', "k,k", "%6b", "~", "'; --"]
    assert len({accepted(sent(project_18, key), replayed=False) for key in keys}) == len(keys)


def test_another_request_with_the_key_is_refused(project: Project) -> None:
    first = accepted(sent(project, "k", query="?a=1&b=2&b=1"), replayed=False)
    for body, query in [
        (BODY + b" ", "?a=1&b=2&b=1"),
        (b"[]", "?a=1&b=2&b=1"),
        (b"not JSON", "?a=1&b=2&b=1"),
        (BODY, ""),
        (BODY, "?a=1&b=1&b=2"),
        (BODY, "?a=1&b=2&b=1&c="),
        (BODY, "?a=1&b=2%26b=1"),
        (BODY, "?a=%ff&b=2&b=1"),
    ]:
        body_of = refused(sent(project, "k", body, query=query), 409, "idempotency_key_reused")
        assert "new key" in body_of["details"]
    assert accepted(sent(project, "k", query="?b=2&a=1&b=1"), replayed=True) == first, "in whatever order"
    assert accepted(sent(project, "k", query="?&a=1&%62=2&b=1"), replayed=True) == first, "however written"
    assert actions(project) == [first]


@pytest.mark.parametrize("size", [1000, 262_144, 262_145, 3_000_000])
def test_bodies_of_any_size_are_recognised(project_18: Project, size: int) -> None:
    body = BODY[:-1] + b" " * (size - len(BODY)) + b"]"
    first = accepted(sent(project_18, "k", body), replayed=False)
    assert accepted(sent(project_18, "k", body), replayed=True) == first
    refused(sent(project_18, "k", body[:-2] + b"]"), 409, "idempotency_key_reused")


def test_a_refused_request_stores_nothing(project: Project) -> None:
    for body, status in [(b"[1]", 400), (b"", 400), (b"[{}" + b",{}" * 2000 + b"]", 400), (b"\xff", 400)]:
        assert sent(project, "k", body).status_code == status
    nobody = httpx.post(project.deployment.url + PATH, content=BODY, headers={"idempotency-key": "k"}, trust_env=False)
    assert nobody.status_code == 401
    assert stored(project) == 0
    first = accepted(sent(project, "k"), replayed=False)
    assert actions(project) == [first]


# ---- the header ----


@pytest.mark.parametrize("key", ["x", "x" * 255, "!~ a", "54c2ef9f-0930-4d50-8034-ae41f7f4352f"])
def test_keys_that_are_taken(project_18: Project, key: str) -> None:
    first = accepted(sent(project_18, key), replayed=False)
    assert accepted(sent(project_18, key), replayed=True) == first


@pytest.mark.parametrize(
    ("lines", "details"),
    [
        (b"Idempotency-Key:", "must have 1 to 255 characters"),
        (b"Idempotency-Key:   ", "must have 1 to 255 characters"),
        (b"Idempotency-Key: " + b"x" * 256, "must have 1 to 255 characters"),
        (b"Idempotency-Key: " + b"x" * 60_000, "must have 1 to 255 characters"),
        (b"Idempotency-Key: a\tb", "printable ASCII"),
        (b"Idempotency-Key: \xc3\xa9", "printable ASCII"),
        (b"Idempotency-Key: \xff\xfe", "printable ASCII"),
        (b"Idempotency-Key: a\r\nIdempotency-Key: b", "must be sent once"),
        (b"Idempotency-Key: a\r\nidempotency-key: a", "must be sent once"),
    ],
)
def test_keys_that_are_refused(project_18: Project, lines: bytes, details: str) -> None:
    status, body = raw_post(project_18, lines)
    assert status == 400, body
    assert (body["key"], details in body["details"]) == ("invalid_payload", True), body
    assert actions(project_18) == []


def raw_post(project: Project, lines: bytes) -> tuple[int, Any]:
    """Status and body of an import with these header lines, on a connection of its own."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(BODY)}\r\n"
        f"X-App-Id: {project.application_id}\r\nX-App-Token: {project.application_token}\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", project.deployment.port), timeout=60) as link:
        link.sendall(head + lines + b"\r\n\r\n" + BODY)
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    return int(answer.split(b" ", 2)[1]), msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("lines", [b"Idempotency-Key: a\x00b", b"Idempotency-Key: a\x01b", b"Idempotency-Key : a"])
def test_headers_that_are_no_http(project_18: Project, lines: bytes) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n".encode()
    with socket.create_connection(("127.0.0.1", project_18.deployment.port), timeout=60) as link:
        link.sendall(head + lines + b"\r\n\r\n[]")
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 4"), answer[:100]


def test_the_description_has_the_header(project_18: Project) -> None:
    operation = project_18.get("/openapi.json")["paths"][PATH]["post"]
    assert [(one["in"], one["name"]) for one in operation["parameters"] if one["in"] == "header"] == [
        ("header", "Idempotency-Key")
    ]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Scheduled"}


# ---- age ----


@pytest.mark.parametrize(("age", "replayed"), [("23 hours 59 minutes", True), ("24 hours 1 second", False)])
def test_an_answer_is_kept_for_a_day(project: Project, age: str, replayed: bool) -> None:
    """Older, it counts as absent, removed or not; and the key then holds the new answer."""
    first = accepted(sent(project, "k"), replayed=False)
    make_older(project, age)
    second = accepted(sent(project, "k"), replayed=replayed)
    assert (second == first) == replayed
    assert accepted(sent(project, "k"), replayed=True) == second
    make_older(project, "25 hours")
    assert accepted(sent(project, "k", b"[]"), replayed=False) not in {first, second}, "another body is none's business"


def make_older(project: Project, age: str) -> None:
    with psycopg.connect(project.deployment.dsn) as conn:
        conn.execute(
            "UPDATE idempotency_keys SET created_at = created_at - %s::interval WHERE project_id = %s",
            [age, project.id],
        )


# ---- at the same time ----


def at_once(calls: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    """The answers to calls that all start in the same moment."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], httpx.Response]) -> httpx.Response:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.parametrize("size", [len(BODY), 2_000_000])
def test_of_many_at_once_one_takes_effect(project: Project, size: int) -> None:
    body = BODY[:-1] + b" " * (size - len(BODY)) + b"]"
    count = CONCURRENT if size < 1_000_000 else 8
    answers = at_once([lambda: sent(project, "k", body)] * count)
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    assert len({answer.json()["async_action_id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len(actions(project)) == 1


def test_of_different_requests_at_once_one_takes_effect(project_18: Project) -> None:
    bodies = [msgspec.json.encode([{"source_id": f"o-{no}"}]) for no in range(CONCURRENT)]
    answers = at_once([lambda body=body: sent(project_18, "k", body) for body in bodies])  # type: ignore[misc]
    taken = [no for no, answer in enumerate(answers) if answer.status_code == 200]
    assert len(taken) == 1
    for no, answer in enumerate(answers):
        if no not in taken:
            refused(answer, 409, "idempotency_key_reused")
    assert accepted(sent(project_18, "k", bodies[taken[0]]), replayed=True) == actions(project_18)[0]
    assert len(actions(project_18)) == 1


@contextmanager
def delayed(project: Project, key: str) -> Iterator[psycopg.Connection[Any]]:
    """While the block runs, no request with this key can come to its end."""
    with psycopg.connect(project.deployment.dsn) as conn:
        conn.execute(
            "INSERT INTO idempotency_keys (project_id, key, fingerprint, answer, created_at)"
            " VALUES (%s, %s, %s, '{}', clock_timestamp())",
            [project.id, key, bytes(32)],
        )
        yield conn
        conn.rollback()


def is_delayed(project: Project) -> bool:
    """Whether a request is under way that cannot end."""
    waiting = "application_name = 'punchcard api' AND wait_event_type = 'Lock'"
    with psycopg.connect(project.deployment.dsn) as conn:
        row = conn.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {waiting}".encode()).fetchone()
    return bool(row and row[0])


def test_the_others_wait_for_the_first(project: Project) -> None:
    """And hold no session meanwhile: there are fewer than there are requests."""
    with ThreadPoolExecutor(CONCURRENT) as pool:
        with delayed(project, "k"):
            first = pool.submit(sent, project, "k")
            until(lambda: is_delayed(project))
            others = [pool.submit(sent, project, "k") for _ in range(CONCURRENT - 1)]
            assert project.get("/v1/orders")["orders"] == []
            assert not any(one.done() for one in others)
        found = accepted(first.result(), replayed=False)
        assert {accepted(one.result(), replayed=True) for one in others} == {found}
    assert actions(project) == [found]


def test_who_waits_too_long_is_told_to_come_again(project_18: Project) -> None:
    with ThreadPoolExecutor(1) as pool:
        with delayed(project_18, "k"):
            first = pool.submit(sent, project_18, "k")
            until(lambda: is_delayed(project_18))
            began = time.monotonic()
            answer = sent(project_18, "k")
            refused(answer, 409, "idempotency_key_in_use")
            assert int(answer.headers["retry-after"]) >= 1
            assert time.monotonic() - began > WAIT_SECONDS_MAX / 2
            accepted(sent(project_18, "another"), replayed=False)
        found = accepted(first.result(), replayed=False)
    assert accepted(sent(project_18, "k"), replayed=True) == found
    assert len(actions(project_18)) == 2


def test_the_tables_key_stands_behind_the_lock(project_18: Project) -> None:
    """An answer that somebody stored without the lock is not overwritten, and nothing takes effect beside it."""
    with ThreadPoolExecutor(1) as pool, delayed(project_18, "k") as conn:
        answer = pool.submit(sent, project_18, "k")
        until(lambda: is_delayed(project_18))
        conn.commit()
        refused(answer.result(), 409, "idempotency_key_in_use")
    assert actions(project_18) == []


# ---- crashes ----


@pytest.fixture(scope="module")
def mortal() -> Iterator[Deployment]:
    """A deployment whose API may be killed."""
    deployment = Deployment("--workers", "1", settings={"restarts_per_minute_max": 10_000})
    deployment.start()
    yield deployment
    deployment.close()


def kill_api(deployment: Deployment) -> None:
    before = targets.children(deployment, "api")
    assert before
    for pid in before:
        targets.kill(pid)
    until(lambda: not set(before) & set(targets.children(deployment, "api")))


def answered_in_the_end(project: Project, key: str) -> httpx.Response:
    """Send until there is an answer that is worth something, as a client does."""
    found: list[httpx.Response] = []

    def try_it() -> bool:
        try:
            answer = sent(project, key)
        except httpx.TransportError:
            return False
        if answer.status_code == 200:
            found.append(answer)
        else:
            assert answer.status_code in {409, 503}, answer.text
        return bool(found)

    until(try_it)
    return found[0]


def test_a_crash_before_the_commit_leaves_neither(mortal: Deployment) -> None:
    with closing(mortal.new_project()) as project, ThreadPoolExecutor(1) as pool:
        with delayed(project, "k"):
            answer = pool.submit(sent, project, "k")
            until(lambda: is_delayed(project))
            kill_api(mortal)
            assert isinstance(answer.exception(), httpx.TransportError)
        until(lambda: not is_delayed(project))
        until(mortal.is_ready)
        assert stored(project) == 0
        assert actions(project) == []
        found = accepted(answered_in_the_end(project, "k"), replayed=False)
        assert actions(project) == [found]


def test_crashes_at_any_moment_leave_one_action_a_key(mortal: Deployment) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with closing(mortal.new_project()) as project, ThreadPoolExecutor(1) as pool:
        found = []
        for no in range(ROUNDS):
            until(mortal.is_ready)
            first = pool.submit(sent, project, f"k-{no}")
            time.sleep(rng.uniform(0, 0.02))  # a crash comes at any moment
            kill_api(mortal)
            first.exception()
            found.append(answered_in_the_end(project, f"k-{no}").json()["async_action_id"])
            assert accepted(sent(project, f"k-{no}"), replayed=True) == found[-1]
        assert sorted(actions(project)) == sorted(found)
