"""`POST /v1/customers/{id}/permanent-deletion` of who was deleted by `DELETE`, by the event that says so."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.customers.test_deletion import order, totals
from tests.customers.test_erasure import BOB, PERSONAL, ZOE, busy, erased, found_in
from tests.customers.writing import deleted, post
from tests.db.tenants import rows_of
from tests.deployment import Deployment, Project, until
from tests.events.log import LoggedEvent, events_of
from tests.orders.lineage import hold_segments
from tests.orders.stored import rows, session

NOTHING = {
    "events": 0, "customer_events": 0, "daily_events": 0, "segments": 0, "orders": 0, "order_events": 0, "customer": 0,
}  # fmt: skip
# a record that fails, of which only the e-mail address says whose it is
LOST = {"metadata": {"note": "x"}, "referrer_id": "cust_nobody"}


def path_of(source_id: str) -> str:
    return source_id.replace("/", "%2F")


def deletions(project: Project) -> list[LoggedEvent]:
    """The events that say that customers were deleted, oldest first."""
    return [event for event in events_of(project) if event.type == "customer.deleted"]


def kept(project: Project) -> list[dict[str, Any]]:
    """What is kept of permanent deletions."""
    return rows(project, "SELECT * FROM customer_deletions WHERE project_id = %(project)s ORDER BY created_at")


def waiting(project: Project) -> list[int]:
    """The sessions that wait for a lock of another."""
    with session(project.deployment) as conn:
        found = conn.execute("SELECT pid FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0")
        return [row["pid"] for row in found]


@pytest.mark.parametrize("name", ["id", "source_id"])
def test_a_deleted_customer_is_erased_from_all_that_is_kept(project: Project, name: str) -> None:
    zoe, [imported, *_] = busy(project)
    deleted(project, path_of(ZOE["source_id"]))
    assert {table for table, _ in found_in(project, PERSONAL)} == {
        "events", "async_actions", "async_action_failures", "async_action_reports", "idempotency_keys",
    }  # fmt: skip
    before = [event.id for event in events_of(project)]
    counted = totals(project)
    customer = {"id": zoe, "source_id": ZOE["source_id"]}[name]
    record = erased(project, customer)
    assert found_in(project, PERSONAL) == set()
    assert record | {"id": None, "created_at": None} == {
        "id": None, "created_at": None, "related_object_id": zoe, "related_object": "customer", "status": "DONE",
        "object": "pernament_deletion", "data_json": NOTHING,
    }  # fmt: skip
    [row] = kept(project)
    assert (row["id"], row["customer_id"]) == (record["id"], zoe)
    # no event more or less, and those of others stay as they were
    assert [event.id for event in events_of(project)] == before
    assert deletions(project)[-1].data == {"customer": {"id": zoe, "object": "customer"}}
    assert totals(project) == counted
    *gone, last = project.get(f"/v1/async-actions/{imported['id']}/failures")["data"]
    assert {failure["reason"] for failure in gone} == {"Erased with its customer"}
    assert last["record"]["customer"]["name"] == "Bob Other"


def test_once(project: Project) -> None:
    ann = post(project, source_id="ann", email="ann@example.com")["id"]
    deleted(project, "ann")
    record = erased(project, "ann", key="k")
    for customer in (ann, "ann"):
        error = erased(project, customer, expect=404)
        assert (error["key"], error["resource_type"]) == ("not_found", "customer")
    assert erased(project, "ann", key="k") == record
    assert len(kept(project)) == 1


def test_who_was_deleted_for_good_is_a_404(project_18: Project) -> None:
    ann = post(project_18, source_id="ann", email="ann@example.com")["id"]
    erased(project_18, "ann")
    for customer in (ann, "ann"):
        erased(project_18, customer, expect=404)
    assert len(kept(project_18)) == 1


def test_all_who_were_deleted_under_a_source_id_are_erased(project: Project) -> None:
    people = []
    for address in ("first@example.com", "second@example.com"):
        people.append(post(project, source_id='a"nn', email=address)["id"])
        project.import_orders([{"customer": {"email": address}, **LOST}])
        deleted(project, 'a"nn')
    post(project, source_id="third", email="third@example.com")
    deleted(project, "third")
    assert erased(project, 'a"nn')["related_object_id"] == people[-1]
    assert found_in(project, ['a"nn', "first@example.com", "second@example.com"]) == set()
    shown = [event.data["customer"] for event in deletions(project)]
    assert shown[:2] == [{"id": customer, "object": "customer"} for customer in people]
    assert shown[2]["email"] == "third@example.com"
    assert [row["customer_id"] for row in kept(project)] == [people[-1]]


def test_one_who_is_there_is_meant_rather_than_one_who_was_deleted(project_18: Project) -> None:
    post(project_18, source_id="ann", name="Ann")
    deleted(project_18, "ann")
    ann = post(project_18, source_id="ann", name="Ann")["id"]
    project_18.imported(order("1", "ann"))
    record = erased(project_18, "ann")
    assert (record["related_object_id"], record["data_json"]["customer"], record["data_json"]["orders"]) == (ann, 1, 1)
    assert [event.data["customer"].keys() for event in deletions(project_18)] == [{"id", "object"}] * 2
    erased(project_18, "ann", expect=404)


def test_what_is_left_of_a_deleted_customer_is_counted(project_18: Project) -> None:
    hold_segments(project_18)
    ann, bob = (post(project_18, source_id=name)["id"] for name in ("ann", "bob"))
    deleted(project_18, "ann")
    with session(project_18.deployment) as conn:  # as of who was deleted a moment ago, or by an earlier state
        conn.execute(
            """INSERT INTO segment_members (project_id, segment_id, customer_id, customer_created_at, entered_at)
               SELECT %s, 'seg_1', u.id, clock_timestamp(), clock_timestamp() FROM unnest(%s::text[]) AS u (id)""",
            [project_18.id, [ann, bob]],
        )
        conn.execute(
            """INSERT INTO events (project_id, id, created_at, type, object_id, customer_id, data, event_source,
                                   group_id)
               SELECT project_id, 'late', created_at, 'customer.order.paid', 'ord_1', customer_id, '{}', event_source,
                      group_id
                 FROM events WHERE project_id = %s AND type = 'customer.deleted'""",
            [project_18.id],
        )
    record = erased(project_18, ann)
    assert record["data_json"] == NOTHING | {"segments": 1, "customer_events": 1, "order_events": 1}
    assert [event.type for event in events_of(project_18)] == ["customer.created", "customer.deleted"]
    assert totals(project_18) == (1, 0)


def test_who_was_deleted_in_another_project_stays(deployment: Deployment) -> None:
    ours, theirs = deployment.new_project(), deployment.new_project()
    our_id, their_id = busy(ours)[0], busy(theirs)[0]
    for project in (ours, theirs):
        deleted(project, path_of(ZOE["source_id"]))
    before = rows_of(ours)
    erased(theirs, our_id, expect=404)
    assert erased(theirs, ZOE["source_id"])["related_object_id"] == their_id
    assert found_in(theirs, PERSONAL) == set()
    assert rows_of(ours) == before
    erased(ours, our_id)
    assert found_in(ours, PERSONAL) == set()
    ours.close()
    theirs.close()


def test_many_deletions_are_walked_in_steps(project_18: Project) -> None:
    for source_id in ("else", "ann"):
        post(project_18, source_id=source_id, email=f"{source_id}@example.com")
        deleted(project_18, source_id)
    with session(project_18.deployment) as conn:
        conn.execute(
            """INSERT INTO events (project_id, id, created_at, type, object_id, customer_id, data, event_source,
                                   group_id)
               SELECT project_id, id || n, created_at + n * interval '1 microsecond', type, object_id || n,
                      customer_id || n, replace(data::text, object_id, object_id || n)::json, event_source, group_id
                 FROM events, generate_series(1, 600) AS n WHERE project_id = %s""",
            [project_18.id],
        )
    last = max(event.object_id for event in deletions(project_18) if event.object_id.endswith("600"))
    assert erased(project_18, "ann")["related_object_id"] == last
    assert found_in(project_18, ["ann@example.com"]) == set()
    left = [event for event in deletions(project_18) if "email" in event.data["customer"]]
    assert len(left) == 601
    erased(project_18, "ann", expect=404)


# ---- at the same time --------------------------------------------------------------------------


def test_who_is_deleted_while_all_else_is_searched(project_18: Project, holding: psycopg.Connection[Any]) -> None:
    zoe, _ = busy(project_18)
    key = [project_18.id, zoe]
    holding.execute("SELECT 1 FROM customers WHERE project_id = %s AND id = %s FOR NO KEY UPDATE", key)
    with ThreadPoolExecutor(2) as pool:
        deleting = pool.submit(deleted, project_18, zoe)
        until(lambda: len(waiting(project_18)) == 1)
        erasing = pool.submit(erased, project_18, zoe)
        until(lambda: len(waiting(project_18)) == 2)  # behind the deletion, by when all was searched
        holding.commit()
        deleting.result()
        record = erasing.result()
    assert (record["related_object_id"], record["data_json"]) == (zoe, NOTHING)
    assert found_in(project_18, PERSONAL) == set()
    assert [event.object_id for event in deletions(project_18)].count(zoe) == 1
    assert totals(project_18)[0] == len(rows(project_18, "SELECT 1 FROM customers WHERE project_id = %(project)s"))


def held(holding: psycopg.Connection[Any], project: Project) -> None:
    """Let nobody write what says that customers were deleted."""
    holding.execute("SELECT 1 FROM events WHERE project_id = %s AND type = 'customer.deleted' FOR UPDATE", [project.id])


def test_of_two_at_the_same_time_one_takes_effect(project_18: Project, holding: psycopg.Connection[Any]) -> None:
    post(project_18, source_id="ann", email="ann@example.com")
    deleted(project_18, "ann")
    held(holding, project_18)
    with ThreadPoolExecutor(2) as pool:
        path = "/v1/customers/ann/permanent-deletion"
        erasing = [pool.submit(project_18.http.post, path) for _ in range(2)]
        until(lambda: len(waiting(project_18)) == 2)
        holding.commit()
        assert sorted(each.result().status_code for each in erasing) == [200, 404]
    assert len(kept(project_18)) == 1


def test_one_that_is_cut_off_can_be_asked_for_again(project_18: Project, holding: psycopg.Connection[Any]) -> None:
    zoe, _ = busy(project_18)
    deleted(project_18, zoe)
    held(holding, project_18)
    with ThreadPoolExecutor(1) as pool:
        erasing = pool.submit(erased, project_18, zoe, expect=503)
        until(lambda: waiting(project_18))  # all was searched
        with session(project_18.deployment) as conn:
            conn.execute("SELECT pg_terminate_backend(u.pid) FROM unnest(%s::int[]) AS u (pid)", [waiting(project_18)])
        erasing.result()
    holding.rollback()
    assert {table for table, _ in found_in(project_18, PERSONAL)} == {"events"}
    assert kept(project_18) == []
    erased(project_18, zoe)
    assert found_in(project_18, PERSONAL) == set()
    assert post(project_18, **BOB)["name"] == "Bob Other"
