"""What an item shows when it is read back: how it was named, what it refers to, and nothing else."""

import pytest

from tests.deployment import Project
from tests.orders.cases import Catalogue, Row, parts, stored_items, stored_orders

ITEM_KEYS = {
    "object", "source_id", "related_object", "product_id", "sku_id", "quantity", "initial_quantity",
    "discount_quantity", "amount", "initial_amount", "discount_amount", "price", "subtotal_amount", "product", "sku",
    "metadata",
}  # fmt: skip
PRODUCT_KEYS = {"id", "source_id", "name", "price", "metadata"}
SKU_KEYS = {"id", "source_id", "sku", "price", "metadata"}


@pytest.fixture
def catalogue(project_18: Project) -> Catalogue:
    return Catalogue(project_18)


def costs(price: int, quantity: int = 1) -> Row:
    """The numbers of an item at this price."""
    amount = price * quantity
    return {"object": "order_item", "quantity": quantity, "initial_quantity": quantity, "price": price,
            "amount": amount, "initial_amount": amount, "subtotal_amount": amount}  # fmt: skip


# ---- ways of naming ----------------------------------------------------------------------------


def test_each_way_of_naming_a_product_shows_itself_and_the_product(project_18: Project, catalogue: Catalogue) -> None:
    p = catalogue.ids["p"]
    echo = {**costs(20), "product_id": p, "product": catalogue.product}
    by_source = {"source_id": "p"}
    assert stored_items(project_18, {
        "product_id": {"product_id": p},
        "product.id": {"product": {"id": p}},
        "source_id": {"source_id": "p"},
        "source_id of a product": {"source_id": "p", "related_object": "product"},
        "product.source_id": {"product": {"source_id": "p"}},
        "product.source_id of a product": {"related_object": "product", "product": {"source_id": "p"}},
        "source_id and an empty product": {"source_id": "p", "product": {}},
        "everything": {"product_id": p, "source_id": "p", "related_object": "product", "product": {"id": p}},
        "an id beside an unknown source_id": {"product_id": p, "source_id": "free", "related_object": "product"},
    }) == {
        "product_id": echo,
        "product.id": echo,
        "source_id": echo | by_source,
        "source_id of a product": echo | by_source | {"related_object": "product"},
        "product.source_id": echo,
        "product.source_id of a product": echo | {"related_object": "product"},
        "source_id and an empty product": echo | by_source,
        "everything": echo | by_source | {"related_object": "product"},
        "an id beside an unknown source_id": echo | {"source_id": "free", "related_object": "product"},
    }  # fmt: skip


def test_each_way_of_naming_a_sku_shows_itself_the_sku_and_its_parent(
    project_18: Project, catalogue: Catalogue
) -> None:
    s, p = catalogue.ids["s"], catalogue.ids["p"]
    echo = {**costs(10), "sku_id": s, "product_id": p, "sku": catalogue.sku, "product": catalogue.product}
    by_source = {"source_id": "s", "related_object": "sku"}
    assert stored_items(project_18, {
        "sku_id": {"sku_id": s},
        "sku.id": {"sku": {"id": s}},
        "source_id of a sku": by_source,
        "source_id and an empty sku": {"source_id": "s", "sku": {}},
        "sku.source_id": {"sku": {"source_id": "s"}},
        "sku.source_id of a sku": {"related_object": "sku", "sku": {"source_id": "s"}},
        "with its parent by source_id": {"sku": {"source_id": "s"}, "product": {"source_id": "p"}},
        "with its parent by id": {"sku_id": s, "product_id": p},
    }) == {
        "sku_id": echo,
        "sku.id": echo,
        "source_id of a sku": echo | by_source,
        "source_id and an empty sku": echo | {"source_id": "s"},
        "sku.source_id": echo,
        "sku.source_id of a sku": echo | {"related_object": "sku"},
        "with its parent by source_id": echo,
        "with its parent by id": echo,
    }  # fmt: skip


def test_a_free_item_shows_what_was_sent_and_no_ids(project_18: Project, catalogue: Catalogue) -> None:
    one = {"object": "order_item", "quantity": 1, "initial_quantity": 1}
    p = {"product_id": catalogue.ids["p"], "product": catalogue.product}
    cases: dict[str, Row] = {
        "nothing said": {"source_id": "free", "quantity": 1},
        "a product": {"source_id": "free", "related_object": "product", "quantity": 1},
        "a sku": {"source_id": "free", "related_object": "sku", "quantity": 1},
        "the source id of a sku, called a product": {"source_id": "s", "related_object": "product", "quantity": 1},
        "the source id of a sku alone": {"source_id": "s", "quantity": 1},
        "the source id of a product, called a sku": {"source_id": "p", "related_object": "sku", "quantity": 1},
        "a whole product": {"quantity": 1, "product": {"source_id": "free", "name": "F", "metadata": {"a": [None]}}},
        "a whole sku": {"quantity": 1, "sku": {"source_id": "free", "sku": "F", "metadata": {"b": {}}}},
    }
    assert stored_items(project_18, cases) == {name: one | item for name, item in cases.items()}
    unknown_sku = {"source_id": "free", "related_object": "sku", "product": {"source_id": "p"}}
    assert stored_items(project_18, {"of a known product": unknown_sku}) == {
        "of a known product": unknown_sku | costs(20) | p
    }
    for kind in ("products", "skus"):
        project_18.get(f"/v1/{kind}/free", expect=404)


