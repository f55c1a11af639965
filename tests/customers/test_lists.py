"""Lists of customers: walks over a large import, orders, filters, the date cursor."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import started_deployment
from tests.deployment import Deployment, Project
from tests.http.listing import FIELDS, Query, Row, by_cursor, by_pages, check, moment, queries, sorted_rows
from tests.http.refusals import refused
from tests.orders.stored import rows

CUSTOMERS = 2000
FIELDS_OF_ALL = ("created_at", "updated_at")
BOTH = ["created_at", "-created_at", "updated_at", "-updated_at", "source_id", "-source_id"]
LONG = "x" * 60  # as much of a name as the index holds


def updated(row: Row) -> str:
    return str(row.get("updated_at") or row["created_at"])


def test_walking_a_large_import_shows_each_customer_once(project: Project) -> None:
    names = [f"c{n:04}" for n in range(CUSTOMERS)]
    project.imported(*({"customer": {"source_id": name}} for name in names))
    newest_first = by_cursor(project, "/v1/customers", "starting_after", lambda row: str(row["created_at"]))
    assert [row["source_id"] for row in newest_first] == names[::-1]
    for order, expected in ((None, names[::-1]), ("created_at", names), ("-created_at", names[::-1])):
        chosen: dict[str, Any] = {"order": order} if order else {}
        walk = by_cursor(project, "/v1/customers", "starting_after", lambda row: str(row["created_at"]), **chosen)
        assert [row["source_id"] for row in walk] == expected
    for order in (None, *BOTH):
        chosen = {"order": order} if order else {}
        expected = names if order and not order.startswith("-") else names[::-1]
        assert [row["source_id"] for row in by_pages(project, "/v1/customers", **chosen)] == expected


def test_walking_by_the_last_update_shows_each_customer_once(project: Project) -> None:
    project.imported(*({"customer": {"source_id": f"c{n:03}"}} for n in range(300)))
    project.imported(*({"customer": {"source_id": f"c{n:03}", "name": "N"}} for n in range(0, 300, 2)))
    changed, others = [f"c{n:03}" for n in range(0, 300, 2)], [f"c{n:03}" for n in range(1, 300, 2)]

    def walked(order: str) -> list[str]:
        walk = by_cursor(project, "/v1/customers", "starting_after", updated, order=order)
        return [row["source_id"] for row in walk]

    oldest = walked("updated_at")
    assert (oldest[:150], sorted(oldest[150:])) == (others, changed)
    assert walked("-updated_at") == oldest[::-1]


def test_nothing_is_missed_or_doubled_while_an_import_goes_on(project_18: Project) -> None:
    project_18.imported(*({"customer": {"source_id": f"c{n:04}"}} for n in range(500)))
    before = {f"c{n:04}" for n in range(500)}
    actions = [
        project_18.post_import([{"customer": {"source_id": f"new-{no}-{n}"}} for n in range(2000)]) for no in range(2)
    ]
    running = 0
    while any(project_18.get(f"/v1/async-actions/{action}")["status"] != "DONE" for action in actions):
        running += 1
        for order in ("created_at", "-created_at", "updated_at", "-updated_at"):
            seen = [
                row["source_id"]
                for row in by_cursor(project_18, "/v1/customers", "starting_after", updated, order=order)
            ]
            assert len(set(seen)) == len(seen)
            assert before <= set(seen)
    assert running > 0


# ---- orders and filters over 240 customers of some variety --------------------------------------


@pytest.fixture(scope="module")
def stocked(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Iterator[tuple[Project, list[Row]]]:
    """A project with 240 customers, some without a source id, and all of them as read one by one from pages."""
    deployment = started_deployment(request, deployments, "18")
    project, other = deployment.new_project(), deployment.new_project()
    people = [person(no) for no in range(240)]
    other.imported(*({"customer": {**one, "name": "Ada"}} for one in people[:40]))
    project.imported(*({"source_id": f"o{no}", "customer": one} for no, one in enumerate(people)))
    project.imported(*({"customer": {"source_id": f"c{no:03}", "phone": "1"}} for no in range(200, 0, -7) if no % 5))
    found = list(by_pages(project, "/v1/customers"))
    assert len(found) == len(people)
    yield project, found
    project.close()
    other.close()


def person(no: int) -> Row:
    return {
        **({"source_id": f"c{no:03}"} if no % 5 else {"description": f"anonymous {no}"}),
        **({"name": ["Ada", "ada", f"{LONG}1", f"{LONG}2", "Zoë ' \\ %"][no % 5 - 1]} if no % 6 else {}),
        **({"email": f"e{no % 9}@example.com"} if no % 4 else {}),
        **({"address": {"city": ["Łódź", "London", LONG + "a", LONG + "b"][no % 4]}} if no % 3 else {}),
    }


def has(field: Callable[[Row], Any], value: Any) -> Callable[[Row], bool]:
    return lambda row: bool(field(row) == value)


def city(row: Row) -> Any:
    return row.get("address", {}).get("city")


@pytest.mark.parametrize("order", BOTH)
def test_every_order_shows_each_customer_once(stocked: tuple[Project, list[Row]], order: str) -> None:
    project, people = stocked
    expected = [row["id"] for row in sorted_rows(people, order)]
    for limit in (7, 48, 100):
        assert [row["id"] for row in by_pages(project, "/v1/customers", limit=limit, order=order)] == expected


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_query_gives_what_the_rows_say(stocked: tuple[Project, list[Row]], data: st.DataObject) -> None:
    project, people = stocked
    query: Query = data.draw(queries(people, FIELDS_OF_ALL, ("created_at", "updated_at", "source_id")))
    exact = {"email": lambda row: row.get("email"), "name": lambda row: row.get("name"), "city": city}
    for name in data.draw(st.lists(st.sampled_from(sorted(exact)), unique=True, max_size=2)):
        value = exact[name](people[data.draw(st.integers(0, len(people) - 1))]) or "nobody's"
        query.questions.append((has(exact[name], value),))
        query.written += f"&{name}={quote(value)}"
    field = (query.order or "-created_at").removeprefix("-")
    if field != "source_id" and data.draw(st.booleans()):
        query.behind = people[data.draw(st.integers(0, len(people) - 1))]
        query.written += f"&starting_after={FIELDS[field](query.behind).isoformat()}"
    check(project, "/v1/customers", people, query, "-created_at")


@pytest.mark.parametrize(
    ("name", "value"),
    [("email", "e1@example.com"), ("name", "Ada"), ("name", "ada"), ("name", f"{LONG}2"), ("name", "Zoë ' \\ %"),
     ("city", "Łódź"), ("city", f"{LONG}a"), ("name", LONG), ("email", "E1@example.com"), ("name", "%"), ("city", "x")],
)  # fmt: skip
def test_a_filter_compares_exactly(stocked: tuple[Project, list[Row]], name: str, value: str) -> None:
    project, people = stocked
    expected = {row["id"] for row in people if (city(row) if name == "city" else row.get(name)) == value}
    assert bool(expected) is (value not in {LONG, "E1@example.com", "%", "x"})
    answer = project.call("GET", "/v1/customers", params={"limit": 100, name: value})
    assert {row["id"] for row in answer["customers"]} == expected
    assert (answer["total"], answer["has_more"]) == (len(expected), False)


def test_an_empty_filter_is_none(stocked: tuple[Project, list[Row]]) -> None:
    project, people = stocked
    query = "email=&name=&city=&segment_id=&order=&starting_after=&created_at[before]=&filters[junction]="
    assert project.call("GET", f"/v1/customers?{query}")["total"] == len(people)


def test_the_cursor_goes_the_way_of_the_order(stocked: tuple[Project, list[Row]]) -> None:
    project, people = stocked
    oldest = sorted_rows(people, "created_at")
    at = oldest[100]["created_at"]

    def first(**parameters: str) -> str:
        return str(
            project.call("GET", "/v1/customers", params={"starting_after": at, **parameters})["customers"][0]["id"]
        )

    assert first() == first(order="-created_at") == oldest[99]["id"]
    assert first(order="created_at") == oldest[101]["id"]
    last_update = max(FIELDS["updated_at"](row) for row in people)
    page = project.call(
        "GET", "/v1/customers", params={"order": "updated_at", "starting_after": last_update.isoformat()}
    )
    assert (page["customers"], page["has_more"], page["total"]) == ([], False, len(people))
    assert moment(at) < last_update


def test_the_cursor_is_a_date_and_says_so(stocked: tuple[Project, list[Row]]) -> None:
    project, _ = stocked
    body = refused(
        project.http.get("/v1/customers?order=source_id&starting_after=2020-01-01"), 400, "invalid_query_params"
    )
    assert body["details"] == "Property .starting_after needs an order by created_at or updated_at"


def test_there_are_no_segments_yet(project_18: Project) -> None:
    body = refused(project_18.http.get("/v1/customers?segment_id=seg_1"), 404, "not_found")
    assert (body["resource_type"], body["resource_id"]) == ("segment", "seg_1")


@pytest.mark.parametrize("name", ["email", "name", "city"])
def test_a_text_that_postgresql_cannot_hold_is_refused(project_18: Project, name: str) -> None:
    body = refused(project_18.http.get(f"/v1/customers?{name}=a%00b"), 400, "invalid_query_params")
    assert body["details"] == f"Property .{name} must not contain a NUL character"


def test_customers_of_another_project_never_show(stocked: tuple[Project, list[Row]], project_18: Project) -> None:
    _, people = stocked
    for query in ("", "name=Ada", "created_at[after]=2020-01-01", "order=-source_id", "city=London&order=updated_at"):
        answer = project_18.call("GET", f"/v1/customers?{query}")
        assert (answer["customers"], answer["total"], answer["has_more"]) == ([], 0, False)
    assert people


def test_rows_of_an_import_are_a_microsecond_apart(project: Project) -> None:
    item = {"product": {"override": True}, "sku": {"override": True}}
    for half in range(2):
        project.imported(*(
            {"customer": {"source_id": f"c{half}-{n}"}, "referrer": {"source_id": f"r{half}-{n}"},
             "items": [{**item, "source_id": f"s{half}-{n}", "related_object": "sku",
                        "product": {"override": True, "source_id": f"p{half}-{n}"}}]}
            for n in range(200)
        ))  # fmt: skip
    for table, count in (("orders", 400), ("customers", 800), ("products", 400), ("skus", 400)):
        found = rows(
            project,
            f"SELECT created_at, source_id FROM {table} WHERE project_id = %(project)s ORDER BY created_at",
        )
        moments = [row["created_at"] for row in found]
        assert len(set(moments)) == len(moments) == count
        apart = [(later - earlier).microseconds for earlier, later in itertools.pairwise(moments)]
        assert apart.count(1) >= count - 10  # but for where one portion ends and the next begins
        if table != "orders":
            order = [row["source_id"][1:] for row in found]
            assert sorted(order, key=lambda name: tuple(map(int, name.split("-")))) == order
