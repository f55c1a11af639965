"""The catalogue while a batch changes it: products and SKUs by id and by source id, read and written set-wise."""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Raw, Struct, UnsetType
from psycopg import sql

from punchcard.db import statements
from punchcard.db.database import JSONB, Conn, jsonb, lock_as_read
from punchcard.errors import ApiError, RecordError
from punchcard.http.shapes import same_json
from punchcard.metadata_schemas.validation import IMAGE_REQUIREMENT, is_image_url

SQL = statements.beside(__file__.replace("catalogue.py", "products.py"))


class ProductRow(Struct):
    """A product while a batch changes it; `version` is none while the row does not exist yet."""

    id: str
    source_id: str | None = None
    name: str | None = None
    price: int | None = None
    # as `metadata_text` writes it
    metadata: bytes = b"{}"
    # an array of texts in JSON, however it is written
    attributes: str = "[]"
    image_url: str | None = None
    version: str | None = None
    # it answers nobody, and its source id is taken
    binned: bool = False
    changed: bool = False
    # what items show of it; none until one does
    echo: Raw | None = None


class SkuRow(Struct):
    """A SKU while a batch changes it. `name` is what the API calls `sku`."""

    id: str
    source_id: str | None = None
    product_id: str = ""
    name: str | None = None
    price: int | None = None
    # as `metadata_text` writes it
    metadata: bytes = b"{}"
    version: str | None = None
    # as of a product
    binned: bool = False
    changed: bool = False
    # what items show of it; none until one does
    echo: Raw | None = None


class DuplicateSourceId(ApiError):
    """A source id is taken by another object."""

    key = "duplicate_source_id"
    message = "Duplicate source_id"


class InBin(RecordError):
    """A source id is that of a product or SKU in the bin."""

    def __init__(self, noun: str, source_id: str) -> None:
        super().__init__(f"{noun.capitalize()} with source_id: '{source_id}' already exists: it is in the bin")

    def refusal(self) -> ApiError:
        """The documented error."""
        return DuplicateSourceId(str(self))


def metadata_text(metadata: dict[str, Any]) -> bytes:
    """Metadata as JSON with its keys in order: the same text before it is stored and when it is read again."""
    return msgspec.json.encode(metadata, order="deterministic")


# numbers that PostgreSQL writes otherwise than we do: with an exponent, and the negative zero
_REWRITTEN = re.compile(rb"\de|-0\.0")


def as_stored(text: bytes) -> bytes:
    """A text of `metadata_text` as it is read again once it has been stored: items show it before and after."""
    if not _REWRITTEN.search(text):
        return text
    return metadata_text(_rewritten(msgspec.json.decode(text)))


def _rewritten(value: Any) -> Any:
    if isinstance(value, float):
        return msgspec.json.decode(format(Decimal(repr(value)) + 0, "f"))
    if isinstance(value, list):
        return [_rewritten(element) for element in value]
    if isinstance(value, dict):
        return {key: _rewritten(part) for key, part in value.items()}
    return value


def same_metadata(left: bytes, right: bytes) -> bool:
    """Whether two texts of `metadata_text` say the same; PostgreSQL writes some numbers in another way."""
    return left == right or same_json(msgspec.json.decode(left), msgspec.json.decode(right))


def check_image(image_url: str | UnsetType | None, path: str = ".image_url") -> None:
    """Refuse the address of a picture that is none. An empty one is as good as none. Raises `RecordError`."""
    if image_url and not is_image_url(image_url):
        raise RecordError(f"Property {path} {IMAGE_REQUIREMENT}")


def apply(row: ProductRow, given: Any) -> bool:
    """Change a product as a request says: fields replace, metadata merges by key. Whether anything changed.

    What is null stays.
    """
    changed = False
    if given.name is not None and given.name != row.name:
        row.name, changed = given.name, True
    if given.price is not None and given.price != row.price:
        row.price, changed = given.price, True
    if given.image_url is not None and given.image_url != row.image_url:
        row.image_url, changed = given.image_url, True
    if given.attributes is not None and given.attributes != msgspec.json.decode(row.attributes):
        row.attributes, changed = msgspec.json.encode(given.attributes).decode(), True
    if given.metadata:
        merged = metadata_text({**msgspec.json.decode(row.metadata), **given.metadata})
        if not same_metadata(merged, row.metadata):
            row.metadata, changed = as_stored(merged), True
    return changed


class References(Struct):
    """The ids and source ids of products and SKUs that a batch names."""

    product_ids: set[str] = msgspec.field(default_factory=set)
    product_source_ids: set[str] = msgspec.field(default_factory=set)
    sku_ids: set[str] = msgspec.field(default_factory=set)
    sku_source_ids: set[str] = msgspec.field(default_factory=set)


