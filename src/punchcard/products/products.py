"""Products and SKUs: types, reads, routes. What a batch does to them is in `catalogue`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import Request, get
from litestar.di import NamedDependency, Provide
from litestar.params import Parameter
from msgspec import Struct

from punchcard.db import row_totals, statements
from punchcard.db.database import Conn, Database
from punchcard.errors import NotFound
from punchcard.http import lists, pages
from punchcard.http.lists import DateCondition, Dates, DatesGiven
from punchcard.http.shapes import Amount, Identifier

SQL = statements.beside(__file__)


class ProductIn(Struct):
    """A product inside an order item. With `override` it is written to the catalogue."""

    id: Identifier | None = None
    source_id: Identifier | None = None
    override: bool | None = None
    name: str | None = None
    price: Amount | None = None
    metadata: dict[str, Any] | None = None


class SkuIn(Struct):
    """A SKU inside an order item. With `override` it is written to the catalogue."""

    id: Identifier | None = None
    source_id: Identifier | None = None
    override: bool | None = None
    sku: str | None = None
    price: Amount | None = None
    metadata: dict[str, Any] | None = None


class Sku(Struct):
    """A SKU as the API shows it."""

    id: str
    source_id: str | None
    product_id: str
    sku: str | None
    price: int | None
    currency: str | None
    attributes: dict[str, Any]
    metadata: dict[str, Any]
    image_url: str | None
    created_at: datetime
    updated_at: datetime | None
    object: str = "sku"


class SkuList(Struct):
    """A page of the SKUs of a product."""

    object: str
    data_ref: str
    skus: list[Sku]
    total: int
    has_more: bool


class ProductSkus(Struct):
    """All SKUs of a product, inside it."""

    object: str
    data_ref: str
    data: list[Sku]
    total: int


class ProductWithoutSkus(Struct):
    """A product as the API shows it where it was written."""

    id: str
    source_id: str | None
    name: str | None
    price: int | None
    attributes: list[str]
    metadata: dict[str, Any]
    image_url: str | None
    created_at: datetime
    updated_at: datetime | None
    object: str = "product"


class Product(ProductWithoutSkus, kw_only=True):
    """A product as the API shows it."""

    skus: ProductSkus


class ProductList(Struct):
    """A page of products, each with its SKUs."""

    object: str
    data_ref: str
    products: list[Product]
    total: int
    has_more: bool


# ---- operations --------------------------------------------------------------------------------


async def find_product(conn: Conn, project: str, product_id: str) -> ProductWithoutSkus:
    """One product by id or source id. Raises `NotFound`."""
    row = await (await conn.execute(SQL.product_get, {"project_id": project, "id": product_id})).fetchone()
    if row is None:
        raise NotFound("product", product_id)
    return ProductWithoutSkus(**row._asdict())


async def get_product(conn: Conn, project: str, product_id: str) -> Product:
    """One product by id or source id, with its SKUs. Raises `NotFound`."""
    product = await find_product(conn, project, product_id)
    (skus,) = (await _skus_of(conn, project, [product.id])).values()
    return Product(**msgspec.structs.asdict(product), skus=skus)


async def get_sku(conn: Conn, project: str, sku_id: str) -> Sku:
    """One SKU by id or source id. Raises `NotFound`."""
    row = await (await conn.execute(SQL.sku_get, {"project_id": project, "id": sku_id})).fetchone()
    if row is None:
        raise NotFound("sku", sku_id)
    return Sku(**row._asdict())


async def _skus_of(conn: Conn, project: str, product_ids: Sequence[str]) -> dict[str, ProductSkus]:
    """The SKUs of some products, oldest first, by the product's id."""
    parameters = {"project_id": project, "product_ids": list(product_ids)}
    skus: dict[str, list[Sku]] = {product_id: [] for product_id in product_ids}
    for row in await (await conn.execute(SQL.skus_of_products, parameters)).fetchall():
        skus[row.product_id].append(Sku(**row._asdict()))
    return {product_id: ProductSkus("list", "data", found, len(found)) for product_id, found in skus.items()}


class Listed(Struct, frozen=True):
    """Which page of products or SKUs is wanted. The range of creation has both ends in it."""

    limit: int
    page: int
    order: str | None
    created: tuple[DateCondition, ...]
    dates: Dates


