"""Bulk update and bulk metadata update of products: what becomes of them, of their SKUs and of orders' overrides.

What they share with those of customers is tested there: tests/customers/test_bulk*.py.
"""

from typing import Any

from tests.customers.updating import finished, report, send, updated
from tests.deployment import Project, until
from tests.metadata_schemas.defining import define, schema
from tests.orders.stored import rows, session

FULL = {
    "source_id": "mug", "name": "Mug", "price": 900, "attributes": ["color", "size"],
    "image_url": "https://img.example/mug.png", "metadata": {"a": 1, "tags": ["x"]},
}  # fmt: skip
EMPTY: dict[str, Any] = {"name": None, "price": None, "attributes": [], "image_url": None, "metadata": {}}


def product(project: Project, source_id: str = "mug") -> Any:
    return project.get(f"/v1/products/{source_id}")


def attributes(project: Project, source_id: str = "mug") -> dict[str, Any]:
    """What a bulk update can change of a product."""
    found = product(project, source_id)
    return {name: found[name] for name in FULL}


def override(**values: Any) -> dict[str, Any]:
    """An order that writes the product to the catalogue."""
    return {"items": [{"source_id": "mug", "quantity": 1, "product": {"source_id": "mug", "override": True, **values}}]}


def test_a_product_that_does_not_exist_is_made_with_all_fields(project: Project) -> None:
    updated(project, "products", FULL, {"source_id": "plate"})
    assert attributes(project) == FULL
    assert attributes(project, "plate") == EMPTY | {"source_id": "plate"}
    assert product(project)["updated_at"] is None
    assert project.get("/v1/products")["total"] == 2


def test_fields_replace_and_metadata_merges_by_key(project: Project) -> None:
    updated(project, "products", FULL)
    before = product(project)
    changes: list[dict[str, Any]] = [
        {"name": "Cup"}, {"price": 0}, {"attributes": ["size", "color"]}, {"attributes": []}, {"image_url": ""},
        {"metadata": {"a": None, "b": 2}},
    ]  # fmt: skip
    for change in changes:
        expected = attributes(project) | change
        if "metadata" in change:
            expected["metadata"] = {"a": None, "b": 2, "tags": ["x"]}
        updated(project, "products", {"source_id": "mug", **change})
        assert attributes(project) == expected
    after = product(project)
    assert (after["id"], after["created_at"]) == (before["id"], before["created_at"])
    assert after["updated_at"] > after["created_at"]


def test_null_and_what_is_unknown_change_nothing(project_18: Project) -> None:
    updated(project_18, "products", FULL)
    query = "SELECT xmin::text FROM products WHERE project_id = %(project)s"
    before = rows(project_18, query)
    nulls = dict.fromkeys(FULL) | {"source_id": "mug", "id": "prod_other", "skus": []}
    action = updated(project_18, "products", nulls, FULL, {"source_id": "mug", "metadata": {}})
    assert action["counts"] == {"created": 0, "updated": 0, "unchanged": 3}
    assert (rows(project_18, query), attributes(project_18)) == (before, FULL)


def test_of_one_source_id_the_records_are_applied_in_their_order(project_18: Project) -> None:
    action = updated(
        project_18, "products",
        {"source_id": "mug", "price": 1, "metadata": {"a": 1e20}}, {"source_id": "mug", "metadata": {"a": 1e20}},
        {"source_id": "mug", "price": 2, "attributes": ["x"]},
        {"source_id": "mug", "name": "n", "metadata": {"b": -0.0}},
    )  # fmt: skip
    assert action["counts"] == {"created": 1, "updated": 2, "unchanged": 1}
    assert attributes(project_18) == EMPTY | {
        "source_id": "mug", "price": 2, "attributes": ["x"], "name": "n", "metadata": {"a": 10**20, "b": 0.0},
    }  # fmt: skip


def test_a_metadata_update_gives_the_keys_to_every_listed_product(project_18: Project) -> None:
    updated(project_18, "products", FULL)
    action = finished(
        project_18, "products/metadata", {"source_ids": ["mug", "new"], "metadata": {"a": 2, "big": 1e300}}
    )
    assert (action["type"], action["operation_status"]) == ("PRODUCTS.METADATA_UPDATE", "SUCCESS")
    assert attributes(project_18) == FULL | {"metadata": {"a": 2, "tags": ["x"], "big": 10**300}}
    assert attributes(project_18, "new")["metadata"] == {"a": 2, "big": 10**300}
    assert report(project_18, action) == [("mug", True, True, None), ("new", False, True, None)]
    assert project_18.get("/v1/products")["total"] == 2


