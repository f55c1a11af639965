"""The event log as lists: of a customer, and of the project."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import psycopg
import pytest
import voucherify
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard import ids
from punchcard.db.database import connect, conninfo
from punchcard.events import events
from punchcard.events.activity import Category, CustomerEventType
from punchcard.events.events import Cause, Event, EventSource
from punchcard.http.authentication import ApiKeyUsed
from tests.deployment import Project
from tests.events.log import LoggedEvent, events_of

KEY = ApiKeyUsed("shop", "app_1")
TYPES = get_args(CustomerEventType)


def cause(group_id: str = "v-1", **more: Any) -> Cause:
    return Cause(EventSource("API", KEY), group_id, **more)


def record(project: Project, *written: Event, by: Cause | None = None) -> list[LoggedEvent]:
    """Write events as their causes do; all of the project."""

    async def write() -> None:
        async with await connect(project.deployment.dsn, part="test") as conn, conn.transaction():
            await events.record(conn, project.id, by or cause(), written)

    asyncio.run(write())
    return events_of(project)


def customer_of(project: Project, source_id: str = "anna") -> str:
    """A new customer; its id."""
    project.imported({"source_id": f"order of {source_id}", "customer": {"source_id": source_id}})
    return str(project.get(f"/v1/customers/{source_id}")["id"])


def about(customer: str, *types: str, **more: Any) -> list[Event]:
    return [Event(each, customer, {"no": no}, customer_id=customer, **more) for no, each in enumerate(types)]


def listed(project: Project, path: str, **parameters: Any) -> list[str]:
    """The ids of a list's one page."""
    answer = project.get(path, limit=100, **parameters)
    return [activity["id"] for activity in answer["data"]]


# ---- shapes ------------------------------------------------------------------------------------


def test_an_event_in_its_three_lists(project: Project) -> None:
    customer = customer_of(project)
    (logged,) = record(project, Event("customer.created", customer, {"customer": {"id": customer}}, customer))
    at = logged.created_at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    shown = {
        "id": logged.id,
        "type": "customer.created",
        "data": {
            "data": {"customer": {"id": customer}},
            "event_source": {"channel": "API", "api_key": {"name": "shop", "app_id": "app_1"}},
        },
        "created_at": at,
        "group_id": "v-1",
    }
    page = {"object": "list", "data_ref": "data", "data": [shown]}
    assert project.get(f"/v1/customers/{customer}/activity") == page | {"has_more": False}
    assert project.get("/v1/customers/anna/activities") == page | {"total": 1}
    more = {"object_id": customer, "customer_id": customer, "async_action_id": None, "depth": 0}
    assert project.get("/v1/activity") == page | {"has_more": False, "data": [shown | more]}


def test_the_official_client_pages_through_an_activity(project_18: Project) -> None:
    customer = customer_of(project_18)
    written = [event.id for event in record(project_18, *about(customer, *["customer.order.paid"] * 5))]
    configuration = voucherify.Configuration(
        host=project_18.deployment.url,
        api_key={"X-App-Id": project_18.application_id, "X-App-Token": project_18.application_token},
    )
    with voucherify.ApiClient(configuration) as client:
        api = voucherify.CustomersApi(client)
        found: list[str | None] = []
        after = None
        while True:
            page = api.list_customer_activity("anna", limit=2, starting_after_id=after)
            assert page.data is not None
            found += [activity.id for activity in page.data]
            after = page.more_starting_after
            assert (after is not None) == page.has_more
            if not page.has_more:
                break
        first = api.list_customer_activity(
            customer, limit=1, order=voucherify.ParameterOrderCreatedAt.CREATED_AT,
            type=voucherify.ParameterCustomerEvent.CUSTOMER_DOT_ORDER_DOT_PAID,
            category=voucherify.ParameterActivityCategory.ACTION, start_date=datetime(2020, 1, 1, tzinfo=UTC),
        )  # fmt: skip
    assert found == written[::-1]
    assert first.data is not None
    assert [activity.id for activity in first.data] == written[:1]


# ---- what is in a customer's list --------------------------------------------------------------


def test_a_customer_sees_its_own_events_alone(project_18: Project) -> None:
    anna, bert = customer_of(project_18), customer_of(project_18, "bert")
    other = Event("voucher.published", "v_1", {}, customer_id=anna)
    record(project_18, *about(anna, "customer.updated"), *about(bert, "customer.created"), other)
    by_type = {event.type: event.id for event in events_of(project_18)}
    for path in ("activity", "activities"):
        assert listed(project_18, f"/v1/customers/anna/{path}") == [by_type["customer.updated"]]
    assert listed(project_18, "/v1/activity", customer_id=anna) == [
        by_type["voucher.published"],
        by_type["customer.updated"],
    ]


