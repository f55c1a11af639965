"""What a worker does around its portions: the lane's turn, the size it notes, and whom it tells."""

import asyncio
import itertools
import time
from collections.abc import Sequence

import pytest

from punchcard.bulk import claims, lanes, signals
from punchcard.db.database import Conn, connect
from tests.bulk.kinds import Record, Tried, records
from tests.bulk.queue import Queue, claimed, in_loop, quick, until

WIDE = b'{"n":%d,"pad":"' + b"x" * 1_100_000 + b'"}'


@in_loop
async def test_a_lane_served_just_before_we_took_it_is_not_ours(workerless: str) -> None:
    """Also when it was served after our statement that takes the lane had begun."""
    async with Queue.opened(workerless) as queue, await connect(workerless, part="test") as conn:
        await queue.schedule(Tried(), records(1))
        turn = lanes.LaneTurn(queue.project, "fifo", None)
        execute = conn.execute

        async def served_meanwhile(query: bytes, *arguments: object, **options: object) -> object:
            cursor = await execute(query, *arguments, **options)  # type: ignore[call-overload]
            if query == lanes.SQL.lane_try_lock:
                await queue.conn.execute(
                    "INSERT INTO lane_turns SELECT %s, 'fifo', 7, clock_timestamp(), NULL, 0, 0, 0, 0, '1'",
                    [queue.project],
                )
            return cursor

        conn.execute = served_meanwhile  # type: ignore[assignment]
        async with lanes.held(conn, turn) as look:
            assert (turn.turn, look.turn) == (None, 7)


@in_loop
async def test_the_noted_size_is_what_the_pieces_hold(workerless: str) -> None:
    """A record among few in their pieces is found after few deaths."""
    async with Queue.opened(workerless) as queue, await connect(workerless, part="test") as conn:
        job = Tried(portion_records=1000)
        action = await queue.schedule(job, [WIDE % 0, WIDE % 1, WIDE % 2, *records(50)])
        started = await queue.value("SELECT extract(epoch FROM pg_postmaster_start_time())::text")
        turn, deaths, noted = lanes.LaneTurn(queue.project, job.lane, None), 0, list[int]()
        while True:
            us = claims.Starter(f"worker_{deaths}", started, 3000)  # the one before is gone
            claim = await claimed(conn, turn, starter=us, number=1)
            assert claim is not None
            if deaths == 0:
                assert (claim.portion_records, claim.records_at_hand) == (1000, 3)
            noted.append((await queue.action(action)).portion_records)
            if claim.stopped_workers:
                break
            deaths += 1
        # three wide records, a piece each; halved; then one that is alone
        assert noted == [3, *[1] * (claims.STOPS_ALONE_MAX + 1)]
        assert deaths == 1 + claims.STOPS_ALONE_MAX


@in_loop
async def test_on_a_slow_lane_an_action_begins_with_less(workerless: str) -> None:
    """Others wait for rows of the whole portion."""
    async with Queue.opened(workerless) as queue:
        job, record_s, runs = Tried(portion_records=1000), [0.0003], itertools.count()
        lane = "SELECT portion_records FROM lane_turns WHERE project_id = %s"

        async def take_long(taken: Sequence[Record]) -> None:
            await asyncio.sleep(record_s[0] * len(taken))

        async def sizes(count: int) -> list[int]:
            job.tries.clear()
            action = await queue.schedule(job, records(count, str(next(runs))))
            await queue.finished(action)
            return job.tries

        job.before_write = take_long
        async with queue.working(job, quick(portion_ms=100)):
            # a thousand take three times what is aimed at
            assert await sizes(1000) == [1000]
            usual = await queue.value(lane, queue.project)
            assert 200 < usual < 334
            assert (await sizes(1000))[0] == usual
            record_s[0] = 0.0
            usual = await queue.value(lane, queue.project)
            # small ones neither obey nor tell
            assert await sizes(10) == [10]
            assert await queue.value(lane, queue.project) == usual
            await sizes(1000)
            assert await sizes(1000) == [1000], "the lane is quick again"


@in_loop
async def test_who_waits_is_told_once_for_many_and_while_no_lane_is_held(
    workerless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    notify = signals.notify

    async def noted(conn: Conn, channel: signals.Channel) -> None:
        held.append(await queue.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
        await notify(conn, channel)

    monkeypatch.setattr(signals, "notify", noted)
    monkeypatch.setattr(signals, "NOTIFY_INTERVAL_S", 60)
    async with Queue.opened(workerless) as queue:
        job = Tried()
        actions = [await queue.schedule(job, records(1, f"{no}")) for no in range(20)]
        async with queue.working(job, quick(poll_ms=60_000, worker_silent_ms=120_000)):
            for action in actions:
                await queue.finished(action)
            await until(lambda: _has(held, 2))
    assert held == [0, 0]  # at the first, and before the worker rests


async def _has(found: list[int], count: int) -> bool:
    return len(found) >= count


@in_loop
async def test_a_listener_wakes_once_for_a_burst(workerless: str) -> None:
    async with await connect(workerless, part="test") as conn:
        listener = signals.Listener(workerless, signals.DONE, part="test")
        listener.start()
        await until(lambda: _generation(listener))
        began = time.monotonic()
        for _ in range(100):
            await signals.notify(conn, signals.DONE)
        intervals = (time.monotonic() - began) / 0.05
        await until(lambda: _generation_after(listener, 1))
        generation = 0
        while listener.generation != generation:
            generation = listener.generation
            await asyncio.sleep(4 * 0.05)
        assert generation <= 4 + intervals
        await listener.stop()


async def _generation(listener: signals.Listener) -> int:
    return listener.generation


async def _generation_after(listener: signals.Listener, one: int) -> bool:
    return listener.generation > one


@in_loop
async def test_a_listener_survives_any_error(workerless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OSError("no route"), RuntimeError("a mistake of ours")]

    async def failing(dsn: str, *, part: str) -> Conn:
        if failures:
            raise failures.pop()
        return await connect(dsn, part=part)

    monkeypatch.setattr(signals, "connect", failing)
    monkeypatch.setattr(signals, "RECONNECT_S", 0.01)
    listener = signals.Listener(workerless, signals.DONE, part="test")
    listener.start()
    await until(lambda: _generation(listener))
    await listener.stop()
