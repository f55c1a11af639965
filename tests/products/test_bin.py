"""Deletion of products and SKUs: what is in the bin answers nobody and keeps its ids; with force it is gone."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.customers.updating import finished
from tests.deployment import Project
from tests.orders.stored import rows
from tests.products.writing import delete, noted, post, put, totals, types

PRODUCT_IN_BIN = "Product with source_id: 'mug' already exists: it is in the bin"
SKU_IN_BIN = "Sku with source_id: 'blue' already exists: it is in the bin"


@pytest.fixture
def shelf(project: Project) -> Any:
    return filled(project)


@pytest.fixture
def shelf_18(project_18: Project) -> Any:
    return filled(project_18)


def filled(project: Project) -> Any:
    """A mug in blue and red, and a plate."""
    mug = post(project, source_id="mug", name="Mug", price=900)
    skus = [post(project, "/mug/skus", source_id=name, price=950) for name in ("blue", "red")]
    return {"mug": mug, "plate": post(project, source_id="plate"), "blue": skus[0], "red": skus[1]}


def order(**item: Any) -> dict[str, Any]:
    return {"items": [{"quantity": 1, "price": 5, **item}]}


@pytest.mark.parametrize("force", [False, True])
def test_a_deleted_product_is_gone_with_its_skus(project: Project, shelf: Any, *, force: bool) -> None:
    query: dict[str, Any] = {"force": "true"} if force else {}
    delete(project, shelf["mug"]["id"] if force else "mug", **query)
    for name in ("mug", shelf["mug"]["id"]):
        project.get(f"/v1/products/{name}", expect=404)
        project.get(f"/v1/products/{name}/skus", expect=404)
        put(project, name, name="x", expect=404)
        post(project, f"/{name}/skus", expect=404)
        delete(project, name, expect=404)
        delete(project, name, force="true", expect=404)
    for name in ("blue", shelf["red"]["id"]):
        project.get(f"/v1/skus/{name}", expect=404)
    queries: list[dict[str, Any]] = [{}, {"order": "-updated_at"}, {"start_date": "2020-01-01"}]
    for query in queries:
        listed = project.get("/v1/products", **query)
        assert ([product["source_id"] for product in listed["products"]], listed["total"]) == (["plate"], 1)
    assert totals(project) == {"products": 1, "skus": 0}
    count = "SELECT (SELECT count(*) FROM products WHERE project_id = %(project)s) AS products,"
    count += " (SELECT count(*) FROM skus WHERE project_id = %(project)s) AS skus"
    assert rows(project, count) == [{"products": 1, "skus": 0} if force else {"products": 2, "skus": 2}]
    assert sorted(types(project)[4:6]) == ["sku.deleted", "sku.deleted"]
    assert types(project)[6:] == ["product.deleted"]
    assert noted(project)[4]["data"] == {"sku": shelf["blue"], "product": shelf["mug"]}
    assert noted(project)[6]["data"] == {"product": shelf["mug"]}


@pytest.mark.parametrize("force", [False, True])
def test_a_deleted_sku_is_gone(project_18: Project, shelf_18: Any, *, force: bool) -> None:
    query: dict[str, Any] = {"force": "true" if force else "false"}
    delete(project_18, "mug/skus/blue", **query)
    for name in ("blue", shelf_18["blue"]["id"]):
        project_18.get(f"/v1/skus/{name}", expect=404)
        put(project_18, f"mug/skus/{name}", price=1, expect=404)
        delete(project_18, f"mug/skus/{name}", expect=404)
    assert project_18.get("/v1/products/mug")["skus"]["total"] == 1
    listed = project_18.get("/v1/products/mug/skus", order="-updated_at")
    assert ([sku["source_id"] for sku in listed["skus"]], listed["total"]) == (["red"], 1)
    assert totals(project_18) == {"products": 2, "skus": 1}
    assert noted(project_18)[-1]["data"] == {"sku": shelf_18["blue"], "product": shelf_18["mug"]}
    assert types(project_18)[4:] == ["sku.deleted"]


def test_the_bin_holds_ids_and_source_ids(project: Project, shelf: Any) -> None:
    delete(project, "mug/skus/blue")
    refused = post(project, "/mug/skus", source_id="blue", expect=400)
    assert (refused["key"], refused["details"]) == ("duplicate_source_id", SKU_IN_BIN)
    post(project, "/mug/skus", id=shelf["blue"]["id"], expect=404)
    delete(project, "mug")
    refused = post(project, source_id="mug", expect=400)
    assert (refused["key"], refused["details"]) == ("duplicate_source_id", PRODUCT_IN_BIN)
    post(project, id=shelf["mug"]["id"], expect=404)
    assert post(project, "/plate/skus", source_id="red", expect=400)["key"] == "duplicate_source_id"
    action = finished(project, "products/bulk", [{"source_id": "mug", "price": 1}, {"source_id": "new"}])
    [error] = action["result"]["errors"]
    assert (error["key"], error["details"]) == ("duplicate_source_id", PRODUCT_IN_BIN)
    assert action["counts"] == {"created": 1, "updated": 0, "unchanged": 0}


def test_what_is_deleted_for_good_makes_room(project_18: Project, shelf_18: Any) -> None:
    delete(project_18, "mug/skus/red")
    delete(project_18, "mug/skus/blue", force="true")
    made = post(project_18, "/mug/skus", source_id="blue")
    assert made["id"] != shelf_18["blue"]["id"]
    delete(project_18, "mug", force="true")
    # what was in the bin is gone too
    assert rows(project_18, "SELECT FROM skus WHERE project_id = %(project)s") == []
    assert post(project_18, source_id="mug")["id"] != shelf_18["mug"]["id"]
    post(project_18, "/mug/skus", source_id="red")
    assert totals(project_18) == {"products": 2, "skus": 1}


def test_orders_do_not_see_the_bin(project_18: Project, shelf_18: Any) -> None:
    delete(project_18, "mug")
    project_18.imported(
        {"source_id": "1", **order(source_id="mug", related_object="product")},
        {"source_id": "2", **order(source_id="blue", related_object="sku")},
        {"source_id": "3", **order(product={"source_id": "mug", "name": "Theirs"})},
        {"source_id": "4", **order(sku={"source_id": "blue", "sku": "Theirs"})},
    )
    for name in "1234":
        [item] = project_18.get(f"/v1/orders/{name}")["items"]
        assert (item.get("product_id"), item.get("sku_id"), item["amount"]) == (None, None, 5)
        assert (item.get("product") or {}).get("id") is (item.get("sku") or {}).get("id") is None


def test_an_override_of_what_is_in_the_bin_fails_its_order(project: Project, shelf: Any) -> None:
    delete(project, "mug/skus/blue")
    blue = {"source_id": "blue", "related_object": "sku", "sku": {"override": True}}
    result = project.import_orders([{"source_id": "1", **order(**blue, product={"source_id": "mug"})}])
    assert [failure["reason"] for failure in result["failed"]] == [SKU_IN_BIN]
    delete(project, "mug")
    mug = {"source_id": "mug", "product": {"override": True, "name": "New"}}
    ids: list[dict[str, Any]] = [
        {"product_id": shelf["mug"]["id"]}, {"product": {"id": shelf["mug"]["id"]}}, {"sku_id": shelf["red"]["id"]},
    ]  # fmt: skip
    result = project.import_orders([
        {"source_id": "2", **order(**mug)}, {"source_id": "3", **order(source_id="plate")},
        *({"source_id": f"by id {no}", **order(**named)} for no, named in enumerate(ids)),
    ])  # fmt: skip
    assert [failure["reason"] for failure in result["failed"]] == [
        PRODUCT_IN_BIN, *[f"Cannot find product with id {shelf['mug']['id']}"] * 2,
        f"Cannot find sku with id {shelf['red']['id']}",
    ]  # fmt: skip
    assert project.get("/v1/orders/3")["items"][0]["product_id"] == shelf["plate"]["id"]
    assert project.get("/v1/products")["total"] == 1


def test_no_sku_outlives_its_product(project: Project) -> None:
    """SKUs are made by request and by import while their products are deleted."""
    for name in "abcdef":
        post(project, source_id=name)

    def make(name: str) -> None:
        for no in range(4):
            project.http.post(f"/v1/products/{name}/skus", json={"source_id": f"{name}{no}"})

    def remove(name: str) -> None:
        delete(project, name)

    items = [{"sku": {"source_id": f"i-{name}", "override": True}, "product": {"source_id": name}} for name in "abcdef"]
    with ThreadPoolExecutor(4) as threads:
        made = [threads.submit(make, name) for name in "abcdef"]
        action = threads.submit(project.post_import, [{"items": [item]} for item in items])
        removed = [threads.submit(remove, name) for name in "abcdef"]
        for each in [*made, *removed]:
            each.result()
    project.finished(action.result())
    assert rows(project, "SELECT FROM skus WHERE project_id = %(project)s AND binned_at IS NULL") == []
    assert totals(project)["products"] == 0
    assert totals(project).get("skus", 0) == 0
