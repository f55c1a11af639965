"""Creating and updating orders one by one. That the rules are those of the import is tested by `test_model`."""

import random
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.deployment import Project
from tests.events.log import events_of

JSON = {"content-type": "application/json"}


def create(project: Project, *, expect: int = 200, **order: Any) -> Any:
    return project.call("POST", "/v1/orders", json=order, expect=expect)


def change(project: Project, order_id: str, *, expect: int = 200, **order: Any) -> Any:
    return project.call("PUT", f"/v1/orders/{order_id}", json=order, expect=expect)


# ---- creating ----------------------------------------------------------------------------------


def test_nothing_is_required(project: Project) -> None:
    for body in (b"", b"{}", b"null"[:0]):
        order = project.call("POST", "/v1/orders", content=body, headers=JSON)
        assert (order["status"], order["amount"], order["items"], order["source_id"]) == ("CREATED", 0, [], None)
        assert order == project.get(f"/v1/orders/{order['id']}")
    assert project.get("/v1/orders")["total"] == 3


def test_an_order_that_exists_is_updated(project: Project) -> None:
    first = create(project, source_id="a", amount=5, metadata={"k": 1, "gone": None})
    again = create(project, source_id="a", status="PAID", metadata={"l": 2})
    assert (again["id"], again["status"], again["amount"]) == (first["id"], "PAID", 5)
    # a null is stored when an order is created, as by the import
    assert again["metadata"] == {"k": 1, "l": 2, "gone": None}
    assert first["updated_at"] is None
    assert again["updated_at"] is not None
    assert create(project, id=first["id"], amount=6)["amount"] == 6
    assert project.get("/v1/orders")["total"] == 1


def test_ids(project: Project) -> None:
    ours = create(project, id="ord_MyOwn1", source_id="a")
    assert ours["id"] == "ord_MyOwn1"
    other = create(project, source_id="b")
    refused = create(project, id=other["id"], source_id="a", expect=400)
    assert refused["key"] == "invalid_order"
    assert refused["details"] == f"The source id a belongs to another order than the id {other['id']}"
    assert create(project, id="order-1", expect=400)["key"] == "invalid_order"


@pytest.mark.parametrize(
    ("order", "resource", "resource_id"),
    [
        ({"customer": {"id": "cust_no"}}, "customer", "cust_no"),
        ({"referrer_id": "cust_no"}, "customer", "cust_no"),
        ({"items": [{"product_id": "prod_no"}]}, "product", "prod_no"),
        ({"items": [{"sku": {"id": "sku_no"}}]}, "sku", "sku_no"),
    ],
)
def test_unknown_ids_are_not_found(project_18: Project, order: Any, resource: str, resource_id: str) -> None:
    new = {"source_id": "a", "customer": {"source_id": "ann", "name": "Ann"}}
    error = create(project_18, **{**new, **order}, expect=404)
    assert (error["key"], error["resource_type"], error["resource_id"]) == ("not_found", resource, resource_id)
    assert project_18.get("/v1/orders")["total"] == 0
    assert project_18.get("/v1/customers")["total"] == 0, "what came with it was not written either"
    assert events_of(project_18) == []


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"amount": -1}, "Property .amount cannot be lower than 0"),
        ({"items": [{}, {"initial_quantity": 0}]}, "Property .items[1].initial_quantity cannot be lower than 1"),
        ({"items": [{"price": 2**52, "quantity": 4}]}, f"Property .items[0].amount cannot be higher than {2**53 - 1}"),
        ({"items": [{}] * 501}, "Property .items must have at most 500 elements"),
        ({"created_at": "soon"}, "Property .created_at cannot be recognized as a ISO-8601 compliant date"),
        ({"created_at": "2999-01-01"}, "Property .created_at cannot be in the future"),
        ({"metadata": {"n": 2**70}}, "Property .metadata.n must be a number that can be represented"),
        (
            {"customer": {"metadata": {"n": 2**70}}},
            "Property .customer.metadata.n must be a number that can be represented",
        ),
        ([], "Payload must be an object"),
    ],
)  # fmt: skip
def test_bad_requests_say_where(project_18: Project, body: Any, details: str) -> None:
    for method, path in (("POST", "/v1/orders"), ("PUT", "/v1/orders/there")):
        if method == "PUT":
            if "created_at" in body:
                continue  # an order was created when it was created
            create(project_18, source_id="there")
        error = project_18.call(method, path, json=body, expect=400)
        assert (error["key"], error["details"]) == ("invalid_payload", details)


