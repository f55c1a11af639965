"""Imports of products and of SKUs from CSV files. Prices in them are in major units: 14.5 is 1450.

Of a product that exists a row changes the name, of a SKU its name and price; all others are created whole.
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
from litestar import Request, Response, post

from punchcard import ids
from punchcard.bulk import csv_imports
from punchcard.bulk.async_actions import Scheduled
from punchcard.bulk.csv_files import Layout
from punchcard.bulk.csv_imports import Cells, Columns, CsvImport
from punchcard.bulk.updates import Plan
from punchcard.db import row_totals
from punchcard.db.database import Conn, StaleRead
from punchcard.db.row_times import timed
from punchcard.errors import RecordError, RecordMissing
from punchcard.http import idempotency
from punchcard.http.shapes import AMOUNT_MAX, ID_LENGTH_MAX
from punchcard.metadata_schemas import cells as metadata_cells
from punchcard.metadata_schemas import metadata_schemas
from punchcard.metadata_schemas.validation import Schemas
from punchcard.products import bulk, catalogue, skus
from punchcard.products.catalogue import InBin, ProductRow, References, as_stored, metadata_text
from punchcard.products.skus import OfOtherProduct, WholeSku

_PRODUCT_FIELDS = ("name", "source_id", "price", "attributes", "image_url")
_SKU_FIELDS = ("product_id", "sku", "source_id", "price", "image_url", "attributes")
PRODUCTS = Layout({name: name for name in _PRODUCT_FIELDS}, required=("name",))
SKUS = Layout({name: name for name in _SKU_FIELDS}, required=("product_id", "source_id"))
PRODUCTS_EXAMPLE = {"file": 'name,source_id,price,attributes\nMug,mug,9.00,"color,size"\n'}
SKUS_EXAMPLE = {"file": "product_id,sku,source_id,price,attributes\nmug,Blue mug,mug-blue,9.50,{'color':'blue'}\n"}
_PRICE = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,2})0*)?")


def price_of(cell: str | None) -> int | None:
    """A price in the smallest unit, exactly; none of an empty cell. Raises `RecordError`."""
    if cell is None:
        return None
    match = _PRICE.fullmatch(cell)
    price = int(match[1]) * 100 + int((match[2] or "0").ljust(2, "0")) if match else AMOUNT_MAX + 1
    if price > AMOUNT_MAX:
        raise RecordError(
            f"Property .price must be a price of at most two decimals, such as 14.50 (actual value is '{cell[:100]}')"
        )
    return price


def _checked_id(cell: str | None, field: str) -> str | None:
    if cell is not None and len(cell) > ID_LENGTH_MAX:
        raise RecordError(f"Property .{field} must have at most {ID_LENGTH_MAX} characters")
    return cell


# ---- products ----------------------------------------------------------------------------------


class _Products:
    """The products that a portion's rows name, as the rows so far have left them."""

    def __init__(self, stored: Sequence[ProductRow], schemas: Schemas) -> None:
        rows = {row.source_id: row for row in stored if row.source_id is not None}
        self.plan = Plan[ProductRow](rows, {}, [], [], csv_imports.new_counts())
        self._schemas, self._definitions = schemas, schemas.definitions("product")
        self._new_ids = ids.endless("prod")

    def apply(self, cells: Cells) -> str:
        """Apply a row and say what became of it. Raises `RecordError`."""
        name, source_id = cells.required("name"), _checked_id(cells.fields.get("source_id"), "source_id")
        row = None if source_id is None else self.plan.rows.get(source_id)
        if row is None:
            row = self._new(cells, name, source_id)
            self.plan.changed[row.id] = row
            if source_id is not None:
                self.plan.rows[source_id] = row
            return "created"
        if row.binned:
            raise InBin("product", row.source_id or "")
        if row.name == name:
            return "unchanged"
        row.name = name
        self.plan.changed[row.id] = row
        return "updated"

    def _new(self, cells: Cells, name: str, source_id: str | None) -> ProductRow:
        price, image_url = price_of(cells.fields.get("price")), cells.fields.get("image_url")
        catalogue.check_image(image_url)
        attributes = dict.fromkeys(metadata_cells.elements_of(cells.fields.get("attributes", "")))
        metadata = metadata_cells.metadata_of(cells.metadata, self._definitions)
        self._schemas.check("product", metadata, creating=True)
        return ProductRow(
            next(self._new_ids), source_id, name, price, as_stored(metadata_text(metadata)),
            msgspec.json.encode(list(attributes)).decode(), image_url,
        )  # fmt: skip


