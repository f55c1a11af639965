"""Segments with the official Python client, used as its documentation shows."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import voucherify
from voucherify import CustomersCreateRequestBody, CustomersUpdateRequestBody, SegmentsCreateRequestBody

from tests.deployment import Project
from tests.segments.placed import LONDONERS, all_placed


@pytest.fixture
def client(project_18: Project) -> Iterator[Any]:
    keys = {"X-App-Id": project_18.application_id, "X-App-Token": project_18.application_token}
    with voucherify.ApiClient(voucherify.Configuration(host=project_18.deployment.url, api_key=keys)) as made:
        yield made
        made.rest_client.pool_manager.clear()


def person(client: Any, name: str, city: str) -> str:
    """A new customer; its id."""
    body = CustomersCreateRequestBody.from_dict({"source_id": name, "address": {"city": city}})
    return str(voucherify.CustomersApi(client).create_customer(customers_create_request_body=body).id)


def segment(client: Any, **fields: Any) -> Any:
    """A new segment. The client sends null for what it is not given."""
    body = SegmentsCreateRequestBody.from_dict(fields)
    return voucherify.SegmentsApi(client).create_segment(segments_create_request_body=body)


def listed(client: Any, *query: tuple[str, Any]) -> tuple[Any, list[Any]]:
    """The list of segments: the client has no method for it, but can send the request, and knows what a segment is."""
    request = client.param_serialize(
        "GET", "/v1/segments", query_params=list(query), auth_settings=["X-App-Id", "X-App-Token"]
    )
    answer = client.call_api(*request)
    body = json.loads(answer.read())
    return body, [voucherify.SegmentsGetResponseBody.from_dict(one) for one in body["segments"]]


def members(client: Any, segment_id: str) -> list[str]:
    """The members by source id, newest first."""
    page = voucherify.CustomersApi(client).list_customers(limit=10, segment_id=segment_id)
    assert page.total == len(page.customers)
    return [one.source_id for one in page.customers]


def test_a_static_segment(client: Any) -> None:
    ann, bob = person(client, "ann", "London"), person(client, "bob", "Paris")
    person(client, "cid", "London")
    made = segment(client, name="Friends", type="static", customers=[ann, bob])
    assert (made.object, made.name, made.type, made.filter) == ("segment", "Friends", "static", None)
    assert made.id.startswith("seg_")
    found = voucherify.SegmentsApi(client).get_segment(made.id)
    assert found.to_dict() == made.to_dict()
    assert members(client, made.id) == ["bob", "ann"]


def test_an_active_segment_through_its_life(client: Any, project_18: Project) -> None:
    segments, customers = voucherify.SegmentsApi(client), voucherify.CustomersApi(client)
    person(client, "ann", "London")
    made = segment(client, name="Londoners", type="auto-update", filter=LONDONERS)
    assert (made.type, made.filter, made.updated_at) == ("auto-update", LONDONERS, None)
    assert made.created_at <= datetime.now(UTC)
    person(client, "bob", "London")
    all_placed(project_18)
    assert members(client, made.id) == ["bob", "ann"]
    of_bob = customers.list_customer_segments("bob")
    assert [(one.id, one.name, one.object) for one in of_bob.data] == [(made.id, "Londoners", "segment")]
    assert of_bob.total == 1
    change = CustomersUpdateRequestBody.from_dict({"address": {"city": "Paris"}})
    customers.update_customer("bob", customers_update_request_body=change)
    all_placed(project_18)
    assert members(client, made.id) == ["ann"]
    effects = customers.list_customer_activity("bob", limit=10, category="EFFECT")
    assert [one.type for one in effects.data] == ["customer.segment.left", "customer.segment.entered"]
    assert segments.delete_segment(made.id) is None
    with pytest.raises(voucherify.exceptions.NotFoundException) as missing:
        segments.get_segment(made.id)
    assert json.loads(missing.value.body)["resource_type"] == "segment"
    with pytest.raises(voucherify.exceptions.NotFoundException):
        segments.delete_segment(made.id)
    assert customers.list_customer_segments("ann").data == []
    assert customers.list_customer_segments("nobody").total == 0


def test_lists_have_segments_that_the_client_knows(client: Any) -> None:
    made = [
        segment(client, name="A", customers=[]),
        segment(client, name="B", filter=LONDONERS),
        segment(client, name="C", type="auto-update", filter=LONDONERS),
    ]
    body, found = listed(client)
    assert [one.to_dict() for one in found] == [one.to_dict() for one in reversed(made)]
    assert [one.type for one in found] == ["auto-update", "passive", "static"]
    assert (body["object"], body["data_ref"], body["total"]) == ("list", "data", 3)
    # lists are written as Python shows them
    wanted = str([made[0].id, made[1].id])
    for query in (("ids", wanted), ("filters[id][conditions][$in]", wanted)):
        _, found = listed(client, query, ("order", "created_at"))
        assert [one.name for one in found] == ["A", "B"]
    _, found = listed(client, ("limit", 1), ("page", 2))
    assert [one.name for one in found] == ["B"]


def test_what_is_refused(client: Any) -> None:
    for fields, details in (
        ({"filter": LONDONERS}, "Property .name must be string"),
        ({"name": "S"}, "Payload should have required property 'customers' or 'filter'"),
    ):
        with pytest.raises(voucherify.exceptions.BadRequestException) as refused:
            segment(client, **fields)
        assert json.loads(refused.value.body)["details"] == details
