"""One portion of a lane that works off an inbox: rows are taken out in the transaction of what follows from them.

The turn is committed first, with a start mark on it, so that a portion that stops its worker is known by the next
one, which takes half. Only errors of the data are blamed on a row: the portion is halved until the row is alone, which
is then set aside.
"""

import time
from typing import Any

from punchcard.bulk import claims
from punchcard.bulk.claims import STOPS_ALONE_MAX, Starter, Withdrawal
from punchcard.bulk.jobs import Inbox, Rows, TooMuch
from punchcard.bulk.lanes import SQL, LaneTurn
from punchcard.bulk.portions import REASON_STOPPED_WORKERS, DataError, LaneLost, blaming_records, next_size
from punchcard.db.database import Conn
from punchcard.settings import Settings


class InboxPortion:
    """The next rows of an inbox, on the session that holds its lane; `look` is where the lane stands."""

    def __init__(self, conn: Conn, turn: LaneTurn, look: Any, inbox: Inbox, settings: Settings) -> None:
        self._conn, self._turn, self._look, self._inbox, self._settings = conn, turn, look, inbox, settings
        self._lane = {"project_id": turn.project, "lane": turn.lane}
        self._mark = ""
        self._limit = 0
        self._stops = 0
        # whether it took all there was, and whether somebody may wait for some of it
        self.emptied = False
        self.for_actions = False

    async def run(self, *, starter: Starter, number: int) -> bool:
        """Work off the next rows. False when there were none. Raises `LaneLost`."""
        look = self._look
        stopped = look.started_by is not None and await claims.has_stopped(self._conn, look.started_by, starter)
        wanted = look.portion_records or self._inbox.portion_rows
        self._limit, self._stops = claims.next_start(
            portion_records=wanted, stops_alone=look.stops_alone or 0, stopped=stopped
        )
        rows = await self._inbox.waiting(self._conn, self._turn.project, floor=look.seq_floor or 0, limit=self._limit)
        if not rows.seqs:
            return False
        self._mark = starter.mark(number)
        await self._take_turn(rows)
        if self._stops >= STOPS_ALONE_MAX:
            await self._set_aside(rows.seqs[0], REASON_STOPPED_WORKERS)
            return True
        while True:
            try:
                await self._work_off(rows)
            except TooMuch as error:
                if rows.units == 1:
                    raise
                rows = self._fewer(rows, error.units)
                continue
            except DataError as error:
                if rows.units > 1:
                    rows = self._fewer(rows, rows.units // 2)
                    continue
                await self._set_aside(rows.seqs[0], error.reason)
            return True

    def _fewer(self, rows: Rows, units: int) -> Rows:
        """The first of the rows, at most half of them; the rest is left for the next portion."""
        self._limit = max(1, min(units, rows.units // 2))
        return rows.first(self._limit)

    def withdrawal(self, *, halved: bool) -> Withdrawal | None:
        """What takes the start mark back, if there is one; `halved`, the next portion takes half."""
        if not self._mark:
            return None
        size = max(1, self._limit // 2) if halved else self._limit
        parameters = {**self._lane, "started_by": self._mark, "portion_records": size, "record_us": None}
        return SQL.inbox_advance, parameters

    async def _take_turn(self, rows: Rows) -> None:
        row = {
            **self._lane,
            "turn": self._look.turn or 0,
            "record_us": self._look.record_us,
            **claims.seq_floors(self._look, rows.seqs, len(rows.seqs)),
            "started_by": self._mark,
            # what the portion really takes: that is what may stop us, and is to be halved then
            "portion_records": rows.units,
            "stops_alone": self._stops,
        }
        # in one round trip; the mark may be lost in a crash of PostgreSQL, as that of an action
        async with self._conn.pipeline():
            await self._conn.execute("BEGIN")
            await self._conn.execute("SET LOCAL synchronous_commit = off")
            await self._conn.execute(SQL.inbox_take_turn, row)
            await self._conn.execute("COMMIT")

    async def _work_off(self, rows: Rows) -> None:
        began = time.perf_counter()
        async with self._conn.transaction():
            with blaming_records():
                worked = await self._inbox.work_off(self._conn, self._turn.project, rows)
            if worked.rows != len(rows.seqs):
                raise LaneLost("Another worker has worked off rows of this portion")
            elapsed_ms = (time.perf_counter() - began) * 1000
            units = max(1, worked.units)
            self.emptied, self.for_actions = units < self._limit, worked.for_actions
            # a portion that took all there was, in time, says nothing about what the next may take
            if self.emptied and elapsed_ms <= self._settings.portion_ms:
                size = self._limit
            else:
                size = next_size(units, elapsed_ms, self._settings, most=2 * units)
            await self._advance(size, elapsed_ms / units)

    async def _set_aside(self, seq: int, reason: str) -> None:
        async with self._conn.transaction():
            await self._inbox.set_aside(self._conn, self._turn.project, seq, reason)
            await self._advance(max(1, self._limit), None)

    async def _advance(self, portion_records: int, record_ms: float | None) -> None:
        parameters = {
            **self._lane,
            "started_by": self._mark,
            "portion_records": portion_records,
            "record_us": None if record_ms is None else record_ms * 1000,
        }
        if await (await self._conn.execute(SQL.inbox_advance, parameters)).fetchone() is None:
            raise LaneLost(f"Another worker serves the lane {self._turn.lane}")
