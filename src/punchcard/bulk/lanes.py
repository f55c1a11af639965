"""Claiming a lane: its lock, its turn, and the action at its head.

The lock is an advisory lock of the worker's session, so it dies with the session. The turn order is
"served longest ago first": a worker goes through the list of lanes with work once, then reads it anew,
so a lane with work waits at most one portion for every other lane with work.
"""

import hashlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from punchcard.db import statements
from punchcard.db.database import Conn

SQL = statements.beside(__file__.replace("lanes.py", "queue.py"))

ROUND_LANES_MAX = 256
STOPS_ALONE_MAX = 3


class LaneTurn(Struct, frozen=True):
    """A lane that had work when the list was read, and when it had last been served."""

    project: str
    lane: str
    served_at: datetime | None

    @property
    def key(self) -> int:
        """The lane's advisory lock: 64 bits of a hash, signed as PostgreSQL wants it."""
        digest = hashlib.blake2b(f"{self.project}/{self.lane}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)


class Claim(Struct):
    """The action at the head of a lane we hold. `stopped_workers` is set when its next record stopped its worker
    so often that it is to fail."""

    project: str
    id: str
    type: str
    records_total: int
    records_next: int
    records_done: int
    records_failed: int
    counts: dict[str, int]
    portion_records: int
    started_by: str
    stopped_workers: bool = False


class Round:
    """One pass through the lanes with work."""

    def __init__(self) -> None:
        self._turns: deque[LaneTurn] = deque()

    def __bool__(self) -> bool:
        return bool(self._turns)

    async def read(self, conn: Conn) -> None:
        """Start a new pass."""
        rows = await (await conn.execute(SQL.lanes_with_work, {"limit": ROUND_LANES_MAX})).fetchall()
        self._turns = deque(LaneTurn(row.project_id, row.lane, row.served_at) for row in rows)

    def next(self) -> LaneTurn:
        """The lane whose turn it is."""
        return self._turns.popleft()


@asynccontextmanager
async def held(conn: Conn, turn: LaneTurn) -> AsyncIterator[bool]:
    """Hold the lane while the block runs; false when another worker holds it or has served it meanwhile."""
    parameters = {"key": turn.key, "project_id": turn.project, "lane": turn.lane}
    row = await (await conn.execute(SQL.lane_try_lock, parameters)).fetchone()
    assert row is not None
    if not row.locked:
        yield False
        return
    try:
        yield row.served_at == turn.served_at
    finally:
        if not conn.broken:
            await conn.execute(SQL.lane_unlock, {"key": turn.key})


async def claim_head(conn: Conn, turn: LaneTurn, *, mark: str, own_marks: str) -> Claim | None:
    """Commit a start mark on the lane's first action and return it; none when the lane has nothing to do.

    A mark left by another worker means that a portion stopped it: the next one takes half, and a record
    that stops its worker three times while alone is to fail. A mark of our own (it begins with
    `own_marks`) means that only our connection was lost.
    """
    async with conn.transaction():
        # the mark may be lost in a crash of PostgreSQL: such a start is not to be counted anyway
        await conn.execute("SET LOCAL synchronous_commit = off")
        parameters = {"project_id": turn.project, "lane": turn.lane}
        head = await (await conn.execute(SQL.async_action_head, parameters)).fetchone()
        if head is None:
            return None
        portion, stops = after_start(head, own_marks=own_marks)
        await conn.execute(
            SQL.async_action_mark_start,
            {
                "project_id": turn.project,
                "id": head.id,
                "started_by": mark,
                "portion_records": portion,
                "stops_alone": stops,
            },
        )
        await conn.execute(SQL.lane_serve, parameters)
    return Claim(
        project=turn.project,
        id=head.id,
        type=head.type,
        records_total=head.records_total,
        records_next=head.records_next,
        records_done=head.records_done,
        records_failed=head.records_failed,
        counts=msgspec.json.decode(head.counts),
        portion_records=portion,
        started_by=mark,
        stopped_workers=stops >= STOPS_ALONE_MAX,
    )


def after_start(head: Any, *, own_marks: str) -> tuple[int, int]:
    """The size of the next portion, and how often its first record has stopped a worker while alone."""
    if head.started_by is None or head.started_by.startswith(own_marks):
        return head.portion_records, head.stops_alone
    # marks are worker/postmaster start/number: after a restart of PostgreSQL the worker is not to blame
    if head.started_by.split("/")[1] != own_marks.split("/")[1]:
        return head.portion_records, head.stops_alone
    if head.portion_records > 1:
        return head.portion_records // 2, 0
    return 1, head.stops_alone + 1
