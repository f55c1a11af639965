"""Query parameters of lists, and `wait`."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from punchcard.bulk.lanes import LaneTurn
from tests.deployment import Project
from tests.http.refusals import refused

NOT_A_DATE = "Property .{} cannot be recognized as a ISO-8601 compliant date"
LISTS = ["/v1/orders", "/v1/customers", "/v1/async-actions"]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("query", "details"),
    [
        ("limit=0", "Property .limit cannot be lower than 1"),
        ("limit=-1", "Property .limit cannot be lower than 1"),
        ("limit=101", "Property .limit cannot be higher than 100"),
        ("limit=99999999999999999999999", "Property .limit cannot be higher than 100"),
        ("limit=abc", "Property .limit should be integer"),
        ("limit=", "Property .limit should be integer"),
        ("limit=1.5", "Property .limit should be integer"),
        ("limit=true", "Property .limit should be integer"),
        ("limit=5%00", "Property .limit should be integer"),
        ("limit=%D9%A3", "Property .limit should be integer"),
        ("limit=5&limit=abc", "Property .limit should be integer"),
    ],
)
def test_an_invalid_limit_is_named(project_18: Project, path: str, query: str, details: str) -> None:
    body = refused(project_18.http.get(f"{path}?{query}"), 400, "invalid_query_params")
    assert body["message"] == "Invalid query params"
    assert body["details"] == details


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query", ["limit=1", "limit=100", "limit=5&limit=7", "unknown=%00", "%00=1", "&&", "=", "limit[]=x"]
)
def test_other_queries_are_answered(project_18: Project, path: str, query: str) -> None:
    assert project_18.http.get(f"{path}?{query}").status_code == 200


@pytest.mark.parametrize(("path", "last"), [("/v1/orders", 100), ("/v1/customers", 99)])
def test_pages_have_both_limits(project_18: Project, path: str, last: int) -> None:
    assert project_18.http.get(f"{path}?page={last}").status_code == 200
    body = refused(project_18.http.get(f"{path}?page={last + 1}"), 400, "page_over_limit")
    assert body["details"] == f"Property .page cannot be higher than {last}"
    body = refused(project_18.http.get(f"{path}?page=0"), 400, "invalid_query_params")
    assert body["details"] == "Property .page cannot be lower than 1"


@pytest.mark.parametrize("order", ["bogus", "-", "--created_at", "%00", "created_at,updated_at", "metadata"])
@pytest.mark.parametrize("path", ["/v1/orders", "/v1/customers"])
def test_an_unknown_order_names_the_known_ones(project_18: Project, path: str, order: str) -> None:
    body = refused(project_18.http.get(f"{path}?order={order}"), 400, "invalid_query_params")
    assert body["details"].startswith("Property .order must be one of created_at, -created_at, updated_at, -updated_at")


@pytest.mark.parametrize(("path", "name"), [("/v1/async-actions", "end_date"), ("/v1/customers", "starting_after")])
@pytest.mark.parametrize(
    "text",
    ["x", "%00", "2024-02-30", "2024-13-01", "2024-01-01x10:00", "2024-01-01T1", "2024-01-01T25:00", "20240101",
     "1704067200", "2024-01-01T00:00:60Z", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00",
     "2024-01-01T00:00:00Zjunk"],
)  # fmt: skip
def test_an_invalid_date_is_named(project_18: Project, path: str, name: str, text: str) -> None:
    body = refused(project_18.http.get(f"{path}?{name}={text}"), 400, "invalid_query_params")
    assert body["details"] == NOT_A_DATE.format(name)


@pytest.mark.parametrize(
    "zone",
    ["", "Z", "%2B02:00", "+02:00", "-0930", ".123456789Z"],
)
def test_dates_with_and_without_a_zone_are_taken(project_18: Project, zone: str) -> None:
    for path, name in (("/v1/async-actions", "end_date"), ("/v1/customers", "starting_after")):
        assert project_18.http.get(f"{path}?{name}=2024-01-01T00:00:00{zone}").status_code == 200
        assert project_18.http.get(f"{path}?{name}=2024-01-01").status_code == 200


def test_a_plus_that_arrives_as_a_space_is_the_zone(project_18: Project) -> None:
    project_18.finished(project_18.post_import([]))
    created_at = project_18.get("/v1/async-actions")["async_actions"][0]["created_at"]
    # `created_at` in a zone two hours east reads two hours later; unencoded, its plus is a space
    same_moment = created_at.replace("Z", "+00:00")
    assert project_18.http.get(f"/v1/async-actions?end_date={same_moment}").json()["async_actions"] == []
    earlier_in_utc = created_at.replace("Z", "+02:00")
    assert project_18.http.get(f"/v1/async-actions?end_date={earlier_in_utc}").json()["async_actions"] == []
    later_in_utc = created_at.replace("Z", "-02:00")
    assert len(project_18.http.get(f"/v1/async-actions?end_date={later_in_utc}").json()["async_actions"]) == 1


def test_actions_page_by_end_date(project_18: Project) -> None:
    ids = [project_18.post_import([]) for _ in range(5)]
    seen: list[str] = []
    parameters = {"limit": 2}
    while True:
        page = project_18.get("/v1/async-actions", **parameters)
        assert all("result" not in action for action in page["async_actions"])
        seen += [action["id"] for action in page["async_actions"]]
        if not page["has_more"]:
            break
        parameters["end_date"] = page["async_actions"][-1]["created_at"]
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    ("wait", "details"),
    [
        ("31", "Property .wait cannot be higher than 30"),
        ("-1", "Property .wait cannot be lower than 0"),
        ("x", "Property .wait should be integer"),
        ("1.5", "Property .wait should be integer"),
        ("", "Property .wait should be integer"),
    ],
)
def test_an_invalid_wait_is_named(project_18: Project, wait: str, details: str) -> None:
    body = refused(project_18.http.get(f"/v1/async-actions/aa_x?wait={wait}"), 400, "invalid_query_params")
    assert body["details"] == details


def test_waiting_for_an_unknown_action_ends_at_once(project_18: Project) -> None:
    started = time.monotonic()
    refused(project_18.http.get("/v1/async-actions/aa_x?wait=30"), 404, "not_found")
    assert time.monotonic() - started < 25


def test_waiting_ends_when_the_action_does(project_18: Project) -> None:
    started = time.monotonic()
    for _ in range(5):
        action_id = project_18.post_import([{"source_id": f"o-{n}"} for n in range(500)])
        assert project_18.get(f"/v1/async-actions/{action_id}", wait=30)["status"] == "DONE"
    assert time.monotonic() - started < 30, "one of them waited to the end of its time"


@contextmanager
def held_lane(project: Project) -> Iterator[None]:
    """Keep all workers from the project's imports."""
    with psycopg.connect(project.deployment.dsn, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", [LaneTurn(project.id, "fifo", None).key])
        yield


def test_waiting_ends_with_its_time(project_18: Project) -> None:
    with held_lane(project_18):
        action_id = project_18.post_import([{}])
        started = time.monotonic()
        action = project_18.get(f"/v1/async-actions/{action_id}", wait=1)
        assert 0.9 < time.monotonic() - started < 20
        assert (action["status"], action["operation_status"], action["progress"]) == ("ENQUEUED", "UNKNOWN", 0)
        assert "result" not in action
        assert project_18.get(f"/v1/async-actions/{action_id}", wait=0)["status"] == "ENQUEUED"
    assert project_18.finished(action_id)["status"] == "DONE"


def test_many_wait_at_once_and_hold_no_connection_meanwhile(project_18: Project) -> None:
    with ThreadPoolExecutor(20) as threads:
        with held_lane(project_18):
            action_id = project_18.post_import([{}])
            waits = [threads.submit(project_18.get, f"/v1/async-actions/{action_id}", wait=30) for _ in range(20)]
            started = time.monotonic()
            project_18.get("/v1/orders")
            assert time.monotonic() - started < 20
        # the lane is free again: the answers come long before their thirty seconds are over
        assert {wait.result()["status"] for wait in waits} == {"DONE"}
        assert time.monotonic() - started < 30