def test_an_anonymous_item_shows_numbers_alone(project_18: Project) -> None:
    item = {"object": "order_item"}
    assert stored_items(project_18, {
        "amount": {"amount": 900},
        "price and quantity": {"price": 300, "quantity": 3},
        "price": {"price": 300},
        "quantity": {"quantity": 3},
        "nothing": {},
        "metadata": {"metadata": {"gift": True}},
    }) == {
        "amount": item | {"amount": 900, "initial_amount": 900, "subtotal_amount": 900},
        "price and quantity": costs(300, 3),
        "price": costs(300),
        "quantity": item | {"quantity": 3, "initial_quantity": 3},
        "nothing": item,
        "metadata": item | {"metadata": {"gift": True}},
    }  # fmt: skip


# ---- product and sku ---------------------------------------------------------------------------


def test_what_was_sent_stands_over_what_is_stored(project_18: Project, catalogue: Catalogue) -> None:
    cases: dict[str, Row] = {
        "name": {"name": "Sent"},
        "price": {"price": 7},
        "price of nothing": {"price": 0},
        "metadata": {"metadata": {"shape": "round"}},
        "nulls": {"name": None, "price": None, "metadata": None},
        "an empty name": {"name": ""},
    }
    over = {name: {key: value for key, value in sent.items() if value is not None} for name, sent in cases.items()}
    items = stored_items(project_18, {name: {"product": {"source_id": "p", **sent}} for name, sent in cases.items()})
    assert {name: item["product"] for name, item in items.items()} == {
        name: catalogue.product | sent for name, sent in over.items()
    }
    renamed = [({"sku" if key == "name" else key: part for key, part in sent.items()}) for sent in cases.values()]
    skus = dict(zip(cases, renamed, strict=True))
    items = stored_items(project_18, {name: {"sku": {"source_id": "s", **sent}} for name, sent in skus.items()})
    assert {name: item["sku"] for name, item in items.items()} == {
        name: catalogue.sku | {key: value for key, value in sent.items() if value is not None}
        for name, sent in skus.items()
    }
    assert all(item["product"] == catalogue.product for item in items.values())
    product, sku = project_18.get("/v1/products/p"), project_18.get("/v1/skus/s")
    assert {key: product[key] for key in PRODUCT_KEYS} == catalogue.product
    assert {key: sku[key] for key in SKU_KEYS} == catalogue.sku


def test_what_is_neither_stored_nor_sent_is_left_out(project_18: Project, catalogue: Catalogue) -> None:
    items = stored_items(project_18, {"product": {"source_id": "bare"}, "sku": {"sku_id": catalogue.ids["t-bare"]}})
    bare = {"id": catalogue.ids["bare"], "source_id": "bare"}
    ids = {"object": "order_item", "product_id": catalogue.ids["bare"], "product": bare}
    sku_id = catalogue.ids["t-bare"]
    assert items == {
        "product": ids | {"source_id": "bare"},
        "sku": ids | {"sku_id": sku_id, "sku": {"id": sku_id, "source_id": "t-bare"}},
    }


def test_override_is_never_shown(project_18: Project, catalogue: Catalogue) -> None:
    assert catalogue.ids
    for override in (True, False, None):
        items = stored_items(project_18, {
            "known": {"product": {"source_id": "p", "override": override},
                      "sku": {"source_id": "s", "override": override}},
            "new": {"product": {"source_id": f"p-{override}", "override": override, "name": "N"},
                    "sku": {"source_id": f"s-{override}", "override": override, "sku": "N"}},
            "kept here": {"product": {"override": override, "name": "N"}},
        })  # fmt: skip
        assert all("override" not in item | item["product"] | item.get("sku", {}) for item in items.values()), items


