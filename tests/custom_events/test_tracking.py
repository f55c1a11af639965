"""`POST /v1/events`: what it takes and refuses, what it does to the customer, and which events it writes."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import voucherify

from punchcard.db.database import conninfo
from tests.custom_events.defining import define, event, track
from tests.deployment import Project, until
from tests.events.log import LoggedEvent, events_of
from tests.metadata_schemas.defining import define as define_metadata
from tests.metadata_schemas.defining import schema
from tests.orders.lineage import hold_segments

SIMPLE_CUSTOMER = {"id", "name", "email", "source_id", "metadata", "object"}


@pytest.fixture
def shop(project: Project) -> Project:
    """A project with events."""
    define(project, event("sign_up", plan="string", seats={"type": "number", "gte": 1}), event("bare"))
    return project


@pytest.fixture
def shop_18(project_18: Project) -> Project:
    """A project with events, on one version of PostgreSQL."""
    define(project_18, event("sign_up", plan="string", seats={"type": "number", "gte": 1}), event("bare"))
    return project_18


def types_of(project: Project) -> list[str]:
    return [one.type for one in events_of(project)]


def inbox_causes(project: Project) -> list[str]:
    query = "SELECT cause FROM segment_inbox WHERE project_id = %s ORDER BY seq"
    with psycopg.connect(conninfo(project.deployment.dsn, part="test")) as conn:
        return [cause for (cause,) in conn.execute(query, [project.id])]


# ---- what is answered and written --------------------------------------------------------------


def test_the_answer_and_the_event_are_as_documented(shop: Project) -> None:
    hold_segments(shop)
    customer = {"source_id": "ann", "name": "Ann", "email": "ann@example.com", "metadata": {"lang": "en"}}
    answer = track(shop, customer=customer, metadata={"plan": "pro", "other": None}, loyalty={"code": "L1"},
                   referral={"code": "R1", "referrer_id": "cust_x"})  # fmt: skip
    stored = shop.get("/v1/customers/ann")
    simple = {"id": stored["id"], "object": "customer"} | customer
    assert answer == {
        "object": "event",
        "type": "sign_up",
        "customer": simple,
        "referral": None,
        "loyalty": None,
        "metadata": {"plan": "pro", "other": None},
    }
    created, tracked = events_of(shop)
    assert (created.type, created.customer_id, created.object_id) == ("customer.created", stored["id"], stored["id"])
    assert created.data == {"customer": stored}
    assert (tracked.type, tracked.customer_id, tracked.campaign_id) == ("customer.custom_event", stored["id"], None)
    assert (tracked.depth, tracked.async_action_id, tracked.group_id) == (0, None, created.group_id)
    assert tracked.event_source == {
        "channel": "API",
        "api_key": {"name": "test", "app_id": shop.application_id},
    }
    data = tracked.data
    assert data == {
        "event": {
            "id": tracked.object_id,
            "object": "event",
            "type": "sign_up",
            "customer": {"id": stored["id"], "object": "customer"},
            "referral": None,
            "loyalty": None,
            "metadata": {"plan": "pro", "other": None},
            "created_at": data["event"]["created_at"],
        },
        "event_schema": {"id": data["event_schema"]["id"], "name": "sign_up"},
        "customer": simple,
        "referral": None,
        "loyalty": None,
    }
    assert tracked.object_id.startswith("event_")
    assert data["event_schema"]["id"].startswith("ms_")
    assert inbox_causes(shop) == ["customers.update", "customers.custom_event"]


def test_the_request_id_ties_the_events_together(shop_18: Project) -> None:
    body = {"event": "bare", "customer": {"source_id": "ann"}}
    answer = shop_18.http.post("/v1/events", json=body)
    assert {one.group_id for one in events_of(shop_18)} == {answer.headers["X-Request-Id"]}


def test_the_customer_is_made_or_changed_or_left_as_it_is(shop: Project) -> None:
    track(shop)
    ann = shop.get("/v1/customers/ann")
    track(shop, customer={"source_id": "ann"})
    track(shop, customer={"id": ann["id"], "source_id": "ann", "name": "Ann", "phone": None})
    track(shop, customer={"source_id": "ann", "name": "Ann"})
    answer = track(shop, customer={"name": "Somebody"})
    assert answer["customer"]["id"] != ann["id"]
    assert types_of(shop) == [
        "customer.created",
        "customer.custom_event",
        "customer.custom_event",
        "customer.updated",
        "customer.custom_event",
        "customer.custom_event",
        "customer.created",
        "customer.custom_event",
    ]
    assert shop.get("/v1/customers")["total"] == 2
    assert shop.get("/v1/customers/ann")["name"] == "Ann"
    assert events_of(shop)[3].data == {"customer": shop.get("/v1/customers/ann")}


def test_a_repeat_with_its_key_is_one_event(shop_18: Project) -> None:
    body = {"event": "sign_up", "customer": {"name": "Nobody"}, "metadata": {"plan": "pro"}}
    answers = [shop_18.http.post("/v1/events", json=body, headers={"Idempotency-Key": "1"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert types_of(shop_18) == ["customer.created", "customer.custom_event"]


# ---- what is refused, and leaves no trace ------------------------------------------------------


def test_an_event_that_is_not_defined_is_not_found(shop: Project) -> None:
    error = track(shop, "Sign_up", expect=404)
    assert {name: error[name] for name in ("code", "key", "message", "details", "resource_id", "resource_type")} == {
        "code": 404,
        "key": "not_found",
        "message": "Resource not found",
        "details": "Cannot find custom event with name Sign_up",
        "resource_id": "Sign_up",
        "resource_type": "custom_event_schema",
    }
    assert (shop.get("/v1/customers")["total"], events_of(shop)) == (0, [])


def test_an_unknown_customer_id_is_not_found(shop: Project) -> None:
    error = track(shop, customer={"id": "cust_x", "source_id": "ann"}, expect=404)
    assert (error["key"], error["resource_id"], error["resource_type"]) == ("not_found", "cust_x", "customer")
    assert error["details"] == "Cannot find customer with id cust_x"
    assert (shop.get("/v1/customers")["total"], events_of(shop)) == (0, [])


def test_metadata_is_held_to_the_event_s_schema(shop: Project) -> None:
    define(shop, event("order_placed", number={"type": "string", "optional": False}))
    error = track(shop, metadata={"plan": 1, "seats": 0}, expect=400)
    assert error["key"] == "metadata_validation_failed"
    assert error["details"] == (
        "plan: must be a string (actual value is 1);"
        " seats: must be a number, must be greater than or equal to 1 (actual value is 0)"
    )
    for fields in ({}, {"metadata": None}, {"metadata": {"other": 1}}):
        error = track(shop, "order_placed", expect=400, **fields)
        assert error["details"] == "number: must be a string, property is required (actual value is missing)"
    track(shop, "order_placed", metadata={"number": "1", "other": 1})
    assert types_of(shop) == ["customer.created", "customer.custom_event"]


def test_metadata_of_the_customer_is_held_to_the_customers_schema(shop_18: Project) -> None:
    define_metadata(shop_18, schema("customer", lang="string"))
    error = track(shop_18, customer={"source_id": "ann", "metadata": {"lang": 1}}, expect=400)
    assert error["key"] == "metadata_validation_failed"
    assert (shop_18.get("/v1/customers")["total"], events_of(shop_18)) == (0, [])


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"customer": {}}, "Payload should have required property 'event'"),
        ({"event": "bare"}, "Payload should have required property 'customer'"),
        ({"event": "bare", "customer": None}, "Property .customer must be an object"),
        ({"event": "bare", "customer": {}, "referral": {}}, "Property .referral should have required property 'code'"),
        ({"event": 1, "customer": {}}, "Property .event must be string"),
        ({"event": "", "customer": {}}, "Property .event"),
        ({"event": "x" * 301, "customer": {}}, "Property .event"),
        ({"event": "bare", "customer": {}, "metadata": {"a": "\0"}}, "Property .metadata.a"),
        ({"event": "bare", "customer": {"metadata": {"a": "\0"}}}, "Property .customer.metadata.a"),
    ],
)
def test_a_body_of_another_shape_is_refused_with_its_path(project_18: Project, body: Any, details: str) -> None:
    error = project_18.call("POST", "/v1/events", json=body, expect=400)
    assert error["key"] == "invalid_payload"
    assert error["details"].startswith(details)


def test_names_may_be_as_long_as_documented(project_18: Project) -> None:
    name = "é" * 300
    define(project_18, event(name))
    assert track(project_18, name)["type"] == name


# ---- others at the same time -------------------------------------------------------------------


def test_each_project_has_events_and_customers_of_its_own(shop: Project) -> None:
    other = shop.deployment.new_project()
    track(shop)
    ann = shop.get("/v1/customers/ann")["id"]
    assert track(other, expect=404)["resource_type"] == "custom_event_schema"
    define(other, event("sign_up"))
    assert track(other, customer={"id": ann}, expect=404)["resource_type"] == "customer"
    assert track(other, metadata={"plan": 1})["customer"]["id"] != ann
    assert types_of(other) == types_of(shop) == ["customer.created", "customer.custom_event"]
    other.close()


def test_the_events_of_a_customer_wait_for_each_other(shop_18: Project) -> None:
    """An event about a customer whom somebody holds is written, and dated, once he lets go."""
    ann = track(shop_18)["customer"]["id"]
    key = [shop_18.id, ann]
    with psycopg.connect(conninfo(shop_18.deployment.dsn, part="test")) as conn:
        conn.execute("SELECT id FROM customers WHERE project_id = %s AND id = %s FOR NO KEY UPDATE", key)
        sender = threading.Thread(target=track, args=[shop_18, "bare"])
        sender.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
        with psycopg.connect(conninfo(shop_18.deployment.dsn, part="test"), autocommit=True) as looking:
            until(lambda: _first(looking.execute(waiting, [conn.info.backend_pid])))
        freed = _first(conn.execute("SELECT clock_timestamp()"))
        conn.commit()
        sender.join(30)
    bare = events_of(shop_18)[-1]
    assert bare.data["event"]["type"] == "bare"
    assert bare.created_at > freed
    assert bare.data["event"]["created_at"] > freed.isoformat()[:26]


def _first(rows: Any) -> Any:
    return next(iter(rows))[0]


def test_many_at_once_make_one_customer_and_all_events(shop_18: Project) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda no: track(shop_18, metadata={"seats": no + 1}), range(24)))
    assert len({answer["customer"]["id"] for answer in answers}) == 1
    found = events_of(shop_18)
    assert found[0].type == "customer.created"
    assert sorted(_seats(one) for one in found[1:]) == list(range(1, 25))


def _seats(one: LoggedEvent) -> int:
    return int(one.data["event"]["metadata"]["seats"])


# ---- the official client -----------------------------------------------------------------------


@pytest.fixture
def client(shop_18: Project) -> Iterator[Any]:
    keys = {"X-App-Id": shop_18.application_id, "X-App-Token": shop_18.application_token}
    with voucherify.ApiClient(voucherify.Configuration(host=shop_18.deployment.url, api_key=keys)) as made:
        yield voucherify.EventsApi(made)
        made.rest_client.pool_manager.clear()


def test_the_official_client_tracks_events(client: Any, shop_18: Project) -> None:
    body = voucherify.EventsCreateRequestBody(
        event="sign_up",
        customer=voucherify.Customer(source_id="ann", name="Ann", metadata={"lang": "en"}),
        metadata={"plan": "pro"},
    )
    answer = client.track_custom_event(body)
    assert (answer.object, answer.type, answer.referral, answer.loyalty) == ("event", "sign_up", None, None)
    assert (answer.customer.source_id, answer.customer.name, answer.metadata) == ("ann", "Ann", {"plan": "pro"})
    assert set(answer.customer.to_dict()) == SIMPLE_CUSTOMER - {"email"} or answer.customer.email is None
    assert types_of(shop_18) == ["customer.created", "customer.custom_event"]
    body.event = "unknown"
    with pytest.raises(voucherify.exceptions.NotFoundException):
        client.track_custom_event(body)