def test_the_date_of_creation_can_be_given(project: Project) -> None:
    given = create(project, source_id="a", created_at="2024-05-04T10:00:00+02:00")
    assert given["created_at"] == "2024-05-04T08:00:00Z"
    # two cannot have the same moment, since lists are paged by it
    others = [create(project, created_at="2024-05-04T08:00:00.000Z")["created_at"] for _ in range(20)]
    assert len({given["created_at"], *others}) == 21
    assert all(moment.startswith("2024-05-04T08:00:00.") for moment in others)
    again = create(project, source_id="a", created_at="2020-01-01")
    assert again["created_at"] == given["created_at"], "it was created once"
    soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert create(project, created_at=soon)["created_at"] < soon, "a clock that is a little ahead"


def test_a_request_that_is_sent_again_takes_effect_once(project: Project) -> None:
    headers = {"Idempotency-Key": "k"}
    body = {"status": "PAID", "customer": {"name": "Ann"}, "amount": 7}
    answers = [project.http.post("/v1/orders", json=body, headers=headers) for _ in range(3)]
    assert len({answer.text for answer in answers}) == 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true", "true"]
    assert project.get("/v1/orders")["total"] == 1
    assert len(events_of(project)) == 3


# ---- updating ----------------------------------------------------------------------------------


def test_what_is_not_sent_stays(project: Project) -> None:
    item = {"source_id": "mug", "related_object": "product", "quantity": 2, "price": 9}
    order = create(
        project, source_id="a", items=[item], metadata={"k": 1, "l": 2}, customer={"source_id": "ann"},
        referrer={"source_id": "bob"}, discount_amount=3, initial_amount=20,
    )  # fmt: skip
    paid = change(project, "a", status="PAID")
    assert paid["updated_at"] is not None
    assert {**paid, "updated_at": None, "status": "CREATED"} == order
    assert paid == project.get("/v1/orders/a")
    create(project, source_id="a", metadata={"n": None})
    merged = change(project, paid["id"], metadata={"k": None, "m": 3})
    assert merged["metadata"] == {"l": 2, "m": 3, "n": None}, "a null that was not sent stays"
    assert merged["items"] == order["items"]
    replaced = change(project, "a", items=[{"amount": 5}])
    assert (replaced["amount"], replaced["total_amount"], len(replaced["items"])) == (5, 2, 1)
    assert change(project, "a", customer=None, items=None, amount=None)["customer_id"] == order["customer_id"]


def test_null_takes_nothing_away(project: Project) -> None:
    """Clients that are generated from the description send null for all that they were not given."""
    order = create(project, source_id="a", referrer={"source_id": "bob"}, customer={"source_id": "ann"}, amount=5)
    fields = ("source_id", "referrer_id", "amount", "initial_amount", "discount_amount", "items", "metadata")
    nulls: dict[str, Any] = dict.fromkeys((*fields, "customer", "referrer"))
    same = change(project, "a", status="CREATED", **nulls)
    assert same == order
    other = create(project, source_id="b")
    taken = change(project, other["id"], source_id="a", expect=400)
    assert taken["key"] == "invalid_order"
    assert change(project, other["id"], source_id="c")["source_id"] == "c"


def test_the_id_in_the_path_is_what_counts(project: Project) -> None:
    first, second = create(project, source_id="a"), create(project, source_id="b")
    changed = change(project, "a", id=second["id"], amount=9)
    assert (changed["id"], changed["amount"]) == (first["id"], 9)
    error = change(project, "c", amount=9, expect=404)
    assert (error["resource_type"], error["resource_id"]) == ("order", "c")


def test_summaries_follow(project: Project) -> None:
    def summary(who: str) -> tuple[int, int, int]:
        orders = project.get(f"/v1/customers/{who}")["summary"]["orders"]
        return orders["total_amount"], orders["total_count"], orders["last_order_amount"]

    create(project, source_id="a", amount=700, customer={"source_id": "ann"})
    assert summary("ann") == (0, 0, 0)
    change(project, "a", status="PAID")
    assert summary("ann") == (700, 1, 700)
    create(project, source_id="b", amount=50, status="FULFILLED", customer={"source_id": "ann"})
    assert summary("ann") == (750, 2, 50)
    change(project, "b", status="CANCELED")
    assert summary("ann") == (700, 1, 700)
    change(project, "a", customer={"source_id": "bob"})
    assert (summary("ann"), summary("bob")) == ((0, 0, 0), (700, 1, 700))


# ---- at the same time --------------------------------------------------------------------------


