"""The payload of a request as a portion reads it: at most three pieces, and so about 3 MB, at a time."""

from collections.abc import Iterator, Sequence, Sized

import msgspec
from msgspec import Struct

from punchcard.bulk.claims import Claim
from punchcard.bulk.lanes import SQL
from punchcard.db.database import Conn
from punchcard.errors import PunchcardError


class PayloadMissing(PunchcardError):
    """An unfinished action has no payload for its next record."""


class Stock(Struct, frozen=True):
    """Records `first` to `end` of a request, without the latter, as they were sent."""

    first: int
    end: int
    bodies: list[bytes]


def cut(parts: Sequence[Sized], bytes_max: int) -> Iterator[tuple[int, int]]:
    """First and end of each run of parts that has at most so many bytes; a part over the limit is a run alone."""
    first, size = 0, 0
    for index, part in enumerate(parts):
        if size and size + len(part) > bytes_max:
            yield first, index
            first, size = index, 0
        size += len(part) + 1  # what separates it from the next
    if parts:
        yield first, len(parts)


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
