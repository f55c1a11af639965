"""Who is in a segment, by lists of customers, and in which segments a customer is."""

from typing import Any

import pytest

from tests.customers.writing import post, put
from tests.deployment import Project
from tests.http.listing import by_cursor, by_pages
from tests.segments.placed import LONDONERS, active, all_placed, having, segment, segments_of

BUYERS = having("summary.orders.total_count", "$more_than_equal", 1)
GOLD = having("metadata.tier", "$is", "gold")


@pytest.fixture
def crowd(project: Project) -> tuple[Project, str, list[str]]:
    """A segment, and 40 customers of whom 25 are in it, some without a source id, in other orders by other dates."""
    records: list[dict[str, Any]] = [
        {
            "name": f"N{n % 4}",
            "email": f"e{n % 3}@example.com",
            "address": {"city": ("London", "Paris")[n % 2]},
            "metadata": {"tier": "gold" if n % 8 < 5 else "none"},
            **({} if n % 5 == 0 else {"source_id": f"c-{n * 7 % 40:02}"}),
        }
        for n in range(40)
    ]
    ids = [str(post(project, **record)["id"]) for record in records]
    segment_id = segment(project, filter=GOLD)
    for n in (31, 4, 17, 0, 8):
        put(project, ids[n], phone=str(n))
    all_placed(project)
    return project, segment_id, [one for n, one in enumerate(ids) if n % 8 < 5]


def test_members_are_listed_as_customers_are(crowd: tuple[Project, str, list[str]]) -> None:
    """The list of a segment is the list of customers, and nobody in it who is no member."""
    project, segment_id, wanted = crowd
    queries: list[dict[str, Any]] = [
        {},
        {"email": "e1@example.com"},
        {"name": "N2"},
        {"city": "Paris"},
        {"city": "Rome"},
        {"name": "N1", "city": "Paris"},
        {"filters[created_at][conditions][$after]": project.get(f"/v1/customers/{wanted[9]}")["created_at"]},
        {"updated_at[before]": project.get(f"/v1/customers/{wanted[-1]}")["created_at"]},
    ]
    for order in ("created_at", "updated_at", "source_id"):
        for sign in ("", "-"):
            for query in queries:
                parameters = query | {"order": sign + order}
                expected = [one for one in by_pages(project, "/v1/customers", **parameters) if one["id"] in wanted]
                for limit in (4, 100):
                    found = list(by_pages(project, "/v1/customers", limit=limit, segment_id=segment_id, **parameters))
                    assert found == expected, (parameters, limit)
                first = project.get("/v1/customers", limit=1, segment_id=segment_id, **parameters)
                assert first["total"] == len(expected), parameters
    newest = project.get("/v1/customers", segment_id=segment_id)
    assert [one["id"] for one in newest["customers"]] == wanted[::-1][:10]
    assert (newest["total"], newest["has_more"]) == (25, True)


def test_members_are_read_by_a_cursor(crowd: tuple[Project, str, list[str]]) -> None:
    project, segment_id, wanted = crowd
    for order, ids in ((None, wanted[::-1]), ("created_at", wanted)):
        fixed = {"segment_id": segment_id, "limit": 4, **({} if order is None else {"order": order})}
        walked = by_cursor(project, "/v1/customers", "starting_after", lambda row: str(row["created_at"]), **fixed)
        assert [one["id"] for one in walked] == ids


def test_an_empty_segment_id_is_none(project_18: Project) -> None:
    post(project_18, source_id="ann")
    assert project_18.get("/v1/customers", segment_id="")["total"] == 1
    assert project_18.http.get("/v1/customers?segment_id=%00").status_code == 400


# ---- the segments of a customer ----


def test_the_segments_of_a_customer(project: Project) -> None:
    ann = post(project, source_id="ann", address={"city": "London"})["id"]
    ids = [segment(project, name="A", customers=[ann]), active(project, name="B"), segment(project, filter=LONDONERS)]
    active(project, BUYERS)
    for name in (ann, "ann"):
        found = project.get(f"/v1/customers/{name}/segments")
        assert found == {
            "object": "list",
            "data_ref": "data",
            "data": [
                {"id": segment_id, "name": shown, "object": "segment"}
                for segment_id, shown in zip(ids, ("A", "B", "S"), strict=True)
            ],
            "total": 3,
        }


def test_of_an_unknown_id_those_that_its_customer_would_enter(project: Project) -> None:
    by_name = active(project, having("source_id", "$starts_with", "vip/"))
    empty = segment(project, filter=having("address.city", "$is_unknown", True))
    segment(project, filter=LONDONERS)
    bought_nothing = segment(project, filter=having("summary.orders.total_count", "$is", 0))
    segment(project, filter=having("created_at", "$has_value", True))
    segment(project, filter=having("events.sign_up.count", "$more_than", 0))
    never = segment(project, filter=having("events.sign_up.last_occurred_at", "$is_unknown", True))
    segment(project, customers=[])
    assert segments_of(project, "vip%2F1") == [by_name, empty, bought_nothing, never]
    assert segments_of(project, "nobody") == [empty, bought_nothing, never]
    assert project.get("/v1/customers")["total"] == 0
    post(project, source_id="vip/1", address={"city": "London"})
    all_placed(project)
    assert by_name in segments_of(project, "vip%2F1")
    assert empty not in segments_of(project, "vip%2F1")
