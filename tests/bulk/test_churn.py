"""What a turn of a lane reads, after many portions while an old snapshot keeps all their dead rows."""

import re
import secrets

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from punchcard.bulk import claims, lanes
from punchcard.bulk.jobs import Lane
from punchcard.bulk.portions import run_portion
from punchcard.bulk.worker import session_options
from punchcard.db import migrate
from punchcard.db.database import Conn, connect
from tests.bulk.kinds import TABLES, Tried, records
from tests.bulk.queue import Queue, claimed, in_loop, quick

PORTIONS = 400
BLOCKS_MAX = 60


async def blocks(conn: Conn, statement: bytes, parameters: dict[str, object]) -> int:
    """How many blocks a statement touches."""
    explained = b"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) " + statement
    plan = "\n".join(row[0] for row in await (await conn.execute(explained, parameters)).fetchall())
    found = re.search(r"Buffers: shared hit=(\d+)(?: read=(\d+))?", plan)
    assert found is not None, plan
    return int(found[1]) + int(found[2] or 0)


@pytest.fixture
def alone(workerless: str) -> str:
    """A database of the test's own, without the rows and statistics of others."""
    name = f"churn_{secrets.token_hex(4)}"
    with psycopg.connect(workerless, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    dsn = make_conninfo(workerless, dbname=name)
    migrate.migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as session:
        session.execute(TABLES.encode())
    return dsn


@pytest.mark.parametrize("lane", [Lane.FIFO, Lane.ROUND_ROBIN])
@in_loop
async def test_a_turn_reads_no_more_after_many_portions(alone: str, lane: Lane) -> None:
    async with (
        Queue.opened(alone) as queue,
        await connect(alone, part="test", options=session_options(quick())) as conn,
        await connect(alone, part="test") as reader,
    ):
        job, turn = Tried(lane=lane, portion_records=1), lanes.LaneTurn(queue.project, lane, None)
        us, settings = claims.Starter("worker_us", "0", 3000), quick()
        limit = lanes.STARTS_MAX if lane is Lane.ROUND_ROBIN else 1
        look = {"project_id": queue.project, "lane": lane, "limit": limit}
        known = {"projects": [queue.project], "lanes": [lane], "since": "3", "worker": "", "silent_ms": 0}

        async def portion(number: int) -> None:
            claim = await claimed(conn, turn, starter=us, number=number)
            assert claim is not None
            await run_portion(conn, claim, {job.type: job}, settings)

        await queue.schedule(job, records(1, "first"))
        await queue.schedule(job, records(1, "second"))
        await portion(0)
        before = await blocks(conn, lanes.SQL.lane_look, look)
        async with reader.transaction():
            await reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await reader.execute("SELECT count(*) FROM async_actions")
            for number in range(PORTIONS):
                await queue.schedule(job, records(1, f"{number}"))
                await portion(number + 1)
            # as autovacuum does: before it has, the planner may take the table for nearly empty (decision 7)
            await queue.conn.execute("ANALYZE async_actions")
            after = await blocks(conn, lanes.SQL.lane_look, look)
            for number in range(PORTIONS, PORTIONS + 40):
                if after <= before + BLOCKS_MAX / 2:
                    break
                # a transaction that writes, such as autovacuum's, holds the floor back while it lasts
                await queue.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid IS NOT NULL")
                await queue.schedule(job, records(1, f"{number}"))
                await portion(number + 1)
                after = await blocks(conn, lanes.SQL.lane_look, look)
            since = (await (await conn.execute(lanes.SQL.lanes_round, known)).fetchall())[0].xmin
            listed = await blocks(conn, lanes.SQL.lanes_round, known | {"since": since})
        assert after <= before + BLOCKS_MAX / 2, (before, after)
        assert listed <= BLOCKS_MAX, listed


@in_loop
async def test_the_floor_waits_for_a_transaction_that_has_drawn_its_number(workerless: str) -> None:
    """An action that becomes visible late, with a number below all that have run, is still found, and comes first."""
    async with (
        Queue.opened(workerless) as queue,
        await connect(workerless, part="test") as conn,
        await connect(workerless, part="test") as slow_api,
    ):
        job, turn = Tried(portion_records=1), lanes.LaneTurn(queue.project, "fifo", None)
        us, settings, ran = claims.Starter("worker_us", "0", 3000), quick(), list[str]()

        async def portion(number: int) -> None:
            claim = await claimed(conn, turn, starter=us, number=number)
            assert claim is not None
            ran.append(claim.id)
            await run_portion(conn, claim, {job.type: job}, settings)

        async with slow_api.transaction():
            early = await queue.schedule(job, records(1, "early"), conn=slow_api)
            others = [await queue.schedule(job, records(1, f"{no}")) for no in range(6)]
            for no in range(5):
                await portion(no)
        late = await queue.schedule(job, records(1, "late"))
        for no in range(5, 8):
            await portion(no)
        assert ran == [*others[:5], early, others[5], late]
