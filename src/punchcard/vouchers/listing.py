"""Lists of vouchers."""

import functools
from collections.abc import Iterable
from typing import Annotated

from litestar import Request, get
from litestar.di import NamedDependency, Provide
from litestar.params import Parameter, QueryParameter
from msgspec import Struct
from psycopg import sql

from punchcard.customers import customers
from punchcard.db import row_totals
from punchcard.db.database import Conn, Database
from punchcard.errors import InvalidQuery
from punchcard.http import filters, lists, pages
from punchcard.vouchers import codes, storage, vouchers
from punchcard.vouchers import filters as voucher_filters
from punchcard.vouchers.vouchers import SQL, Voucher

# of a page
IDS_MAX = 1000
# the indexes of these filters have their rows by creation
_FILTERS = frozenset({"campaign", "holder", "category"})
_BY_CODE = pages.Order((pages.Run((sql.SQL("code_key"),)),))
ORDERS = {
    "created_at": pages.Order(pages.BY_CREATION.runs, pages.BY_CREATION.serves | _FILTERS),
    "updated_at": pages.BY_UPDATE,
    "code": _BY_CODE,
}


class VoucherList(Struct):
    """A page of vouchers."""

    object: str
    data_ref: str
    vouchers: list[Voucher]
    total: int
    has_more: bool


class Wanted(Struct, frozen=True):
    """Which vouchers a list shows: exact values, and filters as they are written (`http.filters`)."""

    code: str | None = None
    category: str | None = None
    campaign: str | None = None
    campaign_id: str | None = None
    # id or source id of the holder
    customer: str | None = None
    ids: tuple[str, ...] | None = None
    filters: tuple[tuple[str, str], ...] = ()


async def list_vouchers(
    conn: Conn, project: str, *, limit: int, page: int, order: str | None, wanted: Wanted
) -> VoucherList:
    """A page of vouchers, newest first by default. Needs a transaction."""
    field, descending = lists.ordering(order, tuple(ORDERS), "-created_at")
    rows = pages.Rows(SQL.vouchers_list, {"project_id": project})
    await _narrow(conn, project, rows, wanted)
    found = await rows.page(conn, ORDERS[field], descending=descending, limit=limit, page=page)
    total = await rows.count(conn) if rows.narrowed else await row_totals.total(conn, project, "vouchers")
    shown = [vouchers.shown(row) for row in found.rows]
    return VoucherList("list", "vouchers", shown, total=total, has_more=found.has_more)


async def _narrow(conn: Conn, project: str, rows: pages.Rows, wanted: Wanted) -> None:
    case_sensitive = True
    if wanted.code is not None or any("code" in name for name, _ in wanted.filters):
        case_sensitive = await storage.case_sensitive(conn, project)
    if wanted.code is not None:
        key = codes.key_of(wanted.code, case_sensitive=case_sensitive)
        rows.where("code", sql.SQL("code_key = %(code_key)s"), code_key=key)
    if wanted.category is not None:
        rows.where("category", sql.SQL("category = %(category)s"), category=wanted.category)
    if wanted.campaign_id is not None:
        rows.where("campaign", sql.SQL("campaign_id = %(campaign_id)s"), campaign_id=wanted.campaign_id)
    if wanted.campaign is not None:
        named = sql.SQL(
            "campaign_id = (SELECT c.id FROM campaigns AS c WHERE c.project_id = %(project_id)s"
            " AND c.name = %(campaign)s AND c.binned_at IS NULL)"
        )
        rows.where("campaign", named, campaign=wanted.campaign)
    if wanted.customer is not None:
        holder = await _customer_id(conn, project, wanted.customer)
        rows.where("holder", sql.SQL("holder_id = %(holder)s"), holder=holder)
    if wanted.ids is not None:
        rows.where("ids", sql.SQL("id = ANY (%(ids)s::text[])"), ids=list(wanted.ids))
    code_key = functools.partial(codes.key_of, case_sensitive=case_sensitive)
    filters.narrow(rows, voucher_filters.read(wanted.filters, code_key=code_key))


