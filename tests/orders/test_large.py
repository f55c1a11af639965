"""Requests at the edge of what may be sent."""

import time
from typing import Any

from tests.deployment import Project
from tests.orders.lineage import hold_segments
from tests.orders.stored import inbox, rows

ORDERS_MAX, ITEMS_MAX = 2000, 500


def order(n: int, **fields: Any) -> Any:
    items = [{"source_id": f"p{(n + m) % 100}", "quantity": m + 1, "price": n} for m in range(5)]
    return {"source_id": f"o{n}", "status": "PAID", "customer": {"source_id": f"c{n % 300}"}, "items": items, **fields}


def test_orders_of_as_many_items_as_may_be(project_18: Project) -> None:
    product = {"name": "N" * 40}
    items = [
        {"source_id": f"item-{m}", "related_object": "product", "quantity": 2, "price": m, "product": product}
        for m in range(ITEMS_MAX)
    ]
    project_18.imported(*({"source_id": f"o{n}", "items": items} for n in range(60)))
    orders = list(project_18.all_orders())
    assert [len(order["items"]) for order in orders] == [ITEMS_MAX] * 60
    assert {order["amount"] for order in orders} == {ITEMS_MAX * (ITEMS_MAX - 1)}


def test_an_order_that_makes_as_many_products_as_it_may(project: Project) -> None:
    items = [
        {"source_id": f"s{m}", "related_object": "sku", "sku": {"override": True, "price": m},
         "product": {"source_id": f"p{m}", "override": True, "name": f"Name {m}"}}
        for m in range(ITEMS_MAX)
    ]  # fmt: skip
    project.imported({"source_id": "o", "items": items})
    assert project.get("/v1/orders/o")["amount"] == sum(range(ITEMS_MAX))
    for table in ("products", "skus"):
        [found] = rows(project, f"SELECT count(*) AS n FROM {table} WHERE project_id = %(project)s")
        assert found["n"] == ITEMS_MAX
    assert project.get("/v1/skus/s499")["product_id"] == project.get("/v1/products/p499")["id"]
    assert project.import_orders([{"source_id": "o", "items": items}])["unchanged_count"] == 1


def test_as_many_orders_as_may_be_of_one_customer(project: Project) -> None:
    hold_segments(project)
    customer = {"source_id": "c"}
    orders = [{"source_id": f"o{n}", "status": "PAID", "amount": n, "customer": customer} for n in range(ORDERS_MAX)]
    project.imported(*orders)
    summary = project.get("/v1/customers/c")["summary"]["orders"]
    assert (summary["total_amount"], summary["total_count"]) == (sum(range(ORDERS_MAX)), ORDERS_MAX)
    assert summary["last_order_amount"] == ORDERS_MAX - 1
    assert set(inbox(project)) == {"c"}
    project.imported(*({"source_id": f"o{n}", "status": "CANCELED"} for n in range(1, ORDERS_MAX)))
    summary = project.get("/v1/customers/c")["summary"]["orders"]
    assert (summary["total_amount"], summary["total_count"], summary["last_order_amount"]) == (0, 1, 0)


def test_failing_costs_no_more_than_going_in(project_18: Project) -> None:
    """Of three tries of each: the machine is slow now and then."""

    def seconds(orders: Any) -> float:
        started = time.perf_counter()
        result = project_18.import_orders(orders)
        assert result["done_count" if result["failed_count"] == 0 else "failed_count"] == ORDERS_MAX
        return time.perf_counter() - started

    going_in, failing = [], []
    for attempt in range(3):
        numbers = range(attempt * ORDERS_MAX, (attempt + 1) * ORDERS_MAX)
        going_in.append(seconds([order(n) for n in numbers]))
        failing.append(seconds([order(n, source_id=f"bad{n}", referrer_id=f"cust_{n}") for n in numbers]))
    assert min(failing) < 1.5 * min(going_in) + 0.5
    assert project_18.get("/v1/orders")["total"] == 3 * ORDERS_MAX