def test_the_result_and_the_report(project_18: Project) -> None:
    define(project_18, schema("product", unit={"type": "number", "optional": False}))
    action = finished(project_18, "products/bulk", [
        {"source_id": "mug", "metadata": {"unit": 1}}, {"source_id": "cup", "metadata": {"unit": "EUR"}},
        {"source_id": "cup"}, {"source_id": "mug", "name": "Mug"},
    ])  # fmt: skip
    assert action["type"] == "PRODUCTS.BULK_UPDATE"
    reason = "unit: must be a number, property is required (actual value is 'EUR')"
    missing = "unit: must be a number, property is required (actual value is missing)"
    assert action["result"]["errors"] == [
        {"message": "Metadata validation failed", "key": "metadata_validation_failed", "details": details,
         "source_id": "cup"} for details in (reason, missing)
    ]  # fmt: skip
    assert report(project_18, action) == [
        ("mug", False, True, None), ("cup", False, False, reason), ("cup", False, False, missing),
        ("mug", True, True, None),
    ]  # fmt: skip
    project_18.get("/v1/products/cup", expect=404)


def test_skus_stay(project_18: Project) -> None:
    made = {"product": {"source_id": "mug", "override": True}, "sku": {"source_id": "s", "override": True, "price": 5}}
    project_18.imported({"items": [made]})
    updated(project_18, "products", FULL)
    assert [sku["source_id"] for sku in product(project_18)["skus"]["data"]] == ["s"]
    assert attributes(project_18) == FULL


def test_an_import_keeps_what_only_a_bulk_update_can_say(project_18: Project) -> None:
    """Orders know no attributes and no image of a product: overriding it changes neither."""
    updated(project_18, "products", FULL)
    project_18.imported(override(name="Cup", price=5, metadata={"b": 2}))
    assert attributes(project_18) == FULL | {"name": "Cup", "price": 5, "metadata": {"b": 2}}
    updated(project_18, "products", {"source_id": "mug", "attributes": ["x"], "metadata": {"c": 3}})
    assert attributes(project_18) == FULL | {
        "name": "Cup", "price": 5, "attributes": ["x"], "metadata": {"b": 2, "c": 3},
    }  # fmt: skip


def test_what_an_order_shows_of_a_product_is_what_it_was(project_18: Project) -> None:
    project_18.imported({"source_id": "o", **override(name="Mug", price=5)})
    before = project_18.get("/v1/orders/o")
    updated(project_18, "products", FULL)
    assert project_18.get("/v1/orders/o") == before
    project_18.imported({"source_id": "later", "items": [{"source_id": "mug", "related_object": "product"}]})
    assert project_18.get("/v1/orders/later")["amount"] == 900


def test_who_changes_a_product_meanwhile_keeps_it(project_18: Project) -> None:
    updated(project_18, "products", FULL)
    with session(project_18.deployment) as watch, session(project_18.deployment) as ours, ours.transaction():
        ours.execute("SELECT FROM products WHERE project_id = %s FOR UPDATE", [project_18.id])
        action = send(project_18, "products/bulk", [{"source_id": "mug", "price": 1, "metadata": {"b": 2}}])
        query = "SELECT pid FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
        until(lambda: watch.execute(query, [ours.info.backend_pid]).fetchall())
        ours.execute(
            """UPDATE products SET attributes = '["theirs"]', image_url = 'theirs', metadata = '{"t": 1}'
                WHERE project_id = %s""", [project_18.id],
        )  # fmt: skip
    assert project_18.finished(action["async_action_id"])["result"]["done_count"] == 1
    assert attributes(project_18) == FULL | {
        "price": 1, "attributes": ["theirs"], "image_url": "theirs", "metadata": {"t": 1, "b": 2},
    }  # fmt: skip


def test_no_customers_are_noted_for_their_segments(project_18: Project) -> None:
    updated(project_18, "products", FULL)
    finished(project_18, "products/metadata", {"source_ids": ["mug"], "metadata": {"z": 1}})
    assert rows(project_18, "SELECT FROM segment_inbox WHERE project_id = %(project)s") == []
