"""Bulk updates: records that name stored rows by their source ids, and what comes of them whatever the rows are.

A record whose row does not exist makes one. The records of a request are applied in their order, each seeing what those
before it did; a record that fails leaves no trace. No events come of it, and so nothing that hangs on events.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct

from punchcard import ids
from punchcard.bulk.jobs import Batch, Failure, Lane, Outcome
from punchcard.bulk.portions import REASON_NOT_STORED, REASON_STOPPED_WORKERS
from punchcard.bulk.requests import RecordShape
from punchcard.db.database import Conn, StaleRead
from punchcard.errors import RecordError

FIRST_PORTION_RECORDS = 2000
# how many records are applied before other tasks of the worker get their turn: half a millisecond
RECORDS_AT_A_STRETCH = 64
# of a metadata update: its records are short, what is written for each is not
PORTION_METADATA_BYTES_MAX = 8 * 1024 * 1024
EFFECTS = ("created", "updated", "unchanged")


class Given(Protocol):
    """A record: which row it names, and what it says about it."""

    source_id: str
    metadata: dict[str, Any] | None


class Row(Protocol):
    """A stored row while a portion changes it; `version` is none while it does not exist."""

    id: str
    source_id: str | None
    version: str | None


class Checks(Protocol):
    """The metadata schemas of a project."""

    def check(self, resource: str, metadata: Mapping[str, Any] | None, *, creating: bool) -> None:
        """Raises `RecordError`."""


RowT = TypeVar("RowT", bound=Row)


class Plan(Struct, Generic[RowT]):
    """The rows as the records have left them, which of them to write, and what became of each record."""

    # by source id
    rows: dict[str, RowT]
    # by id, those that changed first in front
    changed: dict[str, RowT]
    failures: list[Failure]
    # a value for each column of the report
    report: list[tuple[str | None, bool, bool, str | None]]
    counts: dict[str, int]

    @property
    def new(self) -> list[RowT]:
        """The rows to make."""
        return [row for row in self.changed.values() if row.version is None]

    @property
    def known(self) -> list[RowT]:
        """The stored rows to change."""
        return [row for row in self.changed.values() if row.version is not None]


class Upserts(Generic[RowT]):
    """A job whose plan says which rows to make and which to change."""

    type: str
    lane = Lane.FIFO
    portion_records = FIRST_PORTION_RECORDS

    async def lock_rows(self, conn: Conn, project: str, rows: Sequence[RowT]) -> bool:
        """Lock stored rows in the one order of locks; whether all are as they were read."""
        raise NotImplementedError

    async def write_rows(self, conn: Conn, project: str, plan: Plan[RowT]) -> None:
        """Write the changed rows, of which the stored ones are locked."""
        raise NotImplementedError

    def outcome(self, plan: Plan[RowT]) -> Outcome:
        """What becomes of the records."""
        return Outcome(sum(plan.counts.values()), plan.failures, plan.counts, report=plan.report)

    async def lock(self, conn: Conn, project: str, plan: Plan[RowT]) -> None:
        """Lock what the plan would change, changed meanwhile or not."""
        await self.lock_rows(conn, project, plan.known)

    async def write(self, conn: Conn, project: str, plan: Plan[RowT]) -> None:
        """Write the plan. Raises `StaleRead`."""
        if not await self.lock_rows(conn, project, plan.known):
            raise StaleRead
        if plan.changed:
            await self.write_rows(conn, project, plan)


class BulkUpdate(Upserts[RowT]):
    """A job over such records; a resource says what its rows are.

    The records of a metadata update hold a source id alone: the metadata of all of them is in the action's parameters.
    """

    report_columns = ("source_id", "found", "updated", "reason")

    # the name of its metadata schema, and of its ids
    resource: str
    id_prefix: str
    shape: RecordShape[Any]

    # ---- what a resource says ----

    async def read(self, conn: Conn, project: str, source_ids: set[str]) -> tuple[Iterable[RowT], Checks]:
        """The stored rows among those named, and the metadata schemas."""
        raise NotImplementedError

    def new_row(self, row_id: str, source_id: str) -> RowT:
        """A row that has nothing but its ids yet."""
        raise NotImplementedError

    def refuse(self, row: RowT | None, given: Any) -> None:
        """Refuse a record that cannot be applied, to `row` if there is one. Raises `RecordError`."""

    def apply(self, row: RowT, given: Any) -> bool:
        """Change a row as a record says. Whether anything changed."""
        raise NotImplementedError

    # ---- the job ----

    async def plan(self, conn: Conn, project: str, batch: Batch) -> Plan[RowT]:
        """Read the rows that are named, and apply the records to them in memory."""
        records = self._decoded(batch)
        named = {given.source_id for given in records if not isinstance(given, RecordError)}
        stored, schemas = await self.read(conn, project, named)
        rows = {row.source_id: row for row in stored if row.source_id is not None}
        plan = Plan[RowT](rows, {}, [], [], dict.fromkeys(EFFECTS, 0))
        new_ids = ids.endless(self.id_prefix)
        for no, given in enumerate(records):
            source_id = None if isinstance(given, RecordError) else given.source_id
            found, reason = source_id in rows, None
            try:
                plan.counts[self._apply(plan, given, schemas, new_ids)] += 1
            except RecordError as error:
                reason = str(error)
                plan.failures.append(Failure(batch.first_record + no, source_id, reason, batch.bodies[no]))
            plan.report.append((source_id, found, reason is None, reason))
            if no % RECORDS_AT_A_STRETCH == 0:
                await asyncio.sleep(0)
        return plan

    def _decoded(self, batch: Batch) -> list[Given | RecordError]:
        """The records that the portion takes, and what is wrong with those that cannot be read."""
        metadata = batch.parameters.get("metadata")
        size = len(msgspec.json.encode(metadata)) if metadata else 0
        decoded: list[Given | RecordError] = []
        for body in batch.bodies[: max(1, PORTION_METADATA_BYTES_MAX // size) if size else None]:
            try:
                given = self.shape.decode(body)
            except RecordError as error:  # accepted by another version of this program
                decoded.append(error)
                continue
            if metadata is not None:
                given.metadata = metadata
            decoded.append(given)
        return decoded

    def _apply(self, plan: Plan[RowT], given: Given | RecordError, schemas: Checks, new_ids: Iterator[str]) -> str:
        """Apply one record and say what became of it, by the names of `EFFECTS`. Raises `RecordError`."""
        if isinstance(given, RecordError):
            raise given
        row = plan.rows.get(given.source_id)
        self.refuse(row, given)
        schemas.check(self.resource, given.metadata, creating=row is None)
        if row is None:
            row = plan.rows[given.source_id] = self.new_row(next(new_ids), given.source_id)
            self.apply(row, given)
            effect = "created"
        else:
            effect = "updated" if self.apply(row, given) else "unchanged"
        if effect != "unchanged":
            plan.changed[row.id] = row
        return effect

    def source_id(self, body: bytes) -> str | None:
        """The source id of a record as it was sent."""
        try:
            return str(self.shape.decode(body).source_id)
        except RecordError:
            return None

    def report_of_failure(self, failure: Failure) -> Sequence[Any]:
        """It is not known whether there is such a row."""
        return failure.source_id, None, False, failure.reason

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int], dry_run: bool
    ) -> dict[str, Any]:
        """The documented result but for the reports, which are added when it is read."""
        return {"done_count": done, "failed_count": failed, "errors": [error_of(failure) for failure in failures]}


# ---- results -----------------------------------------------------------------------------------

# the documented keys and messages of failures, by how their reasons begin; all others violate a metadata schema
_ERRORS = (
    (REASON_STOPPED_WORKERS, "internal_error", "Internal error"),
    (REASON_NOT_STORED, "invalid_payload", "Invalid payload"),
    ("Property .", "invalid_payload", "Invalid payload"),
    ("Payload ", "invalid_payload", "Invalid payload"),
    ("Cannot find ", "not_found", "Resource not found"),
    ("Product with source_id", "duplicate_source_id", "Duplicate source_id"),
)


def error_of(failure: Mapping[str, Any], *, named: str = "source_id") -> dict[str, Any]:
    """A failure of a result as it is documented for updates, its record named by `named` (`code` for vouchers)."""
    reason: str = failure["reason"]
    key, message = "metadata_validation_failed", "Metadata validation failed"
    for beginning, other_key, other_message in _ERRORS:
        if reason.startswith(beginning):
            key, message = other_key, other_message
    return {"message": message, "details": reason, "key": key, named: failure["source_id"]}
