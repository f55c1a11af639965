"""Order items: which products and SKUs they name, what that does to the catalogue, and what an order keeps of it."""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from punchcard import ids
from punchcard.errors import RecordError, RecordMissing
from punchcard.metadata_schemas.validation import Schemas
from punchcard.orders import amounts
from punchcard.orders.orders import Item, ItemIn, ProductEcho, SkuEcho
from punchcard.orders.rows import Rows
from punchcard.products.catalogue import (
    InBin,
    ProductRow,
    References,
    SkuRow,
    as_stored,
    metadata_text,
    same_metadata,
)
from punchcard.products.products import ProductIn, SkuIn

_NONE = (None, None)
ShelfRowT = TypeVar("ShelfRowT", ProductRow, SkuRow)


def sku_names(item: ItemIn) -> tuple[str | None, str | None]:
    """The internal id and the source id by which an item names a SKU."""
    sku = item.sku
    if sku is None:
        if item.sku_id is None and item.related_object != "sku":
            return _NONE
        return item.sku_id or None, (item.source_id or None) if item.related_object == "sku" else None
    source_id = sku.source_id
    if not source_id and item.related_object != "product":
        source_id = item.source_id
    return item.sku_id or sku.id or None, source_id or None


def product_names(item: ItemIn) -> tuple[str | None, str | None]:
    """The internal id and the source id by which an item names a product; of a SKU item: the SKU's parent."""
    product = item.product
    product_id, source_id = item.product_id, None
    if product is not None:
        product_id, source_id = product_id or product.id, product.source_id
    if not source_id and (
        item.related_object == "product" or (item.related_object is None and item.sku is None and not item.sku_id)
    ):
        source_id = item.source_id
    return product_id or None, source_id or None


def add_named(items: Iterable[ItemIn], references: References) -> None:
    """Add everything in the catalogue that the items name."""
    for item in items:
        product_id, product_source = product_names(item)
        if product_id is not None:
            references.product_ids.add(product_id)
        if product_source is not None:
            references.product_source_ids.add(product_source)
        sku_id, sku_source = sku_names(item)
        if sku_id is not None:
            references.sku_ids.add(sku_id)
        if sku_source is not None:
            references.sku_source_ids.add(sku_source)


