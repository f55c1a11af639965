"""`POST /v1/customers/{id}/permanent-deletion`: the personal data of a customer is in no table any more."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.bulk import csv_uploads
from tests.customers.test_deletion import order, strays, totals, waiting
from tests.customers.updating import finished, report
from tests.customers.writing import deleted, newest, post, put
from tests.db.tenants import rows_of
from tests.deployment import Deployment, Project, until
from tests.events.log import events_of
from tests.orders.stored import rows, session

# Values that are nowhere else, and that JSON can write in several ways.
ZOE: dict[str, Any] = {
    "source_id": "zoë/quaint", "name": "Zoë Quaintmarker", "email": "zoe.quaint@example.com", "phone": "555 0199 774",
    "description": "likes périwinkle", "birthdate": "1971-03-19", "metadata": {"nick": "Zoequill"},
    "address": {"city": "Quaintville", "line_1": "7 Marker Lane"},
}  # fmt: skip
PERSONAL = ["zoë/quaint", "zoe.quaint@", "Quaintmarker", "555 0199 774", "périwinkle", "1971-03-19", "Zoequill",
            "Quaintville", "7 Marker Lane"]  # fmt: skip
BOB: dict[str, Any] = {"source_id": "bob", "name": "Bob Other", "email": "bob@example.com"}


def forms(value: str) -> list[str]:
    """A value as a row shows it: as text, with JSON's escapes, and as bytes in hexadecimal."""
    texts = [value, msgspec.json.encode(value)[1:-1].decode(), value.encode("ascii", "backslashreplace").decode()]
    texts += [text.replace("\\xeb", "\\u00eb").replace("\\xe9", "\\u00e9") for text in texts]
    texts += [text.replace("/", "\\/") for text in texts]
    return [form for text in set(texts) for form in (text, text.encode().hex())]


def found_in(project: Project, values: list[str]) -> set[tuple[str, str]]:
    """Which values are in which tables, in any row of the project and in any of its columns."""
    found = set()
    for table, lines in rows_of(project).items():
        # a backslash is doubled where a row is shown as text
        shown = "\n".join(lines).replace("\\\\", "\\")
        found |= {(table, value) for value in values if any(form in shown for form in forms(value))}
    return found


def erased(project: Project, customer_id: str, *, expect: int = 200, key: str | None = None) -> Any:
    """Delete a customer permanently; the answer's JSON."""
    headers = {} if key is None else {"idempotency-key": key}
    path = f"/v1/customers/{customer_id.replace('/', '%2F')}/permanent-deletion"
    return project.call("POST", path, headers=headers, expect=expect)


def kept_payload(project: Project, action_id: str, records: list[bytes]) -> None:
    """Keep a payload as a server does that is told to."""
    with session(project.deployment) as conn:
        conn.execute(
            """INSERT INTO async_action_pieces (project_id, action_id, first_record, records, body)
               VALUES (%s, %s, 0, %s, %s)""",
            [project.id, action_id, len(records), b"[" + b",".join(records) + b"]"],
        )


def escaped(record: Any) -> bytes:
    """JSON as other clients write it: ASCII alone, and slashes escaped."""
    text = msgspec.json.encode(record).decode()
    return "".join(c if c.isascii() else f"\\u{ord(c):04X}" for c in text).replace("/", "\\/").encode()


# ---- the record --------------------------------------------------------------------------------


