"""What a request may hold besides: nulls, unknown fields, dates, defaults, and what they do not do."""

import datetime
from typing import Any

from tests.deployment import Project
from tests.orders.cases import Row, parts, stored_items, stored_orders

# every field that may be absent
ORDER_FIELDS = ("id", "status", "amount", "initial_amount", "discount_amount", "items", "metadata", "customer",
                "referrer", "referrer_id")  # fmt: skip
PERSON_FIELDS = ("id", "source_id", "name", "description", "email", "phone", "birthdate", "birthday", "address",
                 "metadata")  # fmt: skip
ITEM_FIELDS = ("sku_id", "product_id", "related_object", "source_id", "quantity", "discount_quantity",
               "initial_quantity", "amount", "discount_amount", "initial_amount", "price", "product", "sku",
               "metadata")  # fmt: skip
PRODUCT_FIELDS = ("id", "source_id", "override", "name", "price", "metadata")
SKU_FIELDS = ("id", "source_id", "override", "sku", "price", "metadata")
FULL = {
    "source_id": "o", "status": "PAID", "amount": 5, "initial_amount": 9, "discount_amount": 1, "metadata": {"a": 1},
    "customer": {"source_id": "c", "name": "C", "address": {"city": "L"}, "birthday": "2000-01-01"},
    "referrer": {"source_id": "r", "name": "R"},
    "items": [{"source_id": "p", "related_object": "product", "quantity": 2, "price": 3, "metadata": {"i": 1},
               "product": {"override": True, "name": "P", "price": 3, "metadata": {"p": 1}}}],
}  # fmt: skip


def test_null_means_absent_everywhere(project_18: Project) -> None:
    item = dict.fromkeys(ITEM_FIELDS)
    people = dict.fromkeys(PERSON_FIELDS) | {"source_id": "c"}
    orders = stored_orders(project_18, {
        "order": dict.fromkeys(ORDER_FIELDS),
        "item": {"items": [item]},
        "product and sku": {"items": [{"product": dict.fromkeys(PRODUCT_FIELDS), "sku": dict.fromkeys(SKU_FIELDS)}]},
        "people": {"customer": people, "referrer": {**people, "address": dict.fromkeys(["city", "line_1"])}},
    })  # fmt: skip
    bare = orders["order"]
    assert (bare["status"], bare["amount"], bare["items"], bare["metadata"]) == ("CREATED", 0, [], {})
    assert orders["item"]["items"] == [{"object": "order_item"}]
    assert orders["product and sku"]["items"] == [{"object": "order_item", "product": {}, "sku": {}}]
    assert orders["people"]["customer_id"] == project_18.get("/v1/customers/c")["id"]


def test_null_changes_nothing_of_what_is_stored(project_18: Project) -> None:
    project_18.imported(FULL)
    order, customer, product = (project_18.get(f"/v1/{path}") for path in ("orders/o", "customers/c", "products/p"))
    nulls = {
        "customer": {"source_id": "c"} | dict.fromkeys(PERSON_FIELDS[2:]),
        "referrer": dict.fromkeys(PERSON_FIELDS),
    }
    result = project_18.import_orders([
        {"source_id": "o", **dict.fromkeys(ORDER_FIELDS)},
        {"source_id": "o", **nulls},
        {"source_id": "other", "items": [{"source_id": "p", "product": {"override": True, "name": None, "price": None,
                                                                       "metadata": None}}]},
    ])  # fmt: skip
    assert (result["unchanged_count"], result["created_count"]) == (2, 1)
    assert project_18.get("/v1/orders/o") == order
    assert project_18.get("/v1/customers/c") == customer
    assert project_18.get("/v1/products/p") == product


