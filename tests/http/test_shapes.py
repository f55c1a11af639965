"""What an import request must look like: every shape error with its path, and the limits from both sides."""

import itertools
import json
from typing import Any

import pytest

from tests.deployment import Project

AMOUNT_MAX = 2**53 - 1


def details(project: Project, body: Any) -> str:
    """Why an import was refused; nothing of it may be stored."""
    answer = project.refused_import(body)
    assert (answer["code"], answer["key"], answer["message"]) == (400, "invalid_payload", "Invalid payload")
    assert project.get("/v1/async-actions")["async_actions"] == []
    return str(answer["details"])


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ({"items": [{"initial_quantity": 0}]}, ".items[0].initial_quantity cannot be lower than 1"),
        ({"amount": -1}, ".amount cannot be lower than 0"),
        ({"amount": AMOUNT_MAX + 1}, f".amount cannot be higher than {AMOUNT_MAX}"),
        ({"amount": "5"}, ".amount should be integer"),
        ({"amount": True}, ".amount should be integer"),
        ({"amount": 16.5}, ".amount should be integer"),
        ({"amount": []}, ".amount should be integer"),
        ({"initial_amount": -1}, ".initial_amount cannot be lower than 0"),
        ({"discount_amount": -1}, ".discount_amount cannot be lower than 0"),
        ({"status": "PAYED"}, ".status has an unknown value 'PAYED'"),
        ({"status": 1}, ".status must be string"),
        ({"id": 5}, ".id must be string"),
        ({"source_id": "x" * 256}, ".source_id must have at most 255 characters"),
        ({"referrer_id": "x" * 256}, ".referrer_id must have at most 255 characters"),
        ({"metadata": []}, ".metadata must be an object"),
        ({"customer": "x"}, ".customer must be an object"),
        ({"customer": {"name": 5}}, ".customer.name must be string"),
        ({"customer": {"email": "a" * 256}}, ".customer.email must have at most 255 characters"),
        ({"customer": {"birthdate": "2023-02-30"}}, ".customer.birthdate must be a date in the format YYYY-MM-DD"),
        ({"customer": {"birthdate": "1.2.2000"}}, ".customer.birthdate must be a date in the format YYYY-MM-DD"),
        ({"referrer": {"birthday": "0000-01-01"}}, ".referrer.birthday must be a date in the format YYYY-MM-DD"),
        ({"customer": {"birthday": 5}}, ".customer.birthday must be a date in the format YYYY-MM-DD"),
        ({"customer": {"address": "x"}}, ".customer.address must be an object"),
        ({"customer": {"address": {"city": 5}}}, ".customer.address.city must be string"),
        ({"items": {}}, ".items must be an array"),
        ({"items": [None]}, ".items[0] must be an object"),
        ({"items": [{}] * 501}, ".items must have at most 500 elements"),
        ({"items": [{}, {"quantity": -1}]}, ".items[1].quantity cannot be lower than 0"),
        ({"items": [{"related_object": "x"}]}, ".items[0].related_object has an unknown value 'x'"),
        ({"items": [{"product": {"price": -1}}]}, ".items[0].product.price cannot be lower than 0"),
        ({"items": [{"product": {"override": "true"}}]}, ".items[0].product.override must be boolean"),
        ({"items": [{"sku": {"source_id": "x" * 256}}]}, ".items[0].sku.source_id must have at most 255 characters"),
        (None, " must be an object"),
        (5, " must be an object"),
        ([], " must be an object"),
        ("x", " must be an object"),
    ],
)
def test_a_shape_error_names_its_path(project_18: Project, order: Any, expected: str) -> None:
    # the first error of the request, behind orders that are right
    assert details(project_18, [{}, {}, {}, order, {"amount": "also wrong"}]) == f"Property .[3]{expected}"


