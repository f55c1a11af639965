"""Products and SKUs of imported items: which are meant, and what `override` writes."""

from typing import Any

import pytest

from tests.deployment import Project


def item_of(project: Project, *items: Any) -> Any:
    """The last item of an order with `items`, as stored."""
    project.imported({"source_id": "o", "items": list(items)})
    return project.get("/v1/orders/o")["items"][-1]


def new_sku(project: Project, source_id: str = "s", parent: str = "p", **fields: Any) -> Any:
    project.imported({"items": [{
        "product": {"source_id": parent, "override": True}, "sku": {"source_id": source_id, "override": True, **fields},
    }]})  # fmt: skip
    return project.get(f"/v1/skus/{source_id}")


# ---- override ----------------------------------------------------------------------------------


def test_override_replaces_what_is_sent_and_keeps_the_rest(project: Project) -> None:
    def override(**fields: Any) -> tuple[Any, ...]:
        project.imported({"items": [{"source_id": "p", "product": {"override": True, **fields}}]})
        product = project.get("/v1/products/p")
        return product["name"], product["price"], product["metadata"]

    assert override() == (None, None, {})
    assert override(name="N", price=5, metadata={"a": 1, "b": {"c": None}}) == ("N", 5, {"a": 1, "b": {"c": None}})
    assert override(price=6) == ("N", 6, {"a": 1, "b": {"c": None}})
    assert override(metadata={"z": None}) == ("N", 6, {"z": None})
    assert override(metadata=None, name=None, price=0) == ("N", 0, {"z": None})
    assert override(metadata={}, name="") == ("", 0, {})
    product = project.get("/v1/products/p")
    override(metadata={}, name="")
    assert project.get("/v1/products/p") == product  # nothing changed: nothing written
    assert product["updated_at"] > product["created_at"]


def test_override_of_a_sku(project: Project) -> None:
    sku = new_sku(project, sku="Large", price=7, metadata={"a": 1})
    assert (sku["sku"], sku["price"], sku["metadata"]) == ("Large", 7, {"a": 1})
    assert sku["product_id"] == project.get("/v1/products/p")["id"]
    sent = {"source_id": "s", "related_object": "sku", "sku": {"override": True, "metadata": {"b": 2}}}
    item = item_of(project, sent)
    after = project.get("/v1/skus/s")
    assert (after["sku"], after["price"], after["metadata"]) == ("Large", 7, {"b": 2})
    assert (item["sku_id"], item["product_id"], item["price"]) == (sku["id"], sku["product_id"], 7)


def test_without_override_nothing_is_stored(project: Project) -> None:
    new_sku(project, price=7)
    sent = {
        "sku": {"source_id": "s", "sku": "Sent", "price": 9},
        "product": {"source_id": "p", "name": "Sent", "override": False},
    }
    item = item_of(project, sent, {"source_id": "n", "product": {"name": "New", "price": 4, "override": None}})
    assert (item["product"], item["amount"]) == ({"name": "New", "price": 4}, 4)
    first = project.get("/v1/orders/o")["items"][0]
    assert (first["sku"]["sku"], first["sku"]["price"], first["product"]["name"], first["price"]) == (
        "Sent",
        9,
        "Sent",
        9,
    )
    assert (project.get("/v1/skus/s")["price"], project.get("/v1/products/p")["name"]) == (7, None)
    project.get("/v1/products/n", expect=404)


def test_a_sku_that_exists_keeps_its_product(project: Project) -> None:
    sku = new_sku(project)
    again = new_sku(project, parent="other", price=3)
    assert (again["id"], again["product_id"], again["price"]) == (sku["id"], sku["product_id"], 3)
    other = project.get("/v1/products/other")  # named with override: it is made, and has no SKU
    assert (other["skus"]["total"], project.get("/v1/products/p/skus")["total"]) == (0, 1)


def test_the_product_of_a_sku_is_not_taken_for_another_one(project: Project) -> None:
    new_sku(project)
    item = item_of(project, {"sku": {"source_id": "s"}, "product": {"source_id": "unknown", "name": "Sent"}})
    assert item["product"] == {"source_id": "unknown", "name": "Sent"}
    assert item["product_id"] == project.get("/v1/products/p")["id"]
    assert project.get("/v1/products/p")["name"] is None


def test_override_of_the_product_a_sku_belongs_to(project: Project) -> None:
    new_sku(project)
    item = item_of(
        project, {"sku": {"source_id": "s"}, "product": {"override": True, "name": "By its SKU", "price": 8}}
    )
    assert project.get("/v1/products/p")["name"] == "By its SKU"
    assert item["amount"] == 8


