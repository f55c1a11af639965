"""Bulk update and bulk metadata update of products: by source id, and those that do not exist are made."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Annotated, Any

from litestar import Request, Response, post
from msgspec import Meta, Struct

from punchcard.bulk import requests
from punchcard.bulk.async_actions import Scheduled
from punchcard.bulk.requests import RecordShape
from punchcard.bulk.updates import BulkUpdate, Checks, Plan
from punchcard.db import row_totals
from punchcard.db.database import Conn
from punchcard.db.row_times import timed
from punchcard.http import idempotency
from punchcard.http.shapes import ID_LENGTH_MAX, Amount
from punchcard.metadata_schemas import metadata_schemas
from punchcard.products import catalogue
from punchcard.products.catalogue import InBin, ProductRow, References
from punchcard.settings import Settings

# what the interactive page offers to send
EXAMPLE = [{"source_id": "mug", "name": "Mug", "price": 900, "attributes": ["color"], "metadata": {"vendor": "Acme"}}]
METADATA_EXAMPLE = {"source_ids": ["mug", "plate"], "metadata": {"vendor": "Acme"}}


class ProductUpdate(Struct, kw_only=True):
    """A product of a bulk update: what is supplied replaces, metadata merges by key. null means absent."""

    source_id: Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX)]
    name: str | None = None
    price: Amount | None = None
    attributes: list[str] | None = None
    image_url: str | None = None
    metadata: dict[str, Any] | None = None


class ProductsMetadata(Struct):
    """Products, and what the metadata of each of them gets. What is left out is empty."""

    source_ids: list[Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX)]] = []
    metadata: dict[str, Any] = {}


class ProductsBulkUpdate(BulkUpdate[ProductRow]):
    """The job behind `POST /v1/products/bulk/async`."""

    type = "PRODUCTS.BULK_UPDATE"
    resource = "product"
    id_prefix = "prod"
    shape = RecordShape(ProductUpdate, nouns="products")

    async def read(self, conn: Conn, project: str, source_ids: set[str]) -> tuple[Iterable[ProductRow], Checks]:
        """The stored products among those named, and the metadata schemas."""
        stored = await catalogue.resolve_products(conn, project, References(product_source_ids=source_ids), ())
        return stored, await metadata_schemas.load(conn, project)

    def new_row(self, row_id: str, source_id: str) -> ProductRow:
        """A product that has nothing but its ids yet."""
        return ProductRow(row_id, source_id)

    def apply(self, row: ProductRow, given: ProductUpdate) -> bool:
        """Change a product as a record says. Whether anything changed."""
        return catalogue.apply(row, given)

    def refuse(self, row: ProductRow | None, given: ProductUpdate) -> None:
        """Refuse a source id that is in the bin, and a picture that is none. Raises `RecordError`."""
        if row is not None and row.binned:
            raise InBin("product", given.source_id)
        catalogue.check_image(given.image_url)

    async def lock_rows(self, conn: Conn, project: str, rows: Sequence[ProductRow]) -> bool:
        """Lock stored products; whether all are as they were read."""
        return await catalogue.lock(conn, project, rows, ())

    async def write_rows(self, conn: Conn, project: str, plan: Plan[ProductRow]) -> None:
        """Write the changed products."""
        await write(conn, project, plan)


async def write(conn: Conn, project: str, plan: Plan[ProductRow]) -> None:
    """Write the products that a plan has changed, of which the stored ones are locked."""
    new, known = plan.new, plan.known
    now = await catalogue.clock(conn, project)
    await catalogue.insert_products(conn, project, timed(new, now))
    await catalogue.update(conn, project, timed(known, now + timedelta(microseconds=len(new))), ())
    await row_totals.add(conn, project, {"products": len(new)}, slot=row_totals.SLOT_OF_IMPORTS)


class ProductsMetadataUpdate(ProductsBulkUpdate):
    """The job behind `POST /v1/products/metadata/async`."""

    type = "PRODUCTS.METADATA_UPDATE"


@post("/v1/products/bulk/async", status_code=202, operation_id="update-products-in-bulk", tags=["Products"])
async def post_bulk_update(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Scheduled]:
    """Update products in bulk.

    By source id, as one async action; those that do not exist are created. What is supplied replaces what was there,
    metadata merges by key. Bulk requests of a project run one after another. No body is as good as an empty list.
    """
    settings: Settings = request.app.state.settings
    answer: Response[Scheduled] = await requests.accept_records(
        request, project, idempotency_key, ProductsBulkUpdate(), ProductsBulkUpdate.shape,
        records_max=settings.bulk_records_max, limit=requests.body_limit(settings), empty_allowed=True,
    )  # fmt: skip
    return answer


@post(
    "/v1/products/metadata/async", status_code=202, operation_id="update-products-metadata-in-bulk", tags=["Products"]
)
async def post_metadata_update(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Scheduled]:
    """Update products' metadata in bulk.

    Every listed product gets the metadata, key by key, as one async action; those that do not exist are created. What
    is left out is empty.
    """
    answer: Response[Scheduled] = await requests.accept_listed(
        request, project, idempotency_key, ProductsMetadataUpdate(), lenient=True
    )
    return answer


ROUTES = [post_bulk_update, post_metadata_update]