@pytest.mark.parametrize("body", [b"null", b"{}", b'"x"', b"1", b"true"])
def test_what_is_no_array_is_refused(project_18: Project, body: bytes) -> None:
    assert details(project_18, body) == "Payload must be an array of orders"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "it ends early"),
        (b" \n\t", "it ends early"),
        (b"[{}", "it ends early"),
        (b'[{"source_id":"\\ud800"}]', "it ends early or holds an incomplete escape"),
        (b'[{"source_id":"\\udc00"}]', "surrogate"),
        (b'[{"unknown":"\\ud800\\ud800"}]', "surrogate"),
        (b'[{"\\ud800A":1}]', ""),
        (b"\xef\xbb\xbf[]", "invalid character (byte 0)"),
        (b"[] x", "trailing characters"),
        (b"[][]", "trailing characters"),
        (b"[]\x00", "trailing characters"),
        (b"[{},]", "trailing comma"),
        (b'[{"amount":1,}]', "trailing comma"),
        (b"[/* */]", "invalid character"),
        (b"[{'amount':1}]", "expected"),
        (b'[{"amount":NaN}]', "invalid character"),
        (b'[{"metadata":{"a":-Infinity}}]', "invalid"),
        (b'[{"amount":01}]', "invalid number"),
        (b'[{"amount":+1}]', "invalid character"),
        (b'[{"source_id":"a\x00b"}]', "invalid character"),
        (b'[{"source_id":"a\nb"}]', "invalid character"),
        (b'[{"source_id":"\\x41"}]', "escape"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"[" * 50_000 + b"]" * 50_000, "it is nested too deeply"),
        (b'[{"a":' * 100_000, "it is nested too deeply"),
        (b'[{"unknown":' + b"[" * 50_000 + b"]" * 50_000 + b"}]", "it is nested too deeply"),
        (b'[{"amount":5.0,"unknown":' + b"[" * 50_000 + b"]" * 50_000 + b"}]", "it is nested too deeply"),
        (b'[{"metadata":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}]", "it is nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused(project_18: Project, body: bytes, problem: str) -> None:
    assert details(project_18, body).startswith("Payload is not valid JSON: ")
    assert problem in details(project_18, body)


@pytest.mark.parametrize(
    "body",
    [b'[{"source_id":"\xe9"}]', b'[{"source_id":"\xc0\x80"}]', b'[{"source_id":"\xed\xa0\x80"}]', b"\xfe",
     b'[{"unknown":"\xff"}]', "[]".encode("utf-16"), b'[{"unknown":"' + b"x" * 2_000_000 + b'\xc3"}]'],
)  # fmt: skip
def test_what_is_not_utf_8_is_refused(project_18: Project, body: bytes) -> None:
    assert details(project_18, body) == "Payload is not encoded in UTF-8"


def test_utf_8_across_the_windows_of_the_check_is_taken(project_18: Project) -> None:
    for shift in range(4):
        text = "x" * shift + "😀" * 300_000
        assert project_18.import_orders([{"unknown": text}, {"metadata": {"a": text}}])["done_count"] == 2


@pytest.mark.parametrize(
    ("order", "path"),
    [
        ({"source_id": "a\0b"}, ".source_id"),
        ({"metadata": {"a\0": 1}}, ".metadata"),
        ({"metadata": {"a": ["x", {"b": "\0"}]}}, ".metadata.a[1].b"),
        ({"customer": {"name": "\0"}}, ".customer.name"),
        ({"customer": {"address": {"city": "\0"}}}, ".customer.address.city"),
        ({"items": [{}, {"product": {"name": "\0"}}]}, ".items[1].product.name"),
        ({"items": [{"sku": {"metadata": {"x": "\0"}}}]}, ".items[0].sku.metadata.x"),
    ],
)
def test_a_nul_character_is_refused(project_18: Project, order: Any, path: str) -> None:
    assert details(project_18, [{}, order]) == f"Property .[1]{path} must not contain a NUL character"


NUMBER = "must be a number that can be represented"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ('{"amount":1e400}', f".amount {NUMBER}"),
        ('{"amount":1%s}' % ("0" * 5000), f".amount {NUMBER}"),
        ('{"amount":9223372036854775808}', f".amount cannot be higher than {AMOUNT_MAX}"),
        ('{"amount":9007199254740992.0}', f".amount cannot be higher than {AMOUNT_MAX}"),
        ('{"amount":-1.0}', ".amount cannot be lower than 0"),
        ('{"items":[{"price":5.0},{"price":5.5}]}', ".items[1].price should be integer"),
        ('{"items":[{"initial_quantity":0.0}]}', ".items[0].initial_quantity cannot be lower than 1"),
        ('{"metadata":{"a":1e400}}', f".metadata {NUMBER}"),
        ('{"metadata":{"a":1%s}}' % ("0" * 5000), f".metadata {NUMBER}"),
        ('{"metadata":{"a":9223372036854775808}}', f".metadata.a {NUMBER}"),
        ('{"customer":{"metadata":{"a":[-9223372036854775809]}}}', f".customer.metadata.a {NUMBER}"),
        ('{"items":[{},{"metadata":{"b":{"c":1000000000000000000000}}}]}', f".items[1].metadata.b {NUMBER}"),
        ('{"items":[{"product":{"metadata":{"a":9223372036854775808}}}]}', f".items[0].product.metadata.a {NUMBER}"),
        ('{"items":[{"sku":{"metadata":{"a":9223372036854775808}}}]}', f".items[0].sku.metadata.a {NUMBER}"),
        ('{"referrer":{"metadata":{"a":9223372036854775808}}}', f".referrer.metadata.a {NUMBER}"),
        ('{"amount":5.0,"unknown":1e400}', f" {NUMBER}"),
    ],
)
def test_a_number_beyond_the_range_is_refused(project_18: Project, order: str, expected: str) -> None:
    assert details(project_18, f"[{order}]".encode()) == f"Property .[0]{expected}"


