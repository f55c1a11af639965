"""Jobs that do nothing, so that only the queue is measured; and how a great many of them are put into it."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from punchcard.bulk.jobs import Batch, Lane, Outcome, Stretch
from punchcard.db.database import Conn

# is told of each portion when it starts: the record that was sent, or of a walk the lane
Started = Callable[[bytes], None]


class _Empty:
    portion_records = 1

    def __init__(self, started: Started) -> None:
        self._started = started

    async def lock(self, conn: Conn, project: str, plan: Any) -> None:
        """It changes nothing."""

    async def write(self, conn: Conn, project: str, plan: Any) -> None:
        """It changes nothing."""

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int], dry_run: bool
    ) -> dict[str, Any]:
        return {"done_count": done, "failed_count": failed}


class EmptyRequest(_Empty):
    """A request of one record, with its payload, as a small import has it."""

    type = "BENCH.REQUEST"
    lane = Lane.FIFO

    def source_id(self, body: bytes) -> str | None:
        return None

    async def plan(self, conn: Conn, project: str, batch: Batch) -> int:
        self._started(batch.bodies[0])
        return len(batch)

    def outcome(self, plan: int) -> Outcome:
        return Outcome(plan)


class Pause(EmptyRequest):
    """A request whose one record says how many seconds its portion takes; nobody's processor is busy meanwhile."""

    type = "BENCH.PAUSE"

    async def plan(self, conn: Conn, project: str, batch: Batch) -> int:
        await asyncio.sleep(float(batch.bodies[0]))
        return len(batch)


class EmptyWalk(_Empty):
    """A walk of one row."""

    type = "BENCH.WALK"
    lane = Lane.FIFO

    async def plan(self, conn: Conn, project: str, stretch: Stretch) -> int:
        self._started(self.lane.encode())
        return stretch.first_record + 1

    def outcome(self, plan: int) -> Outcome:
        return Outcome(1)

    async def skip(self, conn: Conn, project: str, stretch: Stretch, reason: str) -> Outcome:
        raise AssertionError(f"it has no rows that fail: {reason}")


class EndlessWalk(EmptyWalk):
    """A long job: a row each portion, and always one more."""

    type = "BENCH.ENDLESS"
    lane = Lane.ROUND_ROBIN

    def outcome(self, plan: int) -> Outcome:
        return Outcome(1, cursor=plan)


KINDS = (EmptyRequest, Pause, EmptyWalk, EndlessWalk)


def jobs(started: Started) -> Mapping[str, Any]:
    """All kinds, by type, as a worker wants them."""
    return {job.type: job for job in (kind(started) for kind in KINDS)}


# ---- filling -----------------------------------------------------------------------------------

_PROJECTS = b"""
INSERT INTO projects (id, name)
SELECT %(prefix)s || lpad(no::text, 6, '0'), 'Benchmark' FROM generate_series(1, %(number)s) AS no
RETURNING id
"""
# arrivals go round the projects, so that all lanes are equally long at any time
_ACTIONS = b"""
INSERT INTO async_actions (project_id, id, type, lane, request_id, created_at, updated_at, records_total,
                           portion_records)
SELECT (%(projects)s::text[])[1 + no %% cardinality(%(projects)s::text[])],
       'aa_' || %(run)s || lpad(no::text, 10, '0'), %(type)s, %(lane)s, 'v-bench',
       t.now + no * interval '1 microsecond', t.now, 1, 1
  FROM (SELECT clock_timestamp() AS now) AS t CROSS JOIN generate_series(0, %(number)s - 1) AS no
 ORDER BY no
"""
_PIECES = b"""
INSERT INTO async_action_pieces (project_id, action_id, first_record, records, body)
SELECT (%(projects)s::text[])[1 + no %% cardinality(%(projects)s::text[])],
       'aa_' || %(run)s || lpad(no::text, 10, '0'), 0, 1, %(body)s
  FROM generate_series(0, %(number)s - 1) AS no
"""


async def make_projects(conn: Conn, prefix: str, number: int) -> list[str]:
    """Projects with nothing but a name, in one statement; their ids."""
    rows = await (await conn.execute(_PROJECTS, {"prefix": f"proj_{prefix}", "number": number})).fetchall()
    return [row.id for row in rows]


async def fill(
    conn: Conn, kind: type[Any], projects: list[str], number: int, *, run: str, record: bytes = b"0"
) -> None:
    """Schedule so many jobs in the projects' lanes in turn, in one transaction; `run` tells their ids from others."""
    parameters = {"projects": projects, "number": number, "run": run, "type": kind.type, "lane": str(kind.lane)}
    parameters["body"] = b"[%s]" % record
    async with conn.transaction():
        await conn.execute(_ACTIONS, parameters)
        if issubclass(kind, EmptyRequest):
            await conn.execute(_PIECES, parameters)