def test_every_type_is_an_action_or_an_effect(project_18: Project) -> None:
    customer = customer_of(project_18)
    logged = record(project_18, *about(customer, *TYPES))
    path = f"/v1/customers/{customer}/activity"
    found = {category: set(listed(project_18, path, category=category)) for category in get_args(Category)}
    assert found["ACTION"] | found["EFFECT"] == {event.id for event in logged}
    assert not found["ACTION"] & found["EFFECT"]
    actions = {event.type for event in logged if event.id in found["ACTION"]}
    assert {"customer.created", "customer.order.paid", "customer.custom_event", "customer.validation.failed"} <= actions
    assert {"customer.redemption.rollback.succeeded"} <= actions
    assert not {each for each in actions if each.split(".")[1] in {"segment", "rewarded", "loyalty", "sms", "email"}}
    for event in logged[::7]:
        assert listed(project_18, path, type=event.type) == [event.id]


def test_events_of_campaigns(project_18: Project) -> None:
    customer = customer_of(project_18)
    campaigns = {}
    vouchers: dict[str, dict[str, Any]] = {
        "DISCOUNT_COUPONS": {"type": "DISCOUNT_VOUCHER", "discount": {"type": "AMOUNT", "amount_off": 1}},
        "GIFT_VOUCHERS": {"type": "GIFT_VOUCHER", "gift": {"amount": 1}},
    }
    for kind, voucher in vouchers.items():
        body = {"name": kind, "campaign_type": kind, "type": "AUTO_UPDATE", "voucher": voucher}
        campaigns[kind] = project_18.call("POST", "/v1/campaigns", json=body)["id"]
    for campaign in (*campaigns.values(), "camp_gone", None):
        record(project_18, *about(customer, "customer.redemption.succeeded", campaign_id=campaign))
    coupons, gifts, gone, _ = (
        event.id for event in events_of(project_18) if event.type == "customer.redemption.succeeded"
    )
    for path in ("activity", "activities"):
        here = f"/v1/customers/{customer}/{path}"
        assert listed(project_18, here, campaign_id=campaigns["GIFT_VOUCHERS"]) == [gifts]
        assert listed(project_18, here, campaign_id="camp_gone") == [gone]
        assert listed(project_18, here, campaign_type="DISCOUNT_COUPONS") == [coupons]
        assert listed(project_18, here, campaign_type="LOYALTY_PROGRAM") == []


def test_the_deprecated_list_counts_and_goes_on_after_a_date(project: Project) -> None:
    customer = customer_of(project)
    items = [{"product_id": "prod_1"}, {"product": {"id": "prod_2"}}]
    order = Event("customer.order.paid", customer, {"order": {"items": items}}, customer_id=customer)
    logged = record(project, *about(customer, *["customer.updated"] * 3), order)
    path = f"/v1/customers/{customer}/activities"
    assert project.get(path, limit=2)["total"] == 4
    at = [event.created_at.isoformat() for event in logged]
    after = project.get(path, starting_after=at[2])
    assert [activity["id"] for activity in after["data"]] == [logged[1].id, logged[0].id]
    assert after["total"] == 4
    assert listed(project, path, starting_after=at[1], order="created_at") == [logged[2].id, logged[3].id]
    for product, found in (("prod_1", [logged[3].id]), ("prod_2", [logged[3].id]), ("prod_3", [])):
        answer = project.get(path, product_id=product)
        assert ([activity["id"] for activity in answer["data"]], answer["total"]) == (found, len(found))
    dated = project.get(path, start_date=at[1], end_date=at[2])
    assert ([activity["id"] for activity in dated["data"]], dated["total"]) == ([logged[2].id, logged[1].id], 2)


# ---- refusals ----------------------------------------------------------------------------------

UNKNOWN_IDS = [
    "evcus_" + "0" * 32, "evcus_" + "f" * 32, f"evcus_{uuid.uuid4().hex}", ids.new("evcus"), "evcus_1", "x", "ord_1",
]  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "details"),
    [
        ({"limit": 0}, "Property .limit cannot be lower than 1"),
        ({"limit": 101}, "Property .limit cannot be higher than 100"),
        ({"order": "type"}, "Property .order must be one of created_at, -created_at"),
        ({"start_date": "soon"}, "Property .start_date cannot be recognized as a ISO-8601 compliant date"),
        ({"end_date": "2026-13-01"}, "Property .end_date cannot be recognized as a ISO-8601 compliant date"),
        ({"campaign_id": "a\x00"}, "Property .campaign_id must not contain a NUL character"),
        ({"campaign_type": "COUPONS"}, "Property .campaign_type has an unknown value 'COUPONS'"),
        ({"category": "action"}, "Property .category has an unknown value 'action'"),
        ({"type": "customer.order"}, "Property .type has an unknown value 'customer.order'"),
        ({"type": "voucher.published"}, "Property .type has an unknown value 'voucher.published'"),
    ],
)
def test_parameters_of_another_shape_are_refused(project_18: Project, parameters: dict[str, Any], details: str) -> None:
    error = project_18.get("/v1/customers/anna/activity", expect=400, **parameters)
    assert (error["key"], error["details"]) == ("invalid_query_params", details)
    others = set(parameters) & {"category", "type", "campaign_type", "campaign_id"}
    if not others:
        assert project_18.get("/v1/activity", expect=400, **parameters)["details"] == details


