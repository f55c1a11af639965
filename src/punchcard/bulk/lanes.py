"""Which lane a worker serves next, and how it holds it.

The lock is an advisory lock of the worker's session, so it dies with the session. The turn order is
"served longest ago first": a worker goes through the list of lanes with work once, then reads it anew,
so a lane with work waits at most one portion for every other lane with work. Workers share a long list: each
goes through its own part of it, and through the others' only if it found nothing to do. A look at a lane that
another worker holds or has just served costs as much as one that is worth it.

Which lanes have work follows from the actions. A worker remembers those it has found, and finds new ones by
the transactions that have ended since it last looked; now and then it looks for all of them.
"""

import hashlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from msgspec import Struct

from punchcard.bulk.jobs import Lane
from punchcard.db import statements
from punchcard.db.database import Conn

SQL = statements.beside(__file__.replace("lanes.py", "queue.py"))

ROUND_LANES_MAX = 256
# with fewer lanes all workers go through all of them: a new one waits a portion less
SHARED_LANES_MIN = 32
# how many waiting actions of a round_robin lane a turn puts under way at most
STARTS_MAX = 1000
# lanes that have rows of a table to work off instead of actions
INBOX_LANES = frozenset({Lane.REACTIONS, Lane.SEGMENTS})
# how often all lanes with work are looked for, in seconds
FULL_LOOK_S = 30.0

# project and lane
Place: TypeAlias = tuple[str, str]


class LaneTurn(Struct, frozen=True):
    """A lane that had work when the list was read, and the number of its last turn; none if it never had one."""

    project: str
    lane: str
    turn: int | None

    @property
    def place(self) -> Place:
        """Which lane this is."""
        return self.project, self.lane

    @property
    def key(self) -> int:
        """The lane's advisory lock: 64 bits of a hash, signed as PostgreSQL wants it."""
        digest = hashlib.blake2b(f"{self.project}/{self.lane}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)


class Round:
    """One pass through the lanes with work after the other, as one of the workers does it."""

    def __init__(self, worker: str = "", *, silent_ms: int = 0) -> None:
        self._worker = {"worker": worker, "silent_ms": silent_ms}
        self._own: deque[LaneTurn] = deque()
        self._others: deque[LaneTurn] = deque()
        # whether a lane of this pass had a portion for us
        self.has_served = False
        # the lanes that have work, as far as we know
        self._known: set[Place] = set()
        # transactions before this one had ended when we last looked for arrivals; none before the first look
        self._since: str | None = None
        self._full_look_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._own) or (bool(self._others) and not self.has_served)

    async def read(self, conn: Conn) -> None:
        """Start a new pass."""
        if self._since is None or time.monotonic() >= self._full_look_at:
            rows = await (await conn.execute(SQL.lanes_with_work)).fetchall()
            self._since, self._known = rows[0].xmin, _places(rows)
            self._full_look_at = time.monotonic() + FULL_LOOK_S
        known = {"projects": [project for project, _ in self._known], "lanes": [lane for _, lane in self._known]}
        parameters = {**known, "since": self._since, **self._worker}
        rows = await (await conn.execute(SQL.lanes_round, parameters)).fetchall()
        self._since, self._known = rows[0].xmin, _places(rows)
        turns = [LaneTurn(row.project_id, row.lane, row.turn) for row in rows if row.project_id and not row.paused]
        self._share(turns, workers=max(1, rows[0].workers), rank=rows[0].rank)

    def _share(self, turns: list[LaneTurn], *, workers: int, rank: int) -> None:
        """Take the first part of a long list, and of that every so-many-th lane, as ours.

        The very first ones are everybody's, one for each worker: so the lane served longest ago among those that nobody
        holds is always looked at. The part is short, so that lanes left to a worker that is slow are soon among them.
        """
        if len(turns) < SHARED_LANES_MIN:
            ours = [True] * len(turns)
        else:
            turns = turns[: max(SHARED_LANES_MIN, min(ROUND_LANES_MAX, len(turns) // 8))]
            ours = [no < workers or no % workers == rank % workers for no in range(len(turns))]
        self._own = deque(turn for turn, own in zip(turns, ours, strict=True) if own)
        self._others = deque(turn for turn, own in zip(turns, ours, strict=True) if not own)
        self.has_served = False

    @property
    def known(self) -> set[Place]:
        """The lanes that have work, as far as we know."""
        return self._known

    def forget(self, place: Place) -> None:
        """The lane has nothing to do now."""
        self._known.discard(place)

    def next(self) -> LaneTurn:
        """The lane whose turn it is."""
        return (self._own or self._others).popleft()


def _places(rows: Iterable[Any]) -> set[Place]:
    return {(row.project_id, row.lane) for row in rows if row.project_id}


@asynccontextmanager
async def held(conn: Conn, turn: LaneTurn) -> AsyncIterator[Any]:
    """Hold the lane while the block runs, if it is free, and look at it: the row of `lane_look`, else none.

    Of a lane that works off an inbox, the row of `inbox_look`.

    When the unlocking fails, the caller has to close the session: the lock may still be on it.
    """
    look_at = SQL.inbox_look if turn.lane in INBOX_LANES else SQL.lane_look
    limit = STARTS_MAX if turn.lane == Lane.ROUND_ROBIN else 1
    parameters = {"project_id": turn.project, "lane": turn.lane, "limit": limit}
    # in one round trip, and yet the look sees what whoever held the lane before has committed
    async with conn.pipeline():
        trying = await conn.execute(SQL.lane_try_lock, {"key": turn.key})
        looking = await conn.execute(look_at, parameters)
    tried, look = await trying.fetchone(), await looking.fetchone()
    assert tried is not None
    if not tried.locked:
        yield None
        return
    try:
        yield look
    finally:
        if not conn.broken:
            await conn.execute(SQL.lane_unlock, {"key": turn.key})
