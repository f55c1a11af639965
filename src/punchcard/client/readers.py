"""Readers: one stream of orders from a JSON array, from JSON Lines or, by a mapping, from CSV.

A reader never raises for what stands in a file. What it cannot read it yields as `Unreadable`, with its
place, and goes on behind it if the format has a behind. Memory does not grow with the file.
"""

from collections.abc import Iterator
from typing import Any, Literal, get_args

import msgspec

from punchcard.client import csv_orders, json_array, mapping_files
from punchcard.client.inputs import DAMAGED, Input, Order, Tally, Unreadable, lines
from punchcard.client.mapping import Mapping

Format = Literal["json", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)
# the one file that is told by its header; other shops' columns are too alike to guess
ONLINE_RETAIL = "online-retail"
_ONLINE_RETAIL_HEADER = b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
_LINES_SUFFIXES = (".jsonl", ".ndjson")
_PACKED_SUFFIXES = (".gz", ".xz")
_ORDER_FIELDS = {
    *("id", "source_id", "status", "amount", "initial_amount", "discount_amount", "items", "metadata"),
    *("customer", "customer_id", "referrer", "referrer_id"),
}

_ZIP_MAGIC = b"PK\x03\x04"
_OLD_OFFICE_MAGIC = b"\xd0\xcf\x11\xe0"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_EXCEL = "this is an Excel file; export it as CSV"
_ONE_A_LINE = "the JSON goes on behind the end of the line: write one order per line, or all of them as one array"


def read(
    source: Input,
    *,
    file_format: Format | None,
    order_bytes_max: int,
    tally: Tally,
    mapping: Mapping | None = None,
    sort: bool = False,
) -> Iterator[Order | Unreadable]:
    """All orders of one input, in the order of the file. With a mapping it is CSV, whatever its name says."""
    if trouble := _foreign(source.path, source.head):
        yield Unreadable(source.name, trouble)
        return
    match "csv" if mapping else file_format or detect(source.path, source.head):
        case "json":
            found = _array(source, order_bytes_max, tally)
        case "jsonl":
            found = _lines(source, order_bytes_max, tally)
        case "csv":
            found = _mapped(source, mapping, order_bytes_max, tally, sort=sort)
    try:
        yield from found
    except DAMAGED as error:
        yield Unreadable(source.name, f"the file is damaged, nothing behind this point can be read: {error}")


def detect(path: str, head: bytes) -> Format:
    """The format by the name, else by the first byte that is no space.

    The name `.json` decides nothing: files with one order a line are often called so.
    """
    name = path.lower()
    for suffix in _PACKED_SUFFIXES:
        name = name.removesuffix(suffix)
    if name.endswith(_LINES_SUFFIXES):
        return "jsonl"
    if name.endswith((".csv", ".tsv")) or head.startswith(_ONLINE_RETAIL_HEADER):
        return "csv"
    return "json" if head.lstrip().startswith(b"[") else "jsonl"


def _foreign(path: str, head: bytes) -> str | None:
    """What a file is that cannot be meant, or None."""
    name = path.lower()
    if head.startswith(_OLD_OFFICE_MAGIC):
        return _EXCEL
    if head.startswith(_ZIP_MAGIC):
        return _EXCEL if name.endswith(".xlsx") or b"[Content_Types].xml" in head else "this is a zip file; unpack it"
    if head.startswith(_UTF_16_MARKS):
        return "this is UTF-16 text; save it as UTF-8"
    if name.endswith(_PACKED_SUFFIXES) and head and not _is_text(head):  # some programs unpack and keep the name
        return "not a gzip file" if name.endswith(".gz") else "not an xz file"
    return None


def _is_text(head: bytes) -> bool:
    return head.lstrip().startswith((b"[", b"{")) or (b"," in head and not head.lstrip().startswith(b"<"))


def _mapped(
    source: Input, mapping: Mapping | None, order_bytes_max: int, tally: Tally, *, sort: bool
) -> Iterator[Order | Unreadable]:
    if not source.head.strip() and not source.stream.peek(1).strip():
        return
    if mapping is None and source.head.startswith(_ONLINE_RETAIL_HEADER):
        mapping = mapping_files.preset(ONLINE_RETAIL)
    if mapping is None:
        names = ", ".join(mapping_files.presets())
        yield Unreadable(
            source.name,
            "a CSV file needs --mapping FILE.toml, which says what its columns mean, or --preset with one of"
            f" {names}; `punchcard import --show-preset shopify` prints one to start from",
        )
        return
    for item in csv_orders.orders(source.stream, source.name, mapping, tally, sort=sort):
        if isinstance(item, Order) and len(item.body) > order_bytes_max:
            yield Unreadable(item.place, _too_long(order_bytes_max))
        else:
            yield item


def _too_long(order_bytes_max: int) -> str:
    return f"one order is longer than a request may be ({order_bytes_max:,} bytes)"


def _array(source: Input, order_bytes_max: int, tally: Tally) -> Iterator[Order | Unreadable]:
    if not source.head.strip() and not source.stream.peek(1).strip():
        return  # an empty file holds no orders
    index = 0
    try:
        for element in json_array.elements(source.stream.read1, order_bytes_max):
            yield _order(element, f"{source.name}[{index}]", order_bytes_max, tally)
            index += 1
    except json_array.ArrayBroken as error:
        yield Unreadable(f"{source.name}[{index}]", str(error))


def _lines(source: Input, order_bytes_max: int, tally: Tally) -> Iterator[Order | Unreadable]:
    for number, line in enumerate(lines(source.stream, order_bytes_max), 1):
        place = f"{source.name}:{number}"
        if line is not None and line.strip() in {b"{", b"["}:
            yield Unreadable(place, f"{_ONE_A_LINE}; nothing behind this point is read")
            return
        if line is None or line.strip():
            yield _order(line, place, order_bytes_max, tally)


def _order(raw: bytes | None, place: str, order_bytes_max: int, tally: Tally) -> Order | Unreadable:
    """An order is parsed here once: one malformed order would make the server refuse its whole request."""
    if raw is None:
        return Unreadable(place, _too_long(order_bytes_max))
    if not raw:
        return Unreadable(place, "nothing stands between two commas")
    try:
        order = msgspec.json.decode(raw)
        if trouble := _no_order(order):
            return Unreadable(place, trouble)
        body = msgspec.json.format(raw, indent=-1)
    except UnicodeDecodeError:
        return Unreadable(place, "not UTF-8")
    except msgspec.MsgspecError as error:
        goes_on = "truncated" in str(error) and raw.lstrip().startswith(b"{")  # an element of an array ends with }
        return Unreadable(place, _ONE_A_LINE if goes_on else f"not valid JSON: {error}")
    except RecursionError:
        return Unreadable(place, "nested too deeply")
    tally.unnamed += order.get("id") is None and order.get("source_id") is None
    return Order(body, place)


def _no_order(value: Any) -> str | None:
    """Why a JSON value cannot be meant as an order, or None."""
    if not isinstance(value, dict):
        return "an order is a JSON object"
    if _ORDER_FIELDS & value.keys():
        return None
    if isinstance(value.get("orders"), list):
        return "the orders are inside an object: write them as an array of their own, or one per line"
    return "the object has no field of an order, such as source_id, amount or items"
