"""The rows of a CSV file: dialect, encoding, quoted line breaks. A row that cannot be read costs itself only.

A stray quote opens a field that never ends; without a limit it would swallow all lines behind it. A row therefore
has at most `ROW_LINES_MAX` lines: beyond them its first line is in error, and reading goes on with the second.
"""

import codecs
import csv
import io
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, Self

import msgspec

from punchcard.client.conversions import without_apostrophe
from punchcard.client.inputs import lines
from punchcard.client.mapping import Csv, MappingInvalid

LINE_BYTES_MAX = 64 * 1024
ROW_LINES_MAX = 200

# None stands for a line that is too long
Numbered = tuple[int, bytes | None]


class CsvRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The trimmed cells of one row, and the lines of the file that it takes; counted from 1."""

    first: int
    last: int
    cells: list[str]


class BadRow(msgspec.Struct, frozen=True):
    """Lines that are no row of this file."""

    line: int
    reason: str


def check(dialect: Csv) -> None:
    """Raise `MappingInvalid` for a dialect that cannot be read."""
    for name, sign in (("delimiter", dialect.delimiter), ("quote", dialect.quote)):
        if len(sign) != 1 or sign in "\r\n" or not sign.isascii():
            raise MappingInvalid(f"csv.{name}: is one character, not {sign!r}")
    if dialect.delimiter == dialect.quote:
        raise MappingInvalid("csv.quote: is the delimiter too")
    try:
        plain = codecs.encode("\r\n,;\"'0a", dialect.encoding) == b"\r\n,;\"'0a"
    except (LookupError, UnicodeError):
        raise MappingInvalid(f"csv.encoding: there is no encoding {dialect.encoding!r}") from None
    if not plain:
        raise MappingInvalid(
            f"csv.encoding: {dialect.encoding} writes even ASCII in another way; convert the file to utf-8"
        )


def rows(stream: BinaryIO | io.BufferedIOBase, dialect: Csv) -> Iterator[CsvRow | BadRow]:
    """All rows but the blank ones, the header included. The number of cells is not looked at."""
    numbered = _Lines(stream)
    quoted = _Quoted(numbered, dialect)
    for first, line in numbered:
        if line is None:
            yield BadRow(first, f"the line is longer than {LINE_BYTES_MAX:,} bytes")
            continue
        last = first
        try:
            text = line.decode(dialect.encoding)
            if dialect.quote in text or "\r" in text or "\n" in text:
                cells, last = quoted.row(first, text)
            else:  # most lines; the csv module would take several times as long
                cells = text.split(dialect.delimiter)
        except UnicodeDecodeError:
            yield BadRow(first, f"not {dialect.encoding.upper()}")
            continue
        except csv.Error as error:
            yield BadRow(first, _explained(error, dialect))
            continue
        if not text.strip():
            continue
        cells = list(map(str.strip, cells))
        if dialect.strip_apostrophes:
            cells = [without_apostrophe(cell) for cell in cells]
        yield CsvRow(first, last, cells)


class _Lines:
    """The lines of a stream with their numbers. Those that were taken for a part of a row can be put back."""

    def __init__(self, stream: BinaryIO | io.BufferedIOBase) -> None:
        self._numbered = enumerate(lines(stream, LINE_BYTES_MAX), 1)
        self._again: deque[Numbered] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Numbered:
        return self._again.popleft() if self._again else next(self._numbered)

    def put_back(self, taken: list[Numbered]) -> None:
        self._again.extendleft(reversed(taken))


class _Quoted:
    """Reads rows with quotes, which may go over several lines: the csv module says where they end."""

    def __init__(self, numbered: _Lines, dialect: Csv) -> None:
        self._numbered = numbered
        self._encoding = dialect.encoding
        self._breaks = dialect.quoted_line_breaks
        self._form = csv.reader([], delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True).dialect

    def row(self, first: int, text: str) -> tuple[list[str], int]:
        """The cells of the row that begins with a line, and its last line. A row in error takes its first line only."""
        taken: list[Numbered] = []
        try:
            cells = next(csv.reader(self._fed(text, taken), self._form))
        except (csv.Error, UnicodeDecodeError):
            self._numbered.put_back(taken)
            raise
        return cells, first + len(taken)

    def _fed(self, text: str, taken: list[Numbered]) -> Iterator[str]:
        yield f"{text}\n"
        size = len(text)
        while self._breaks and len(taken) < ROW_LINES_MAX - 1 and size <= LINE_BYTES_MAX:
            following = next(self._numbered, None)
            if following is None:
                return
            taken.append(following)
            if following[1] is None:
                return
            size += len(following[1])
            yield f"{following[1].decode(self._encoding)}\n"


def _explained(error: csv.Error, dialect: Csv) -> str:
    if "unexpected end of data" in str(error):
        more = f" within {ROW_LINES_MAX} lines" if dialect.quoted_line_breaks else " in its line"
        return f"a quoted cell does not end{more}"
    return str(error)
