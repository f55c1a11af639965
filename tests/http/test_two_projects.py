"""With the ids of another project every operation finds nothing and changes nothing."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.conftest import started_deployment
from tests.customers.writing import post
from tests.db.tenants import rows_of
from tests.deployment import Deployment, Project, until
from tests.http.operations import Operation, Stock, every_operation, example_of
from tests.segments.placed import all_placed, having, segment

# which answer otherwise, with the reason
OTHERWISE = {
    "GET /v1/customers/{customer_id}/segments": 200,  # an empty list for whoever is unknown, as documented
    "POST /v1/campaigns/{campaign_id}/vouchers/{code}": 400,  # by id: no code may look like one
    "GET /reports/{project_id}/{file_name}": 403,  # opened by a signature, not by keys
}
# whose code is one to be made: the same code is free in another project
CREATING = {"POST /v1/vouchers/{code}"}
# where workers note what they have looked at, which is nothing that a request has changed
NOTED_BY_WORKERS = {"lane_turns", "event_outbox"}


@pytest.fixture(scope="module")
def theirs(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Iterator[Stock]:
    """One for all tests: none of them changes it."""
    stock = Stock(started_deployment(request, deployments, "18").new_project())
    yield stock
    stock.project.close()


@pytest.fixture
def ours(project_18: Project) -> Stock:
    """A project with objects of the same source ids, codes and names."""
    return Stock(project_18)


def settled(project: Project) -> dict[str, list[str]]:
    """All rows of a project, once workers have done with what it was given."""
    until(lambda: not any(rows_of(project)[inbox] for inbox in ("segment_inbox", "event_outbox")))
    return {table: rows for table, rows in rows_of(project).items() if table not in NOTED_BY_WORKERS}


@pytest.mark.parametrize("name", [0, 1], ids=["id", "key"])
@every_operation
def test_a_path_leads_nowhere(
    operation: Operation, name: int, theirs: Stock, project_18: Project, deployment_18: Deployment
) -> None:
    """An empty project asks for what another one has."""
    if "{" not in operation.path or str(operation) in CREATING:
        return
    before = settled(theirs.project), settled(project_18)
    arguments = example_of(operation.described(project_18.get("/openapi.json")))
    answer = project_18.http.request(operation.method, theirs.path(operation, name), **arguments)
    assert answer.status_code in {404, OTHERWISE.get(str(operation))}, answer.text
    assert (settled(theirs.project), settled(project_18)) == before


def named(value: Any, stock: Stock) -> Any:
    """A value with the ids of a project's objects where it says `<customer_id>`."""
    text = msgspec.json.encode(value).decode()
    for name, names in stock.names.items():
        text = text.replace(f"<{name}>", names[0])
    return msgspec.json.decode(text)


OF_AN_ORDER = [
    {"customer": {"id": "<customer_id>"}},
    {"referrer": {"id": "<customer_id>"}},
    {"referrer_id": "<customer_id>"},
    {"items": [{"product_id": "<product_id>"}]},
    {"items": [{"sku_id": "<sku_id>"}]},
    {"items": [{"product": {"id": "<product_id>"}}]},
    {"items": [{"sku": {"id": "<sku_id>"}}]},
]
COUPON = {"type": "DISCOUNT_VOUCHER", "discount": {"type": "AMOUNT", "amount_off": 1}}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        *(("POST", "/v1/orders", order) for order in OF_AN_ORDER),
        *(("PUT", "/v1/orders/A-1", order) for order in OF_AN_ORDER),
        ("POST", "/v1/customers", {"id": "<customer_id>", "name": "Eve"}),
        ("PUT", "/v1/products/mug/skus/<sku_id>", {"price": 1}),
        ("PUT", "/v1/products/<product_id>/skus/mug-blue", {"price": 1}),
        ("DELETE", "/v1/products/mug/skus/<sku_id>", None),
        ("DELETE", "/v1/products/<product_id>/skus/mug-blue", None),
        ("POST", "/v1/vouchers", {"campaign_id": "<campaign_id>", **COUPON}),
        ("POST", "/v1/vouchers/NEW", {"campaign_id": "<campaign_id>", **COUPON}),
        ("POST", "/v1/events", {"event": "cart_abandoned", "customer": {"id": "<customer_id>"}}),
        ("POST", "/v1/segments", {"name": "Friends", "customers": ["<customer_id>"]}),
        ("GET", "/v1/customers?segment_id=<segment_id>", None),
    ],
)
def test_nor_does_a_body(method: str, path: str, body: Any, theirs: Stock, ours: Stock) -> None:
    before = settled(theirs.project), settled(ours.project)
    answer = ours.project.http.request(method, named(path, theirs), json=named(body, theirs))
    assert answer.status_code == 404, answer.text
    assert (settled(theirs.project), settled(ours.project)) == before