async def resolve_skus(conn: Conn, project: str, named: References) -> list[SkuRow]:
    """The existing SKUs among those named. In the bin is only what a source id names."""
    if not named.sku_ids and not named.sku_source_ids:
        return []
    parameters = {"project_id": project, "ids": list(named.sku_ids), "source_ids": list(named.sku_source_ids)}
    rows = await (await conn.execute(SQL.skus_resolve, parameters, binary=True)).fetchall()
    return [
        SkuRow(
            row.id, row.source_id, row.product_id, row.sku, row.price, _text_of(row.metadata), row.version, row.binned
        )
        for row in {row.id: row for row in rows}.values()
    ]


async def resolve_products(conn: Conn, project: str, named: References, skus: Sequence[SkuRow]) -> list[ProductRow]:
    """The existing products among those named, and the parents of `skus`. In the bin is only what a source id names."""
    product_ids = named.product_ids | {sku.product_id for sku in skus}
    if not product_ids and not named.product_source_ids:
        return []
    parameters = {"project_id": project, "ids": list(product_ids), "source_ids": list(named.product_source_ids)}
    rows = await (await conn.execute(SQL.products_resolve, parameters, binary=True)).fetchall()
    return [_product(row) for row in {row.id: row for row in rows}.values()]


def _product(row: Any) -> ProductRow:
    # by position, because there can be thousands
    values = (*row[:4], _text_of(row.metadata), *row[5:])
    return ProductRow(*values)


def _text_of(stored: str) -> bytes:
    return b"{}" if stored == "{}" else metadata_text(msgspec.json.decode(stored))


async def clock(conn: Conn, project: str) -> datetime:
    """The first moment that writes of products or SKUs may use: lists are walked by these dates."""
    row = await (await conn.execute(SQL.catalogue_clock, {"project_id": project})).fetchone()
    assert row is not None
    now: datetime = row.now
    return now


async def lock(conn: Conn, project: str, products: Sequence[ProductRow], skus: Sequence[SkuRow]) -> bool:
    """Lock existing products, then SKUs; whether all still are as they were read."""
    as_read = True
    tables: tuple[tuple[bytes, Sequence[ProductRow | SkuRow]], ...]
    tables = ((SQL.products_lock, products), (SQL.skus_lock, skus))
    for statement, rows in tables:
        versions = {row.id: row.version for row in rows if row.version is not None}
        as_read &= await lock_as_read(conn, statement, project, versions)
    return as_read


_COPY_PRODUCTS = sql.SQL(
    "COPY products (project_id, id, source_id, name, price, metadata, attributes, image_url, created_at)"
    " FROM STDIN (FORMAT BINARY)"
)
_COPY_SKUS = sql.SQL(
    "COPY skus (project_id, id, source_id, product_id, sku, price, metadata, created_at) FROM STDIN (FORMAT BINARY)"
)


async def insert_products(conn: Conn, project: str, products: Sequence[tuple[ProductRow, datetime]]) -> None:
    """Write new products, each with its `created_at`, in the order of their source ids."""
    if products:
        async with conn.cursor() as cursor, cursor.copy(_COPY_PRODUCTS) as copy:
            copy.set_types(["text", "text", "text", "text", "int8", JSONB, JSONB, "text", "timestamptz"])
            for p, created_at in sorted(products, key=lambda pair: pair[0].source_id or ""):
                await copy.write_row((
                    project, p.id, p.source_id, p.name, p.price, jsonb(p.metadata), jsonb(p.attributes.encode()),
                    p.image_url, created_at,
                ))  # fmt: skip


async def insert_skus(conn: Conn, project: str, skus: Sequence[tuple[SkuRow, datetime]]) -> None:
    """Write new SKUs, each with its `created_at`, in the order of their source ids."""
    if skus:
        async with conn.cursor() as cursor, cursor.copy(_COPY_SKUS) as copy:
            copy.set_types(["text", "text", "text", "text", "text", "int8", JSONB, "timestamptz"])
            for s, created_at in sorted(skus, key=lambda pair: pair[0].source_id or ""):
                row = (project, s.id, s.source_id, s.product_id, s.name, s.price, jsonb(s.metadata), created_at)
                await copy.write_row(row)


async def update(
    conn: Conn,
    project: str,
    products: Sequence[tuple[ProductRow, datetime]],
    skus: Sequence[tuple[SkuRow, datetime]],
) -> None:
    """Write the changed values of existing products and SKUs, which must be locked, each with its `updated_at`."""
    if products:
        more = {
            "attributes": [product.attributes for product, _ in products],
            "image_urls": [product.image_url for product, _ in products],
        }
        await conn.execute(SQL.products_update, {"project_id": project, **_columns(products), **more})
    if skus:
        await conn.execute(SQL.skus_update, {"project_id": project, **_columns(skus)})


def _columns(rows: Sequence[tuple[ProductRow | SkuRow, datetime]]) -> dict[str, Any]:
    return {
        "ids": [row.id for row, _ in rows],
        "names": [row.name for row, _ in rows],
        "prices": [row.price for row, _ in rows],
        "metadatas": [row.metadata.decode() for row, _ in rows],
        "nows": [now for _, now in rows],
    }
