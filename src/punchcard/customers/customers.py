"""Customers: types, upserts by batch, reads, routes."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.di import Provide
from litestar.params import Parameter
from msgspec import UNSET, Meta, Struct, UnsetType
from psycopg import sql

from punchcard.db import row_totals, statements
from punchcard.db.database import JSONB, Conn, Database, jsonb, lock_as_read
from punchcard.errors import InvalidQuery, NotFound
from punchcard.http import answers, lists, pages
from punchcard.http.lists import Dates, DatesGiven
from punchcard.http.shapes import Identifier, or_unset, same_json

SQL = statements.beside(__file__)

EMAIL_LENGTH_MAX = 255

# ---- types -------------------------------------------------------------------------------------


class Address(Struct, omit_defaults=True):
    """A postal address."""

    city: str | None = None
    state: str | None = None
    line_1: str | None = None
    line_2: str | None = None
    country: str | None = None
    postal_code: str | None = None


class CustomerAttributes(Struct):
    """What a request says about a customer. null means absent."""

    name: str | None = None
    description: str | None = None
    email: Annotated[str, Meta(max_length=EMAIL_LENGTH_MAX)] | None = None
    phone: str | None = None
    birthdate: date | None = None
    birthday: date | None = None
    address: Address | None = None
    metadata: dict[str, Any] | None = None


class CustomerIn(CustomerAttributes):
    """A customer as a request names it: by `id`, else by `source_id`, else a new one."""

    id: Identifier | None = None
    source_id: Identifier | None = None


class CustomerRow(Struct):
    """A customer while a batch changes it: stored values, what changed, and the version they were read at."""

    id: str
    source_id: str | None = None
    name: str | None = None
    description: str | None = None
    email: str | None = None
    phone: str | None = None
    birthdate: date | None = None
    birthday: date | None = None
    address: Address | None = None
    metadata: dict[str, Any] = {}
    orders_total_amount: int = 0
    orders_total_count: int = 0
    orders_last_id: str | None = None
    orders_last_amount: int | None = None
    orders_last_date: datetime | None = None
    # none while the row does not exist yet
    version: str | None = None
    attributes_changed: bool = False
    summary_changed: bool = False
    # only where a single one is written
    created_at: datetime | None = None
    updated_at: datetime | None = None
    # given when it is written: the bulk job that changes it; none of a request
    async_action_id: str | None = None

    def apply(self, given: CustomerAttributes) -> bool:
        """Write the supplied attributes: fields replace, metadata merges by key; `birthdate` wins over `birthday`.

        Whether any of them was another one before.
        """
        changed = False
        if given.name is not None and given.name != self.name:
            self.name, changed = given.name, True
        if given.description is not None and given.description != self.description:
            self.description, changed = given.description, True
        if given.email is not None and given.email != self.email:
            self.email, changed = given.email, True
        if given.phone is not None and given.phone != self.phone:
            self.phone, changed = given.phone, True
        if given.address is not None and given.address != self.address:
            self.address, changed = given.address, True
        if given.birthday is not None and given.birthday != self.birthday:
            self.birthday, changed = given.birthday, True
        birthdate = given.birthdate or given.birthday
        if birthdate is not None and birthdate != self.birthdate:
            self.birthdate, changed = birthdate, True
        if given.metadata:
            merged = {**self.metadata, **given.metadata}
            if not same_json(merged, self.metadata):
                self.metadata, changed = merged, True
        self.attributes_changed |= changed
        return changed

    @property
    def summary(self) -> tuple[Any, ...]:
        """What the summary is made of."""
        return (
            self.orders_total_amount,
            self.orders_total_count,
            self.orders_last_id,
            self.orders_last_amount,
            self.orders_last_date,
        )

    @property
    def changed(self) -> bool:
        return self.attributes_changed or self.summary_changed

    def differs(self, stored: "CustomerRow") -> bool:
        """Whether the row has to be written: differences of revenue may have come to nothing."""
        return self.attributes_changed or self.summary != stored.summary


class OrdersSummary(Struct, omit_defaults=True):
    """PAID and FULFILLED orders only. Amounts in the smallest currency unit."""

    total_amount: int
    total_count: int
    average_amount: int
    last_order_amount: int
    last_order_date: datetime | UnsetType = UNSET


class GiftSummary(Struct):
    redeemed_amount: int = 0
    amount_to_go: int = 0


class LoyaltyCardSummary(Struct):
    redeemed_points: int = 0
    points_to_go: int = 0


class RedemptionsSummary(Struct):
    gift: GiftSummary
    loyalty_card: LoyaltyCardSummary
    total_redeemed: int = 0
    total_failed: int = 0
    total_succeeded: int = 0
    total_rolled_back: int = 0
    total_rollback_failed: int = 0
    total_rollback_succeeded: int = 0


class CustomerSummary(Struct):
    redemptions: RedemptionsSummary
    orders: OrdersSummary


class CustomerLoyalty(Struct):
    campaigns: dict[str, Any]
    points: int = 0
    referred_customers: int = 0


class CustomerReferrals(Struct):
    campaigns: list[Any]
    total: int = 0


class Customer(Struct, omit_defaults=True):
    """A customer as the API shows it. `async_action_id` is ours: of the bulk job that changed it last, none after a
    request."""

    id: str
    source_id: str | None
    summary: CustomerSummary
    loyalty: CustomerLoyalty
    referrals: CustomerReferrals
    metadata: dict[str, Any]
    system_metadata: dict[str, Any]
    created_at: datetime
    object: str
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    email: str | UnsetType = UNSET
    phone: str | UnsetType = UNSET
    birthdate: date | UnsetType = UNSET
    birthday: date | UnsetType = UNSET
    address: Address | UnsetType = UNSET
    updated_at: datetime | UnsetType = UNSET
    async_action_id: str | UnsetType = UNSET


class CustomerList(Struct):
    """A page of customers."""

    object: str
    data_ref: str
    customers: list[Customer]
    total: int
    has_more: bool


# ---- operations on batches ---------------------------------------------------------------------


async def resolve(conn: Conn, project: str, *, ids: Collection[str], source_ids: Collection[str]) -> list[CustomerRow]:
    """The existing customers among `ids` and `source_ids`."""
    if not ids and not source_ids:
        return []
    parameters = {"project_id": project, "ids": list(ids), "source_ids": list(source_ids)}
    rows = await (await conn.execute(SQL.customers_resolve, parameters, binary=True)).fetchall()
    # one that is named in both ways came twice
    return [_row(row) for row in {row.id: row for row in rows}.values()]


def _row(row: Any) -> CustomerRow:
    address = None if row.address is None else msgspec.json.decode(row.address, type=Address)
    # by position, because there are thousands
    values = (*row[:8], address, msgspec.json.decode(row.metadata), *row[10:])
    return CustomerRow(*values)


async def lock(conn: Conn, project: str, customers: Sequence[CustomerRow]) -> bool:
    """Lock existing customers; whether all still are as they were read."""
    versions = {customer.id: customer.version for customer in customers if customer.version is not None}
    return await lock_as_read(conn, SQL.customers_lock, project, versions)


_COPY = sql.SQL(
    "COPY customers (project_id, id, source_id, name, description, email, phone, birthdate, birthday, address,"
    " metadata, created_at, orders_total_amount, orders_total_count, orders_last_id, orders_last_amount,"
    " orders_last_date, async_action_id)"
    " FROM STDIN (FORMAT BINARY)"
)
_COPY_TYPES = ["text"] * 7 + [
    "date",
    "date",
    JSONB,
    JSONB,
    "timestamptz",
    "int8",
    "int8",
    "text",
    "int8",
    "timestamptz",
    "text",
]


async def write_clock(conn: Conn, project: str) -> datetime:
    """The first moment that writes of customers may use: behind all that customers of the project bear."""
    row = await (await conn.execute(SQL.customers_write_clock, {"project_id": project})).fetchone()
    assert row is not None
    now: datetime = row.now
    return now


async def insert(conn: Conn, project: str, customers: Sequence[tuple[CustomerRow, datetime]]) -> None:
    """Write new customers, each with its `created_at`; in the order of their source ids, as every writer does."""
    if not customers:
        return
    async with conn.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.set_types(_COPY_TYPES)
        for c, created_at in sorted(customers, key=lambda pair: pair[0].source_id or ""):
            await copy.write_row((
                project, c.id, c.source_id, c.name, c.description, c.email, c.phone, c.birthdate, c.birthday,
                None if c.address is None else jsonb(msgspec.json.encode(c.address)),
                jsonb(msgspec.json.encode(c.metadata)), created_at,
                c.orders_total_amount, c.orders_total_count, c.orders_last_id, c.orders_last_amount, c.orders_last_date,
                c.async_action_id,
            ))  # fmt: skip


async def update(conn: Conn, project: str, changes: Sequence[tuple[CustomerRow, datetime]]) -> None:
    """Write the changed values of existing customers, which must be locked; new attributes with their `updated_at`."""
    with_attributes = [change for change in changes if change[0].attributes_changed]
    if with_attributes:
        customers = [customer for customer, _ in with_attributes]
        columns: dict[str, Any] = {
            "names": [c.name for c in customers],
            "descriptions": [c.description for c in customers],
            "emails": [c.email for c in customers],
            "phones": [c.phone for c in customers],
            "birthdates": [c.birthdate for c in customers],
            "birthdays": [c.birthday for c in customers],
            "addresses": [None if c.address is None else msgspec.json.encode(c.address).decode() for c in customers],
            "metadatas": [msgspec.json.encode(c.metadata).decode() for c in customers],
        }
        parameters = {"project_id": project, **columns, **_summaries(with_attributes)}
        await conn.execute(SQL.customers_update, parameters)
    # mostly an order changes nothing but what its customer has bought: less than half of the columns
    others = [change for change in changes if not change[0].attributes_changed]
    if others:
        await conn.execute(SQL.customers_update_summaries, {"project_id": project, **_summaries(others)})


def _summaries(changes: Sequence[tuple[CustomerRow, datetime]]) -> dict[str, Any]:
    return {
        "ids": [c.id for c, _ in changes],
        "total_amounts": [c.orders_total_amount for c, _ in changes],
        "total_counts": [c.orders_total_count for c, _ in changes],
        "last_ids": [c.orders_last_id for c, _ in changes],
        "last_amounts": [c.orders_last_amount for c, _ in changes],
        "last_dates": [c.orders_last_date for c, _ in changes],
        "nows": [now for _, now in changes],
        "async_action_ids": [c.async_action_id for c, _ in changes],
    }


# ---- reads -------------------------------------------------------------------------------------


async def get_customer(conn: Conn, project: str, customer_id: str) -> Customer:
    """One customer by id or source id. Raises `NotFound`."""
    row = await (await conn.execute(SQL.customer_get, {"project_id": project, "id": customer_id})).fetchone()
    if row is None:
        raise NotFound("customer", customer_id)
    return shown(row, async_action_id=row.async_action_id)


# Those with a source id, then those without, oldest first: an index cannot tell the latter apart.
_BY_SOURCE_ID = pages.Order(
    (
        pages.Run((sql.SQL("source_id"),), among=sql.SQL("source_id IS NOT NULL")),
        pages.Run((sql.SQL("created_at"),), among=sql.SQL("source_id IS NULL")),
    )
)
# the indexes of these filters have their rows by creation
_FILTERS = frozenset({"email", "name", "city"})
ORDERS = {
    "created_at": pages.Order(pages.BY_CREATION.runs, pages.BY_CREATION.serves | _FILTERS),
    "updated_at": pages.BY_UPDATE,
    "source_id": _BY_SOURCE_ID,
}


class CustomerFilters(Struct, frozen=True):
    """Which customers a list shows: exact values and dates."""

    email: str | None
    name: str | None
    city: str | None
    dates: Dates


async def list_customers(
    conn: Conn,
    project: str,
    *,
    limit: int,
    page: int,
    order: str | None,
    filters: CustomerFilters,
    starting_after: datetime | None,
    segment_id: str | None = None,
) -> CustomerList:
    """A page of customers, newest first by default. With `starting_after`, of those behind that moment in the order.

    With `segment_id`, of its members. Needs a transaction. Raises `NotFound` for the segment.
    """
    field, descending = lists.ordering(order, tuple(ORDERS), "-created_at")
    if starting_after is not None and field == "source_id":
        raise InvalidQuery("Property .starting_after needs an order by created_at or updated_at")
    rows = pages.Rows(SQL.customers_list, {"project_id": project})
    members = None
    if segment_id is not None:
        key = {"project_id": project, "segment_id": segment_id}
        members = await (await conn.execute(SQL.customers_segment, key)).fetchone()
        if members is None:
            raise NotFound("segment", segment_id)
        rows = pages.Rows(SQL.customers_members, key)
    _narrow(rows, filters)
    beyond = None if starting_after is None else (starting_after,)
    found = await rows.page(conn, ORDERS[field], descending=descending, limit=limit, page=page, beyond=beyond)
    if rows.narrowed:
        total = await rows.count(conn)
    else:
        total = await row_totals.total(conn, project, "customers") if members is None else members.total
    customers = [shown(row, async_action_id=row.async_action_id) for row in found.rows]
    return CustomerList("list", "customers", customers, total=total, has_more=found.has_more)


def _narrow(rows: pages.Rows, filters: CustomerFilters) -> None:
    if filters.email is not None:
        rows.where("email", sql.SQL("email = %(email)s"), email=filters.email)
    # an index holds the beginnings of these
    if filters.name is not None:
        name = sql.SQL("left(name, 60) = left(%(name)s::text, 60) AND name = %(name)s")
        rows.where("name", name, name=filters.name)
    if filters.city is not None:
        city = sql.SQL("left(address ->> 'city', 60) = left(%(city)s::text, 60) AND address ->> 'city' = %(city)s")
        rows.where("city", city, city=filters.city)
    rows.dates(filters.dates)


def shown(row: Any, *, async_action_id: str | None = None) -> Customer:
    """The customer of a row of `customer_get`, `customers_list` or `customers_shown`.

    `async_action_id` is to be said, because what a request writes has none, whatever there was before.
    """
    count, total = row.orders_total_count, row.orders_total_amount
    orders = OrdersSummary(
        total_amount=total,
        total_count=count,
        average_amount=(2 * total + count) // (2 * count) if count else 0,  # rounded half up
        last_order_amount=row.orders_last_amount or 0,
        last_order_date=or_unset(row.orders_last_date),
    )
    return Customer(
        id=row.id,
        source_id=row.source_id,
        summary=CustomerSummary(RedemptionsSummary(GiftSummary(), LoyaltyCardSummary()), orders),
        loyalty=CustomerLoyalty({}),
        referrals=CustomerReferrals([]),
        metadata=row.metadata,
        system_metadata={},
        created_at=row.created_at,
        object="customer",
        name=or_unset(row.name),
        description=or_unset(row.description),
        email=or_unset(row.email),
        phone=or_unset(row.phone),
        birthdate=or_unset(row.birthdate),
        birthday=or_unset(row.birthday),
        address=or_unset(row.address),
        updated_at=or_unset(row.updated_at),
        async_action_id=or_unset(async_action_id),
    )


# ---- handlers ----------------------------------------------------------------------------------


@get(
    "/v1/customers",
    operation_id="list-customers",
    tags=["Customers"],
    dependencies={"dates": Provide(lists.dates)},
    responses=answers.NAMED_NOT_FOUND,
)
async def get_customers(
    request: Request,  # type: ignore[type-arg]
    project: str,
    dates: DatesGiven,
    limit: lists.Limit = lists.LIMIT_DEFAULT,
    page: lists.CustomersPage = 1,
    order: Annotated[
        str | None, Parameter(description="created_at, updated_at or source_id; `-` for descending.")
    ] = None,
    starting_after: Annotated[
        str | None, Parameter(description="Cursor: the `created_at` of the last one seen, or what else is sorted by.")
    ] = None,
    email: Annotated[str | None, Parameter(description="Only customers with exactly this e-mail address.")] = None,
    city: Annotated[str | None, Parameter(description="Only customers whose address has exactly this city.")] = None,
    name: Annotated[str | None, Parameter(description="Only customers with exactly this name.")] = None,
    segment_id: Annotated[str | None, Parameter(description="Only members of this segment.")] = None,
) -> CustomerList:
    """List customers, newest first."""
    lists.check_page(page, lists.CUSTOMERS_PAGE_MAX)
    after = lists.moment(starting_after, "starting_after") if starting_after else None
    filters = CustomerFilters(
        email=lists.text_of(email, "email"), name=lists.text_of(name, "name"), city=lists.text_of(city, "city"),
        dates=dates,
    )  # fmt: skip
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        return await list_customers(
            conn, project, limit=limit, page=page, order=order, filters=filters, starting_after=after,
            segment_id=lists.text_of(segment_id, "segment_id"),
        )  # fmt: skip


@get("/v1/customers/{customer_id:str}", operation_id="get-customer", tags=["Customers"])
async def get_customer_by_id(request: Request, project: str, customer_id: str) -> Customer:  # type: ignore[type-arg]
    """Get a customer by id or source id."""
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await get_customer(conn, project, customer_id)


ROUTES = [get_customers, get_customer_by_id]
