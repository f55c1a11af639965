"""Segments by requests: create, change, delete."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import pytest

from tests.customers.updating import updated
from tests.customers.writing import put
from tests.deployment import Project, until
from tests.events.log import events_of
from tests.http.refusals import refused
from tests.orders.stored import rows, session
from tests.segments.placed import (
    JSON,
    LONDONERS,
    PARISIANS,
    active,
    all_placed,
    changed,
    having,
    lane_paused,
    made,
    members,
    people,
    removed,
    segment,
    segments_of,
    summary,
    verified,
)

DYNAMIC_MAX = 100
CUSTOMERS_MAX = 20_000
WAITING_FOR_LOCKS = """SELECT FROM pg_stat_activity
                        WHERE application_name = 'punchcard api' AND wait_event_type = 'Lock'"""


def listed(project: Project) -> tuple[int, list[str]]:
    """How many segments there are, and the ids of the newest."""
    found = project.get("/v1/segments")
    return found["total"], [one["id"] for one in found["data"]]


def refusal(project: Project, body: Any, *, status: int = 400, key: str = "invalid_payload") -> str:
    """The details of a segment that must be refused; nothing of it stays."""
    before = listed(project)
    answer = project.http.post("/v1/segments", content=msgspec.json.encode(body), headers=JSON)
    details = refused(answer, status, key)["details"]
    assert listed(project) == before
    return str(details)


# ---- create ----


def test_a_static_segment_has_the_customers_that_were_given(project: Project) -> None:
    ann, bob, _ = people(project, "ann", "bob", "cid")
    all_placed(project)
    answer = made(project, name="Friends", type="static", customers=[bob, ann, bob])
    right_until, created_at = answer["summary"].pop("right_until"), answer.pop("created_at")
    assert answer.pop("id").startswith("seg_")
    assert answer == {
        "name": "Friends",
        "type": "static",
        "filter": None,
        "summary": {"members": 2, "entered_today": 0, "left_today": 0, "changed_at": None, "population": "DONE"},
        "object": "segment",
    }
    assert right_until >= created_at
    segment_id = project.get("/v1/segments")["data"][0]["id"]
    assert members(project, segment_id) == ["bob", "ann"]
    # whatever becomes of them
    put(project, ann, address={"city": "Paris"})
    all_placed(project)
    assert members(project, segment_id) == ["bob", "ann"]
    assert summary(project, segment_id)["members"] == 2


@pytest.mark.parametrize("kind", ["passive", "auto-update"])
def test_a_dynamic_segment_has_who_fits_its_filter(project: Project, kind: str) -> None:
    people(project, "ann", "bob")
    people(project, "cid", city="Paris")
    answer = made(project, name="Londoners", type=kind, filter=LONDONERS)
    all_placed(project)
    found = project.get(f"/v1/segments/{answer['id']}")
    assert found.keys() == {"id", "name", "created_at", "type", "filter", "summary", "object"}
    assert (found["name"], found["type"], found["filter"]) == ("Londoners", kind, LONDONERS)
    assert {key: answer[key] for key in found if key != "summary"} == {
        key: found[key] for key in found if key != "summary"
    }
    assert (found["summary"]["members"], found["summary"]["population"]) == (2, "DONE")
    assert members(project, answer["id"]) == ["bob", "ann"]
    verified(project)


def test_the_filter_comes_back_as_it_was_written(project_18: Project) -> None:
    """Down to the order of what is in it and the spelling of numbers."""
    text = (
        b'{"summary.orders.total_count":{"conditions":{"$more_than":["5"]}},"junction":"OR",'
        b'"metadata.n":{"junction":"or","conditions":{"$is":[1.50,1],"$has_value":""}}}'
    )
    body = b'{"name":"S","filter":' + text + b"}"
    segment_id = project_18.call("POST", "/v1/segments", content=body, headers=JSON)["id"]
    for found in (
        project_18.http.get(f"/v1/segments/{segment_id}"),
        project_18.http.get("/v1/segments"),
    ):
        assert text.replace(b"1.50", b"1.5") in found.content


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"filter": LONDONERS}, "passive"),
        ({"customers": []}, "static"),
        ({"type": None, "filter": LONDONERS, "customers": None}, "passive"),
        ({"type": None, "filter": None, "customers": []}, "static"),
        ({"type": "static", "filter": None, "customers": []}, "static"),
        ({"filter": LONDONERS, "unknown": 1}, "passive"),
    ],
)
def test_the_type_follows_from_what_is_given(project_18: Project, given: dict[str, Any], kind: str) -> None:
    assert made(project_18, **given)["type"] == kind


NO_FILTER = "Payload should have required property 'filter'"
NO_CUSTOMERS = "Payload should have required property 'customers'"
TOO_MUCH = "Property .{} must not be there: a {} segment has {}"


@pytest.mark.parametrize(
    ("given", "details"),
    [
        ({}, "Payload should have required property 'customers' or 'filter'"),
        ({"type": "static"}, NO_CUSTOMERS),
        ({"type": "static", "customers": None}, NO_CUSTOMERS),
        ({"type": "passive"}, NO_FILTER),
        ({"type": "auto-update", "filter": None}, NO_FILTER),
        ({"type": "static", "customers": [], "filter": LONDONERS}, TOO_MUCH.format("filter", "static", "customers")),
        ({"customers": [], "filter": LONDONERS}, TOO_MUCH.format("customers", "dynamic", "a filter")),
        (
            {"type": "auto-update", "customers": [], "filter": LONDONERS},
            TOO_MUCH.format("customers", "dynamic", "a filter"),
        ),
        ({"type": "active", "filter": LONDONERS}, "Property .type has an unknown value 'active'"),
        ({"type": 1, "filter": LONDONERS}, "Property .type must be string"),
        ({"customers": "ann"}, "Property .customers must be an array"),
        ({"customers": ["ann", None]}, "Property .customers[1] must be string"),
        ({"customers": ["a" * 256]}, "Property .customers[0] must have at most 255 characters"),
        ({"customers": [""] * (CUSTOMERS_MAX + 1)}, f"Property .customers must have at most {CUSTOMERS_MAX} elements"),
        ({"filter": [LONDONERS]}, "Property .filter must be an object"),
    ],
)
def test_what_does_not_go_together_is_refused(project_18: Project, given: dict[str, Any], details: str) -> None:
    assert refusal(project_18, {"name": "S"} | given) == details


def test_a_body_is_one_object(project_18: Project) -> None:
    for body, details in (
        (b"", "Payload is empty: send a JSON object"),
        (b"[]", "Payload must be an object"),
        (b"{", "Payload is not valid JSON: it ends early or holds an incomplete escape"),
    ):
        answer = project_18.http.post("/v1/segments", content=body, headers=JSON)
        assert refused(answer, 400, "invalid_payload")["details"] == details


@pytest.mark.parametrize(
    ("name", "details"),
    [
        ({}, "Payload should have required property 'name'"),
        ({"name": None}, "Property .name must be string"),
        ({"name": 1}, "Property .name must be string"),
        ({"name": ""}, "Property .name must have at least 1 characters"),
        ({"name": "ü" * 256}, "Property .name must have at most 255 characters"),
        ({"name": "a\0"}, "Property .name must not contain a NUL character"),
    ],
)
def test_names_that_are_none(project_18: Project, name: dict[str, Any], details: str) -> None:
    assert refusal(project_18, {"filter": LONDONERS} | name) == details


def test_names_need_not_differ(project_18: Project) -> None:
    name = "ü" * 255
    first, second = (made(project_18, name=name, filter=LONDONERS) for _ in range(2))
    assert first["id"] != second["id"]
    assert first["name"] == second["name"] == name


@pytest.mark.parametrize(
    ("given", "details"),
    [
        ({}, "Property .filter must have 1 to 50 attributes"),
        ({"junction": "and"}, "Property .filter must have 1 to 50 attributes"),
        ({"junction": "xor", **LONDONERS}, "Property .filter.junction must be one of and, or"),
        ({"name": {}}, "Property .filter.name.conditions must be an object with an operator"),
        ({"name": "ann"}, "Property .filter.name must be an object"),
        ({"name": {"condition": {}}}, "Property .filter.name.condition is not known; there are conditions, junction"),
        (having("name", "$has", "x"), "Property .filter.name.conditions.$has is no known operator"),
        (having("name", "$after", "x"), "Property .filter.name.conditions.$after does not go with this attribute"),
        (having("nick", "$is", "x"), "Property .filter.nick is no known attribute"),
        (
            having("segments", "$is", "seg_1"),
            "Property .filter.segments cannot be filtered by: a segment must not depend on segments",
        ),
        (having("name", "$is", []), "Property .filter.name.conditions.$is must have 1 to 200 values"),
        (having("name", "$is", ["a", 5]), "Property .filter.name.conditions.$is[1] must be string"),
        (
            having("summary.orders.total_count", "$more_than", "many"),
            "Property .filter.summary.orders.total_count.conditions.$more_than must be number",
        ),
        (
            having("created_at", "$after", "yesterday"),
            "Property .filter.created_at.conditions.$after cannot be recognized as a ISO-8601 compliant date",
        ),
        (
            having("birthday", "$is_month", 13),
            "Property .filter.birthday.conditions.$is_month cannot be higher than 12",
        ),
        (having("metadata.a\0b", "$is", 1), "Property .filter must not contain a NUL character"),
        (
            having("metadata.a", "$is", "\0"),
            "Property .filter.metadata.a.conditions.$is must not contain a NUL character",
        ),
    ],
)
def test_filters_that_mean_nothing(project_18: Project, given: dict[str, Any], details: str) -> None:
    assert refusal(project_18, {"name": "S", "filter": given}).startswith(details)


def test_a_customer_that_is_not_there_is_refused(project_18: Project) -> None:
    (ann,) = people(project_18, "ann")
    for unknown in ("cust_1", "ann", "", "\N{SNOWMAN}"):
        before = listed(project_18)
        answer = project_18.http.post("/v1/segments", json={"name": "S", "customers": [ann, unknown]})
        body = refused(answer, 404, "not_found")
        assert (body["resource_type"], body["resource_id"] if unknown else "") == ("customer", unknown)
        assert listed(project_18) == before
    assert segments_of(project_18, ann) == []
    assert rows(project_18, "SELECT * FROM segment_members WHERE project_id = %(project)s") == []


def test_a_static_segment_of_the_largest_size(project_18: Project) -> None:
    updated(project_18, "customers", *({"source_id": f"c-{n}"} for n in range(CUSTOMERS_MAX)))
    ids = [row["id"] for row in rows(project_18, "SELECT id FROM customers WHERE project_id = %(project)s")]
    segment_id = made(project_18, customers=ids)["id"]
    listed = project_18.get("/v1/customers", segment_id=segment_id)
    assert (listed["total"], listed["has_more"]) == (CUSTOMERS_MAX, True)
    assert listed["customers"] == project_18.get("/v1/customers")["customers"]
    all_placed(project_18)
    verified(project_18)


# ---- limits ----


def test_a_project_has_so_many_dynamic_segments(project_18: Project) -> None:
    ids = [made(project_18, name=f"S{n}", filter=LONDONERS)["id"] for n in range(DYNAMIC_MAX - 1)]
    ids.append(made(project_18, type="auto-update", filter=LONDONERS)["id"])
    full = "A project can have 100 passive and active segments: delete one first"
    for kind in ("passive", "auto-update"):
        assert refusal(project_18, {"name": "S", "type": kind, "filter": LONDONERS}, key="too_many_segments") == full
    made(project_18, customers=[])
    removed(project_18, ids[0])
    made(project_18, filter=LONDONERS)
    assert refusal(project_18, {"name": "S", "filter": LONDONERS}, key="too_many_segments") == full
    assert project_18.get("/v1/segments")["total"] == DYNAMIC_MAX + 1


def test_nor_more_when_they_come_at_once(project_18: Project) -> None:
    for n in range(DYNAMIC_MAX - 2):
        made(project_18, name=f"S{n}", filter=LONDONERS)

    def ask(_: int) -> int:
        with httpx.Client(base_url=project_18.deployment.url, trust_env=False, timeout=60) as http:
            headers = {"X-App-Id": project_18.application_id, "X-App-Token": project_18.application_token}
            return http.post("/v1/segments", json={"name": "S", "filter": LONDONERS}, headers=headers).status_code

    with session(project_18.deployment) as watching, ThreadPoolExecutor(5) as threads:
        # all of them have begun before the first can add its own
        with session(project_18.deployment) as holding, holding.transaction():
            holding.execute("SELECT FROM projects WHERE id = %s FOR UPDATE", [project_18.id])
            statuses = threads.map(ask, range(5))
            until(lambda: len(watching.execute(WAITING_FOR_LOCKS).fetchall()) == 5)
        assert sorted(statuses) == [200, 200, 400, 400, 400]
    assert project_18.get("/v1/segments")["total"] == DYNAMIC_MAX


# ---- Idempotency-Key ----


def test_a_repeat_with_the_same_key_makes_nothing(project: Project) -> None:
    body = {"name": "S", "filter": LONDONERS}
    headers = {"Idempotency-Key": "k-1"}
    first, second = (project.http.post("/v1/segments", json=body, headers=headers) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert [answer.headers.get("Idempotent-Replayed") for answer in (first, second)] == [None, "true"]
    assert project.get("/v1/segments")["total"] == 1
    other = project.http.post("/v1/segments", json=body | {"name": "T"}, headers=headers)
    refused(other, 409, "idempotency_key_reused")


def test_a_refused_segment_leaves_its_key_free(project_18: Project) -> None:
    made(project_18, key="k-1", filter={}, expect=400)
    assert made(project_18, key="k-1", filter=LONDONERS)["name"] == "S"


# ---- change ----


def test_a_passive_segment_gets_another_name(project: Project) -> None:
    people(project, "ann")
    segment_id = segment(project, filter=LONDONERS)
    before = project.get(f"/v1/segments/{segment_id}")
    after = changed(project, segment_id, name="T", type="static", customers=[], id="seg_1")
    assert after["updated_at"] > before["created_at"]
    del before["summary"]["right_until"], after["summary"]["right_until"]
    assert after == before | {"name": "T", "updated_at": after["updated_at"]}
    assert after["summary"]["population"] == "DONE"
    assert project.get("/v1/customers/ann/segments")["data"] == [{"id": segment_id, "name": "T", "object": "segment"}]


def test_what_changes_nothing_populates_nothing(project: Project) -> None:
    people(project, "ann")
    given = {"junction": "and", **LONDONERS, "metadata.n": {"conditions": {"$is_unknown": ["true"]}}}
    segment_id = segment(project, filter=given)
    before = project.get(f"/v1/segments/{segment_id}")
    del before["summary"]["right_until"]
    turned = dict(reversed(given.items()))
    for change in ({}, {"name": None, "filter": None}, {"name": "S"}, {"filter": given}, {"filter": turned}):
        after = changed(project, segment_id, **change)
        del after["summary"]["right_until"]
        assert after == before
    renamed = changed(project, segment_id, name="T", filter=given)
    assert (renamed["name"], renamed["summary"]["population"]) == ("T", "DONE")


def test_another_filter_populates_anew(project: Project) -> None:
    people(project, "ann", "bob")
    people(project, "cid", city="Paris")
    segment_id = segment(project, filter=LONDONERS)
    with lane_paused(project):
        answer = changed(project, segment_id, filter=PARISIANS)
        assert (answer["name"], answer["filter"], answer["summary"]["population"]) == ("S", PARISIANS, "IN_PROGRESS")
        assert answer["updated_at"] > answer["created_at"]
        assert members(project, segment_id) == ["bob", "ann"], "until each is looked at"
        people(project, "dan", city="Paris")
    found = project.get(f"/v1/segments/{segment_id}")
    assert members(project, segment_id) == ["dan", "cid"]
    assert (found["summary"]["members"], found["summary"]["population"]) == (2, "DONE")
    people(project, "eve", city="Paris")
    all_placed(project)
    assert members(project, segment_id) == ["eve", "dan", "cid"]
    assert [event.type for event in events_of(project)] == ["customer.created"] * 5
    verified(project)


def test_the_last_of_several_filters_counts(project: Project) -> None:
    people(project, "ann")
    people(project, "bob", city="Paris")
    with lane_paused(project):
        segment_id = made(project, filter=having("name", "$has_value", True))["id"]
        for given in (LONDONERS, PARISIANS, LONDONERS, PARISIANS):
            changed(project, segment_id, filter=given)
    assert members(project, segment_id) == ["bob"]
    assert summary(project, segment_id)["population"] == "DONE"
    verified(project)


def test_only_passive_segments_change(project_18: Project) -> None:
    (ann,) = people(project_18, "ann")
    static, followed = made(project_18, customers=[ann])["id"], active(project_18)
    for segment_id, kind in ((static, "a static"), (followed, "an active")):
        before = project_18.get(f"/v1/segments/{segment_id}")
        for change in ({"name": "T"}, {"filter": PARISIANS}, {}):
            answer = project_18.http.put(f"/v1/segments/{segment_id}", json=change)
            body = refused(answer, 400, "segment_not_editable")
            assert body["details"] == f"Segment {segment_id} is {kind} one; make another in its place"
            assert (body["resource_type"], body["resource_id"]) == ("segment", segment_id)
        after = project_18.get(f"/v1/segments/{segment_id}")
        assert {**after, "summary": None} == {**before, "summary": None}
        assert members(project_18, segment_id) == ["ann"]


def test_a_change_that_is_refused_changes_nothing(project_18: Project) -> None:
    segment_id = segment(project_18, filter=LONDONERS)
    before = {**project_18.get(f"/v1/segments/{segment_id}"), "summary": None}
    for change, details in (
        ({"name": ""}, "Property .name must have at least 1 characters"),
        ({"name": "T", "filter": {}}, "Property .filter must have 1 to 50 attributes"),
        ({"name": "T", "filter": having("nick", "$is", "x")}, "Property .filter.nick is no known attribute"),
        ({"filter": "x"}, "Property .filter must be an object"),
    ):
        answer = project_18.http.put(f"/v1/segments/{segment_id}", json=change)
        assert refused(answer, 400, "invalid_payload")["details"].startswith(details)
    empty = project_18.http.put(f"/v1/segments/{segment_id}", content=b"", headers=JSON)
    assert refused(empty, 400, "invalid_payload")["details"] == "Payload is empty: send a JSON object"
    assert {**project_18.get(f"/v1/segments/{segment_id}"), "summary": None} == before


# ---- delete ----


def gone(project: Project, segment_id: str) -> bool:
    """Whether nothing is stored of a segment."""
    return not any(
        rows(project, f"SELECT 1 FROM {table} WHERE project_id = %(project)s AND {column} = %(id)s", id=segment_id)
        for table, column in (("segments", "id"), ("segment_summaries", "segment_id"),
                              ("segment_members", "segment_id"), ("segment_inbox", "segment_id"))
    )  # fmt: skip


def test_a_deleted_segment_is_gone_with_its_members(project: Project) -> None:
    (ann,) = people(project, "ann")
    other = active(project)
    deleted = [segment(project, customers=[ann]), segment(project, filter=LONDONERS), active(project)]
    with lane_paused(project):
        for segment_id in deleted:
            removed(project, segment_id)
            # at once, though its members are still there
            project.get(f"/v1/segments/{segment_id}", expect=404)
            project.get("/v1/customers", segment_id=segment_id, expect=404)
            assert project.http.delete(f"/v1/segments/{segment_id}").status_code == 404
            assert not gone(project, segment_id)
        assert listed(project) == (1, [other])
        assert segments_of(project, "ann") == [other]
    assert all(gone(project, segment_id) for segment_id in deleted)
    assert segments_of(project, "ann") == [other]
    assert members(project, other) == ["ann"]
    assert [event.type for event in events_of(project)] == ["customer.created"]
    verified(project)


def test_one_that_is_being_populated_can_be_deleted(project: Project) -> None:
    people(project, "ann")
    with lane_paused(project):
        segment_id = made(project, filter=LONDONERS)["id"]
        assert summary(project, segment_id)["population"] == "IN_PROGRESS"
        removed(project, segment_id)
    assert gone(project, segment_id)
    verified(project)
