"""The rows of one table while a batch of orders changes them, with changes that can be taken back order by order."""

from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar


class _Row(Protocol):
    id: str
    source_id: str | None
    version: str | None


RowT = TypeVar("RowT", bound=_Row)


def copied(row: RowT) -> RowT:
    """A shallow copy; half the time of `copy.copy`, of which this is all that is needed here."""
    made: RowT = row.__copy__()  # type: ignore[attr-defined]
    return made


class Rows(Generic[RowT]):
    """Rows by id and by source id.

    A row is never changed in place but by the order that copied it (`edit`): what was planned before keeps what it
    holds. `keep` ends an order, `undo` takes back all that it did.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, RowT] = {}
        self._by_source: dict[str, RowT] = {}
        # look-ups; None finds none. The dictionaries' own, because there are tens of thousands in a batch
        self.by_id: Callable[[str | None], RowT | None] = self._by_id.get  # type: ignore[assignment]
        self.by_source: Callable[[str | None], RowT | None] = self._by_source.get  # type: ignore[assignment]
        # what the order in hand has touched, as it was before; none for what was not there
        self._before: dict[str, RowT | None] = {}
        # how many rows were made, and how often one that was there was changed
        self.created = self.updated = 0
        self._kept = (0, 0)

    def learn(self, rows: Iterable[RowT]) -> list[RowT]:
        """Take stored rows that are not known yet, and return them."""
        new = [row for row in rows if row.id not in self._by_id]
        for row in new:
            self._by_id[row.id] = row
            if row.source_id is not None:
                # an order that was given this source id meanwhile has it
                self._by_source.setdefault(row.source_id, row)
        return new

    def add(self, row: RowT) -> RowT:
        """Take a row that does not exist yet."""
        self.created += 1
        self.put(row)
        return row

    def edit(self, row: RowT) -> RowT:
        """The copy of `row` that belongs to the order in hand, to be changed; its source id by `put` only."""
        if row.id in self._before:
            return row
        ours = copied(row)
        self.put(ours)
        return ours

    def put(self, row: RowT) -> None:
        """Let `row` take the place of what had its id, source id included."""
        present = self._by_id.get(row.id)
        self._before.setdefault(row.id, present)
        if present is not None and present.source_id is not None and present.source_id != row.source_id:
            del self._by_source[present.source_id]
        self._by_id[row.id] = row
        if row.source_id is not None:
            self._by_source[row.source_id] = row

    def keep(self) -> None:
        """The order in hand went in."""
        if self._before:
            self._before = {}
            self._kept = (self.created, self.updated)

    def undo(self) -> None:
        """The order in hand failed: everything is as it was before it."""
        for row_id in self._before:
            row = self._by_id[row_id]
            if row.source_id is not None:
                del self._by_source[row.source_id]
        for row_id, before in self._before.items():
            if before is None:
                del self._by_id[row_id]
                continue
            self._by_id[row_id] = before  # in its place: rows are numbered in the order in which they were made
            if before.source_id is not None:
                self._by_source[before.source_id] = before
        self._before = {}
        self.created, self.updated = self._kept

    def all(self) -> Iterable[RowT]:
        return self._by_id.values()
