"""Lanes under everything that can happen to them, and a model of what they may do.

Real workers run in this process on a real PostgreSQL, and their portions go on when a step says so: nothing
depends on time. After each step the machine waits until no worker has anything to do, and compares.
"""

import asyncio
import contextlib
import itertools
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from psycopg import errors as pg
from psycopg import sql

from punchcard.bulk import async_actions, pauses
from punchcard.bulk.jobs import Lane
from punchcard.db.database import Conn, StaleRead, connect
from tests.bulk.crew import PORTION_RECORDS, Action, Crew, Host, Place
from tests.bulk.kinds import Counted, Tried, encoded, records
from tests.bulk.queue import Queue

T = TypeVar("T")

PROJECTS = 2
WORKERS_MAX = 3
LATE_MAX = 2
# a record that stops its worker three times while alone fails
CRASHES_MAX = 2
ERRORS_MAX = 3
# what is not found at once is found by a look at everything much later: it must not come to that
SETTLED_SECONDS = 25.0
DRAINED_SECONDS = 120.0
LOOK_SECONDS = 0.002
NO = st.integers(0, 50)
SIZE = st.sampled_from([0, 1, 2, 7, 20, 21, 60, 300])
KIND = st.sampled_from(["fifo", "round_robin", "walk"])
# which of an action's records are bad, and how
BAD = st.dictionaries(st.integers(0, 60), st.sampled_from(["foreseen", "refused", "sqlstate"]), max_size=2)
REPLANNED: dict[str, type[Exception]] = {"stale": StaleRead, "deadlock": pg.DeadlockDetected}
RETRIED: dict[str, type[Exception]] = {"disk": pg.DiskFull, "mistake": RuntimeError}
END_SESSIONS = """
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity AS a
 WHERE a.pid = (SELECT backend_pid FROM workers WHERE id = %(id)s)
    OR (%(pulse)s AND a.application_name = 'punchcard pulse ' || %(id)s)
"""
ACTIONS = """
SELECT id, status, operation_status, records_next, records_done, records_failed, started_at, finished_at, started_by,
       result
  FROM async_actions WHERE project_id = ANY(%s)
"""
WRITTEN = "SELECT action, array_agg(n ORDER BY n) AS ns FROM tried_records WHERE project_id = ANY(%s) GROUP BY action"
FAILED = """
SELECT action_id, array_agg(record ORDER BY record) AS ns FROM async_action_failures
 WHERE project_id = ANY(%s) GROUP BY action_id
"""
LEFT_OVER = {
    "requests to end actions": "SELECT count(*) FROM async_action_cancels WHERE project_id = ANY(%s)",
    "pauses": "SELECT count(*) FROM lane_pauses WHERE project_id = ANY(%s)",
    "payloads": "SELECT count(*) FROM async_action_pieces WHERE project_id = ANY(%s)",
    "turns beside the last of a lane": "SELECT count(*) - count(DISTINCT (project_id, lane)) FROM lane_turns"
    " WHERE project_id = ANY(%s)",
    "start marks": "SELECT count(*) FROM async_actions WHERE project_id = ANY(%s) AND started_by IS NOT NULL",
}


