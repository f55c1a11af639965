"""The files of an import as one stream of orders."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from punchcard.client import readers
from punchcard.client.inputs import DAMAGED, STDIN, Input, Order, Tally, Unreadable
from punchcard.client.mapping import Mapping


class Sources:
    """Reads one file after another; knows how far it got in bytes as stored."""

    def __init__(
        self,
        files: list[str],
        *,
        file_format: readers.Format | None,
        mapping: Mapping | None,
        sort: bool,
        order_bytes_max: int,
        stdin: BinaryIO | None,
    ) -> None:
        self.tally = Tally()
        self.order_bytes_max = order_bytes_max
        self._files = files
        self._format = file_format
        self._mapping = mapping
        self._sort = sort
        self._stdin = stdin
        self._finished_bytes = 0
        self._open: Input | None = None

    @property
    def are_files(self) -> bool:
        """All of them can be read again."""
        return all(file != STDIN and Path(file).is_file() for file in self._files)

    @property
    def total_bytes(self) -> int | None:
        """The size of all files, or None if one of them has none."""
        return sum(Path(file).stat().st_size for file in self._files) if self.are_files else None

    def taken_bytes(self) -> int:
        return self._finished_bytes + (self._open.taken_bytes if self._open else 0)

    def read(self) -> Iterator[Order | Unreadable]:
        for file in self._files:
            try:
                self._open = Input(file, self._stdin)
            except DAMAGED as error:
                yield Unreadable(file, f"the file is damaged: {error}")
                continue
            yield from readers.read(
                self._open,
                file_format=self._format,
                order_bytes_max=self.order_bytes_max,
                tally=self.tally,
                mapping=self._mapping,
                sort=self._sort,
            )
            self.close()

    def close(self) -> None:
        """Close the file that is open, if one is."""
        if self._open:
            self._finished_bytes += self._open.taken_bytes
            self._open.close()
            self._open = None