def test_cursors_that_name_nothing_are_refused(project_18: Project) -> None:
    customer = customer_of(project_18)
    for path in (f"/v1/customers/{customer}/activity", f"/v1/customers/{customer}/activities", "/v1/activity"):
        for unknown in UNKNOWN_IDS:
            error = project_18.get(path, starting_after_id=unknown, expect=400)
            assert error["key"] == "invalid_or_expired_cursor"
            assert error["details"] == f"Property .starting_after_id: cannot find event with id {unknown}"


def test_customers_that_are_not_there(project_18: Project) -> None:
    for path in ("activity", "activities"):
        for unknown in ("anna", ids.new("cust")):
            error = project_18.get(f"/v1/customers/{unknown}/{path}", expect=404)
            assert (error["key"], error["details"]) == ("not_found", f"Cannot find customer with id {unknown}")
            assert (error["resource_type"], error["resource_id"]) == ("customer", unknown)


def test_projects_see_nothing_of_each_other(project: Project) -> None:
    customer = customer_of(project)
    event = record(project, *about(customer, "customer.created"), by=cause("v-1", async_action_id="aa_1"))[-1]
    with closing(project.deployment.new_project()) as other:
        for path in ("activity", "activities"):
            for name in (customer, "anna"):
                other.get(f"/v1/customers/{name}/{path}", expect=404)
        keys = {
            "object_id": customer, "customer_id": customer, "type": event.type, "request_id": "v-1",
            "async_action_id": "aa_1",
        }  # fmt: skip
        for parameters in ({}, *({name: value} for name, value in keys.items())):
            assert listed(other, "/v1/activity", **parameters) == []
            assert listed(project, "/v1/activity", **parameters) == [event.id]
        assert other.get("/v1/activity", starting_after_id=event.id, expect=400)["key"] == "invalid_or_expired_cursor"


# ---- filters, orders and cursors together ------------------------------------------------------

# around which each log lies, with moments so few that many events share one
NOW = datetime.now(UTC).replace(microsecond=0)
MOMENTS = [NOW + timedelta(microseconds=each) for each in (0, 1, 2)] + [NOW + timedelta(hours=each) for each in (-9, 9)]
FIELDS = {
    "type": ("customer.order.paid", "customer.updated", "customer.segment.entered", "voucher.published"),
    "object_id": ("object-1", "object-2"),
    "customer_id": (None, "here", "elsewhere"),
    "group_id": ("v-1", "v-2"),
    "async_action_id": (None, "aa_1", "aa_2"),
    "campaign_id": (None, "camp_1"),
}
ROWS = st.lists(
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in FIELDS.items()})
    .flatmap(lambda row: st.sampled_from(MOMENTS).map(lambda at: row | {"created_at": at})),
    min_size=5,
    max_size=25,
)  # fmt: skip
PAGING: dict[str, Any] = {"descending": st.booleans(), "limit": st.integers(1, 7)}


