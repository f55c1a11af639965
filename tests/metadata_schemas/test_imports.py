"""An import's orders are judged by the schemas, in the job, one by one."""

import uuid
from typing import Any

import pytest

from tests.deployment import Project
from tests.metadata_schemas.defining import define, schema
from tests.orders.stored import rows, session

UNIT = {"type": "number", "optional": False}
SAID = "unit: must be a number, property is required (actual value is 'EUR')"
MISSING = "unit: must be a number, property is required (actual value is missing)"


def reasons(project: Project, *orders: Any) -> list[str | None]:
    """For each order why it failed; none if it went in."""
    result = project.import_orders(list(orders))
    by_source = {failure["source_id"]: failure["reason"] for failure in result["failed"]}
    assert result["failed_count"] == len(by_source)
    return [by_source.get(order["source_id"]) for order in orders]


def stored(project: Project, table: str) -> list[str]:
    """The source ids in a table."""
    query = f"SELECT source_id FROM {table} WHERE project_id = %(project)s ORDER BY source_id"
    return [row["source_id"] for row in rows(project, query)]


# ---- orders ------------------------------------------------------------------------------------


def test_an_order_that_violates_fails_and_the_others_go_in(project: Project) -> None:
    define(project, schema("order", unit=UNIT, location_id={"type": "string", "array": True, "eq": ["L1", "L2", "L3"]}))
    result = project.import_orders(
        [
            {"source_id": "good", "metadata": {"unit": 1, "more": "x"}},
            {"source_id": "bad", "metadata": {"unit": "EUR"}, "customer": {"source_id": "of the bad"}},
            {"source_id": "none", "amount": 5},
            {"source_id": "array", "metadata": {"unit": 1, "location_id": "L1"}},
        ]
    )
    assert (result["done_count"], result["failed_count"]) == (1, 3)
    failed = [{name: failure[name] for name in ("source_id", "reason")} for failure in result["failed"]]
    assert failed == [
        {"source_id": "bad", "reason": SAID},
        {"source_id": "none", "reason": MISSING},
        {
            "source_id": "array",
            "reason": "location_id: must be an array, and every element: must be a string, must be equal to one of"
            " L1,L2,L3 (actual value is 'L1')",
        },
    ]
    assert (stored(project, "orders"), stored(project, "customers")) == (["good"], [])


def test_an_update_is_judged_by_what_it_supplies(project: Project) -> None:
    project.imported({"source_id": "o", "metadata": {"old": "x", "kept": "wrong"}})
    define(project, schema("order", unit=UNIT, kept="number", old={"type": "string", "eq": ["y"]}))
    assert reasons(project, {"source_id": "o", "metadata": {"old": "y"}}) == [None]
    assert reasons(project, {"source_id": "o", "amount": 7}) == [None]
    assert reasons(project, {"source_id": "o", "metadata": {"old": "x"}}) == [
        "old: must be a string, must be equal to one of y (actual value is 'x')"
    ]
    assert reasons(project, {"source_id": "o", "metadata": {"kept": None}}) == [None]
    order = project.get("/v1/orders/o")
    assert (order["amount"], order["metadata"]) == (7, {"old": "y", "kept": None})


def test_an_order_that_the_same_import_has_made_is_updated(project: Project) -> None:
    define(project, schema("order", unit=UNIT))
    result = project.import_orders(
        [{"source_id": "o", "amount": 1}, {"source_id": "o", "metadata": {"unit": 1}}, {"source_id": "o", "amount": 2}]
    )
    assert [failure["reason"] for failure in result["failed"]] == [MISSING]
    order = project.get("/v1/orders/o")
    assert (order["amount"], order["metadata"]) == (2, {"unit": 1})


def test_only_defined_keys(project: Project) -> None:
    define(project, schema("order", allow_defined_only=True, unit="number"))
    assert reasons(
        project,
        {"source_id": "1", "metadata": {"unit": 1}},
        {"source_id": "2", "metadata": {"unit": 1, "other": "x"}},
        {"source_id": "3"},
    ) == [None, "other: property is not defined (actual value is 'x')", None]


# ---- what an order carries ---------------------------------------------------------------------


def failing(reason: str | None, said: str) -> bool:
    """Whether the reason is `said`, which a path may precede."""
    return reason is not None and reason.endswith(said)


