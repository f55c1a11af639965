"""`DELETE /v1/customers/{id}`: what goes with a customer, what stays, and what happens at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.customers.writing import FULL, deleted, history, newest, post, put
from tests.deployment import Deployment, Project, until
from tests.events.log import events_of
from tests.orders.stored import rows, session


def order(source_id: str, customer: str | None, *, referrer: str | None = None, amount: int = 100) -> dict[str, Any]:
    """A paid order of a customer, as an import has it."""
    people = {"customer": customer, "referrer": referrer}
    named = {role: {"source_id": source} for role, source in people.items() if source is not None}
    return {"source_id": source_id, "status": "PAID", "amount": amount, **named}


def totals(project: Project) -> tuple[int, int]:
    """How many customers and orders the project's lists count."""
    return project.get("/v1/customers")["total"], project.get("/v1/orders")["total"]


def strays(project: Project) -> list[Any]:
    """Orders that point to a customer that is not there, and customers whose summary is not that of their orders."""
    return rows(
        project,
        """SELECT o.id FROM orders AS o
            WHERE o.project_id = %(project)s
              AND EXISTS (SELECT FROM unnest(ARRAY[o.customer_id, o.referrer_id]) AS p (id)
                           WHERE p.id IS NOT NULL
                             AND NOT EXISTS (SELECT FROM customers AS c
                                              WHERE c.project_id = %(project)s AND c.id = p.id))
            UNION ALL
           SELECT c.id FROM customers AS c
             LEFT JOIN (SELECT customer_id, count(*) AS number, sum(total_amount)::bigint AS amount FROM orders
                         WHERE project_id = %(project)s AND status IN ('PAID', 'FULFILLED')
                         GROUP BY customer_id) AS o ON o.customer_id = c.id
            WHERE c.project_id = %(project)s
              AND (c.orders_total_count, c.orders_total_amount)
                  IS DISTINCT FROM (coalesce(o.number, 0), coalesce(o.amount, 0))""",
    )


@pytest.mark.parametrize("name", ["id", "source_id"])
def test_a_deleted_customer_is_gone(project: Project, name: str) -> None:
    ann = post(project, **FULL)
    deleted(project, ann[name])
    for customer_id in (ann["id"], "ann"):
        assert project.get(f"/v1/customers/{customer_id}", expect=404)["resource_type"] == "customer"
        assert put(project, customer_id, name="Ann", expect=404)["key"] == "not_found"
        assert project.http.delete(f"/v1/customers/{customer_id}").status_code == 404
    assert totals(project) == (0, 0)
    assert post(project, **FULL)["id"] != ann["id"]


def test_only_the_event_that_says_so_is_left(project: Project) -> None:
    ann = post(project, **FULL)
    post(project, source_id="bob")
    ann = put(project, "ann", name="Bea")
    deleted(project, "ann")
    event = newest(project)
    assert (event.type, event.data) == ("customer.deleted", {"customer": ann})
    assert event.object_id == event.customer_id == ann["id"]
    assert history(project) == [("customer.created", "bob"), ("customer.deleted", "ann")]


def test_events_of_others_show_no_more_of_a_referrer_than_its_id(project: Project) -> None:
    """Also once it is there again, under another id: nobody could tell then whose e-mail address that is."""
    referrer = {"source_id": "pdr", "email": "pdr@mail.test"}
    made = project.call("POST", "/v1/orders", json={"customer": {"source_id": "bob"}, "referrer": referrer})
    deleted(project, "pdr")
    data = [event.data for event in events_of(project) if event.type == "customer.order.created"]
    assert [shown["referrer"] for shown in data] == [{"id": made["referrer_id"], "object": "customer"}]
    others = [event.data for event in events_of(project) if event.type != "customer.deleted"]
    assert "pdr" not in str(others)


