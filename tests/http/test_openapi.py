"""The description is OpenAPI 3.1 of what exists, and its page needs nothing from elsewhere."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from punchcard.customers.customers import CustomerIn
from punchcard.http.openapi import SCOPES
from punchcard.orders.orders import ItemIn, OrderIn
from punchcard.products.products import ProductIn, SkuIn
from tests.deployment import Project

OPERATIONS = {
    ("get", "/v1/orders"), ("get", "/v1/orders/{order_id}"), ("post", "/v1/orders/import"),
    ("get", "/v1/customers"), ("get", "/v1/customers/{customer_id}"),
    ("get", "/v1/products"), ("get", "/v1/products/{product_id}"),
    ("get", "/v1/products/{product_id}/skus"), ("get", "/v1/skus/{sku_id}"),
    ("get", "/v1/async-actions"), ("get", "/v1/async-actions/{async_action_id}"),
    ("get", "/v1/async-actions/{async_action_id}/failures"),
    ("get", "/v1/async-actions/{async_action_id}/failures.jsonl"),
    ("get", "/v1/metadata-schemas"), ("get", "/v1/metadata-schemas/{resource}"),
    ("get", "/healthz"), ("get", "/readyz"),
}  # fmt: skip

# whose query or body names objects that have to be there
NAMING_OTHERS = {
    ("post", "/v1/orders"), ("get", "/v1/customers"), ("post", "/v1/customers"), ("post", "/v1/products"),
    ("post", "/v1/campaigns"), ("post", "/v1/vouchers"), ("post", "/v1/events"), ("post", "/v1/segments"),
}  # fmt: skip


@pytest.fixture
def description(project_18: Project) -> Any:
    answer = project_18.http.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def operations(description: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def everything(value: Any) -> Iterator[Any]:
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from everything(part)


def test_it_is_openapi_3_1_of_what_exists(description: Any, project_18: Project) -> None:
    assert re.fullmatch(r"3\.1\.\d+", description["openapi"])
    assert description["info"].keys() >= {"title", "version"}
    assert description["servers"] == [{"url": "/"}]
    assert {(method, path) for method, path, _ in operations(description)} >= OPERATIONS


def test_every_reference_resolves(description: Any) -> None:
    references = [part["$ref"] for part in everything(description) if isinstance(part, dict) and "$ref" in part]
    assert references
    for reference in references:
        target = description
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_every_operation_is_described(description: Any) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(description)]
    assert len(ids) == len(set(ids))
    for _, path, operation in operations(description):
        assert re.fullmatch(r"[A-Z].* .*[^.\n]", operation["summary"])
        assert operation["tags"]
        declared = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        for parameter in operation.get("parameters", []):
            assert parameter["schema"]
            assert parameter["required"] == (parameter["in"] == "path")
        for answer in operation["responses"].values():
            assert answer["description"]
            assert "X-Request-Id" in answer["headers"]


def test_every_error_is_the_error_object(description: Any) -> None:
    for method, path, operation in operations(description):
        if not path.startswith("/v1/"):
            continue
        errors = {status: answer for status, answer in operation["responses"].items() if not status.startswith("2")}
        assert errors.keys() >= {"400", "401", "405", "406"}
        assert "404" in errors or ("{" not in path and (method, path) not in NAMING_OTHERS)
        assert ({"413", "415", "429"} <= errors.keys()) == ("requestBody" in operation)
        for status, answer in errors.items():
            name = "PayloadTooLargeError" if status == "413" else "Error"
            assert answer["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{name}"}
    schemas = description["components"]["schemas"]
    assert set(schemas["Error"]["required"]) == {"code", "message", "key", "request_id"}
    assert {"statusCode", "error"} <= set(schemas["PayloadTooLargeError"]["required"])


def test_both_ways_to_authenticate_are_declared(description: Any) -> None:
    schemes = description["components"]["securitySchemes"]
    for header in ("X-App-Id", "X-App-Token"):
        assert schemes[header] == {"type": "apiKey", "in": "header", "name": header}
    flow = schemes["X-Voucherify-OAuth"]["flows"]["clientCredentials"]
    assert flow["tokenUrl"].endswith("/v1/oauth/token")
    assert set(flow["scopes"]) == set(SCOPES)
    assert {"X-App-Id": [], "X-App-Token": []} in description["security"]
    for _, path, operation in operations(description):
        assert ("security" in operation) == (not path.startswith("/v1/"))


def test_the_body_of_an_import_has_all_its_fields(description: Any) -> None:
    body = description["paths"]["/v1/orders/import"]["post"]["requestBody"]
    assert body["required"] is True
    schema = body["content"]["application/json"]["schema"]
    assert schema == {"type": "array", "items": {"$ref": "#/components/schemas/OrderIn"}}
    for kind in (OrderIn, ItemIn, CustomerIn, ProductIn, SkuIn):
        described = description["components"]["schemas"][kind.__name__]["properties"]
        assert set(described) == {field.encode_name for field in msgspec.structs.fields(kind)}


def test_the_page_loads_nothing_from_elsewhere(project_18: Project) -> None:
    page = project_18.http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 4
    for address in loaded:
        assert address.startswith("/docs/")
        asset = project_18.http.get(address)
        assert asset.status_code == 200
        assert asset.content
    assert not re.search(r"https?://", page.text + project_18.http.get("/docs/page.js").text)
    style = project_18.http.get("/docs/swagger-ui.css").text
    assert not re.search(r"url\(['\"]?https?:|@import", style)
    assert "/openapi.json" in project_18.http.get("/docs/page.js").text


@pytest.mark.parametrize("name", ["nothing", "..%2f..%2fpyproject.toml", "%00", "swagger-ui.js.map"])
def test_the_page_has_only_its_own_files(project_18: Project, name: str) -> None:
    project_18.get(f"/docs/{name}", expect=404)