def some_of(values: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """At most two filters, so that most lists have several pages; the others are none."""
    chosen = st.lists(st.sampled_from(sorted(values)), max_size=2, unique=True)
    return chosen.flatmap(
        lambda names: st.fixed_dictionaries(
            {name: st.sampled_from(values[name]) if name in names else st.none() for name in values}
        )
    )


SPAN: dict[str, Any] = dict.fromkeys(("start_date", "end_date"), MOMENTS)
OF_PROJECTS = some_of(
    {name: [value for value in values if value] for name, values in FIELDS.items() if name != "campaign_id"} | SPAN
)
OF_CUSTOMERS = some_of({"type": FIELDS["type"][:3], "campaign_id": ["camp_1"], "category": ["ACTION", "EFFECT"]} | SPAN)


@pytest.fixture
def put(project: Project) -> Iterator[Callable[[list[dict[str, Any]]], list[dict[str, Any]]]]:
    """Makes rows the project's log, whatever the order of their ids; the rows with their ids."""
    with psycopg.connect(conninfo(project.deployment.dsn, part="test"), autocommit=True) as conn:

        def replace(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            rows = [row | {"id": ids.new("evcus")[:18] + uuid.uuid4().hex[:20]} for row in rows]
            conn.execute("DELETE FROM events WHERE project_id = %s", [project.id])
            with conn.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO events (project_id, id, created_at, type, object_id, customer_id, group_id,"
                    " async_action_id, campaign_id, data, event_source)"
                    " VALUES (%(project_id)s, %(id)s, %(created_at)s, %(type)s, %(object_id)s, %(customer_id)s,"
                    " %(group_id)s, %(async_action_id)s, %(campaign_id)s, '{}', '{}')",
                    [row | {"project_id": project.id} for row in rows],
                )
            return rows

        yield replace


def all_pages(project: Project, path: str, *, limit: int, **parameters: Any) -> list[str]:
    """The ids of all pages, each of which but the last is full."""
    found: list[str] = []
    after: dict[str, Any] = {}
    while True:
        page = project.get(path, limit=limit, **parameters, **after)
        found += [activity["id"] for activity in page["data"]]
        if not page["has_more"]:
            assert "more_starting_after" not in page
            return found
        assert len(page["data"]) == limit
        assert page["more_starting_after"] == found[-1]
        after = {"starting_after_id": found[-1]}


def expected(rows: list[dict[str, Any]], wanted: dict[str, Any], *, descending: bool) -> list[str]:
    """The ids of the rows that a list shows, in its order."""
    actions = {"customer.order.paid", "customer.updated"}
    chosen = [
        row
        for row in rows
        if all(row[name] == value for name, value in wanted.items() if name in FIELDS and value is not None)
        and (wanted["start_date"] is None or row["created_at"] >= wanted["start_date"])
        and (wanted["end_date"] is None or row["created_at"] <= wanted["end_date"])
        and ("category" not in wanted or row["type"].startswith("customer."))
        and (wanted.get("category") is None or (row["type"] in actions) == (wanted["category"] == "ACTION"))
    ]
    return [row["id"] for row in sorted(chosen, key=lambda row: (row["created_at"], row["id"]), reverse=descending)]


def asked(wanted: dict[str, Any], *, descending: bool) -> dict[str, Any]:
    """The parameters of a list."""
    given = {("request_id" if name == "group_id" else name): value for name, value in wanted.items()}
    given |= {name: value.isoformat() for name, value in given.items() if isinstance(value, datetime)}
    order = {} if descending else {"order": "created_at"}
    return {name: value for name, value in given.items() if value is not None} | order


EXAMPLES = settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_pages_of_the_project_are_its_list(project: Project, put: Any) -> None:
    @EXAMPLES
    @given(rows=ROWS, wanted=OF_PROJECTS, paging=st.fixed_dictionaries(PAGING))
    def check(rows: list[dict[str, Any]], wanted: dict[str, Any], paging: dict[str, Any]) -> None:
        ours = put(rows)
        order = {"descending": paging["descending"]}
        found = all_pages(project, "/v1/activity", limit=paging["limit"], **asked(wanted, **order))
        assert found == expected(ours, wanted, **order)

    check()


def test_pages_of_a_customer_are_its_list(project: Project, put: Any) -> None:
    customer = customer_of(project)

    @EXAMPLES
    @given(rows=ROWS, wanted=OF_CUSTOMERS, paging=st.fixed_dictionaries(PAGING))
    def check(rows: list[dict[str, Any]], wanted: dict[str, Any], paging: dict[str, Any]) -> None:
        ours = put([row | {"customer_id": None if row["customer_id"] == "elsewhere" else customer} for row in rows])
        order = {"descending": paging["descending"]}
        found = all_pages(
            project, f"/v1/customers/{customer}/activity", limit=paging["limit"], **asked(wanted, **order)
        )
        assert found == expected(ours, wanted | {"customer_id": customer}, **order)

    check()


@pytest.mark.parametrize("descending", [True, False])
def test_a_cursor_beyond_the_dates_asked_for(project: Project, put: Any, descending: bool) -> None:
    """It may be the id of any event: what is behind it in the order, and within the dates, is listed."""
    base = {name: values[0] for name, values in FIELDS.items()} | {"object_id": "object-1"}
    rows = sorted(
        put([base | {"created_at": NOW + timedelta(seconds=each)} for each in range(6)]),
        key=lambda row: row["created_at"],
    )
    within = {"start_date": rows[2]["created_at"], "end_date": rows[3]["created_at"]}
    for filters in ({}, {"object_id": "object-1"}):
        for no, row in enumerate(rows):
            behind = [
                each["id"]
                for place, each in enumerate(rows)
                if place in {2, 3} and (place < no if descending else place > no)
            ]
            parameters = asked(within | filters, descending=descending)
            found = listed(project, "/v1/activity", starting_after_id=row["id"], **parameters)
            assert found == (behind[::-1] if descending else behind)
