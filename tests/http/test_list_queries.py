"""How the filters of lists are written: each documented spelling, and what is no filter."""

import http.client
import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import voucherify

from tests.deployment import Project
from tests.http.refusals import refused

LISTS = ["/v1/orders", "/v1/customers", "/v1/products", "/v1/products/p/skus"]
SPELLINGS = [
    "created_at[{0}]", "[created_at][{0}]", "filters[created_at][conditions][${0}]",
    "filters[created_at][conditions][${0}][0]", "filters[created_at][conditions][${0}][]",
    "[filters][created_at][conditions][${0}][0]",
]  # fmt: skip


@pytest.fixture
def stocked(project_18: Project) -> Project:
    """A project with one row in each list."""
    item = {"sku": {"source_id": "s", "override": True}, "product": {"source_id": "p", "override": True}}
    project_18.imported({"customer": {"source_id": "c"}, "items": [{**item, "related_object": "sku"}]})
    return project_18


def raw(project: Project, target: str) -> int:
    """The total of a list whose address is sent as it stands, brackets and all."""
    link = http.client.HTTPConnection("127.0.0.1", project.deployment.port, timeout=30)
    keys = {"X-App-Id": project.application_id, "X-App-Token": project.application_token}
    link.request("GET", target, headers=keys)
    body = link.getresponse().read()
    link.close()
    answer: dict[str, int] = json.loads(body)
    assert "total" in answer, body
    return answer["total"]


@pytest.mark.parametrize("path", LISTS)
def test_every_spelling_is_the_filter(stocked: Project, path: str) -> None:
    for spelling in SPELLINGS:
        for encoded in (str, quote, lambda name: name.replace("$", "%24")):
            before, after = (encoded(spelling.format(relation)) for relation in ("before", "after"))
            assert raw(stocked, f"{path}?{before}=2020-01-01") == 0
            assert raw(stocked, f"{path}?{after}=2020-01-01") == 1
            assert raw(stocked, f"{path}?{before}=2020-01-01&{before}=2999-01-01") == 1  # the last counts
            assert raw(stocked, f"{path}?{before}=%5B%272020-01-01%27%5D") == 0
            assert raw(stocked, f"{path}?{before}=['2020-01-01']") == 0
            assert raw(stocked, f"{path}?{before}=") == 1


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("query", "details"),
    [
        ("created_at[before]=x", "Property .created_at[before] cannot be recognized as a ISO-8601 compliant date"),
        ("[updated_at][after]=2020-02-30",
         "Property .updated_at[after] cannot be recognized as a ISO-8601 compliant date"),
        ("filters[created_at][conditions][$after][0]=['2020-01-01','2021-01-01']",
         "Property .filters[created_at][conditions][$after][0] cannot be recognized as a ISO-8601 compliant date"),
        ("filters[created_at][conditions][$after][1]=2020-01-01",
         "Property .filters[created_at][conditions][$after][1] is no known filter"),
        ("filters[status][conditions][$is]=PAID", "Property .filters[status][conditions][$is] is no known filter"),
        ("filters[created_at][conditions][$is]=2020-01-01", "Property .filters[created_at][conditions][$is] is no"),
        ("filters[created_at][$after]=2020-01-01", "Property .filters[created_at][$after] is no known filter"),
        ("filters[junction]=xor", "Property .filters[junction] must be one of and, or"),
        ("order=name", "Property .order must be one of created_at, -created_at, updated_at, -updated_at"),
        ("limit=0", "Property .limit cannot be lower than 1"),
        ("limit=101", "Property .limit cannot be higher than 100"),
        ("page=0", "Property .page cannot be lower than 1"),
    ],
)  # fmt: skip
def test_what_is_written_wrongly_is_named(stocked: Project, path: str, query: str, details: str) -> None:
    body = refused(stocked.http.get(f"{path}?{query}"), 400, "invalid_query_params")
    assert body["details"].startswith(details)


@pytest.mark.parametrize("path", LISTS)
def test_a_page_beyond_the_last_has_a_key_of_its_own(stocked: Project, path: str) -> None:
    last = 99 if path == "/v1/customers" else 100
    assert stocked.call("GET", f"{path}?page={last}")["total"] == 1
    for page in (str(last + 1), "9" * 40):
        body = refused(stocked.http.get(f"{path}?page={page}"), 400, "page_over_limit")
        assert body["message"] == f"Listing resource above {last} page is not supported"
        assert body["details"] == f"Property .page cannot be higher than {last}"


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query",
    ["limit=1", "limit=100", "unknown[before]=x", "created_at=x", "created_at[]=x", "created_at[before][x]=x", "[]=x",
     "[[created_at]][before]=x", "created_at[before=x", "filter[x]=1", "ids[0]=x", "%5B=x", "limit[]=x",
     "created_at[since]=x"],
)  # fmt: skip
def test_unknown_parameters_are_ignored(stocked: Project, path: str, query: str) -> None:
    assert stocked.call("GET", f"{path}?{query}")["total"] == 1


