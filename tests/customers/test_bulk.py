"""Bulk update and bulk metadata update of customers: what becomes of them, and what is said about it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.customers.updating import finished, report, send, updated
from tests.deployment import Deployment, Project, until
from tests.metadata_schemas.defining import define, schema
from tests.orders.lineage import hold_segments
from tests.orders.stored import rows, session

FULL = {
    "source_id": "ann", "name": "Ann", "description": "d", "email": "ann@x", "phone": "+1 2", "birthdate": "1990-01-02",
    "birthday": "1991-01-02", "metadata": {"a": 1, "tags": ["x"]},
    "address": {"city": "London", "state": "s", "line_1": "1", "line_2": "2", "country": "UK", "postal_code": "p"},
}  # fmt: skip


def customer(project: Project, source_id: str = "ann") -> Any:
    return project.get(f"/v1/customers/{source_id}")


def attributes(project: Project, source_id: str = "ann") -> dict[str, Any]:
    """What a bulk update can change of a customer."""
    found = customer(project, source_id)
    return {name: found[name] for name in FULL if name in found}


def inbox(project: Project) -> list[tuple[str, str]]:
    """Customers that were announced to the segment lane, and why, since this was last asked."""
    taken = rows(
        project,
        """WITH taken AS (DELETE FROM segment_inbox WHERE project_id = %(project)s RETURNING customer_id, cause)
           SELECT c.source_id, t.cause FROM taken AS t
             JOIN customers AS c ON c.project_id = %(project)s AND c.id = t.customer_id""",
    )
    return sorted((row["source_id"], row["cause"]) for row in taken)


# ---- what becomes of customers -----------------------------------------------------------------


def test_a_customer_that_does_not_exist_is_made_with_all_fields(project: Project) -> None:
    updated(project, "customers", FULL)
    assert attributes(project) == FULL
    assert "updated_at" not in customer(project)


def test_fields_replace_and_metadata_merges_by_key(project: Project) -> None:
    updated(project, "customers", FULL)
    before = customer(project)
    updated(project, "customers", {
        "source_id": "ann", "name": "Bea", "address": {"city": "Rome"}, "metadata": {"tags": None, "b": 2},
    })  # fmt: skip
    after = customer(project)
    assert attributes(project) == FULL | {
        "name": "Bea", "address": {"city": "Rome"}, "metadata": {"a": 1, "tags": None, "b": 2},
    }  # fmt: skip
    assert (after["id"], after["created_at"]) == (before["id"], before["created_at"])
    assert after["updated_at"] > after["created_at"]


def test_null_and_what_is_unknown_change_nothing(project_18: Project) -> None:
    updated(project_18, "customers", FULL)
    nulls = dict.fromkeys(FULL) | {"source_id": "ann", "id": "cust_other", "unknown": 1}
    action = updated(project_18, "customers", nulls, {"source_id": "ann", "metadata": {}})
    assert action["counts"] == {"created": 0, "updated": 0, "unchanged": 2}
    assert attributes(project_18) == FULL


def test_birthdate_wins_over_birthday(project_18: Project) -> None:
    updated(project_18, "customers", {"source_id": "ann", "birthday": "2000-01-01"})
    assert (customer(project_18)["birthdate"], customer(project_18)["birthday"]) == ("2000-01-01", "2000-01-01")
    updated(project_18, "customers", {"source_id": "ann", "birthday": "2001-01-01", "birthdate": "2002-01-01"})
    assert (customer(project_18)["birthdate"], customer(project_18)["birthday"]) == ("2002-01-01", "2001-01-01")


def test_of_one_source_id_the_records_are_applied_in_their_order(project_18: Project) -> None:
    action = updated(
        project_18, "customers",
        {"source_id": "ann", "name": "1", "metadata": {"a": 1}}, {"source_id": "bob"},
        {"source_id": "ann", "name": "2", "metadata": {"b": 2}},
        {"source_id": "ann", "email": "e", "metadata": {"a": 3}},
    )  # fmt: skip
    assert attributes(project_18) == {"source_id": "ann", "name": "2", "email": "e", "metadata": {"a": 3, "b": 2}}
    assert action["counts"] == {"created": 2, "updated": 2, "unchanged": 0}
    assert project_18.get("/v1/customers")["total"] == 2


def test_a_metadata_update_gives_the_keys_to_every_listed_customer(project: Project) -> None:
    updated(project, "customers", {"source_id": "ann", "name": "Ann", "metadata": {"a": 1, "b": 1}})
    action = finished(
        project, "customers/metadata", {"source_ids": ["new", "ann", "ann"], "metadata": {"b": 2, "big": 1e300}}
    )
    assert (action["type"], action["operation_status"]) == ("CUSTOMERS.METADATA_UPDATE", "SUCCESS")
    assert attributes(project)["metadata"] == {"a": 1, "b": 2, "big": 10**300}
    assert attributes(project, "new") == {"source_id": "new", "metadata": {"b": 2, "big": 10**300}}
    assert attributes(project)["name"] == "Ann"
    assert report(project, action) == [("new", False, True, None), ("ann", True, True, None), ("ann", True, True, None)]
    assert action["counts"] == {"created": 1, "updated": 1, "unchanged": 1}


def test_rows_that_do_not_change_are_neither_written_nor_locked(project_18: Project) -> None:
    hold_segments(project_18)
    updated(project_18, "customers", {"source_id": "ann", "metadata": {"a": 1.5}}, {"source_id": "bob"})
    inbox(project_18)
    query = "SELECT source_id, xmin::text FROM customers WHERE project_id = %(project)s ORDER BY source_id"
    before = rows(project_18, query)
    with session(project_18.deployment) as other, other.transaction():
        other.execute("SELECT FROM customers WHERE project_id = %s FOR UPDATE", [project_18.id])
        same = [{"source_id": "ann", "metadata": {"a": 1.5}}, {"source_id": "bob"}]
        action = finished(project_18, "customers/bulk", same)
        finished(project_18, "customers/metadata", {"source_ids": ["ann"], "metadata": {"a": 1.5}})
    assert action["counts"] == {"created": 0, "updated": 0, "unchanged": 2}
    assert rows(project_18, query) == before
    assert inbox(project_18) == []


def test_who_changes_is_placed_into_segments_again(project_18: Project) -> None:
    hold_segments(project_18)
    updated(project_18, "customers", {"source_id": "ann"}, {"source_id": "bob"})
    assert inbox(project_18) == [("ann", "customers.bulk_update"), ("bob", "customers.bulk_update")]
    finished(project_18, "customers/metadata", {"source_ids": ["ann", "cid"], "metadata": {"a": 1}})
    assert inbox(project_18) == [("ann", "customers.metadata_update"), ("cid", "customers.metadata_update")]
    updated(project_18, "customers", {"source_id": "ann", "name": "Ann"}, {"source_id": "bob"})
    assert inbox(project_18) == [("ann", "customers.bulk_update")]


def test_nothing_else_is_written(project_18: Project) -> None:
    """No events, and so no webhooks and nothing else that hangs on events."""
    hold_segments(project_18)

    def counts() -> dict[str, int]:
        tables = [row["relname"] for row in rows(project_18, "SELECT relname FROM pg_stat_user_tables")]
        return {name: rows(project_18, f"SELECT count(*) AS n FROM {name}")[0]["n"] for name in tables}

    before = counts()
    updated(project_18, "customers", FULL)
    finished(project_18, "customers/metadata", {"source_ids": ["ann", "bob"], "metadata": {"b": 1}})
    after = counts()
    written = {name for name, count in after.items() if count != before[name]}
    of_the_queue = {name for name in written if name.startswith(("async_action", "lane"))}
    assert written - of_the_queue == {"customers", "segment_inbox", "row_totals"}


def test_the_total_of_the_list_grows(project_18: Project) -> None:
    updated(project_18, "customers", *({"source_id": f"c{n}"} for n in range(5)))
    finished(project_18, "customers/metadata", {"source_ids": ["c4", "c5", "c6"], "metadata": {"a": 1}})
    assert project_18.get("/v1/customers")["total"] == 7


# ---- results and reports -----------------------------------------------------------------------


def test_the_result_and_the_report(project_18: Project) -> None:
    define(project_18, schema("customer", tier={"type": "string", "eq": ["gold"]}, age={"type": "number"}))
    updated(project_18, "customers", {"source_id": "ann"})
    wrong = {"tier": "tin", "age": "x"}
    records = [
        {"source_id": "ann", "name": "Ann"},
        {"source_id": "new", "metadata": {"tier": "gold"}},
        {"source_id": "ann", "name": "lost", "metadata": wrong},
        {"source_id": "nobody", "metadata": wrong},
    ]
    action = finished(project_18, "customers/bulk", records)
    details = (
        "age: must be a number (actual value is 'x'); tier: must be a string, must be equal to one of gold"
        " (actual value is 'tin')"
    )
    result = action["result"]
    failed = {"message": "Metadata validation failed", "key": "metadata_validation_failed", "details": details}
    assert (result["done_count"], result["failed_count"]) == (2, 2)
    assert result["errors"] == [{**failed, "source_id": "ann"}, {**failed, "source_id": "nobody"}]
    assert set(result) == {"done_count", "failed_count", "errors", "reports", "reports_available_till"}
    assert report(project_18, action) == [
        ("ann", True, True, None), ("new", False, True, None),
        ("ann", True, False, details), ("nobody", False, False, details),
    ]  # fmt: skip
    assert attributes(project_18) == {"source_id": "ann", "name": "Ann", "metadata": {}}
    project_18.get("/v1/customers/nobody", expect=404)
    listed = project_18.get(f"/v1/async-actions/{action['id']}/failures")["data"]
    assert [(failure["index"], failure["record"]) for failure in listed] == [(2, records[2]), (3, records[3])]


def test_required_metadata_is_asked_of_who_is_made(project_18: Project) -> None:
    updated(project_18, "customers", {"source_id": "ann"})
    define(project_18, schema("customer", tier={"type": "string", "optional": False}))
    action = finished(project_18, "customers/bulk", [{"source_id": "ann", "name": "Ann"}, {"source_id": "new"}])
    details = "tier: must be a string, property is required (actual value is missing)"
    assert [error["details"] for error in action["result"]["errors"]] == [details]
    assert report(project_18, action) == [("ann", True, True, None), ("new", False, False, details)]
    action = finished(project_18, "customers/metadata", {"source_ids": ["ann", "new"], "metadata": {"other": 1}})
    assert report(project_18, action) == [("ann", True, True, None), ("new", False, False, details)]
    failures = project_18.http.get(f"/v1/async-actions/{action['id']}/failures.jsonl").text
    assert failures == f'{{"import_failure":{{"index":1,"reason":"{details}"}},"source_id":"new"}}\n'


def test_where_all_fail_the_action_has_failed(project_18: Project) -> None:
    define(project_18, schema("customer", allow_defined_only=True))
    action = finished(project_18, "customers/metadata", {"source_ids": ["a", "b"], "metadata": {"x": 1}})
    assert (action["status"], action["operation_status"]) == ("DONE", "FAILED")
    assert action["result"]["failed_count"] == 2
    assert project_18.get("/v1/customers")["total"] == 0


# ---- beside other requests ---------------------------------------------------------------------


def test_an_import_and_an_update_of_the_same_customers(project_18: Project) -> None:
    """In the order in which they were accepted, each keeping what the other one says nothing about."""
    imported = [{"source_id": f"c{n % 3}", "name": "imported", "metadata": {"import": n}} for n in range(9)]
    orders = [
        {"source_id": f"o{n}", "status": "PAID", "amount": 100, "customer": person} for n, person in enumerate(imported)
    ]
    sent = [{"source_id": f"c{n}", "name": "updated", "email": "e", "metadata": {"update": n}} for n in range(4)]
    project_18.post_import(orders)
    send(project_18, "customers/bulk", sent)
    project_18.post_import([{"source_id": "last", "status": "PAID", "amount": 1, "customer": {"source_id": "c0"}}])
    action = finished(project_18, "customers/metadata", {"source_ids": ["c0", "c3"], "metadata": {"update": "m"}})
    assert action["result"]["failed_count"] == 0
    found = {n: customer(project_18, f"c{n}") for n in range(4)}
    assert [(found[n]["name"], found[n]["email"]) for n in range(4)] == [("updated", "e")] * 4
    assert [found[n]["metadata"] for n in range(4)] == [
        {"import": 6, "update": "m"}, {"import": 7, "update": 1}, {"import": 8, "update": 2}, {"update": "m"},
    ]  # fmt: skip
    revenue = [
        (found[n]["summary"]["orders"]["total_amount"], found[n]["summary"]["orders"]["total_count"]) for n in range(4)
    ]
    assert revenue == [(301, 4), (300, 3), (300, 3), (0, 0)]


def test_projects_do_not_see_each_other(deployment_18: Deployment, project_18: Project) -> None:
    other = deployment_18.new_project()
    try:
        updated(project_18, "customers", {"source_id": "ann", "name": "Mine"})
        updated(other, "customers", {"source_id": "ann", "name": "Theirs", "metadata": {"a": 1}})
        finished(other, "customers/metadata", {"source_ids": ["ann"], "metadata": {"a": 2}})
        assert attributes(project_18) == {"source_id": "ann", "name": "Mine", "metadata": {}}
        assert attributes(other) == {"source_id": "ann", "name": "Theirs", "metadata": {"a": 2}}
        assert project_18.get("/v1/customers")["total"] == other.get("/v1/customers")["total"] == 1
    finally:
        other.close()


def test_two_requests_at_the_same_time(project_18: Project) -> None:
    """Whichever is first: no change of either is lost."""
    ids = [f"c{n}" for n in range(50)]

    def update(name: str) -> Any:
        bodies = [{"source_id": source_id, "metadata": {name: 1, "last": name}} for source_id in ids]
        return finished(project_18, "customers/bulk", bodies)

    with ThreadPoolExecutor(2) as threads:
        actions = list(threads.map(update, ["a", "b"]))
    assert sorted(action["counts"]["created"] for action in actions) == [0, 50]
    last = max(actions, key=lambda action: action["created_at"])
    for source_id in ("c0", "c49"):
        metadata = attributes(project_18, source_id)["metadata"]
        assert (metadata["a"], metadata["b"]) == (1, 1)
        assert metadata["last"] in {"a", "b"}
    assert last["counts"]["updated"] in {0, 50}
    assert project_18.get("/v1/customers")["total"] == 50


@pytest.mark.parametrize("path", ["customers/bulk", "customers/metadata"])
def test_who_changes_meanwhile_keeps_it(project_18: Project, path: str) -> None:
    """Somebody else's change, committed while the portion waits for the row, is not overwritten."""
    updated(project_18, "customers", {"source_id": "ann", "metadata": {"a": 1}})
    bodies = {"customers/bulk": [{"source_id": "ann", "metadata": {"b": 2}}],
              "customers/metadata": {"source_ids": ["ann"], "metadata": {"b": 2}}}  # fmt: skip
    with session(project_18.deployment) as watch, session(project_18.deployment) as ours, ours.transaction():
        ours.execute("SELECT FROM customers WHERE project_id = %s FOR UPDATE", [project_18.id])
        action = send(project_18, path, bodies[path])["async_action_id"]
        query = "SELECT pid FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
        until(lambda: watch.execute(query, [ours.info.backend_pid]).fetchall())
        ours.execute(
            """UPDATE customers SET name = 'Theirs', metadata = '{"a": 7}' WHERE project_id = %s""", [project_18.id]
        )
    assert project_18.finished(action)["result"]["done_count"] == 1
    assert attributes(project_18) == {"source_id": "ann", "name": "Theirs", "metadata": {"a": 7, "b": 2}}


def test_who_is_made_by_somebody_else_meanwhile_is_updated(project_18: Project) -> None:
    with session(project_18.deployment) as watch, session(project_18.deployment) as ours, ours.transaction():
        ours.execute(
            "INSERT INTO customers (project_id, id, source_id, name, created_at)"
            " VALUES (%s, 'cust_theirs', 'ann', 'Theirs', clock_timestamp())", [project_18.id],
        )  # fmt: skip
        action = send(project_18, "customers/bulk", [{"source_id": "ann", "email": "e"}])["async_action_id"]
        query = "SELECT pid FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
        until(lambda: watch.execute(query, [ours.info.backend_pid]).fetchall())
    assert report(project_18, project_18.finished(action)) == [("ann", True, True, None)]
    found = customer(project_18)
    assert (found["id"], found["name"], found["email"]) == ("cust_theirs", "Theirs", "e")
