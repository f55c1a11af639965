"""What a bulk update may be: limits from both sides, shapes, hostile bodies. Customers and products, which share it."""

import asyncio
import json
from typing import Any

import pytest
from litestar import Request

from punchcard.errors import PayloadTooLarge
from punchcard.http.bodies import BodyBudget, BodyLimit
from tests.customers.updating import JSON, finished, refusal, send, updated
from tests.deployment import Project
from tests.http.refusals import refused

BODY_BYTES_MAX = 10_485_760
RECORDS_MAX = 100_000
METADATA_BYTES_MAX = 16_384
AMOUNT_MAX = 2**53 - 1
INTEGER_MAX = 2**63 - 1
RESOURCES = ["customers", "products"]


def listing(*source_ids: Any, **metadata: Any) -> dict[str, Any]:
    return {"source_ids": list(source_ids), "metadata": metadata}


# ---- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["customers/bulk", "customers/metadata", "products/bulk", "products/metadata"])
def test_the_largest_body_and_one_byte_more(project_18: Project, path: str) -> None:
    body = b'[{"source_id":"a"}]' if path.endswith("bulk") else b'{"source_ids":["a"],"metadata":{}}'
    padding = b" " * (BODY_BYTES_MAX - len(body))
    assert finished(project_18, path, body[:-1] + padding + body[-1:])["result"]["done_count"] == 1
    content = body[:-1] + padding + b" " + body[-1:]
    answer = refused(project_18.http.post(f"/v1/{path}/async", content=content, headers=JSON), 413, "payload_too_large")
    assert answer["message"] == f"Payload content length greater than maximum allowed: {BODY_BYTES_MAX}"
    assert answer["details"] == f"The limit of this server is {BODY_BYTES_MAX} bytes (setting bulk_body_bytes_max)"


def test_the_smaller_of_two_limits_holds() -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": b"x" * 30, "more_body": False}

    async def read(limit: BodyLimit) -> bytes:
        budget = BodyBudget(body_bytes_max=20, in_flight_bytes_max=100)
        scope: Any = {"type": "http", "headers": [], "method": "POST", "path": "/"}
        async with budget.json(Request(scope, receive), limit=limit) as body:
            return body

    for bytes_max, setting in ((10, "bulk_body_bytes_max"), (40, "body_bytes_max")):
        with pytest.raises(PayloadTooLarge, match=rf"{min(bytes_max, 20)} bytes \(setting {setting}\)"):
            asyncio.run(read(BodyLimit(bytes_max, "bulk_body_bytes_max")))


def test_the_largest_number_of_records_and_one_more(project_18: Project) -> None:
    record = {"source_id": "a", "name": "n"}
    most = finished(project_18, "customers/bulk", [record] * RECORDS_MAX)
    assert most["counts"] == {"created": 1, "updated": 0, "unchanged": RECORDS_MAX - 1}
    for resource in RESOURCES:
        details = refusal(project_18, f"{resource}/bulk", [record] * (RECORDS_MAX + 1))
        assert details == f"Payload must have at most {RECORDS_MAX} {resource}"
        details = refusal(project_18, f"{resource}/metadata", listing(*["a"] * (RECORDS_MAX + 1)))
        assert details == f"Property .source_ids must have at most {RECORDS_MAX} elements"
    listed = finished(project_18, "products/metadata", listing(*["a"] * RECORDS_MAX, k=1))
    assert listed["counts"] == {"created": 1, "updated": 0, "unchanged": RECORDS_MAX - 1}


def test_millions_of_records_are_refused_at_once(project_18: Project) -> None:
    """More elements than are ever counted by taking them."""
    body = b"[" + b"{}," * 3_000_000 + b"{}]"
    assert refusal(project_18, "customers/bulk", body) == f"Payload must have at most {RECORDS_MAX} customers"
    body = b'{"metadata":{},"source_ids":[' + b"1," * 3_000_000 + b"1]}"
    details = refusal(project_18, "customers/metadata", body)
    assert details == f"Property .source_ids must have at most {RECORDS_MAX} elements"