def test_the_answer_counts_what_went(project: Project) -> None:
    zoe = post(project, **ZOE)
    post(project, **BOB)
    project.imported(order("1", ZOE["source_id"]), order("2", ZOE["source_id"]), order("3", "bob"))
    put(project, zoe["id"], name="Zoë Quaintmarker-Smith")
    record = erased(project, "zoë/quaint")
    made_at, record_id = record.pop("created_at"), record.pop("id")
    assert record == {
        "related_object_id": zoe["id"], "related_object": "customer", "status": "DONE", "object": "pernament_deletion",
        "data_json": {
            "events": 0, "customer_events": 2, "daily_events": 0, "segments": 0, "orders": 2, "order_events": 0,
            "customer": 1,
        },
    }  # fmt: skip
    assert record_id.startswith("del_")
    [kept] = rows(project, "SELECT * FROM customer_deletions WHERE project_id = %(project)s")
    assert (kept["id"], kept["customer_id"]) == (record_id, zoe["id"])
    assert made_at.startswith(kept["created_at"].strftime("%Y-%m-%dT%H:%M:%S"))
    project.get(f"/v1/customers/{zoe['id']}", expect=404)
    assert totals(project) == (1, 1)
    event = newest(project)
    assert (event.type, event.customer_id) == ("customer.deleted", zoe["id"])
    assert event.data == {"customer": {"id": zoe["id"], "object": "customer"}}


def test_nobody_is_a_404(project_18: Project) -> None:
    error = erased(project_18, "nobody", expect=404)
    assert (error["key"], error["resource_type"]) == ("not_found", "customer")
    assert rows(project_18, "SELECT 1 FROM customer_deletions WHERE project_id = %(project)s") == []


def test_a_request_that_is_repeated_gets_its_answer(project_18: Project) -> None:
    post(project_18, **ZOE)
    record = erased(project_18, "zoë/quaint", key="k")
    assert erased(project_18, "zoë/quaint", key="k") == record
    erased(project_18, "zoë/quaint", key="another", expect=404)


def test_a_customer_of_another_project_stays(deployment_18: Deployment) -> None:
    ours, theirs = deployment_18.new_project(), deployment_18.new_project()
    made = post(ours, **ZOE)
    ours.import_orders([order("1", "zoë/quaint") | {"referrer_id": "cust_nobody"}])
    before = found_in(ours, PERSONAL)
    erased(theirs, made["id"], expect=404)
    post(theirs, **ZOE)
    erased(theirs, "zoë/quaint")
    assert found_in(theirs, PERSONAL) == set()
    assert found_in(ours, PERSONAL) == before
    assert ours.get(f"/v1/customers/{made['id']}") == made
    ours.close()
    theirs.close()


# ---- what is kept elsewhere --------------------------------------------------------------------


def busy(project: Project) -> tuple[str, list[Any]]:
    """A project that has the customer in everything that is kept; its id, and the actions."""
    # those that are told apart by their metadata alone, and fail: reasons quote it
    definition = {"type": "string", "array": False, "optional": True, "objectType": None, "exactLength": 8}
    with session(project.deployment) as conn:  # as `punchcard metadata-schemas` does, which takes seconds to start
        conn.execute(
            """INSERT INTO metadata_schemas (project_id, id, related_object, properties, created_at)
               VALUES (%s, 'ms_1', 'customer', %s, clock_timestamp())""",
            [project.id, Jsonb({"nick": definition})],
        )
    zoe = post(project, key="create-zoe", **ZOE)
    post(project, key="for zoe.quaint@example.com", id=zoe["id"], name="Zoë Quaintmarker")
    post(project, **BOB)
    paid = order("1", ZOE["source_id"]) | {"customer": ZOE}
    project.call("POST", "/v1/orders", json=paid, headers={"idempotency-key": "order-zoe"})
    project.call("PUT", "/v1/orders/1", json={"status": "FULFILLED"})
    referred = {"source_id": "2", "amount": 5, "status": "PAID", "customer": BOB, "referrer": ZOE}
    project.call("POST", "/v1/orders", json=referred, headers={"idempotency-key": "order-bob"})
    lost = {"referrer_id": "cust_nobody"}
    failing = [
        {"source_id": "f1", "customer": ZOE, **lost},
        {"source_id": "f2", "customer": {"source_id": "other", "email": ZOE["email"], "name": ZOE["name"]}, **lost},
        {"source_id": "f3", "customer": {"id": zoe["id"], "name": ZOE["name"], "metadata": {"nick": "Zoequill?"}}},
        {"source_id": "f4", "customer": BOB, "referrer": ZOE | {"metadata": {"nick": "Zoequill!"}}},
        {"source_id": "f5 zoe.quaint@example.com", "customer": BOB, **lost},
        {"source_id": "f6", "customer": {"source_id": ZOE["source_id"], "name": ZOE["name"]}, **lost},
        {"source_id": "f7", "customer": BOB, **lost},
    ]
    body = b"[" + b",".join([msgspec.json.encode(failing[0]), *map(escaped, failing[1:])]) + b"]"
    imported = project.finished(project.post_import(body))
    assert imported["result"]["failed_count"] == len(failing)
    updates = [ZOE, ZOE | {"metadata": {"nick": "Zoequill."}}, BOB, BOB | {"metadata": {"nick": "C"}}]
    updated = finished(project, "customers/bulk", b"[" + b",".join(map(escaped, updates)) + b"]")
    metadata = {"source_ids": [ZOE["source_id"]], "metadata": {"mail": ZOE["email"]}}
    marked = finished(project, "customers/metadata", metadata)
    file = (
        "Source_id,Name,Email,Birthdate\nzoë/quaint,Quaintmarker,,périwinkle\nelse,Zoequill,zoe.quaint@example.com,x\n"
    )
    assert csv_uploads.imported(project, "customers", file)["result"]["failed_count"] == 2
    # the customer was deleted before, and came back with another id
    post(project, **ZOE | {"source_id": "zoë/quaint before", "email": ZOE["email"]})
    deleted(project, "zoë%2Fquaint before")
    return zoe["id"], [imported, updated, marked]


