"""Bulk updates of vouchers' metadata: for each voucher its own, or the same for all of them. Nothing is upserted."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import Request, Response, post
from msgspec import Meta, Struct

from punchcard.bulk import requests
from punchcard.bulk.async_actions import Scheduled
from punchcard.bulk.jobs import Batch, Failure
from punchcard.bulk.requests import RecordShape
from punchcard.bulk.updates import EFFECTS, RECORDS_AT_A_STRETCH, BulkUpdate, Checks, Given, Plan, error_of
from punchcard.db import statements
from punchcard.db.database import Conn
from punchcard.errors import NotFound, RecordError
from punchcard.http import idempotency
from punchcard.http.shapes import ID_LENGTH_MAX, same_json
from punchcard.metadata_schemas import metadata_schemas
from punchcard.settings import Settings
from punchcard.vouchers import codes, storage, vouchers

SQL = statements.beside(__file__)

# what the interactive page offers to send
EXAMPLE = [{"code": "WELCOME-10", "metadata": {"season": "autumn"}}]
METADATA_EXAMPLE = {"codes": ["WELCOME-10", "WELCOME-20"], "metadata": {"season": "autumn"}}


Code: TypeAlias = Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX)]


class VoucherMetadata(Struct, rename={"source_id": "code"}):
    """A voucher of a bulk update, and metadata that is merged into its own by key."""

    source_id: Code
    metadata: dict[str, Any]


class VouchersMetadata(Struct):
    """Vouchers, and metadata that is merged into that of each by key."""

    codes: list[Code]
    metadata: dict[str, Any]


class _Listed(Struct, rename={"source_id": "code"}):
    """A voucher of a metadata update, as it is stored with its action."""

    source_id: str
    metadata: dict[str, Any] | None = None


class VoucherRow(Struct):
    """A voucher while a portion changes it. `source_id` is the key of its code; `schema` is its metadata's."""

    id: str
    source_id: str | None
    version: str | None
    metadata: dict[str, Any]
    schema: str


class VouchersBulkUpdate(BulkUpdate[VoucherRow]):
    """The job behind `POST /v1/vouchers/bulk/async`."""

    type = "VOUCHERS.BULK_UPDATE"
    report_columns = ("code", "found", "updated", "reason")
    shape: RecordShape[Any] = RecordShape(
        VoucherMetadata,
        nouns="vouchers",
        is_plain=lambda record: vouchers.is_plain_metadata(record.metadata),
        check_metadata=lambda record, path: vouchers.check_metadata(record.metadata, f"{path}.metadata"),
    )

    async def plan(self, conn: Conn, project: str, batch: Batch) -> Plan[VoucherRow]:
        """Read the vouchers that are named, and apply the records to them in memory."""
        records = self._decoded(batch)
        case_sensitive = await storage.case_sensitive(conn, project)
        keys = [
            "" if isinstance(given, RecordError) else codes.key_of(given.source_id, case_sensitive=case_sensitive)
            for given in records
        ]
        rows = await _read(conn, project, set(keys))
        schemas = await metadata_schemas.load(conn, project)
        plan = Plan[VoucherRow](rows, {}, [], [], dict.fromkeys(EFFECTS, 0))
        for no, (key, given) in enumerate(zip(keys, records, strict=True)):
            code = None if isinstance(given, RecordError) else given.source_id
            row, reason = rows.get(key), None
            try:
                plan.counts[self._merge(plan, row, given, schemas)] += 1
            except (NotFound, RecordError) as error:
                reason = str(error)
                plan.failures.append(Failure(batch.first_record + no, code, reason, batch.bodies[no]))
            plan.report.append((code, row is not None, reason is None, reason))
            if no % RECORDS_AT_A_STRETCH == 0:
                await asyncio.sleep(0)
        return plan

    def _merge(
        self, plan: Plan[VoucherRow], row: VoucherRow | None, given: Given | RecordError, schemas: Checks
    ) -> str:
        """Apply one record and say what became of it, by the names of `EFFECTS`. Raises `NotFound`, `RecordError`."""
        if isinstance(given, RecordError):
            raise given
        if row is None:
            raise NotFound("voucher", given.source_id)
        schemas.check(row.schema, given.metadata, creating=False)
        merged = {**row.metadata, **(given.metadata or {})}
        if same_json(merged, row.metadata):
            return "unchanged"
        row.metadata = merged
        plan.changed[row.id] = row
        return "updated"

    async def lock_rows(self, conn: Conn, project: str, rows: Sequence[VoucherRow]) -> bool:
        """Lock vouchers; whether all are as they were read."""
        return await storage.lock(conn, project, {row.id: row.version for row in rows if row.version is not None})

    async def write_rows(self, conn: Conn, project: str, plan: Plan[VoucherRow]) -> None:
        """Write the changed vouchers."""
        changes = {row.id: msgspec.json.encode(row.metadata) for row in plan.changed.values()}
        await storage.update_metadata(conn, project, changes)

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int], dry_run: bool
    ) -> dict[str, Any]:
        """The documented result but for the reports, which are added when it is read."""
        errors = [error_of(failure, named="code") for failure in failures]
        return {"done_count": done, "failed_count": failed, "errors": errors}


