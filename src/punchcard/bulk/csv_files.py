"""CSV files as they are uploaded: UTF-8, separated by commas, quoted as in RFC 4180, the names of the columns first.

A file is split into records when it is accepted, one a row: a JSON object of its cells by the names of their columns,
those that are for fields in lower case, empty cells left out. What a cell means is decided when the records are worked
on.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from punchcard.errors import InvalidPayload
from punchcard.http.shapes import ID_LENGTH_MAX

COLUMNS_MAX = 1000
# A record has the names of its columns, which the file has once: split, a file of short cells is larger.
SPLIT_BYTES_MAX = 64 * 1024 * 1024
SPLIT_TIMES_MAX = 16
_SPLIT_BYTES_FREE = 1024 * 1024
_WHITE_SPACE = re.compile(r"\s")
# a file that is separated by them has one column, and they are in its name
_OTHER_SEPARATORS = ";\t|"


class Layout(Struct, frozen=True):
    """The columns that a kind of file has beside those for metadata: field by the name of its column, in lower case.

    The columns of `required` fields have to be there.
    """

    fields: Mapping[str, str]
    required: tuple[str, ...] = ()

    def field_of(self, column: str) -> str | None:
        """The field that a column is for; none of one for metadata."""
        return self.fields.get(column.lower())


class Table(Struct, frozen=True):
    """A file that was read: its columns, and its rows as JSON objects."""

    columns: list[str]
    records: list[bytes]


def read(file: bytes, layout: Layout, *, rows_max: int) -> Table:
    """Split a file into records. Raises `InvalidPayload`, which names the row (from 1, without the header)."""
    lines = io.TextIOWrapper(io.BytesIO(file), encoding="utf-8-sig", newline="")
    rows = _rows(csv.reader(lines, strict=True))
    try:
        columns = _columns(next(rows, []), layout)
        bytes_max = min(SPLIT_BYTES_MAX, _SPLIT_BYTES_FREE + SPLIT_TIMES_MAX * len(file))
        return Table(columns, _records(rows, columns, rows_max=rows_max, bytes_max=bytes_max))
    except UnicodeDecodeError:
        raise InvalidPayload("Property .file is not encoded in UTF-8") from None


def _rows(lines: Iterator[list[str]]) -> Iterator[list[str]]:
    """The rows that have cells; the first is the header."""
    no = 0
    while True:
        try:
            row = next(lines, None)
        except csv.Error as error:
            raise InvalidPayload(f"Property .file is not valid CSV in row {no}: {error}") from None
        if row is None:
            return
        if row:
            yield row
            no += 1


def _columns(header: Sequence[str], layout: Layout) -> list[str]:
    """The names of the columns as records have them; columns without a name at the end are none."""
    columns = [name.strip() for name in header]
    while columns and not columns[-1]:
        columns.pop()
    if not columns:
        raise InvalidPayload("Property .file is empty: its first row has to have the names of the columns")
    if len(columns) > COLUMNS_MAX:
        raise InvalidPayload(f"Property .file must have at most {COLUMNS_MAX} columns")
    if len(columns) == 1 and any(separator in columns[0] for separator in _OTHER_SEPARATORS):
        raise InvalidPayload("Property .file must be separated by commas")
    seen: dict[str, str] = {}
    for no, column in enumerate(columns, 1):
        _check_name(column, no)
        field = layout.field_of(column)
        key = f".{field}" if field else column
        if key in seen:
            raise InvalidPayload(f"Property .file has two columns for the same: '{seen[key]}' and '{column}'")
        seen[key] = column
    for field in layout.required:
        if f".{field}" not in seen:
            raise InvalidPayload(f"Property .file should have required column '{field}'")
    return [column.lower() if layout.field_of(column) else column for column in columns]


def _check_name(column: str, no: int) -> None:
    if not column:
        raise InvalidPayload(f"Property .file has no name for column {no}")
    if len(column) > ID_LENGTH_MAX:
        raise InvalidPayload(f"Property .file has a name of more than {ID_LENGTH_MAX} characters for column {no}")
    if _WHITE_SPACE.search(column):
        raise InvalidPayload(f"Property .file has white space in the name of a column: '{column}'")
    if "\x00" in column:
        raise InvalidPayload("Property .file must not contain a NUL character")


def _records(rows: Iterable[list[str]], columns: Sequence[str], *, rows_max: int, bytes_max: int) -> list[bytes]:
    records: list[bytes] = []
    size, width = 0, len(columns)
    encode = msgspec.json.Encoder().encode
    for no, row in enumerate(rows, 1):
        if no > rows_max:
            raise InvalidPayload(f"Property .file must have at most {rows_max} rows")
        if len(row) > width and any(row[width:]):
            raise InvalidPayload(f"Property .file has {len(row)} cells in row {no}, and {width} columns")
        record = encode({column: cell for column, cell in zip(columns, row, strict=False) if cell})
        if b"\\u0000" in record and any("\x00" in cell for cell in row):
            raise InvalidPayload(f"Property .file must not contain a NUL character: row {no} does")
        size += len(record)
        if size > bytes_max:
            raise InvalidPayload("Property .file has too many columns for its rows; cut it into files of fewer rows")
        records.append(record)
    return records
