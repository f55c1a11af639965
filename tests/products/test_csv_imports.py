"""Imports of products and SKUs from CSV files: what a row does, and why one fails."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.errors import RecordError
from punchcard.products.csv_imports import price_of
from tests.bulk.csv_uploads import all_imported, failures, imported
from tests.deployment import Project
from tests.metadata_schemas.defining import define, schema
from tests.orders.stored import rows
from tests.products.writing import delete, post, totals, types

PRODUCTS = """name,source_id,price,attributes,image_url,Fashion
T-Shirt,shirt,21,"color,size,ranking",https://images.example/original.jpg,slim
"""
SKUS = """product_id,sku,source_id,price,image_url,attributes
shirt,Extra Small Blue Shirt,s1,13,,"{'color':'blue','size':'XS','ranking':1}"
shirt,Small Red Shirt,s2,14,,"{'color':'red','size':'S','ranking':2}"
shirt,Medium Yellow Shirt,s3,14.5,,"{'color':'yellow','size':'M','ranking':3}"
shirt,Large Pink Shirt,s4,17.05,https://images.example/pink.png,
"""


def test_products_and_their_skus_are_made(project: Project) -> None:
    action = all_imported(project, "products", PRODUCTS)
    assert (action["type"], action["status"], action["operation_status"]) == ("PRODUCTS.IMPORT_CSV", "DONE", "SUCCESS")
    assert action["result"] == {
        "message": "1 product(s) imported successfully, 0 failed.", "failed": [], "done_count": 1, "failed_count": 0,
    }  # fmt: skip
    shirt = project.get("/v1/products/shirt")
    assert shirt | {"created_at": None, "skus": None} == {
        "id": shirt["id"], "source_id": "shirt", "name": "T-Shirt", "price": 2100,
        "attributes": ["color", "size", "ranking"], "metadata": {"Fashion": "slim"},
        "image_url": "https://images.example/original.jpg", "created_at": None, "updated_at": None, "skus": None,
        "object": "product",
    }  # fmt: skip
    action = all_imported(project, "skus", SKUS)
    assert (action["type"], action["result"]["message"]) == (
        "SKUS.IMPORT_CSV", "4 sku(s) imported successfully, 0 failed.",
    )  # fmt: skip
    skus = project.get("/v1/products/shirt/skus")["skus"]
    assert [(sku["source_id"], sku["sku"], sku["price"]) for sku in skus] == [
        ("s1", "Extra Small Blue Shirt", 1300), ("s2", "Small Red Shirt", 1400), ("s3", "Medium Yellow Shirt", 1450),
        ("s4", "Large Pink Shirt", 1705),
    ]  # fmt: skip
    assert skus[0]["attributes"] == {"color": "blue", "size": "XS", "ranking": 1}
    assert (skus[0]["image_url"], skus[3]["image_url"]) == (None, "https://images.example/pink.png")
    assert (totals(project), types(project)) == ({"products": 1, "skus": 4}, [])  # silent


def test_of_a_product_that_exists_the_name_alone_changes(project_18: Project) -> None:
    made = post(project_18, source_id="mug", name="Mug", price=5, metadata={"a": 1}, attributes=["x"])
    file = "NAME,Source_ID,price,attributes,image_url,a,b\nCup,mug,9,y,no picture,2,3\nPlate,,,,,,\nPlate,,,,,,\n"
    action = all_imported(project_18, "products", file)
    assert action["counts"] == {"created": 2, "updated": 1, "unchanged": 0}
    changed = project_18.get("/v1/products/mug")
    assert changed["updated_at"] > changed["created_at"]
    del changed["skus"]
    assert changed == made | {"name": "Cup", "updated_at": changed["updated_at"]}
    # without a source id each row is a product
    assert [product["name"] for product in project_18.get("/v1/products")["products"]] == ["Cup", "Plate", "Plate"]
    query = "SELECT xmin::text FROM products WHERE project_id = %(project)s AND source_id = 'mug'"
    before = rows(project_18, query)
    assert all_imported(project_18, "products", "name,source_id\nCup,mug\n")["counts"]["unchanged"] == 1
    assert (rows(project_18, query), types(project_18)) == (before, ["product.created"])


def test_of_a_sku_that_exists_name_and_price_alone_change(project_18: Project) -> None:
    mug = post(project_18, source_id="mug", attributes=["color"])
    made = post(project_18, "/mug/skus", source_id="blue", sku="Blue", price=5, currency="EUR", metadata={"a": 1},
                attributes={"color": "blue"})  # fmt: skip
    all_imported(project_18, "skus", f"product_id,source_id,sku,price,attributes,a\n{mug['id']},blue,B,0.5,{{}},2\n")
    changed = project_18.get("/v1/skus/blue")
    assert changed == made | {"sku": "B", "price": 50, "updated_at": changed["updated_at"]}
    all_imported(project_18, "skus", "product_id,source_id,sku,price\nmug,blue,,0.7\nmug,blue,C,\n")
    changed = project_18.get("/v1/skus/blue")
    assert (changed["sku"], changed["price"], changed["currency"]) == ("C", 70, "EUR")


def test_a_row_sees_what_those_before_it_did(project_18: Project) -> None:
    action = all_imported(project_18, "products", "name,source_id,price\nA,mug,1\nB,mug,2\nB,mug,3\n")
    assert action["counts"] == {"created": 1, "updated": 1, "unchanged": 1}
    mug = project_18.get("/v1/products/mug")
    assert (mug["name"], mug["price"]) == ("B", 100)
    all_imported(project_18, "skus", "product_id,source_id,sku,price\nmug,s,A,1\nmug,s,B,2\n")
    sku = project_18.get("/v1/skus/s")
    assert (sku["sku"], sku["price"]) == ("B", 200)


def test_products_that_fail_say_why(project_18: Project) -> None:
    define(project_18, [schema("product", unit={"type": "number", "optional": False})])
    post(project_18, source_id="binned", metadata={"unit": 1})
    delete(project_18, "binned")
    file = """name,source_id,price,image_url,unit