class Shelf:
    """Products and SKUs as the orders so far have left them."""

    def __init__(self, *, products: Rows[ProductRow], skus: Rows[SkuRow]) -> None:
        self.products, self.skus = products, skus
        self.schemas: Schemas | None = None
        self._product_ids, self._sku_ids = ids.endless("prod"), ids.endless("sku")
        # source ids that are taken by what is in the bin
        self._products_in_bin: set[str | None] = set()
        self._skus_in_bin: set[str | None] = set()

    def outside_bin(self, rows: Iterable[ShelfRowT]) -> list[ShelfRowT]:
        """The stored rows that items can name; the source ids of the others are remembered as taken."""
        found = []
        for row in rows:
            if not row.binned:
                found.append(row)
            elif isinstance(row, ProductRow):
                self._products_in_bin.add(row.source_id)
            else:
                self._skus_in_bin.add(row.source_id)
        return found

    def item(self, given: ItemIn, index: int) -> Item:
        """The item as its order keeps it, after the overrides it asks for. Raises `RecordError`."""
        sku, product = self._named(given)
        if self.schemas is not None:
            self.schemas.check("order_item", given.metadata, creating=True)
        price, amount = given.price, given.amount
        if price is None and amount is None:
            price = _known_price(given, sku, product)
        quantity = given.quantity
        if price is not None:
            quantity = 1 if quantity is None else quantity
            amount = amounts.item_amount(price, quantity, index)
        discount = given.discount_amount
        # in the order of the fields: with names it would take six times as long, and there are thousands
        return Item(
            "order_item",
            given.source_id or None,
            given.related_object,
            product.id if product is not None else sku.product_id if sku is not None else None,
            sku.id if sku is not None else None,
            quantity,
            quantity if given.initial_quantity is None else given.initial_quantity,
            given.discount_quantity,
            amount,
            amount if given.initial_amount is None else given.initial_amount,
            discount,
            price,
            amount if amount is None or not discount else max(0, amount - discount),
            _product_echo(given.product, product),
            _sku_echo(given.sku, sku),
            given.metadata,
        )

    def _named(self, given: ItemIn) -> tuple[SkuRow | None, ProductRow | None]:
        """The SKU and the product an item names, after its overrides. Raises `RecordError` for unknown internal ids."""
        product_id, product_source = product_names(given)
        sku_id, sku_source = sku_names(given)
        if sku_id is None and sku_source is None and product_id is None:
            # most items are this one: a product by its source id
            product = self.products.by_source(product_source)
            if given.product is not None and given.product.override:
                product = self._override_product(given.product, product, product_source)
            return None, product
        sku = self._sku(sku_id, sku_source)
        product = self._product(product_id, product_source)
        if product is None and product_source is None and sku is not None:
            product = self.products.by_id(sku.product_id)
        if given.product is not None and given.product.override:
            product = self._override_product(given.product, product, product_source)
        if given.sku is not None and given.sku.override:
            sku = self._override_sku(given.sku, sku, sku_source, product)
        return sku, product

    def _sku(self, sku_id: str | None, source_id: str | None) -> SkuRow | None:
        if sku_id is None:
            return self.skus.by_source(source_id)
        found = self.skus.by_id(sku_id)
        if found is None:
            raise RecordMissing("sku", sku_id)
        return found

    def _product(self, product_id: str | None, source_id: str | None) -> ProductRow | None:
        if product_id is None:
            return self.products.by_source(source_id)
        found = self.products.by_id(product_id)
        if found is None:
            raise RecordMissing("product", product_id)
        return found

    # ---- overrides ----

    def _override_product(self, new: ProductIn, row: ProductRow | None, source_id: str | None) -> ProductRow | None:
        metadata = None if new.metadata is None else metadata_text(new.metadata)
        if row is None:
            if source_id is None:
                return None  # nothing to store it under: it stays with the order
            if source_id in self._products_in_bin:
                raise InBin("product", source_id)
            if self.schemas is not None:
                self.schemas.check("product", new.metadata, creating=True)
            row = ProductRow(
                next(self._product_ids), source_id, new.name, new.price, as_stored(metadata or b"{}"), changed=True
            )
            return self.products.add(row)
        if (
            (new.name is None or new.name == row.name)
            and (new.price is None or new.price == row.price)
            and (metadata is None or same_metadata(metadata, row.metadata))
        ):
            return row
        if self.schemas is not None:
            self.schemas.check("product", new.metadata, creating=new.metadata is not None)
        row = self.products.edit(row)
        row.name = row.name if new.name is None else new.name
        row.price = row.price if new.price is None else new.price
        row.metadata = row.metadata if metadata is None else as_stored(metadata)
        row.echo, row.changed = None, True
        self.products.updated += 1
        return row

    def _override_sku(
        self, new: SkuIn, row: SkuRow | None, source_id: str | None, product: ProductRow | None
    ) -> SkuRow | None:
        metadata = None if new.metadata is None else metadata_text(new.metadata)
        if row is None:
            if source_id is None:
                return None
            if source_id in self._skus_in_bin:
                raise InBin("sku", source_id)
            if product is None:
                raise RecordError(f"Cannot create sku {source_id}: name its product in product.source_id or product_id")
            row = SkuRow(
                next(self._sku_ids),
                source_id,
                product.id,
                new.sku,
                new.price,
                as_stored(metadata or b"{}"),
                changed=True,
            )
            return self.skus.add(row)
        if (
            (new.sku is None or new.sku == row.name)
            and (new.price is None or new.price == row.price)
            and (metadata is None or same_metadata(metadata, row.metadata))
        ):
            return row
        row = self.skus.edit(row)
        row.name = row.name if new.sku is None else new.sku
        row.price = row.price if new.price is None else new.price
        row.metadata = row.metadata if metadata is None else as_stored(metadata)
        row.echo, row.changed = None, True
        self.skus.updated += 1
        return row


def _known_price(given: ItemIn, sku: SkuRow | None, product: ProductRow | None) -> int | None:
    """The price of an item that states neither price nor amount: the request's before what is stored."""
    for known in (given.sku, given.product, sku, product):
        if known is not None and known.price is not None:
            return known.price
    return None


# ---- what an order keeps of a product or SKU ---------------------------------------------------


def _product_echo(new: ProductIn | None, row: ProductRow | None) -> Any:
    """The stored record, overlaid by the request. What is as stored is written once for all its items."""
    if row is None:
        return None if new is None else ProductEcho(None, new.source_id or None, new.name, new.metadata, new.price)
    if new is None or new.override:
        if row.echo is None:
            echo = ProductEcho(row.id, row.source_id, row.name, _shown(row.metadata), row.price)
            row.echo = Raw(msgspec.json.encode(echo))
        return row.echo
    return ProductEcho(
        row.id,
        row.source_id,
        row.name if new.name is None else new.name,
        _shown(row.metadata) if new.metadata is None else new.metadata,
        row.price if new.price is None else new.price,
    )


def _sku_echo(new: SkuIn | None, row: SkuRow | None) -> Any:
    if row is None:
        return None if new is None else SkuEcho(None, new.source_id or None, new.sku, new.metadata, new.price)
    if new is None or new.override:
        if row.echo is None:
            echo = SkuEcho(row.id, row.source_id, row.name, _shown(row.metadata), row.price)
            row.echo = Raw(msgspec.json.encode(echo))
        return row.echo
    return SkuEcho(
        row.id,
        row.source_id,
        row.name if new.sku is None else new.sku,
        _shown(row.metadata) if new.metadata is None else new.metadata,
        row.price if new.price is None else new.price,
    )


def _shown(metadata: bytes) -> Any:
    return None if metadata == b"{}" else Raw(metadata)