def test_items(project: Project) -> None:
    define(project, schema("order_item", unit=UNIT))

    def item(**metadata: Any) -> dict[str, Any]:
        return {"source_id": "p", "quantity": 1, "price": 5, **({"metadata": metadata} if metadata else {})}

    found = reasons(
        project,
        {"source_id": "1", "items": [item(unit=1), item(unit=2)]},
        {"source_id": "2", "items": [item(unit=1), item(unit="EUR")]},
        {"source_id": "3", "items": [item()]},
        {"source_id": "4", "items": []},
    )
    assert (found[0], found[3]) == (None, None)
    assert failing(found[1], SAID)
    assert failing(found[2], MISSING)
    # an order's items are replaced as a whole: each must have what is required, on an update too
    (again,) = reasons(project, {"source_id": "1", "items": [item()]})
    assert failing(again, MISSING)
    assert project.get("/v1/orders/1")["amount"] == 10


@pytest.mark.parametrize("role", ["customer", "referrer"])
def test_people(project: Project, role: str) -> None:
    project.imported({"customer": {"source_id": "old"}})
    define(project, schema("customer", unit=UNIT))
    found = reasons(
        project,
        {"source_id": "1", role: {"source_id": "a", "metadata": {"unit": 1}}},
        {"source_id": "2", role: {"source_id": "b", "metadata": {"unit": "EUR"}}},
        {"source_id": "3", role: {"source_id": "c"}},
        {"source_id": "4", role: {"source_id": "old", "name": "New"}},
        {"source_id": "5", role: {"source_id": "old", "metadata": {"unit": "EUR"}}},
        {"source_id": "6", role: {"source_id": "a", "metadata": {"more": "x"}}},
    )
    assert [found[no] for no in (0, 3, 5)] == [None, None, None]
    assert failing(found[1], SAID)
    assert failing(found[2], MISSING)
    assert failing(found[4], SAID)
    assert stored(project, "customers") == ["a", "old"]


def test_products_that_are_written(project: Project) -> None:
    define(project, schema("product", unit=UNIT))

    def order(source_id: str, product: Any) -> dict[str, Any]:
        return {"source_id": source_id, "items": [{"related_object": "product", "quantity": 1, "product": product}]}

    found = reasons(
        project,
        order("1", {"source_id": "p", "override": True, "metadata": {"unit": 1}, "price": 5}),
        order("2", {"source_id": "q", "override": True, "metadata": {"unit": "EUR"}}),
        order("3", {"source_id": "q", "override": True}),
        order("4", {"source_id": "p", "override": True, "price": 6}),
        # an override replaces the metadata: what is required must be in it
        order("5", {"source_id": "p", "override": True, "metadata": {"more": "x"}}),
        # for this order only: nothing of it is stored with the product
        order("6", {"source_id": "p", "metadata": {"unit": "EUR"}}),
    )
    assert [found[no] for no in (0, 3, 5)] == [None, None, None]
    assert failing(found[1], SAID)
    assert failing(found[2], MISSING)
    assert failing(found[4], MISSING)
    product = project.get("/v1/products/p")
    assert (product["price"], product["metadata"]) == (6, {"unit": 1})
    assert stored(project, "products") == ["p"]


# ---- when --------------------------------------------------------------------------------------


def queued_while(project: Project, orders: Any, document: Any) -> Any:
    """Import while the project's queue stands, define `document` meanwhile, let the queue go on; the result."""
    with session(project.deployment) as ours, ours.transaction():
        # the first import's portion waits for its customer, and the second import for the first
        ours.execute("SELECT FROM customers WHERE project_id = %s FOR UPDATE", (project.id,))
        holding = {"metadata": {"unit": 1}, "customer": {"source_id": "c", "name": str(uuid.uuid4())}}
        first = project.post_import([holding])
        second = project.post_import(orders)
        define(project, document)
        assert project.get(f"/v1/async-actions/{second}")["operation_status"] != "SUCCESS"
    assert project.finished(first)["result"]["failed_count"] == 0
    return project.finished(second)["result"]


def test_an_import_that_waits_is_judged_by_what_is_defined_when_it_runs(project: Project) -> None:
    project.imported({"customer": {"source_id": "c"}})
    orders = [{"source_id": "o", "metadata": {"unit": "EUR"}}]
    result = queued_while(project, orders, schema("order", unit=UNIT))
    assert [failure["reason"] for failure in result["failed"]] == [SAID]
    removed = schema("order", unit={**UNIT, "deleted": True})
    assert queued_while(project, orders, removed)["failed_count"] == 0


def test_another_project_s_schemas_judge_nothing(project: Project) -> None:
    other = project.deployment.new_project()
    define(other, schema("order", allow_defined_only=True, unit=UNIT))
    assert reasons(project, {"source_id": "o", "metadata": {"unit": "EUR"}}) == [None]
    other.close()