def test_its_orders_go_and_those_of_others_stay(project: Project) -> None:
    project.imported(
        order("1", "ann"), order("2", "ann", referrer="bob"), order("3", "bob", referrer="ann"),
        order("4", None, referrer="ann"), order("5", "bob"),
    )  # fmt: skip
    before = {found["source_id"]: found for found in project.all_orders()}
    deleted(project, "ann")
    after = {found["source_id"]: found for found in project.all_orders()}
    assert set(after) == {"3", "4", "5"}
    assert totals(project) == (1, 3)
    for source_id in ("3", "4"):
        assert before[source_id]["referrer_id"] is not None
        assert after[source_id]["referrer_id"] is None
    assert after["3"]["customer_id"] == before["3"]["customer_id"]
    assert after["5"] == before["5"]
    assert project.get("/v1/customers/bob")["summary"]["orders"]["total_count"] == 2
    assert strays(project) == []


def test_orders_of_requests_and_their_events_go(project: Project) -> None:
    for source_id, customer in (("1", "ann"), ("2", "bob")):
        project.call("POST", "/v1/orders", json=order(source_id, customer))
    project.call("PUT", "/v1/orders/1", json={"status": "FULFILLED"})
    deleted(project, "ann")
    left = {event.customer_id for event in events_of(project) if event.type != "customer.deleted"}
    assert left == {project.get("/v1/customers/bob")["id"]}
    assert totals(project) == (1, 1)


def test_vouchers_lose_their_holder(project: Project) -> None:
    ann, bob = post(project, source_id="ann")["id"], post(project, source_id="bob")["id"]
    holders = {"a": ann, "binned": ann, "b": bob}
    for code, holder in holders.items():
        project.call("POST", f"/v1/vouchers/{code}", json={"gift": {"amount": 1, "balance": 1}})
        with session(project.deployment) as conn:  # nothing in the API gives a voucher a holder yet
            conn.execute(
                "UPDATE vouchers SET holder_id = %s WHERE project_id = %s AND code = %s", [holder, project.id, code]
            )
    assert project.http.delete("/v1/vouchers/binned").status_code == 204
    deleted(project, "ann")
    found = rows(project, "SELECT code, holder_id FROM vouchers WHERE project_id = %(project)s")
    assert {row["code"]: row["holder_id"] for row in found} == {"a": None, "binned": None, "b": bob}


def test_customers_of_another_project_stay(deployment_18: Deployment) -> None:
    ours, theirs = deployment_18.new_project(), deployment_18.new_project()
    made = post(ours, **FULL)
    post(theirs, source_id="ann")
    assert theirs.http.delete(f"/v1/customers/{made['id']}").status_code == 404
    deleted(theirs, "ann")
    assert project_is_as_it_was(ours, made)
    ours.close()
    theirs.close()


def project_is_as_it_was(project: Project, customer: Any) -> bool:
    """Whether the project has this customer, and nothing happened but that it was created."""
    return bool(project.get("/v1/customers/ann") == customer and history(project) == [("customer.created", "ann")])


# ---- at the same time --------------------------------------------------------------------------


def waiting(project: Project) -> bool:
    """Whether a session waits for a lock of another."""
    with session(project.deployment) as conn:
        found = conn.execute("SELECT 1 FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0").fetchone()
    return found is not None


def test_an_import_that_was_planned_with_a_deleted_customer_makes_another(
    project_18: Project, holding: psycopg.Connection[Any]
) -> None:
    project_18.imported(order("1", "ann"))
    ann = project_18.get("/v1/customers/ann")
    # the import has planned, and waits for the customer
    holding.execute("SELECT 1 FROM customers WHERE project_id = %s AND id = %s FOR UPDATE", [project_18.id, ann["id"]])
    action = project_18.post_import([order("1", "ann", amount=7), order("2", "ann")])
    until(lambda: waiting(project_18))
    # what a deletion does, held until now
    holding.execute("DELETE FROM orders WHERE project_id = %s AND customer_id = %s", [project_18.id, ann["id"]])
    holding.execute("DELETE FROM customers WHERE project_id = %s AND id = %s", [project_18.id, ann["id"]])
    holding.commit()
    assert project_18.finished(action)["result"]["failed_count"] == 0
    again = project_18.get("/v1/customers/ann")
    assert again["id"] != ann["id"]
    assert again["summary"]["orders"]["total_amount"] == 107
    assert {found["customer_id"] for found in project_18.all_orders()} == {again["id"]}
    assert strays(project_18) == []