def test_source_ids_have_1_to_255_characters(project_18: Project) -> None:
    for resource in RESOURCES:
        for source_id in ("x", "ü" * 255):
            updated(project_18, resource, {"source_id": source_id})
            finished(project_18, f"{resource}/metadata", listing(source_id, a=1))
            assert project_18.get(f"/v1/{resource}/{source_id}")["metadata"] == {"a": 1}
        for source_id, complaint in (("", "at least 1 characters"), ("x" * 256, "at most 255 characters")):
            details = refusal(project_18, f"{resource}/bulk", [{"source_id": "a"}, {"source_id": source_id}])
            assert details == f"Property .[1].source_id must have {complaint}"
            details = refusal(project_18, f"{resource}/metadata", listing("a", "b", source_id))
            assert details == f"Property .source_ids[2] must have {complaint}"


def test_the_metadata_of_all_has_a_size(project_18: Project) -> None:
    """It is stored with each of them."""
    text = "x" * (METADATA_BYTES_MAX - len('{"k":""}'))
    action = finished(project_18, "customers/metadata", listing(*(f"c{n}" for n in range(70)), k=text))
    assert (action["result"]["done_count"], action["result"]["failed_count"]) == (70, 0)
    assert project_18.get("/v1/customers/c69")["metadata"] == {"k": text}
    details = refusal(project_18, "customers/metadata", listing("a", k=text + "x"))
    assert details == f"Property .metadata must have at most {METADATA_BYTES_MAX} bytes"


def test_numbers_from_both_sides(project_18: Project) -> None:
    for price in (0, AMOUNT_MAX, 70000.0):
        updated(project_18, "products", {"source_id": "p", "price": price, "metadata": {"f": 70000.0}})
        product = project_18.get("/v1/products/p")
        assert (product["price"], product["metadata"]) == (int(price), {"f": 70000.0})
    for wrong, complaint in (
        (-1, "cannot be lower than 0"), (AMOUNT_MAX + 1, f"cannot be higher than {AMOUNT_MAX}"),
        (16.5, "should be integer"), ("5", "should be integer"),
    ):  # fmt: skip
        details = refusal(project_18, "products/bulk", [{"source_id": "p", "price": wrong}])
        assert details.startswith(f"Property .[0].price {complaint}"), details
    assert project_18.get("/v1/products/p")["price"] == 70000
    for number in (INTEGER_MAX, -INTEGER_MAX):
        finished(project_18, "products/metadata", listing("p", n=number))
        assert project_18.get("/v1/products/p")["metadata"]["n"] == number
        details = refusal(project_18, "products/metadata", listing("p", n=number * 4))
        assert details == "Property .metadata.n must be a number that can be represented"
        details = refusal(project_18, "products/bulk", [{"source_id": "p", "metadata": {"n": number * 4}}])
        assert details == "Property .[0].metadata.n must be a number that can be represented"


def test_an_email_has_255_characters(project_18: Project) -> None:
    updated(project_18, "customers", {"source_id": "a", "email": "e" * 255})
    details = refusal(project_18, "customers/bulk", [{"source_id": "a", "email": "e" * 256}])
    assert details == "Property .[0].email must have at most 255 characters"


def nested(depth: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth - 1):
        value = [value]
    return {"deep": value}


def test_nesting_from_both_sides(project_18: Project) -> None:
    updated(project_18, "customers", {"source_id": "a", "metadata": nested(32)})
    finished(project_18, "customers/metadata", {"source_ids": ["b"], "metadata": nested(32)})
    assert project_18.get("/v1/customers/b")["metadata"] == project_18.get("/v1/customers/a")["metadata"] == nested(32)
    details = refusal(project_18, "customers/bulk", [{"source_id": "a", "metadata": nested(33)}])
    assert details == "Property .[0].metadata is nested deeper than 32 levels"
    details = refusal(project_18, "customers/metadata", {"source_ids": ["a"], "metadata": nested(33)})
    assert details == "Property .metadata is nested deeper than 32 levels"
    for depth in (250, 100_000):
        brackets = b"[" * depth + b"]" * depth
        details = refusal(project_18, "products/bulk", b'[{"source_id":"a","x":' + brackets + b"}]")
        assert "nested" in details
        body = b'{"source_ids":["a"],"metadata":{"x":' + brackets + b"}}"
        assert "nested" in refusal(project_18, "products/metadata", body)
        assert (
            "nested" in refusal(project_18, "products/metadata", b'{"source_ids":["a"],"metadata":' + brackets + b"}")
            or depth == 250
        )


