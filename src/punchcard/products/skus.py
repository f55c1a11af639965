"""What requests do to SKUs: create, change, delete. Each belongs to a product, and stays with it.

Whoever makes a SKU locks its product, so that it cannot be deleted meanwhile.
"""

import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, delete, post, put
from msgspec import Struct

from punchcard import ids
from punchcard.db import row_totals, statements
from punchcard.db.database import Conn, StaleRead, lock_as_read
from punchcard.errors import ApiError, NotFound, RecordError
from punchcard.events import events
from punchcard.events.events import Cause
from punchcard.http import idempotency, shapes
from punchcard.http.shapes import Amount, Identifier
from punchcard.products import catalogue, products, requests
from punchcard.products import events as product_events
from punchcard.products.catalogue import DuplicateSourceId, InBin, ProductRow, as_stored, metadata_text, same_metadata
from punchcard.products.products import Sku
from punchcard.products.requests import Force

SQL = statements.beside(__file__)

# what the interactive page offers to send
EXAMPLE = {
    "source_id": "mug-blue", "sku": "Blue mug", "price": 950, "currency": "EUR", "attributes": {"color": "blue"},
    "metadata": {"shelf": 7},
}  # fmt: skip
UPDATE_EXAMPLE = {"price": 990}
_SKU_ID = re.compile(r"sku_[A-Za-z0-9_]+")

# ---- types -------------------------------------------------------------------------------------


class SkuNew(Struct):
    """A SKU as a request creates it, or changes the one that has its id or source id. null means absent."""

    id: Identifier | None = None
    source_id: Identifier | None = None
    sku: str | None = None
    price: Amount | None = None
    currency: str | None = None
    attributes: dict[str, Any] | None = None
    image_url: str | None = None
    metadata: dict[str, Any] | None = None


class SkuUpdate(Struct):
    """A change of a SKU: what is absent or null stays."""

    sku: str | None = None
    price: Amount | None = None
    currency: str | None = None
    attributes: dict[str, Any] | None = None
    image_url: str | None = None
    metadata: dict[str, Any] | None = None


class WholeSku(Struct):
    """A SKU with all that is stored of it, while it is changed; `version` is none while it does not exist."""

    id: str
    source_id: str | None
    product_id: str
    sku: str | None = None
    price: int | None = None
    currency: str | None = None
    # JSON
    attributes: bytes = b"{}"
    metadata: bytes = b"{}"
    image_url: str | None = None
    version: str | None = None
    binned: bool = False


class InvalidSku(ApiError):
    """A SKU cannot be like this."""

    key = "invalid_sku"
    message = "Invalid SKU"


class ResourceInUse(ApiError):
    """A SKU belongs to another product."""

    key = "resource_in_use"
    message = "Resource in use"


class OfOtherProduct(RecordError):
    """The source id or id of a SKU is that of another product's."""

    def __init__(self, sku_id: str, product_id: str) -> None:
        super().__init__(f"Resource sku with id {sku_id} is in use by products with ids [{product_id}]")

    def refusal(self) -> ApiError:
        """The documented error."""
        return ResourceInUse(str(self))


class AttributesUnknown(RecordError):
    """A SKU has a value for an attribute that its product does not have."""

    def __init__(self, unknown: Collection[str], product_id: str) -> None:
        names = ", ".join(sorted(unknown))[:200]
        super().__init__(f"Property .attributes has what the product {product_id} does not: {names}")

    def refusal(self) -> ApiError:
        """The error that a request ends with."""
        return InvalidSku(str(self))


# ---- stored SKUs -------------------------------------------------------------------------------


async def resolve(
    conn: Conn, project: str, *, ids: Collection[str] = (), source_ids: Collection[str] = ()
) -> list[WholeSku]:
    """The existing SKUs among those named. In the bin is only what a source id names."""
    parameters = {"project_id": project, "ids": list(ids), "source_ids": list(source_ids)}
    rows = await (await conn.execute(SQL.skus_resolve_whole, parameters, binary=True)).fetchall()
    return [
        WholeSku(
            row.id, row.source_id, row.product_id, row.sku, row.price, row.currency,
            row.attributes.encode(), row.metadata.encode(), row.image_url, row.version, row.binned,
        )
        for row in {row.id: row for row in rows}.values()
    ]  # fmt: skip


async def lock(conn: Conn, project: str, skus: Sequence[WholeSku]) -> bool:
    """Lock existing SKUs; whether all still are as they were read."""
    versions = {sku.id: sku.version for sku in skus if sku.version is not None}
    return await lock_as_read(conn, catalogue.SQL.skus_lock, project, versions)


