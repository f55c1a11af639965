"""The seven orders of the documented page, on an empty project: six go in, the one with foreign ids fails."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.deployment import Project

EXAMPLE: list[Any] = msgspec.json.decode(Path(__file__).with_name("example.json").read_bytes())


@pytest.fixture
def result(project: Project) -> Any:
    return project.import_orders(EXAMPLE)


def test_six_go_in_and_one_names_what_it_misses(result: Any) -> None:
    assert result == {
        "message": "6 order(s) imported successfully, 1 failed.",
        "failed": [
            {
                "source_id": "orderImport16",
                "index": 2,
                "reason": "Cannot find customer with id cust_LMY4ZylSdUYB1J4tzqNcl5VV",
            }
        ],
        "done_count": 6,
        "failed_count": 1,
        "created_count": 6,
        "updated_count": 0,
        "unchanged_count": 0,
        "customers_created_count": 2,
        "customers_updated_count": 0,
        "products_created_count": 2,
        "products_updated_count": 0,
        "skus_created_count": 1,
        "skus_updated_count": 0,
    }


@pytest.mark.usefixtures("result")
def test_overrides_reach_the_catalogue(project: Project) -> None:
    phone, books, comics = (
        project.get(f"/v1/{path}") for path in ("products/prod_1", "products/Books", "skus/ComicBook_1")
    )
    assert (phone["name"], phone["price"]) == ("Apple iPhone 12", 70000)
    assert phone["metadata"] == {"color": ["silver"], "vendor": "mall"}
    assert (books["name"], books["price"], books["skus"]["total"]) == ("Comic Books1", 1600, 1)
    assert (comics["sku"], comics["price"], comics["product_id"]) == ("Comics1", 1600, books["id"])
    assert comics["metadata"] == {"color": ["golden"], "vendor": "islands"}
    assert books["skus"]["data"] == [comics]
    project.get("/v1/products/vase_1", expect=404)  # named without override: it stays with its order


@pytest.mark.usefixtures("result")
def test_items_come_back_as_sent_with_what_they_refer_to(project: Project) -> None:
    phone, books, comics = (
        project.get(f"/v1/{path}") for path in ("products/prod_1", "products/Books", "skus/ComicBook_1")
    )
    order = project.get("/v1/orders/orderImport14")
    assert order["items"] == [
        {
            "object": "order_item", "source_id": "prod_1", "related_object": "product", "product_id": phone["id"],
            "quantity": 2, "initial_quantity": 2, "amount": 140000, "initial_amount": 140000, "price": 70000,
            "subtotal_amount": 140000,
            "product": {"id": phone["id"], "source_id": "prod_1", "name": "Apple iPhone 12", "price": 70000,
                        "metadata": {"color": ["silver"], "vendor": "mall"}},
        },
        {
            "object": "order_item", "source_id": "ComicBook_1", "related_object": "sku", "product_id": books["id"],
            "sku_id": comics["id"], "quantity": 1, "initial_quantity": 1, "amount": 1600, "initial_amount": 1600,
            "price": 1600, "subtotal_amount": 1600,
            "product": {"id": books["id"], "source_id": "Books", "name": "Comic Books1", "price": 1600,
                        "metadata": {"color": ["silver"], "vendor": "Bookstore1"}},
            "sku": {"id": comics["id"], "source_id": "ComicBook_1", "sku": "Comics1", "price": 1600,
                    "metadata": {"color": ["golden"], "vendor": "islands"}},
        },
    ]  # fmt: skip
    assert order["amount"] == order["initial_amount"] == order["total_amount"] == 141600
    by_reference = project.get("/v1/orders/orderImport15")
    assert by_reference["amount"] == 6400  # four of the stored SKU; the vase is unknown and has no price
    assert by_reference["items"][0]["sku"]["sku"] == "Comics1"
    assert by_reference["items"][0]["product"]["id"] == books["id"]
    assert by_reference["items"][1] == {
        "object": "order_item", "source_id": "vase_1", "related_object": "product", "quantity": 1,
        "initial_quantity": 1, "product": {"source_id": "vase_1"},
    }  # fmt: skip


@pytest.mark.usefixtures("result")
def test_orders_without_known_items_have_their_own_amounts(project: Project) -> None:
    amounts = {
        order["source_id"]: (order["status"], order["amount"], len(order["items"])) for order in project.all_orders()
    }
    assert amounts == {
        "orderImport14": ("PAID", 141600, 2),
        "orderImport15": ("PAID", 6400, 2),
        "orderImport17": ("CANCELED", 7000, 0),
        "orderImport18": ("CREATED", 2900, 2),
        "orderImport19": ("CREATED", 2900, 2),
        "orderImport20": ("CREATED", 7800, 2),
    }
    anonymous = project.get("/v1/orders/orderImport19")
    assert anonymous["items"][0] == {
        "object": "order_item", "amount": 900, "initial_amount": 900, "subtotal_amount": 900
    }  # fmt: skip
    assert (anonymous["customer_id"], anonymous["referrer_id"]) == (None, None)
    assert not {"customer", "referrer"} & anonymous.keys()


@pytest.mark.usefixtures("result")
def test_customer_and_referrer_are_stored_whole(project: Project) -> None:
    sent = EXAMPLE[0]
    bob, jane = project.get("/v1/customers/bob2.smith@email.com"), project.get("/v1/customers/jane.smith@email.com")
    assert {name: bob[name] for name in sent["customer"]} == sent["customer"]
    assert {name: jane[name] for name in sent["referrer"]} == sent["referrer"]
    assert jane["birthdate"] == "2022-03-03"
    assert "birthday" not in bob
    summary = bob["summary"]["orders"]
    assert (summary["total_amount"], summary["total_count"], summary["average_amount"]) == (148000, 2, 74000)
    assert summary["last_order_amount"] == 6400
    assert summary["last_order_date"] == project.get("/v1/orders/orderImport15")["created_at"]
    assert jane["summary"]["orders"] == {
        "total_amount": 0, "total_count": 0, "average_amount": 0, "last_order_amount": 0
    }  # fmt: skip
    order = project.get("/v1/orders/orderImport14")
    assert order["customer"] == {"id": bob["id"], "object": "customer"}
    assert order["referrer"] == {"id": jane["id"], "object": "customer"}
    assert project.get("/v1/customers")["total"] == 2


@pytest.mark.usefixtures("result")
def test_the_page_again_changes_nothing(project: Project) -> None:
    before = list(project.all_orders()), project.get("/v1/customers")["customers"]
    assert project.import_orders(EXAMPLE)["unchanged_count"] == 6
    assert (list(project.all_orders()), project.get("/v1/customers")["customers"]) == before


def test_internal_ids_are_found_once_they_exist(project: Project) -> None:
    project.import_orders(EXAMPLE)
    bob, jane = project.get("/v1/customers/bob2.smith@email.com"), project.get("/v1/customers/jane.smith@email.com")
    phone, comics = project.get("/v1/products/prod_1"), project.get("/v1/skus/ComicBook_1")
    order = {
        **EXAMPLE[2],
        "customer": {"id": bob["id"]},
        "referrer": {"id": jane["id"]},
        "items": [{"product_id": phone["id"], "quantity": 2}, {"sku_id": comics["id"], "quantity": 2}],
    }
    project.imported(order)
    stored = project.get("/v1/orders/orderImport16")
    assert stored["amount"] == 2 * 70000 + 2 * 1600
    assert [(item.get("product_id"), item.get("sku_id")) for item in stored["items"]] == [
        (phone["id"], None),
        (comics["product_id"], comics["id"]),
    ]
    assert project.get(f"/v1/customers/{bob['id']}")["summary"]["orders"]["total_count"] == 3