# ---- shapes ------------------------------------------------------------------------------------

WRONG_ARRAYS: list[tuple[Any, str]] = [
    ({}, "Payload must be an array of {nouns}"),
    ("a", "Payload must be an array of {nouns}"),
    (None, "Payload must be an array of {nouns}"),
    ([{"source_id": "a"}, {}], "Property .[1] should have required property 'source_id'"),
    ([{"source_id": None}], "Property .[0].source_id must be string"),
    ([{"source_id": 5}], "Property .[0].source_id must be string"),
    ([[]], "Property .[0] must be an object"),
    ([{"source_id": "a", "metadata": []}], "Property .[0].metadata must be an object"),
    ([{"source_id": "a", "name": 5}], "Property .[0].name must be string"),
    ([{"source_id": "a\0b"}], "Property .[0].source_id must not contain a NUL character"),
    ([{"source_id": "a", "metadata": {"k": ["\0"]}}], "Property .[0].metadata.k[0] must not contain a NUL character"),
    ([{"source_id": "a", "metadata": {"\0": 1}}], "Property .[0].metadata must not contain a NUL character"),
    (b"[", "Payload is not valid JSON"),
    (b'[{"source_id":"a"},]', "Payload is not valid JSON"),
    (b'[{"source_id":"\\ud800"}]', "Payload is not valid JSON"),
    (b'[{"source_id":"\xff"}]', "Payload is not encoded in UTF-8"),
]
WRONG_LISTS: list[tuple[Any, str]] = [
    ([], "Payload must be an object"),
    (None, "Payload must be an object"),
    (listing() | {"source_ids": "a"}, "Property .source_ids must be an array of elements"),
    (listing() | {"source_ids": {}}, "Property .source_ids must be an array of elements"),
    (listing("a", 5), "Property .source_ids[1] must be string"),
    (listing("a", None), "Property .source_ids[1] must be string"),
    (listing("a", {}), "Property .source_ids[1] must be string"),
    (listing("a\0"), "Property .source_ids[0] must not contain a NUL character"),
    (listing("a", k="\0"), "Property .metadata.k must not contain a NUL character"),
    (listing("a") | {"metadata": []}, "Property .metadata must be an object"),
    (listing("a") | {"metadata": "x"}, "Property .metadata must be an object"),
    (b'{"source_ids":["a"],"metadata":{', "Payload is not valid JSON"),
    (b'{"source_ids":["\\ud800"],"metadata":{}}', "Payload is not valid JSON"),
    (b'{"source_ids":["a"],"metadata":{"k":"\\ud800"}}', "Payload is not valid JSON"),
    (b'{"source_ids":["\xff"],"metadata":{}}', "Payload is not encoded in UTF-8"),
]


def test_what_is_no_list_of_records_is_refused_with_its_path(project_18: Project) -> None:
    for resource in RESOURCES:
        for body, complaint in WRONG_ARRAYS:
            details = refusal(project_18, f"{resource}/bulk", body)
            assert details.startswith(complaint.format(nouns=resource)), (body, details)
        for body, complaint in WRONG_LISTS:
            details = refusal(project_18, f"{resource}/metadata", body)
            assert details.startswith(complaint), (body, details)
    assert project_18.get("/v1/async-actions")["async_actions"] == []


def test_wrong_attributes_of_each_resource(project_18: Project) -> None:
    for resource, wrong, complaint in (
        ("customers", {"birthdate": "2024-02-30"}, ".birthdate must be a date in the format YYYY-MM-DD"),
        ("customers", {"birthday": 5}, ".birthday must be a date in the format YYYY-MM-DD"),
        ("customers", {"address": "x"}, ".address must be an object"),
        ("customers", {"address": {"city": 1}}, ".address.city must be string"),
        ("products", {"attributes": "color"}, ".attributes must be an array"),
        ("products", {"attributes": ["color", 1]}, ".attributes[1] must be string"),
        ("products", {"image_url": 1}, ".image_url must be string"),
        ("products", {"attributes": ["\0"]}, ".attributes[0] must not contain a NUL character"),
    ):
        details = refusal(project_18, f"{resource}/bulk", [{"source_id": "a", **wrong}])
        assert details.startswith(f"Property .[0]{complaint}"), details