async def insert(conn: Conn, project: str, skus: Sequence[tuple[WholeSku, datetime]]) -> None:
    """Write new SKUs, each with its `created_at`, in the order of their source ids. Their products are locked."""
    if skus:
        skus = sorted(skus, key=lambda pair: pair[0].source_id or "")
        more = {
            "source_ids": [sku.source_id for sku, _ in skus],
            "product_ids": [sku.product_id for sku, _ in skus],
        }
        await conn.execute(SQL.skus_insert_whole, {"project_id": project, **_columns(skus), **more})


async def write(conn: Conn, project: str, skus: Sequence[tuple[WholeSku, datetime]]) -> None:
    """Write the values of existing SKUs, which must be locked, each with its `updated_at`."""
    if skus:
        await conn.execute(SQL.skus_update_whole, {"project_id": project, **_columns(skus)})


def _columns(skus: Sequence[tuple[WholeSku, datetime]]) -> dict[str, Any]:
    return {
        "ids": [sku.id for sku, _ in skus],
        "names": [sku.sku for sku, _ in skus],
        "prices": [sku.price for sku, _ in skus],
        "currencies": [sku.currency for sku, _ in skus],
        "attributes": [sku.attributes.decode() for sku, _ in skus],
        "metadatas": [sku.metadata.decode() for sku, _ in skus],
        "image_urls": [sku.image_url for sku, _ in skus],
        "nows": [now for _, now in skus],
    }


def check_attributes(given: Collection[str], product: ProductRow) -> None:
    """Refuse attributes that the product does not have. Raises `AttributesUnknown`."""
    unknown = set(given) - set(msgspec.json.decode(product.attributes))
    if unknown:
        raise AttributesUnknown(unknown, product.id)


def apply(row: WholeSku, given: SkuNew | SkuUpdate) -> bool:
    """Change a SKU as a request says: fields and attributes replace, metadata merges by key. Whether anything changed.

    What is null stays.
    """
    changed = False
    for name in ("sku", "price", "currency", "image_url"):
        value = getattr(given, name)
        if value is not None and value != getattr(row, name):
            setattr(row, name, value)
            changed = True
    if given.attributes is not None:
        attributes = metadata_text(given.attributes)
        if not same_metadata(attributes, row.attributes):
            row.attributes, changed = as_stored(attributes), True
    if given.metadata:
        merged = metadata_text({**msgspec.json.decode(row.metadata), **given.metadata})
        if not same_metadata(merged, row.metadata):
            row.metadata, changed = as_stored(merged), True
    return changed


# ---- operations --------------------------------------------------------------------------------


async def create(conn: Conn, project: str, product_id: str, given: SkuNew, cause: Cause) -> Sku:
    """Create a SKU of a product, or change the one that has its id or source id. Needs a transaction.

    An id that no SKU has is kept if it is well-formed. Raises `NotFound`, `RecordError`, `StaleRead` and other
    `ApiError`s.
    """
    product = await requests.stored(conn, project, product_id)
    row = await _target(conn, project, product, given)
    _check(given, product)
    if row is not None:
        return await _change(conn, project, row, lambda stored: apply(stored, given), cause)
    row = WholeSku(given.id or ids.new("sku"), given.source_id or None, product.id)
    apply(row, given)
    if not await catalogue.lock(conn, project, [product], ()):
        # changed by others meanwhile, and ours by now
        _check(given, await requests.stored(conn, project, product.id))
    await insert(conn, project, [(row, await catalogue.clock(conn, project))])
    sku = await _recorded(conn, project, product_events.CREATED, row, cause)
    await row_totals.add(conn, project, {"skus": 1}, slot=row_totals.drawn_slot())
    return sku


async def _target(conn: Conn, project: str, product: ProductRow, given: SkuNew) -> WholeSku | None:
    """The SKU that a request names, if there is one."""
    found = await resolve(
        conn, project, ids=[given.id] if given.id else [], source_ids=[given.source_id] if given.source_id else []
    )
    by_id = next((row for row in found if row.id == given.id), None)
    by_source = next((row for row in found if row.source_id == given.source_id), None) if given.source_id else None
    if by_source is not None and by_source.binned:
        raise InBin("sku", by_source.source_id or "")
    if given.id and by_source is not None and by_source is not by_id:
        raise DuplicateSourceId(
            f"Sku with source_id: '{given.source_id}' already exists: its id is {by_source.id}, not {given.id}"
        )
    if given.id and by_id is None:
        taken = await (await conn.execute(SQL.sku_id_taken, {"project_id": project, "id": given.id})).fetchone()
        if taken is not None or not _SKU_ID.fullmatch(given.id):
            raise NotFound("sku", given.id)
    row = by_id or by_source
    if row is not None and row.product_id != product.id:
        raise OfOtherProduct(row.source_id or row.id, row.product_id)
    return row


def _check(given: SkuNew | SkuUpdate, product: ProductRow) -> None:
    """There is no metadata schema of SKUs. Raises `RecordError`."""
    catalogue.check_image(given.image_url)
    if given.attributes:
        shapes.check_metadata(given.attributes, ".attributes")
        check_attributes(given.attributes, product)


