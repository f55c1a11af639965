"""Lists of orders: pages, cursors, orders, filters."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import started_deployment
from tests.deployment import Deployment, Project
from tests.http.listing import FIELDS, Query, Row, by_cursor, by_pages, check, queries, sorted_rows
from tests.http.refusals import refused

ORDERS = ("created_at", "updated_at", "ordered_at")
BOTH = [f"{sign}{order}" for order in ORDERS for sign in ("", "-")]


def shop(project: Project, orders: int) -> None:
    """Orders of which some have a date, often the same, and some were updated, not in the order of their creation."""
    rng = random.Random(7)
    numbers = list(range(orders))

    def order(no: int) -> Row:
        dated = {"metadata": {"ordered_at": f"202{no % 3}-03-0{1 + no % 7}"}} if no % 4 else {}
        return {"source_id": f"o{no:04}", "amount": no, **dated}

    project.imported(*map(order, numbers))
    for round_no in range(2):
        some = rng.sample(numbers, orders // 5)
        project.imported(*({"source_id": f"o{no:04}", "metadata": {"round": round_no}} for no in some))


@pytest.fixture(scope="module")
def stocked(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Iterator[tuple[Project, list[Row]]]:
    """A project with 300 orders, and all of them; another project of the same deployment has some too."""
    deployment = started_deployment(request, deployments, "18")
    project, other = deployment.new_project(), deployment.new_project()
    other.imported(*({"source_id": f"o{no:04}", "amount": 1} for no in range(50)))
    shop(project, 300)
    yield project, list(project.all_orders())
    project.close()
    other.close()


@pytest.mark.parametrize("order", [None, *BOTH])
def test_every_walk_shows_each_order_once(stocked: tuple[Project, list[Row]], order: str | None) -> None:
    project, rows = stocked
    assert len(rows) == 300
    expected = [row["id"] for row in sorted_rows(rows, order or "created_at")]
    chosen = {"order": order} if order else {}
    assert [row["id"] for row in by_pages(project, "/v1/orders", limit=30, **chosen)] == expected
    walk = by_cursor(project, "/v1/orders", "starting_after_id", lambda row: row["id"], **chosen | {"limit": 23})
    assert [row["id"] for row in walk] == expected


def test_every_version_of_postgresql_shows_each_order_once(project: Project) -> None:
    shop(project, 120)
    rows = list(project.all_orders())
    for order in BOTH:
        expected = [row["id"] for row in sorted_rows(rows, order)]
        assert [row["id"] for row in by_pages(project, "/v1/orders", limit=17, order=order)] == expected
        walk = by_cursor(project, "/v1/orders", "starting_after_id", lambda row: row["id"], order=order, limit=17)
        assert [row["id"] for row in walk] == expected


def test_nothing_is_missed_or_doubled_while_an_import_goes_on(project_18: Project) -> None:
    shop(project_18, 400)
    before = [row["id"] for row in project_18.all_orders()]
    actions = [project_18.post_import([{"source_id": f"new-{no}-{n}"} for n in range(2000)]) for no in range(2)]
    running = 0
    while any(project_18.get(f"/v1/async-actions/{action}")["status"] != "DONE" for action in actions):
        running += 1
        for order in BOTH:
            walk = by_cursor(project_18, "/v1/orders", "starting_after_id", lambda row: row["id"], order=order)
            seen = [row["id"] for row in walk]
            assert len(set(seen)) == len(seen)
            assert set(before) <= set(seen)
    assert running > 0
    for action in actions:
        project_18.finished(action)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_query_gives_what_the_rows_say(stocked: tuple[Project, list[Row]], data: st.DataObject) -> None:
    project, rows = stocked
    query: Query = data.draw(queries(rows, ORDERS, ORDERS))
    if data.draw(st.booleans()):
        query.behind = rows[data.draw(st.integers(0, len(rows) - 1))]
        query.written += f"&starting_after_id={query.behind['id']}"
    check(project, "/v1/orders", rows, query, "created_at")


@pytest.mark.parametrize("field", ORDERS)
def test_a_filter_leaves_its_own_moment_out(stocked: tuple[Project, list[Row]], field: str) -> None:
    project, rows = stocked
    at = FIELDS[field](sorted_rows(rows, field)[100])
    same = sum(FIELDS[field](row) == at for row in rows)
    totals = [
        project.call("GET", "/v1/orders", params={f"{field}[{relation}]": at.isoformat()})["total"]
        for relation in ("before", "after")
    ]
    assert sum(totals) == len(rows) - same
    assert totals[0] == sum(FIELDS[field](row) < at for row in rows)


def test_an_order_without_a_date_is_filtered_by_its_creation(project_18: Project) -> None:
    project_18.imported({"source_id": "old", "metadata": {"ordered_at": "2019-05-05"}}, {"source_id": "undated"})

    def found(**parameters: Any) -> list[str]:
        return [row["source_id"] for row in project_18.get("/v1/orders", order="ordered_at", **parameters)["orders"]]

    assert found() == ["old", "undated"]
    assert found(**{"ordered_at[after]": "2019-05-05"}) == ["undated"]
    assert found(**{"ordered_at[after]": "2019-05-04T23:59:59Z", "ordered_at[before]": "2020-01-01"}) == ["old"]
    assert found(**{"created_at[after]": "2020-01-01"}) == ["old", "undated"]


@pytest.mark.parametrize("cursor", ["ord_unknown", "o0001", "%00x", "x" * 3000])
def test_a_cursor_that_names_no_order_is_refused(stocked: tuple[Project, list[Row]], cursor: str) -> None:
    project, _ = stocked
    key = "invalid_query_params" if "%00" in cursor else "invalid_or_expired_cursor"
    body = refused(project.http.get(f"/v1/orders?starting_after_id={cursor}"), 400, key)
    assert body["details"].startswith("Property .starting_after_id")


def test_another_project_s_order_is_no_cursor(stocked: tuple[Project, list[Row]], project_18: Project) -> None:
    _, rows = stocked
    body = refused(
        project_18.http.get(f"/v1/orders?starting_after_id={rows[0]['id']}"), 400, "invalid_or_expired_cursor"
    )
    assert body["message"] == "Invalid or expired cursor"
    assert project_18.get("/v1/orders") == {
        "object": "list", "data_ref": "orders", "orders": [], "total": 0, "has_more": False,
    }  # fmt: skip
