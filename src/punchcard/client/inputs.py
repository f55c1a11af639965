"""Input files: plain, `.gz` or `.xz`, from the disk or from standard input, read as one flat stream.

What a file is compressed with is told by its first bytes, never by its name: standard input has no name.
Progress is measured in bytes of the file as stored, because the unpacked size is not known beforehand.
"""

import gzip
import io
import lzma
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "-"
HEAD_BYTES = 4_096
_BUFFER_BYTES = 256 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_XZ_MAGIC = b"\xfd7zXZ\x00"
_BOM = b"\xef\xbb\xbf"

# What a reader can raise in the middle of a file: a bad disk, a cut download, a damaged archive.
DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error)


@dataclass(frozen=True, slots=True)
class Order:
    """One order as compact JSON, and where it stands.

    `orders.jsonl:12`, `orders.csv:12-15` if it takes several lines, or `orders.json[11]` in an array.
    """

    body: bytes
    place: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A piece of a file that is no order. It is reported, and the import goes on behind it."""

    place: str
    reason: str


@dataclass
class Tally:
    """What became of the lines of CSV files; each line is counted in exactly one of the first three.

    `unnamed` counts the orders with neither id nor source_id, of files of any kind.
    """

    items: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    rounded_prices: int = 0
    unnamed: int = 0


class _Rejoined(io.RawIOBase):
    """A stream of which the first bytes were already read to look at them; counts what is taken from it."""

    def __init__(self, head: bytes, rest: io.BufferedIOBase) -> None:
        self.taken = 0
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        if self._head:
            size = min(len(view), len(self._head))
            view[:size], self._head = self._head[:size], self._head[size:]
        else:
            size = self._rest.readinto1(view)
        self.taken += size
        return size


class Input:
    """An open input: `stream` gives unpacked bytes without a byte order mark, `head` shows how they begin."""

    def __init__(self, path: str, stdin: BinaryIO | None = None) -> None:
        self.path = path
        self.name = "standard input" if path == STDIN else Path(path).name.encode(errors="replace").decode()
        with ExitStack() as closing:
            self._stored, magic = _opened(path, stdin, closing)
            unpacked = _unpacked(self._stored, magic, closing)
            self.head = unpacked.read(HEAD_BYTES).removeprefix(_BOM)
            self._closing = closing.pop_all()
        self.stream = io.BufferedReader(_Rejoined(self.head, unpacked), _BUFFER_BYTES)

    @property
    def taken_bytes(self) -> int:
        """How much of the stored file has been read, in bytes."""
        return self._stored.taken

    def close(self) -> None:
        """Close what was opened here; standard input stays open."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _opened(path: str, stdin: BinaryIO | None, closing: ExitStack) -> tuple[_Rejoined, bytes]:
    """The stored bytes, and the first of them."""
    if path == STDIN:
        stored = cast("io.BufferedIOBase", stdin or sys.stdin.buffer)
    else:
        stored = closing.enter_context(Path(path).open("rb"))  # noqa: SIM115 - the stack closes it
    magic = stored.read(len(_XZ_MAGIC))
    return _Rejoined(magic, stored), magic


def _unpacked(stored: _Rejoined, magic: bytes, closing: ExitStack) -> io.BufferedIOBase:
    buffered = io.BufferedReader(stored, _BUFFER_BYTES)
    if magic.startswith(_GZIP_MAGIC):
        return closing.enter_context(gzip.GzipFile(fileobj=buffered))
    if magic == _XZ_MAGIC:
        return closing.enter_context(lzma.LZMAFile(buffered))
    return buffered


def lines(stream: BinaryIO | io.BufferedIOBase, limit: int) -> Iterator[bytes | None]:
    """The lines of a stream without their ends; None stands for one longer than `limit`, which is never held whole."""
    while line := stream.readline(limit + 2):
        if not line.endswith(b"\n") and len(line) == limit + 2:
            while (rest := stream.readline(limit)) and not rest.endswith(b"\n"):
                pass
            yield None
            continue
        line = line.rstrip(b"\r\n")
        yield line if len(line) <= limit else None
