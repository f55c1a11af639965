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
from enum import Enum, auto
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
    def place(self) -> tuple[str, str]:
        """Which lane this is: project and lane."""
        return self.project, self.lane

    @property
    def key(self) -> int:
        """The lane's advisory lock: 64 bits of a hash, signed as PostgreSQL wants it."""
        digest = hashlib.blake2b(f"{self.project}/{self.lane}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)


class Claim(Struct):
    """The action at the head of a lane we hold.

    The portion takes `records_at_hand`: `portion_records`, or what its piece (of a dry run: its request) still
    holds. `stopped_workers` is set when its next record stopped its worker so often that it is to fail.
    """

    project: str
    id: str
    type: str
    lane: str
    dry_run: bool
    # of a walk: behind which row it goes on
    cursor: Any
    records_total: int
    records_next: int
    records_done: int
    records_failed: int
    counts: dict[str, int]
    portion_records: int
    records_at_hand: int
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

    @property
    def places(self) -> set[tuple[str, str]]:
        """The lanes that are still to come, as project and lane."""
        return {turn.place for turn in self._turns}

    def next(self) -> LaneTurn:
        """The lane whose turn it is."""
        return self._turns.popleft()


class Hold(Enum):
    """What became of a try to hold a lane."""

    OURS = auto()
    # another worker holds it
    TAKEN = auto()
    # free, but another worker has served it since the list was read: others come first
    SERVED = auto()


@asynccontextmanager
async def held(conn: Conn, turn: LaneTurn) -> AsyncIterator[Hold]:
    """Hold the lane while the block runs, if it is free and its turn.

    When it was last served is read once we hold it: whoever held it before may have served it just now.
    When the unlocking fails, the caller has to close the session: the lock may still be on it.
    """
    tried = await (await conn.execute(SQL.lane_try_lock, {"key": turn.key})).fetchone()
    assert tried is not None
    if not tried.locked:
        yield Hold.TAKEN
        return
    try:
        parameters = {"project_id": turn.project, "lane": turn.lane}
        served = await (await conn.execute(SQL.lane_served, parameters)).fetchone()
        yield Hold.OURS if (served and served.served_at) == turn.served_at else Hold.SERVED
    finally:
        if not conn.broken:
            await conn.execute(SQL.lane_unlock, {"key": turn.key})


class Starter(Struct, frozen=True):
    """Who puts start marks on actions: a worker, in one run of PostgreSQL.

    `silent_ms` is how long another worker may not have reported and still count as well.
    """

    worker: str
    postmaster: str
    silent_ms: int

    def mark(self, number: int) -> str:
        """A start mark that nobody else and no other start of ours has."""
        return f"{self.worker}/{self.postmaster}/{number}"


async def claim_head(conn: Conn, turn: LaneTurn, *, starter: Starter, number: int) -> Claim | None:
    """Commit a start mark on the lane's first action and return it; none when the lane has nothing to do.

    A mark left by a worker that is gone or silent means that a portion stopped it: the next one takes half,
    and a record that stops its worker three times while alone is to fail.
    """
    mark = starter.mark(number)
    # in a pipeline: two round trips instead of six
    async with conn.pipeline(), conn.transaction():
        # the mark may be lost in a crash of PostgreSQL: such a start is not to be counted anyway
        await conn.execute("SET LOCAL synchronous_commit = off")
        parameters = {"project_id": turn.project, "lane": turn.lane}
        head = await (await conn.execute(SQL.async_action_head, parameters)).fetchone()
        if head is None:
            return None
        stopped = head.started_by is not None and await _has_stopped(conn, head.started_by, starter)
        portion, stops = next_start(portion_records=head.portion_records, stops_alone=head.stops_alone, stopped=stopped)
        at_hand = portion if head.at_hand is None else min(portion, max(1, head.at_hand))
        await conn.execute(
            SQL.async_action_mark_start,
            {
                "project_id": turn.project,
                "id": head.id,
                "started_by": mark,
                # what the portion really takes: that is what may stop us, and is to be halved then
                "portion_records": at_hand,
                "stops_alone": stops,
            },
        )
        await conn.execute(SQL.lane_serve, parameters)
    return Claim(
        project=turn.project,
        id=head.id,
        type=head.type,
        lane=turn.lane,
        dry_run=head.dry_run,
        cursor=None if head.cursor is None else msgspec.json.decode(head.cursor),
        records_total=head.records_total,
        records_next=head.records_next,
        records_done=head.records_done,
        records_failed=head.records_failed,
        counts=msgspec.json.decode(head.counts),
        portion_records=portion,
        records_at_hand=at_hand,
        started_by=mark,
        stopped_workers=stops >= STOPS_ALONE_MAX,
    )


async def _has_stopped(conn: Conn, mark: str, starter: Starter) -> bool:
    """Whether the portion with this start mark stopped its worker.

    It did not if the mark is of our own (our connection was lost), of an earlier run of PostgreSQL, or of
    a worker that is still well and only lost the session that held the lane.
    """
    worker, postmaster, _ = mark.split("/")
    if worker == starter.worker or postmaster != starter.postmaster:
        return False
    parameters = {"id": worker, "pulse": pulse_name(worker), "silent_ms": starter.silent_ms}
    row = await (await conn.execute(SQL.worker_is_well, parameters)).fetchone()
    return row is None


def pulse_name(worker: str) -> str:
    """The name of the session that reports that a worker is alive, behind our own prefix."""
    return f"pulse {worker}"


def next_start(*, portion_records: int, stops_alone: int, stopped: bool) -> tuple[int, int]:
    """The size of the next portion, and how often its first record has stopped a worker while alone."""
    if not stopped:
        return portion_records, stops_alone
    if portion_records > 1:
        return portion_records // 2, 0
    return 1, stops_alone + 1