@pytest.mark.parametrize("product", [{}, {"product": {"source_id": "unknown"}}, {"product": {"override": True}}])
def test_a_new_sku_needs_a_product(project_18: Project, product: Any) -> None:
    sent = {"source_id": "s", "related_object": "sku", "sku": {"override": True}, **product}
    [failure] = project_18.import_orders([{"source_id": "o", "items": [{"amount": 1}, sent]}])["failed"]
    assert failure["reason"] == "Cannot create sku s: name its product in product.source_id or product_id"
    project_18.get("/v1/skus/s", expect=404)


def test_override_by_internal_id(project: Project) -> None:
    sku = new_sku(project)
    item_of(
        project,
        {"product": {"id": sku["product_id"], "source_id": "ignored", "override": True, "name": "P"}},
        {"sku_id": sku["id"], "sku": {"override": True, "sku": "S"}, "product_id": sku["product_id"]},
    )
    assert (project.get("/v1/products/p")["name"], project.get("/v1/skus/s")["sku"]) == ("P", "S")
    project.get("/v1/products/ignored", expect=404)


def test_a_new_product_and_sku_by_the_ids_of_a_product(project: Project) -> None:
    new_sku(project)
    product = project.get("/v1/products/p")
    item = item_of(
        project, {"product_id": product["id"], "source_id": "s2", "related_object": "sku", "sku": {"override": True}}
    )
    assert project.get("/v1/skus/s2")["product_id"] == item["product_id"] == product["id"]


def test_repeats_in_one_request_fold_into_one_row(project: Project) -> None:
    project.imported(
        *({"items": [{"source_id": "p", "product": {"override": True, "price": n}}] * 2} for n in range(50)),
        {"items": [{"source_id": "p", "product": {"override": True, "name": "Last", "metadata": {"n": 1}}}]},
    )
    product = project.get("/v1/products/p")
    assert (product["price"], product["name"], product["metadata"]) == (49, "Last", {"n": 1})


# ---- which record an item means ----------------------------------------------------------------


def test_source_ids_are_products_unless_said_otherwise(project: Project) -> None:
    new_sku(project, source_id="x", parent="x", price=2)
    project.imported({"items": [{"source_id": "x", "product": {"override": True, "price": 1}}]})
    product, sku = project.get("/v1/products/x"), project.get("/v1/skus/x")

    def meant(**item: Any) -> tuple[bool, bool]:
        stored = item_of(project, item)
        return stored.get("product_id") == product["id"], stored.get("sku_id") == sku["id"]

    assert meant(source_id="x") == (True, False)
    assert meant(source_id="x", related_object="product") == (True, False)
    assert meant(source_id="x", related_object="sku") == (True, True)
    assert meant(source_id="x", sku={}) == (True, True)
    assert meant(product={"source_id": "x"}) == (True, False)
    assert meant(sku={"source_id": "x"}) == (True, True)
    assert meant(source_id="free", related_object="product", sku={"source_id": "x"}) == (True, True)
    assert meant(source_id="free", related_object="sku") == (False, False)


def test_prices_are_looked_up_in_order(project: Project) -> None:
    new_sku(project, price=10)
    project.imported({"items": [{"source_id": "p", "product": {"override": True, "price": 20}}]})
    sku, product = {"source_id": "s"}, {"source_id": "p"}

    def price(**item: Any) -> tuple[Any, Any, Any]:
        stored = item_of(project, item)
        return stored.get("price"), stored.get("quantity"), stored.get("amount")

    assert price(price=1, sku={**sku, "price": 2}, quantity=3) == (1, 3, 3)
    assert price(sku={**sku, "price": 2}, product={**product, "price": 3}) == (2, 1, 2)
    assert price(sku=sku, product={**product, "price": 3}, quantity=2) == (3, 2, 6)
    assert price(sku=sku, product=product) == (10, 1, 10)
    assert price(product=product, quantity=0) == (20, 0, 0)
    assert price(source_id="free", quantity=2) == (None, 2, None)
    assert price(product={**product, "price": 3}, amount=7) == (None, None, 7)
    assert price(price=5, amount=7, quantity=2) == (5, 2, 10)
    assert price(price=0, amount=7) == (0, 1, 0)


def test_the_catalogue_of_an_earlier_order_is_seen_by_a_later_one(project: Project) -> None:
    project.imported(
        {"source_id": "before", "items": [{"source_id": "p"}]},
        {"source_id": "maker", "items": [{"source_id": "p", "product": {"override": True, "price": 6}}]},
        {"source_id": "after", "items": [{"source_id": "p", "quantity": 2}]},
    )
    assert [order["amount"] for order in project.all_orders()] == [0, 6, 12]
    assert "product_id" not in project.get("/v1/orders/before")["items"][0]
