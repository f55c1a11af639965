"""Kinds of jobs for the tests: over records, each of which says what is to happen when it is processed; and a walk.

They run on the real queue with real workers; a record's SQL is executed in the portion's transaction, so that
errors are PostgreSQL's own.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import sql

from punchcard.bulk.jobs import Batch, Failure, Lane, Outcome, Rows, Stretch, Worked
from punchcard.db.database import Conn
from punchcard.errors import RecordError
from punchcard.events.reactions import Reactions

TABLES = """
CREATE TABLE IF NOT EXISTS tried_records (
    project_id text NOT NULL, action text NOT NULL, n integer NOT NULL CHECK (n >= 0),
    portion bigint NOT NULL, PRIMARY KEY (project_id, action, n)
);
CREATE SEQUENCE IF NOT EXISTS tried_portions;
"""


class Record(Struct, omit_defaults=True):
    """A record: its number, and what is to happen."""

    n: int
    action: str = "a"
    # an SQLSTATE that PostgreSQL raises
    sqlstate: str = ""
    # refused by us
    refused: str = ""
    # found out before the write
    foreseen: str = ""
    # ends the worker's process
    fatal: bool = False
    seconds: float = 0


def records(count: int, action: str = "a", **special: dict[int, Any]) -> list[Record]:
    """`count` records; `refused={3: "text"}` sets that field of record 3."""
    made = [Record(n, action) for n in range(count)]
    for field, by_n in special.items():
        for n, value in by_n.items():
            setattr(made[n], field, value)
    return made


def encoded(given: Sequence[Record]) -> list[bytes]:
    return [msgspec.json.encode(record) for record in given]


async def note(conn: Conn, project: str, done: Sequence[Record]) -> None:
    """Write that these records were processed, in one portion; each can be processed once."""
    row = await (await conn.execute("SELECT nextval('tried_portions') AS no")).fetchone()
    assert row is not None
    await conn.execute(
        "INSERT INTO tried_records"
        " SELECT %s, u.action, u.n, %s FROM unnest(%s::text[], %s::integer[]) AS u (action, n)",
        [project, row.no, [record.action for record in done], [record.n for record in done]],
    )


async def happen(conn: Conn, found: Sequence[Record]) -> None:
    """Let happen what the records say, in the transaction that is open."""
    if total := sum(record.seconds for record in found):
        await conn.execute("SELECT pg_sleep(%s)", [total])
    for record in found:
        if record.refused:
            raise RecordError(record.refused)
        if record.sqlstate:
            raising = sql.SQL("DO $$ BEGIN RAISE EXCEPTION 'as asked' USING ERRCODE = {}; END $$")
            await conn.execute(raising.format(record.sqlstate))


class Tried:
    """A job that notes which records it processed, and in which portion."""

    def __init__(self, *, lane: Lane = Lane.FIFO, portion_records: int = 100, kind: str = "TESTS.TRIED") -> None:
        self.type, self.lane, self.portion_records = kind, lane, portion_records
        # how many records each try to write had
        self.tries: list[int] = []
        # raised by the first tries to plan, one each
        self.errors: list[Exception] = []
        # awaited inside the portion's transaction, before it writes
        self.before_write: Callable[[Sequence[Record]], Awaitable[None]] | None = None

    def source_id(self, body: bytes) -> str | None:
        return str(msgspec.json.decode(body, type=Record).n)

    async def plan(self, conn: Conn, project: str, batch: Batch) -> list[Record]:
        if self.errors:
            raise self.errors.pop(0)
        found = [msgspec.json.decode(body, type=Record) for body in batch.bodies]
        if any(record.fatal for record in found):
            os._exit(9)
        return found

    async def lock(self, conn: Conn, project: str, plan: list[Record]) -> None:
        """This kind changes no rows that others change."""

    async def write(self, conn: Conn, project: str, plan: list[Record]) -> None:
        self.tries.append(len(plan))
        if self.before_write:
            await self.before_write(plan)
        await happen(conn, plan)
        await note(conn, project, [record for record in plan if not record.foreseen])

    def outcome(self, plan: list[Record]) -> Outcome:
        failures = [
            Failure(record.n, str(record.n), record.foreseen, msgspec.json.encode(record))
            for record in plan
            if record.foreseen
        ]
        good = len(plan) - len(failures)
        return Outcome(good, failures, {"good": good})

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int], dry_run: bool
    ) -> dict[str, Any]:
        return {"done_count": done, "failed_count": failed, "failed": failures, "good_count": counts.get("good", 0)}


class Counted:
    """A walk that counts from 0 to below the parameter `count`, each number in so many `seconds`.

    `refused` are numbers that it cannot write.
    """

    def __init__(
        self, *, lane: Lane = Lane.ROUND_ROBIN, portion_records: int = 100, kind: str = "TESTS.COUNTED"
    ) -> None:
        self.type, self.lane, self.portion_records = kind, lane, portion_records

    async def plan(self, conn: Conn, project: str, stretch: Stretch) -> tuple[list[Record], bool]:
        """The numbers of the portion, and whether they are the last."""
        asked = stretch.parameters
        end = min(stretch.first_record + stretch.rows_max, asked["count"])
        refused, seconds = asked.get("refused", ()), asked.get("seconds", 0)
        found = [
            Record(n, asked["action"], refused="as asked" if n in refused else "", seconds=seconds)
            for n in range(stretch.cursor or 0, end)
        ]
        return found, end == asked["count"]

    async def lock(self, conn: Conn, project: str, plan: tuple[list[Record], bool]) -> None:
        """This kind changes no rows that others change."""

    async def write(self, conn: Conn, project: str, plan: tuple[list[Record], bool]) -> None:
        if any(record.refused for record in plan[0]):
            raise RecordError("as asked")
        if total := sum(record.seconds for record in plan[0]):
            await conn.execute("SELECT pg_sleep(%s)", [total])
        await note(conn, project, plan[0])

    def outcome(self, plan: tuple[list[Record], bool]) -> Outcome:
        found, last = plan
        return Outcome(len(found), cursor=None if last else found[-1].n + 1)

    async def skip(self, conn: Conn, project: str, stretch: Stretch, reason: str) -> Outcome:
        found, last = await self.plan(conn, project, stretch)
        n = found[0].n
        return Outcome(0, [Failure(n, str(n), reason, msgspec.json.encode(found[0]))], cursor=None if last else n + 1)

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int], dry_run: bool
    ) -> dict[str, Any]:
        return {"done_count": done, "failed_count": failed, "failed": failures}


class TriedInbox(Reactions):
    """The outbox of events, with records instead of ids in it, and what the records say is what follows from them."""

    portion_rows = 8

    def __init__(self) -> None:
        # how many rows each try to work off had
        self.tries: list[int] = []
        # awaited inside the portion's transaction, once the rows are taken out
        self.before_write: Callable[[Sequence[Record]], Awaitable[None]] | None = None

    async def work_off(self, conn: Conn, project: str, rows: Rows) -> Worked:
        """Take rows out and let happen what they say."""
        taking = "DELETE FROM event_outbox WHERE project_id = %s AND seq = ANY(%s) RETURNING seq, event_id"
        taken = sorted(await (await conn.execute(taking, [project, list(rows.seqs)])).fetchall())
        found = [msgspec.json.decode(row.event_id, type=Record) for row in taken]
        self.tries.append(len(found))
        if any(record.fatal for record in found):
            os._exit(9)
        if self.before_write:
            await self.before_write(found)
        await happen(conn, found)
        await note(conn, project, found)
        return Worked(len(taken), len(taken))
