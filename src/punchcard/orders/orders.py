"""Orders: types, reads, routes. The import is in `imports`, what a batch does to stored orders in `planning`."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from litestar import Request, get
from litestar.di import Provide
from litestar.params import Parameter
from msgspec import UNSET, Meta, Struct, UnsetType

from punchcard.customers.customers import CustomerIn
from punchcard.db import row_totals, statements
from punchcard.db.database import Conn, Database
from punchcard.errors import NotFound
from punchcard.http import lists, pages
from punchcard.http.lists import Dates, DatesGiven
from punchcard.http.shapes import AMOUNT_MAX, Amount, Identifier, or_unset
from punchcard.products.products import ProductIn, SkuIn

SQL = statements.beside(__file__)

ITEMS_MAX = 500
Status = Literal["CREATED", "PAID", "CANCELED", "FULFILLED"]
# what counts as revenue in a customer's summary
REVENUE = frozenset({"PAID", "FULFILLED"})

# ---- types -------------------------------------------------------------------------------------


class ItemIn(Struct):
    """An order item as a request sends it; null means absent."""

    sku_id: Identifier | None = None
    product_id: Identifier | None = None
    related_object: Literal["product", "sku"] | None = None
    source_id: Identifier | None = None
    quantity: Amount | None = None
    discount_quantity: Amount | None = None
    initial_quantity: Annotated[int, Meta(ge=1, le=AMOUNT_MAX)] | None = None
    amount: Amount | None = None
    discount_amount: Amount | None = None
    initial_amount: Amount | None = None
    price: Amount | None = None
    product: ProductIn | None = None
    sku: SkuIn | None = None
    metadata: dict[str, Any] | None = None


class OrderIn(Struct):
    """An order as a request sends it; nothing is required, null means absent."""

    id: Identifier | None = None
    source_id: Identifier | None = None
    status: Status | None = None
    amount: Amount | None = None
    initial_amount: Amount | None = None
    discount_amount: Amount | None = None
    items: Annotated[list[ItemIn], Meta(max_length=ITEMS_MAX)] | None = None
    metadata: dict[str, Any] | None = None
    customer: CustomerIn | None = None
    referrer: CustomerIn | None = None
    referrer_id: Identifier | None = None
    # whether a null takes away a key of the metadata
    clears: ClassVar[bool] = False


class OrderNew(OrderIn):
    """An order as it is sent to be created, or changed if it is there. `created_at` holds for a new one."""

    created_at: str | None = None


class OrderUpdate(OrderIn):
    """What is to change of an order. What is not sent, or null, stays; null takes away a key of the metadata."""

    clears: ClassVar[bool] = True


class ProductEcho(Struct, omit_defaults=True):
    """What is known of an item's product: the stored record, overlaid by the request."""

    id: str | None = None
    source_id: str | None = None
    name: str | None = None
    metadata: dict[str, Any] | None = None
    price: int | None = None


class SkuEcho(Struct, omit_defaults=True):
    """What is known of an item's SKU: the stored record, overlaid by the request."""

    id: str | None = None
    source_id: str | None = None
    sku: str | None = None
    metadata: dict[str, Any] | None = None
    price: int | None = None


class Item(Struct, omit_defaults=True):
    """An order item as the API shows it, and as it is stored."""

    object: str
    source_id: str | None = None
    related_object: str | None = None
    product_id: str | None = None
    sku_id: str | None = None
    quantity: int | None = None
    initial_quantity: int | None = None
    discount_quantity: int | None = None
    amount: int | None = None
    initial_amount: int | None = None
    discount_amount: int | None = None
    price: int | None = None
    subtotal_amount: int | None = None
    product: ProductEcho | None = None
    sku: SkuEcho | None = None
    metadata: dict[str, Any] | None = None


class CustomerReference(Struct):
    """A customer or referrer inside an order."""

    id: str
    object: str = "customer"


class Order(Struct, omit_defaults=True):
    """An order as the API shows it. Ours are `ordered_at`, when it was placed, from its metadata, and
    `async_action_id`, of the bulk job that changed it last, none after a request."""

    id: str
    source_id: str | None
    created_at: datetime
    updated_at: datetime | None
    status: Status
    amount: int
    initial_amount: int
    total_amount: int
    items: list[Item]
    metadata: dict[str, Any]
    customer_id: str | None
    referrer_id: str | None
    object: str
    discount_amount: int | UnsetType = UNSET
    items_discount_amount: int | UnsetType = UNSET
    total_discount_amount: int | UnsetType = UNSET
    ordered_at: datetime | UnsetType = UNSET
    async_action_id: str | UnsetType = UNSET
    customer: CustomerReference | UnsetType = UNSET
    referrer: CustomerReference | UnsetType = UNSET


