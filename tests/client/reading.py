"""How the tests read: bytes in, items out, through the same door as the command."""

import io
from pathlib import Path

from punchcard.client import readers
from punchcard.client.inputs import STDIN, Input, Order, Tally, Unreadable
from punchcard.client.mapping import Mapping

LIMIT = 8_000_000


def read_bytes(
    data: bytes,
    *,
    file_format: readers.Format | None = None,
    limit: int = LIMIT,
    tally: Tally | None = None,
    mapping: Mapping | None = None,
    sort: bool = False,
) -> list[Order | Unreadable]:
    """Everything a reader finds in `data`, given as standard input."""
    with Input(STDIN, io.BytesIO(data)) as source:
        found = readers.read(
            source,
            file_format=file_format,
            order_bytes_max=limit,
            tally=tally or Tally(),
            mapping=mapping,
            sort=sort,
        )
        return list(found)


def read_file(path: Path, tally: Tally | None = None) -> list[Order | Unreadable]:
    """Everything a reader finds in a file."""
    with Input(str(path)) as source:
        return list(readers.read(source, file_format=None, order_bytes_max=LIMIT, tally=tally or Tally()))


def bodies(items: list[Order | Unreadable]) -> list[bytes]:
    """The orders alone."""
    return [item.body for item in items if isinstance(item, Order)]


def errors(items: list[Order | Unreadable]) -> list[Unreadable]:
    """What could not be read."""
    return [item for item in items if isinstance(item, Unreadable)]