async def update(conn: Conn, project: str, product_id: str, sku_id: str, given: SkuUpdate, cause: Cause) -> Sku:
    """Change a SKU of a product, both by id or source id. Needs a transaction. Raises as `create` does."""
    product = await requests.stored(conn, project, product_id)
    row = await _stored(conn, project, product.id, sku_id)
    _check(given, product)
    return await _change(conn, project, row, lambda stored: apply(stored, given), cause)


async def _stored(conn: Conn, project: str, product_id: str, sku_id: str) -> WholeSku:
    """A SKU of a product, by id or source id. Raises `NotFound`."""
    found = [
        row
        for row in await resolve(conn, project, ids=[sku_id], source_ids=[sku_id])
        if row.product_id == product_id and not row.binned
    ]
    if not found:
        raise NotFound("sku", sku_id)
    return min(found, key=lambda row: row.id != sku_id)


async def _change(conn: Conn, project: str, row: WholeSku, apply: Callable[[WholeSku], bool], cause: Cause) -> Sku:
    """Lock and write a stored SKU if `apply` changes it. Raises `StaleRead` if it is gone."""
    changed = apply(row)
    if changed and not await lock(conn, project, [row]):
        # ours by now, as a product: see requests
        found = await resolve(conn, project, ids=[row.id], source_ids=[])
        if not found:
            raise StaleRead
        [row] = found
        changed = apply(row)
    if not changed:
        return await products.get_sku(conn, project, row.id)
    await write(conn, project, [(row, await catalogue.clock(conn, project))])
    return await _recorded(conn, project, product_events.UPDATED, row, cause)


async def _recorded(conn: Conn, project: str, what: str, row: WholeSku, cause: Cause) -> Sku:
    """The SKU as it is stored now, what happened to it noted."""
    sku = await products.get_sku(conn, project, row.id)
    product = await products.find_product(conn, project, row.product_id)
    await events.record(conn, project, cause, [product_events.of_sku(what, sku, product)])
    return sku


async def remove(conn: Conn, project: str, product_id: str, sku_id: str, *, force: bool, cause: Cause) -> None:
    """Put a SKU into the bin, or with `force` delete it for good. Needs a transaction.

    Raises `NotFound`, `StaleRead`.
    """
    product = await products.find_product(conn, project, product_id)
    row = await _stored(conn, project, product.id, sku_id)
    if not await lock(conn, project, [row]):
        raise StaleRead
    sku = await products.get_sku(conn, project, row.id)
    await conn.execute(SQL.sku_delete if force else SQL.sku_bin, {"project_id": project, "id": row.id})
    await events.record(conn, project, cause, [product_events.of_sku(product_events.DELETED, sku, product)])
    await row_totals.add(conn, project, {"skus": -1}, slot=row_totals.drawn_slot())


# ---- handlers ----------------------------------------------------------------------------------

_new = msgspec.json.Decoder(SkuNew)
_change_of = msgspec.json.Decoder(SkuUpdate)


@post("/v1/products/{product_id:str}/skus", status_code=200, operation_id="create-sku", tags=["Products"])
async def post_sku(
    request: Request,  # type: ignore[type-arg]
    project: str,
    product_id: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Sku]:
    """Create a SKU of a product.

    Or change the one that has its id or source id: what is supplied replaces what was there, metadata merges by key.
    Its attributes have to be among those of the product.
    """
    cause = events.of_request(request)
    return await requests.written_once(
        request, project, idempotency_key, _new, lambda conn, given: create(conn, project, product_id, given, cause)
    )


@put("/v1/products/{product_id:str}/skus/{sku_id:str}", operation_id="update-sku", tags=["Products"])
async def put_sku(request: Request, project: str, product_id: str, sku_id: str) -> Sku:  # type: ignore[type-arg]
    """Change a SKU of a product, both by id or source id.

    What the body does not have, or has as null, stays as it is, and metadata merges
    by key.
    """
    given, cause = await requests.read(request, _change_of), events.of_request(request)
    return await requests.settled(request, lambda conn: update(conn, project, product_id, sku_id, given, cause))


@delete("/v1/products/{product_id:str}/skus/{sku_id:str}", operation_id="delete-sku", tags=["Products"])
async def delete_sku(
    request: Request,  # type: ignore[type-arg]
    project: str,
    product_id: str,
    sku_id: str,
    force: Force = "false",
) -> None:
    """Delete a SKU of a product, both by id or source id.

    In the bin it still has its source id.
    """
    cause = events.of_request(request)
    await requests.settled(
        request, lambda conn: remove(conn, project, product_id, sku_id, force=force == "true", cause=cause)
    )


ROUTES = [post_sku, put_sku, delete_sku]