class ProductsCsvImport(CsvImport[ProductRow]):
    """The job behind `POST /v1/products/importCSV`."""

    type = "PRODUCTS.IMPORT_CSV"
    layout = PRODUCTS
    noun = "product"

    async def begin(
        self, conn: Conn, project: str, rows: Sequence[Cells], columns: Columns
    ) -> tuple[_Products, Plan[ProductRow]]:
        """Read the products that the rows name, and the metadata schemas."""
        named = References(product_source_ids={row.fields["source_id"] for row in rows if "source_id" in row.fields})
        stored = await catalogue.resolve_products(conn, project, named, ())
        state = _Products(stored, await metadata_schemas.load(conn, project))
        return state, state.plan

    async def lock_rows(self, conn: Conn, project: str, rows: Sequence[ProductRow]) -> bool:
        """Lock stored products; whether all are as they were read."""
        return await catalogue.lock(conn, project, rows, ())

    async def write_rows(self, conn: Conn, project: str, plan: Plan[ProductRow]) -> None:
        """Write the changed products."""
        await bulk.write(conn, project, plan)

    def failure(self, row: int, source_id: str | None, reason: str) -> dict[str, Any]:
        """The documented failure."""
        named = {} if source_id is None else {"source_id": source_id}
        return {"row": row, **named, "reason": reason}


# ---- SKUs --------------------------------------------------------------------------------------


class SkuPlan(Plan[WholeSku]):
    """The SKUs as the rows have left them, and the products of new ones, which are locked like them."""

    parents: dict[str, ProductRow]


class _Skus:
    """The SKUs that a portion's rows name, as the rows so far have left them, and their products."""

    def __init__(self, stored: Sequence[WholeSku], products: Sequence[ProductRow], schemas: Schemas) -> None:
        rows = {row.source_id: row for row in stored if row.source_id is not None}
        self.plan = SkuPlan(rows, {}, [], [], csv_imports.new_counts(), {})
        products = [product for product in products if not product.binned]
        self._products = {product.source_id: product for product in products}
        self._products |= {product.id: product for product in products}
        # SKUs have no schema of their own: what their metadata is to be is that of products
        self._definitions = schemas.definitions("product")
        self._new_ids = ids.endless("sku")

    def apply(self, cells: Cells) -> str:
        """Apply a row and say what became of it. Raises `RecordError`."""
        product_id, source_id = cells.required("product_id"), cells.required("source_id")
        product = self._products.get(product_id)
        if product is None:
            raise RecordMissing("product", product_id)
        _checked_id(source_id, "source_id")
        price = price_of(cells.fields.get("price"))
        row = self.plan.rows.get(source_id)
        if row is None:
            row = self.plan.rows[source_id] = self._new(cells, product, source_id, price)
            self.plan.changed[row.id], self.plan.parents[product.id] = row, product
            return "created"
        if row.binned:
            raise InBin("sku", source_id)
        if row.product_id != product.id:
            raise OfOtherProduct(source_id, row.product_id)
        return self._update(row, cells.fields.get("sku"), price)

    def _update(self, row: WholeSku, name: str | None, price: int | None) -> str:
        before = (row.sku, row.price)
        row.sku = row.sku if name is None else name
        row.price = row.price if price is None else price
        if (row.sku, row.price) == before:
            return "unchanged"
        self.plan.changed[row.id] = row
        return "updated"

    def _new(self, cells: Cells, product: ProductRow, source_id: str, price: int | None) -> WholeSku:
        attributes: Any = {}
        if "attributes" in cells.fields:
            attributes = metadata_cells.json_of(cells.fields["attributes"])
            if not isinstance(attributes, dict):
                raise RecordError("Property .attributes must be an object, such as {'color':'blue'}")
            skus.check_attributes(attributes, product)
        catalogue.check_image(cells.fields.get("image_url"))
        metadata = metadata_cells.metadata_of(cells.metadata, self._definitions)
        return WholeSku(
            next(self._new_ids), source_id, product.id, cells.fields.get("sku"), price,
            attributes=as_stored(metadata_text(attributes)), metadata=as_stored(metadata_text(metadata)),
            image_url=cells.fields.get("image_url"),
        )  # fmt: skip