def test_only_known_keys_are_shown(project_18: Project) -> None:
    unknown = {
        "object": "whatever", "override": True, "currency": "EUR", "attributes": {"a": 1}, "image_url": "x",
        "created_at": "2011-01-01T00:00:00Z", "skus": [], "product_ids": [1],
    }  # fmt: skip
    calculated = dict.fromkeys(
        ["applied_discount_amount", "applied_discount_quantity", "applied_quantity", "applied_quantity_amount",
         "subtotal_amount"], 3,
    )  # fmt: skip
    full = {
        **unknown, **calculated, "id": "ordli_1", "source_id": "new", "related_object": "sku", "quantity": 2,
        "price": 50, "discount_quantity": 1, "initial_quantity": 4, "discount_amount": 10, "initial_amount": 200,
        "product": {**unknown, "source_id": "new-product", "name": "P", "price": 60, "metadata": {"p": 1}},
        "sku": {**unknown, "source_id": "new", "sku": "S", "price": 50, "metadata": {"s": 1}}, "metadata": {"i": 1},
    }  # fmt: skip
    item = stored_items(project_18, {"full": full})["full"]
    assert item.keys() == ITEM_KEYS
    assert item["product"].keys() == PRODUCT_KEYS
    assert item["sku"].keys() == SKU_KEYS
    assert (item["object"], item["subtotal_amount"]) == ("order_item", 90)


def test_an_order_shows_only_documented_keys(project_18: Project) -> None:
    calculated = ["applied_discount_amount", "items_applied_discount_amount", "total_applied_discount_amount",
                  "items_discount_amount", "total_discount_amount", "total_amount"]  # fmt: skip
    sent = {
        **dict.fromkeys(calculated, 5), "object": "whatever", "amount": 50, "discount_amount": 10, "currency": "EUR",
        "customer_id": "cust_unknown", "redemptions": {"r_1": {}}, "updated_at": "2011-01-01T00:00:00Z",
        "referrer": {"source_id": "r"}, "customer": {"source_id": "c", "object": "whatever", "summary": {"orders": 1}},
    }  # fmt: skip
    orders = stored_orders(project_18, {"full": sent, "bare": {}})
    always = {"id", "source_id", "created_at", "updated_at", "status", "amount", "initial_amount", "total_amount",
              "items", "metadata", "customer_id", "referrer_id", "object", "async_action_id"}  # fmt: skip
    assert orders["bare"].keys() == always
    assert orders["full"].keys() == always | {"customer", "referrer", "discount_amount", "total_discount_amount"}
    full = orders["full"]
    assert (full["object"], full["total_amount"], full["updated_at"]) == ("order", 40, None)
    assert full["customer"] == {"id": full["customer_id"], "object": "customer"}


# ---- the list of items -------------------------------------------------------------------------


def test_items_stay_apart_and_in_order(project_18: Project, catalogue: Catalogue) -> None:
    items = [{"product_id": catalogue.ids["p"], "quantity": n} for n in (3, 1, 3, 2)] + [{"quantity": 9}]
    order = stored_orders(project_18, {"o": {"items": items}})["o"]
    assert [item["quantity"] for item in order["items"]] == [3, 1, 3, 2, 9]


def test_an_order_keeps_what_the_catalogue_said_when_it_was_imported(project_18: Project, catalogue: Catalogue) -> None:
    before = stored_items(project_18, {"o": {"sku_id": catalogue.ids["s"], "quantity": 2}})
    change = {"product": {"source_id": "p", "override": True, "name": "Cup", "price": 1, "metadata": {}},
              "sku": {"source_id": "s", "override": True, "sku": "Cup S", "price": 2, "metadata": {}}}  # fmt: skip
    project_18.imported({"items": [change]}, {"source_id": "o", "status": "PAID"})
    assert [project_18.get("/v1/orders/o")["items"][0]] == list(before.values())
    again = stored_items(project_18, {"o": {"sku_id": catalogue.ids["s"], "quantity": 2}})
    assert parts(again, "price", "amount") == {"o": (2, 4)}
    assert again["o"]["product"]["name"] == "Cup"


def test_metadata_of_an_item_is_replaced_with_the_items(project_18: Project) -> None:
    def metadata(sent: Row) -> object:
        return stored_items(project_18, {"o": {"amount": 1, **sent}})["o"].get("metadata")

    assert metadata({"metadata": {"a": 1, "b": None}}) == {"a": 1, "b": None}
    assert metadata({"metadata": {"c": 1}}) == {"c": 1}
    assert metadata({"metadata": None}) is None
    assert metadata({}) is None


def test_zeros_that_were_sent_are_shown(project_18: Project) -> None:
    zeros = {"quantity": 0, "discount_quantity": 0, "amount": 0, "initial_amount": 0, "discount_amount": 0}
    items = stored_items(
        project_18, {"amount": zeros, "price": zeros | {"price": 0}, "product": {"product": {"price": 0}}}
    )
    assert {name: items["amount"][name] for name in zeros} == zeros
    assert items["amount"]["subtotal_amount"] == 0
    assert "price" not in items["amount"]
    assert items["price"]["price"] == 0
    assert items["product"] == costs(0) | {"product": {"price": 0}}
