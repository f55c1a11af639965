"""Exports of a segment's members: an async action whose result has links to the files."""

import csv
import io
from typing import Any

import msgspec

from punchcard.bulk.jobs import Lane
from tests.bulk.test_reports import opened
from tests.customers.updating import updated
from tests.customers.writing import deleted, post
from tests.deployment import Project
from tests.http.listing import moment
from tests.http.refusals import refused
from tests.orders.stored import session
from tests.segments.placed import LONDONERS, having, lane_paused, removed, segment

COLUMNS = ["id", "source_id", "name", "email", "phone", "created_at", "entered_at", "async_action_id"]
TYPE = "PUNCHCARD.SEGMENT_MEMBERS_EXPORT"


def scheduled(project: Project, segment_id: str) -> str:
    """Ask for an export; the action's id."""
    answer = project.call("POST", f"/v1/segments/{segment_id}/members/export", expect=202)
    assert answer.keys() == {"async_action_id"}
    return str(answer["async_action_id"])


def exported(project: Project, segment_id: str) -> Any:
    """An export's action once it is finished."""
    return project.finished(scheduled(project, segment_id))


def lines(action: Any) -> list[dict[str, Any]]:
    """The lines of its JSON Lines; the CSV says the same."""
    as_csv, as_lines = action["result"]["reports"]
    answer = opened(as_lines)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    found = [msgspec.json.decode(line, type=dict[str, Any]) for line in answer.content.splitlines()]
    assert all(list(line) == COLUMNS for line in found)
    answer = opened(as_csv)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    table = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert table[0] == COLUMNS
    # a text that begins like a formula has a quote before it
    assert [[cell.removeprefix("'") for cell in row] for row in table[1:]] == [
        ["" if value is None else value for value in line.values()] for line in found
    ]
    return found


def test_an_export_has_all_members(project: Project) -> None:
    full: dict[str, Any] = {"name": "=Ann", "email": "ann@example.com", "phone": "+1 2", "address": {"city": "London"}}
    ann = post(project, source_id='ann, "1"\n', **full)
    bob = post(project, address={"city": "London"})
    post(project, source_id="cid", address={"city": "Paris"})
    segment_id = segment(project, filter=LONDONERS)
    dan = updated(project, "customers", {"source_id": "dan", "address": {"city": "London"}})["id"]
    action = exported(project, segment_id)
    assert (action["type"], action["status"], action["operation_status"], action["progress"]) == (
        TYPE,
        "DONE",
        "SUCCESS",
        100,
    )
    result = dict(action["result"])
    assert result.pop("reports_available_till") > action["updated_at"]
    assert len(result.pop("reports")) == 2
    assert result == {"message": "3 member(s) exported, 0 failed.", "done_count": 3, "failed_count": 0}
    assert "effects" not in action
    found = lines(action)
    assert [line["id"] for line in found] == [ann["id"], bob["id"], project.get("/v1/customers/dan")["id"]]
    for line, shown in zip(found, (ann, bob, project.get("/v1/customers/dan")), strict=True):
        for field in ("source_id", "name", "email", "phone"):
            assert line[field] == shown.get(field)
        assert line["created_at"] == shown["created_at"]
        assert moment(line["created_at"]) < moment(line["entered_at"])
    assert [line["async_action_id"] for line in found] == [None, None, dan]


def test_static_segments_are_exported_too(project_18: Project) -> None:
    ann = post(project_18, source_id="ann")["id"]
    post(project_18, source_id="bob")
    [line] = lines(exported(project_18, segment(project_18, customers=[ann])))
    assert (line["id"], line["source_id"], line["async_action_id"]) == (ann, "ann", None)


def test_an_empty_segment_is_an_empty_file(project: Project) -> None:
    for segment_id in (segment(project, customers=[]), segment(project, filter=LONDONERS)):
        action = exported(project, segment_id)
        assert lines(action) == []
        assert (action["operation_status"], action["result"]["done_count"]) == ("SUCCESS", 0)


def test_lists_of_actions_leave_it_out(project_18: Project) -> None:
    """Generated clients know the documented types alone."""
    action_id = exported(project_18, segment(project_18, customers=[]))["id"]
    assert project_18.get("/v1/async-actions")["async_actions"] == []
    [listed] = project_18.get("/v1/async-actions", internal="true")["async_actions"]
    assert (listed["id"], listed["type"]) == (action_id, TYPE)


def test_an_unknown_segment(project_18: Project) -> None:
    gone = segment(project_18, customers=[])
    removed(project_18, gone)
    for segment_id in ("seg_1", gone):
        answer = project_18.http.post(f"/v1/segments/{segment_id}/members/export")
        assert refused(answer, 404, "not_found")["resource_type"] == "segment"


def test_a_repeat_with_the_same_key_exports_nothing(project_18: Project) -> None:
    segment_id, headers = segment(project_18, customers=[]), {"Idempotency-Key": "k-1"}
    path = f"/v1/segments/{segment_id}/members/export"
    first, second = (project_18.http.post(path, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.content == second.content
    assert [answer.headers.get("Idempotent-Replayed") for answer in (first, second)] == [None, "true"]
    assert len(project_18.get("/v1/async-actions", internal="true")["async_actions"]) == 1
    other = project_18.http.post(f"/v1/segments/{segment(project_18, customers=[])}/members/export", headers=headers)
    refused(other, 409, "idempotency_key_reused")


def in_portions(project: Project, segment_id: str, size: int) -> Any:
    """An export whose first portion takes so many members; its action once it is finished."""
    with lane_paused(project, Lane.ROUND_ROBIN):
        action_id = scheduled(project, segment_id)
        with session(project.deployment) as conn:
            conn.execute("UPDATE async_actions SET portion_records = %s WHERE id = %s", [size, action_id])
    return project.finished(action_id)


def test_portions_leave_nobody_out(project: Project) -> None:
    updated(project, "customers", *({"source_id": f"c-{n}"} for n in range(3000)))
    segment_id = segment(project, filter=having("source_id", "$has_value", True))
    for size in (1, 7, 3000):
        action = in_portions(project, segment_id, size)
        found = [line["id"] for line in lines(action)]
        assert (len(found), action["result"]["done_count"]) == (3000, 3000)
        assert found == sorted(set(found))


def test_whoever_is_deleted_meanwhile_costs_nobody_else_his_line(project: Project) -> None:
    """A customer who is gone is a member until somebody looks."""
    names = [f"c-{n}" for n in range(9)]
    for name in names:
        post(project, source_id=name, address={"city": "London"})
    segment_id = segment(project, filter=LONDONERS)
    with lane_paused(project):
        for name in (names[0], names[4], names[8]):
            deleted(project, name)
        for size in (1, 2, 4, 5, 100):
            action = in_portions(project, segment_id, size)
            assert [line["source_id"] for line in lines(action)] == [*names[1:4], *names[5:8]], size
            assert action["result"]["done_count"] == 6


def test_a_permanent_deletion_erases_the_lines_of_a_customer(project_18: Project) -> None:
    for name in ("ann", "bob"):
        post(project_18, source_id=name, name=name, email=f"{name}@example.com", address={"city": "London"})
    action = exported(project_18, segment(project_18, filter=LONDONERS))
    project_18.call("POST", "/v1/customers/ann/permanent-deletion")
    erased, left = lines(action)
    assert erased == dict.fromkeys(COLUMNS)
    assert left["name"] == "bob"
