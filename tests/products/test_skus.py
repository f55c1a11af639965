"""SKUs by request: create, change, read, and what is refused."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.deployment import Project
from tests.orders.stored import rows
from tests.products.writing import delete, noted, post, put, totals, types

FULL: dict[str, Any] = {
    "source_id": "blue", "sku": "Blue mug", "price": 950, "currency": "EUR", "attributes": {"color": "blue"},
    "image_url": "https://img.example/blue.jpg", "metadata": {"shelf": 7},
}  # fmt: skip
EMPTY: dict[str, Any] = {
    "source_id": None, "sku": None, "price": None, "currency": None, "attributes": {}, "image_url": None,
    "metadata": {},
}  # fmt: skip


@pytest.fixture
def mug(project: Project) -> Any:
    return post(project, source_id="mug", attributes=["color", "size"])


@pytest.fixture
def mug_18(project_18: Project) -> Any:
    return post(project_18, source_id="mug", attributes=["color", "size"])


def test_a_sku_is_made_as_documented(project: Project, mug: Any) -> None:
    made = post(project, "/mug/skus", **FULL)
    assert set(made) == {"id", "product_id", *FULL, "created_at", "updated_at", "object"}
    assert {name: made[name] for name in FULL} == FULL
    assert (made["product_id"], made["object"], made["updated_at"]) == (mug["id"], "sku", None)
    assert made["id"].startswith("sku_")
    bare = post(project, f"/{mug['id']}/skus")
    assert {name: bare[name] for name in EMPTY} == EMPTY
    assert project.get("/v1/skus/blue") == project.get(f"/v1/skus/{made['id']}") == made
    assert project.get("/v1/products/mug/skus")["skus"] == [made, bare]
    assert project.get("/v1/products/mug")["skus"]["data"] == [made, bare]
    assert totals(project) == {"products": 1, "skus": 2}
    assert types(project) == ["product.created", "sku.created", "sku.created"]
    event = noted(project)[1]
    assert (event["object_id"], event["data"]) == (made["id"], {"sku": made, "product": mug})


def test_an_id_or_source_id_that_exists_is_changed(project_18: Project, mug_18: Any) -> None:
    made = post(project_18, "/mug/skus", **FULL)
    changed = post(project_18, "/mug/skus", source_id="blue", price=1, attributes={"size": "L"}, metadata={"b": None})
    assert changed == made | {
        "price": 1, "attributes": {"size": "L"}, "metadata": {"shelf": 7, "b": None},
        "updated_at": changed["updated_at"],
    }  # fmt: skip
    assert changed["updated_at"] > changed["created_at"]
    assert post(project_18, "/mug/skus", id=made["id"], sku="Cup")["sku"] == "Cup"
    assert post(project_18, "/mug/skus", id="sku_1_a")["id"] == "sku_1_a"
    assert types(project_18)[2:] == ["sku.updated", "sku.updated", "sku.created"]
    assert project_18.get("/v1/products/mug")["updated_at"] == mug_18["updated_at"]


def test_a_change_replaces_fields_and_merges_metadata(project_18: Project, mug_18: Any) -> None:
    expected = post(project_18, "/mug/skus", **FULL)
    changes: list[dict[str, Any]] = [
        {"sku": "Cup"}, {"price": 0}, {"currency": "PLN"}, {"attributes": {"size": 1e20}}, {"metadata": {"b": True}},
            {"attributes": {}},
    ]  # fmt: skip
    for no, change in enumerate(changes):
        answer = put(project_18, f"{'mug' if no % 2 else mug_18['id']}/skus/{'blue' if no % 3 else expected['id']}",
                     **change)  # fmt: skip
        expected |= change
        if "metadata" in change:
            expected["metadata"] = {"shelf": 7, "b": True}
        assert answer["updated_at"] > (expected["updated_at"] or expected["created_at"])
        expected["updated_at"] = answer["updated_at"]
        assert answer == expected == project_18.get("/v1/skus/blue")


def test_what_changes_nothing_is_not_written(project_18: Project, mug_18: Any) -> None:
    made = post(project_18, "/mug/skus", **FULL)
    query = "SELECT xmin::text FROM skus WHERE project_id = %(project)s"
    before = rows(project_18, query)
    assert post(project_18, "/mug/skus", **FULL) == made
    nulls: dict[str, Any] = dict.fromkeys(FULL) | {"source_id": "blue"}
    assert post(project_18, "/mug/skus", **nulls) == made
    unlisted: dict[str, Any] = {"source_id": "x", "id": "sku_x", "product_id": "prod_x"}
    assert put(project_18, "mug/skus/blue") == put(project_18, "mug/skus/blue", **unlisted) == made
    assert put(project_18, "mug/skus/blue", attributes=None, metadata=None, price=950) == made
    assert (rows(project_18, query), types(project_18)) == (before, ["product.created", "sku.created"])


def test_a_sku_stays_with_its_product(project_18: Project, mug_18: Any) -> None:
    made = post(project_18, "/mug/skus", source_id="blue")
    post(project_18, source_id="plate")
    for given in ({"source_id": "blue"}, {"id": made["id"]}):
        refused = post(project_18, "/plate/skus", **given, expect=400)
        assert refused["key"] == "resource_in_use"
        assert refused["details"] == f"Resource sku with id blue is in use by products with ids [{mug_18['id']}]"
    for refused in (put(project_18, "plate/skus/blue", price=1, expect=404),
                    delete(project_18, "plate/skus/blue", expect=404)):  # fmt: skip
        assert (refused["resource_type"], refused["details"]) == ("sku", "Cannot find sku with id blue")
    assert project_18.get("/v1/skus/blue") == made


def test_attributes_are_among_those_of_the_product(project_18: Project, mug_18: Any) -> None:
    refused = post(project_18, "/mug/skus", source_id="s", attributes={"weight": 1, "color": "x", "a": 2}, expect=400)
    details = f"Property .attributes has what the product {mug_18['id']} does not: a, weight"
    assert (refused["key"], refused["details"]) == ("invalid_sku", details)
    post(project_18, "/mug/skus", source_id="s")
    refused = put(project_18, "mug/skus/s", attributes={"weight": 1, "a": 1}, expect=400)
    assert (refused["key"], refused["details"]) == ("invalid_sku", details)


@pytest.mark.parametrize(
    ("body", "details"),
    [
        (b'{"price":-1}', "Property .price cannot be lower than 0"),
        (b'{"sku":1}', "Property .sku must be string"),
        (b'{"attributes":["color"]}', "Property .attributes must be an object"),
        (b'{"attributes":{"color":9223372036854775808}}',
         "Property .attributes.color must be a number that can be represented"),
        (b'{"attributes":{"color":"\\u0000"}}', "Property .attributes.color must not contain a NUL character"),
        (b'{"image_url":"x"}', "Property .image_url must be an HTTPS address of a .png or .jpg file"),
        (b'{"metadata":{"a":9223372036854775808}}', "Property .metadata.a must be a number that can be represented"),
    ],
)  # fmt: skip
def test_what_has_not_the_documented_shape_is_refused(
    project_18: Project, mug_18: Any, body: bytes, details: str
) -> None:
    post(project_18, "/mug/skus", source_id="s")
    for method, path in (("POST", "/v1/products/mug/skus"), ("PUT", "/v1/products/mug/skus/s")):
        headers = {"content-type": "application/json"}
        refused = project_18.call(method, path, content=body, headers=headers, expect=400)
        assert (refused["key"], refused["details"]) == ("invalid_payload", details)


def test_unknown_products_and_skus_are_not_found(project_18: Project, mug_18: Any, deployment_18: Any) -> None:
    other = deployment_18.new_project()
    plate = post(other, source_id="plate")
    theirs = post(other, "/plate/skus", source_id="theirs")
    for name in ("no", "plate", plate["id"]):
        for refused in (post(project_18, f"/{name}/skus", expect=404), put(project_18, f"{name}/skus/s", expect=404),
                        delete(project_18, f"{name}/skus/s", expect=404)):  # fmt: skip
            assert (refused["resource_type"], refused["resource_id"]) == ("product", name)
    for name in ("no", "theirs", theirs["id"]):
        for refused in (put(project_18, f"mug/skus/{name}", price=1, expect=404),
                        delete(project_18, f"mug/skus/{name}", force="true", expect=404)):  # fmt: skip
            assert (refused["resource_type"], refused["details"]) == ("sku", f"Cannot find sku with id {name}")
    assert (other.get("/v1/skus/theirs"), types(other)) == (theirs, ["product.created", "sku.created"])
    other.close()


def test_clients_that_create_one_source_id_at_a_time_make_one_sku(project_18: Project, mug_18: Any) -> None:
    def create(no: int) -> Any:
        return [post(project_18, "/mug/skus", source_id=f"s{each}", metadata={f"k{no}": each}) for each in range(4)]

    with ThreadPoolExecutor(4) as threads:
        answers = [answer for made in threads.map(create, range(6)) for answer in made]
    assert len({answer["id"] for answer in answers}) == 4
    for sku in project_18.get("/v1/products/mug/skus")["skus"]:
        assert sku["metadata"] == {f"k{no}": int(sku["source_id"][1:]) for no in range(6)}
    assert totals(project_18) == {"products": 1, "skus": 4}
