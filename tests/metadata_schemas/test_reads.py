"""The read API, also through the official client."""

from collections.abc import Iterator
from typing import Any

import pytest
import voucherify

from tests.deployment import Project
from tests.metadata_schemas.defining import define, schema


@pytest.fixture
def client(project_18: Project) -> Iterator[Any]:
    keys = {"X-App-Id": project_18.application_id, "X-App-Token": project_18.application_token}
    with voucherify.ApiClient(voucherify.Configuration(host=project_18.deployment.url, api_key=keys)) as made:
        yield voucherify.MetadataSchemasApi(made)
        made.rest_client.pool_manager.clear()


def test_the_documented_shape(project: Project) -> None:
    define(project, schema("order", channel={"type": "string", "eq": ["a", "b"]}, unit={"type": "number", "lt": 5}))
    found = project.get("/v1/metadata-schemas/order")
    assert found == {
        "id": found["id"],
        "related_object": "order",
        "properties": {
            "channel": {"type": "string", "array": False, "optional": True, "objectType": None, "eq": ["a", "b"]},
            "unit": {"type": "number", "array": False, "optional": True, "objectType": None, "lt": 5},
        },
        "allow_defined_only": False,
        "created_at": found["created_at"],
        "updated_at": None,
        "object": "metadata_schema",
    }
    assert found["id"].startswith("ms_")
    listed = project.get("/v1/metadata-schemas")
    assert listed == {"object": "list", "data_ref": "schemas", "schemas": [found], "total": 1}


def test_a_list_in_the_order_of_the_names(project: Project) -> None:
    assert project.get("/v1/metadata-schemas") == {"object": "list", "data_ref": "schemas", "schemas": [], "total": 0}
    define(project, [schema(name) for name in ("order", "Payment", "customer", "a/b é")])
    found = project.get("/v1/metadata-schemas")
    assert [one["related_object"] for one in found["schemas"]] == ["Payment", "a/b é", "customer", "order"]
    assert len({one["created_at"] for one in found["schemas"]}) == found["total"] == 4
    assert project.get("/v1/metadata-schemas/a%2Fb%20é") == found["schemas"][1]


def test_each_project_has_its_own(project: Project) -> None:
    define(project, schema("order", a="string"))
    other = project.deployment.new_project()
    define(other, schema("order", b="string"))
    assert list(project.get("/v1/metadata-schemas/order")["properties"]) == ["a"]
    assert list(other.get("/v1/metadata-schemas/order")["properties"]) == ["b"]
    assert other.get("/v1/metadata-schemas")["total"] == 1
    other.close()


def test_what_is_not_defined_is_not_found(project: Project) -> None:
    define(project, schema("order"))
    error = project.get("/v1/metadata-schemas/earning_rules", expect=404)
    assert {name: error[name] for name in ("code", "key", "message", "details", "resource_id", "resource_type")} == {
        "code": 404,
        "key": "not_found",
        "message": "Resource not found",
        "details": "Cannot find metadata schema with id earning_rules",
        "resource_id": "earning_rules",
        "resource_type": "metadata schema",
    }


def test_the_official_client_reads_both(client: Any, project_18: Project) -> None:
    removed = {"type": "boolean", "array": True, "deleted": True}
    define(
        project_18, [schema("order", a="date", gone=removed), schema("Payment", allow_defined_only=True, tax="number")]
    )
    listed = client.list_metadata_schemas()
    assert (listed.data_ref, listed.total) == ("schemas", 2)
    payment, order = listed.schemas
    assert (payment.related_object, payment.allow_defined_only) == ("Payment", True)
    assert order.properties["gone"] == {**removed, "optional": True, "objectType": None}
    found = client.get_metadata_schema("order")
    assert found.to_dict() == order.to_dict()
    with pytest.raises(voucherify.exceptions.NotFoundException):
        client.get_metadata_schema("customer")
