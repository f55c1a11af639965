"""What a bulk job led to in segments, as its async action tells."""

from typing import Any

from tests.deployment import Project
from tests.events.log import events_of
from tests.orders.stored import rows
from tests.segments.placed import active, all_placed, lane_paused


def order(customer: str, no: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "source_id": f"{customer}-{no}",
        "status": "PAID",
        "amount": 100,
        "customer": {"source_id": customer},
        **more,
    }


def effects(project: Project, action_id: str, **parameters: Any) -> Any:
    return project.get(f"/v1/async-actions/{action_id}", **parameters)["effects"]


def buyers(more_than: int) -> dict[str, Any]:
    return {"summary.orders.total_count": {"conditions": {"$more_than": more_than}}}


def test_an_import_tells_whom_it_put_where(project: Project) -> None:
    some, many = active(project, buyers(0), name="Some"), active(project, buyers(1), name="Many")
    few = active(project, {"summary.orders.total_count": {"conditions": {"$is": 1}}}, name="Few")
    with lane_paused(project):
        first = project.post_import([order("ann"), order("bob")])
        assert project.finished(first)["effects"] == {"status": "PENDING", "segments": []}
        # a wait for the effects ends without them, once its time is over
        assert effects(project, first, wait=1, wait_for="effects")["status"] == "PENDING"
    told = effects(project, first, wait=20, wait_for="effects")
    assert told == {
        "status": "DONE",
        "segments": [
            {"id": some, "name": "Some", "entered": 2, "left": 0, "object": "segment"},
            {"id": few, "name": "Few", "entered": 2, "left": 0, "object": "segment"},
        ],
    }
    second = project.post_import([order("ann", 1), order("eve")])
    told = effects(project, second, wait=20, wait_for="effects")
    assert {one["name"]: (one["entered"], one["left"]) for one in told["segments"]} == {
        "Some": (1, 0), "Many": (1, 0), "Few": (1, 1)
    }  # fmt: skip
    assert [one["id"] for one in told["segments"]] == [some, many, few], "in the order in which they were made"
    assert effects(project, first)["segments"][0]["entered"] == 2, "what another one led to is not put down to it"


def test_without_segments_there_is_nothing_to_tell(project_18: Project) -> None:
    action = project_18.post_import([order("ann")])
    assert effects(project_18, action, wait=20, wait_for="effects") == {"status": "DONE", "segments": []}
    empty = project_18.post_import([])
    assert effects(project_18, empty, wait=20, wait_for="effects") == {"status": "DONE", "segments": []}


def test_jobs_that_place_nobody_have_no_effects(project_18: Project) -> None:
    call = project_18.call("POST", "/v1/orders/import", params={"dry_run": "true"}, json=[order("ann")])
    assert "effects" not in project_18.get(f"/v1/async-actions/{call['async_action_id']}", wait=20, wait_for="effects")
    product = project_18.call("POST", "/v1/products/bulk/async", json=[{"source_id": "mug"}], expect=202)
    assert "effects" not in project_18.finished(product["async_action_id"])
    assert all("effects" not in action for action in project_18.get("/v1/async-actions")["async_actions"])


def test_updates_of_customers_have_them_too(project_18: Project) -> None:
    french = active(project_18, {"metadata.lang": {"conditions": {"$is": "fr"}}}, name="French")
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/v1/customers/bulk/async", {"json": [{"source_id": "ann", "metadata": {"lang": "fr"}}]}),
        ("/v1/customers/metadata/async", {"json": {"source_ids": ["bob"], "metadata": {"lang": "fr"}}}),
        ("/v1/customers/importCSV", {"files": {"file": ("c.csv", b"Source_id,Name,lang\neve,Eve,fr\n")}}),
    ]
    for path, body in bodies:
        action = project_18.call("POST", path, expect=202, **body)["async_action_id"]
        told = effects(project_18, action, wait=20, wait_for="effects")
        assert [(one["id"], one["entered"]) for one in told["segments"]] == [(french, 1)], path


def test_what_an_import_changed_bears_its_id(project: Project) -> None:
    some = active(project, buyers(0), name="Some")
    action = project.post_import([order("ann")])
    effects(project, action, wait=20, wait_for="effects")
    entered = events_of(project)
    assert [(event.type, event.async_action_id, event.depth) for event in entered] == [
        ("customer.segment.entered", action, 1)
    ]
    assert entered[0].group_id == project.get(f"/v1/async-actions/{action}")["request_id"]
    assert project.get(f"/v1/segments/{some}/members/ann/explain")["async_action_id"] == action
    assert project.get("/v1/customers/ann")["async_action_id"] == action
    assert project.get("/v1/orders/ann-0")["async_action_id"] == action
    told = project.get("/v1/activity", async_action_id=action)["data"]
    assert [event["type"] for event in told] == ["customer.segment.entered"]


def test_a_segment_that_is_gone_has_no_name(project_18: Project) -> None:
    some = active(project_18, buyers(0), name="Some")
    action = project_18.post_import([order("ann")])
    effects(project_18, action, wait=20, wait_for="effects")
    assert project_18.http.delete(f"/v1/segments/{some}").status_code == 204
    all_placed(project_18)
    told = effects(project_18, action)["segments"]
    assert told == [{"id": some, "name": None, "entered": 1, "left": 0, "object": "segment"}]
    assert rows(project_18, "SELECT FROM segment_members WHERE project_id = %(project)s") == []
