"""Products by request: create, change, read, and what is refused."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.customers.updating import finished, updated
from tests.deployment import Project
from tests.metadata_schemas.defining import define, schema
from tests.orders.stored import rows
from tests.products.writing import delete, noted, post, put, totals, types

FULL: dict[str, Any] = {
    "source_id": "mug", "name": "Mug", "price": 900, "attributes": ["color", "size"],
    "image_url": "https://img.example/mug.png", "metadata": {"a": 1, "tags": ["x"]},
}  # fmt: skip
EMPTY: dict[str, Any] = {
    "source_id": None, "name": None, "price": None, "attributes": [], "image_url": None, "metadata": {},
}  # fmt: skip


def without_skus(project: Project, product_id: str) -> Any:
    found = project.get(f"/v1/products/{product_id}")
    del found["skus"]
    return found


def test_a_product_is_made_as_documented(project: Project) -> None:
    made = post(project, **FULL)
    assert set(made) == {"id", *FULL, "created_at", "updated_at", "object"}
    assert {name: made[name] for name in FULL} == FULL
    assert (made["object"], made["updated_at"]) == ("product", None)
    assert made["id"].startswith("prod_")
    assert without_skus(project, "mug") == without_skus(project, made["id"]) == made
    bare = post(project)
    assert {name: bare[name] for name in EMPTY} == EMPTY
    assert [product["id"] for product in project.get("/v1/products")["products"]] == [made["id"], bare["id"]]
    assert (project.get("/v1/products")["total"], totals(project)) == (2, {"products": 2})
    [first, second] = noted(project)
    assert (first["type"], first["object_id"], first["customer_id"]) == ("product.created", made["id"], None)
    assert (first["data"], second["data"]) == ({"product": made}, {"product": bare})


def test_an_id_or_source_id_that_exists_is_changed(project: Project) -> None:
    made = post(project, **FULL)
    changed = post(project, source_id="mug", price=5, metadata={"a": 2, "b": None})
    assert changed == made | {
        "price": 5, "metadata": {"a": 2, "b": None, "tags": ["x"]}, "updated_at": changed["updated_at"],
    }  # fmt: skip
    assert changed["updated_at"] > changed["created_at"]
    again = post(project, id=made["id"], name="Cup", source_id="")
    assert (again["name"], again["source_id"]) == ("Cup", "mug")
    assert types(project) == ["product.created", "product.updated", "product.updated"]
    assert noted(project)[-1]["data"] == {"product": again}
    assert totals(project) == {"products": 1}


def test_what_changes_nothing_is_not_written(project_18: Project) -> None:
    made = post(project_18, **FULL)
    query = "SELECT xmin::text FROM products WHERE project_id = %(project)s"
    before = rows(project_18, query)
    assert post(project_18, **FULL) == made
    nulls: dict[str, Any] = dict.fromkeys(FULL) | {"source_id": "mug"}
    assert post(project_18, **nulls) == made  # absent, on create
    assert put(project_18, "mug") == put(project_18, "mug", price=900, metadata={"a": 1}, attributes=None) == made
    assert put(project_18, "mug", source_id="other", id="prod_other", skus=[], currency="EUR") == made
    assert (rows(project_18, query), types(project_18)) == (before, ["product.created"])


def test_a_change_replaces_fields_and_merges_metadata(project_18: Project) -> None:
    expected = post(project_18, **FULL)
    changes: list[dict[str, Any]] = [
        {"name": "Cup"}, {"price": 0}, {"attributes": ["size"]}, {"attributes": []}, {"metadata": {"b": 1e20}},
        {"name": "Mug", "price": 2**53 - 1},
        {"image_url": "https://img.example/a.JPG?x=1"},
    ]  # fmt: skip
    for no, change in enumerate(changes):
        answer = put(project_18, "mug" if no % 2 else expected["id"], **change)
        expected |= change
        if "metadata" in change:
            expected["metadata"] = {"a": 1, "tags": ["x"], "b": 10**20}
        assert answer["updated_at"] > (expected["updated_at"] or expected["created_at"])
        expected["updated_at"] = answer["updated_at"]
        assert answer == expected == without_skus(project_18, "mug")
    assert types(project_18) == ["product.created", *["product.updated"] * len(changes)]


def test_an_unknown_id_is_kept_if_it_could_be_one(project_18: Project) -> None:
    assert post(project_18, id="prod_5h0wc453_1")["id"] == "prod_5h0wc453_1"
    assert post(project_18, id="prod_5h0wc453_1", name="x")["name"] == "x"
    for given in ("mug", "prod_", "prod_a-b", "sku_1"):
        refused = post(project_18, id=given, expect=404)
        assert refused["details"] == f"Cannot find product with id {given}"
        assert (refused["resource_type"], refused["resource_id"]) == ("product", given)
    assert totals(project_18) == {"products": 1}


def test_an_id_beside_another_product_s_source_id_is_refused(project_18: Project) -> None:
    mug, plate = post(project_18, source_id="mug"), post(project_18, source_id="plate")
    for given in (plate["id"], "prod_new"):
        refused = post(project_18, id=given, source_id="mug", name="x", expect=400)
        assert refused["key"] == "duplicate_source_id"
        assert refused["details"] == f"Product with source_id: 'mug' already exists: its id is {mug['id']}, not {given}"
    assert types(project_18) == ["product.created"] * 2


@pytest.mark.parametrize(
    ("body", "details"),
    [
        (b'{"price":-1}', "Property .price cannot be lower than 0"),
        (b'{"price":9007199254740992}', "Property .price cannot be higher than 9007199254740991"),
        (b'{"price":1.5}', "Property .price should be integer"),
        (b'{"name":1}', "Property .name must be string"),
        (b'{"attributes":["a",1]}', "Property .attributes[1] must be string"),
        (b'{"attributes":{}}', "Property .attributes must be an array"),
        (b'{"image_url":"http://a.example/a.png"}',
         "Property .image_url must be an HTTPS address of a .png or .jpg file"),
        (b'{"image_url":"https://a.example/a.gif"}',
         "Property .image_url must be an HTTPS address of a .png or .jpg file"),
        (b'{"metadata":[]}', "Property .metadata must be an object"),
        (b'{"metadata":{"a":1e999}}', "Property .metadata must be a number that can be represented"),
        (b'{"metadata":{"a":9223372036854775808}}', "Property .metadata.a must be a number that can be represented"),
        (b'{"name":"\\u0000"}', "Property .name must not contain a NUL character"),
        (b'{"metadata":{"a":"\\u0000"}}', "Property .metadata.a must not contain a NUL character"),
        (b"[]", "Payload must be an object"),
        (b"{", "Payload is not valid JSON: it ends early or holds an incomplete escape"),
    ],
)  # fmt: skip
def test_what_has_not_the_documented_shape_is_refused(project_18: Project, body: bytes, details: str) -> None:
    post(project_18, source_id="mug")
    for method, path in (("POST", "/v1/products"), ("PUT", "/v1/products/mug")):
        headers = {"content-type": "application/json"}
        refused = project_18.call(method, path, content=body, headers=headers, expect=400)
        assert (refused["key"], refused["details"]) == ("invalid_payload", details)


def test_integral_floats_are_integers_and_long_ids_are_refused(project_18: Project) -> None:
    assert post(project_18, price=70000.0)["price"] == 70000
    refused = post(project_18, source_id="x" * 256, expect=400)
    assert refused["details"] == "Property .source_id must have at most 255 characters"


def test_metadata_follows_the_schema(project_18: Project) -> None:
    define(project_18, [schema("product", unit={"type": "number", "optional": False})])
    refused = post(project_18, source_id="mug", expect=400)
    assert refused["key"] == "metadata_validation_failed"
    assert refused["details"] == "unit: must be a number, property is required (actual value is missing)"
    post(project_18, source_id="mug", metadata={"unit": 1})
    for refused in (put(project_18, "mug", metadata={"unit": "EUR"}, expect=400),
                    post(project_18, source_id="mug", metadata={"unit": "EUR"}, expect=400)):  # fmt: skip
        assert refused["details"] == "unit: must be a number, property is required (actual value is 'EUR')"
    assert put(project_18, "mug", metadata={"x": 1})["metadata"] == {"unit": 1, "x": 1}
    assert types(project_18) == ["product.created", "product.updated"]


def test_unknown_products_are_not_found(project_18: Project, deployment_18: Any) -> None:
    other = deployment_18.new_project()
    theirs = post(other, source_id="theirs")
    for name in ("no", theirs["id"], "theirs"):
        for refused in (put(project_18, name, name="x", expect=404), delete(project_18, name, expect=404),
                        delete(project_18, name, force="true", expect=404)):  # fmt: skip
            assert (refused["key"], refused["details"]) == ("not_found", f"Cannot find product with id {name}")
    # the same id in two projects is two products
    assert post(project_18, id=theirs["id"], name="ours")["name"] == "ours"
    assert (without_skus(other, "theirs"), types(other)) == (theirs, ["product.created"])
    other.close()


def test_a_request_that_is_sent_again_makes_one_product(project_18: Project) -> None:
    headers = {"Idempotency-Key": "once"}
    first = project_18.http.post("/v1/products", json={"name": "n"}, headers=headers)
    again = project_18.http.post("/v1/products", json={"name": "n"}, headers=headers)
    assert (first.json(), again.headers["Idempotent-Replayed"]) == (again.json(), "true")
    assert (totals(project_18), types(project_18)) == ({"products": 1}, ["product.created"])


def test_clients_that_create_one_source_id_at_a_time_make_one_product(project: Project) -> None:
    def create(no: int) -> Any:
        return [post(project, source_id=f"p{each}", metadata={f"k{no}": each}) for each in range(5)]

    with ThreadPoolExecutor(4) as threads:
        answers = [answer for made in threads.map(create, range(8)) for answer in made]
    assert len({answer["id"] for answer in answers}) == 5
    for product in project.get("/v1/products")["products"]:
        assert product["metadata"] == {f"k{no}": int(product["source_id"][1:]) for no in range(8)}
    assert totals(project) == {"products": 5}
    assert sorted(types(project)) == ["product.created"] * 5 + ["product.updated"] * 35


def test_clients_that_change_one_product_and_one_sku_at_a_time_all_get_through(project: Project) -> None:
    """Who was overtaken holds the row: it does not begin anew, to be overtaken again and again."""
    post(project, source_id="p")

    def change(no: int) -> None:
        for turn in range(8):
            post(project, source_id="p", price=1000 * no + turn)
            sku = {"source_id": "s", "price": 1000 * no + turn, "metadata": {f"{no}/{turn}": 1}}
            project.call("POST", "/v1/products/p/skus", json=sku)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(change, range(8)))
    assert len(project.get("/v1/skus/s")["metadata"]) == 64
    assert types(project).count("sku.created") == 1


def test_bulk_updates_have_the_same_rules(project_18: Project) -> None:
    post(project_18, **FULL)
    updated(project_18, "products", {"source_id": "mug", "price": 1})
    assert put(project_18, "mug", name="x")["price"] == 1
    action = finished(project_18, "products/bulk", [
        {"source_id": "a", "image_url": "ftp://x/a.png"}, {"source_id": "mug", "image_url": "x"}, {"source_id": "a"},
    ])  # fmt: skip
    assert [error["details"] for error in action["result"]["errors"]] == [
        "Property .image_url must be an HTTPS address of a .png or .jpg file"
    ] * 2
    assert action["counts"] == {"created": 1, "updated": 0, "unchanged": 0}
    assert types(project_18) == ["product.created", "product.updated"]