async def _customer_id(conn: Conn, project: str, customer: str) -> str | None:
    """The id of a customer by id or source id; the id wins. None holds nothing."""
    found = await customers.resolve(conn, project, ids={customer}, source_ids={customer})
    return min((row.id for row in found), key=lambda found_id: found_id != customer, default=None)


# ---- the handler -------------------------------------------------------------------------------


def ids_of(query: Iterable[tuple[str, str]]) -> tuple[str, ...] | None:
    """The `ids` of a query: repeated, as `ids[]`, numbered, or a list as Python's clients write it.

    None if there are none. Raises `InvalidQuery`.
    """
    found: list[str] = []
    for name, value in query:
        match lists.path_of(name):
            case ["ids"] | ["ids", _]:
                found += [part for part in filters.values_of(value, "ids") if part]
    if len(found) > IDS_MAX:
        raise InvalidQuery(f"Property .ids must have at most {IDS_MAX} elements")
    for voucher_id in found:
        lists.text_of(voucher_id, "ids")
    return tuple(found) if found else None


_ANY = (
    "`filters[FIELD][conditions][$OPERATOR]=VALUE`, and `filters[junction]=and` or `or`. Fields: "
    + ", ".join(f"`{field}`" for field in voucher_filters.FIELDS)
    + "."
)
_DATE = "An ISO 8601 date, in UTC if it has no zone; the moment itself is left out."


async def wanted_of(
    request: Request,  # type: ignore[type-arg]
    project: str,  # so that keys are checked first
    code: Annotated[str | None, Parameter(description="Only the voucher with this code.")] = None,
    category: Annotated[str | None, Parameter(description="Only vouchers of this category.")] = None,
    campaign: Annotated[str | None, Parameter(description="Only vouchers of the campaign with this name.")] = None,
    campaign_id: Annotated[str | None, Parameter(description="Only vouchers of the campaign with this id.")] = None,
    customer: Annotated[
        str | None, Parameter(description="Only vouchers whose holder has this id or source id.")
    ] = None,
    ids: Annotated[list[str] | None, Parameter(description="Only vouchers with these ids. Also as `ids[]`.")] = None,
    created_before: Annotated[str | None, QueryParameter(name="created_at[before]", description=_DATE)] = None,
    created_after: Annotated[str | None, QueryParameter(name="created_at[after]", description=_DATE)] = None,
    updated_before: Annotated[str | None, QueryParameter(name="updated_at[before]", description=_DATE)] = None,
    updated_after: Annotated[str | None, QueryParameter(name="updated_at[after]", description=_DATE)] = None,
    any_filter: Annotated[str | None, QueryParameter(name="filters", description=_ANY)] = None,
) -> Wanted:
    """A handler's `wanted`. Raises `InvalidQuery`."""
    query = tuple(request.query_params.multi_items())
    return Wanted(
        code=lists.text_of(code, "code"),
        category=lists.text_of(category, "category"),
        campaign=lists.text_of(campaign, "campaign"),
        campaign_id=lists.text_of(campaign_id, "campaign_id"),
        customer=lists.text_of(customer, "customer"),
        ids=ids_of(query),
        filters=query,
    )


@get("/v1/vouchers", operation_id="list-vouchers", tags=["Vouchers"], dependencies={"wanted": Provide(wanted_of)})
async def get_vouchers(
    request: Request,  # type: ignore[type-arg]
    project: str,
    wanted: NamedDependency[Wanted],
    limit: lists.Limit = lists.LIMIT_DEFAULT,
    page: lists.CustomersPage = 1,
    order: Annotated[str | None, Parameter(description="created_at, updated_at or code; `-` for descending.")] = None,
) -> VoucherList:
    """List vouchers, newest first."""
    lists.check_page(page, lists.CUSTOMERS_PAGE_MAX)
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        return await list_vouchers(conn, project, limit=limit, page=page, order=order, wanted=wanted)


ROUTES = [get_vouchers]
