"""What an import leaves for a person to correct: the orders that failed, and the lines that could not be read.

Failed orders are JSON Lines that can be imported again: each is the order as it was sent, with `import_failure`
in front, which the server ignores. Unreadable lines are no orders; they stand in a text of their own.
"""

import os
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from punchcard.client.inputs import STDIN, Order, Unreadable
from punchcard.errors import PunchcardError

_SUFFIXES = (".gz", ".xz"), (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson")
_MARK = b'"import_failure"'
_NUMBERED_MAX = 10_000


class ReportUnwritable(PunchcardError):
    """A report that cannot be written: an import that cannot keep its failures does not go on."""


class _Failure(msgspec.Struct):
    place: str
    index: int
    reason: str


class Report:
    """A file that is made when the first thing is written to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def resume(self, size: int) -> bool:
        """Go on behind the first `size` bytes and drop what follows them; false if the file is no longer that one."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(size - 1, 0))
                fits = size == 0 or file.read(1) == b"\n"
            if fits:
                os.truncate(self.path, size)
                self.size = size
        except FileNotFoundError:
            return size == 0
        except OSError as error:
            raise ReportUnwritable(f"{self.path} cannot be written: {error.strerror}") from error
        return fits

    def write(self, line: bytes) -> None:
        """Append one line."""
        try:
            if self._file is None:
                self._file = self.path.open("ab")
            self._file.write(line)
        except OSError as error:
            raise ReportUnwritable(f"{self.path} cannot be written: {error.strerror}") from error
        self.size += len(line)

    def sync(self) -> int:
        """Have everything on the disk; the size."""
        if self._file:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise ReportUnwritable(f"{self.path} cannot be written: {error.strerror}") from error
        return self.size


def failure_line(order: Order, index: int, reason: str) -> bytes:
    """The line of a failed order; an earlier failure of the same order is dropped from it."""
    failure = msgspec.json.encode(_Failure(order.place, index, reason))
    body = order.body
    if _MARK in body:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        fields.pop("import_failure", None)
        body = msgspec.json.encode(fields)
    rest = body[1:] if body == b"{}" else b"," + body[1:]
    return b'{"import_failure":' + failure + rest + b"\n"


def unreadable_line(item: Unreadable) -> bytes:
    """The line of something that is no order."""
    text = f"{item.place}: {item.reason}"
    return ("".join(sign if sign.isprintable() else "?" for sign in text) + "\n").encode()


def free_path(files: list[str], kind: str) -> Path:
    """A name that is not taken: `orders.failures.jsonl` beside `orders.csv`, else in the working directory."""
    first = Path("standard-input" if files[0] == STDIN else files[0])
    folder = first.parent if os.access(first.parent, os.W_OK) else Path()
    name = first.name
    for suffixes in _SUFFIXES:
        name = next((name[: -len(each)] for each in suffixes if name.lower().endswith(each)), name)
    stem, _, end = kind.rpartition(".")
    name = name.removesuffix(f".{stem}")  # a corrected file that fails again
    for number in range(1, _NUMBERED_MAX):
        path = folder / (f"{name}.{kind}" if number == 1 else f"{name}.{stem}-{number}.{end}")
        if not path.exists():
            return path
    raise ReportUnwritable(f"{folder} holds {_NUMBERED_MAX:,} files like {name}.{kind}; remove some")
