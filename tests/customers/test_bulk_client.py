"""Bulk updates with the official Python client, as its documentation shows: only the address differs."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest
import voucherify
from voucherify import models

from tests.deployment import Project


@pytest.fixture
def client(project_18: Project) -> Iterator[Any]:
    keys = {"X-App-Id": project_18.application_id, "X-App-Token": project_18.application_token}
    with voucherify.ApiClient(voucherify.Configuration(host=project_18.deployment.url, api_key=keys)) as made:
        yield made
        made.rest_client.pool_manager.clear()


def polled(client: Any, answer: Any) -> Any:
    """The action of an answer, once it is done."""
    for _ in range(400):
        action = voucherify.AsyncActionsApi(client).get_async_action(answer.async_action_id)
        if action.status == "DONE":
            assert action.operation_status == "SUCCESS"
            return action
        time.sleep(0.02)
    raise AssertionError(action)


def report_of(action: Any) -> list[str]:
    """The lines of the report that the first link opens, without any keys."""
    return httpx.get(action.result["reports"][0], trust_env=False).raise_for_status().text.splitlines()


def test_customers(client: Any) -> None:
    api = voucherify.CustomersApi(client)
    address = models.CustomersUpdateInBulkRequestBodyAddress(city="London", postal_code="N1")
    ada = models.CustomersUpdateInBulkRequestBody(
        source_id="ada@example.com", name="Ada", email="ada@example.com", birthdate=date(1815, 12, 10),
        address=address, metadata={"lang": "en", "test": True},
    )  # fmt: skip
    bob = models.CustomersUpdateInBulkRequestBody(source_id="bob", birthday=date(2000, 1, 1))
    action = polled(client, api.update_customers_in_bulk([ada, bob]))
    assert (action.type, action.result["done_count"], action.result["failed_count"]) == ("CUSTOMERS.BULK_UPDATE", 2, 0)
    assert report_of(action) == [
        "source_id,found,updated,reason", "ada@example.com,false,true,", "bob,false,true,"
    ]  # fmt: skip
    assert datetime.fromisoformat(action.result["reports_available_till"]) > datetime.now(UTC)
    body = models.CustomersMetadataUpdateInBulkRequestBody(
        source_ids=["ada@example.com", "cid"], metadata={"lang": "fr"}
    )
    action = polled(client, api.update_customers_metadata_in_bulk(body))
    assert (action.type, action.result["errors"]) == ("CUSTOMERS.METADATA_UPDATE", [])
    assert report_of(action)[1:] == ["ada@example.com,true,true,", "cid,false,true,"]
    found = api.get_customer("ada@example.com")
    assert (found.name, found.birthdate, found.address.city) == ("Ada", date(1815, 12, 10), "London")
    assert found.metadata == {"lang": "fr", "test": True}
    assert api.get_customer("cid").metadata == {"lang": "fr"}


def test_products(client: Any) -> None:
    api = voucherify.ProductsApi(client)
    mug = models.ProductsUpdateInBulkRequestBody(
        source_id="mug", name="Mug", price=220000, attributes=["color", "memory"], metadata={"test": True},
        image_url="https://images.example/mug.png",
    )  # fmt: skip
    action = polled(client, api.update_products_in_bulk([mug]))
    assert (action.type, action.result["done_count"]) == ("PRODUCTS.BULK_UPDATE", 1)
    body = models.ProductsMetadataUpdateInBulkRequestBody(source_ids=["mug", "cup"], metadata={"origin": "PL"})
    action = polled(client, api.update_products_metadata_in_bulk(body))
    assert (action.type, action.result["done_count"]) == ("PRODUCTS.METADATA_UPDATE", 2)
    found = api.get_product("mug")
    assert (found.name, found.price, found.attributes) == ("Mug", 220000, ["color", "memory"])
    assert (found.image_url, found.metadata) == ("https://images.example/mug.png", {"test": True, "origin": "PL"})
    assert api.get_product("cup").metadata == {"origin": "PL"}


def test_products_without_a_body(client: Any) -> None:
    """The clients' own tests send nothing at all, and an empty object."""
    api = voucherify.ProductsApi(client)
    assert polled(client, api.update_products_in_bulk()).result["done_count"] == 0
    empty = models.ProductsMetadataUpdateInBulkRequestBody()
    assert polled(client, api.update_products_metadata_in_bulk(empty)).result["done_count"] == 0
    assert polled(client, api.update_products_metadata_in_bulk()).result["done_count"] == 0
