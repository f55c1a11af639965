"""Numbers, texts and counts at the edge of what is taken: each limit from both sides, and what numbers look like."""

import re
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from tests.deployment import Project
from tests.orders.cases import Row, exact, failures, stored_items, stored_orders

MAX = 2**53 - 1
ID_LENGTH_MAX = 255

# every number of a request, with the path that an error names, and an order that holds `value` there
NUMBERS: dict[str, Any] = {
    ".amount": lambda value: {"amount": value},
    ".initial_amount": lambda value: {"initial_amount": value},
    ".discount_amount": lambda value: {"discount_amount": value},
    ".items[1].quantity": lambda value: {"items": [{}, {"quantity": value}]},
    ".items[1].initial_quantity": lambda value: {"items": [{}, {"initial_quantity": value}]},
    ".items[1].discount_quantity": lambda value: {"items": [{}, {"discount_quantity": value}]},
    ".items[1].amount": lambda value: {"items": [{}, {"amount": value}]},
    ".items[1].initial_amount": lambda value: {"items": [{}, {"initial_amount": value}]},
    ".items[1].discount_amount": lambda value: {"items": [{}, {"discount_amount": value}]},
    ".items[1].price": lambda value: {"items": [{}, {"price": value}]},
    ".items[1].product.price": lambda value: {"items": [{}, {"product": {"price": value}}]},
    ".items[1].sku.price": lambda value: {"items": [{}, {"sku": {"price": value}}]},
}
IDS: dict[str, Any] = {
    ".id": lambda value: {"id": value},
    ".source_id": lambda value: {"source_id": value},
    ".referrer_id": lambda value: {"referrer_id": value},
    ".customer.id": lambda value: {"customer": {"id": value}},
    ".customer.source_id": lambda value: {"customer": {"source_id": value}},
    ".referrer.id": lambda value: {"referrer": {"id": value}},
    ".referrer.source_id": lambda value: {"referrer": {"source_id": value}},
    ".items[0].source_id": lambda value: {"items": [{"source_id": value}]},
    ".items[0].product_id": lambda value: {"items": [{"product_id": value}]},
    ".items[0].sku_id": lambda value: {"items": [{"sku_id": value}]},
    ".items[0].product.id": lambda value: {"items": [{"product": {"id": value}}]},
    ".items[0].product.source_id": lambda value: {"items": [{"product": {"source_id": value}}]},
    ".items[0].sku.id": lambda value: {"items": [{"sku": {"id": value}}]},
    ".items[0].sku.source_id": lambda value: {"items": [{"sku": {"source_id": value}}]},
}


def refusal(project: Project, order: Row) -> str:
    """The details of a refusal, without the index of the order."""
    details = str(project.refused_import([{}, order])["details"])
    assert details.startswith("Property .[1]")
    return details.removeprefix("Property .[1]")


def found(order: Any, path: str) -> Any:
    """What stands in an order at a path like `.items[1].price`."""
    for name in re.findall(r"\w+", path):
        order = order[int(name)] if name.isdigit() else order[name]
    return order


# ---- numbers -----------------------------------------------------------------------------------


def test_every_number_ends_at_the_largest_that_all_clients_can_read(project_18: Project) -> None:
    orders = stored_orders(project_18, {path: make(MAX) for path, make in NUMBERS.items()})
    assert {path: found(order, path) for path, order in orders.items()} == dict.fromkeys(NUMBERS, MAX)
    refused = {path: refusal(project_18, make(MAX + 1)) for path, make in NUMBERS.items()}
    assert refused == {path: f"{path} cannot be higher than {MAX}" for path in NUMBERS}


def test_every_number_begins_at_nothing_and_initial_quantities_at_one(project_18: Project) -> None:
    least = {path: 1 if "initial_quantity" in path else 0 for path in NUMBERS}
    orders = stored_orders(project_18, {path: make(least[path]) for path, make in NUMBERS.items()})
    assert {path: found(order, path) for path, order in orders.items()} == least
    refused = {path: refusal(project_18, make(least[path] - 1)) for path, make in NUMBERS.items()}
    assert refused == {path: f"{path} cannot be lower than {number}" for path, number in least.items()}


