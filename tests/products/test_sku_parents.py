"""A SKU made by an import belongs to the product that its item names, in whichever way."""

from typing import Any

from tests.deployment import Project
from tests.orders.cases import Catalogue, Row, failures, stored_items, stored_orders

NEEDS_PARENT = "Cannot create sku {}: name its product in product.source_id or product_id"


def new_sku(name: str, **naming: Any) -> Row:
    return {"source_id": name, "related_object": "sku", "sku": {"override": True, "price": 5}, **naming}


def test_the_parent_is_named_by_id_or_source_id(project_18: Project) -> None:
    ids = Catalogue(project_18).ids
    p = ids["p"]
    cases: dict[str, Row] = {
        "product.source_id": {"product": {"source_id": "p"}},
        "product.id": {"product": {"id": p}},
        "product_id": {"product_id": p},
        "product.id beside another source id": {"product": {"id": p, "source_id": "bare"}},
        "product_id beside another source id": {"product_id": p, "product": {"source_id": "bare"}},
        "product_id beside an unknown source id": {"product_id": p, "product": {"source_id": "unknown"}},
        "product.source_id with override": {"product": {"source_id": "p", "override": True}},
        "product.id with override": {"product": {"id": p, "override": True}},
    }
    items = stored_items(project_18, {name: new_sku(name, **naming) for name, naming in cases.items()})
    for name, item in items.items():
        sku = project_18.get(f"/v1/skus/{name}")
        assert (sku["product_id"], item["product_id"], item["sku_id"]) == (p, p, sku["id"]), name
    listed = project_18.get("/v1/products/p/skus")["skus"]
    assert [sku["source_id"] for sku in listed] == ["s", "s-bare", *cases]
    project_18.get("/v1/products/unknown", expect=404)


def test_a_sku_is_named_by_its_item_or_by_itself(project_18: Project) -> None:
    Catalogue(project_18)
    sku, product = {"override": True, "sku": "New"}, {"source_id": "p"}
    items = stored_items(project_18, {
        "item": {"source_id": "by item", "related_object": "sku", "sku": sku, "product": product},
        "item without saying so": {"source_id": "by sku object", "sku": sku, "product": product},
        "itself": {"sku": {**sku, "source_id": "by itself"}, "product": product},
        "both": {"source_id": "same", "related_object": "sku", "sku": {**sku, "source_id": "same"}, "product": product},
    })  # fmt: skip
    for case, name in zip(items, ("by item", "by sku object", "by itself", "same"), strict=True):
        assert project_18.get(f"/v1/skus/{name}")["id"] == items[case]["sku_id"]
    for name in ("by item", "by sku object", "same"):
        project_18.get(f"/v1/products/{name}", expect=404)


def test_a_parent_made_by_the_same_item_or_an_earlier_one_is_known(project_18: Project) -> None:
    made = {"product": {"source_id": "p1", "override": True, "name": "P1"}}
    orders = stored_orders(project_18, {
        "same item": {"items": [new_sku("s1", **made)]},
        "earlier item": {"items": [{"product": {"source_id": "p2", "override": True}},
                                   new_sku("s2", product={"source_id": "p2"})]},
        "earlier order": {"items": [new_sku("s3", product={"source_id": "p1"})]},
    })  # fmt: skip
    for sku, product in (("s1", "p1"), ("s2", "p2"), ("s3", "p1")):
        assert project_18.get(f"/v1/skus/{sku}")["product_id"] == project_18.get(f"/v1/products/{product}")["id"]
    assert orders["earlier order"]["items"][0]["product"]["name"] == "P1"


def test_a_new_sku_without_a_known_parent_fails_its_order(project_18: Project) -> None:
    later = {"source_id": "later", "items": [{"product": {"source_id": "p", "override": True}}]}
    result = project_18.import_orders([
        {"source_id": "no parent", "items": [new_sku("s")]},
        {"source_id": "parent of nothing", "items": [new_sku("s", product={"override": True, "name": "N"})]},
        {"source_id": "unknown parent", "items": [new_sku("s", product={"source_id": "p"})]},
        {"source_id": "parent that failed", "items": [{"product": {"source_id": "p", "override": True}}, new_sku("s")]},
        {"source_id": "unknown parent again", "items": [new_sku("s", product={"source_id": "p"})]},
        later,
        {"source_id": "now", "items": [new_sku("s", product={"source_id": "p"})]},
    ])  # fmt: skip
    assert {failure["reason"] for failure in result["failed"]} == {NEEDS_PARENT.format("s")}
    assert [failure["index"] for failure in result["failed"]] == [0, 1, 2, 3, 4]
    assert project_18.get("/v1/skus/s")["product_id"] == project_18.get("/v1/products/p")["id"]


