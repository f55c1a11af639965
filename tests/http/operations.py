"""Every operation that the server describes, and a project that has one of everything for them to work on."""

import json
import re
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from litestar.handlers import HTTPRouteHandler

from punchcard.app import ROUTES
from tests.custom_events.defining import define as define_event
from tests.custom_events.defining import event
from tests.deployment import Project
from tests.metadata_schemas.defining import define, schema
from tests.segments.placed import having, segment

PARAMETER = re.compile(r"{(\w+)}")


class Operation(msgspec.Struct, frozen=True):
    """A method of a path, as the description names it: `GET /v1/orders/{order_id}`."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def described(self, description: Any) -> Any:
        """What the description says about it."""
        return description["paths"][self.path][self.method.lower()]


def _operations() -> list[Operation]:
    """From the handlers: to have them described takes seconds."""
    found = [
        Operation(method, re.sub(r":str}", "}", path))
        for handler in ROUTES
        if isinstance(handler, HTTPRouteHandler) and handler.include_in_schema is not False
        for path in handler.paths
        for method in handler.http_methods
    ]
    return sorted(found, key=str)


OPERATIONS = _operations()
every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=str)


class Stock:
    """A project with one of everything, and what its objects are called."""

    def __init__(self, project: Project) -> None:
        self.project = project
        define_event(project, event("cart_abandoned", items="number"))
        define(project, schema("customer", lang="string"))
        mug = {"source_id": "mug", "name": "Mug", "price": 900, "attributes": ["color"]}
        product = project.call("POST", "/v1/products", json=mug)["id"]
        order = project.call(
            "POST",
            "/v1/orders",
            json={
                "source_id": "A-1",
                "customer": {"source_id": "ann", "name": "Ann"},
                "items": [{"product_id": product, "sku": {"source_id": "mug-blue", "override": True, "price": 950}}],
            },
        )
        item = order["items"][0]
        campaign = project.call(
            "POST",
            "/v1/campaigns",
            json={
                "name": "Winter",
                "vouchers_count": 2,
                "voucher": {"type": "DISCOUNT_VOUCHER", "discount": {"type": "AMOUNT", "amount_off": 100}},
            },
        )
        voucher = project.call(
            "POST", "/v1/vouchers/WELCOME-10", json={"type": "GIFT_VOUCHER", "gift": {"amount": 500}}
        )
        known, unknown = {"source_id": "ann", "name": "Ann"}, {"source_id": "nobody"}
        scheduled = project.call("POST", "/v1/customers/bulk/async", json=[known, unknown], expect=202)
        action = project.finished(scheduled["async_action_id"])
        # with ann in it; of a kind that can be changed
        buyers = segment(project, filter=having("summary.orders.total_count", "$is", 0))
        # each parameter of a path, with the names that an object goes by
        self.names: dict[str, tuple[str, ...]] = {
            "order_id": (order["id"], "A-1"),
            "customer_id": (order["customer_id"], "ann"),
            "segment_id": (buyers,),
            "product_id": (item["product_id"], "mug"),
            "sku_id": (item["sku_id"], "mug-blue"),
            "campaign_id": (campaign["id"], "Winter"),
            "code": (voucher["code"], voucher["id"]),
            "async_action_id": (action["id"],),
            "resource": ("customer",),
            "project_id": (project.id,),
            "file_name": tuple(urlsplit(link).path.rpartition("/")[2] for link in action["result"]["reports"]),
        }

    def path(self, operation: Operation, name: int = 0) -> str:
        """The operation's path to objects of this project, by id or by what else they are called."""
        return PARAMETER.sub(lambda found: self.names[found[1]][name % len(self.names[found[1]])], operation.path)


def example_of(described: Any) -> dict[str, Any]:
    """The arguments that send the example of a body, if there is one."""
    for media_type, content in described.get("requestBody", {}).get("content", {}).items():
        if media_type == "multipart/form-data":
            return {"files": {name: ("examples.csv", text.encode()) for name, text in content["example"].items()}}
        return {"content": json.dumps(content["example"]), "headers": {"content-type": media_type}}
    return {}
