"""Orders from the Online Retail CSV: what each of its lines means, and what becomes of it.

The file is dirty as real data is. Every line ends in exactly one class of the `Tally`: item of an order,
skipped for a named reason, or unreadable. The rules are explained in docs/how-to/online-retail.md.
"""

import csv
import io
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import BinaryIO, Literal, NamedTuple

import msgspec

from punchcard.client.inputs import Order, Tally, Unreadable, lines
from punchcard.errors import PunchcardError

HEADER = b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
ITEMS_MAX = 500
AMOUNT_MAX = 2**53 - 1
LINE_BYTES_MAX = 64 * 1024
# The till wrote two invoices at once now and then; this many stay open before the one untouched longest is done.
INVOICES_OPEN_MAX = 8

STOCK_MOVEMENT = "stock movement: no customer and no price"
ACCOUNTING_ENTRY = "accounting entry: invoice number begins with A"
QUANTITY_MISFIT = "quantity: not above zero in a sale, or not below zero in a cancellation"
PRICE_NEGATIVE = "price below zero"

_QUANTITY = re.compile(r"-?[0-9]{1,16}")
_UNSET = msgspec.UNSET


class LineUnreadable(PunchcardError):
    """A line that does not have the documented columns."""


class Product(msgspec.Struct):
    """Makes the product known under its stock code; see `_Book` for when it is sent."""

    name: str
    override: bool = True


class Item(msgspec.Struct):
    """One line of an invoice; `price` in pence."""

    source_id: str
    quantity: int
    price: int
    related_object: Literal["product"] = "product"
    product: Product | msgspec.UnsetType = _UNSET


class Customer(msgspec.Struct):
    """A customer is known by the shop's own id."""

    source_id: str
    metadata: dict[str, str]


class OrderOut(msgspec.Struct):
    """One order as the import takes it."""

    source_id: str
    status: Literal["PAID", "CANCELED"]
    items: list[Item]
    metadata: dict[str, str | int]
    customer: Customer | msgspec.UnsetType = _UNSET


class Line(NamedTuple):
    """One parsed line. `price` is in pence; `free` says that the file has 0, not that rounding made it so."""

    invoice: str
    stock_code: str
    description: str
    quantity: int
    ordered_at: str
    price: int
    free: bool
    rounded: bool
    customer: str
    country: str

    @property
    def canceled(self) -> bool:
        """Cancellations are invoices of their own, with negative quantities."""
        return self.invoice.startswith("C")

    def skip_reason(self) -> str | None:
        """Why this line cannot be an item, or None."""
        if self.invoice.startswith("A"):
            return ACCOUNTING_ENTRY
        if self.price < 0:
            return PRICE_NEGATIVE
        if self.canceled:
            return None if self.quantity < 0 else QUANTITY_MISFIT
        if self.quantity > 0:
            return None
        return STOCK_MOVEMENT if self.free and not self.customer else QUANTITY_MISFIT


@dataclass
class _Invoice:
    place: str
    part: int
    lines: list[Line] = field(default_factory=list)

    @property
    def is_stock_movement(self) -> bool:
        """Goods found or written off: booked like a sale, but to nobody and for nothing."""
        return not any(line.customer or line.canceled or not line.free for line in self.lines)


def orders(stream: BinaryIO | io.BufferedIOBase, name: str, tally: Tally) -> Iterator[Order | Unreadable]:
    """The orders of one file, in the order in which their invoices end. `tally` counts the lines."""
    numbered = enumerate(lines(stream, LINE_BYTES_MAX), 1)
    header = next(numbered, None)
    if header is None:
        return
    if header[1] != HEADER:
        yield Unreadable(f"{name}:1", f"the columns are not {HEADER.decode()}")
        return
    book = _Book(tally)
    for number, raw in numbered:
        place = f"{name}:{number}"
        try:
            line = parse(raw)
            if (reason := line.skip_reason()) is None:
                yield from book.add(line, place)
            else:
                tally.skipped[reason] += 1
        except LineUnreadable as error:
            tally.unreadable += 1
            yield Unreadable(place, str(error))
    yield from book.close()


