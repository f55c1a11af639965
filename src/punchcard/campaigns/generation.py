"""Voucher generation: the long job that gives a campaign many vouchers.

A portion draws codes that are free, and writes them by COPY. It locks no campaign, and neither do the portions of the
other jobs of a campaign (`spreading`, `deletion`). What makes that right is that they share a lane, so that one portion
runs at a time, and that a request which changes or deletes a campaign schedules its job in the transaction of the
change. A portion that has read the campaign before that change has ended before the first portion of that job begins,
and the job finds what it wrote; one that begins later reads the campaign as it has become.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import errors as pg

from punchcard.bulk.jobs import Failure, Lane, Outcome, Stretch
from punchcard.campaigns import events, inheritance, storage
from punchcard.campaigns.inheritance import Overrides
from punchcard.db.database import Conn, StaleRead
from punchcard.events.events import Cause
from punchcard.vouchers import storage as vouchers
from punchcard.vouchers import validity
from punchcard.vouchers.storage import VoucherRow

FIRST_PORTION_RECORDS = 4000
CODE_INDEX = "vouchers_code"
REASON_DELETED = "The campaign was deleted"


class Wanted(Struct):
    """How many vouchers a campaign is to be given, and what they have otherwise than it says.

    `cause` is who asked for that; none if a version without events took the request. `first`: for a new campaign.
    """

    campaign_id: str
    count: int
    overrides: Overrides
    cause: Cause | None = None
    first: bool = False


class Plan(Struct):
    """The vouchers a portion will write."""

    rows: Sequence[VoucherRow]
    outcome: Outcome


class VouchersGeneration:
    """The job behind `POST /v1/campaigns` and `POST /v1/campaigns/{id}/vouchers` for more than one voucher."""

    type = storage.GENERATION
    lane = Lane.ROUND_ROBIN
    portion_records = FIRST_PORTION_RECORDS

    async def plan(self, conn: Conn, project: str, stretch: Stretch) -> Plan:
        """Read the campaign and draw codes. The cursor says how many vouchers came before."""
        wanted = msgspec.convert(stretch.parameters, Wanted)
        campaign = await storage.read(conn, project, wanted.campaign_id)
        if campaign is None:
            return Plan([], Outcome(0, ends=REASON_DELETED))
        attributes = inheritance.attributes(campaign, wanted.overrides)
        try:
            validity.check_dates(attributes.start_date, attributes.expiration_date)
        except validity.InvalidExpirationDate as error:
            return Plan([], Outcome(0, ends=f"The campaign has changed: {error}"))
        before = stretch.cursor or 0
        count = min(stretch.rows_max, wanted.count - before)
        config = wanted.overrides.code_config or campaign.voucher.code_config
        case_sensitive = await vouchers.case_sensitive(conn, project)
        codes = await vouchers.free_codes(conn, project, config, count, case_sensitive=case_sensitive)
        rows = vouchers.rows(codes, attributes, case_sensitive=case_sensitive)
        if not codes:
            reason = (
                f"No free code is left that its code_config can make: {before} of {wanted.count} vouchers were made"
            )
            return Plan([], Outcome(0, ends=reason))
        # fewer than wanted where free codes are rare: the next portion goes on
        return Plan(rows, Outcome(len(rows), cursor=_cursor(before + len(codes), wanted)))

    async def skip(self, conn: Conn, project: str, stretch: Stretch, reason: str) -> Outcome:
        """Leave a voucher out."""
        wanted = msgspec.convert(stretch.parameters, Wanted)
        failure = Failure(stretch.first_record, None, reason, b"{}")
        return Outcome(0, [failure], cursor=_cursor((stretch.cursor or 0) + 1, wanted))

    def outcome(self, plan: Plan) -> Outcome:
        return plan.outcome

    async def lock(self, conn: Conn, project: str, plan: Plan) -> None:
        """Nothing: a code that nobody has cannot be locked."""

    async def write(self, conn: Conn, project: str, plan: Plan) -> None:
        """Write the vouchers. A code that somebody took meanwhile has others drawn."""
        try:
            await vouchers.insert(conn, project, plan.rows)
        except pg.UniqueViolation as error:
            if error.diag.constraint_name == CODE_INDEX:
                raise StaleRead from error
            raise

    async def conclude(
        self, conn: Conn, project: str, action_id: str, parameters: Mapping[str, Any], *, succeeded: bool
    ) -> None:
        wanted = msgspec.convert(parameters, Wanted)
        await storage.end_job(conn, project, action_id, wanted.campaign_id, succeeded=succeeded)
        if wanted.cause is not None:
            await events.record_end(
                conn, project, wanted.cause, wanted.campaign_id, action_id, succeeded=succeeded, first=wanted.first
            )

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int], dry_run: bool
    ) -> dict[str, Any]:
        """The documented result."""
        return storage.result("Generated", done, failed)


def _cursor(made: int, wanted: Wanted) -> int | None:
    """How many vouchers came before the next portion; none when there is no other."""
    return made if made < wanted.count else None
