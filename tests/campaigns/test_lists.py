"""Lists of campaigns: order, pages, and what each filter leaves."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.campaigns.campaigns import COUPONS, DIGITS, GIFTS, changed, created, filled, path_of, settled
from tests.conftest import started_deployment
from tests.deployment import Deployment, Project
from tests.http.listing import Row, by_pages, check, queries

PAST, FUTURE = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


def names(project: Project, query: str = "") -> list[str]:
    answer = project.call("GET", f"/v1/campaigns?limit=100&{query}")
    found = [campaign["name"] for campaign in answer["campaigns"]]
    assert answer["total"] == len(found)
    return found


@pytest.fixture
def some(project: Project) -> Project:
    """A project with campaigns of all kinds."""
    created(project, "plain", category="First", metadata={"region": "AMER"}, validity_day_of_week=[1, 2])
    created(project, "gift", voucher=GIFTS, type="AUTO_UPDATE", category="Second", start_date=PAST)
    created(project, "shared", type="STANDALONE", voucher=COUPONS | {"code": "ALL"}, expiration_date=PAST)
    created(project, "later", start_date=FUTURE, validity_timeframe={"interval": "P2D", "duration": "P1D"})
    created(project, "full", vouchers_count=10, voucher=COUPONS | {"code_config": DIGITS}, metadata={"region": "EMEA"})
    settled(project)
    assert filled(project, "full", count=2)["status"] == "FAILED"
    project.call("POST", path_of("plain", "disable"))
    return project


EVERYTHING = ["full", "later", "shared", "gift", "plain"]
LEFT: list[tuple[str, list[str]]] = [
    ("", EVERYTHING),
    ("order=created_at", EVERYTHING[::-1]),
    ("order=-updated_at", ["plain", "full", "later", "shared", "gift"]),
    ("campaign_type=GIFT_VOUCHERS", ["gift"]),
    ("campaign_type=PROMOTION", []),
    ("campaign_status=FAILED", ["full"]),
    ("is_referral_code=true", []),
    ("is_referral_code=false&expand=category", EVERYTHING),
    ("filters[campaigns][conditions][$is]=gift", ["gift"]),
    ("filters[campaigns][conditions][$contains]=l&filters[campaigns][conditions][$not_in][0]=full", ["later", "plain"]),
    ("[filters][campaigns][conditions][$in]=['gift', 'full']", ["full", "gift"]),
    ("filters[campaigns_id][conditions][$starts_with]=camp_", EVERYTHING),
    ("filters[campaign_status][conditions][$is_not]=FAILED", EVERYTHING[1:]),
    ("filters[status][conditions][$active]=", EVERYTHING[1:]),
    ("filters[status][conditions][$failed]=", ["full"]),
    ("filters[status][conditions][$in_progress]=", []),
    ("filters[status][conditions][$expired]=", ["shared"]),
    ("filters[status][conditions][before_start]=", ["later"]),
    ("filters[active][conditions][$enabled]=", ["full", "later", "shared", "gift"]),
    ("filters[active][conditions][$disabled]=", ["plain"]),
    ("filters[active][conditions][$expired]=", ["shared"]),
    ("filters[active][conditions][$active]=", ["full", "gift"]),
    ("filters[active][$enabled]=", ["full", "later", "shared", "gift"]),
    ("[filters][active][$disabled]=", ["plain"]),
    ("filters[active][$expired]=&filters[active][conditions][$enabled]=", ["shared"]),
    ("filters[is_referral_code][conditions][$is]=FALSE", EVERYTHING),
    ("filters[is_referral_code][conditions][$is]=TRUE", []),
    ("filters[voucher_type][conditions][$is]=GIFT_VOUCHER", ["gift"]),
    ("filters[categories][conditions][$in][0]=First&filters[categories][conditions][$in][1]=Second", ["gift", "plain"]),
    ("filters[categories][conditions][$is_unknown]=", ["full", "later", "shared"]),
    ("filters[category_ids][conditions][$has_value]=", []),
    ("filters[type][conditions][$in][0]=BULK", ["full", "later", "gift", "plain"]),
    ("filters[type][conditions][$not_in][0]=BULK", ["shared"]),
    ("filters[type][conditions][$in]=['STATIC']", ["full", "later", "plain"]),
    ("filters[created_date][conditions][$after]=2020-01-01", EVERYTHING),
    ("filters[created_date][conditions][$before]=2020-01-01", []),
    ("filters[created_at][conditions][$after][0]=2020-01-01", EVERYTHING),
    ("filters[created_at][conditions][$before][0]=2020-01-01", []),
    ("filters[created_at][conditions][$has_value]=", EVERYTHING),
    ("created_at[before]=2020-01-01", []),
    ("[created_at][before]=2020-01-01", []),
    ("created_at[after]=2020-01-01T10Z&created_at[before]=2999-01-01T10:00Z", EVERYTHING),
    ("updated_at[before]=2020-01-01", []),
    ("[updated_at][after]=2999-01-01", []),
    ("created_at[before]=2020-01-01&filters[campaigns][conditions][$is]=gift&filters[junction]=or", ["gift"]),
    ("filters[created_date][conditions][$less_than]=1", EVERYTHING),
    ("filters[created_date][conditions][$more_than]=1", []),
    ("filters[created_at][conditions][$more_than][0]=0", EVERYTHING),
    ("filters[updated_at][conditions][$less_than]=1", EVERYTHING),
    ("filters[start_date][conditions][$more_than]=1000", ["gift"]),
    ("filters[start_date][conditions][$less_than]=100000", ["gift"]),
    ("filters[start_date][conditions][$less_than]=1000", []),
    ("filters[expiration_date][conditions][$more_than]=1000", ["shared"]),
    ("filters[updated_at][conditions][$has_value]=", ["plain"]),
    ("filters[start_date][conditions][$after]=2026-01-01", ["later"]),
    ("filters[expiration_date][conditions][$has_value]=", ["shared"]),
    ("filters[validity_timeframe][conditions][$has_value]=", ["later"]),
    ("filters[validity_day_of_week][conditions][$is][0]=1", EVERYTHING),
    ("filters[validity_day_of_week][conditions][$is][0]=3", EVERYTHING[:-1]),
    ("filters[metadata.region][conditions][$is]=EMEA", ["full"]),
    ("filters[metadata.region][conditions][$is]=EMEA&filters[campaigns][conditions][$is]=gift", []),
    ("filters[metadata.region][conditions][$is]=EMEA&filters[campaigns][conditions][$is]=gift&filters[junction]=OR",
     ["full", "gift"]),
]  # fmt: skip


def test_what_each_filter_leaves(some: Project) -> None:
    assert {query: names(some, query) for query, _ in LEFT} == dict(LEFT)


@pytest.mark.parametrize(
    ("query", "details"),
    [
        ("filters[name][conditions][$is]=a", "Property .filters[name][conditions][$is] is no known filter; there is"),
        ("filters[campaigns]=a", "Property .filters[campaigns] is no known filter"),
        ("filters[status][conditions][$is]=DONE", "has an unknown operator; there are $active, $failed, $in_progress"),
        ("filters[type][conditions][$contains]=A", "has an unknown operator; there are $is, $is_not, $in, $not_in"),
        ("filters[validity_day_of_week][conditions][$is]=7", "must be a day of the week from 0 to 6"),
        ("filters[start_date][conditions][$after]=soon", "cannot be recognized as a ISO-8601 compliant date"),
        ("created_at[before]=soon", "Property .created_at[before] cannot be recognized as a ISO-8601 compliant date"),
        ("filters[start_date][conditions][$more_than]=-1", "$more_than] should be integer"),
        ("filters[start_date][conditions][$less_than]=", "$less_than] should be integer"),
        ("filters[created_date][conditions][$less_than]=100001", "$less_than] cannot be higher than 100000"),
        ("filters[validity_timeframe][conditions][$after]=2026-01-01", "has an unknown operator; there are $has_value"),
        ("filters[active][$is]=true", "has an unknown operator; there are $enabled, $disabled, $active, $expired"),
        ("filters[campaigns][$is]=a", "Property .filters[campaigns][$is] is no known filter"),
        ("filters[junction]=xor", "Property .filters[junction] must be one of and, or"),
        ("order=name", "Property .order must be one of created_at, -created_at, updated_at, -updated_at"),
        ("limit=101", "Property .limit cannot be higher than 100"),
        ("campaign_type=NONE", "Property .campaign_type"),
        ("campaign_status=NONE", "Property .campaign_status"),
        ("filters[campaigns][conditions][$is]=[0x" + "f" * 4000 + "]", "must list texts, or numbers of"),
        (r"filters[type][conditions][$is]=['\ud800']", "must have characters that can be encoded in UTF-8"),
    ],
)
def test_what_is_refused(project_18: Project, query: str, details: str) -> None:
    error = project_18.call("GET", f"/v1/campaigns?{query}", expect=400)
    assert error["key"] == "invalid_query_params"
    assert details in error["details"]


def test_an_unknown_filter_names_the_known_ones(project_18: Project) -> None:
    details = project_18.call("GET", "/v1/campaigns?filters[name][conditions][$is]=a", expect=400)["details"]
    known = {query.partition("filters[")[2].partition("]")[0] for query, _ in LEFT} - {"", "metadata.region"}
    assert len(known) == 17
    for field in (*known, "metadata.KEY", "junction"):
        assert field in details


def test_pages(project_18: Project) -> None:
    made = [created(project_18, f"c{no}")["name"] for no in range(7)]
    changed(project_18, "c2", description="New")
    for limit in (1, 3, 7, 100):
        found: list[Any] = [row["name"] for row in by_pages(project_18, "/v1/campaigns", limit=limit)]
        assert found == made[::-1]
    error = project_18.get("/v1/campaigns", page=101, expect=400)
    assert error["key"] == "page_over_limit"
    assert project_18.get("/v1/campaigns", page=100)["campaigns"] == []


# ---- any query ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dated(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Iterator[tuple[Project, list[Row]]]:
    """A project with campaigns of which some were changed, and these campaigns."""
    project = started_deployment(request, deployments, "18").new_project()
    for no in range(24):
        created(project, f"c{no}")
    for no in range(0, 24, 5):
        changed(project, f"c{no}", description="New")
    yield project, list(by_pages(project, "/v1/campaigns"))
    project.close()


DATES = ("created_at", "updated_at")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_page_of_any_query_is_what_it_should_be(dated: tuple[Project, list[Row]], data: st.DataObject) -> None:
    project, rows = dated
    check(project, "/v1/campaigns", rows, data.draw(queries(rows, DATES, DATES)), "-created_at")


def test_every_parameter_is_described(project_18: Project) -> None:
    described = project_18.get("/openapi.json")["paths"]["/v1/campaigns"]["get"]["parameters"]
    names = {parameter["name"] for parameter in described}
    assert names >= {f"{field}[{relation}]" for field in DATES for relation in ("before", "after")} | {"filters"}