def parse(raw: bytes | None) -> Line:
    """One line of the file, one record: a quoted line break would let one stray quote swallow the lines behind it."""
    if raw is None:
        raise LineUnreadable(f"the line is longer than {LINE_BYTES_MAX:,} bytes")
    try:
        fields = next(csv.reader([raw.decode()], strict=True), [])
    except UnicodeDecodeError as error:
        raise LineUnreadable("not UTF-8") from error
    except csv.Error as error:
        raise LineUnreadable(str(error)) from error
    if len(fields) != HEADER.count(b",") + 1:
        raise LineUnreadable(f"the line has {len(fields)} columns")
    invoice, stock_code, description, quantity, date, unit_price, customer, country = map(str.strip, fields)
    if not invoice or not stock_code:
        raise LineUnreadable("InvoiceNo or StockCode is missing")
    if not _QUANTITY.fullmatch(quantity):
        raise LineUnreadable(f"Quantity is no whole number: {quantity!r}")
    price, free, rounded = _pence(unit_price)
    if abs(int(quantity) * price) > AMOUNT_MAX:
        raise LineUnreadable("the amount is larger than an order can hold")
    return Line(
        invoice=invoice,
        stock_code=stock_code,
        description=description,
        quantity=int(quantity),
        ordered_at=_ordered_at(date),
        price=price,
        free=free,
        rounded=rounded,
        customer=customer.removesuffix(".0"),
        country=country,
    )


@lru_cache(maxsize=10_000)
def _pence(text: str) -> tuple[int, bool, bool]:
    """A price in pounds as pence, whether it is zero in the file, and whether it had to be rounded."""
    try:
        exact = Decimal(text) * 100
        pence = exact.quantize(Decimal(1), rounding=ROUND_HALF_UP)
    except ArithmeticError as error:
        raise LineUnreadable(f"UnitPrice is no amount: {text!r}") from error
    if not pence.is_finite():
        raise LineUnreadable(f"UnitPrice is no amount: {text!r}")
    return int(pence), exact == 0, exact != pence


@lru_cache(maxsize=1_000)
def _ordered_at(text: str) -> str:
    """The shop's local time as the file has it, without a zone: the project's zone is the server's to know."""
    try:
        return datetime.fromisoformat(text).isoformat(timespec="seconds")
    except ValueError as error:
        raise LineUnreadable(f"InvoiceDate is not of the form YYYY-MM-DD HH:MM:SS: {text!r}") from error


class _Book:
    """The invoices that are being read, and what was already written of the others.

    Besides the open invoices it remembers one number an invoice and one name a stock code: lines that come
    after their invoice was written must become a further part of it, or the server would replace the first.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._open: OrderedDict[str, _Invoice] = OrderedDict()
        self._parts: dict[str, int] = {}
        self._named: set[str] = set()

    def add(self, line: Line, place: str) -> Iterator[Order]:
        """Put a line into its invoice; yields what is finished by it."""
        invoice = self._open.get(line.invoice)
        if invoice and invoice.lines[0].customer != line.customer:
            raise LineUnreadable(f"another customer than in the first line of invoice {line.invoice}")
        if invoice and len(invoice.lines) == ITEMS_MAX:
            yield from self._write(self._open.pop(line.invoice))
            invoice = None
        if invoice is None:
            part = self._parts[line.invoice] = self._parts.get(line.invoice, 0) + 1
            invoice = self._open[line.invoice] = _Invoice(place, part)
        invoice.lines.append(line)
        self._open.move_to_end(line.invoice)
        if len(self._open) > INVOICES_OPEN_MAX:
            yield from self._write(self._open.popitem(last=False)[1])

    def close(self) -> Iterator[Order]:
        """The invoices still open at the end of the file."""
        while self._open:
            yield from self._write(self._open.popitem(last=False)[1])

    def _write(self, invoice: _Invoice) -> Iterator[Order]:
        if invoice.is_stock_movement:
            self._tally.skipped[STOCK_MOVEMENT] += len(invoice.lines)
            return
        self._tally.items += len(invoice.lines)
        self._tally.rounded_prices += sum(line.rounded for line in invoice.lines)
        first = invoice.lines[0]
        order = OrderOut(
            source_id=first.invoice if invoice.part == 1 else f"{first.invoice}-{invoice.part}",
            status="CANCELED" if first.canceled else "PAID",
            items=[self._item(line) for line in invoice.lines],
            metadata={"ordered_at": first.ordered_at, "country": first.country},
        )
        if invoice.part > 1:
            order.metadata |= {"invoice": first.invoice, "part": invoice.part}
        if first.customer:
            order.customer = Customer(first.customer, {"country": first.country})
        yield Order(msgspec.json.encode(order), invoice.place)

    def _item(self, line: Line) -> Item:
        item = Item(line.stock_code, abs(line.quantity), line.price)
        if line.description and line.stock_code not in self._named:
            self._named.add(line.stock_code)
            item.product = Product(line.description)
        return item
