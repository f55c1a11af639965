"""Lists of campaigns."""

from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias

from litestar import Request, get
from litestar.di import NamedDependency, Provide
from litestar.params import Parameter, QueryParameter
from msgspec import Struct
from psycopg import sql

from punchcard.bulk.async_actions import Flag
from punchcard.campaigns.campaigns import SQL, Campaign, shown
from punchcard.campaigns.requests import CampaignType
from punchcard.db import row_totals
from punchcard.db.database import Conn, Database
from punchcard.http import filters, lists, pages
from punchcard.http.filters import Condition, Filter
from punchcard.vouchers.filters import VALIDITY

Status: TypeAlias = Literal["DONE", "IN_PROGRESS", "FAILED", "DRAFT", "MODIFYING"]
ORDERS = {"created_at": pages.BY_CREATION, "updated_at": pages.BY_UPDATE}


class CampaignList(Struct):
    """A page of campaigns."""

    object: str
    data_ref: str
    campaigns: list[Campaign]
    total: int
    has_more: bool


class Wanted(Struct, frozen=True):
    """Which campaigns a list shows: exact values, and filters as they are written (`http.filters`)."""

    campaign_type: str | None = None
    status: str | None = None
    is_referral_code: bool | None = None
    filters: tuple[tuple[str, str], ...] = ()


# ---- filters -----------------------------------------------------------------------------------

_TEXTS = {
    "campaigns": sql.SQL("name"),
    "campaigns_id": sql.SQL("id"),
    "campaign_status": sql.SQL("status"),
    "voucher_type": sql.SQL("voucher ->> 'type'"),
    "categories": sql.SQL("category"),
    "category_ids": sql.SQL("NULL::text"),  # there are none yet
}
_DATES = {
    # as their indexes have them; creation is documented by another name here, and filtered in other lists by this one
    "created_at": pages.FIELDS["created_at"],
    "created_date": pages.FIELDS["created_at"],
    "updated_at": pages.FIELDS["updated_at"],
    "start_date": sql.SQL("start_date"),
    "expiration_date": sql.SQL("expiration_date"),
}
_REFERRAL = sql.SQL("(voucher ->> 'is_referral_code')::boolean")
_STATUSES = {
    "$active": "status IN ('DONE', 'MODIFYING')",
    "$failed": "status = 'FAILED'",
    "$in_progress": "status IN ('IN_PROGRESS', 'MODIFYING')",
    "$expired": "(status IN ('DONE', 'MODIFYING') AND expiration_date <= {now})",
    "before_start": "(status IN ('DONE', 'MODIFYING') AND start_date > {now})",
}
# one name for two types
BULK, _BULK = "BULK", ("AUTO_UPDATE", "STATIC")
FIELDS = (
    *_TEXTS, *_DATES, "status", "active", "is_referral_code", "type", *VALIDITY, "metadata.KEY", "junction",
)  # fmt: skip


def _condition(given: Filter) -> Condition | None:
    match given.field:
        case field if field in _TEXTS:
            return given.text(_TEXTS[field])
        case field if field in _DATES:
            column = "created_at" if field == "created_date" else field
            condition = given.date(_DATES[field], own=sql.Identifier(column))
            condition.field = column
            return condition
        case "status":
            return _status(given)
        case "active":
            return given.state()
        case "is_referral_code":
            return given.flag(_REFERRAL)
        case "type":
            given.require(("$is", "$is_not", "$in", "$not_in"))
            given.values = [kind for value in given.values for kind in (_BULK if value == BULK else (value,))]
            return given.text(sql.SQL("type"))
        case field if field in VALIDITY:
            return VALIDITY[field](given)
        case _:
            return given.metadata()


def _status(given: Filter) -> Condition:
    given.require(tuple(_STATUSES))
    holds = sql.SQL(_STATUSES[given.operator]).format(now=sql.Placeholder(given.name))
    return Condition(given.field, holds, {given.name: datetime.now(UTC)})


# ---- the list ----------------------------------------------------------------------------------


async def list_campaigns(
    conn: Conn, project: str, *, limit: int, page: int, order: str | None, wanted: Wanted
) -> CampaignList:
    """A page of campaigns, newest first by default. Needs a transaction."""
    field, descending = lists.ordering(order, tuple(ORDERS), "-created_at")
    rows = pages.Rows(SQL.campaigns_list, {"project_id": project})
    if wanted.campaign_type is not None:
        rows.where("campaign_type", sql.SQL("campaign_type = %(kind)s"), kind=wanted.campaign_type)
    if wanted.status is not None:
        rows.where("status", sql.SQL("status = %(status)s"), status=wanted.status)
    if wanted.is_referral_code is not None:
        asked = sql.SQL("{} = %(referral)s").format(_REFERRAL)
        rows.where("is_referral_code", asked, referral=wanted.is_referral_code)
    filters.narrow(rows, filters.read(wanted.filters, _condition, known=FIELDS))
    found = await rows.page(conn, ORDERS[field], descending=descending, limit=limit, page=page)
    total = await rows.count(conn) if rows.narrowed else await row_totals.total(conn, project, "campaigns")
    return CampaignList("list", "campaigns", [shown(row) for row in found.rows], total=total, has_more=found.has_more)


# ---- the handler -------------------------------------------------------------------------------

_ANY = (
    "`filters[FIELD][conditions][$OPERATOR]=VALUE`, and `filters[junction]=and` or `or`. Fields: "
    + ", ".join(f"`{field}`" for field in FIELDS)
    + "."
)


async def wanted_of(
    request: Request,  # type: ignore[type-arg]
    project: str,  # so that keys are checked first
    campaign_type: Annotated[CampaignType | None, Parameter(description="Only campaigns of this type.")] = None,
    campaign_status: Annotated[Status | None, Parameter(description="Only campaigns with this status.")] = None,
    is_referral_code: Annotated[
        Flag | None, Parameter(description="Only campaigns whose vouchers are, or are not, referral codes.")
    ] = None,
    created_before: lists.CreatedBefore = None,
    created_after: lists.CreatedAfter = None,
    updated_before: lists.UpdatedBefore = None,
    updated_after: lists.UpdatedAfter = None,
    any_filter: Annotated[str | None, QueryParameter(name="filters", description=_ANY)] = None,
) -> Wanted:
    """A handler's `wanted`. Raises `InvalidQuery`."""
    return Wanted(
        campaign_type=campaign_type,
        status=campaign_status,
        is_referral_code=None if is_referral_code is None else is_referral_code == "true",
        filters=tuple(request.query_params.multi_items()),
    )


@get("/v1/campaigns", operation_id="list-campaigns", tags=["Campaigns"], dependencies={"wanted": Provide(wanted_of)})
async def get_campaigns(
    request: Request,  # type: ignore[type-arg]
    project: str,
    wanted: NamedDependency[Wanted],
    limit: lists.Limit = lists.LIMIT_DEFAULT,
    page: lists.Page = 1,
    order: Annotated[str | None, Parameter(description="created_at or updated_at; `-` for descending.")] = None,
    expand: Annotated[
        Literal["category", "access_settings_assignments"] | None,
        Parameter(description="There is nothing to be expanded yet."),
    ] = None,
) -> CampaignList:
    """List campaigns, newest first."""
    lists.check_page(page, lists.PAGE_MAX)
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        return await list_campaigns(conn, project, limit=limit, page=page, order=order, wanted=wanted)


ROUTES = [get_campaigns]