def test_a_null_inside_metadata_is_a_value(project_18: Project) -> None:
    metadata = {"a": None, "b": [None], "c": {"d": None}}
    item = {"source_id": "p", "metadata": metadata, "product": {"override": True, "metadata": metadata}}
    project_18.imported({"source_id": "o", "metadata": metadata, "items": [item],
                         "customer": {"source_id": "c", "metadata": metadata}})  # fmt: skip
    order = project_18.get("/v1/orders/o")
    assert order["metadata"] == order["items"][0]["metadata"] == order["items"][0]["product"]["metadata"] == metadata
    assert project_18.get("/v1/customers/c")["metadata"] == project_18.get("/v1/products/p")["metadata"] == metadata


def test_the_status_is_created_unless_sent_and_stays_unless_sent(project_18: Project) -> None:
    orders = stored_orders(project_18, {
        "none": {}, "null": {"status": None}, **{status: {"status": status} for status in
                                                ("CREATED", "PAID", "CANCELED", "FULFILLED")},
    })  # fmt: skip
    assert parts(orders, "status") == {
        "none": ("CREATED",), "null": ("CREATED",), "CREATED": ("CREATED",), "PAID": ("PAID",),
        "CANCELED": ("CANCELED",), "FULFILLED": ("FULFILLED",),
    }  # fmt: skip
    again = stored_orders(project_18, {name: {"status": None, "amount": 1} for name in orders})
    assert parts(again, "status") == parts(orders, "status")


def test_any_status_may_follow_any_other(project_18: Project) -> None:
    statuses = ("CREATED", "PAID", "CANCELED", "FULFILLED")
    changes = [(before, after) for before in statuses for after in statuses]
    names = {f"{before} {after}": after for before, after in changes}
    stored_orders(project_18, {f"{before} {after}": {"status": before} for before, after in changes})
    after = stored_orders(project_18, {name: {"status": status} for name, status in names.items()})
    assert parts(after, "status") == {name: (status,) for name, status in names.items()}


def test_the_date_of_creation_is_that_of_the_import_whatever_is_sent(project_18: Project) -> None:
    before = datetime.datetime.now(datetime.UTC)
    dates: list[Any] = ["2011-01-01T00:00:00Z", "2011-01-01", "yesterday", 0, None, {}, True]
    sent = {
        str(date): {"created_at": date, "updated_at": date, "customer": {"source_id": str(date), "created_at": date}}
        for date in dates
    }
    orders = stored_orders(project_18, sent)
    for name, order in orders.items():
        created = datetime.datetime.fromisoformat(order["created_at"])
        assert before - datetime.timedelta(seconds=5) < created < before + datetime.timedelta(minutes=5)
        assert order["created_at"].endswith("Z")
        assert order["updated_at"] is None
        assert "ordered_at" not in order
        assert "2011" not in project_18.get(f"/v1/customers/{name}")["created_at"]
    assert len({order["created_at"] for order in orders.values()}) == len(dates)
    again = project_18.import_orders([{**order, "source_id": name} for name, order in sent.items()])
    assert again["unchanged_count"] == len(dates)


def test_updated_at_is_that_of_the_last_change(project_18: Project) -> None:
    def dates(**order: Any) -> tuple[Any, Any]:
        project_18.import_orders([{"source_id": "o", **order}])
        stored = project_18.get("/v1/orders/o")
        return stored["created_at"], stored["updated_at"]

    created, updated = dates(amount=1)
    assert updated is None
    assert dates(amount=1) == (created, None)  # nothing changed
    _, first = dates(amount=2)
    assert first > created
    assert dates(amount=2) == (created, first)
    assert dates(amount=3, customer={"id": "cust_no"}) == (created, first)  # failed
    assert dates(amount=3)[1] > first


def test_object_is_never_required_and_never_minded(project_18: Project) -> None:
    with_objects = {
        "object": "order", "customer": {"source_id": "c", "object": "customer"},
        "items": [{"object": "order_item", "amount": 1}],
    }  # fmt: skip
    odd = {"object": 5, "customer": {"source_id": "c", "object": None}, "items": [{"object": ["x"], "amount": 1}]}
    without = {"customer": {"source_id": "c"}, "items": [{"amount": 1}]}
    orders = stored_orders(project_18, {"with": with_objects, "odd": odd, "without": without})
    assert {(order["object"], order["items"][0]["object"]) for order in orders.values()} == {("order", "order_item")}


