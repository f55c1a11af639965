"""Imports of CSV files: how an uploaded file becomes an async action, and what its portions have in common.

A row says what a record is to be; the rows of a file are applied in their order, each seeing what those before it did,
and one that fails leaves no trace. No events come of an import, and so nothing that hangs on events.
"""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta, Struct

from punchcard.bulk import async_actions, csv_files
from punchcard.bulk.async_actions import Scheduled
from punchcard.bulk.csv_files import Layout, Table
from punchcard.bulk.jobs import Batch, Failure
from punchcard.bulk.updates import EFFECTS, RECORDS_AT_A_STRETCH, Plan, RowT, Upserts
from punchcard.db.database import Conn
from punchcard.errors import RecordError
from punchcard.http import forms, idempotency
from punchcard.http.answers import request_id_of
from punchcard.http.bodies import BodyBudget, BodyLimit, refuse_compressed
from punchcard.settings import Settings

# beside the event loop; one, because a file takes several times its bytes while it is split
_reader = ThreadPoolExecutor(1, thread_name_prefix="read_csv")
_cells_of = msgspec.json.Decoder(dict[str, str])


class Upload(Struct):
    """The form that an import of a file is sent as."""

    file: Annotated[str, Meta(description="A CSV file.", extra_json_schema={"format": "binary"})]


class Cells(Struct):
    """A row: its cells, by field and by metadata key. Empty cells are left out."""

    fields: dict[str, str]
    metadata: dict[str, str]

    def required(self, field: str) -> str:
        """The cell of a field. Raises `RecordError` if it is empty."""
        cell = self.fields.get(field)
        if not cell:
            raise RecordError(f"Record should have required property '{field}'")
        return cell


class Columns(Struct, frozen=True):
    """What a file has columns for, whatever of it a row has: fields, and whether there are any for metadata."""

    fields: frozenset[str]
    metadata: bool


class Applying(Protocol):
    """The state that rows are applied to."""

    def apply(self, cells: Cells) -> str:
        """Apply a row and say what became of it, by the names of `EFFECTS`. Raises `RecordError`, leaving no trace."""


class CsvImport(Upserts[RowT]):
    """A job over the rows of a file; a resource says what they are."""

    layout: Layout
    # what the result counts
    noun: str

    async def begin(
        self, conn: Conn, project: str, rows: Sequence[Cells], columns: Columns
    ) -> tuple[Applying, Plan[RowT]]:
        """Read what the rows name; the state to apply them to, and the plan that it fills."""
        raise NotImplementedError

    async def plan(self, conn: Conn, project: str, batch: Batch) -> Plan[RowT]:
        """Read the rows that are named, and apply the records to them in memory."""
        rows = [self._cells(body) for body in batch.bodies]
        state, plan = await self.begin(conn, project, rows, self._columns(batch.parameters))
        for no, cells in enumerate(rows):
            try:
                plan.counts[state.apply(cells)] += 1
            except RecordError as error:
                source_id = cells.fields.get("source_id")
                plan.failures.append(Failure(batch.first_record + no, source_id, str(error), batch.bodies[no]))
            if no % RECORDS_AT_A_STRETCH == 0:
                await asyncio.sleep(0)
        return plan

    def _cells(self, body: bytes) -> Cells:
        cells = Cells({}, {})
        for column, cell in _cells_of.decode(body).items():
            field = self.layout.field_of(column)
            if field is None:
                cells.metadata[column] = cell
            elif cell := cell.strip():
                cells.fields[field] = cell
        return cells

    def _columns(self, parameters: Mapping[str, Any]) -> Columns:
        fields = [self.layout.field_of(column) for column in parameters["columns"]]
        return Columns(frozenset(field for field in fields if field), None in fields)

    def source_id(self, body: bytes) -> str | None:
        """The source id of a row that could not be processed."""
        return self._cells(body).fields.get("source_id")

    def failure(self, row: int, source_id: str | None, reason: str) -> dict[str, Any]:
        """A failure of the result as it is documented; `row` is counted from 1, without the header."""
        return {"source_id": source_id or "", "row": row, "reason": reason}

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int], dry_run: bool
    ) -> dict[str, Any]:
        """The documented result."""
        message = f"{done} {self.noun}(s) imported successfully, {failed} failed."
        if failed > len(failures):
            message += f" The first {len(failures)} failures are listed."
        listed = [self.failure(each["index"] + 1, each["source_id"], each["reason"]) for each in failures]
        return {"message": message, "failed": listed, "done_count": done, "failed_count": failed}


def new_counts() -> dict[str, int]:
    """The counts of a plan that has nothing yet."""
    return dict.fromkeys(EFFECTS, 0)


# ---- accepting ---------------------------------------------------------------------------------


async def accept(request: Any, project: str, idempotency_key: str | None, job: CsvImport[Any]) -> Any:
    """Accept a form with a file for `job`: the answer to the request, which is the framework's.

    Raises `InvalidPayload` for what is no form, no CSV file or none with the columns it needs, and what
    `BodyBudget.raw` and `idempotency.once` raise.
    """
    budget: BodyBudget = request.app.state.body_budget
    settings: Settings = request.app.state.settings
    key = idempotency.checked(request, idempotency_key)
    limit = BodyLimit(settings.bulk_body_bytes_max, "bulk_body_bytes_max", wrapping=forms.WRAPPING_BYTES_MAX)
    content_type = request.headers.get("content-type", "")
    refuse_compressed(request)
    in_thread = functools.partial(asyncio.get_running_loop().run_in_executor, _reader)
    async with budget.raw(request, limit=limit) as body:
        file: bytes = await in_thread(functools.partial(forms.file_of, body, content_type, name="file", limit=limit))
        # of the file, not of the form: each time it is sent its parts are separated by something else
        once = await idempotency.once(request, project, key, file, threads=_reader)
        if (repeated := await once.repeated()) is not None:
            return repeated
        read = functools.partial(csv_files.read, file, job.layout, rows_max=settings.bulk_records_max)
        table: Table = await in_thread(read)

        async def act(conn: Conn) -> Scheduled:
            action_id = await async_actions.schedule(
                conn, project, job, records=table.records, request_id=request_id_of(request),
                parameters={"columns": table.columns},
            )  # fmt: skip
            return Scheduled(action_id)

        answer = await once.take_effect(act)
    request.app.state.work_notifier.ask()
    return answer
