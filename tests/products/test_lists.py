"""Lists of products, and of a product's SKUs."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import started_deployment
from tests.deployment import Deployment, Project
from tests.http.listing import FIELDS, Query, Row, by_pages, check, queries, sorted_rows
from tests.http.refusals import refused

ORDERS = ("created_at", "updated_at")
BOTH = ["created_at", "-created_at", "updated_at", "-updated_at"]
SKU_LIST = "/v1/products/p-0/skus"


def shop(project: Project, products: int, skus: int) -> None:
    """`products` products, and `skus` SKUs of the first and one of the second; some were updated later."""

    def line(product: int, sku: int | None = None, price: int = 1) -> Row:
        named: Row = {"product": {"source_id": f"p-{product}", "price": price, "override": True}}
        if sku is not None:
            named |= {"related_object": "sku", "sku": {"source_id": f"s-{sku}", "price": price, "override": True}}
        return {"items": [{"quantity": 1, **named}]}

    project.imported(*(line(no) for no in range(products)), *(line(0, no) for no in range(skus)), line(1, skus))
    project.imported(*(line(no, price=2) for no in range(products - 1, 0, -3)))
    project.imported(*(line(0, no, price=3) for no in range(skus - 1, 0, -4)))


@pytest.fixture(scope="module")
def stocked(
    request: pytest.FixtureRequest, deployments: dict[str, Deployment]
) -> Iterator[tuple[Project, dict[str, list[Row]]]]:
    """A project with 130 products, the first with 120 SKUs; all rows by list. Another project has the same names."""
    deployment = started_deployment(request, deployments, "18")
    project, other = deployment.new_project(), deployment.new_project()
    shop(other, 5, 5)
    shop(project, 130, 120)
    yield project, {path: list(by_pages(project, path)) for path in ("/v1/products", SKU_LIST)}
    project.close()
    other.close()


def test_the_rows_are_those_that_were_imported(stocked: tuple[Project, dict[str, list[Row]]]) -> None:
    project, rows = stocked
    assert {row["source_id"] for row in rows["/v1/products"]} == {f"p-{no}" for no in range(130)}
    assert {row["source_id"] for row in rows[SKU_LIST]} == {f"s-{no}" for no in range(120)}
    # a product of a list is what it is alone, its SKUs included
    for row in [*rows["/v1/products"][:3], rows["/v1/products"][-1]]:
        assert project.get(f"/v1/products/{row['id']}") == row
    assert [row["skus"]["total"] for row in rows["/v1/products"]] == [120, 1, *[0] * 128]
    assert rows["/v1/products"][0]["skus"]["data"] == sorted_rows(rows[SKU_LIST], "created_at")
    assert project.get(f"/v1/skus/{rows[SKU_LIST][5]['id']}") == rows[SKU_LIST][5]


@pytest.mark.parametrize("path", ["/v1/products", SKU_LIST])
@pytest.mark.parametrize("order", [None, *BOTH, "type", "-code", "campaign", "-category"])
def test_every_order_shows_each_once(
    stocked: tuple[Project, dict[str, list[Row]]], path: str, order: str | None
) -> None:
    project, rows = stocked
    chosen = {"order": order} if order else {}
    by = order if order in BOTH else f"{'-' if order and order.startswith('-') else ''}created_at"
    expected = [row["id"] for row in sorted_rows(rows[path], by)]
    for limit in (33, 100):
        assert [row["id"] for row in by_pages(project, path, limit=limit, **chosen)] == expected


def test_every_version_of_postgresql_shows_each_once(project: Project) -> None:
    shop(project, 30, 30)
    for path in ("/v1/products", SKU_LIST):
        rows = list(by_pages(project, path))
        assert len(rows) == 30
        for order in BOTH:
            expected = [row["id"] for row in sorted_rows(rows, order)]
            assert [row["id"] for row in by_pages(project, path, limit=7, order=order)] == expected


@pytest.mark.parametrize("path", ["/v1/products", SKU_LIST])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_query_gives_what_the_rows_say(
    stocked: tuple[Project, dict[str, list[Row]]], path: str, data: st.DataObject
) -> None:
    project, rows = stocked
    query: Query = data.draw(queries(rows[path], ORDERS, ORDERS))
    for name in data.draw(st.lists(st.sampled_from(["start_date", "end_date"]), unique=True)):
        at = FIELDS["created_at"](rows[path][data.draw(st.integers(0, len(rows[path]) - 1))])
        query.written += f"&{name}={at.isoformat()}"
        if name == "start_date":
            query.questions.append((lambda row, at=at: bool(FIELDS["created_at"](row) >= at),))  # type: ignore[misc]
        else:
            query.questions.append((lambda row, at=at: bool(FIELDS["created_at"](row) <= at),))  # type: ignore[misc]
    check(project, path, rows[path], query, "created_at")


def test_both_ends_of_a_range_belong_to_it(stocked: tuple[Project, dict[str, list[Row]]]) -> None:
    project, rows = stocked
    at = rows["/v1/products"][10]["created_at"]
    only = project.get("/v1/products", start_date=at, end_date=at)
    assert (only["products"], only["total"]) == ([rows["/v1/products"][10]], 1)
    none = project.call("GET", "/v1/products", params={"created_at[after]": at, "created_at[before]": at})
    assert (none["products"], none["total"], none["has_more"]) == ([], 0, False)


def test_the_product_is_found_by_both_ids(stocked: tuple[Project, dict[str, list[Row]]], project_18: Project) -> None:
    project, rows = stocked
    first = rows["/v1/products"][0]
    assert project.get(f"/v1/products/{first['id']}/skus") == project.get(SKU_LIST)
    assert len(project.get(SKU_LIST)["skus"]) == 10
    for key in (first["id"], "p-0", "%00"):
        body = refused(project_18.http.get(f"/v1/products/{key}/skus"), 404, "not_found")
        assert body["resource_type"] == "product"


def test_products_of_another_project_never_show(project_18: Project) -> None:
    for query in ("", "order=-updated_at", "created_at[after]=2020-01-01", "start_date=2020-01-01"):
        answer = project_18.call("GET", f"/v1/products?{query}")
        assert answer == {"object": "list", "data_ref": "products", "products": [], "total": 0, "has_more": False}