,a,1,,1
A,a,1.234,,1
A,a,-1,,1
A,a,"1,5",,1
A,a,90071992547409.92,,1
A,a,1,http://a.example/a.png,1
A,a,1,,EUR
A,a,1,,
A,binned,1,,1
A,a,1.50,,1
"""
    action = imported(project_18, "products", file)
    price = "Property .price must be a price of at most two decimals, such as 14.50 (actual value is '{}')"
    unit = "unit: must be a number, property is required (actual value is {})"
    assert [(each["row"], each["reason"]) for each in action["result"]["failed"]] == [
        (1, "Record should have required property 'name'"),
        *((no, price.format(cell)) for no, cell in enumerate(("1.234", "-1", "1,5", "90071992547409.92"), 2)),
        (6, "Property .image_url must be an HTTPS address of a .png or .jpg file"),
        (7, unit.format("'EUR'")),
        (8, unit.format("missing")),
        (9, "Product with source_id: 'binned' already exists: it is in the bin"),
    ]
    assert action["result"]["message"] == "1 product(s) imported successfully, 9 failed."
    assert {each["source_id"] for each in action["result"]["failed"]} == {"a", "binned"}
    assert project_18.get("/v1/products/a")["price"] == 150
    listed = project_18.get(f"/v1/async-actions/{action['id']}/failures")["data"]
    assert listed[1]["record"] == {"name": "A", "source_id": "a", "price": "1.234", "unit": "1"}


def test_skus_that_fail_say_why(project_18: Project, deployment_18: Any) -> None:
    mug = post(project_18, source_id="mug", attributes=["color"])
    post(project_18, source_id="plate")
    post(project_18, source_id="gone")
    for name in ("binned", "taken"):
        post(project_18, "/mug/skus", source_id=name)
    delete(project_18, "gone")
    delete(project_18, "mug/skus/binned")
    other = deployment_18.new_project()
    theirs = post(other, source_id="theirs")
    other.close()
    file = f"""product_id,source_id,price,attributes