def test_personal_data_is_in_no_table_any_more(project: Project) -> None:
    zoe, [imported, updated, _] = busy(project)
    kept_payload(project, imported["id"], [escaped({"customer": ZOE}), b'{"source_id": "f6"}', escaped(ZOE)])
    kept_payload(project, updated["id"], [escaped(ZOE), escaped(BOB)])
    tables = {table for table, _ in found_in(project, PERSONAL)}
    assert tables == {
        "customers", "events", "async_actions", "async_action_failures", "async_action_pieces", "async_action_reports",
        "idempotency_keys",
    }  # fmt: skip
    erased(project, zoe)
    # of a record without its ids nothing tells whose it is
    assert found_in(project, PERSONAL) == set()
    # what is Bob's stays
    failures = project.get(f"/v1/async-actions/{imported['id']}/failures")
    *gone, last = failures["data"]
    assert [failure["record"] for failure in gone] == [{}] * 6
    assert {failure["reason"] for failure in gone} == {"Erased with its customer"}
    assert (last["source_id"], last["record"]["customer"]["name"]) == ("f7", "Bob Other")
    assert "cust_nobody" in last["reason"]
    assert report(project, project.get(f"/v1/async-actions/{updated['id']}")) == [
        (None, True, True, None), (None, True, False, None), ("bob", True, True, None),
        ("bob", True, False, "nick: must be a string, must have exactly 8 characters (actual value is 'C')"),
    ]  # fmt: skip
    result = project.get(f"/v1/async-actions/{updated['id']}")["result"]
    assert [error["source_id"] for error in result["errors"]] == [None, "bob"]
    assert strays(project) == []


def test_the_files_of_failures_and_reports_can_be_downloaded(project_18: Project) -> None:
    zoe, [imported, updated, _] = busy(project_18)
    erased(project_18, zoe)
    lines = project_18.http.get(f"/v1/async-actions/{imported['id']}/failures.jsonl").content.splitlines()
    # an erased record is none that could be corrected and sent again
    [line] = [msgspec.json.decode(line) for line in lines]
    assert (line["source_id"], line["import_failure"]["index"]) == ("f7", 6)
    for link in project_18.get(f"/v1/async-actions/{updated['id']}")["result"]["reports"]:
        assert project_18.http.get(link).status_code == 200