def at_once(*works: Any) -> None:
    """Run each in a thread of its own; what one raises is raised."""
    failures: list[BaseException] = []

    def run(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_clients_and_an_import_write_the_same_orders(project: Project) -> None:
    """Four clients create the same source ids while they are imported: nothing fails, and each is there once."""
    names = [f"o{no}" for no in range(40)]
    actions: list[str] = []

    def order(name: str) -> dict[str, Any]:
        item = {"source_id": "mug", "product": {"source_id": "mug", "name": "Mug", "override": True}, "price": 10}
        return {
            "source_id": name, "status": "PAID", "items": [item],
            "customer": {"source_id": f"c{int(name[1:]) % 3}", "name": "Ann"},
        }  # fmt: skip

    def client(no: int) -> Any:
        shop = Project(project.deployment, project.id, project.application_id, project.application_token)
        ours = names if no % 2 else names[::-1]

        def run() -> None:
            for name in ours:
                create(shop, **order(name))

        return run

    def importer() -> None:
        actions.extend(project.post_import([order(name) for name in names]) for _ in range(3))

    at_once(*[client(no) for no in range(4)], importer)
    for action in actions:
        result = project.finished(action)["result"]
        assert (result["done_count"], result["failed_count"]) == (40, 0), result
    assert project.get("/v1/orders")["total"] == 40
    assert {order["source_id"] for order in project.all_orders()} == set(names)
    assert project.get("/v1/customers")["total"] == 3
    assert project.get("/v1/products")["total"] == 1
    paid = [project.get(f"/v1/customers/c{no}")["summary"]["orders"] for no in range(3)]
    assert sum(one["total_count"] for one in paid) == 40
    assert sum(one["total_amount"] for one in paid) == 400
    created = [event.object_id for event in events_of(project) if event.type == "customer.order.created"]
    assert len(created) == len(set(created)), "an order is created once"


def test_clients_change_one_order_at_once(project: Project) -> None:
    create(project, source_id="a", customer={"source_id": "ann"})

    def client(no: int) -> Any:
        shop = Project(project.deployment, project.id, project.application_id, project.application_token)

        def run() -> None:
            for turn in range(10):
                change(shop, "a", metadata={f"{no}/{turn}": turn}, amount=no * 100 + turn, status="PAID")

        return run

    at_once(*[client(no) for no in range(6)])
    order = project.get("/v1/orders/a")
    assert len(order["metadata"]) == 60, "no change is lost"
    orders = project.get("/v1/customers/ann")["summary"]["orders"]
    assert (orders["total_count"], orders["total_amount"]) == (1, order["amount"])
    assert sum(event.type == "customer.order.updated" for event in events_of(project)) == 60


def test_orders_that_change_hands_do_not_wait_in_a_circle(project: Project) -> None:
    """Rows are locked in one order, also those of a customer that the order has got meanwhile."""
    people = [f"c{n}" for n in range(4)]
    for person in people:
        project.call("POST", "/v1/customers", json={"source_id": person})

    def client(no: int) -> Any:
        shop = Project(project.deployment, project.id, project.application_id, project.application_token)
        draw = random.Random(no)

        def run() -> None:
            for turn in range(15):
                status = draw.choice(["PAID", "CREATED"])
                person = {"source_id": draw.choice(people)}
                create(shop, source_id=f"o{draw.randrange(3)}", amount=turn, status=status, customer=person)
            shop.close()

        return run

    deadlocks = len(re.findall("deadlock detected", log_of(project)))
    at_once(*[client(no) for no in range(6)])
    assert len(re.findall("deadlock detected", log_of(project))) == deadlocks
    stored = list(project.all_orders())
    for person in people:
        found = project.get(f"/v1/customers/{person}")
        theirs = [order["amount"] for order in stored
                  if order["customer_id"] == found["id"] and order["status"] == "PAID"]  # fmt: skip
        summary = found["summary"]["orders"]
        assert (summary["total_count"], summary["total_amount"]) == (len(theirs), sum(theirs))


def log_of(project: Project) -> str:
    """What the embedded PostgreSQL has logged."""
    return (project.deployment.data / "postgres.log").read_text(errors="replace")


# ---- two projects ------------------------------------------------------------------------------


def test_another_projects_order_is_not_found(project: Project) -> None:
    theirs = project.deployment.new_project()
    order = create(theirs, source_id="a", customer={"source_id": "ann"}, items=[
        {"product": {"source_id": "mug", "override": True}, "sku": {"source_id": "blue", "override": True}},
    ])  # fmt: skip
    item = order["items"][0]
    change(project, order["id"], amount=1, expect=404)
    change(project, "a", amount=1, expect=404)
    for foreign in (
        {"customer": {"id": order["customer_id"]}},
        {"items": [{"product_id": item["product_id"]}]},
        {"items": [{"sku_id": item["sku_id"]}]},
    ):
        create(project, **foreign, expect=404)
    assert create(project, id=order["id"], amount=3)["amount"] == 3, "an id is one of its project"
    assert theirs.get("/v1/orders/a") == order
    assert len(events_of(theirs)) == 4
