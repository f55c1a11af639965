"""Customers with the official Python client, used as its documentation shows."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
import voucherify
from voucherify import CustomersCreateRequestBody, CustomersUpdateRequestBody

from tests.deployment import Project


@pytest.fixture
def client(project_18: Project) -> Iterator[Any]:
    keys = {"X-App-Id": project_18.application_id, "X-App-Token": project_18.application_token}
    with voucherify.ApiClient(voucherify.Configuration(host=project_18.deployment.url, api_key=keys)) as made:
        yield voucherify.CustomersApi(made)
        made.rest_client.pool_manager.clear()


def test_a_customer_s_life(client: Any) -> None:
    body = CustomersCreateRequestBody.from_dict(
        {
            "source_id": "ann/1 ü",
            "name": "Ann",
            "email": "ann@example.com",
            "birthdate": "1990-01-02",
            "address": {"city": "London"},
            "metadata": {"tier": "gold", "visits": 3},
        }
    )
    made = client.create_customer(customers_create_request_body=body)
    assert (made.object, made.source_id, made.name, made.birthdate) == ("customer", "ann/1 ü", "Ann", date(1990, 1, 2))
    assert made.address.city == "London"
    assert client.get_customer("ann/1 ü") == client.get_customer(made.id)
    assert client.get_customer(made.id).to_dict() == made.to_dict()
    # which sends null for all that it is not given
    change = CustomersUpdateRequestBody.from_dict({"phone": "+1 2", "metadata": {"visits": 4}})
    changed = client.update_customer("ann/1 ü", customers_update_request_body=change)
    assert (changed.phone, changed.metadata) == ("+1 2", {"tier": "gold", "visits": 4})
    assert (changed.email, type(changed.updated_at)) == ("ann@example.com", datetime)
    again = client.create_customer(
        customers_create_request_body=CustomersCreateRequestBody.from_dict({"source_id": "ann/1 ü", "name": "Bea"})
    )
    assert (again.id, again.name, again.email) == (made.id, "Bea", "ann@example.com")
    assert client.list_customers(email="ann@example.com").total == 1
    segments = client.list_customer_segments("ann/1 ü")
    assert (segments.data, segments.total) == ([], 0)
    assert client.delete_customer(made.id) is None
    with pytest.raises(voucherify.exceptions.NotFoundException) as missing:
        client.get_customer(made.id)
    assert json.loads(missing.value.body)["resource_type"] == "customer"


def test_a_permanent_deletion(client: Any) -> None:
    made = client.create_customer(
        customers_create_request_body=CustomersCreateRequestBody.from_dict({"email": "ann@example.com"})
    )
    deletion = client.customer_permanently_deletion(made.id)
    assert (deletion.related_object_id, deletion.status, deletion.object) == (made.id, "DONE", "pernament_deletion")
    assert (deletion.data_json.customer, deletion.data_json.customer_events, deletion.data_json.orders) == (1, 1, 0)
    assert deletion.created_at <= datetime.now(UTC)
    with pytest.raises(voucherify.exceptions.NotFoundException):
        client.customer_permanently_deletion(made.id)
