"""How often each custom event happened to a customer, and when last: kept beside the events, which go one day."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.custom_events.defining import define, event, track
from tests.deployment import Project
from tests.events.log import events_of
from tests.orders.stored import rows, session


@pytest.fixture
def shop(project: Project) -> Project:
    """A project with events."""
    define(project, event("sign_up", seats="number"), event("bare"))
    return project


@pytest.fixture
def shop_18(project_18: Project) -> Project:
    """A project with events, on one version of PostgreSQL."""
    define(project_18, event("sign_up", seats="number"), event("bare"))
    return project_18


def totals(project: Project) -> dict[tuple[str, str], int]:
    """How often it happened, by customer id and event."""
    return {key: row["total"] for key, row in _stored(project).items()}


def _stored(project: Project) -> dict[tuple[str, str], Any]:
    query = """SELECT customer_id, event, total, last_occurred_at FROM custom_event_totals
                WHERE project_id = %(project)s"""
    return {(row["customer_id"], row["event"]): row for row in rows(project, query)}


def test_each_event_of_each_customer_is_counted(shop: Project) -> None:
    ann = track(shop)["customer"]["id"]
    track(shop)
    track(shop, "bare")
    bob = track(shop, customer={"source_id": "bob"})["customer"]["id"]
    assert totals(shop) == {(ann, "sign_up"): 2, (ann, "bare"): 1, (bob, "sign_up"): 1}
    last = {(one.customer_id, one.data["event"]["type"]): one.data["event"]["created_at"]
            for one in events_of(shop) if one.type == "customer.custom_event"}  # fmt: skip
    found = {key: f"{row['last_occurred_at']:%Y-%m-%dT%H:%M:%S}" for key, row in _stored(shop).items()}
    assert found == {key: moment[:19] for key, moment in last.items()}


def test_the_last_time_never_goes_back(shop_18: Project) -> None:
    ann = track(shop_18)["customer"]["id"]
    with session(shop_18.deployment) as conn:
        conn.execute(
            "UPDATE custom_event_totals SET last_occurred_at = '2999-01-01Z' WHERE project_id = %s", [shop_18.id]
        )
    track(shop_18)
    row = _stored(shop_18)[ann, "sign_up"]
    assert (row["total"], row["last_occurred_at"].year) == (2, 2999)


def test_what_is_refused_or_repeated_is_not_counted(shop_18: Project) -> None:
    ann = track(shop_18)["customer"]["id"]
    track(shop_18, metadata={"seats": "many"}, expect=400)
    track(shop_18, "unknown", expect=404)
    track(shop_18, customer={"id": "cust_x"}, expect=404)
    body = {"event": "bare", "customer": {"id": ann}}
    for _ in range(2):
        assert shop_18.http.post("/v1/events", json=body, headers={"Idempotency-Key": "1"}).status_code == 200
    assert totals(shop_18) == {(ann, "sign_up"): 1, (ann, "bare"): 1}


def test_none_of_many_at_once_is_lost(shop_18: Project) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda no: track(shop_18, metadata={"seats": no}), range(24)))
    assert totals(shop_18) == {(answers[0]["customer"]["id"], "sign_up"): 24}


@pytest.mark.parametrize("method", ["DELETE", "POST"], ids=["deletion", "permanent deletion"])
def test_they_go_with_their_customer(shop: Project, method: str) -> None:
    ann = track(shop)["customer"]["id"]
    bob = track(shop, customer={"source_id": "bob"})["customer"]["id"]
    path = "/v1/customers/ann" + ("" if method == "DELETE" else "/permanent-deletion")
    answer = shop.http.request(method, path)
    assert answer.is_success, answer.text
    assert totals(shop) == {(bob, "sign_up"): 1}
    again = track(shop)["customer"]["id"]
    assert again != ann
    assert totals(shop) == {(bob, "sign_up"): 1, (again, "sign_up"): 1}


def test_projects_count_for_themselves(shop_18: Project) -> None:
    other = shop_18.deployment.new_project()
    try:
        define(other, event("sign_up"))
        ann, theirs = track(shop_18)["customer"]["id"], track(other)["customer"]["id"]
        shop_18.http.delete(f"/v1/customers/{ann}")
        assert (totals(shop_18), totals(other)) == ({}, {(theirs, "sign_up"): 1})
    finally:
        other.close()
