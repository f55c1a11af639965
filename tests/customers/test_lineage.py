"""Customers bear the bulk job that wrote them last, and none after a request."""

from typing import Any

from tests.bulk.csv_uploads import all_imported
from tests.custom_events.defining import define, event, track
from tests.customers.updating import finished, updated
from tests.customers.writing import deleted, newest, post, put
from tests.deployment import Project
from tests.orders.lineage import actions_of, hold_segments, origins
from tests.orders.stored import rows, session


def people(project: Project) -> dict[str, str | None]:
    return actions_of(project, "customers")


def versions(project: Project) -> list[Any]:
    return rows(project, "SELECT id, xmin::text FROM customers WHERE project_id = %(project)s ORDER BY id")


def test_bulk_updates_mark_whom_they_change(project: Project) -> None:
    first = updated(project, "customers", {"source_id": "ann"}, {"source_id": "bob", "name": "Bob"})["id"]
    assert people(project) == {"ann": first, "bob": first}
    second = updated(project, "customers", {"source_id": "ann", "name": "Ann"}, {"source_id": "bob", "name": "Bob"},
                     {"source_id": "cid"})["id"]  # fmt: skip
    assert people(project) == {"ann": second, "bob": first, "cid": second}
    body = {"source_ids": ["bob", "dan"], "metadata": {"lang": "en"}}
    third = finished(project, "customers/metadata", body)["id"]
    assert people(project) == {"ann": second, "bob": third, "cid": second, "dan": third}
    before = versions(project)
    finished(project, "customers/metadata", body)
    updated(project, "customers", {"source_id": "ann", "name": "Ann"})
    assert versions(project) == before


def test_files_mark_whom_they_change(project: Project) -> None:
    post(project, source_id="bob", name="Bob")
    action = all_imported(project, "customers", "Source_id,Name\nann,Ann\nbob,Bob\n")["id"]
    assert people(project) == {"ann": action, "bob": None}
    before = versions(project)
    all_imported(project, "customers", "Source_id,Name\nann,Ann\nbob,Bob\n")
    assert versions(project) == before
    again = all_imported(project, "customers", "Source_id,Name\nann,Ann\nbob,Bea\n")["id"]
    assert people(project) == {"ann": action, "bob": again}


def test_whom_a_request_changes_is_no_bulk_job_s_any_more(project: Project) -> None:
    define(project, event("bare"))
    names = ("ann", "bob", "cid", "dan")
    action = updated(project, "customers", *({"source_id": name, "name": name} for name in names))["id"]
    assert put(project, "ann", name="ann") == project.get("/v1/customers/ann")
    track(project, "bare", customer={"source_id": "dan"})
    assert people(project) == dict.fromkeys(names, action), "nothing changes"
    for answer in (put(project, "ann", name="Ann"), post(project, source_id="bob", name="Bob")):
        assert "async_action_id" not in answer
        assert newest(project).data["customer"].get("async_action_id") is None
    track(project, "bare", customer={"source_id": "cid", "name": "Cid"})
    assert people(project) == {"ann": None, "bob": None, "cid": None, "dan": action}
    assert updated(project, "customers", {"source_id": "ann", "phone": "1"})["id"] == people(project)["ann"]


def test_the_segments_lane_is_told_who_did_it(project: Project) -> None:
    hold_segments(project)
    bulk = updated(project, "customers", {"source_id": "ann"})["id"]
    body = {"source_ids": ["ann"], "metadata": {"lang": "en"}}
    metadata = finished(project, "customers/metadata", body)["id"]
    file = all_imported(project, "customers", "Source_id,Name\nann,Ann\n")["id"]
    ann = project.get("/v1/customers/ann")["id"]
    written = project.http.put("/v1/customers/ann", json={"name": "Bea"})
    gone = project.http.delete("/v1/customers/ann")
    assert origins(project) == [
        (ann, "customers.bulk_update", None, bulk, 0),
        (ann, "customers.metadata_update", None, metadata, 0),
        (ann, "customers.import_csv", None, file, 0),
        (ann, "customers.update", written.headers["X-Request-Id"], None, 0),
        (ann, "customers.delete", gone.headers["X-Request-Id"], None, 0),
    ]


def test_the_event_of_a_deletion_shows_the_bulk_job(project_18: Project) -> None:
    action = updated(project_18, "customers", {"source_id": "ann"})["id"]
    deleted(project_18, "ann")
    assert newest(project_18).data["customer"]["async_action_id"] == action


def test_a_permanent_deletion_says_in_how_many_segments_the_customer_was(project_18: Project) -> None:
    hold_segments(project_18)
    ann, bob = (post(project_18, source_id=name)["id"] for name in ("ann", "bob"))
    with session(project_18.deployment) as conn:
        conn.execute(
            """INSERT INTO segment_members (project_id, segment_id, customer_id, customer_created_at, entered_at)
               SELECT %s, u.segment, u.customer, clock_timestamp(), clock_timestamp()
                 FROM unnest(%s::text[], %s::text[]) AS u (segment, customer)""",
            [project_18.id, ["seg_1", "seg_2", "seg_2"], [ann, ann, bob]],
        )
    deletion = project_18.call("POST", "/v1/customers/ann/permanent-deletion")
    assert deletion["data_json"]["segments"] == 2
    assert [cause for customer, cause, *_ in origins(project_18) if customer == ann][-1] == "customers.delete"
