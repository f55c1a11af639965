"""Readers: one stream of orders from a JSON array, from JSON Lines or from the Online Retail CSV.

A reader never raises for what stands in a file. What it cannot read it yields as `Unreadable`, with its
place, and goes on behind it if the format has a behind. Memory does not grow with the file.
"""

from collections.abc import Iterator
from typing import Literal, get_args

import msgspec

from punchcard.client import json_array, online_retail
from punchcard.client.inputs import DAMAGED, Input, Order, Tally, Unreadable, lines

Format = Literal["json", "jsonl", "online-retail"]
FORMATS: tuple[Format, ...] = get_args(Format)
_LINES_SUFFIXES = (".jsonl", ".ndjson")
_PACKED_SUFFIXES = (".gz", ".xz")


def read(
    source: Input, *, file_format: Format | None, order_bytes_max: int, tally: Tally
) -> Iterator[Order | Unreadable]:
    """All orders of one input, in the order of the file."""
    match file_format or detect(source.path, source.head):
        case "json":
            found = _array(source, order_bytes_max)
        case "jsonl":
            found = _lines(source, order_bytes_max)
        case "online-retail":
            found = online_retail.orders(source.stream, source.name, tally)
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
    if name.endswith(".csv") or head.startswith(online_retail.HEADER):
        return "online-retail"
    return "json" if head.lstrip().startswith(b"[") else "jsonl"


def _array(source: Input, order_bytes_max: int) -> Iterator[Order | Unreadable]:
    if not source.head.strip() and not source.stream.peek(1).strip():
        return  # an empty file holds no orders
    index = 0
    try:
        for element in json_array.elements(source.stream.read1, order_bytes_max):
            yield _order(element, f"{source.name}[{index}]", order_bytes_max)
            index += 1
    except json_array.ArrayBroken as error:
        yield Unreadable(f"{source.name}[{index}]", str(error))


def _lines(source: Input, order_bytes_max: int) -> Iterator[Order | Unreadable]:
    for number, line in enumerate(lines(source.stream, order_bytes_max), 1):
        if line is None or line.strip():
            yield _order(line, f"{source.name}:{number}", order_bytes_max)


def _order(raw: bytes | None, place: str, order_bytes_max: int) -> Order | Unreadable:
    """An order is parsed here once: one malformed order would make the server refuse its whole request."""
    if raw is None:
        return Unreadable(place, f"one order is longer than a request may be ({order_bytes_max:,} bytes)")
    if not raw:
        return Unreadable(place, "nothing stands between two commas")
    try:
        if not isinstance(msgspec.json.decode(raw), dict):
            return Unreadable(place, "an order is a JSON object")
        return Order(msgspec.json.format(raw, indent=-1), place)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Unreadable(place, f"not valid JSON: {error}")
    except RecursionError:
        return Unreadable(place, "nested too deeply")
