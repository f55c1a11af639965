"""Rows that others change between a portion's plan and its writes: it plans again, and nobody's change is lost."""

import threading
from typing import Any

import pytest

from tests.deployment import Project, until
from tests.orders.stored import rows, session


def imported_while(project: Project, orders: Any, *, hold: str, then: str, rolled_back: bool = False) -> Any:
    """Import `orders` while another session holds what `hold` locks; when the portion waits for it, that session
    does `then` and commits. The result of the import."""
    parameters = {"project": project.id}
    with (
        session(project.deployment) as watch,
        session(project.deployment) as ours,
        ours.transaction(force_rollback=rolled_back),
    ):
        ours.execute(hold.encode(), parameters)
        action = project.post_import(orders)
        query = "SELECT pid FROM pg_stat_activity WHERE %(pid)s = ANY(pg_blocking_pids(pid))"
        until(lambda: watch.execute(query, {"pid": ours.info.backend_pid}).fetchall())
        if then:
            ours.execute(then.encode(), parameters)
    return project.finished(action)["result"]


def lock(table: str) -> str:
    return f"SELECT FROM {table} WHERE project_id = %(project)s FOR UPDATE"


def change(table: str, what: str) -> str:
    return f"UPDATE {table} SET {what} WHERE project_id = %(project)s"


ORDER = {"source_id": "o", "status": "PAID", "amount": 100, "customer": {"source_id": "c"}}


# ---- rows that change --------------------------------------------------------------------------


def test_a_customer_that_changed(project: Project) -> None:
    project.imported({"customer": {"source_id": "c", "name": "Before"}})
    result = imported_while(
        project,
        [{**ORDER, "customer": {"source_id": "c", "email": "c@x"}}],
        hold=lock("customers"),
        then=change("customers", "name = 'Meanwhile', orders_total_amount = 1000, orders_total_count = 1"),
    )
    assert (result["created_count"], result["failed_count"]) == (1, 0)
    customer = project.get("/v1/customers/c")
    assert (customer["name"], customer["email"]) == ("Meanwhile", "c@x")
    orders = customer["summary"]["orders"]
    assert (orders["total_amount"], orders["total_count"], orders["last_order_amount"]) == (1100, 2, 100)


def test_a_product_that_changed(project: Project) -> None:
    project.imported({"items": [{"source_id": "p", "product": {"override": True, "price": 5}}]})
    sent = {"source_id": "o", "items": [{"source_id": "p", "product": {"override": True, "name": "Sent"}}]}
    imported_while(project, [sent], hold=lock("products"), then=change("products", "price = 50, name = 'Meanwhile'"))
    product = project.get("/v1/products/p")
    assert (product["price"], product["name"]) == (50, "Sent")
    assert project.get("/v1/orders/o")["amount"] == 50


def test_a_sku_that_changed(project: Project) -> None:
    made = {"product": {"source_id": "p", "override": True}, "sku": {"source_id": "s", "override": True, "price": 5}}
    project.imported({"items": [made]})
    sent = {"source_id": "o", "items": [{"sku": {"source_id": "s", "override": True, "sku": "Sent"}}]}
    imported_while(project, [sent], hold=lock("skus"), then=change("skus", "price = 50"))
    assert (project.get("/v1/skus/s")["price"], project.get("/v1/orders/o")["amount"]) == (50, 50)


def test_an_order_that_changed(project: Project) -> None:
    project.imported(ORDER, {**ORDER, "source_id": "other", "amount": 7})
    cancel = (
        "WITH o AS (UPDATE orders SET status = 'CANCELED' WHERE project_id = %(project)s AND source_id = 'o')"
        " UPDATE customers SET orders_total_amount = 7, orders_total_count = 1 WHERE project_id = %(project)s"
    )
    result = imported_while(
        project, [{"source_id": "o", "metadata": {"x": 1}}, {"source_id": "o", "amount": 90}], hold=lock("orders"),
        then=cancel,
    )  # fmt: skip
    assert result["updated_count"] == 2
    order = project.get("/v1/orders/o")
    assert (order["status"], order["amount"], order["metadata"]) == ("CANCELED", 90, {"x": 1})
    summary = project.get("/v1/customers/c")["summary"]["orders"]
    assert (summary["total_amount"], summary["total_count"]) == (7, 1)


# ---- rows that are deleted ---------------------------------------------------------------------

DELETE_CUSTOMERS = "DELETE FROM customers WHERE project_id = %(project)s"


def test_a_customer_that_was_deleted_is_made_again_or_missed(project: Project) -> None:
    project.imported({"customer": {"source_id": "c", "name": "Before"}})
    before = project.get("/v1/customers/c")["id"]
    result = imported_while(
        project, [ORDER, {"source_id": "p", "customer": {"id": before}}], hold=lock("customers"), then=DELETE_CUSTOMERS
    )
    assert [failure["reason"] for failure in result["failed"]] == [f"Cannot find customer with id {before}"]
    after = project.get("/v1/customers/c")
    assert after["id"] != before
    assert "name" not in after
    assert after["summary"]["orders"]["total_amount"] == 100


