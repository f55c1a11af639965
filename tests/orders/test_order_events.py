"""What orders set off: which events, in which order, with which payload, and from whom."""

from typing import Any

import psycopg
import pytest

from tests.deployment import Project, until
from tests.events.log import LoggedEvent, events_of
from tests.orders.test_writing import change, create

ORDER_EVENTS = "customer.order."


def kinds(project: Project) -> list[str]:
    return [event.type for event in events_of(project)]


def of_orders(project: Project) -> list[str]:
    return [kind.removeprefix(ORDER_EVENTS) for kind in kinds(project) if kind.startswith(ORDER_EVENTS)]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, ["created"]),
        ("CREATED", ["created"]),
        ("PAID", ["created", "paid"]),
        ("CANCELED", ["created", "canceled"]),
        ("FULFILLED", ["created", "fulfilled"]),
    ],
)
def test_a_new_order(project_18: Project, status: str | None, expected: list[str]) -> None:
    body: dict[str, Any] = {"status": status} if status else {}
    create(project_18, amount=5, **body)
    assert of_orders(project_18) == expected


def test_an_order_through_its_life(project: Project) -> None:
    create(project, source_id="a", amount=5, customer={"source_id": "ann"})
    steps: list[tuple[dict[str, Any], list[str]]] = [
        ({"status": "PAID"}, ["updated", "paid"]),
        ({"status": "PAID"}, []),
        ({"amount": 6}, ["updated"]),
        ({"status": "FULFILLED", "amount": 7}, ["updated", "fulfilled"]),
        ({"metadata": {"k": 1}}, ["updated"]),
        ({"metadata": {"k": 1}}, []),
        ({"status": "CANCELED"}, ["updated", "canceled"]),
        ({"status": "CREATED"}, ["updated"]),
        ({"status": "PAID"}, ["updated", "paid"]),
    ]
    for body, expected in steps:
        before = len(of_orders(project))
        change(project, "a", **body)
        assert of_orders(project)[before:] == expected, body
    before = len(of_orders(project))
    create(project, source_id="a", status="CANCELED")
    assert of_orders(project)[before:] == ["updated", "canceled"], "an upsert that hits is an update"


def test_the_payload(project: Project) -> None:
    customer = {"source_id": "ann", "name": "Ann", "email": "ann@example.com", "metadata": {"vip": True}}
    order = create(
        project, source_id="a", status="PAID", customer=customer, referrer={"source_id": "bob"},
        items=[{"source_id": "mug", "related_object": "product", "quantity": 2, "price": 9}],
    )  # fmt: skip
    created, paid = [event for event in events_of(project) if event.type.startswith(ORDER_EVENTS)]
    assert created.data == paid.data
    assert created.data == {
        "customer": {**customer, "id": order["customer_id"], "object": "customer"},
        "referrer": {"id": order["referrer_id"], "name": None, "email": None, "source_id": "bob", "metadata": {},
                     "object": "customer"},
        "order": project.get("/v1/orders/a"),
        "redemption": None,
    }  # fmt: skip
    assert (created.object_id, created.customer_id, created.referrer_id) == (
        order["id"], order["customer_id"], order["referrer_id"],
    )  # fmt: skip
    assert (created.depth, created.async_action_id, created.campaign_id) == (0, None, None)
    assert created.id.startswith("evcus_")
    assert created.event_source == {
        "channel": "API", "api_key": {"name": "test", "app_id": project.application_id},
    }  # fmt: skip


def test_the_events_of_a_request_carry_its_id(project: Project) -> None:
    answer = project.http.post("/v1/orders", json={"status": "PAID", "customer": {"name": "Ann"}})
    assert {event.group_id for event in events_of(project)} == {answer.headers["x-request-id"]}


def test_what_an_order_upserts_has_events_too(project: Project) -> None:
    item = {
        "product": {"source_id": "shirt", "name": "Shirt", "override": True},
        "sku": {"source_id": "blue", "sku": "Blue", "price": 5, "override": True},
    }
    order = create(project, source_id="a", customer={"source_id": "ann"}, referrer={"source_id": "bob"}, items=[item])
    assert kinds(project) == [
        "customer.created", "customer.created", "product.created", "sku.created", "customer.order.created",
    ]  # fmt: skip
    found = {event.object_id: event for event in events_of(project)}
    assert found[order["customer_id"]].data == {"customer": project.get("/v1/customers/ann")}
    product = project.get("/v1/products/shirt")
    del product["skus"]
    assert found[product["id"]].data == {"product": product}
    sku = project.get("/v1/skus/blue")
    assert found[sku["id"]].data == {"sku": sku, "product": product}
    assert found[sku["id"]].customer_id is None
    before = len(kinds(project))
    # nothing new
    create(project, source_id="b", customer={"source_id": "ann"}, items=[item])
    assert kinds(project)[before:] == ["customer.order.created"]
    before = len(kinds(project))
    item["product"] |= {"name": "T-Shirt"}
    change(project, "b", customer={"source_id": "ann", "name": "Ann"}, items=[item])
    assert kinds(project)[before:] == ["customer.updated", "product.updated", "customer.order.updated"]


def test_an_order_without_customer_has_its_events(project: Project) -> None:
    create(project, amount=5)
    (event,) = events_of(project)
    assert (event.type, event.customer_id, event.data["customer"]) == ("customer.order.created", None, None)


def test_what_is_refused_sets_nothing_off(project: Project) -> None:
    create(project, customer={"source_id": "ann"}, items=[{"price": 2**52, "quantity": 4}], expect=400)
    assert events_of(project) == []


# ---- worked off --------------------------------------------------------------------------------


def worked_off(project: Project) -> dict[str, int]:
    """How many events of each type the reactions lane has worked off, once the outbox is empty."""
    with psycopg.connect(project.deployment.dsn, autocommit=True) as conn:
        left = "SELECT count(*) FROM event_outbox WHERE project_id = %s"
        until(lambda: conn.execute(left, [project.id]).fetchone() == (0,))
        rows = conn.execute("SELECT type, total FROM event_totals WHERE project_id = %s", [project.id]).fetchall()
        return dict(rows)


def test_every_event_is_worked_off_once(project: Project) -> None:
    for no in range(30):
        create(project, source_id=f"o{no}", status="PAID", customer={"source_id": f"c{no % 4}"})
    logged: list[LoggedEvent] = events_of(project)
    expected: dict[str, int] = {}
    for event in logged:
        expected[event.type] = expected.get(event.type, 0) + 1
    assert expected == {"customer.created": 4, "customer.order.created": 30, "customer.order.paid": 30}
    assert worked_off(project) == expected


def test_an_import_sets_nothing_off(project: Project) -> None:
    item = {"product": {"source_id": "shirt", "name": "Shirt", "override": True}}
    project.imported(*[
        {"source_id": f"o{no}", "status": "PAID", "customer": {"source_id": "ann"}, "items": [item]}
        for no in range(5)
    ])  # fmt: skip
    assert events_of(project) == []
    assert worked_off(project) == {}
    change(project, "o0", status="CANCELED")
    assert of_orders(project) == ["updated", "canceled"], "an imported order that is updated later is an order"