def test_every_number_is_an_integer_however_it_is_written(project_18: Project) -> None:
    for text in ("70000.0", "7e4", "7.0E+4", "700000e-1"):
        raw = msgspec.Raw(text.encode())
        orders = stored_orders(project_18, {path: make(raw) for path, make in NUMBERS.items()})
        assert {path: found(order, path) for path, order in orders.items()} == dict.fromkeys(NUMBERS, 70000), text


@pytest.mark.parametrize("value", [16.5, "5", True, [], {}, float(2**53) + 2, -1.5], ids=repr)
def test_what_is_no_integer_is_refused_everywhere(project_18: Project, value: Any) -> None:
    refused = {path: refusal(project_18, make(value)) for path, make in NUMBERS.items()}
    complaint = f"cannot be higher than {MAX}" if value == 2**53 + 2 else "should be integer"
    assert refused == {path: f"{path} {complaint}" for path in NUMBERS}


def test_prices_of_the_catalogue_are_integers(project_18: Project) -> None:
    body = (
        b'[{"items":[{"product":{"source_id":"p","override":true,"price":70000.0},'
        b'"sku":{"source_id":"s","override":true,"price":9007199254740991.0}}]}]'
    )
    assert project_18.import_orders(body)["done_count"] == 1
    product, sku = exact(project_18, "/v1/products/p"), exact(project_18, "/v1/skus/s")
    assert (product["price"], sku["price"], product["skus"]["data"][0]["price"]) == (70000, MAX, MAX)