def test_orders_of_a_customer_that_is_gone_can_be_changed(project: Project) -> None:
    project.imported(ORDER, {**ORDER, "source_id": "p"}, {"source_id": "q", "referrer": {"source_id": "c"}})
    rows(project, DELETE_CUSTOMERS + " RETURNING id")
    result = project.import_orders([
        {"source_id": "o", "status": "CANCELED"},
        {"source_id": "p", "customer": {"source_id": "d"}},
        {"source_id": "q", "amount": 4},
        {"source_id": "o", "status": "PAID"},
    ])  # fmt: skip
    assert (result["updated_count"], result["failed_count"]) == (4, 0)
    assert project.get("/v1/customers/d")["summary"]["orders"]["total_amount"] == 100
    project.get("/v1/customers/c", expect=404)


# ---- rows that are made by two -----------------------------------------------------------------

INSERTS = {
    "customers": "INSERT INTO customers (project_id, id, source_id, created_at, name)"
    " VALUES (%(project)s, 'cust_theirs', 'c', clock_timestamp(), 'Theirs')",
    "products": "INSERT INTO products (project_id, id, source_id, created_at, price)"
    " VALUES (%(project)s, 'prod_theirs', 'p', clock_timestamp(), 9)",
    "skus": "INSERT INTO skus (project_id, id, source_id, product_id, created_at, price)"
    " VALUES (%(project)s, 'sku_theirs', 's', 'prod_theirs', clock_timestamp(), 9)",
    "orders": "INSERT INTO orders (project_id, id, source_id, status, amount, total_amount, metadata, created_at)"
    """ VALUES (%(project)s, 'ord_theirs', 'o', 'PAID', 9, 9, '{"theirs": 1}', clock_timestamp())""",
}
WHOLE = {
    **ORDER,
    "metadata": {"ours": 1},
    "items": [
        {"source_id": "s", "related_object": "sku", "product": {"source_id": "p", "override": True, "name": "Ours"},
         "sku": {"override": True, "sku": "Ours"}}
    ],
}  # fmt: skip


@pytest.mark.parametrize("table", [*INSERTS])
def test_a_source_id_that_somebody_else_took_meanwhile(project: Project, table: str) -> None:
    others = [{"source_id": f"other-{n}", "amount": n} for n in range(50)]
    orders = [*others, WHOLE]
    result = imported_while(project, orders, hold=INSERTS[table], then="")
    assert (result["done_count"], result["failed_count"]) == (51, 0)
    assert result["updated_count"] == (table == "orders")
    assert len(list(project.all_orders())) == 51
    order = project.get("/v1/orders/o")
    customer = project.get("/v1/customers/c")
    sku = project.get("/v1/skus/s")
    assert order["customer_id"] == customer["id"]
    assert order["items"][0]["sku_id"] == sku["id"]
    assert sku["sku"] == "Ours"
    assert customer["summary"]["orders"]["total_count"] == 1
    match table:
        case "customers":
            assert (customer["id"], customer["name"]) == ("cust_theirs", "Theirs")
        case "products":
            product = project.get("/v1/products/p")
            assert (product["id"], product["name"], product["price"]) == ("prod_theirs", "Ours", 9)
            assert order["amount"] == 9
        case "skus":
            assert (sku["id"], sku["price"], order["amount"]) == ("sku_theirs", 9, 9)
        case "orders":
            assert (order["id"], order["metadata"]) == ("ord_theirs", {"theirs": 1, "ours": 1})


def test_a_source_id_that_somebody_else_gave_up_again(project: Project) -> None:
    result = imported_while(project, [WHOLE], hold=INSERTS["customers"], then="", rolled_back=True)
    assert (result["created_count"], result["failed_count"]) == (1, 0)
    assert "name" not in project.get("/v1/customers/c")


def test_a_customer_that_somebody_writes_all_the_time(project_18: Project) -> None:
    project_18.imported({"customer": {"source_id": "guest"}})
    done = threading.Event()

    def write() -> None:
        with session(project_18.deployment) as other:
            while not done.is_set():
                other.execute(
                    "UPDATE customers SET description = gen_random_uuid() WHERE project_id = %s", (project_18.id,)
                )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        orders = [
            {"source_id": f"o-{n}", "status": "PAID", "amount": 1, "customer": {"source_id": "guest"}}
            for n in range(2000)
        ]
        result = project_18.finished(project_18.post_import(orders), seconds=60)["result"]
    finally:
        done.set()
        writer.join()
    assert (result["created_count"], result["failed_count"]) == (2000, 0)
    assert project_18.get("/v1/customers/guest")["summary"]["orders"]["total_count"] == 2000


def test_two_sessions_that_lock_in_opposite_order(project: Project) -> None:
    """A deadlock is resolved by PostgreSQL and repeated by us; nobody hears of it."""
    project.imported(*({"customer": {"source_id": name}} for name in "ab"))
    first, second = sorted(project.get(f"/v1/customers/{name}")["id"] for name in "ab")
    hold = f"SELECT FROM customers WHERE project_id = %(project)s AND id = '{second}' FOR UPDATE"
    then = f"SELECT set_config('deadlock_timeout', '8s', true) FROM customers WHERE id = '{first}' FOR UPDATE"
    orders = [{**ORDER, "source_id": name, "customer": {"source_id": name}} for name in "ab"]
    result = imported_while(project, orders, hold=hold, then=then)
    assert (result["created_count"], result["failed_count"]) == (2, 0)
    assert project.get("/v1/customers/a")["summary"]["orders"]["total_count"] == 1