@pytest.mark.parametrize(
    ("number", "amount"),
    [("70000.0", 70000), ("7e4", 70000), ("-0.0", 0), ("0", 0), ("-0", 0), (f"{AMOUNT_MAX}", AMOUNT_MAX),
     (f"{AMOUNT_MAX}.0", AMOUNT_MAX), ("null", 0)],
)  # fmt: skip
def test_integral_numbers_are_integers(project_18: Project, number: str, amount: int) -> None:
    body = f'[{{"source_id":"o","amount":{number},"metadata":{{"a":70000.0}},"items":null}}]'
    assert project_18.finished(project_18.post_import(body.encode()))["result"]["done_count"] == 1
    answer = project_18.http.get("/v1/orders/o").text
    assert json.loads(answer)["amount"] == amount
    assert "70000.0" in answer  # metadata is the user's


def test_of_repeated_keys_the_last_wins(project_18: Project) -> None:
    body = b'[{"source_id":"x","source_id":"o","amount":5,"amount":7,"metadata":{"a":1},"metadata":{"b":1,"b":2}}]'
    project_18.finished(project_18.post_import(body))
    order = project_18.get("/v1/orders/o")
    assert (order["amount"], order["metadata"]) == (7, {"b": 2})


def test_unknown_fields_are_ignored_whatever_they_hold(project_18: Project) -> None:
    odd = [
        "1e400", "-1e400", "1" + "0" * 5000, '"\\u0000"', '"\\ud83d\\ude00"', "[" * 190 + "]" * 190, "{}", "null",
        '{"\\u0000":[{"":{}}]}', "5e-324",
    ]  # fmt: skip
    order = (
        '{"source_id":"o-NO","x":ODD,"\\u0000":ODD,"customer":{"x":ODD},"items":[{"x":ODD,"product":{"object":ODD}}]}'
    )
    orders = [order.replace("NO", str(no)).replace("ODD", value) for no, value in enumerate(odd)]
    result = project_18.import_orders(f"[{','.join(orders)}]".encode())
    assert result["done_count"] == len(odd)
    assert project_18.get("/v1/orders/o-3")["items"][0].keys() == {"object", "product"}


# ---- limits, from both sides ----


def test_the_number_of_orders(project_18: Project) -> None:
    assert details(project_18, [{}] * 2001) == "Payload must have at most 2000 orders"
    assert project_18.import_orders([{}] * 2000)["done_count"] == 2000
    assert project_18.import_orders([])["done_count"] == 0


def test_the_number_of_items(project_18: Project) -> None:
    assert project_18.import_orders([{"source_id": "o", "items": [{}] * 500}])["done_count"] == 1
    assert len(project_18.get("/v1/orders/o")["items"]) == 500


def test_the_length_of_ids(project_18: Project) -> None:
    for character in "x", "ü", "😀":
        source_id = character * 255
        project_18.imported({"source_id": source_id, "customer": {"source_id": source_id}})
        assert project_18.get(f"/v1/orders/{source_id}")["source_id"] == source_id
        assert project_18.get(f"/v1/customers/{source_id}")["source_id"] == source_id
    assert details_of_long_id(project_18).endswith("must have at most 255 characters")


def details_of_long_id(project: Project) -> str:
    return str(project.refused_import([{"source_id": "😀" * 256}])["details"])


def test_the_depth_of_metadata(project_18: Project) -> None:
    def nested(levels: int) -> bytes:
        inner = levels - 1
        return b'[{"source_id":"o","metadata":{"z":' + b"[" * inner + b"]" * inner + b"}}]"

    assert details(project_18, nested(33)) == "Property .[0].metadata is nested deeper than 32 levels"
    assert project_18.import_orders(nested(32))["done_count"] == 1
    assert project_18.get("/v1/orders/o")["metadata"] == json.loads(nested(32))[0]["metadata"]


def test_dates_at_the_ends_of_the_calendar(project_18: Project) -> None:
    for no, date in enumerate(("0001-01-01", "9999-12-31", "2024-02-29")):
        project_18.imported({"customer": {"source_id": f"c-{no}", "birthdate": date}})
        assert project_18.get(f"/v1/customers/c-{no}")["birthdate"] == date


def test_empty_ids_name_nothing(project_18: Project) -> None:
    nothing = {"id": "", "source_id": ""}
    order = {
        **nothing,
        "customer": nothing,
        "referrer_id": "",
        "items": [{"source_id": "", "product": nothing, "sku": nothing}],
    }
    project_18.imported(*itertools.repeat(order, 3))
    assert project_18.get("/v1/orders")["total"] == 3
