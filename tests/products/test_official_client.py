"""The official Python client's products, SKUs and CSV imports against a server of ours: only the address differs."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import voucherify

from tests.deployment import Project


@pytest.fixture
def client(project_18: Project) -> Iterator[Any]:
    keys = {"X-App-Id": project_18.application_id, "X-App-Token": project_18.application_token}
    with voucherify.ApiClient(voucherify.Configuration(host=project_18.deployment.url, api_key=keys)) as made:
        yield made
        made.rest_client.pool_manager.clear()


def succeeded(client: Any, answer: Any) -> Any:
    """Poll, as the guide says; the result."""
    for _ in range(400):
        action = voucherify.AsyncActionsApi(client).get_async_action(answer.async_action_id)
        if action.operation_status == "SUCCESS":
            return action.result
        time.sleep(0.05)
    raise AssertionError(action)


def test_a_product_s_life(client: Any) -> None:
    api = voucherify.ProductsApi(client)
    body = voucherify.ProductsCreateRequestBody(
        source_id="first_product", name="Samsung Phone", price=200000, attributes=["color", "memory", "processor"],
        metadata={"test": True, "vendor": "Online Store"}, image_url="https://www.website.com/image.png",
    )  # fmt: skip
    product = api.create_product(products_create_request_body=body)
    assert (product.source_id, product.price, product.metadata["test"], product.object) == (
        "first_product", 200000, True, "product",
    )  # fmt: skip
    changed = api.update_product(
        product.id, products_update_request_body=voucherify.ProductsUpdateRequestBody(price=210000)
    )
    assert (changed.id, changed.price, changed.name) == (product.id, 210000, "Samsung Phone")
    sku_body = voucherify.ProductsSkusCreateRequestBody(
        source_id="first_product_sku_1", sku="Samsung phone 256GB", price=1300, currency="USD",
        attributes={"color": "vintage-black", "memory": "256", "processor": "Intel"}, metadata={"imported": True},
    )  # fmt: skip
    sku = api.create_sku("first_product", products_skus_create_request_body=sku_body)
    assert (sku.product_id, sku.currency, sku.attributes["memory"]) == (product.id, "USD", "256")
    update = voucherify.ProductsSkusUpdateRequestBody(price=210000, currency="PLN")
    assert api.update_sku(product.id, sku.source_id, products_skus_update_request_body=update).currency == "PLN"
    assert [each.id for each in api.list_skus_in_product(product.id).skus] == [sku.id]
    assert [each.id for each in api.list_products(limit=10).products] == [product.id]
    assert api.get_product("first_product").skus.total == 1
    api.delete_sku(product.id, sku.id)
    with pytest.raises(voucherify.exceptions.NotFoundException):
        api.get_sku(sku.id)
    api.delete_product("first_product", force=True)
    with pytest.raises(voucherify.exceptions.NotFoundException):
        api.get_product(product.id)
    assert api.create_product(products_create_request_body=body).id != product.id


def test_csv_files_are_imported(client: Any) -> None:
    products, customers = voucherify.ProductsApi(client), voucherify.CustomersApi(client)
    file = b'name,source_id,price,attributes\nT-Shirt,shirt,21,"color,size"\n'
    assert succeeded(client, products.import_products_using_csv(file=file))["done_count"] == 1
    file = b"product_id,sku,source_id,price,attributes\nshirt,Blue,blue,14.5,\"{'color':'blue'}\"\n"
    assert succeeded(client, products.import_skus_using_csv(file=file))["done_count"] == 1
    sku = products.get_sku("blue")
    assert (sku.price, sku.attributes) == (1450, {"color": "blue"})
    file = b"Name,Source_id,City\nAnn,ann,London\n"
    assert succeeded(client, customers.import_customers_using_csv(file=file))["done_count"] == 1
    assert customers.get_customer("ann").address.city == "London"
