"""The payload of a request as a portion reads it: at most three pieces, and so about 3 MB, at a time."""

import msgspec
from msgspec import Struct

from punchcard.bulk.jobs import Batch
from punchcard.bulk.lanes import SQL, Claim
from punchcard.db.database import Conn
from punchcard.errors import PunchcardError


class PayloadMissing(PunchcardError):
    """An unfinished action has no payload for its next record."""


class Stock(Struct, frozen=True):
    """Records `first` to `end` of a request, without the latter, as they were sent."""

    first: int
    end: int
    bodies: list[bytes]

    def batch(self, first: int, limit: int) -> Batch:
        """At most `limit` records from `first` on."""
        return Batch(first, self.bodies[first - self.first :][:limit])


async def fetch(conn: Conn, claim: Claim, record: int, limit: int) -> Stock:
    """A record and, as far as three pieces hold them, those behind it: `limit` at least. Raises `PayloadMissing`."""
    parameters = {"project_id": claim.project, "id": claim.id, "record": record, "limit": record + limit}
    rows = await (await conn.execute(SQL.async_action_pieces_get, parameters, binary=True)).fetchall()
    if not rows or record >= rows[0].first_record + rows[0].records:
        raise PayloadMissing(f"Action {claim.id} has no payload for record {record}")
    first, end, bodies = rows[0].first_record, rows[0].first_record, list[bytes]()
    for row in rows:
        if row.first_record != end:  # a later one may be there while one before it is missing
            break
        bodies += [bytes(body) for body in msgspec.json.decode(row.body, type=list[msgspec.Raw])]
        end += row.records
    return Stock(first, end, bodies)
