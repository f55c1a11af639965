"""Products and SKUs: types, reads, routes. What a batch does to them is in `catalogue`."""

from datetime import datetime
from typing import Any

from litestar import Request, get
from msgspec import Struct

from punchcard.db import statements
from punchcard.db.database import Conn, Database
from punchcard.errors import NotFound
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
    """The SKUs of a product."""

    object: str
    data_ref: str
    skus: list[Sku]
    total: int


class ProductSkus(Struct):
    """The SKUs inside a product."""

    object: str
    data_ref: str
    data: list[Sku]
    total: int


class Product(Struct):
    """A product as the API shows it."""

    id: str
    source_id: str | None
    name: str | None
    price: int | None
    attributes: list[str]
    metadata: dict[str, Any]
    image_url: str | None
    created_at: datetime
    updated_at: datetime | None
    skus: ProductSkus
    object: str = "product"


# ---- operations --------------------------------------------------------------------------------


async def get_product(conn: Conn, project: str, product_id: str) -> Product:
    """One product by id or source id, with its SKUs. Raises `NotFound`."""
    row = await (await conn.execute(SQL.product_get, {"project_id": project, "id": product_id})).fetchone()
    if row is None:
        raise NotFound("product", product_id)
    skus = await list_skus(conn, project, row.id)
    return Product(**row._asdict(), skus=ProductSkus("list", "data", skus, total=len(skus)))


async def get_sku(conn: Conn, project: str, sku_id: str) -> Sku:
    """One SKU by id or source id. Raises `NotFound`."""
    row = await (await conn.execute(SQL.sku_get, {"project_id": project, "id": sku_id})).fetchone()
    if row is None:
        raise NotFound("sku", sku_id)
    return Sku(**row._asdict())


async def list_skus(conn: Conn, project: str, product_id: str) -> list[Sku]:
    """The SKUs of the product with that internal id, oldest first."""
    cursor = await conn.execute(SQL.product_skus, {"project_id": project, "product_id": product_id})
    return [Sku(**row._asdict()) for row in await cursor.fetchall()]


# ---- handlers ----------------------------------------------------------------------------------


@get("/v1/products/{product_id:str}", operation_id="get-product", tags=["Products"])
async def get_product_by_id(request: Request, project: str, product_id: str) -> Product:  # type: ignore[type-arg]
    """Get a product by id or source id, with its SKUs."""
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await get_product(conn, project, product_id)


@get("/v1/products/{product_id:str}/skus", operation_id="list-skus-in-product", tags=["Products"])
async def get_product_skus(request: Request, project: str, product_id: str) -> SkuList:  # type: ignore[type-arg]
    """List the SKUs of a product."""
    database: Database = request.app.state.database
    async with database.connection() as conn:
        product = await get_product(conn, project, product_id)
    return SkuList("list", "skus", product.skus.data, total=product.skus.total)


@get("/v1/skus/{sku_id:str}", operation_id="get-sku", tags=["Products"])
async def get_sku_by_id(request: Request, project: str, sku_id: str) -> Sku:  # type: ignore[type-arg]
    """Get a SKU by id or source id."""
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await get_sku(conn, project, sku_id)


ROUTES = [get_product_by_id, get_product_skus, get_sku_by_id]
