"""An order that fails leaves nothing behind: no row, no change of one, no trace in what comes after it."""

import contextlib
import re
from typing import Any

import pytest

from tests.deployment import Project
from tests.orders.cases import Catalogue, Row
from tests.orders.lineage import hold_segments
from tests.orders.stored import inbox, rows

TABLES = ("orders", "customers", "products", "skus")
BAD_ITEM = {"product_id": "prod_no"}
WHOLE = {
    "source_id": "o", "status": "PAID", "amount": 5, "discount_amount": 1, "metadata": {"a": 1},
    "customer": {"source_id": "c", "name": "C", "metadata": {"a": 1}},
    "referrer": {"source_id": "r", "name": "R"},
    "items": [
        {"product": {"source_id": "p", "override": True, "name": "P", "price": 1},
         "sku": {"source_id": "s", "override": True, "sku": "S", "price": 2}},
    ],
}  # fmt: skip


def failing(order: Row, **fields: Any) -> Row:
    """The order with an item that fails it after everything else was done."""
    return {**order, **fields, "items": [*order["items"], BAD_ITEM]}


def held(project: Project) -> dict[str, Any]:
    """Every row of the project, as it is stored."""
    return {
        table: rows(project, f"SELECT t.*, t.xmin::text FROM {table} AS t WHERE project_id = %(project)s ORDER BY id")
        for table in TABLES
    }


def failed_indexes(project: Project, *orders: Row) -> list[int]:
    return [failure["index"] for failure in project.import_orders(list(orders))["failed"]]


def test_nothing_new_is_made(project: Project) -> None:
    hold_segments(project)
    assert failed_indexes(project, failing(WHOLE), failing({**WHOLE, "id": "ord_1", "source_id": None})) == [0, 1]
    assert held(project) == {table: [] for table in TABLES}
    assert inbox(project) == []
    project.get("/v1/orders/ord_1", expect=404)


def test_nothing_that_exists_is_changed(project: Project) -> None:
    hold_segments(project)
    project.imported(WHOLE)
    before, read = held(project), project.get("/v1/orders/o")
    inbox(project)
    change = {
        "source_id": "o", "status": "CANCELED", "metadata": {"a": 2}, "discount_amount": 2,
        "customer": {"source_id": "c", "name": "Changed", "metadata": {"b": 1}},
        "referrer": {"source_id": "c", "email": "changed@x"},
        "items": [
            {"product": {"source_id": "p", "override": True, "name": "Changed", "price": 9, "metadata": {"x": 1}},
             "sku": {"source_id": "s", "override": True, "sku": "Changed", "price": 9}},
            {"product": {"source_id": "p2", "override": True}, "sku": {"source_id": "s2", "override": True}},
        ],
    }  # fmt: skip
    by_id = {**change, "id": read["id"], "source_id": "renamed"}
    assert failed_indexes(project, failing(change), failing(by_id), failing(change)) == [0, 1, 2]
    assert held(project) == before
    assert project.get("/v1/orders/o") == read
    assert inbox(project) == []
    project.get("/v1/orders/renamed", expect=404)


def an_order(no: int) -> Row:
    """An order that changes the same few rows as its neighbours."""
    item = {"product": {"source_id": "p", "override": True, "price": no},
            "sku": {"source_id": "s", "override": True, "sku": f"S{no}"}}  # fmt: skip
    customer = {"source_id": "c", "name": f"C{no}", "metadata": {f"k{no}": no}}
    order = {"source_id": f"o{no % 4}", "status": "PAID", "customer": customer, "metadata": {f"k{no}": no}}
    return {**order, "items": [item]}


def seen(project: Project) -> str:
    """What the API shows, without what differs from project to project."""
    paths = ("/v1/orders", "/v1/customers", "/v1/products/p", "/v1/products/p/skus", "/v1/skus/s")
    text = "\n".join(project.http.get(path).text for path in paths)
    return re.sub(r"_[0-9a-f]{32}|\d{4}-\d\d-\d\dT[0-9:.]+Z", "…", text)


def test_those_around_it_see_nothing_of_it(project: Project) -> None:
    orders = [failing(an_order(no)) if no % 3 == 0 else an_order(no) for no in range(20)]
    assert failed_indexes(project, *orders) == [*range(0, 20, 3)]
    with contextlib.closing(project.deployment.new_project()) as other:
        other.imported(*(order for no, order in enumerate(orders) if no % 3))
        assert seen(project) == seen(other)


def test_an_order_goes_in_after_it_failed(project_18: Project) -> None:
    assert failed_indexes(project_18, failing(WHOLE), WHOLE, failing(WHOLE, status="CANCELED"), {**WHOLE}) == [0, 2]
    order = project_18.get("/v1/orders/o")
    assert (order["status"], order["updated_at"], len(order["items"])) == ("PAID", None, 1)
    assert project_18.get("/v1/customers/c")["summary"]["orders"]["total_count"] == 1


def test_a_failing_order_takes_no_id_away(project_18: Project) -> None:
    assert failed_indexes(
        project_18,
        failing({"id": "ord_1", "source_id": "a", "items": []}),
        {"id": "ord_2", "source_id": "a"},
        {"id": "ord_1", "source_id": "b"},
    ) == [0]
    found = {order["id"]: order["source_id"] for order in project_18.all_orders()}
    assert found == {"ord_2": "a", "ord_1": "b"}


def test_all_may_fail(project_18: Project) -> None:
    action = project_18.finished(project_18.post_import([failing(WHOLE)] * 5))
    result = action["result"]
    assert (action["status"], action["operation_status"]) == ("DONE", "FAILED")
    assert result["message"] == "0 order(s) imported successfully, 5 failed."
    assert [failure["index"] for failure in result["failed"]] == [0, 1, 2, 3, 4]
    assert {failure["source_id"] for failure in result["failed"]} == {"o"}
    assert project_18.get("/v1/orders")["total"] == 0


def test_a_failure_without_a_source_id_says_null(project_18: Project) -> None:
    result = project_18.import_orders([{"id": "x"}, {"id": "x", "source_id": None}, {"id": "x", "source_id": "s"}])
    assert [failure["source_id"] for failure in result["failed"]] == [None, None, "s"]


@pytest.mark.parametrize("place", range(4))
def test_an_item_that_fails_fails_its_order_at_every_place(project_18: Project, place: int) -> None:
    ids = Catalogue(project_18).ids
    items: list[Row] = [{"product_id": ids["p"]}, {"sku_id": ids["s"]}, {"amount": 1}]
    items.insert(place, BAD_ITEM)
    before = held(project_18)
    assert failed_indexes(project_18, {"items": items}) == [0]
    assert held(project_18) == before
