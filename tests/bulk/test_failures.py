"""Failed records: the list, the file that is corrected and sent again, and what the result says of them."""

import contextlib
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from punchcard.bulk.failures import line_of
from punchcard.bulk.jobs import FAILURES_IN_RESULT_MAX
from tests.crash import targets
from tests.deployment import Project, until
from tests.http.refusals import refused

UNKNOWN = {"id": "cust_unknown"}
REASON = "Cannot find customer with id cust_unknown"
DOWNLOADS = 12
LARGE_ORDERS = 24
LARGE_BYTES = 1_000_000
GROWTH_MB_MAX = 150


def bad(no: int, **fields: Any) -> dict[str, Any]:
    return {"source_id": f"bad-{no}", "customer": UNKNOWN, **fields}


def finished(project: Project, orders: Any) -> Any:
    return project.finished(project.post_import(orders))


def listed(project: Project, action_id: str, **parameters: Any) -> Any:
    return project.get(f"/v1/async-actions/{action_id}/failures", **parameters)


def file_path(action_id: str) -> str:
    return f"/v1/async-actions/{action_id}/failures.jsonl"


def download(project: Project, action_id: str) -> httpx.Response:
    answer = project.http.get(file_path(action_id))
    assert answer.status_code == 200, answer.text
    return answer


def lines(project: Project, action_id: str) -> list[Any]:
    content = download(project, action_id).content
    assert content.endswith(b"\n") or not content
    return [msgspec.json.decode(line) for line in content.split(b"\n")[:-1]]


# ---- the list ----


def test_what_a_failure_tells(project: Project) -> None:
    orders = [{"source_id": "good"}, bad(1, amount=5, unknown=[None]), {"customer": UNKNOWN}]
    action = finished(project, orders)
    found = listed(project, action["id"])
    assert found == {
        "object": "list",
        "data_ref": "data",
        "data": [
            {"index": 1, "source_id": "bad-1", "reason": REASON, "record": orders[1], "object": "async_action_failure"},
            {"index": 2, "source_id": None, "reason": REASON, "record": orders[2], "object": "async_action_failure"},
        ],
        "total": 2,
        "has_more": False,
    }
    assert [{**one, "reason": REASON} for one in action["result"]["failed"]] == [
        {"index": one["index"], "source_id": one["source_id"], "reason": one["reason"]} for one in found["data"]
    ]


def test_records_are_shown_as_they_were_sent(project_18: Project) -> None:
    """Byte for byte: white space, escapes, the order and repetition of keys, numbers as they were written."""
    sent = [
        b'{ "customer" : {"id":"cust_unknown" } ,\n\t"metadata":{"a":1.50,"b":1e2,"\\u00e9":"\\/\\ud83d\\ude00"}}',
        b'{"source_id":"x","source_id":"y","customer":{"id":"cust_unknown"},"zzz":12345678901234567890123}',
        '{"customer":{"id":"cust_unknown","name":"Zoë 😀"}}'.encode(),
    ]
    action = finished(project_18, b"[ " + b" ,\r\n ".join(sent) + b" ]")
    answer = project_18.http.get(f"/v1/async-actions/{action['id']}/failures").content
    for record in sent:
        assert b'"record":' + record + b"," in answer
    file = download(project_18, action["id"]).content
    for record in sent:
        assert b"," + record[1:].replace(b"\n", b" ").lstrip() + b"\n" in file


@pytest.mark.parametrize("limit", [1, 7, 29, 30, 31, 100])
def test_a_walk_shows_each_failure_once(project_18: Project, limit: int) -> None:
    orders = [bad(no) if no % 3 else {"source_id": f"good-{no}"} for no in range(45)]
    action = finished(project_18, orders)
    seen: list[Any] = []
    parameters: dict[str, Any] = {"limit": limit}
    while True:
        page = listed(project_18, action["id"], **parameters)
        assert len(page["data"]) <= limit
        assert page["total"] == 30
        seen += page["data"]
        assert page["has_more"] == (len(seen) < 30)
        if not page["has_more"]:
            assert "more_starting_after" not in page
            break
        assert len(page["data"]) == limit
        assert page["more_starting_after"] == str(page["data"][-1]["index"])
        parameters["starting_after_id"] = page["more_starting_after"]
    assert [one["index"] for one in seen] == [no for no in range(45) if no % 3]
    assert all(one["record"] == orders[one["index"]] for one in seen)


def test_a_page_has_ten_unless_told_otherwise(project_18: Project) -> None:
    action = finished(project_18, [bad(no) for no in range(11)])
    assert [one["index"] for one in listed(project_18, action["id"])["data"]] == list(range(10))


@pytest.mark.parametrize(
    ("query", "details"),
    [
        ("limit=0", "Property .limit cannot be lower than 1"),
        ("limit=101", "Property .limit cannot be higher than 100"),
        ("starting_after_id=-1", "Property .starting_after_id cannot be lower than 0"),
        ("starting_after_id=2147483648", "Property .starting_after_id cannot be higher than 2147483647"),
        ("starting_after_id=", "Property .starting_after_id should be integer"),
        ("starting_after_id=aa_1", "Property .starting_after_id should be integer"),
    ],
)
def test_queries_that_are_refused(project_18: Project, query: str, details: str) -> None:
    action = finished(project_18, [bad(0)])
    answer = project_18.http.get(f"/v1/async-actions/{action['id']}/failures?{query}")
    assert refused(answer, 400, "invalid_query_params")["details"] == details


