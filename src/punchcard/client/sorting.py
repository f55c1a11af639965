"""What would outgrow the memory on a file of any size: the orders already seen, and rows put together by order.

Both are temporary SQLite databases with a small cache. They spill into the system's directory for temporary
files (the variable SQLITE_TMPDIR or TMPDIR names another) and vanish with the process, however it ends.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from types import TracebackType
from typing import Self

import msgspec

from punchcard.client.csv_rows import CsvRow
from punchcard.errors import PunchcardError

CACHE_KIB = 8 * 1024
_COMMIT_EVERY = 50_000


class SpaceMissing(PunchcardError):
    """The directory for temporary files is full, or cannot be written."""


def _database(*tables: str) -> sqlite3.Connection:
    database = sqlite3.connect("", isolation_level=None)  # the empty name makes a temporary file
    database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    for table in tables:
        database.execute(table)
    return database


def _short(key: str) -> bytes:
    """16 bytes that stand for a key of any length: two of a billion keys share them once in 10^20 files."""
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


class _Temporary:
    """Closes its database, and says in words when the disk is full."""

    def __init__(self, *tables: str) -> None:
        self._database = _database(*tables)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.close()
        if isinstance(error, sqlite3.Error):
            raise SpaceMissing(
                f"The directory for temporary files does not do: {error}. --sort needs about three times the size of"
                " the unpacked file there; SQLITE_TMPDIR names another directory"
            ) from error


class Ended(_Temporary):
    """The orders that ended: at which line, and as how many parts."""

    def __init__(self) -> None:
        super().__init__("CREATE TABLE ended (key BLOB PRIMARY KEY, line INTEGER, parts INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")  # never committed: a transaction for each order takes twice as long

    def add(self, key: str, line: int, parts: int) -> None:
        self._database.execute("INSERT OR REPLACE INTO ended VALUES (?, ?, ?)", (_short(key), line, parts))

    def find(self, key: str) -> tuple[int, int] | None:
        """The line at which the order ended and the number of its parts, or None."""
        row: tuple[int, int] | None = self._database.execute(
            "SELECT line, parts FROM ended WHERE key = ?", (_short(key),)
        ).fetchone()
        return row


class Sorter(_Temporary):
    """Puts the rows of an order together, orders by their first row, rows in the order of the file."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE places (key BLOB PRIMARY KEY, place INTEGER) WITHOUT ROWID",
            "CREATE TABLE rows (place INTEGER, no INTEGER, row BLOB)",
        )
        self._place = self._no = 0
        self._database.execute("BEGIN")

    def add(self, key: str, row: CsvRow | None) -> None:
        """Take one row; None notes that the order has lost one."""
        place = self._place_of(_short(key))
        blob = msgspec.msgpack.encode((key, row))
        self._no += 1
        self._database.execute("INSERT INTO rows VALUES (?, ?, ?)", (place, self._no, blob))
        if self._no % _COMMIT_EVERY == 0:
            self._database.execute("COMMIT")
            self._database.execute("BEGIN")

    def _place_of(self, short: bytes) -> int:
        found = self._database.execute("SELECT place FROM places WHERE key = ?", (short,)).fetchone()
        if found:
            return int(found[0])
        self._place += 1
        self._database.execute("INSERT INTO places VALUES (?, ?)", (short, self._place))
        return self._place

    def sorted(self) -> Iterator[tuple[str, CsvRow | None]]:
        """What was taken, sorted."""
        self._database.execute("COMMIT")
        decoder = msgspec.msgpack.Decoder(tuple[str, CsvRow | None])
        with closing(self._database.execute("SELECT row FROM rows ORDER BY place, no")) as cursor:
            for (blob,) in cursor:
                yield decoder.decode(blob)
