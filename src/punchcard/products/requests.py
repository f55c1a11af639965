"""What requests do to products: create, change, delete. Their SKUs are in `skus`.

A product is read, changed in memory, locked as it was read, and written with its event in one transaction. Whoever was
overtaken begins again: `Database.settle`.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response, delete, post, put
from litestar.params import Parameter
from msgspec import Struct

from punchcard import ids
from punchcard.bulk.async_actions import Flag
from punchcard.db import row_totals, statements
from punchcard.db.database import Conn, Database, StaleRead
from punchcard.errors import NotFound
from punchcard.events import events
from punchcard.events.events import Cause
from punchcard.http import answers, idempotency, objects, shapes
from punchcard.http.bodies import BodyBudget
from punchcard.http.shapes import Amount, Identifier
from punchcard.metadata_schemas import metadata_schemas
from punchcard.products import catalogue, products
from punchcard.products import events as product_events
from punchcard.products.catalogue import DuplicateSourceId, InBin, ProductRow, References
from punchcard.products.products import ProductWithoutSkus, Sku

SQL = statements.beside(__file__)

# what the interactive page offers to send
EXAMPLE = {
    "source_id": "mug", "name": "Mug", "price": 900, "attributes": ["color"], "metadata": {"vendor": "Acme"},
    "image_url": "https://shop.example/mug.png",
}  # fmt: skip
UPDATE_EXAMPLE = {"price": 950}
_PRODUCT_ID = re.compile(r"prod_[A-Za-z0-9_]+")

# ---- types -------------------------------------------------------------------------------------


class ProductNew(Struct):
    """A product as a request creates it, or changes the one that has its id or source id. null means absent."""

    id: Identifier | None = None
    source_id: Identifier | None = None
    name: str | None = None
    price: Amount | None = None
    attributes: list[str] | None = None
    image_url: str | None = None
    metadata: dict[str, Any] | None = None


class ProductUpdate(Struct):
    """A change of a product: what is absent or null stays."""

    name: str | None = None
    price: Amount | None = None
    attributes: list[str] | None = None
    image_url: str | None = None
    metadata: dict[str, Any] | None = None


# ---- operations --------------------------------------------------------------------------------


async def create(conn: Conn, project: str, given: ProductNew, cause: Cause) -> ProductWithoutSkus:
    """Create a product, or change the one that has its id or source id. Needs a transaction.

    An id that no product has is kept if it is well-formed. Raises `NotFound`, `DuplicateSourceId`, `RecordError`,
    `StaleRead`.
    """
    row = await _target(conn, project, given)
    await _check(conn, project, given, creating=row is None)
    if row is not None:
        return await _change(conn, project, row, lambda stored: catalogue.apply(stored, given), cause)
    row = ProductRow(given.id or ids.new("prod"), given.source_id or None)
    catalogue.apply(row, given)
    await catalogue.insert_products(conn, project, [(row, await catalogue.clock(conn, project))])
    product = await products.find_product(conn, project, row.id)
    await events.record(conn, project, cause, [product_events.of_product(product_events.CREATED, product)])
    await row_totals.add(conn, project, {"products": 1}, slot=row_totals.drawn_slot())
    return product


async def update(conn: Conn, project: str, product_id: str, given: ProductUpdate, cause: Cause) -> ProductWithoutSkus:
    """Change a product by id or source id. Needs a transaction. Raises `NotFound`, `RecordError`, `StaleRead`."""
    row = await stored(conn, project, product_id)
    await _check(conn, project, given, creating=False)
    return await _change(conn, project, row, lambda stored: catalogue.apply(stored, given), cause)


async def stored(conn: Conn, project: str, product_id: str) -> ProductRow:
    """A product by id or source id, to be changed. Raises `NotFound`."""
    named = References(product_ids={product_id}, product_source_ids={product_id})
    found = [row for row in await catalogue.resolve_products(conn, project, named, ()) if not row.binned]
    if not found:
        raise NotFound("product", product_id)
    return min(found, key=lambda row: row.id != product_id)


async def _target(conn: Conn, project: str, given: ProductNew) -> ProductRow | None:
    """The product that a request names, if there is one. Raises `NotFound`, `DuplicateSourceId`, `InBin`."""
    named = References(
        product_ids={given.id} if given.id else set(),
        product_source_ids={given.source_id} if given.source_id else set(),
    )
    found = await catalogue.resolve_products(conn, project, named, ())
    by_id = next((row for row in found if row.id == given.id), None)
    by_source = next((row for row in found if row.source_id == given.source_id), None) if given.source_id else None
    if by_source is not None and by_source.binned:
        raise InBin("product", by_source.source_id or "")
    if given.id and by_source is not None and by_source is not by_id:
        raise DuplicateSourceId(
            f"Product with source_id: '{given.source_id}' already exists: its id is {by_source.id}, not {given.id}"
        )
    if given.id and by_id is None:
        # one in the bin has its id still
        taken = await (await conn.execute(SQL.product_id_taken, {"project_id": project, "id": given.id})).fetchone()
        if taken is not None or not _PRODUCT_ID.fullmatch(given.id):
            raise NotFound("product", given.id)
    return by_id or by_source


async def _check(conn: Conn, project: str, given: ProductNew | ProductUpdate, *, creating: bool) -> None:
    catalogue.check_image(given.image_url)
    schemas = await metadata_schemas.load(conn, project)
    schemas.check("product", given.metadata, creating=creating)


async def _change(
    conn: Conn, project: str, row: ProductRow, apply: Callable[[ProductRow], bool], cause: Cause
) -> ProductWithoutSkus:
    """Lock and write a stored product if `apply` changes it. Raises `StaleRead` if it is gone."""
    changed = apply(row)
    if changed and not await catalogue.lock(conn, project, [row], ()):
        # changed by others meanwhile, and ours by now: who began anew could be overtaken again and again
        named = References(product_ids={row.id}, product_source_ids=set())
        found = await catalogue.resolve_products(conn, project, named, ())
        if not found:
            raise StaleRead
        [row] = found
        changed = apply(row)
    if changed:
        await catalogue.update(conn, project, [(row, await catalogue.clock(conn, project))], ())
    product = await products.find_product(conn, project, row.id)
    if changed:
        await events.record(conn, project, cause, [product_events.of_product(product_events.UPDATED, product)])
    return product


async def remove(conn: Conn, project: str, product_id: str, *, force: bool, cause: Cause) -> None:
    """Put a product and its SKUs into the bin, or with `force` delete them for good. Needs a transaction.

    Raises `NotFound`, `StaleRead`.
    """
    found = await products.find_product(conn, project, product_id)
    key = {"project_id": project, "product_id": found.id}
    locked = await (await conn.execute(SQL.product_lock_whole, key)).fetchone()
    if locked is None:
        raise StaleRead
    product = ProductWithoutSkus(**locked._asdict())
    # who makes a SKU locks its product, so these are all
    skus = [Sku(**row._asdict()) for row in await (await conn.execute(SQL.product_skus_lock, key)).fetchall()]
    if force:
        await conn.execute(SQL.product_skus_delete, key)
        await conn.execute(SQL.product_delete, key)
    else:
        await conn.execute(SQL.product_skus_bin, key)
        await conn.execute(SQL.product_bin, key)
    deleted = [product_events.of_sku(product_events.DELETED, sku, product) for sku in skus]
    deleted.append(product_events.of_product(product_events.DELETED, product))
    await events.record(conn, project, cause, deleted)
    await row_totals.add(conn, project, {"products": -1, "skus": -len(skus)}, slot=row_totals.drawn_slot())


# ---- handlers ----------------------------------------------------------------------------------

_new = msgspec.json.Decoder(ProductNew)
_change_of = msgspec.json.Decoder(ProductUpdate)

GivenT = TypeVar("GivenT", bound=Any)
AnswerT = TypeVar("AnswerT")


async def read(request: Request, decoder: "msgspec.json.Decoder[GivenT]") -> GivenT:  # type: ignore[type-arg]
    """The body of a request about a product or a SKU."""
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_object(request) as body:
        given = objects.read(body, decoder, empty_allowed=True)
    shapes.check_metadata(given.metadata, ".metadata")
    return given


async def written_once(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: str | None,
    decoder: "msgspec.json.Decoder[GivenT]",
    write: Callable[[Conn, GivenT], Awaitable[Any]],
) -> Response[Any]:
    """The answer to a POST that writes a product or a SKU."""
    key = idempotency.checked(request, idempotency_key)
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_object(request) as body:
        once = await idempotency.once(request, project, key, body)
        if (repeated := await once.repeated()) is not None:
            return repeated
        given = objects.read(body, decoder, empty_allowed=True)
    shapes.check_metadata(given.metadata, ".metadata")
    answer = await once.take_effect(lambda conn: write(conn, given))
    request.app.state.work_notifier.ask()
    return answer


async def settled(request: Request, write: Callable[[Conn], Awaitable[AnswerT]]) -> AnswerT:  # type: ignore[type-arg]
    """What a PUT or DELETE of a product or SKU comes to."""
    database: Database = request.app.state.database
    answer = await database.settle(write)
    request.app.state.work_notifier.ask()
    return answer


@post(
    "/v1/products",
    status_code=200,
    operation_id="create-product",
    tags=["Products"],
    responses=answers.NAMED_NOT_FOUND,
)
async def post_product(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[ProductWithoutSkus]:
    """Create a product.

    Or change the one that has its id or source id: what is supplied replaces what was there, metadata merges by key.
    """
    cause = events.of_request(request)
    return await written_once(
        request, project, idempotency_key, _new, lambda conn, given: create(conn, project, given, cause)
    )


@put("/v1/products/{product_id:str}", operation_id="update-product", tags=["Products"])
async def put_product(request: Request, project: str, product_id: str) -> ProductWithoutSkus:  # type: ignore[type-arg]
    """Change a product by id or source id.

    What the body does not have, or has as null, stays as it is, and metadata merges by key.
    """
    given, cause = await read(request, _change_of), events.of_request(request)
    return await settled(request, lambda conn: update(conn, project, product_id, given, cause))


Force = Annotated[Flag, Parameter(description="`true`: delete for good. Else it goes to the bin.")]


@delete("/v1/products/{product_id:str}", operation_id="delete-product", tags=["Products"])
async def delete_product(
    request: Request,  # type: ignore[type-arg]
    project: str,
    product_id: str,
    force: Force = "false",
) -> None:
    """Delete a product by id or source id, with its SKUs.

    In the bin they still have their source ids.
    """
    cause = events.of_request(request)
    await settled(request, lambda conn: remove(conn, project, product_id, force=force == "true", cause=cause))


ROUTES = [post_product, put_product, delete_product]
