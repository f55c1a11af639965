"""Where an item's price comes from: its own, the payload's SKU's, product's, the stored SKU's, product's."""

import itertools
from typing import Any

import pytest

from tests.deployment import Project
from tests.orders.cases import Catalogue, Row, parts, stored_items, stored_orders

# in the order in which they are asked, each with a price that no other has
STEPS = ("item", "payload sku", "payload product", "stored sku", "stored product")
QUANTITY = 3
# the SKU with or without a price, of a product with or without one
STORED = {(sku, product): f"s-{sku}-{product}" for sku, product in itertools.product((False, True), repeat=2)}


@pytest.fixture
def priced(project_18: Project) -> Project:
    """A project with the SKUs of `STORED`, each of a product of its own."""
    prices = {step: no for no, step in enumerate(STEPS, start=1)}
    for zero in (False, True):
        project_18.imported(*(
            {"items": [{
                "product": {"source_id": f"p-{name}-{zero}", "override": True,
                            "price": (0 if zero else prices["stored product"]) if product else None},
                "sku": {"source_id": f"{name}-{zero}", "override": True,
                        "price": (0 if zero else prices["stored sku"]) if sku else None},
            }]}
            for (sku, product), name in STORED.items()
        ))  # fmt: skip
    return project_18


def an_item(has: dict[str, bool], *, zero: bool = False) -> Row:
    """An item that has a price, perhaps of 0, at these steps."""
    name = STORED[has["stored sku"], has["stored product"]]
    sent = {step: (0 if zero else no) if has[step] else None for no, step in enumerate(STEPS[:3], start=1)}
    return {
        "quantity": QUANTITY, "price": sent["item"], "product": {"price": sent["payload product"]},
        "sku": {"source_id": f"{name}-{zero}", "price": sent["payload sku"]},
    }  # fmt: skip


COMBINATIONS = {
    " + ".join(step for step, there in zip(STEPS, chosen, strict=True) if there) or "none": dict(
        zip(STEPS, chosen, strict=True)
    )
    for chosen in itertools.product((False, True), repeat=len(STEPS))
}


def first_price(has: dict[str, bool]) -> int | None:
    return next((no for no, step in enumerate(STEPS, start=1) if has[step]), None)


def test_the_first_step_that_has_a_price_gives_it(priced: Project) -> None:
    items = stored_items(priced, {name: an_item(has) for name, has in COMBINATIONS.items()})
    assert parts(items, "price", "amount") == {
        name: (price := first_price(has), None if price is None else price * QUANTITY)
        for name, has in COMBINATIONS.items()
    }


def test_a_price_of_nothing_is_a_price(priced: Project) -> None:
    items = stored_items(priced, {name: an_item(has, zero=True) for name, has in COMBINATIONS.items()})
    assert parts(items, "price", "amount") == {
        name: (0, 0) if any(has.values()) else (None, None) for name, has in COMBINATIONS.items()
    }


def test_an_amount_sent_without_a_price_is_kept_whatever_is_known(priced: Project) -> None:
    without = {name: has for name, has in COMBINATIONS.items() if not has["item"]}
    cases = {name: an_item(has) | {"amount": 1000, "quantity": None} for name, has in without.items()}
    items = stored_items(priced, cases)
    assert set(parts(items, "amount", "price", "quantity").values()) == {(1000, None, None)}
    items = stored_items(priced, {name: item | {"amount": 0} for name, item in cases.items()})
    assert set(parts(items, "amount", "subtotal_amount", "price").values()) == {(0, 0, None)}