def test_events_about_others_show_nothing_but_its_id(project: Project) -> None:
    zoe, _ = busy(project)
    erased(project, zoe)
    bob = project.get("/v1/customers/bob")["id"]
    [event] = [event for event in events_of(project) if event.type == "customer.order.created"]
    assert (event.customer_id, event.referrer_id) == (bob, None)
    assert event.data["referrer"] == {"id": zoe, "object": "customer"}
    assert event.data["customer"]["name"] == "Bob Other"
    assert project.get("/v1/orders/2")["referrer_id"] is None


def test_repeats_of_requests_about_it_take_no_effect(project_18: Project) -> None:
    zoe, _ = busy(project_18)
    erased(project_18, zoe)
    assert post(project_18, key="create-zoe", **ZOE) == {"id": zoe, "object": "customer"}
    paid = order("1", ZOE["source_id"]) | {"customer": ZOE}
    repeated = project_18.call("POST", "/v1/orders", json=paid, headers={"idempotency-key": "order-zoe"})
    assert set(repeated) == {"id", "object"}
    assert project_18.get("/v1/customers")["total"] == 1


def test_what_comes_while_everything_is_searched_is_erased_too(
    project_18: Project, holding: psycopg.Connection[Any]
) -> None:
    zoe = post(project_18, **ZOE)
    key = [project_18.id, zoe["id"]]
    holding.execute("SELECT 1 FROM customers WHERE project_id = %s AND id = %s FOR NO KEY UPDATE", key)
    with ThreadPoolExecutor(1) as pool:
        erasing = pool.submit(erased, project_18, zoe["id"])
        until(lambda: waiting(project_18))  # all was searched: it waits for the customer
        result = project_18.import_orders([{"customer": ZOE, "referrer_id": "cust_nobody"}])
        assert result["failed_count"] == 1
        holding.commit()
        erasing.result()
    assert found_in(project_18, PERSONAL) == set()


def test_a_customer_that_changes_meanwhile_is_searched_by_what_it_is_then(
    project_18: Project, holding: psycopg.Connection[Any]
) -> None:
    zoe = post(project_18, source_id="zoe")
    failing = {"customer": {"email": ZOE["email"], "name": ZOE["name"]}, "referrer_id": "cust_nobody"}
    project_18.import_orders([failing])
    with session(project_18.deployment) as conn:  # long ago
        conn.execute(
            "UPDATE async_actions SET finished_at = finished_at - interval '1 day' WHERE project_id = %s",
            [project_18.id],
        )
    key = [project_18.id, zoe["id"]]
    holding.execute("UPDATE customers SET email = %s WHERE project_id = %s AND id = %s", [ZOE["email"], *key])
    with ThreadPoolExecutor(1) as pool:
        erasing = pool.submit(erased, project_18, "zoe")
        until(lambda: waiting(project_18))
        holding.commit()
        erasing.result()
    assert found_in(project_18, PERSONAL) == set()


# ---- who is meant ------------------------------------------------------------------------------

SHORT: dict[str, Any] = {"source_id": "1", "name": "Quaintmarker", "email": "7"}


@pytest.mark.parametrize(
    "record",
    [
        {"source_id": "1", "customer": {"source_id": "2"}},
        {"customer": {"source_id": "11", "email": "77"}, "items": [{"source_id": "1", "quantity": 1}]},
        {"customer": {"source_id": "2"}, "metadata": {"source_id": "1"}},
    ],
)
def test_records_of_others_stay(project_18: Project, record: dict[str, Any]) -> None:
    post(project_18, **SHORT)
    sent = record | {"referrer_id": "cust_nobody"}
    action = project_18.post_import([sent, {"customer": SHORT, "referrer_id": "cust_nobody"}])
    assert project_18.finished(action)["result"]["failed_count"] == 2
    erased(project_18, "1")
    others, own = project_18.get(f"/v1/async-actions/{action}/failures")["data"]
    assert others["record"] == sent
    assert own["record"] == {}