class SkusCsvImport(CsvImport[WholeSku]):
    """The job behind `POST /v1/skus/importCSV`."""

    type = "SKUS.IMPORT_CSV"
    layout = SKUS
    noun = "sku"

    async def begin(
        self, conn: Conn, project: str, rows: Sequence[Cells], columns: Columns
    ) -> tuple[_Skus, Plan[WholeSku]]:
        """Read the SKUs and products that the rows name, and the metadata schemas."""
        stored = await skus.resolve(
            conn, project, source_ids={row.fields["source_id"] for row in rows if "source_id" in row.fields}
        )
        named = {row.fields["product_id"] for row in rows if "product_id" in row.fields}
        products = await catalogue.resolve_products(
            conn, project, References(product_ids=named, product_source_ids=named), ()
        )
        state = _Skus(stored, products, await metadata_schemas.load(conn, project))
        return state, state.plan

    async def lock(self, conn: Conn, project: str, plan: Any) -> None:
        """Lock the products of new SKUs, then the SKUs that change."""
        await self._lock(conn, project, plan)

    async def _lock(self, conn: Conn, project: str, plan: SkuPlan) -> bool:
        as_read = await catalogue.lock(conn, project, list(plan.parents.values()), ())
        return await skus.lock(conn, project, plan.known) and as_read

    async def write(self, conn: Conn, project: str, plan: Any) -> None:
        """Write the plan. Raises `StaleRead`."""
        if not await self._lock(conn, project, plan):
            raise StaleRead
        if plan.changed:
            now = await catalogue.clock(conn, project)
            await skus.insert(conn, project, timed(plan.new, now))
            await skus.write(conn, project, timed(plan.known, now + timedelta(microseconds=len(plan.new))))
            await row_totals.add(conn, project, {"skus": len(plan.new)}, slot=row_totals.SLOT_OF_IMPORTS)

    def failure(self, row: int, source_id: str | None, reason: str) -> dict[str, Any]:
        """The documented failure."""
        return {"row": row, "reason": reason}


# ---- handlers ----------------------------------------------------------------------------------


@post("/v1/products/importCSV", status_code=200, operation_id="import-products-using-csv", tags=["Products"])
async def post_products(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Scheduled]:
    """Import products from a CSV file.

    As one async action, in the form's part `file`: UTF-8, separated by commas, the names of the columns first. Columns
    are name (required), source_id, price (in major units), attributes (separated by commas) and image_url, in any case;
    every other one is metadata, of the type that the metadata schema says. Of a product whose source id is there only
    the name changes. No events.
    """
    answer: Response[Scheduled] = await csv_imports.accept(request, project, idempotency_key, ProductsCsvImport())
    return answer


@post("/v1/skus/importCSV", status_code=200, operation_id="import-SKUs-using-csv", tags=["Products"])
async def post_skus(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Scheduled]:
    """Import SKUs from a CSV file.

    As one async action, in the form's part `file`: UTF-8, separated by commas, the names of the columns first. Columns
    are product_id (required: the id or source id of a product that exists), source_id (required), sku, price (in major
    units), image_url and attributes (such as `{'color':'blue'}`, among those of the product), in any case; every other
    one is metadata. Of a SKU whose source id is there only sku and price change. No events.
    """
    answer: Response[Scheduled] = await csv_imports.accept(request, project, idempotency_key, SkusCsvImport())
    return answer


ROUTES = [post_products, post_skus]