def test_empty_bodies(project_18: Project) -> None:
    """Products are lenient, as documented by the clients' own tests; of customers something is asked."""
    for path, bodies in (
        ("products/bulk", [b"", b" \n", b"[]"]),
        ("products/metadata", [b"", b"{}", b'{"product_ids":["a"]}', b'{"source_ids":[]}', b'{"source_ids":null}',
                               b'{"metadata":{"a":1}}', b'{"source_ids":null,"metadata":null}']),
        ("customers/bulk", [b"[]"]), ("customers/metadata", [b'{"source_ids":[],"metadata":{"a":1}}']),
    ):  # fmt: skip
        for body in bodies:
            action = finished(project_18, path, body)
            assert (action["status"], action["operation_status"]) == ("DONE", "SUCCESS")
            assert (action["result"]["done_count"], action["result"]["errors"]) == (0, [])
    assert refusal(project_18, "customers/bulk", b"").startswith("Payload is not valid JSON")
    assert refusal(project_18, "customers/metadata", b"").startswith("Payload is not valid JSON")
    for body, missing in ((b"{}", "source_ids"), (b'{"source_ids":["a"]}', "metadata"),
                          (b'{"source_ids":null,"metadata":{}}', "source_ids")):  # fmt: skip
        assert refusal(project_18, "customers/metadata", body) == f"Payload should have required property '{missing}'"


def test_products_that_are_listed_without_metadata_are_made(project_18: Project) -> None:
    action = finished(project_18, "products/metadata", {"source_ids": ["p"]})
    assert action["counts"]["created"] == 1
    assert project_18.get("/v1/products/p")["metadata"] == {}


def test_a_record_that_would_inflate_is_refused(project_18: Project) -> None:
    record = b'[{"source_id":"a","x":[' + b"0," * 600_000 + b"0]}]"
    assert refusal(project_18, "products/bulk", record) == "Property .[0] must have at most 500000 values"


def test_the_last_of_repeated_keys_wins(project_18: Project) -> None:
    finished(project_18, "customers/bulk", b'[{"source_id":"x","source_id":"a","name":"1","name":"2"}]')
    finished(project_18, "customers/metadata", b'{"source_ids":["x"],"source_ids":["a"],"metadata":{"k":1,"k":2}}')
    customer = project_18.get("/v1/customers/a")
    assert (customer["name"], customer["metadata"]) == ("2", {"k": 2})
    assert project_18.get("/v1/customers")["total"] == 1


# ---- around the body ---------------------------------------------------------------------------


def test_a_request_that_is_sent_again_takes_effect_once(project_18: Project) -> None:
    for path, body in (("customers/bulk", [{"source_id": "a"}]), ("customers/metadata", listing("a", k=1)),
                       ("products/bulk", [{"source_id": "a"}]), ("products/metadata", listing("a", k=1))):  # fmt: skip
        key = {"idempotency-key": path}
        content = json.dumps(body).encode()
        first = project_18.http.post(f"/v1/{path}/async", content=content, headers=JSON | key)
        again = project_18.http.post(f"/v1/{path}/async", content=content, headers=JSON | key)
        assert (first.status_code, again.status_code, first.json()) == (202, 202, again.json())
        assert again.headers["idempotent-replayed"] == "true"
        other = project_18.http.post(f"/v1/{path}/async", content=content + b" ", headers=JSON | key)
        refused(other, 409, "idempotency_key_reused")
    assert len(project_18.get("/v1/async-actions", limit=100)["async_actions"]) == 4


def test_what_is_not_json_or_has_no_keys_is_refused(project_18: Project) -> None:
    for path in ("customers/bulk", "customers/metadata", "products/bulk", "products/metadata"):
        csv = project_18.http.post(f"/v1/{path}/async", content=b"a,b", headers={"content-type": "text/csv"})
        refused(csv, 415, "unsupported_media_type")
        stranger = project_18.http.post(f"/v1/{path}/async", json=[], headers={"x-app-token": "wrong"})
        refused(stranger, 401, "unauthorized")
        assert send(project_18, path, b"[{]", expect=400)["key"] == "invalid_payload"