@pytest.mark.parametrize(
    ("path", "records"),
    [
        ("/v1/orders/import", OF_AN_ORDER),
        ("/v1/customers/bulk/async", [{"source_id": "<customer_id>", "name": "Eve"}]),
        ("/v1/customers/metadata/async", {"source_ids": ["<customer_id>"], "metadata": {"lang": "xx"}}),
        ("/v1/products/bulk/async", [{"source_id": "<product_id>", "name": "Cup"}]),
        ("/v1/products/metadata/async", {"source_ids": ["<product_id>"], "metadata": {"lang": "xx"}}),
        ("/v1/vouchers/bulk/async", [{"code": "<code>", "metadata": {"lang": "xx"}}]),
        ("/v1/vouchers/metadata/async", {"codes": ["<code>"], "metadata": {"lang": "xx"}}),
    ],
)
def test_nor_does_a_record_of_a_job(path: str, records: Any, theirs: Stock, project_18: Project) -> None:
    before = settled(theirs.project)
    answer = project_18.http.post(path, json=named(records, theirs))
    assert answer.is_success, answer.text
    result = project_18.finished(answer.json()["async_action_id"])["result"]
    if path == "/v1/orders/import":
        assert (result["done_count"], result["failed_count"]) == (0, len(records))
    assert settled(theirs.project) == before


@pytest.mark.parametrize(
    ("path", "columns", "row"),
    [
        ("/v1/customers/importCSV", "id,name", "<customer_id>,Eve"),
        ("/v1/customers/importCSV", "source_id,name", "<customer_id>,Eve"),
        ("/v1/products/importCSV", "source_id,name", "<product_id>,Cup"),
        ("/v1/skus/importCSV", "product_id,source_id,price", "<product_id>,mug-blue,1"),
        ("/v1/skus/importCSV", "product_id,source_id,price", "mug,<sku_id>,1"),
    ],
)
def test_nor_does_a_row_of_a_file(path: str, columns: str, row: str, theirs: Stock, ours: Stock) -> None:
    before = settled(theirs.project)
    file = ("rows.csv", f"{columns}\n{named(row, theirs)}\n".encode())
    answer = ours.project.http.post(path, files={"file": file})
    assert answer.is_success, answer.text
    ours.project.finished(answer.json()["async_action_id"])
    assert settled(theirs.project) == before


@pytest.mark.parametrize(
    "query",
    [
        "/v1/activity?object_id=<customer_id>",
        "/v1/activity?object_id=<order_id>",
        "/v1/vouchers?campaign_id=<campaign_id>",
        "/v1/vouchers?filters[campaign_ids][conditions][$is]=<campaign_id>",
        "/v1/segments?ids[]=<segment_id>",
        "/v1/segments?filters[id][conditions][$is]=<segment_id>",
    ],
)
def test_nor_does_a_query(query: str, theirs: Stock, ours: Stock) -> None:
    for project, found in ((ours.project, False), (theirs.project, True)):
        listed = project.call("GET", named(query, theirs))
        assert bool(listed[listed["data_ref"]]) is found, listed


def test_nor_does_a_filter_of_a_segment(theirs: Stock, ours: Stock) -> None:
    given = having("id", "$is", theirs.names["customer_id"][0])
    for project, found in ((ours.project, 0), (theirs.project, 1)):
        segment_id = segment(project, filter=given)
        assert project.get("/v1/customers", segment_id=segment_id)["total"] == found
        post(project, source_id="ann", phone="1")
        all_placed(project)
        assert project.get(f"/v1/segments/{segment_id}")["summary"]["members"] == found
