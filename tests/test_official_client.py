"""The official Python client against a server of ours, used as its documentation shows: only the address differs."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import voucherify

from tests.deployment import Project

EXAMPLE = Path(__file__).parent / "orders" / "example.json"


@pytest.fixture
def client(project_18: Project) -> Iterator[Any]:
    keys = {"X-App-Id": project_18.application_id, "X-App-Token": project_18.application_token}
    with voucherify.ApiClient(voucherify.Configuration(host=project_18.deployment.url, api_key=keys)) as made:
        yield made
        made.rest_client.pool_manager.clear()


def imported(client: Any, *orders: dict[str, Any]) -> Any:
    """Import and poll, as the guide says; the finished action."""
    body = [voucherify.OrdersImportCreateRequestBodyItem.from_dict(order) for order in orders]
    answer = voucherify.OrdersApi(client).import_orders(orders_import_create_request_body_item=body)
    for _ in range(200):
        action = voucherify.AsyncActionsApi(client).get_async_action(answer.async_action_id)
        if action.status == "DONE":
            return action
        time.sleep(0.05)
    raise AssertionError(action)


def test_the_page_s_example_is_imported_and_read(client: Any) -> None:
    action = imported(client, *json.loads(EXAMPLE.read_text()))
    assert (action.type, action.operation_status, action.progress) == ("ORDERS.IMPORT", "SUCCESS", 100)
    assert action.result["done_count"] == 6
    assert [failure["reason"] for failure in action.result["failed"]] == [
        "Cannot find customer with id cust_LMY4ZylSdUYB1J4tzqNcl5VV"
    ]
    orders = voucherify.OrdersApi(client)
    page = orders.list_orders(limit=100, order="-created_at")
    assert page.total == len(page.orders) == 6
    for listed in page.orders:
        assert orders.get_order(listed.id) == orders.get_order(listed.source_id)


def test_an_order_with_everything_comes_back_typed(client: Any) -> None:
    action = imported(
        client,
        {
            "source_id": "order/1 ü",
            "status": "PAID",
            "customer": {
                "source_id": "ada@example.com",
                "name": "Ada",
                "birthdate": "1815-12-10",
                "address": {"city": "London"},
                "metadata": {"tier": "gold", "visits": 3, "vip": True, "tags": ["a", "b"]},
            },
            "referrer": {"source_id": "charles@example.com"},
            "items": [
                {
                    "related_object": "sku",
                    "quantity": 2,
                    "discount_amount": 100,
                    "product": {"source_id": "engine", "name": "Engine", "price": 5000, "override": True},
                    "sku": {"source_id": "engine-2", "sku": "Engine No. 2", "price": 6000, "override": True},
                }
            ],
            "metadata": {"ordered_at": "1843-09-01T10:00:00Z"},
        },
    )
    assert action.result["failed_count"] == 0
    order = voucherify.OrdersApi(client).get_order("order/1 ü")
    assert (order.status, order.amount, order.total_amount, order.items_discount_amount) == ("PAID", 12000, 11900, 100)
    assert order.metadata == {"ordered_at": "1843-09-01T10:00:00Z"}
    assert isinstance(order.created_at, datetime)
    item = order.items[0]
    assert (item.quantity, item.price, item.amount, item.subtotal_amount) == (2, 6000, 12000, 11900)
    assert (item.product.name, item.sku.sku) == ("Engine", "Engine No. 2")

    customers = voucherify.CustomersApi(client)
    customer = customers.get_customer("ada@example.com")
    assert (customer.id, customer.name, customer.birthdate) == (order.customer_id, "Ada", date(1815, 12, 10))
    assert customer.metadata == {"tier": "gold", "visits": 3, "vip": True, "tags": ["a", "b"]}
    assert (customer.summary.orders.total_amount, customer.summary.orders.total_count) == (11900, 1)
    assert customer.summary.orders.last_order_date == datetime(1843, 9, 1, 10, tzinfo=UTC)
    assert {person.source_id for person in customers.list_customers(limit=10).customers} == {
        "ada@example.com",
        "charles@example.com",
    }

    products = voucherify.ProductsApi(client)
    product = products.get_product("engine")
    assert (product.id, product.name, product.price) == (item.product_id, "Engine", 5000)
    sku = products.get_sku("engine-2")
    assert (sku.id, sku.sku, sku.price, sku.product_id) == (item.sku_id, "Engine No. 2", 6000, product.id)
    assert [listed.id for listed in products.list_skus_in_product(product.id).skus] == [sku.id]


def test_actions_are_listed_and_paged(client: Any) -> None:
    made = [imported(client, {"source_id": f"o-{n}"}).id for n in range(3)]
    actions = voucherify.AsyncActionsApi(client)
    first = actions.list_async_actions(limit=2)
    assert [action.id for action in first.async_actions] == made[:0:-1]
    assert first.has_more is True
    second = actions.list_async_actions(limit=2, end_date=first.async_actions[-1].created_at)
    assert [action.id for action in second.async_actions] == made[:1]
    assert second.has_more is False


def test_errors_are_the_client_s_exceptions(client: Any) -> None:
    with pytest.raises(voucherify.exceptions.NotFoundException) as missing:
        voucherify.OrdersApi(client).get_order("nothing")
    body = json.loads(missing.value.body)
    assert (missing.value.status, body["key"], body["resource_type"]) == (404, "not_found", "order")
    with pytest.raises(voucherify.exceptions.BadRequestException) as refused:
        imported(client, {"amount": -1})
    assert json.loads(refused.value.body)["details"] == "Property .[0].amount cannot be lower than 0"
    client.configuration.api_key["X-App-Token"] = "wrong"
    with pytest.raises(voucherify.exceptions.UnauthorizedException):
        voucherify.OrdersApi(client).list_orders()


def test_an_order_through_its_life(client: Any) -> None:
    orders, people = voucherify.OrdersApi(client), voucherify.CustomersApi(client)
    body = {"source_id": "o/1", "customer": {"source_id": "ann"}, "items": [{"price": 900, "quantity": 2}]}
    made = orders.create_order(orders_create_request_body=voucherify.OrdersCreateRequestBody.from_dict(body))
    assert (made.source_id, made.status, made.amount, made.customer_id is None) == ("o/1", "CREATED", 1800, False)
    # which sends null for all that it is not given
    change = voucherify.OrdersUpdateRequestBody.from_dict({"status": "PAID", "metadata": {"till": 3}})
    paid = orders.update_order("o/1", orders_update_request_body=change)
    assert (paid.id, paid.source_id, paid.status, paid.amount) == (made.id, "o/1", "PAID", 1800)
    assert paid.metadata == {"till": 3}
    assert orders.get_order(made.id).to_dict() == paid.to_dict()
    assert people.get_customer("ann").summary.orders.total_amount == 1800
    with pytest.raises(voucherify.exceptions.NotFoundException):
        orders.update_order("nowhere", orders_update_request_body=change)
