"""What portions store for a report: a line for each record, in their order, whatever became of it."""

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from punchcard.bulk import async_actions, downloads, pieces
from punchcard.bulk.jobs import Failure, Outcome
from punchcard.bulk.portions import REASON_STOPPED_WORKERS
from tests.bulk.kinds import Counted, Record, Tried, records
from tests.bulk.queue import Queue, in_loop

NOT_STORED = "The record cannot be stored: as asked"
Line = tuple[int | str, str | None]


class Told(Tried):
    """A job that says of each record whether it was done, or why not."""

    report_columns = ("n", "reason")

    def outcome(self, plan: list[Record]) -> Outcome:
        found = super().outcome(plan)
        found.report = [(record.n, record.foreseen or None) for record in plan]
        return found

    def report_of_failure(self, failure: Failure) -> Sequence[Any]:
        return failure.record, failure.reason


class ToldWalk(Counted):
    """A walk that does so."""

    report_columns = ("n", "reason")

    def outcome(self, plan: tuple[list[Record], bool]) -> Outcome:
        found = super().outcome(plan)
        found.report = [(record.n, None) for record in plan[0]]
        return found

    def report_of_failure(self, failure: Failure) -> Sequence[Any]:
        return failure.record, failure.reason


async def report(queue: Queue, action: str) -> list[Line]:
    """What is stored, and that each row says of how many records from which on it tells."""
    rows = await queue.rows(
        "SELECT first_record, records, body FROM async_action_reports"
        " WHERE project_id = %s AND action_id = %s ORDER BY first_record",
        queue.project,
        action,
    )
    lines: list[Line] = []
    for row in rows:
        assert row.first_record == len(lines)
        found = [msgspec.json.decode(line) for line in bytes(row.body).splitlines()]
        assert len(found) == row.records
        lines += [(line["n"], line["reason"]) for line in found]
    return lines


@in_loop
async def test_every_record_has_its_line(workerless: str) -> None:
    """Those that were foreseen to fail, those that PostgreSQL refused, and those between them."""
    async with Queue.opened(workerless) as queue:
        job = Told(portion_records=30)
        bad = {3: NOT_STORED, 44: NOT_STORED, 45: "not this one", 99: "foreseen"}
        asked = records(100, sqlstate={3: "22003", 44: "23514"}, refused={45: bad[45]}, foreseen={99: bad[99]})
        action = await queue.schedule(job, asked)
        async with queue.working(job):
            result = await queue.finished(action)
        assert result["failed_count"] == 4
        assert await report(queue, action) == [(n, bad.get(n)) for n in range(100)]
        assert (await queue.action(action)).report_deleted_at is None


@in_loop
async def test_a_record_that_stops_workers_has_its_line(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job = Told(portion_records=1)
        action = await queue.schedule(job, records(3))
        started = await queue.value("SELECT extract(epoch FROM pg_postmaster_start_time())::text")
        await queue.conn.execute(
            "UPDATE async_actions SET started_at = created_at, status = 'IN_PROGRESS', stops_alone = 2, started_by = %s"
            " WHERE project_id = %s",
            [f"worker_gone/{started}/7", queue.project],
        )
        async with queue.working(job):
            await queue.finished(action)
        assert await report(queue, action) == [(0, REASON_STOPPED_WORKERS), (1, None), (2, None)]


@in_loop
async def test_a_row_that_a_walk_skips_has_its_line(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job = ToldWalk(portion_records=4)
        asked = {"action": "walk", "count": 10, "refused": [5]}
        action = await async_actions.schedule_walk(
            queue.conn, queue.project, job, rows_estimate=10, request_id="test", parameters=asked
        )
        async with queue.working(job):
            await queue.finished(action)
        assert await report(queue, action) == [(n, "as asked" if n == 5 else None) for n in range(10)]


@in_loop
async def test_a_kind_that_tells_nothing_keeps_nothing(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job = Tried()
        action = await queue.schedule(job, records(2, sqlstate={1: "22003"}))
        async with queue.working(job):
            await queue.finished(action)
        assert await report(queue, action) == []
        row = await queue.action(action)
        assert row.report_deleted_at == row.finished_at


@in_loop
async def test_what_a_portion_says_is_stored_in_rows_of_a_page(workerless: str) -> None:
    """Whoever reads it holds a page at a time."""
    async with Queue.opened(workerless) as queue:
        job, reason = Told(portion_records=1000), "x" * 1000
        action = await queue.schedule(job, records(1000, foreseen=dict.fromkeys(range(1000), reason)))
        async with queue.working(job):
            await queue.finished(action)
        assert await report(queue, action) == [(n, reason) for n in range(1000)]
        sizes = await queue.rows(
            "SELECT octet_length(body) AS size FROM async_action_reports WHERE action_id = %s", action
        )
        assert len(sizes) == 4
        assert max(row.size for row in sizes) <= downloads.PAGE_BYTES


@given(st.lists(st.integers(0, 12)), st.integers(1, 20))
def test_parts_are_cut_into_runs_that_are_small(sizes: list[int], bytes_max: int) -> None:
    """All of them in their order, each run as long as it may be."""
    parts = [b"x" * size for size in sizes]
    runs = list(pieces.cut(parts, bytes_max))
    assert [no for first, end in runs for no in range(first, end)] == list(range(len(parts)))
    for first, end in runs:
        assert end - first == 1 or sum(map(len, parts[first:end])) <= bytes_max
    for (first, end), _ in itertools.pairwise(runs):
        assert sum(len(part) + 1 for part in parts[first : end + 1]) > bytes_max