def test_unknown_fields_are_ignored_at_every_level(project_18: Project) -> None:
    def with_unknown(value: Any) -> Any:
        if isinstance(value, dict):
            inner = {name: part if name == "metadata" else with_unknown(part) for name, part in value.items()}
            return {**inner, "unknown": {"deep": [1, None]}, "Source_id": "x", "SKU": 1, "": 0}
        return [with_unknown(part) for part in value] if isinstance(value, list) else value

    project_18.imported(FULL)
    before = project_18.get("/v1/orders/o")
    assert project_18.import_orders([with_unknown(FULL)])["unchanged_count"] == 1
    assert project_18.get("/v1/orders/o") == before
    project_18.get("/v1/orders/x", expect=404)


def test_of_repeated_keys_the_last_wins_at_every_level(project_18: Project) -> None:
    body = (
        b'[{"source_id":"o","status":"PAID","status":"CANCELED","items":[{"price":1}],"items":[{"price":2,"price":3,'
        b'"product":{"source_id":"p","override":false,"override":true,"name":"A","name":"B","price":9,"price":null},'
        b'"metadata":{"k":1,"k":{"x":1,"x":2}}}],"customer":{"source_id":"a","source_id":"b","name":"A"},'
        b'"customer":{"source_id":"c","name":"B","name":"C"},"metadata":{"a":1},"metadata":{"b":1,"b":[]}}]'
    )
    assert project_18.import_orders(body)["created_count"] == 1
    order = project_18.get("/v1/orders/o")
    assert (order["status"], order["amount"], order["metadata"]) == ("CANCELED", 3, {"b": []})
    assert order["items"][0]["metadata"] == {"k": {"x": 2}}
    product = project_18.get("/v1/products/p")
    assert (product["name"], product["price"]) == ("B", None)
    [customer] = project_18.get("/v1/customers")["customers"]
    assert (customer["source_id"], customer["name"]) == ("c", "C")


def test_metadata_of_products_is_replaced_and_never_merged(project_18: Project) -> None:
    def replaced(**sent: Any) -> tuple[Any, Any]:
        item = {"source_id": "s", "related_object": "sku", "quantity": 1,
                "product": {"source_id": "p", "override": True, **sent}, "sku": {"override": True, **sent}}  # fmt: skip
        stored_items(project_18, {"o": item})
        return project_18.get("/v1/products/p")["metadata"], project_18.get("/v1/skus/s")["metadata"]

    assert replaced(metadata={"a": 1, "b": {"x": 1}}) == ({"a": 1, "b": {"x": 1}},) * 2
    assert replaced(metadata={"b": {"y": 1}}) == ({"b": {"y": 1}},) * 2
    assert replaced() == ({"b": {"y": 1}},) * 2
    assert replaced(metadata=None) == ({"b": {"y": 1}},) * 2
    assert replaced(metadata={}) == ({}, {})


def test_an_empty_array_is_done_and_writes_nothing(project_18: Project) -> None:
    for _ in range(2):
        result = project_18.import_orders([])
        assert (result["done_count"], result["failed_count"], result["failed"]) == (0, 0, [])
    listed = project_18.get("/v1/orders")
    assert (listed["orders"], listed["total"]) == ([], 0)
    assert project_18.get("/v1/customers")["total"] == 0


def test_each_order_of_a_request_is_counted_once(project_18: Project) -> None:
    orders: list[Row] = [{"source_id": "a"}, {"source_id": "a"}, {"source_id": "a", "amount": 1}, {"id": "no"}, {}]
    result = project_18.import_orders(orders)
    counts = ("created", "updated", "unchanged", "done", "failed")
    assert [result[f"{name}_count"] for name in counts] == [2, 1, 1, 4, 1]
    assert result["message"] == "4 order(s) imported successfully, 1 failed."