@pytest.mark.parametrize("path", [*LISTS, "/v1/vouchers", "/v1/campaigns", "/v1/async-actions"])
def test_what_is_no_utf_8_is_refused_or_finds_nothing(stocked: Project, path: str) -> None:
    names = ("order", "starting_after", "starting_after_id", "created_at[before]", "start_date", "end_date", "email",
             "name", "city", "code", "ids", "category", "campaign", "campaign_id", "customer", "campaign_type",
             "filters[code][conditions][$is]", "filters[campaigns][conditions][$contains]", "filters[junction]",
             "limit")  # fmt: skip
    for text in ("%ED%A0%80", "%FF", "['%ED%BF%BF']"):
        for name in names:
            answer = stocked.http.get(f"{path}?{name}={text}")
            assert answer.status_code in {200, 400, 404}, (name, answer.text)
        answer = stocked.http.get(f"{path}?filters[metadata.{text}][conditions][$is]=1&{text}={text}")
        assert answer.status_code in {200, 400}, answer.text


@pytest.mark.parametrize("path", LISTS)
def test_keys_are_asked_for_before_the_query_is_read(stocked: Project, path: str) -> None:
    answer = stocked.http.get(f"{path}?created_at[before]=x&filters[x]=1&page=1000", headers={"X-App-Token": "wrong"})
    refused(answer, 401, "unauthorized")


@pytest.mark.parametrize("path", LISTS)
def test_every_parameter_is_described(stocked: Project, path: str) -> None:
    described = stocked.get("/openapi.json")["paths"][path.replace("/p/", "/{product_id}/")]["get"]["parameters"]
    names = {parameter["name"] for parameter in described if parameter["in"] == "query"}
    common = {"limit", "page", "order", "filters[junction]"}
    common |= {f"{field}[{relation}]" for field in ("created_at", "updated_at") for relation in ("before", "after")}
    own = {
        "/v1/orders": {"starting_after_id", "ordered_at[before]", "ordered_at[after]"},
        "/v1/customers": {"starting_after", "email", "city", "name", "segment_id"},
    }
    assert names == common | own.get(path, {"start_date", "end_date"})


# ---- the official client -----------------------------------------------------------------------


@pytest.fixture
def client(stocked: Project) -> Iterator[voucherify.ApiClient]:
    keys = {"X-App-Id": stocked.application_id, "X-App-Token": stocked.application_token}
    with voucherify.ApiClient(voucherify.Configuration(host=stocked.deployment.url, api_key=keys)) as made:
        yield made
        made.rest_client.pool_manager.clear()


def test_the_official_client_lists_everything(stocked: Project, client: voucherify.ApiClient) -> None:
    alike = {"name": "Ü & 100%", "address": {"city": "New York"}}
    people = [{"source_id": f"c{no}", "email": f"{no}+x@example.com", **alike} for no in range(30)]
    stocked.imported(*({"source_id": f"o{no}", "customer": one} for no, one in enumerate(people)))
    orders = voucherify.OrdersApi(client)
    pages = [orders.list_orders(limit=20, page=page, order="-updated_at") for page in (1, 2)]
    assert [page.total for page in pages] == [31, 31]
    assert len({order.id for page in pages for order in page.orders}) == 31

    customers = voucherify.CustomersApi(client)
    newest = customers.list_customers(limit=20)
    assert (newest.total, newest.has_more) == (31, True)
    cursor = newest.customers[-1].created_at
    rest = customers.list_customers(limit=20, starting_after=cursor)
    assert (len(rest.customers), rest.has_more) == (11, False)
    later = customers.list_customers(limit=20, starting_after=cursor, order="created_at")
    assert [one.id for one in later.customers] == [one.id for one in newest.customers[-2::-1]]
    between = customers.list_customers(
        created_at_after=cursor, created_at_before=newest.customers[0].created_at, updated_at_after=cursor, limit=100
    )
    assert between.total == 18
    assert customers.list_customers(email="7+x@example.com").customers[0].source_id == "c7"
    assert customers.list_customers(name="Ü & 100%", city="New York", updated_at_before=cursor).total == 10
    with pytest.raises(voucherify.exceptions.NotFoundException):
        customers.list_customers(segment_id="seg_1")

    products = voucherify.ProductsApi(client)
    (product,) = products.list_products(order="-created_at", limit=1, page=1).products
    assert [sku.source_id for sku in product.skus.data] == ["s"]
    at = product.created_at
    assert products.list_products(start_date=at, end_date=at).total == 1
    skus = products.list_skus_in_product("p", order="updated_at", start_date=at, limit=100, page=1)
    assert ([sku.source_id for sku in skus.skus], skus.total) == (["s"], 1)