@pytest.mark.parametrize("change", ["put", "post"])
def test_a_change_of_a_customer_that_is_deleted_meanwhile(
    project_18: Project, holding: psycopg.Connection[Any], change: str
) -> None:
    ann = post(project_18, source_id="ann")
    key = [project_18.id, ann["id"]]
    holding.execute("SELECT 1 FROM customers WHERE project_id = %s AND id = %s FOR UPDATE", key)
    with ThreadPoolExecutor(1) as pool:
        if change == "put":
            changing = pool.submit(put, project_18, "ann", name="Ann", expect=404)
        else:
            changing = pool.submit(post, project_18, source_id="ann", name="Ann")
        until(lambda: waiting(project_18))
        holding.execute("DELETE FROM customers WHERE project_id = %s AND id = %s", key)
        holding.commit()
        answer = changing.result()
    # one that is put is not there, one that is posted is another
    assert (answer.get("key"), answer.get("id") == ann["id"]) == ("not_found" if change == "put" else None, False)
    assert (
        rows(project_18, "SELECT 1 FROM customers WHERE project_id = %(project)s AND id = %(id)s", id=ann["id"]) == []
    )


def test_a_deletion_waits_for_who_writes_orders_and_takes_them_too(
    project_18: Project, holding: psycopg.Connection[Any]
) -> None:
    project_18.imported(order("1", "ann"))
    ann = project_18.get("/v1/customers/ann")
    holding.execute(
        "SELECT 1 FROM customers WHERE project_id = %s AND id = %s FOR NO KEY UPDATE", [project_18.id, ann["id"]]
    )
    with ThreadPoolExecutor(1) as pool:
        deleting = pool.submit(deleted, project_18, "ann")
        until(lambda: waiting(project_18))
        holding.execute(
            """INSERT INTO orders (project_id, id, source_id, status, customer_id, amount, total_amount, created_at)
               SELECT project_id, 'ord_late', '2', status, customer_id, amount, total_amount, clock_timestamp()
                 FROM orders WHERE project_id = %s""",
            [project_18.id],
        )
        holding.commit()
        deleting.result()
    assert list(project_18.all_orders()) == []


def test_deleting_while_imports_and_requests_name_the_customers(project: Project) -> None:
    people = ["ann", "bob", "cleo"]
    stop = threading.Event()

    def import_again(start: int) -> None:
        for no in range(start, start + 6):
            result = project.import_orders([
                order(f"{start}-{no}-{n}", people[n % 3], referrer=people[(n + no) % 3]) for n in range(60)
            ])  # fmt: skip
            assert result["failed_count"] == 0, result

    def delete_again() -> None:
        while not stop.is_set():
            for person in people:
                status = project.http.delete(f"/v1/customers/{person}").status_code
                assert status in {204, 404}, status

    def write_again() -> None:
        no = 0
        while not stop.is_set():
            post(project, source_id=people[no % 3], metadata={"no": no})
            no += 1

    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(delete_again), pool.submit(write_again)]
        importing = pool.submit(import_again, 0)
        try:
            importing.result()
        finally:
            stop.set()
        for other in others:
            other.result()
    assert strays(project) == []
    counted = rows(
        project,
        """SELECT (SELECT count(*) FROM customers WHERE project_id = %(project)s) AS customers,
                  (SELECT count(*) FROM orders WHERE project_id = %(project)s) AS orders""",
    )[0]
    assert totals(project) == (counted["customers"], counted["orders"])
    # every customer that is not there any more has one event, and every one that is has been created once
    kinds = [event.type for event in events_of(project)]
    assert kinds.count("customer.deleted") == len({e.customer_id for e in events_of(project)} - present(project))


def present(project: Project) -> set[str]:
    """The ids of the customers that are there."""
    return {row["id"] for row in rows(project, "SELECT id FROM customers WHERE project_id = %(project)s")}
