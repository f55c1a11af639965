"""Orders from a CSV file by a mapping: which lines make an order, and what becomes of those that make none.

Every line ends in exactly one class of the `Tally`: item of an order, skipped for a named reason, or unreadable.
The rules are explained in docs/how-to/import-csv.md.
"""

import io
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import msgspec

from punchcard.client import csv_rows
from punchcard.client.conversions import AMOUNT_MAX, CellInvalid
from punchcard.client.csv_rows import BadRow, CsvRow
from punchcard.client.fields import Fields, Row, Test, columns_of
from punchcard.client.inputs import Order, Tally, Unreadable
from punchcard.client.mapping import Mapping
from punchcard.client.sorting import Ended, Sorter

ITEMS_MAX = 500
# of the products that are sent once, so many are remembered; one that is pushed out is sent again
NAMED_MAX = 100_000

NO_QUANTITY = "quantity not above zero"
CANCELLATION = "line of a canceled order"
BROKEN_ORDER = "line of an order that is held back as a whole"

Keyed = tuple[str, CsvRow | None]
SkipTest = tuple[str, Test]


def orders(
    stream: BinaryIO | io.BufferedIOBase, name: str, mapping: Mapping, tally: Tally, *, sort: bool = False
) -> Iterator[Order | Unreadable]:
    """The orders of one file, in the order in which they end. `tally` counts the lines."""
    found = csv_rows.rows(stream, mapping.csv)
    header = next(found, None)
    if header is None:
        return
    if isinstance(header, BadRow):
        yield Unreadable(f"{name}:{header.line}", f"the header: {header.reason}")
        return
    if trouble := header_trouble(mapping, header.cells):
        yield Unreadable(f"{name}:{header.first}", trouble)
        return
    with ExitStack() as stack:
        fields = Fields(mapping, header.cells)
        keys = _Keys(fields, mapping, name, tally)
        keyed: Iterator[Keyed | Unreadable] = keys.of(found, len(header.cells))
        if sort:
            sorter = stack.enter_context(Sorter())
            for each in keyed:
                if isinstance(each, Unreadable):
                    yield each
                else:
                    sorter.add(*each)
            keyed = sorter.sorted()
        yield from _Book(mapping, fields, name, tally, stack.enter_context(Ended())).read(keyed)


def header_trouble(mapping: Mapping, header: list[str]) -> str | None:
    """Why the columns of a file are not those of a mapping, or None."""
    needed = columns_of(mapping)
    if missing := [column for column in needed if column not in header]:
        are = "columns {} are" if len(missing) > 1 else "column {} is"
        delimiter = ""
        if len(header) == 1 and any(sign in header[0] for sign in ",;\t|"):
            delimiter = f"; if another sign than {mapping.csv.delimiter!r} parts them, say so in csv.delimiter"
        are = are.format(", ".join(missing))
        return f"the mapping's {are} not in the file, which has {', '.join(header)}{delimiter}"
    if double := [column for column in needed if header.count(column) > 1]:
        return f"the column {double[0]} is there more than once: which one is meant cannot be told"
    return None


class _Keys:
    """Tells to which order each row belongs."""

    def __init__(self, fields: Fields, mapping: Mapping, name: str, tally: Tally) -> None:
        self._fields = fields
        self._alone = fields.key[0] if len(fields.key) == 1 else None
        self._continues = mapping.lines.empty_order == "continue"
        self._name = name
        self._tally = tally

    def of(self, rows: Iterator[CsvRow | BadRow], width: int) -> Iterator[Keyed | Unreadable]:
        """Rows with the key of their order. A bad row may have belonged to the order above it or to that below:
        each of them gets a None.
        """
        above: str | None = None
        after_bad = False
        for row in rows:
            key = self._key(row, width, above)
            if isinstance(key, Unreadable):
                self._tally.unreadable += 1
                yield key
                if above is not None:
                    yield above, None
                after_bad = True
                continue
            assert isinstance(row, CsvRow)
            yield key, row
            if after_bad and key != above:
                yield key, None
            above, after_bad = key, False

    def _key(self, row: CsvRow | BadRow, width: int, above: str | None) -> str | Unreadable:
        if isinstance(row, BadRow):
            return Unreadable(f"{self._name}:{row.line}", row.reason)
        cells = row.cells
        if len(cells) != width:
            return self._unreadable(row, f"the line has {len(cells)} columns, the header {width}")
        if self._alone is not None and (key := cells[self._alone]):
            return key
        parts = [cells[index] for index in self._fields.key]
        if all(parts):
            return "\x1f".join(parts) if parts else str(row.first)
        columns = " or ".join(self._fields.name(index) for index in self._fields.key)
        if any(parts) or not self._continues:
            return self._unreadable(row, f"{columns} is missing")
        return above or self._unreadable(row, f"{columns} is missing, and there is no order above to continue")

    def _unreadable(self, row: CsvRow, reason: str) -> Unreadable:
        return Unreadable(_place(self._name, row.first, row.last), reason)