,a,1,
mug,,1,
unknown,a,1,
{theirs["id"]},a,1,
gone,a,1,
mug,binned,1,
plate,taken,1,
mug,a,x,
mug,a,1,"{{'size':1}}"
mug,a,1,color
mug,a,1,"{{'color':99999999999999999999}}"
mug,a,1,"{{'color':'blue'}}"
plate,a,1,
"""
    action = imported(project_18, "skus", file)
    in_use = f"Resource sku with id {{}} is in use by products with ids [{mug['id']}]"
    no_object = "Property .attributes must be an object, such as {'color':'blue'}"
    assert [tuple(each.values()) for each in action["result"]["failed"]] == [
        (1, "Record should have required property 'product_id'"),
        (2, "Record should have required property 'source_id'"),
        (3, "Cannot find product with id unknown"),
        (4, f"Cannot find product with id {theirs['id']}"),
        (5, "Cannot find product with id gone"),
        (6, "Sku with source_id: 'binned' already exists: it is in the bin"),
        (7, in_use.format("taken")),
        (8, "Property .price must be a price of at most two decimals, such as 14.50 (actual value is 'x')"),
        (9, f"Property .attributes has what the product {mug['id']} does not: size"),
        (10, no_object),
        (11, no_object),
        (13, in_use.format("a")),
    ]
    assert action["result"]["message"] == "1 sku(s) imported successfully, 12 failed."
    assert totals(project_18) == {"products": 2, "skus": 2}


def test_metadata_of_skus_has_the_types_of_products(project_18: Project) -> None:
    define(project_18, [schema("product", shelf="number")])
    post(project_18, source_id="mug")
    all_imported(project_18, "skus", "product_id,source_id,shelf,note\nmug,a,7,7\n")
    assert project_18.get("/v1/skus/a")["metadata"] == {"shelf": 7, "note": "7"}


@given(st.integers(0, 2**53 - 1), st.integers(0, 5))
def test_a_price_is_taken_to_the_cent(cents: int, zeros: int) -> None:
    assert price_of(f"{cents // 100}.{cents % 100:02}{'0' * zeros}") == cents
    assert price_of(f"{cents // 100}") == cents - cents % 100
    if cents % 10 == 0:
        assert price_of(f"{cents // 100}.{cents % 100 // 10}") == cents


@pytest.mark.parametrize(
    "cell", ["", " 1", "1.", ".5", "1e2", "+1", "1.001", "\u0661", "90071992547409.92", "9" * 17, "NaN"]
)
def test_what_is_no_price_is_refused(cell: str) -> None:
    with pytest.raises(RecordError, match="must be a price"):
        price_of(cell)


def test_the_templates_are_imported(project_18: Project) -> None:
    """Files as the template's, by way of what a spreadsheet makes of them: BOM and CRLF."""
    for resource, file in (("products", PRODUCTS), ("skus", SKUS)):
        all_imported(project_18, resource, b"\xef\xbb\xbf" + file.replace("\n", "\r\n").encode())
    assert project_18.get("/v1/skus/s3")["price"] == 1450


def test_an_import_of_many_portions(project_18: Project) -> None:
    file = "name,source_id,price\n" + "".join(f"P{no},p{no % 4500},{no}.25\n" for no in range(5000))
    action = all_imported(project_18, "products", file)
    assert action["counts"] == {"created": 4500, "updated": 500, "unchanged": 0}
    assert totals(project_18) == {"products": 4500}
    assert project_18.get("/v1/products/p7")["name"] == "P4507"
    assert failures(project_18, "skus", "product_id,source_id\n" + "p1,s\n" * 2500 + "p2,s\n")[0][0] == 2501