def test_sums_and_products_end_there_too(project_18: Project) -> None:
    half = MAX // 2
    orders = stored_orders(project_18, {
        "sum": {"items": [{"amount": half}, {"amount": MAX - half}]},
        "product": {"items": [{"price": MAX // 7, "quantity": 7}]},
        "discounts": {"discount_amount": half, "items": [{"discount_amount": MAX - half}]},
    })  # fmt: skip
    assert (orders["sum"]["amount"], orders["product"]["amount"]) == (MAX, MAX // 7 * 7)
    assert orders["discounts"]["total_discount_amount"] == MAX
    too_high: dict[str, Row] = {
        ".amount": {"items": [{"amount": half}, {"amount": MAX - half + 1}]},
        ".items[1].amount": {"items": [{}, {"price": MAX // 7 + 1, "quantity": 7}]},
        ".total_discount_amount": {"discount_amount": half + 1, "items": [{"discount_amount": MAX - half}]},
    }
    assert failures(project_18, too_high) == {path: f"Property {path} cannot be higher than {MAX}" for path in too_high}


def test_a_product_of_stored_price_and_quantity_ends_there_too(project_18: Project) -> None:
    project_18.imported({"items": [{"source_id": "p", "product": {"override": True, "price": MAX}}]})
    item = {"source_id": "p", "related_object": "product"}
    assert stored_items(project_18, {"one": item})["one"]["amount"] == MAX
    assert failures(project_18, {"two": {"items": [{**item, "quantity": 2}]}}) == {
        "two": f"Property .items[0].amount cannot be higher than {MAX}"
    }


def test_a_sum_that_an_update_makes_too_high_fails_and_changes_nothing(project_18: Project) -> None:
    project_18.imported({"source_id": "o", "items": [{"amount": 5, "discount_amount": MAX}]})
    before = project_18.get("/v1/orders/o")
    result = project_18.import_orders([{"source_id": "o", "status": "PAID", "discount_amount": 1}])
    assert [failure["reason"] for failure in result["failed"]] == [
        f"Property .total_discount_amount cannot be higher than {MAX}"
    ]
    assert project_18.get("/v1/orders/o") == before


# ---- texts -------------------------------------------------------------------------------------


def test_every_id_has_at_most_255_characters(project_18: Project) -> None:
    too_long = "😀" * (ID_LENGTH_MAX + 1)
    refused = {path: refusal(project_18, make(too_long)) for path, make in IDS.items()}
    assert refused == {path: f"{path} must have at most {ID_LENGTH_MAX} characters" for path in IDS}
    orders = [make("😀" * ID_LENGTH_MAX) for make in IDS.values()]
    result = project_18.import_orders(orders)
    internal = [no for no, path in enumerate(IDS) if not path.endswith("source_id")]
    assert [failure["index"] for failure in result["failed"]] == internal  # taken, and found to be unknown


def test_the_longest_source_ids_name_what_they_made(project_18: Project) -> None:
    name = "ü" * ID_LENGTH_MAX
    order = {
        "source_id": name, "customer": {"source_id": name},
        "items": [{"product": {"source_id": name, "override": True}, "sku": {"source_id": name, "override": True}}],
    }  # fmt: skip
    project_18.imported(order)
    assert project_18.import_orders([order])["unchanged_count"] == 1
    for kind in ("orders", "customers", "products", "skus"):
        assert project_18.get(f"/v1/{kind}/{quote(name)}")["source_id"] == name


def test_the_longest_order_id_is_kept(project_18: Project) -> None:
    order_id = "ord_" + "a" * (ID_LENGTH_MAX - 4)
    project_18.imported({"id": order_id})
    assert project_18.get(f"/v1/orders/{order_id}")["id"] == order_id


def test_an_email_has_at_most_255_characters(project_18: Project) -> None:
    project_18.imported({"customer": {"source_id": "c", "email": "ü" * 255}})
    assert project_18.get("/v1/customers/c")["email"] == "ü" * 255
    for role in ("customer", "referrer"):
        refused = refusal(project_18, {role: {"email": "ü" * 256}})
        assert refused == f".{role}.email must have at most 255 characters"


@pytest.mark.parametrize("status", ["paid", "", " PAID", "PROCESSING", "CANCELLED"])
def test_a_status_is_one_of_the_four(project_18: Project, status: str) -> None:
    assert refusal(project_18, {"status": status}) == f".status has an unknown value {status!r}"


@pytest.mark.parametrize("date", ["2023-02-29", "2023-13-01", "2023-1-1", "2023-01-01T00:00:00Z", "", "10000-01-01"])
def test_a_birthdate_is_a_day_of_the_calendar(project_18: Project, date: str) -> None:
    for field in ("birthdate", "birthday"):
        refused = refusal(project_18, {"customer": {field: date}})
        assert refused == f".customer.{field} must be a date in the format YYYY-MM-DD"


# ---- counts ------------------------------------------------------------------------------------


def test_the_most_items_keep_their_places(project_18: Project) -> None:
    project_18.imported({"source_id": "o", "items": [{"quantity": 1, "price": n} for n in range(500)]})
    order = exact(project_18, "/v1/orders/o")
    assert [item["price"] for item in order["items"]] == list(range(500))
    assert order["amount"] == sum(range(500))
    refused = refusal(project_18, {"source_id": "o", "items": [{}] * 501})
    assert refused == ".items must have at most 500 elements"
    assert project_18.get("/v1/orders/o") == order


def test_the_most_orders_keep_their_order(project_18: Project) -> None:
    """Repeats, updates and failures at every place of the largest request, whatever portions it is cut into."""
    orders: list[Row] = [{"source_id": f"o{no % 700}", "amount": no, "metadata": {f"k{no}": no}} for no in range(2000)]
    for no in range(0, 2000, 97):
        orders[no] |= {"customer": {"id": f"cust_{no}"}}
    result = project_18.import_orders(orders)
    failed = set(range(0, 2000, 97))
    assert [failure["index"] for failure in result["failed"]] == sorted(failed)
    expected: dict[str, Row] = {}
    for no, order in enumerate(orders):
        if no not in failed:
            one = expected.setdefault(order["source_id"], {"metadata": {}})
            one["amount"] = no
            one["metadata"] |= order["metadata"]
    assert (result["created_count"], result["done_count"]) == (len(expected), 2000 - len(failed))
    stored = {order["source_id"]: order for order in project_18.all_orders()}
    assert {
        name: {"amount": order["amount"], "metadata": order["metadata"]} for name, order in stored.items()
    } == expected


def test_an_order_is_nested_at_most_200_levels_wherever_nobody_looks(project_18: Project) -> None:
    def nested(depth: int) -> list[Row]:
        unknown: Any = 1
        for level in range(depth - 1):  # the order is the first
            unknown = {"a": unknown} if level % 2 else [unknown, "]]}}", '"[[{{']
        return [{"source_id": "flat"}, {"source_id": "deep", "unknown": unknown}]

    assert project_18.import_orders(nested(200))["done_count"] == 2
    refused = project_18.http.post("/v1/orders/import", json=nested(201))
    assert refused.status_code == 400
    assert refused.json()["details"] == "Property .[1] is nested deeper than 200 levels"
    wide = {"source_id": "wide", "unknown": [[{"b": ["["]}]] * 5000}
    assert project_18.import_orders([wide])["done_count"] == 1