@dataclass(slots=True)
class _Open:
    """An order of which more lines may follow."""

    key: str
    part: int
    order: dict[str, Any]
    first: int
    last: int
    same: list[str]
    # what its latest line had in `Fields.shared`
    shared: Any
    # the rules that skip whole orders and hold for every line so far
    whole: list[SkipTest]
    canceled: bool = False
    items: list[dict[str, Any]] = field(default_factory=list)
    lines: int = 0
    rounded: int = 0
    held_back: bool = False
    too_long: bool = False


class _Book:
    """The orders that are being read, and which ones have ended."""

    def __init__(self, mapping: Mapping, fields: Fields, name: str, tally: Tally, ended: Ended) -> None:
        self._mapping = mapping
        self._fields = fields
        self._name = name
        self._tally = tally
        self._ended = ended
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._named: OrderedDict[str, None] = OrderedDict()
        self._found: list[Order | Unreadable] = []
        self._encode = msgspec.json.Encoder().encode
        self._split = mapping.split
        self._interleaved = mapping.lines.interleaved
        self._leaves_out = mapping.lines.bad_line == "leave-out"
        self._turns = mapping.cancellations is not None and mapping.cancellations.negative_quantities
        self._whole = [(rule.reason, test) for rule, test in fields.skips if rule.whole_order]
        self._skips = [(rule.reason, test) for rule, test in fields.skips if not rule.whole_order]
        self._kinds = [
            (kind, f"{kind}_id", table.once)
            for kind in ("product", "sku")
            if (table := getattr(mapping.item, kind, None)) is not None
        ]

    def read(self, keyed: Iterator[Keyed | Unreadable]) -> Iterator[Order | Unreadable]:
        """All orders of the rows."""
        for each in keyed:
            if isinstance(each, Unreadable):
                yield each
                continue
            key, row = each
            if row is not None:
                self._add(key, row)
            elif (order := self._open.get(key)) and not self._leaves_out:
                order.held_back = True
            if self._found:
                yield from self._found
                self._found.clear()
        while self._open:
            self._write(self._open.popitem(last=False)[1])
        yield from self._found

    # ---- lines ----

    def _add(self, key: str, row: CsvRow) -> None:
        """Put a line into its order; what is finished by it is put into `_found`."""
        try:
            reason = self._skipped(row.cells)
            order = self._open.get(key)
            if reason is not None and (order or self._leaves_out or self._ended.find(key)):
                self._tally.skipped[reason] += 1
                return
            if order and self._split and len(order.items) == ITEMS_MAX:
                self._write(self._open.pop(key))
                order = None
            if order is None:
                order = self._begun(key, row)
            elif (shared := self._fields.shared(row.cells)) != order.shared:
                self._check(order, row.cells)
                order.shared = shared
            if reason is None:
                self._put(order, row)
            else:  # the order's own columns may stand in this line only
                self._tally.skipped[reason] += 1
        except CellInvalid as error:
            self._tally.unreadable += 1
            self._found.append(Unreadable(_place(self._name, row.first, row.last), str(error)))
            self._lose(key, row)
        if key in self._open:
            self._open.move_to_end(key)
        if len(self._open) > self._interleaved:
            self._write(self._open.popitem(last=False)[1])

    def _skipped(self, cells: Row) -> str | None:
        for reason, test in self._skips:
            if test(cells):
                return reason
        return None

    def _lose(self, key: str, row: CsvRow) -> None:
        """A line of an order is bad: unless the mapping leaves it out, none of the order's lines are imported."""
        order = self._open.get(key)
        if self._leaves_out:
            if order and not order.lines:
                del self._open[key]
            return
        if order is None:
            ended = self._ended.find(key)
            part = ended[1] if ended else 0  # none is sent: the next one to be read has the number behind
            order = self._open[key] = _Open(key, part, {}, row.first, row.last, [], None, [])
        order.held_back = True

    def _begun(self, key: str, row: CsvRow) -> _Open:
        """A new order. Raises `CellInvalid` if it goes on here after it had ended, and may not."""
        part = 1
        if self._fields.key and (ended := self._ended.find(key)):
            if not self._split:
                raise CellInvalid(
                    f"the order {_shown(key)} goes on here after it ended in line {ended[0]:,}: what stands there was"
                    " read without this line. --sort puts the lines of an order together"
                )
            part = ended[1] + 1
        cells, rounded = row.cells, self._fields.rounded
        made, same = self._fields.order(cells), [cells[index] for index in self._fields.same]
        if part > 1 and "source_id" not in made:
            raise CellInvalid(f"a further part of the order {_shown(key)} has no order.source_id to be told by")
        order = _Open(key, part, made, row.first, row.last, same, self._fields.shared(cells), self._whole)
        order.canceled = self._fields.canceled is not None and self._fields.canceled(cells)
        order.rounded = self._fields.rounded - rounded
        self._open[key] = order
        return order

    def _check(self, order: _Open, cells: Row) -> None:
        """Look at what might be read from any line of an order, and at what must be the same in all of them."""
        if self._leaves_out:
            self._fields.order(cells)  # any line may be the first one that can be read
        if not order.held_back:
            for index, value in zip(self._fields.same, order.same, strict=True):
                if cells[index] != value:
                    name = self._fields.name(index)
                    raise CellInvalid(f"another {name} than in the first line of {_shown(order.key)}")

    def _put(self, order: _Open, row: CsvRow) -> None:
        cells, rounded = row.cells, self._fields.rounded
        item = self._item(cells, canceled=order.canceled)
        whole = order.whole and [rule for rule in order.whole if rule[1](cells)]
        order.last = row.last
        if item is None:
            self._tally.skipped[NO_QUANTITY] += 1
            if self._leaves_out and not order.lines:
                del self._open[order.key]
            return
        order.lines += 1
        order.whole = whole
        order.rounded += self._fields.rounded - rounded
        if item and len(order.items) == ITEMS_MAX:
            order.too_long = order.held_back = True
        elif item and not order.held_back:
            order.items.append(item)

    def _item(self, cells: Row, *, canceled: bool) -> dict[str, Any] | None:
        """The item of a line; None if its quantity says that it is none."""
        if self._fields.item is None:
            return {}
        item: dict[str, Any] = self._fields.item(cells) or {}
        quantity = item.get("quantity")
        if quantity is not None:
            if canceled and self._turns:
                quantity = item["quantity"] = -quantity
            if quantity <= 0:
                if self._mapping.lines.negative_quantity == "skip":
                    return None
                raise CellInvalid(
                    f"the quantity is {quantity}: lines of returns are left out by lines.negative_quantity,"
                    " orders that were canceled are told by [cancellations]"
                )
            if quantity * item.get("price", 0) > AMOUNT_MAX:
                raise CellInvalid("quantity times price is more than an amount can hold")
        return item

    # ---- orders ----

    def _write(self, order: _Open) -> None:
        if self._fields.key:
            self._ended.add(order.key, order.last, order.part)
        if not order.lines:
            return
        place = _place(self._name, order.first, order.last)
        if order.too_long:
            self._tally.unreadable += order.lines
            reason = (
                f"the order {_shown(order.key)} has {order.lines:,} lines, and an order holds {ITEMS_MAX} items:"
                " the table [split] in the mapping makes several orders of it"
            )
            self._found.append(Unreadable(place, reason))
        elif (left_out := self._left_out(order)) is not None:
            self._tally.skipped[left_out] += order.lines
        else:
            self._tally.items += order.lines
            self._tally.rounded_prices += order.rounded
            made = self._made(order)
            self._tally.unnamed += made.get("id") is None and made.get("source_id") is None
            self._found.append(Order(self._encode(made), place))

    def _left_out(self, order: _Open) -> str | None:
        """Why none of an order's lines are imported, or None."""
        if order.held_back:
            return BROKEN_ORDER
        if order.whole:
            return order.whole[0][0]
        if order.canceled and self._mapping.cancellations and self._mapping.cancellations.do == "skip":
            return CANCELLATION
        return None

    def _made(self, order: _Open) -> dict[str, Any]:
        made = order.order
        if order.canceled:
            made["status"] = "CANCELED"
        if items := [item for item in map(self._told, order.items) if item]:
            made["items"] = items
        if order.part > 1 and self._split:
            split, whole = self._split, made["source_id"]
            made["source_id"] = f"{whole}-{order.part}"
            made["metadata"] = (made.get("metadata") or {}) | {split.of: whole, split.part: order.part}
        return made

    def _told(self, item: dict[str, Any]) -> dict[str, Any]:
        """The item without a product or SKU that no id tells, which would be another one each time, and without one
        that was sent before and is to be sent once.
        """
        for kind, kind_id, once in self._kinds:
            thing = item.get(kind)
            if thing is None:
                continue
            key = thing.get("source_id") or thing.get("id") or item.get("source_id")
            if not key and not item.get(kind_id):
                del item[kind]
            elif key and once:
                if (named := f"{kind} {key}") in self._named:
                    del item[kind]
                    continue
                self._named[named] = None
                if len(self._named) > NAMED_MAX:
                    self._named.popitem(last=False)
        return item


def _place(name: str, first: int, last: int) -> str:
    return f"{name}:{first}" if first == last else f"{name}:{first}-{last}"


def _shown(key: str) -> str:
    return key.replace("\x1f", " ")