class LaneMachine(RuleBasedStateMachine):
    """Some projects with a fifo and a round_robin lane each."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._dsn = dsn
        self._runner = asyncio.Runner()
        self._open = contextlib.AsyncExitStack()
        self._late: list[tuple[Conn, Any, Action]] = []
        self._numbers = itertools.count()
        self.crew = Crew(dsn)
        self.places: list[Place] = []
        self.rows: dict[str, Any] = {}
        # of the step that is being done: the actions it brought in, and what must come true before it is over
        self._since_last_look: list[Action] = []
        self._expected: list[Callable[[], bool]] = []
        self._templates = {
            "fifo": Tried(kind="TESTS.FIFO", portion_records=PORTION_RECORDS),
            "round_robin": Tried(kind="TESTS.ROUND_ROBIN", lane=Lane.ROUND_ROBIN, portion_records=PORTION_RECORDS),
            "walk": Counted(portion_records=PORTION_RECORDS),
        }

    # ---- steps ----

    @initialize(workers=st.integers(1, WORKERS_MAX), first=st.lists(st.tuples(NO, KIND, SIZE), max_size=8))
    def begin(self, workers: int, first: list[tuple[int, str, int]]) -> None:
        self._runner.run(self._begin(workers))
        for project, kind, size in first:
            self.schedule(project, kind, size, {})

    @rule(project=NO, kind=KIND, size=SIZE, bad=BAD)
    def schedule(self, project: int, kind: str, size: int, bad: dict[int, str]) -> None:
        """An action that is accepted at once."""
        self.step(self._schedule(self.queue.conn, self.action(project, kind, size, bad), kind, bad))

    @rule(project=NO, kind=KIND, count=st.integers(2, 6))
    def schedule_many(self, project: int, kind: str, count: int) -> None:
        """Actions of a portion and a bit each."""
        self.step(self._schedule_many(project, kind, count))

    @precondition(lambda self: len(self._late) < LATE_MAX)
    @rule(project=NO, kind=KIND, size=SIZE, behind=st.integers(0, 3), nos=st.lists(NO, max_size=8))
    def begin_late(self, project: int, kind: str, size: int, behind: int, nos: list[int]) -> None:
        """An action with its place in the order, whose transaction stays open while others come and go."""
        self.step(self._begin_late(self.action(project, kind, size, {}), kind))
        for _ in range(behind):
            self.schedule(project, kind, 1, {})
        self.go_on_often(nos)

    @precondition(lambda self: self._late)
    @rule(no=NO, commits=st.booleans())
    def end_late(self, no: int, commits: bool) -> None:
        self.step(self._end_late(self._late.pop(no % len(self._late)), commits=commits))

    @rule(no=NO, through=st.sampled_from([True, True, False]))
    def go_on(self, no: int, through: bool) -> None:
        """A portion goes on to its commit, or to its next gate."""
        if host := self.standing(no):
            self.step(self._go_on(host, through=through))

    @rule(nos=st.lists(NO, min_size=2, max_size=8))
    def go_on_often(self, nos: list[int]) -> None:
        for no in nos:
            self.go_on(no, through=True)

    @rule(no=NO, error=st.sampled_from([*REPLANNED, *RETRIED]))
    def spoil(self, no: int, error: str) -> None:
        """A portion fails for a reason that no record is to blame for."""
        if host := self.standing(no):
            self.step(self._spoil(host, error))

    @rule(no=NO)
    def lose_session(self, no: int) -> None:
        """A worker loses the session that holds its lane; a portion at a gate does not know yet."""
        self.step(self._lose_session(self.crew.hosts[no % len(self.crew.hosts)]))

    @rule(no=NO)
    def crash(self, no: int) -> None:
        """A worker is gone without a goodbye, and another one comes."""
        self.step(self._crash(self.crew.hosts[no % len(self.crew.hosts)]))

    @rule(no=NO)
    def replace(self, no: int) -> None:
        """A worker is told to stop, and another one comes."""
        self.step(self._replace(self.crew.hosts[no % len(self.crew.hosts)]))

    @precondition(lambda self: self.crew.actions)
    @rule(no=NO)
    def cancel(self, no: int) -> None:
        """Any action, also one that has ended, and the same one again."""
        self.step(self._cancel(list(self.crew.actions.values())[no % len(self.crew.actions)]))

    @rule(no=NO)
    def pause_or_resume(self, no: int) -> None:
        self.step(self._pause_or_resume(self.places[no % len(self.places)]))

    def teardown(self) -> None:
        try:
            if self.places:
                self._runner.run(self._drain())
        finally:
            self._runner.run(self._close())
            self._runner.close()

    # ---- what the steps do ----

    async def _begin(self, workers: int) -> None:
        self.queue = await self._open.enter_async_context(Queue.opened(self._dsn))
        projects = [self.queue.project, *[(await self.queue.sibling()).project for _ in range(PROJECTS - 1)]]
        self.projects = projects
        self.places = [(project, lane) for project in projects for lane in ("fifo", "round_robin")]
        for _ in range(workers):
            await self._hire()

    async def _hire(self) -> None:
        await self.queue.session_of(self.crew.hire().worker)

    def action(self, project: int, kind: str, size: int, bad: dict[int, str]) -> Action:
        lane = "fifo" if kind == "fifo" else "round_robin"
        name = f"{next(self._numbers):03} {kind}"
        place = (self.projects[project % PROJECTS], lane)
        self.crew.actions[name] = Action(name, place, size, frozenset(n for n in bad if n < size))
        return self.crew.actions[name]

    async def _schedule(self, conn: Conn, action: Action, kind: str, bad: dict[int, str]) -> None:
        async with conn.transaction():
            await self._accept(conn, action, kind, bad)
            self._arrives(action)

    def _arrives(self, action: Action) -> None:
        """Said before the commit: a worker may be quicker than we are."""
        action.arrived = len(self.crew.claims)
        self._since_last_look.append(action)

    async def _accept(self, conn: Conn, action: Action, kind: str, bad: dict[int, str]) -> None:
        job: Any = self._templates[kind]
        project = action.place[0]
        if kind == "walk":
            asked = {"action": action.name, "count": action.size, "refused": sorted(action.bad)}
            action.id = await async_actions.schedule_walk(
                conn, project, job, rows_estimate=action.size, request_id="test", parameters=asked
            )
        else:
            special = {how: {n: "22P02" for n, other in bad.items() if other == how} for how in bad.values()}
            made = records(action.size, action.name, **{
                how: {n: value for n, value in by_n.items() if n < action.size} for how, by_n in special.items()
            })  # fmt: skip
            action.id = await async_actions.schedule(conn, project, job, records=encoded(made), request_id="test")
        query = "SELECT seq FROM async_actions WHERE project_id = %s AND id = %s"
        row = await (await conn.execute(query, [project, action.id])).fetchone()
        assert row is not None
        action.seq = row.seq

    async def _schedule_many(self, project: int, kind: str, count: int) -> None:
        for _ in range(count):
            await self._schedule(self.queue.conn, self.action(project, kind, PORTION_RECORDS + 1, {}), kind, {})

    async def _begin_late(self, action: Action, kind: str) -> None:
        conn = await connect(self._dsn, part="test")
        transaction = conn.transaction()
        await transaction.__aenter__()
        await self._accept(conn, action, kind, {})
        self._late.append((conn, transaction, action))

    async def _end_late(self, late: tuple[Conn, Any, Action], *, commits: bool) -> None:
        conn, transaction, action = late
        if commits:
            self._arrives(action)
            await transaction.__aexit__(None, None, None)
        else:
            del self.crew.actions[action.name]
        await conn.close()

    def standing(self, no: int) -> Host | None:
        """A worker at a gate, if there is one: no precondition, since which stands where can differ in a repetition."""
        return self.crew.standing[no % len(self.crew.standing)] if self.crew.standing else None

    async def _go_on(self, host: Host, *, through: bool) -> None:
        portion = host.portion
        assert portion is not None
        self.crew.release(host, through=through)
        if not portion.lost:
            self._expect_progress(portion.action, portion.first, None if through else host)

    def _expect_progress(self, action: Action, first: int, gate: Host | None) -> None:
        """The next look is to find the portion committed, or at its next gate."""

        def came() -> bool:
            row = self.rows[action.id]
            return row.records_next > first or row.finished_at is not None or bool(gate and gate.portion)

        self._expected.append(came)

    async def _spoil(self, host: Host, error: str) -> None:
        portion = host.portion
        assert portion is not None
        if portion.action.errors >= ERRORS_MAX:
            await self._go_on(host, through=True)
            return
        portion.action.errors += 1
        if error in REPLANNED and not portion.lost:
            self.crew.spoil(host, REPLANNED[error](), replanned=True)
            self._expect_progress(portion.action, portion.first, host)
        else:
            self.crew.spoil(host, RETRIED.get(error, pg.DiskFull)(), replanned=False)

    async def _lose_session(self, host: Host) -> None:
        if host.portion:
            host.portion.lost = True
        await self.queue.conn.execute(END_SESSIONS, {"id": host.worker.id, "pulse": False})

    async def _crash(self, host: Host) -> None:
        if host.portion:
            if host.portion.action.crashes >= CRASHES_MAX:
                await self._go_on(host, through=True)
                return
            host.portion.action.crashes += 1
        await self.queue.conn.execute(END_SESSIONS, {"id": host.worker.id, "pulse": True})
        host.stop.set()
        assert host.task is not None
        host.task.cancel()
        await asyncio.wait([host.task], timeout=SETTLED_SECONDS)
        self.crew.hosts.remove(host)
        await self._hire()

    async def _replace(self, host: Host) -> None:
        host.stop.set()
        if host.portion:
            # nobody takes the start mark back when its session is gone
            host.portion.action.crashes += host.portion.lost
            self.crew.release(host, through=True)
        assert host.task is not None
        await asyncio.wait_for(host.task, SETTLED_SECONDS)
        self.crew.hosts.remove(host)
        await self._hire()

    async def _cancel(self, action: Action) -> None:
        if action.arrived is None:
            return
        if action.finished:
            try:
                await async_actions.cancel_action(self.queue.conn, action.place[0], action.id)
            except async_actions.ActionFinished:
                return
            raise AssertionError("an action that had finished was cancelled")
        in_hand = any(
            host.portion and host.portion.action is action and not host.portion.lost for host in self.crew.hosts
        )
        action.must_fail = action.must_fail or not in_hand
        action.cancelled = True
        seen = await async_actions.cancel_action(self.queue.conn, action.place[0], action.id)
        assert seen.cancel_requested is True

    async def _pause_or_resume(self, place: Place) -> None:
        if place in self.crew.paused:
            self.crew.paused.remove(place)
            assert await pauses.resume(self.queue.conn, place[0], Lane(place[1]))
        else:
            assert await pauses.pause(self.queue.conn, place[0], Lane(place[1]))
            self.crew.paused.add(place)

    # ---- looking ----

    def step(self, doing: Coroutine[Any, Any, None]) -> None:
        """Do something, wait until it has had its effect, and compare."""

        async def do() -> None:
            self._since_last_look, self._expected = [], []
            claims = len(self.crew.claims)
            await doing
            await self.queue.notify()
            await self._settled(SETTLED_SECONDS)
            self._compare(claims)

        try:
            self._runner.run(do())
        except Exception:
            # another try may go well: what was seen is shown in any case
            traceback.print_exc()
            raise

    async def _settled(self, seconds: float) -> None:
        """Wait until every worker stands at a gate, or nothing is left to do."""
        deadline = time.monotonic() + seconds
        while True:
            await self._look()
            if self._is_settled():
                # the gates were looked at after the rows: somebody may have come to one between
                await self._look()
                if self._is_settled():
                    return
            assert time.monotonic() < deadline, f"nobody goes on with {[action.name for action in self._waiting()]}"
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        self.rows = {row.id: row for row in await self.queue.rows(ACTIONS, self.projects)}
        assert not self.crew.faults, self.crew.faults

    def _is_settled(self) -> bool:
        return all(came() for came in self._expected) and (self._all_stand() or not self._waiting())

    def _all_stand(self) -> bool:
        return all(host.portion for host in self.crew.hosts)

    def _waiting(self) -> list[Action]:
        """The actions that a worker with nothing in hand would have to find."""
        return [
            action
            for action in self.crew.actions.values()
            if action.arrived is not None
            and self.rows[action.id].finished_at is None
            and action.place not in self.crew.held
            and (action.place not in self.crew.paused or action.cancelled)
        ]

    def _compare(self, claims_before: int) -> None:
        """What the lanes hold now, and how they came to it since there were `claims_before` claims."""
        accepted = [action for action in self.crew.actions.values() if action.arrived is not None]
        assert {action.id for action in accepted} == set(self.rows)
        for place in self.places:
            of_lane = [a for a in self.crew.actions.values() if a.place == place and a.arrived is not None]
            if place[1] == "fifo":
                self._compare_fifo(of_lane)
            elif any(claim.action.place == place for claim in self.crew.claims[claims_before:]):
                waiting = {a for a in of_lane if not (self.rows[a.id].started_at or self.rows[a.id].finished_at)}
                assert waiting <= set(self._since_last_look), "a turn puts all under way that wait"
        for host in self.crew.standing:
            portion = host.portion
            if portion and not portion.lost:
                row = self.rows[portion.action.id]
                assert (row.status, row.records_next) == ("IN_PROGRESS", portion.first)
                assert row.started_by.startswith(host.worker.id), "the portion in hand is not the one that is marked"
        for action in accepted:
            self._follow(action, self.rows[action.id])
        for action in self._since_last_look:
            action.arrived = len(self.crew.claims)

    def _compare_fifo(self, of_lane: list[Action]) -> None:
        """One at a time, in the order of arrival; what arrived early and was committed late cuts in on nobody."""
        assert sum(self._is_under_way(action) for action in of_lane) <= 1
        for action in of_lane:
            began = self.rows[action.id].started_at
            if began is None or action.started:
                continue
            for other in of_lane:
                row = self.rows[other.id]
                if other is not action and (other.seq < action.seq or other.started):
                    assert row.finished_at is not None, f"{action.name} began before {other.name} had finished"
                    assert row.finished_at <= began, f"{action.name} began before {other.name} had finished"

    def _is_under_way(self, action: Action) -> bool:
        row = self.rows[action.id]
        return row.started_at is not None and row.finished_at is None

    @staticmethod
    def _follow(action: Action, row: Any) -> None:
        """What has become of an action since the last look."""
        assert row.records_next >= action.records_next
        if row.records_next > action.records_next:
            action.records_next, action.crashes, action.errors = row.records_next, 0, 0
        action.started = row.started_at is not None
        if row.finished_at is None or action.finished:
            return
        action.finished = True
        if row.status == "FAILED":
            assert action.cancelled, f"{action.name} failed by itself"
            assert row.operation_status == "FAILED"
            assert "cancel" in msgspec.json.decode(row.result)["message"].lower()
        else:
            assert row.status == "DONE"
            assert not action.must_fail, f"{action.name} came to its end after it was cancelled"
            assert row.records_next == action.size
            nothing_good = row.records_failed > 0 and row.records_done == 0
            assert row.operation_status == ("FAILED" if nothing_good else "SUCCESS")

    # ---- the end ----

    async def _drain(self) -> None:
        """Let everything come to its end: then it shows what was lost, and what was done twice."""
        self._since_last_look, self._expected = [], []
        claims = len(self.crew.claims)
        while self._late:
            await self._end_late(self._late.pop(), commits=True)
        for place in list(self.crew.paused):
            await self._pause_or_resume(place)
        self.crew.gates_open = True
        for host in self.crew.standing:
            self.crew.release(host, through=True)
        await self.queue.notify()
        await self._settled(DRAINED_SECONDS)
        self._compare(claims)
        await self._compare_records()
        self.crew.compare_turns(place for place in self.places if place[1] == "round_robin")
        await self.queue.emptied(LEFT_OVER["requests to end actions"], self.projects)
        for host in list(self.crew.hosts):
            host.stop.set()
            assert host.task is not None
            await asyncio.wait_for(host.task, SETTLED_SECONDS)
        for what, query in LEFT_OVER.items():
            assert await self.queue.value(query, self.projects) == 0, f"{what} are left"
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        assert await self.queue.value(locks) == 0, "a lane is still held"

    async def _compare_records(self) -> None:
        """Each record once: written if it is good, and among the failures if it is not."""
        written = {row.action: row.ns for row in await self.queue.rows(WRITTEN, self.projects)}
        failed = {row.action_id: row.ns for row in await self.queue.rows(FAILED, self.projects)}
        assert set(written) <= set(self.crew.actions), "a request that was taken back has left records"
        for action in self.crew.actions.values():
            taken, row = set(range(action.records_next)), self.rows[action.id]
            assert written.get(action.name, []) == sorted(taken - action.bad), action.name
            assert failed.get(action.id, []) == sorted(taken & action.bad), action.name
            assert (row.records_done, row.records_failed) == (len(taken - action.bad), len(taken & action.bad))
            assert msgspec.json.decode(row.result)["done_count"] == row.records_done

    async def _close(self) -> None:
        for conn, _, _ in self._late:
            await conn.close()
        for host in self.crew.hosts:
            if host.task is not None:
                host.task.cancel()
                await asyncio.wait([host.task], timeout=SETTLED_SECONDS)
        if self.places:
            for table in ("lane_pauses", "async_action_cancels"):
                query = sql.SQL("DELETE FROM {} WHERE project_id = ANY(%s)").format(sql.Identifier(table))
                await self.queue.conn.execute(query, [self.projects])
        await self._open.aclose()