class OrderList(Struct):
    """A page of orders."""

    object: str
    data_ref: str
    orders: list[Order]
    total: int
    has_more: bool


# ---- operations --------------------------------------------------------------------------------


async def get_order(conn: Conn, project: str, order_id: str) -> Order:
    """One order by id or source id. Raises `NotFound`."""
    row = await (await conn.execute(SQL.order_get, {"project_id": project, "id": order_id})).fetchone()
    if row is None:
        raise NotFound("order", order_id)
    return shown(row, async_action_id=row.async_action_id)


ORDERS = {"created_at": pages.BY_CREATION, "updated_at": pages.BY_UPDATE, "ordered_at": pages.BY_PLACING}


async def list_orders(
    conn: Conn, project: str, *, limit: int, page: int, order: str | None, dates: Dates, starting_after_id: str | None
) -> OrderList:
    """A page of orders, oldest first by default. Raises `CursorUnknown`. Needs a transaction."""
    field, descending = lists.ordering(order, tuple(ORDERS), "created_at")
    rows = pages.Rows(SQL.orders_list, {"project_id": project})
    beyond = None
    if starting_after_id is not None:
        beyond = await rows.place(conn, ORDERS[field], starting_after_id)
        if beyond is None:
            raise lists.CursorUnknown(f"Property .starting_after_id: cannot find order with id {starting_after_id}")
    rows.dates(dates)
    found = await rows.page(conn, ORDERS[field], descending=descending, limit=limit, page=page, beyond=beyond)
    total = await rows.count(conn) if rows.narrowed else await row_totals.total(conn, project, "orders")
    shown_ones = [shown(row, async_action_id=row.async_action_id) for row in found.rows]
    return OrderList("list", "orders", shown_ones, total=total, has_more=found.has_more)


_NO_ITEMS: Any = msgspec.Raw(b"[]")


def _items(stored: Any) -> Any:
    """Items as they are served: JSON that nobody decodes."""
    return msgspec.Raw(stored) if isinstance(stored, bytes) else stored or _NO_ITEMS


def shown(row: Any, *, items: Any = None, async_action_id: str | None = None) -> Order:
    """The order of a row of `order_get` or `orders_list`; `items` in JSON, where the row has none.

    `async_action_id` is to be said, because what a request writes has none, whatever there was before.
    """
    discounts = [value for value in (row.discount_amount, row.items_discount_amount) if value is not None]
    return Order(
        id=row.id,
        source_id=row.source_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        status=row.status,
        amount=row.amount,
        initial_amount=row.amount if row.initial_amount is None else row.initial_amount,
        total_amount=row.total_amount,
        items=_items(items or row.items),
        metadata=row.metadata,
        customer_id=row.customer_id,
        referrer_id=row.referrer_id,
        object="order",
        discount_amount=or_unset(row.discount_amount),
        items_discount_amount=or_unset(row.items_discount_amount),
        total_discount_amount=sum(discounts) if discounts else UNSET,
        ordered_at=or_unset(row.ordered_at),
        async_action_id=or_unset(async_action_id),
        customer=CustomerReference(row.customer_id) if row.customer_id else UNSET,
        referrer=CustomerReference(row.referrer_id) if row.referrer_id else UNSET,
    )


# ---- handlers ----------------------------------------------------------------------------------


@get("/v1/orders", operation_id="list-orders", tags=["Orders"], dependencies={"dates": Provide(lists.order_dates)})
async def get_orders(
    request: Request,  # type: ignore[type-arg]
    project: str,
    dates: DatesGiven,
    limit: lists.Limit = lists.LIMIT_DEFAULT,
    page: lists.Page = 1,
    order: Annotated[
        str | None, Parameter(description="created_at, updated_at or ordered_at; `-` for descending.")
    ] = None,
    starting_after_id: Annotated[
        str | None, Parameter(description="Cursor: the id of the last one seen. Works with every order.")
    ] = None,
) -> OrderList:
    """List orders, oldest first."""
    lists.check_page(page, lists.PAGE_MAX)
    after = lists.text_of(starting_after_id, "starting_after_id")
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        return await list_orders(
            conn, project, limit=limit, page=page, order=order, dates=dates, starting_after_id=after
        )


@get("/v1/orders/{order_id:str}", operation_id="get-order", tags=["Orders"])
async def get_order_by_id(request: Request, project: str, order_id: str) -> Order:  # type: ignore[type-arg]
    """Get an order by id or source id."""
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await get_order(conn, project, order_id)


ROUTES = [get_orders, get_order_by_id]