def test_without_override_a_sku_is_not_made_and_its_product_may_be(project_18: Project) -> None:
    product = {"source_id": "p", "override": True, "price": 9}
    item = stored_items(project_18, {"o": {"source_id": "s", "related_object": "sku", "sku": {"sku": "S"},
                                           "product": product}})["o"]  # fmt: skip
    assert item["product_id"] == project_18.get("/v1/products/p")["id"]
    assert (item["amount"], item["sku"]) == (9, {"sku": "S"})
    assert "sku_id" not in item
    project_18.get("/v1/skus/s", expect=404)


def test_override_of_something_without_any_source_id_stays_with_the_order(project_18: Project) -> None:
    items = stored_items(project_18, {
        "product": {"product": {"override": True, "name": "N", "price": 3}},
        "sku": {"sku": {"override": True, "sku": "S", "price": 4}},
    })  # fmt: skip
    assert items["product"]["product"] == {"name": "N", "price": 3}
    assert items["sku"]["sku"] == {"sku": "S", "price": 4}
    assert [item["amount"] for item in items.values()] == [3, 4]


def test_an_unknown_internal_id_fails_even_with_override_and_a_source_id(project_18: Project) -> None:
    known = {"override": True, "source_id": "would-be"}
    assert failures(project_18, {
        "product": {"items": [{"product": {**known, "id": "prod_no"}}]},
        "product_id": {"items": [{"product_id": "prod_no", "product": known}]},
        "sku": {"items": [{"sku": {**known, "id": "sku_no"}, "product": known}]},
        "sku_id": {"items": [{"sku_id": "sku_no", "sku": known, "product": known}]},
    }) == {
        "product": "Cannot find product with id prod_no",
        "product_id": "Cannot find product with id prod_no",
        "sku": "Cannot find sku with id sku_no",
        "sku_id": "Cannot find sku with id sku_no",
    }  # fmt: skip
    for kind in ("products", "skus"):
        project_18.get(f"/v1/{kind}/would-be", expect=404)


def test_an_internal_id_is_no_source_id_and_the_other_way_round(project_18: Project) -> None:
    ids = Catalogue(project_18).ids
    assert failures(project_18, {
        "product_id": {"items": [{"product_id": "p"}]},
        "product.id": {"items": [{"product": {"id": "p"}}]},
        "sku_id": {"items": [{"sku_id": "s"}]},
        "sku.id": {"items": [{"sku": {"id": "s"}}]},
        "the id of a sku as a product's": {"items": [{"product_id": ids["s"]}]},
        "the id of a product as a sku's": {"items": [{"sku_id": ids["p"]}]},
    }) == {
        "product_id": "Cannot find product with id p",
        "product.id": "Cannot find product with id p",
        "sku_id": "Cannot find sku with id s",
        "sku.id": "Cannot find sku with id s",
        "the id of a sku as a product's": f"Cannot find product with id {ids['s']}",
        "the id of a product as a sku's": f"Cannot find sku with id {ids['p']}",
    }  # fmt: skip
    [item] = stored_items(
        project_18, {"o": {"source_id": ids["p"], "related_object": "product", "quantity": 1}}
    ).values()
    assert not {"product_id", "product", "price"} & item.keys()


def test_a_product_or_sku_made_by_an_import_reads_as_documented(project_18: Project) -> None:
    metadata = {"colour": ["red", None], "size": {"h": 1}}
    project_18.imported({"items": [
        {"source_id": "s", "related_object": "sku", "quantity": 1,
         "product": {"source_id": "p", "override": True, "name": "Mug", "price": 20, "metadata": metadata},
         "sku": {"override": True, "sku": "Mug L", "price": 10, "metadata": metadata}},
        {"source_id": "bare", "product": {"override": True}},
    ]})  # fmt: skip
    product, sku, bare = (project_18.get(f"/v1/{path}") for path in ("products/p", "skus/s", "products/bare"))
    assert sku == {
        "id": sku["id"], "source_id": "s", "product_id": product["id"], "sku": "Mug L", "price": 10, "currency": None,
        "attributes": {}, "metadata": metadata, "image_url": None, "created_at": sku["created_at"], "updated_at": None,
        "object": "sku",
    }  # fmt: skip
    assert product == {
        "id": product["id"], "source_id": "p", "name": "Mug", "price": 20, "attributes": [], "metadata": metadata,
        "image_url": None, "created_at": product["created_at"], "updated_at": None, "object": "product",
        "skus": {"object": "list", "data_ref": "data", "data": [sku], "total": 1},
    }  # fmt: skip
    assert (bare["name"], bare["price"], bare["metadata"], bare["skus"]["total"]) == (None, None, {}, 0)
    assert project_18.get(f"/v1/products/{product['id']}") == product
    assert project_18.get(f"/v1/skus/{sku['id']}") == sku
