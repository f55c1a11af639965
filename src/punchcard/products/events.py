"""The events of products and SKUs. They are Punchcard's own, and no webhook has them."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec import Struct

from punchcard.db import statements
from punchcard.db.database import Conn
from punchcard.events.events import Event
from punchcard.products.products import ProductWithoutSkus, Sku

SQL = statements.beside(__file__)

ShownT = TypeVar("ShownT", ProductWithoutSkus, Sku)

CREATED, UPDATED, DELETED = "created", "updated", "deleted"


class ProductPayload(Struct):
    """The payload of `product.created`, `product.updated` and `product.deleted`."""

    product: ProductWithoutSkus


class SkuPayload(Struct):
    """The payload of `sku.created`, `sku.updated` and `sku.deleted`."""

    sku: Sku
    product: ProductWithoutSkus


def of_product(what: str, product: ProductWithoutSkus) -> Event:
    """An event of a product."""
    return Event(f"product.{what}", product.id, ProductPayload(product))


def of_sku(what: str, sku: Sku, product: ProductWithoutSkus) -> Event:
    """An event of a SKU."""
    return Event(f"sku.{what}", sku.id, SkuPayload(sku, product))


async def of_upserts(conn: Conn, project: str, *, products: Mapping[str, str], skus: Mapping[str, str]) -> list[Event]:
    """The events of products and SKUs that were written in this transaction, as they are stored now.

    By their ids: what became of them.
    """
    if not products and not skus:
        return []
    of_skus = await _shown(conn, SQL.skus_shown, project, skus, Sku)
    parents = {sku.product_id for sku in of_skus}
    found = await _shown(conn, SQL.products_shown, project, [*products, *parents - set(products)], ProductWithoutSkus)
    by_id = {product.id: product for product in found}
    return [of_product(what, by_id[product_id]) for product_id, what in products.items()] + [
        of_sku(skus[sku.id], sku, by_id[sku.product_id]) for sku in of_skus
    ]


async def _shown(conn: Conn, statement: bytes, project: str, ids: Iterable[str], kind: type[ShownT]) -> list[ShownT]:
    wanted = list(ids)
    if not wanted:
        return []
    rows = await (await conn.execute(statement, {"project_id": project, "ids": wanted})).fetchall()
    return [kind(**row._asdict()) for row in rows]