@pytest.mark.parametrize(("after", "indexes"), [(0, [1]), (1, []), (2**31 - 1, [])])
def test_what_is_behind_a_failure(project_18: Project, after: int, indexes: list[int]) -> None:
    action = finished(project_18, [bad(0), bad(1)])
    page = listed(project_18, action["id"], starting_after_id=after)
    assert ([one["index"] for one in page["data"]], page["has_more"], page["total"]) == (indexes, False, 2)


@pytest.mark.parametrize("form", ["failures", "failures.jsonl"])
def test_only_actions_of_the_project_have_failures(project_18: Project, form: str) -> None:
    action = finished(project_18, [bad(0)])
    path = f"/v1/async-actions/{action['id']}/{form}"
    with closing(project_18.deployment.new_project()) as other:
        body = refused(other.http.get(path), 404, "not_found")
        assert (body["resource_type"], body["resource_id"]) == ("async_action", action["id"])
    for unknown in ("aa_unknown", "%00", "a%2Fb", "..%2f.."):
        refused(project_18.http.get(f"/v1/async-actions/{unknown}/{form}"), 404, "not_found")
    refused(httpx.get(project_18.deployment.url + path, trust_env=False), 401, "unauthorized")
    assert project_18.http.post(path).status_code == 405


def test_an_action_without_failures(project_18: Project) -> None:
    action = finished(project_18, [{"source_id": "good"}])
    page = listed(project_18, action["id"])
    assert (page["data"], page["total"], page["has_more"]) == ([], 0, False)
    assert "failures_deleted_at" not in page
    assert download(project_18, action["id"]).content == b""


# ---- the result ----


@pytest.mark.parametrize("more", [0, 1, 500])
def test_the_result_says_when_it_lists_only_the_first(project_18: Project, more: int) -> None:
    count = FAILURES_IN_RESULT_MAX + more
    result = finished(project_18, [bad(no) for no in range(count)])["result"]
    assert (result["failed_count"], len(result["failed"])) == (count, FAILURES_IN_RESULT_MAX)
    if not more:
        assert not {"failed_listed_count", "failures_url"} & result.keys()
        return
    assert result["failed_listed_count"] == FAILURES_IN_RESULT_MAX
    rest = project_18.get(result["failures_url"], starting_after_id=result["failed"][-1]["index"], limit=100)
    assert rest["total"] == count
    assert [one["index"] for one in rest["data"]] == list(range(FAILURES_IN_RESULT_MAX, count))[:100]
    file = project_18.http.get(f"{result['failures_url']}.jsonl").content
    assert file.count(b"\n") == count


# ---- the file ----


def test_the_file_is_a_download(project: Project) -> None:
    action = finished(project, [bad(0)])
    answer = download(project, action["id"])
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert answer.headers["content-disposition"] == f'attachment; filename="{action["id"]}.failures.jsonl"'
    assert answer.content.startswith(b'{"import_failure":{"index":0,"reason":"')
    assert answer.headers["x-request-id"]
    # the connection goes on
    assert project.http.get("/v1/orders").status_code == 200


def test_the_corrected_file_is_imported(project: Project) -> None:
    orders = [bad(no, amount=no, metadata={"no": no}) if no % 2 else {"source_id": f"good-{no}"} for no in range(2000)]
    action = finished(project, orders)
    found = lines(project, action["id"])
    assert [line["import_failure"] for line in found] == [
        {"index": no, "reason": REASON} for no in range(2000) if no % 2
    ]
    assert [{**line, "import_failure": None} for line in found] == [
        {**order, "import_failure": None} for no, order in enumerate(orders) if no % 2
    ]
    for line in found:
        line["customer"] = {"source_id": "known"}
    result = project.import_orders(found)
    assert (result["created_count"], result["failed_count"]) == (1000, 0)
    assert project.get("/v1/orders/bad-1999")["metadata"] == {"no": 1999}