async def _read(conn: Conn, project: str, code_keys: set[str]) -> dict[str, VoucherRow]:
    """The vouchers with some code keys, by these. Those of a campaign follow the schema that it has chosen."""
    stored = await storage.resolve(conn, project, code_keys)
    campaigns = {voucher.campaign_id for voucher in stored if voucher.campaign_id is not None}
    own_schema: set[str | None] = {None}
    if campaigns:
        parameters = {"project_id": project, "ids": list(campaigns)}
        found = await (await conn.execute(SQL.campaigns_with_voucher_schema, parameters)).fetchall()
        own_schema |= {campaign.id for campaign in found}
    return {
        v.code_key: VoucherRow(
            v.id, v.code_key, v.version, v.metadata, "voucher" if v.campaign_id in own_schema else "campaign"
        )
        for v in stored
    }


class VouchersMetadataUpdate(VouchersBulkUpdate):
    """The job behind `POST /v1/vouchers/metadata/async`."""

    type = "VOUCHERS.METADATA_UPDATE"
    shape = RecordShape(_Listed, nouns="vouchers")


# ---- handlers ----------------------------------------------------------------------------------


@post("/v1/vouchers/bulk/async", status_code=202, operation_id="update-vouchers-in-bulk", tags=["Vouchers"])
async def post_bulk_update(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Scheduled]:
    """Update vouchers in bulk.

    The metadata of each voucher is merged by key, as one async action; nothing else can be changed so, and no voucher
    is created. A code that is not known is listed in the result and costs the others nothing.
    """
    settings: Settings = request.app.state.settings
    answer: Response[Scheduled] = await requests.accept_records(
        request, project, idempotency_key, VouchersBulkUpdate(), VouchersBulkUpdate.shape,
        records_max=settings.bulk_records_max, limit=requests.body_limit(settings),
    )  # fmt: skip
    return answer


@post(
    "/v1/vouchers/metadata/async", status_code=202, operation_id="update-vouchers-metadata-in-bulk",
    tags=["Vouchers"],
)  # fmt: skip
async def post_metadata_update(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Scheduled]:
    """Update vouchers' metadata in bulk.

    All listed vouchers get the same metadata, merged into their own by key, as one async action. A code that is not
    known is listed in the result and costs the others nothing.
    """
    answer: Response[Scheduled] = await requests.accept_listed(
        request, project, idempotency_key, VouchersMetadataUpdate(), field="codes", key="code",
        check_metadata=vouchers.check_metadata,
    )  # fmt: skip
    return answer


ROUTES = [post_bulk_update, post_metadata_update]
