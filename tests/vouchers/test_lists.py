"""Lists of vouchers: orders, pages, filters in all their spellings."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard.db.database import connect
from punchcard.vouchers import storage
from punchcard.vouchers.storage import Attributes
from tests.conftest import started_deployment
from tests.deployment import Deployment, Project
from tests.http.listing import Row, by_pages, check, queries
from tests.orders.stored import session
from tests.vouchers.making import GIFT, PERCENT, made, refusal

VOUCHERS = 250
ORDERS = ("created_at", "updated_at")


async def _written(project: Project, names: list[str], attributes: Attributes) -> None:
    async with await connect(project.deployment.dsn, part="test") as conn, conn.transaction():
        await storage.insert(conn, project.id, storage.rows(names, attributes, case_sensitive=True))


def written(project: Project, names: list[str], **attributes: Any) -> None:
    """Vouchers as a job writes them: many at once."""
    given_attributes = Attributes(type="DISCOUNT_VOUCHER", discount=b'{"type": "PERCENT", "percent_off": 1}')
    asyncio.run(_written(project, names, _replaced(given_attributes, attributes)))


def _replaced(attributes: Attributes, changes: dict[str, Any]) -> Attributes:
    kept = {name: getattr(attributes, name) for name in attributes.__struct_fields__}
    return Attributes(**kept | changes)


def codes(project: Project, **parameters: Any) -> list[str]:
    listed = project.get("/v1/vouchers", limit=100, **parameters)
    assert listed["total"] == len(listed["vouchers"])
    return [voucher["code"] for voucher in listed["vouchers"]]


def test_walking_what_a_job_wrote_shows_each_voucher_once(project: Project) -> None:
    names = [f"c{n * 7919 % 1000:04}" for n in range(VOUCHERS)]
    written(project, names)
    for order, expected in (
        (None, names[::-1]), ("created_at", names), ("-created_at", names[::-1]), ("updated_at", names),
        ("-updated_at", names[::-1]), ("code", sorted(names)), ("-code", sorted(names)[::-1]),
    ):  # fmt: skip
        chosen: dict[str, Any] = {"order": order} if order else {}
        assert [row["code"] for row in by_pages(project, "/v1/vouchers", **chosen)] == expected, order
    # a list leaves the validation rules out, and is else the same
    (first,) = project.get("/v1/vouchers", limit=1)["vouchers"]
    whole = project.get(f"/v1/vouchers/{first['code']}")
    assert whole.pop("validation_rules_assignments")["total"] == 0
    assert first == whole


@pytest.fixture(scope="module")
def filled(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Iterator[tuple[Project, list[Row]]]:
    """A project with vouchers of which some were changed, and these vouchers."""
    project = started_deployment(request, deployments, "18").new_project()
    written(project, [f"c{n}" for n in range(80)])
    for n in range(0, 80, 9):
        project.call("PUT", f"/v1/vouchers/c{n}", json={"active": False})
    yield project, list(by_pages(project, "/v1/vouchers"))
    project.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_page_of_any_query_is_what_it_should_be(filled: tuple[Project, list[Row]], data: st.DataObject) -> None:
    project, rows = filled
    check(project, "/v1/vouchers", rows, data.draw(queries(rows, ORDERS, ORDERS)), "-created_at")


def test_exact_filters(project: Project) -> None:
    project.imported({"customer": {"source_id": "ann"}})
    ann = project.get("/v1/customers/ann")["id"]
    written(project, ["a", "b"], category="x")
    written(project, ["held"], category="x")
    hold(project, "held", ann)
    made(project, "c", category="y")
    assert codes(project, category="x") == ["held", "b", "a"]
    assert codes(project, category="x", order="code") == ["a", "b", "held"]
    assert codes(project, code="a") == ["a"]
    assert codes(project, code="A") == []
    assert codes(project, customer="ann") == codes(project, customer=ann) == ["held"]
    assert project.get("/v1/vouchers/held")["holder_id"] == ann
    for none in ({"customer": "bob"}, {"campaign": "x"}, {"campaign_id": "x"}, {"category": "x", "code": "c"}):
        assert codes(project, **none) == []


def test_redemption_status(project_18: Project) -> None:
    for code, quantity in (("never", 1), ("used up", 1), ("once of two", 2), ("any number", None)):
        made(project_18, code, redemption={"quantity": quantity})
    redeem(project_18, "used up", "once of two", "any number")
    for operator, left in (
        ("$redeemed", ["any number", "once of two", "used up"]),
        ("$redeemable", ["any number", "once of two", "never"]),
    ):
        parameters: dict[str, Any] = {f"filters[redemption_status][conditions][{operator}]": "true"}
        assert codes(project_18, **parameters) == left


def redeem(project: Project, *names: str) -> None:
    """Make it so that vouchers were redeemed once: there are no redemptions yet."""
    with session(project.deployment) as conn:
        conn.execute(
            "UPDATE vouchers SET redeemed_quantity = 1 WHERE project_id = %s AND code = ANY (%s)",
            [project.id, list(names)],
        )


def hold(project: Project, code: str, customer_id: str) -> None:
    """Make a customer the holder of a voucher: there are no publications yet."""
    with session(project.deployment) as conn:
        conn.execute(
            "UPDATE vouchers SET holder_id = %s WHERE project_id = %s AND code = %s",
            [customer_id, project.id, code],
        )


def test_ids_in_all_their_spellings(project_18: Project) -> None:
    a, b = made(project_18, "a")["id"], made(project_18, "b")["id"]
    made(project_18, "c")
    for query in (
        f"ids={a}&ids={b}", f"ids[]={a}&ids[]={b}", f"ids[0]={a}&ids[1]={b}&ids=nobody", f"ids=['{a}', '{b}']",
        f"ids%5B0%5D={a}&[ids][1]={b}",
    ):  # fmt: skip
        listed = project_18.call("GET", f"/v1/vouchers?{query}")
        assert ([voucher["code"] for voucher in listed["vouchers"]], listed["total"]) == (["b", "a"], 2), query
    assert refusal(project_18, "GET", "/v1/vouchers?" + "ids=x&" * 1001)["key"] == "invalid_query_params"
    assert refusal(project_18, "GET", "/v1/vouchers?ids=a%00")["key"] == "invalid_query_params"


@pytest.fixture(scope="module")
def various(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Iterator[Project]:
    """A project with vouchers of all kinds."""
    project = started_deployment(request, deployments, "18").new_project()
    made(project, "plain")
    made(project, "off", active=False, category="Winter sale", metadata={"n": 1, "season": "winter", "deep": {"a": 1}})
    made(project, "over", expiration_date="2020-01-01T00:00:00Z", metadata={"season": "spring"})
    made(project, "later", start_date="2999-01-01T00:00:00Z", category="Summer sale", validity_day_of_week=[0, 6])
    made(
        project,
        "gift",
        start_date="2020-01-01T00:00:00Z",
        validity_timeframe={"interval": "P2D", "duration": "P1D"},
        **GIFT,
    )
    yield project
    project.close()


ALL = {"plain", "off", "over", "later", "gift"}
FILTERS: list[tuple[str, set[str]]] = [
    ("[active][conditions][$enabled]=true", ALL - {"off"}),
    ("[active][conditions][$disabled]=true", {"off"}),
    ("[active][conditions][$active]=true", {"plain", "gift"}),
    ("[active][conditions][$active]=false", {"off", "over", "later"}),
    ("[active][conditions][$expired][0]=true", {"over"}),
    ("[active][conditions][$before_start]=true", {"later"}),
    ("[code][conditions][$is]=plain", {"plain"}),
    ("[code][conditions][$is][0]=plain&filters[code][conditions][$is][1]=off", {"plain", "off"}),
    ("[code][conditions][$in]=['plain', 'off']", {"plain", "off"}),
    ("[code][conditions][$not_in][]=plain&filters[code][conditions][$not_in][]=off", {"over", "later", "gift"}),
    ("[code][conditions][$is_not]=plain", ALL - {"plain"}),
    ("[code][conditions][$contains]=la", {"plain", "later"}),
    ("[code][conditions][$not_contain]=la", ALL - {"plain", "later"}),
    ("[code][conditions][$starts_with]=o", {"off", "over"}),
    ("[code][conditions][$starts_with]=o&filters[code][conditions][$ends_with]=r", {"over"}),
    ("[categories][conditions][$is]=Winter sale", {"off"}),
    ("[categories][conditions][$is_not]=Winter sale", ALL - {"off"}),
    ("[categories][conditions][$is_unknown]=true", {"plain", "over", "gift"}),
    ("[categories][conditions][$has_value]=", {"off", "later"}),
    ("[campaign_ids][conditions][$is]=camp_1", set()),
    ("[vouchers][conditions][$is]=v_1", set()),
    ("[holder_id][conditions][$is_unknown]=", ALL),
    ("[is_referral_code][conditions][$is]=false", ALL),
    ("[is_referral_code][conditions][$is_not]=false", set()),
    ("[redemption.redeemed_quantity][conditions][$is]=0", ALL),
    ("[redemption.redeemed_quantity][conditions][$more_than]=0", set()),
    ("[redemption.redeemed_quantity][conditions][$less_than_equal][0]=0", ALL),
    ("[redemption_status][conditions][$redeemed]=true", set()),
    ("[redemption_status][conditions][$redeemed]=false", ALL),
    ("[redemption_status][conditions][$redeemable]=", ALL),
    ("[published_for_customer_id][conditions][$is]=cust_1", set()),
    ("[published_for_customer_id][conditions][$is_unknown]=", ALL),
    ("[category_ids][conditions][$in][0]=cat_1", set()),
    ("[category_ids][conditions][$has_value]=", set()),
    ("[validity_day_of_week][conditions][$is][0]=1", ALL - {"later"}),
    ("[validity_day_of_week][conditions][$in]=[1, 6]", ALL),
    ("[validity_timeframe][conditions][$has_value]=", {"gift"}),
    ("[validity_timeframe][conditions][$is_unknown]=", ALL - {"gift"}),
    ("[start_date][conditions][$has_value]=", {"later", "gift"}),
    ("[start_date][conditions][$is_unknown]=", ALL - {"later", "gift"}),
    ("[start_date][conditions][$more_than]=1000", {"gift"}),
    ("[start_date][conditions][$less_than]=100000", {"gift"}),
    ("[expiration_date][conditions][$more_than][0]=1000", {"over"}),
    ("[expiration_date][conditions][$less_than]=1000", set()),
    ("[expiration_date][conditions][$before]=2020-01-01T00:01Z", {"over"}),
    ("[created_at][conditions][$less_than]=1", ALL),
    ("[created_at][conditions][$more_than]=1", set()),
    ("[active][$disabled]=", {"off"}),
    ("[expiration_date][conditions][$before]=2021-01-01", {"over"}),
    ("[expiration_date][conditions][$after]=2021-01-01", set()),
    ("[updated_at][conditions][$has_value]=", set()),
    ("[metadata.season][conditions][$is]=winter", {"off"}),
    ("[metadata.season][conditions][$is_unknown]=", {"plain", "later", "gift"}),
    ("[metadata.n][conditions][$is]=1", {"off"}),
    ("[metadata.season][conditions][$is]=winter&filters[active][conditions][$enabled]=true", set()),
    ("[metadata.season][conditions][$is]=spring&filters[code][conditions][$is]=gift&filters[junction]=OR",
     {"over", "gift"}),
    ("[junction]=or", ALL),
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"), FILTERS, ids=lambda value: value[:70] if isinstance(value, str) else str(sorted(value))
)
def test_filters(various: Project, query: str, expected: set[str]) -> None:
    listed = various.call("GET", f"/v1/vouchers?filters{query}")
    assert ({voucher["code"] for voucher in listed["vouchers"]}, listed["total"]) == (expected, len(expected))


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("filters[colour][conditions][$is]=red",
         "Property .filters[colour][conditions][$is] is no known filter; there is"),
        ("filters[redemption_status][conditions][$is]=x",
         "Property .filters[redemption_status][conditions][$is] has an unknown operator; there are $redeemed, $redeem"),
        ("filters[redemption_status][conditions][$redeemed]=x",
         "Property .filters[redemption_status][conditions][$redeemed] must be true or false"),
        ("filters[validity_day_of_week][conditions][$is]=7",
         "Property .filters[validity_day_of_week][conditions][$is] must be a day of the week from 0 to 6"),
        ("filters[expiration_date][conditions][$more_than]=soon",
         "Property .filters[expiration_date][conditions][$more_than] should be integer"),
        ("filters[expiration_date][conditions][$more_than]=1000000000000",
         "Property .filters[expiration_date][conditions][$more_than] cannot be higher than 100000"),
        ("filters[code]=x", "Property .filters[code] is no known filter"),
        ("filters=x", "Property .filters is no known filter"),
        ("filters[code][conditions][$near]=x",
         "Property .filters[code][conditions][$near] has an unknown operator; there are"),
        ("filters[start_date][conditions][$before]=soon",
         "Property .filters[start_date][conditions][$before] cannot be"),
        ("filters[redemption.redeemed_quantity][conditions][$is]=-1",
         "Property .filters[redemption.redeemed_quantity]"),
        ("filters[is_referral_code][conditions][$is]=perhaps", "Property .filters[is_referral_code]"),
        ("filters[code][conditions][$is]=%00", "Property .filters[code][conditions][$is] must not contain a NUL"),
        ("filters[metadata.%00][conditions][$is]=1",
         "Property .filters[metadata.][conditions][$is] must not contain a NUL"),
        ("filters[metadata.][conditions][$is]=1", "Property .filters[metadata.][conditions][$is] is no known filter"),
        ("filters[junction]=xor", "Property .filters[junction] must be one of and, or"),
        ("filters[code][conditions][$in]=" + str(["x"] * 201),
         "Property .filters[code][conditions][$in] must have at most 200"),
        ("created_at[before]=x", "Property .created_at[before] cannot be recognized"),
        ("order=type", "Property .order must be one of created_at, -created_at"),
        ("limit=101",
         "Property .limit cannot be higher than 100"), ("limit=0", "Property .limit cannot be lower than 1"),
        ("limit=99999999999999999999", "Property .limit"), ("page=0", "Property .page cannot be lower than 1"),
        ("code=%00", "Property .code must not contain a NUL"),
        ("ids=[0x" + "f" * 4000 + "]", "Property .ids must list texts, or numbers of at most 64 bits"),
        ("ids=[['a']]", "Property .ids must list texts, or numbers of at most 64 bits"),
        (r"ids=['\ud800']", "Property .ids must have characters that can be encoded in UTF-8"),
        (r"filters[metadata.a][conditions][$is]=['b','\udfff']",
         "Property .filters[metadata.a][conditions][$is] must have characters that can"),
        (r"filters[code][conditions][$starts_with][0]=['\x00']",
         "Property .filters[code][conditions][$starts_with][0] must not contain a NUL"),
        ("filters[code][conditions][$in]=[-0x" + "f" * 4000 + "]",
         "Property .filters[code][conditions][$in] must list texts, or numbers of at most 64 bits"),
        ("filters[redemption.redeemed_quantity][conditions][$in]=[1e999]",
         "Property .filters[redemption.redeemed_quantity][conditions][$in] should be integer"),
    ],
)  # fmt: skip
def test_a_bad_query_is_refused(various: Project, query: str, complaint: str) -> None:
    error = refusal(various, "GET", f"/v1/vouchers?{query}")
    assert error["key"] == "invalid_query_params"
    assert error["details"].startswith(complaint), error["details"]


@pytest.mark.parametrize(
    "value", ["[{[]: 1}]", "[{{}}]", "['a'", "[a]", "[1+1]", "[" * 300 + "]" * 300, "[" + "9" * 5000 + "]"]
)
def test_what_looks_like_a_list_and_is_none_is_a_text(various: Project, value: str) -> None:
    assert various.get("/v1/vouchers", ids=value)["total"] == 0
    parameters: dict[str, Any] = {"filters[code][conditions][$is_not]": value}
    assert various.get("/v1/vouchers", **parameters)["total"] == len(ALL)


def test_the_list_goes_to_page_99(various: Project) -> None:
    assert various.get("/v1/vouchers", page=99)["vouchers"] == []
    assert refusal(various, "GET", "/v1/vouchers?page=100")["key"] == "page_over_limit"


def test_what_a_job_writes_after_changes_comes_behind_them(project_18: Project) -> None:
    """Lists are walked by these dates, so each new one lies behind all that there are."""
    written(project_18, ["a", "b"])
    changed = project_18.call("PUT", "/v1/vouchers/a", json={"discount": PERCENT})
    made(project_18, "c")
    written(project_18, ["d"])
    assert codes(project_18, order="updated_at") == ["b", "a", "c", "d"]
    moments = [project_18.get(f"/v1/vouchers/{code}")["created_at"] for code in ("c", "d")]
    assert changed["updated_at"] < moments[0] < moments[1] < datetime.now(UTC).isoformat()
