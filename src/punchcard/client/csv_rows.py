"""The rows of a CSV file: dialect, encoding, quoted line breaks. A row that cannot be read costs itself only.

A stray quote opens a field that never ends; without a limit it would swallow all lines behind it. A row therefore
has at most `ROW_LINES_MAX` lines: beyond them its first line is in error, and reading goes on with the second.
"""

import codecs
import csv
import io
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from punchcard.client.conversions import without_apostrophe
from punchcard.client.inputs import lines
from punchcard.client.mapping import Csv, MappingInvalid

LINE_BYTES_MAX = 64 * 1024
ROW_LINES_MAX = 200


@dataclass(frozen=True, slots=True)
class CsvRow:
    """The trimmed cells of one row, and the lines of the file that it takes; counted from 1."""

    first: int
    last: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class BadRow:
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
    for first, last, text in _records(stream, dialect):
        if text is None:
            yield BadRow(first, f"the line is longer than {LINE_BYTES_MAX:,} bytes")
            continue
        try:
            decoded = text.decode(dialect.encoding)
            cells = next(
                csv.reader(
                    decoded.splitlines(keepends=True) if last > first else [decoded],
                    delimiter=dialect.delimiter,
                    quotechar=dialect.quote,
                    strict=True,
                ),
                [],
            )
        except UnicodeDecodeError:
            yield BadRow(first, f"not {dialect.encoding.upper()}")
            continue
        except csv.Error as error:
            yield BadRow(first, _explained(error, dialect))
            continue
        if not decoded.strip():
            continue
        cells = [cell.strip() for cell in cells]
        if dialect.strip_apostrophes:
            cells = [without_apostrophe(cell) for cell in cells]
        yield CsvRow(first, last, cells)


def _records(stream: BinaryIO | io.BufferedIOBase, dialect: Csv) -> Iterator[tuple[int, int, bytes | None]]:
    """First line, last line and bytes of each row; None for one with a line that is too long."""
    quote = dialect.quote.encode()
    numbered = enumerate(lines(stream, LINE_BYTES_MAX), 1)
    again: deque[tuple[int, bytes | None]] = deque()
    while (begin := again.popleft() if again else next(numbered, None)) is not None:
        first, line = begin
        if line is None or not dialect.quoted_line_breaks or line.count(quote) % 2 == 0:
            yield first, first, line
            continue
        taken = [begin]
        size = len(line)
        while len(taken) < ROW_LINES_MAX and size <= LINE_BYTES_MAX:
            following = again.popleft() if again else next(numbered, None)
            if following is None or following[1] is None:
                taken += [following] if following else []
                break
            taken.append(following)
            size += len(following[1])
            if following[1].count(quote) % 2:
                yield first, following[0], b"\n".join(part for _, part in taken if part is not None)
                taken = []
                break
        if taken:  # the quote is never closed: its line alone, and the others once more
            yield first, first, line
            again.extendleft(reversed(taken[1:]))


def _explained(error: csv.Error, dialect: Csv) -> str:
    if "unexpected end of data" in str(error):
        more = f" within {ROW_LINES_MAX} lines" if dialect.quoted_line_breaks else " in its line"
        return f"a quoted cell does not end{more}"
    return str(error)
