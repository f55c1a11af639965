"""Customers: types, upserts by batch, reads, routes."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.params import Parameter
from msgspec import UNSET, Meta, Struct, UnsetType
from psycopg import sql
from psycopg.types.json import Jsonb

from punchcard.db import statements
from punchcard.db.database import Conn, Database
from punchcard.errors import InvalidQuery, NotFound
from punchcard.http import lists
from punchcard.http.shapes import Identifier, or_unset

SQL = statements.beside(__file__)

EMAIL_LENGTH_MAX = 255
_FLOATS_WITH_EXPONENT = 1e16

# ---- types -------------------------------------------------------------------------------------


class Address(Struct, omit_defaults=True):
    """A postal address."""

    city: str | None = None
    state: str | None = None
    line_1: str | None = None
    line_2: str | None = None
    country: str | None = None
    postal_code: str | None = None


class CustomerIn(Struct):
    """A customer as a request names it: by `id`, else by `source_id`, else a new one. null means absent."""

    id: Identifier | None = None
    source_id: Identifier | None = None
    name: str | None = None
    description: str | None = None
    email: Annotated[str, Meta(max_length=EMAIL_LENGTH_MAX)] | None = None
    phone: str | None = None
    birthdate: date | None = None
    birthday: date | None = None
    address: Address | None = None
    metadata: dict[str, Any] | None = None


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

    def apply(self, given: CustomerIn) -> None:
        """Write the supplied attributes: fields replace, metadata merges by key; `birthdate` wins over `birthday`."""
        changes: dict[str, Any] = {
            "name": given.name,
            "description": given.description,
            "email": given.email,
            "phone": given.phone,
            "birthdate": given.birthdate or given.birthday,
            "birthday": given.birthday,
            "address": given.address,
        }
        for field, value in changes.items():
            if value is not None and value != getattr(self, field):
                setattr(self, field, value)
                self.attributes_changed = True
        if given.metadata:
            merged = {**self.metadata, **given.metadata}
            if not same_json(merged, self.metadata):
                self.metadata = merged
                self.attributes_changed = True

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


def same_json(left: Any, right: Any) -> bool:
    """Whether two JSON values are the same: unlike in Python, `1`, `1.0` and `true` are three values."""
    if left.__class__ is not right.__class__:
        # a float this large comes back from PostgreSQL as an integer
        numbers = {left.__class__, right.__class__} == {int, float}
        return numbers and abs(left) >= _FLOATS_WITH_EXPONENT and float(left) == float(right)
    if isinstance(left, dict):
        return len(left) == len(right) and all(key in right and same_json(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    return bool(left == right)


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
    """A customer as the API shows it."""

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


class CustomerList(Struct):
    """A page of customers."""

    object: str
    data_ref: str
    customers: list[Customer]
    total: int
    has_more: bool


# ---- operations on batches ---------------------------------------------------------------------


async def resolve(conn: Conn, project: str, *, ids: set[str], source_ids: set[str]) -> list[CustomerRow]:
    """The existing customers among `ids` and `source_ids`."""
    if not ids and not source_ids:
        return []
    parameters = {"project_id": project, "ids": list(ids), "source_ids": list(source_ids)}
    rows = await (await conn.execute(SQL.customers_resolve, parameters, binary=True)).fetchall()
    by_id = {row.id: row for row in rows}  # one that is named in both ways came twice
    return [
        CustomerRow(
            **row._asdict()
            | {
                "address": msgspec.json.decode(row.address, type=Address) if row.address else None,
                "metadata": msgspec.json.decode(row.metadata),
            }
        )
        for row in by_id.values()
    ]


async def lock(conn: Conn, project: str, customers: Sequence[CustomerRow]) -> bool:
    """Lock existing customers; whether all still are as they were read."""
    versions = {customer.id: customer.version for customer in customers if customer.version is not None}
    if not versions:
        return True
    cursor = await conn.execute(SQL.customers_lock, {"project_id": project, "ids": sorted(versions)})
    return {row.id: row.version for row in await cursor.fetchall()} == versions


_COPY = sql.SQL(
    "COPY customers (project_id, id, source_id, name, description, email, phone, birthdate, birthday, address,"
    " metadata, created_at, orders_total_amount, orders_total_count, orders_last_id, orders_last_amount,"
    " orders_last_date)"
    " FROM STDIN (FORMAT BINARY)"
)
_COPY_TYPES = ["text"] * 7 + [
    "date",
    "date",
    "jsonb",
    "jsonb",
    "timestamptz",
    "int8",
    "int8",
    "text",
    "int8",
    "timestamptz",
]


async def insert(conn: Conn, project: str, customers: Sequence[tuple[CustomerRow, datetime]]) -> None:
    """Write new customers, each with its `created_at`; in the order of their source ids, as every writer does."""
    if not customers:
        return
    async with conn.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.set_types(_COPY_TYPES)
        for c, created_at in sorted(customers, key=lambda pair: pair[0].source_id or ""):
            await copy.write_row((
                project, c.id, c.source_id, c.name, c.description, c.email, c.phone, c.birthdate, c.birthday,
                None if c.address is None else Jsonb(c.address), Jsonb(c.metadata), created_at,
                c.orders_total_amount, c.orders_total_count, c.orders_last_id, c.orders_last_amount, c.orders_last_date,
            ))  # fmt: skip


async def update(conn: Conn, project: str, changes: Sequence[tuple[CustomerRow, datetime]]) -> None:
    """Write the changed values of existing customers, which must be locked, each with its `updated_at`."""
    if not changes:
        return
    customers = [customer for customer, _ in changes]
    columns: dict[str, Any] = {
        "ids": [c.id for c in customers],
        "names": [c.name for c in customers],
        "descriptions": [c.description for c in customers],
        "emails": [c.email for c in customers],
        "phones": [c.phone for c in customers],
        "birthdates": [c.birthdate for c in customers],
        "birthdays": [c.birthday for c in customers],
        "addresses": [None if c.address is None else msgspec.json.encode(c.address).decode() for c in customers],
        "metadatas": [msgspec.json.encode(c.metadata).decode() for c in customers],
        "total_amounts": [c.orders_total_amount for c in customers],
        "total_counts": [c.orders_total_count for c in customers],
        "last_ids": [c.orders_last_id for c in customers],
        "last_amounts": [c.orders_last_amount for c in customers],
        "last_dates": [c.orders_last_date for c in customers],
        "attributes_changed": [c.attributes_changed for c in customers],
        "nows": [now for _, now in changes],
    }
    await conn.execute(SQL.customers_update, {"project_id": project, **columns})


# ---- reads -------------------------------------------------------------------------------------


async def get_customer(conn: Conn, project: str, customer_id: str) -> Customer:
    """One customer by id or source id. Raises `NotFound`."""
    row = await (await conn.execute(SQL.customer_get, {"project_id": project, "id": customer_id})).fetchone()
    if row is None:
        raise NotFound("customer", customer_id)
    return _customer(row)


_SELECT = sql.SQL(
    "SELECT id, source_id, name, description, email, phone, birthdate, birthday, address, metadata, created_at,"
    " updated_at, orders_total_amount, orders_total_count, orders_last_amount, orders_last_date FROM customers"
)
ORDER_COLUMNS = ("created_at", "updated_at", "source_id")


async def list_customers(
    conn: Conn, project: str, *, limit: int, page: int, order: str | None, starting_after: datetime | None
) -> CustomerList:
    """A page of customers, newest first by default. With `starting_after`, those beyond that moment in the order."""
    column, descending = lists.ordering(order, ORDER_COLUMNS, "-created_at")
    if starting_after is not None and column == "source_id":
        raise InvalidQuery("Property .starting_after needs an order by created_at or updated_at")
    name, direction = lists.sort_key(column), sql.SQL("DESC" if descending else "ASC")
    beyond: sql.Composable = sql.SQL("")
    if starting_after is not None:
        beyond = sql.SQL(" AND {} {} {}").format(name, sql.SQL("<" if descending else ">"), sql.Literal(starting_after))
    query = sql.SQL("{} WHERE project_id = {}{} ORDER BY {} {}, id {} LIMIT {} OFFSET {}").format(
        _SELECT, project, beyond, name, direction, direction, limit + 1, (page - 1) * limit
    )
    rows = await (await conn.execute(query)).fetchall()
    total = await (await conn.execute(SQL.customers_count, {"project_id": project})).fetchone()
    assert total is not None
    found = [_customer(row) for row in rows[:limit]]
    return CustomerList("list", "customers", found, total=total.total, has_more=len(rows) > limit)


def _customer(row: Any) -> Customer:
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
    )


# ---- handlers ----------------------------------------------------------------------------------


@get("/v1/customers", operation_id="list-customers", tags=["Customers"])
async def get_customers(
    request: Request,  # type: ignore[type-arg]
    project: str,
    limit: lists.Limit = lists.LIMIT_DEFAULT,
    page: lists.Page99 = 1,
    order: Annotated[
        str | None, Parameter(description="created_at, updated_at or source_id; `-` for descending.")
    ] = None,
    starting_after: Annotated[
        str | None, Parameter(description="Date-time cursor: the date of the last one seen.")
    ] = None,
) -> CustomerList:
    """List customers, newest first."""
    after = lists.moment(starting_after, "starting_after") if starting_after else None
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await list_customers(conn, project, limit=limit, page=page, order=order, starting_after=after)


@get("/v1/customers/{customer_id:str}", operation_id="get-customer", tags=["Customers"])
async def get_customer_by_id(request: Request, project: str, customer_id: str) -> Customer:  # type: ignore[type-arg]
    """Get a customer by id or source id."""
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await get_customer(conn, project, customer_id)


ROUTES = [get_customers, get_customer_by_id]