def test_the_file_as_it_is_fails_in_the_same_way(project_18: Project) -> None:
    """And has one note a line again, the new one."""
    first = finished(project_18, [{"source_id": "good"}, bad(1, amount=7), bad(2, metadata={"import_failure": 1})])
    body = b"[" + b",".join(download(project_18, first["id"]).content.splitlines()) + b"]"
    second = finished(project_18, body)
    assert second["result"]["failed_count"] == 2
    again = download(project_18, second["id"]).content
    assert again.count(b'"import_failure":{') == 2
    before, after = lines(project_18, first["id"]), lines(project_18, second["id"])
    assert [line.pop("import_failure")["index"] for line in before] == [1, 2]
    assert [line.pop("import_failure")["index"] for line in after] == [0, 1]
    assert after == before


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (b"{}", b'{"import_failure":{"index":3,"reason":"why"}}'),
        (b" {\r\n } ", b'{"import_failure":{"index":3,"reason":"why"}}'),
        (b'{"a":\n1}', b'{"import_failure":{"index":3,"reason":"why"},"a": 1}'),
        (b'{\n "a" : "}" }', b'{"import_failure":{"index":3,"reason":"why"},"a" : "}" }'),
        (b'{"import_failure":{"index":9}}', b'{"import_failure":{"index":3,"reason":"why"}}'),
        (b'{"import_failure":1,"a":1.50}', b'{"import_failure":{"index":3,"reason":"why"},"a":1.50}'),
        (b'{"a":"import_failure"}', b'{"import_failure":{"index":3,"reason":"why"},"a":"import_failure"}'),
    ],
)
def test_a_line_is_the_record_with_a_note_in_front(record: bytes, line: bytes) -> None:
    assert line_of(3, "why", record) == line + b"\n"


def test_a_reason_may_hold_anything() -> None:
    line = line_of(0, 'a "quoted"\nline \u2028 é', b'{"a":1}')
    assert line.count(b"\n") == 1
    assert msgspec.json.decode(line)["import_failure"]["reason"] == 'a "quoted"\nline \u2028 é'


# ---- slow clients, large records ----


def large(no: int) -> dict[str, Any]:
    return bad(no, metadata={"text": "x" * LARGE_BYTES})


@contextlib.contextmanager
def slow_download(project: Project, path: str) -> Iterator[socket.socket]:
    """A client that asked for a file, read the first bytes of the answer, and then reads no more."""
    head = (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"X-App-Id: {project.application_id}\r\nX-App-Token: {project.application_token}\r\n\r\n"
    )
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    with link:
        link.settimeout(30)
        link.connect(("127.0.0.1", project.deployment.port))
        link.sendall(head.encode())
        assert link.recv(15) == b"HTTP/1.1 200 OK"
        yield link


def everything(link: socket.socket) -> bytes:
    return b"".join(iter(lambda: link.recv(1 << 20), b""))


def rss_mb(project: Project) -> float:
    total = 0
    for pid in targets.children(project.deployment, "api"):
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    return total / 1e6


def test_slow_clients_hold_no_session_and_little_memory(project_18: Project) -> None:
    """More of them than there are sessions; each has 24 MB to come."""
    action = finished(project_18, [large(no) for no in range(LARGE_ORDERS)])
    download(project_18, action["id"])
    before = rss_mb(project_18)
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(slow_download(project_18, file_path(action["id"]))) for _ in range(DOWNLOADS)]
        assert len(project_18.get("/v1/async-actions")["async_actions"]) == 1
        page = listed(project_18, action["id"], limit=1, starting_after_id=LARGE_ORDERS - 2)
        assert [one["index"] for one in page["data"]] == [LARGE_ORDERS - 1]
        grown = rss_mb(project_18) - before
        rest = everything(links[0])
    print(f"{DOWNLOADS} downloads of {LARGE_ORDERS} MB: {grown:.0f} MB more")
    assert grown < GROWTH_MB_MAX
    assert rest.count(b'"import_failure"') == LARGE_ORDERS
    assert rest.endswith(b"0\r\n\r\n"), "complete"


def test_a_file_that_lost_its_end_does_not_look_complete(project_18: Project) -> None:
    action = finished(project_18, [large(no) for no in range(LARGE_ORDERS)])
    with slow_download(project_18, file_path(action["id"])) as link:
        with psycopg.connect(project_18.deployment.dsn) as conn:
            conn.execute(
                "DELETE FROM async_action_failures WHERE project_id = %s AND action_id = %s AND record = %s",
                [project_18.id, action["id"], LARGE_ORDERS - 1],
            )
        received = b""
        with contextlib.suppress(ConnectionError):
            received = everything(link)
    assert not received.endswith(b"0\r\n\r\n")
    assert project_18.http.get("/v1/orders").status_code == 200
    until(lambda: "download_broken" in project_18.deployment.log_text())


# ---- while an action runs ----


def test_failures_of_a_running_action(project_18: Project) -> None:
    """Those that are known so far, in the list and in the file."""
    project_18.imported({"source_id": "last", "status": "PAID", "amount": 1, "customer": {"source_id": "last"}})
    with psycopg.connect(project_18.deployment.dsn) as blocker:
        blocker.execute("SELECT 1 FROM customers WHERE project_id = %s FOR UPDATE", [project_18.id])
        # too much for one portion: the last order is in the second one and waits
        wide = [{**bad(no), "metadata": {"note": "x" * 4000}} for no in range(1001)]
        orders = [*wide, {"source_id": "last", "status": "CREATED"}]
        action_id = project_18.post_import(orders)
        until(lambda: listed(project_18, action_id)["total"])
        page = listed(project_18, action_id)
        assert 100 < page["total"] < 1001
        assert page["has_more"]
        assert len(lines(project_18, action_id)) == page["total"]
    assert project_18.finished(action_id)["result"]["failed_count"] == 1001
    assert len(lines(project_18, action_id)) == 1001
