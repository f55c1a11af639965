"""Import of customers from a CSV file: a row overwrites what its file has columns for, metadata as a whole."""

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, Response, post
from msgspec import Struct

from punchcard import ids
from punchcard.bulk import csv_imports
from punchcard.bulk.async_actions import Scheduled
from punchcard.bulk.csv_files import Layout
from punchcard.bulk.csv_imports import Cells, Columns, CsvImport
from punchcard.bulk.jobs import Batch
from punchcard.bulk.updates import Plan
from punchcard.customers import bulk, customers
from punchcard.customers.customers import Address, CustomerIn, CustomerRow
from punchcard.db.database import Conn
from punchcard.errors import RecordError, RecordMissing
from punchcard.http import idempotency
from punchcard.http.shapes import complaint, same_json
from punchcard.metadata_schemas import cells as metadata_cells
from punchcard.metadata_schemas import metadata_schemas
from punchcard.metadata_schemas.validation import Schemas

CAUSE = "customers.import_csv"
EXAMPLE = {"file": "name,source_id,email,city,lang\nAnn,ann,ann@example.com,London,en\n"}

_OF_ADDRESS = ("line_1", "line_2", "postal_code", "city", "state", "country")
_PLAIN = ("id", "source_id", "name", "email", "phone", "birthdate", "description")
# the documents and the template name the parts of an address in two ways
LAYOUT = Layout(
    {name: name for name in _PLAIN}
    | {f"address_{part}": part for part in _OF_ADDRESS}
    | {part: part for part in ("postal_code", "city", "state", "country")}
)


class _Values(Struct):
    """What a row says, checked."""

    given: CustomerIn
    address: dict[str, str]


class _People:
    """The customers that a portion's rows name, as the rows so far have left them."""

    def __init__(self, stored: Sequence[CustomerRow], schemas: Schemas, columns: Columns) -> None:
        rows = {row.source_id: row for row in stored if row.source_id is not None}
        self.plan = Plan[CustomerRow](rows, {}, [], [], csv_imports.new_counts())
        self._by_id = {row.id: row for row in stored}
        self._schemas, self._columns = schemas, columns
        self._definitions = schemas.definitions("customer")
        self._new_ids = ids.endless("cust")

    def apply(self, cells: Cells) -> str:
        """Apply a row and say what became of it. Raises `RecordError`."""
        if not cells.fields and not cells.metadata:  # as spreadsheets write them below the last one
            raise RecordError("Record is empty")
        values = _values(cells)
        values.given.metadata = metadata_cells.metadata_of(cells.metadata, self._definitions)
        row = self._named(values.given)
        if row is None or self._columns.metadata:
            self._schemas.check("customer", values.given.metadata, creating=True)
        if row is not None:
            return "updated" if self._overwrite(row, values) else "unchanged"
        row = CustomerRow(next(self._new_ids), values.given.source_id)
        self._overwrite(row, values)
        self._by_id[row.id] = self.plan.changed[row.id] = row
        if row.source_id is not None:
            self.plan.rows[row.source_id] = row
        return "created"

    def _named(self, given: CustomerIn) -> CustomerRow | None:
        if given.id is not None:
            if given.id not in self._by_id:
                raise RecordMissing("customer", given.id)
            return self._by_id[given.id]
        return None if given.source_id is None else self.plan.rows.get(given.source_id)

    def _overwrite(self, row: CustomerRow, values: _Values) -> bool:
        """Write what the file has columns for; an empty cell takes away what was there. Whether anything changed."""
        changed = False
        for field in self._columns.fields.intersection(("name", "email", "phone", "description", "birthdate")):
            value = getattr(values.given, field)
            if value != getattr(row, field):
                setattr(row, field, value)
                changed = True
        parts = self._columns.fields.intersection(_OF_ADDRESS)
        if parts:
            address = _address_of(row.address, {part: values.address.get(part) for part in parts})
            if address != row.address:
                row.address, changed = address, True
        metadata = values.given.metadata or {}
        if self._columns.metadata and not same_json(metadata, row.metadata):
            row.metadata, changed = metadata, True
        if changed:
            row.attributes_changed = True
            self.plan.changed[row.id] = row
        return changed


def _values(cells: Cells) -> _Values:
    """What a row says. Raises `RecordError` for a value that a customer cannot have."""
    plain: dict[str, Any] = {field: cells.fields[field] for field in _PLAIN if field in cells.fields}
    if "birthdate" in plain:
        plain["birthdate"] = metadata_cells.date_of(plain["birthdate"]) or plain["birthdate"]
    try:
        given = msgspec.convert(plain, CustomerIn)
    except msgspec.ValidationError as error:
        raise RecordError(complaint(error)) from None
    return _Values(given, {part: cells.fields[part] for part in _OF_ADDRESS if part in cells.fields})


def _address_of(before: Address | None, parts: dict[str, str | None]) -> Address | None:
    address = msgspec.structs.replace(before or Address(), **parts)
    return None if address == Address() else address


class CustomersCsvImport(CsvImport[CustomerRow]):
    """The job behind `POST /v1/customers/importCSV`."""

    type = "CUSTOMERS.IMPORT_CSV"
    layout = LAYOUT
    noun = "customer"
    places_customers = True

    async def plan(self, conn: Conn, project: str, batch: Batch) -> Plan[CustomerRow]:
        """As any import of a file; what changes bears the id of the async action."""
        return bulk.mark(await super().plan(conn, project, batch), batch.action_id)

    async def begin(
        self, conn: Conn, project: str, rows: Sequence[Cells], columns: Columns
    ) -> tuple[_People, Plan[CustomerRow]]:
        """Read the customers that the rows name, and the metadata schemas."""
        named = [{row.fields[field] for row in rows if field in row.fields} for field in ("id", "source_id")]
        stored = await customers.resolve(conn, project, ids=named[0], source_ids=named[1])
        people = _People(stored, await metadata_schemas.load(conn, project), columns)
        return people, people.plan

    async def lock_rows(self, conn: Conn, project: str, rows: Sequence[CustomerRow]) -> bool:
        """Lock stored customers; whether all are as they were read."""
        return await customers.lock(conn, project, rows)

    async def write_rows(self, conn: Conn, project: str, plan: Plan[CustomerRow]) -> None:
        """Write the changed customers, and have them placed into segments again."""
        await bulk.write(conn, project, plan, cause=CAUSE)


@post(
    "/v1/customers/importCSV", status_code=202, operation_id="import-and-update-customers-using-csv",
    tags=["Customers"],
)  # fmt: skip
async def post_import_csv(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Scheduled]:
    """Import customers from a CSV file.

    As one async action, in the form's part `file`: UTF-8, separated by commas, the names of the columns first. Columns
    are Id, Source_id, Name, Email, Phone, Birthdate, Description, Address_line_1, Address_line_2, Address_Postal_Code,
    Address_City, Address_State and Address_Country, in any case, the last four also without `Address_`; every other one
    is metadata, of the type that the metadata schema says. A customer whose id or source id is there is overwritten
    with what the file has columns for, metadata as a whole; all others are created. No events, no webhooks; the
    customers concerned are noted for their segments.
    """
    answer: Response[Scheduled] = await csv_imports.accept(request, project, idempotency_key, CustomersCsvImport())
    return answer


ROUTES = [post_import_csv]