def test_a_stored_price_is_found_by_every_way_of_naming(project_18: Project) -> None:
    ids = Catalogue(project_18).ids
    cases: dict[str, tuple[Row, int | None]] = {
        "sku_id": ({"sku_id": ids["s"]}, 10),
        "sku.id": ({"sku": {"id": ids["s"]}}, 10),
        "sku.source_id": ({"sku": {"source_id": "s"}}, 10),
        "source_id of a sku": ({"source_id": "s", "related_object": "sku"}, 10),
        "a sku and its product": ({"sku_id": ids["s"], "product_id": ids["p"]}, 10),
        "sku_id without a price": ({"sku_id": ids["s-bare"]}, 20),
        "sku.id without a price": ({"sku": {"id": ids["s-bare"]}}, 20),
        "sku.source_id without a price": ({"sku": {"source_id": "s-bare"}}, 20),
        "source_id of a sku without a price": ({"source_id": "s-bare", "related_object": "sku"}, 20),
        "sku and product without a price": ({"sku_id": ids["t-bare"]}, None),
        "product_id": ({"product_id": ids["p"]}, 20),
        "product.id": ({"product": {"id": ids["p"]}}, 20),
        "product.source_id": ({"product": {"source_id": "p"}}, 20),
        "source_id": ({"source_id": "p"}, 20),
        "source_id of a product": ({"source_id": "p", "related_object": "product"}, 20),
        "product without a price": ({"product_id": ids["bare"]}, None),
        "an unknown source_id": ({"source_id": "free"}, None),
        "an unknown sku of a known product": (
            {"source_id": "free", "related_object": "sku", "product": {"source_id": "p"}}, 20,
        ),
    }  # fmt: skip
    items = stored_items(project_18, {name: item | {"quantity": 2} for name, (item, _) in cases.items()})
    assert parts(items, "price", "amount") == {
        name: (price, None if price is None else price * 2) for name, (_, price) in cases.items()
    }


def test_a_price_without_a_quantity_is_that_of_one(project_18: Project) -> None:
    Catalogue(project_18)
    cases: dict[str, Row] = {
        "its own": {"price": 7},
        "payload": {"product": {"price": 8}},
        "stored": {"source_id": "p"},
    }
    items = stored_items(project_18, cases)
    assert parts(items, "price", "quantity", "initial_quantity", "amount") == {
        "its own": (7, 1, 1, 7), "payload": (8, 1, 1, 8), "stored": (20, 1, 1, 20)
    }  # fmt: skip


def test_a_price_that_overrides_is_the_price(project_18: Project) -> None:
    Catalogue(project_18)
    new = {"source_id": "new", "product": {"override": True, "price": 5}}
    change = {"source_id": "p", "product": {"override": True, "price": 6}}
    later = {"source_id": "p", "quantity": 2}
    sent = {"before": [later], "new": [new], "change": [later, change, later], "after": [later]}
    orders = stored_orders(project_18, {name: {"items": items} for name, items in sent.items()})
    assert {name: [item["amount"] for item in order["items"]] for name, order in orders.items()} == {
        "before": [40], "new": [5], "change": [40, 6, 12], "after": [12]
    }  # fmt: skip


def test_an_order_that_failed_changed_no_price(project_18: Project) -> None:
    Catalogue(project_18)
    change = {"product": {"source_id": "p", "override": True, "price": 1},
              "sku": {"source_id": "s", "override": True, "price": 2}}  # fmt: skip
    result = project_18.import_orders([
        {"source_id": "bad", "items": [change, {"sku_id": "sku_unknown"}]},
        {"source_id": "product", "items": [{"source_id": "p"}]},
        {"source_id": "sku", "items": [{"sku": {"source_id": "s"}}]},
    ])  # fmt: skip
    assert (result["done_count"], result["failed_count"]) == (2, 1)
    amounts = [project_18.get(f"/v1/orders/{name}")["amount"] for name in ("product", "sku")]
    assert amounts == [20, 10]
    assert (project_18.get("/v1/products/p")["price"], project_18.get("/v1/skus/s")["price"]) == (20, 10)


def test_items_that_are_sent_again_are_priced_again(project_18: Project) -> None:
    Catalogue(project_18)

    def priced_again(**order: Any) -> Any:
        project_18.imported({"source_id": "o", **order})
        return project_18.get("/v1/orders/o")["amount"]

    items = [{"source_id": "p", "quantity": 3}]
    assert priced_again(items=items) == 60
    project_18.imported({"items": [{"product": {"source_id": "p", "override": True, "price": 30}}]})
    assert priced_again(status="PAID") == 60
    assert priced_again(items=items) == 90