# Products and SKUs share this parameter with resources that have these fields. They have none, so all are alike in
# them, and what decides is when they were created.
_FIELDS_OF_OTHERS = ("type", "code", "campaign", "category")
ORDERS = {
    "created_at": pages.BY_CREATION,
    "updated_at": pages.BY_UPDATE,
    **dict.fromkeys(_FIELDS_OF_OTHERS, pages.BY_CREATION),
}


async def list_products(conn: Conn, project: str, listed: Listed) -> ProductList:
    """A page of products, oldest first by default. Needs a transaction."""
    rows = pages.Rows(SQL.products_list, {"project_id": project})
    found = await _page(conn, rows, listed)
    total = await rows.count(conn) if rows.narrowed else await row_totals.total(conn, project, "products")
    skus = await _skus_of(conn, project, [row.id for row in found.rows])
    products = [Product(**row._asdict(), skus=skus[row.id]) for row in found.rows]
    return ProductList("list", "products", products, total=total, has_more=found.has_more)


async def list_skus(conn: Conn, project: str, product_id: str, listed: Listed) -> SkuList:
    """A page of the SKUs of a product, by its id or source id, oldest first by default. Needs a transaction.

    Raises `NotFound`.
    """
    product = await find_product(conn, project, product_id)
    rows = pages.Rows(SQL.skus_list, {"project_id": project, "product_id": product.id})
    found = await _page(conn, rows, listed)
    skus = [Sku(**row._asdict()) for row in found.rows]
    return SkuList("list", "skus", skus, total=await rows.count(conn), has_more=found.has_more)


async def _page(conn: Conn, rows: pages.Rows, listed: Listed) -> pages.Page:
    field, descending = lists.ordering(listed.order, tuple(ORDERS), "created_at")
    rows.dates(Dates(listed.created))
    rows.dates(listed.dates)
    return await rows.page(conn, ORDERS[field], descending=descending, limit=listed.limit, page=listed.page)


# ---- handlers ----------------------------------------------------------------------------------


async def listed_of(
    dates: DatesGiven,
    limit: lists.Limit = lists.LIMIT_DEFAULT,
    page: lists.Page = 1,
    order: Annotated[str | None, Parameter(description="created_at or updated_at; `-` for descending.")] = None,
    start_date: lists.StartDate = None,
    end_date: lists.EndDate = None,
) -> Listed:
    """A handler's `listed`: the parameters that products and SKUs share."""
    lists.check_page(page, lists.PAGE_MAX)
    created = []
    if start_date:
        created.append(DateCondition("created_at", ">=", lists.moment(start_date, "start_date")))
    if end_date:
        created.append(DateCondition("created_at", "<=", lists.moment(end_date, "end_date")))
    return Listed(limit=limit, page=page, order=order, created=tuple(created), dates=dates)


ListedGiven: TypeAlias = NamedDependency[Listed]


@get(
    "/v1/products", operation_id="list-products", tags=["Products"],
    dependencies={"dates": Provide(lists.dates), "listed": Provide(listed_of)},
)  # fmt: skip
async def get_products(
    request: Request,  # type: ignore[type-arg]
    project: str,
    listed: ListedGiven,
) -> ProductList:
    """List products with their SKUs, oldest first."""
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        return await list_products(conn, project, listed)


@get("/v1/products/{product_id:str}", operation_id="get-product", tags=["Products"])
async def get_product_by_id(request: Request, project: str, product_id: str) -> Product:  # type: ignore[type-arg]
    """Get a product by id or source id, with its SKUs."""
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await get_product(conn, project, product_id)


@get(
    "/v1/products/{product_id:str}/skus", operation_id="list-skus-in-product", tags=["Products"],
    dependencies={"dates": Provide(lists.dates), "listed": Provide(listed_of)},
)  # fmt: skip
async def get_product_skus(
    request: Request,  # type: ignore[type-arg]
    project: str,
    product_id: str,
    listed: ListedGiven,
) -> SkuList:
    """List the SKUs of a product, oldest first."""
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        return await list_skus(conn, project, product_id, listed)


@get("/v1/skus/{sku_id:str}", operation_id="get-sku", tags=["Products"])
async def get_sku_by_id(request: Request, project: str, sku_id: str) -> Sku:  # type: ignore[type-arg]
    """Get a SKU by id or source id."""
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await get_sku(conn, project, sku_id)


ROUTES = [get_products, get_product_by_id, get_product_skus, get_sku_by_id]
