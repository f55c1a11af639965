"""Workers in this process whose portions stop at gates, so that a test says when each goes on and how it ends.

A portion stops before it plans and before it writes. What it may be taken from is judged when it arrives at
its first gate, against what the test knows of the lanes.
"""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

from punchcard.bulk.jobs import Batch, Lane, Stretch
from punchcard.bulk.worker import Worker
from punchcard.db.database import Conn
from tests.bulk.kinds import Counted, Record, Tried
from tests.bulk.queue import quick

# project and lane
Place = tuple[str, str]

PORTION_RECORDS = 20
# nothing ends by itself while a portion waits at its gate
PATIENT: dict[str, object] = {
    "poll_ms": 500,
    "worker_silent_ms": 60_000,
    "worker_idle_in_transaction_ms": 60_000,
    "worker_statement_ms": 60_000,
}


class Action(Struct, eq=False):
    """An action that was scheduled, as the model knows it."""

    name: str
    place: Place
    size: int
    # of its records, which are bad
    bad: frozenset[int]
    id: str = ""
    seq: int = 0
    # how many claims there had been when it was committed; none while its transaction is open
    arrived: int | None = None
    started: bool = False
    cancelled: bool = False
    # nobody had it in hand when it was cancelled: it cannot come to its own end
    must_fail: bool = False
    records_next: int = 0
    finished: bool = False
    # how often its next record has met a worker's death, and a failure that is retried
    crashes: int = 0
    errors: int = 0


class Portion(Struct, eq=False):
    """A portion that stands at a gate."""

    action: Action
    first: int
    at_write: bool
    go: "asyncio.Future[None]"
    # its session is gone: it can commit nothing
    lost: bool = False


class Host(Struct, eq=False):
    """A worker in this process."""

    worker: Worker
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None
    portion: Portion | None = None
    # the claim it works on, as action and first record, and whether that passes the gates
    claim: tuple[str, int] | None = None
    through: bool = False


class Claimed(Struct, eq=False):
    """A claim: the action, and its first record."""

    action: Action
    first: int


class Crew:
    """The workers, what they have in hand, and the claims they have made."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.hosts: list[Host] = []
        self.actions: dict[str, Action] = {}
        self.paused: set[Place] = set()
        self.claims: list[Claimed] = []
        self.faults: list[str] = []
        self.gates_open = False

    def hire(self) -> Host:
        """A new worker."""
        jobs: list[Any] = [
            GatedRecords(self, Lane.FIFO), GatedRecords(self, Lane.ROUND_ROBIN), GatedWalk(self),
        ]  # fmt: skip
        host = Host(Worker(self._dsn, {job.type: job for job in jobs}, quick(**PATIENT)))
        for job in jobs:
            job.host = host
        host.task = asyncio.create_task(host.worker.run(host.stop))
        self.hosts.append(host)
        return host

    @property
    def standing(self) -> list[Host]:
        """The workers that stand at a gate."""
        return [host for host in self.hosts if host.portion]

    @property
    def held(self) -> set[Place]:
        """The lanes of which a portion stands at a gate that can still commit."""
        return {host.portion.action.place for host in self.hosts if host.portion and not host.portion.lost}

    async def arrive(self, host: Host | None, name: str, first: int, *, at_write: bool) -> None:
        """Stop at a gate."""
        assert host is not None
        action = self.actions[name]
        if host.claim != (name, first):
            self._judge(action)
            self.claims.append(Claimed(action, first))
            host.claim, host.through = (name, first), False
        if host.through or self.gates_open:
            return
        host.portion = Portion(action, first, at_write, asyncio.get_running_loop().create_future())
        try:
            await host.portion.go
        finally:
            host.portion = None

    def _judge(self, action: Action) -> None:
        """Whether the action may get a portion now."""
        wrong = {
            "its lane has a portion at a gate": action.place in self.held,
            "its lane is paused": action.place in self.paused,
            "it was cancelled": action.cancelled,
            "it was not committed": action.arrived is None,
            "it had finished": action.finished,
        }
        self.faults += [f"{action.name} got a portion although {what}" for what, is_so in wrong.items() if is_so]

    def release(self, host: Host, *, through: bool) -> None:
        """Let the portion go on: to its commit if `through`, else to its next gate."""
        assert host.portion is not None
        if host.portion.lost:
            host.claim = None
        host.through = through
        host.portion.go.set_result(None)

    def spoil(self, host: Host, error: BaseException, *, replanned: bool) -> None:
        """Let the portion fail with an error; if it is not `replanned`, it will have to be claimed again."""
        assert host.portion is not None
        if not replanned or host.portion.lost:
            host.claim = None
        host.portion.go.set_exception(error)

    def compare_turns(self, rotating: Iterable[Place]) -> None:
        """Between two portions of a job every other one that was under way had a turn."""
        for place in rotating:
            turns = [(no, claim) for no, claim in enumerate(self.claims) if claim.action.place == place]
            for action in {claim.action for _, claim in turns}:
                own = [(no, claim.first) for no, claim in turns if claim.action is action]
                for (begin, first), (end, following) in itertools.pairwise(own):
                    if following > first:
                        _compare_round(turns, action, begin, end)


def _compare_round(turns: list[tuple[int, Claimed]], action: Action, begin: int, end: int) -> None:
    between = {claim.action for no, claim in turns if begin < no < end}
    later = {claim.action for no, claim in turns if no > end}
    for other in later - between - {action}:
        assert other.arrived is not None
        assert other.arrived > begin, f"{action.name} had two portions, {other.name} waited since {other.arrived}"


class GatedRecords(Tried):
    """Records of which each portion stops at the gates."""

    def __init__(self, crew: Crew, lane: Lane) -> None:
        super().__init__(lane=lane, portion_records=PORTION_RECORDS, kind=f"TESTS.{lane.upper()}")
        self._crew = crew
        self.host: Host | None = None
        self.before_write = self._before_write

    async def plan(self, conn: Conn, project: str, batch: Batch) -> list[Record]:
        first = msgspec.json.decode(batch.bodies[0], type=Record)
        await self._crew.arrive(self.host, first.action, first.n, at_write=False)
        return await super().plan(conn, project, batch)

    async def _before_write(self, plan: Sequence[Record]) -> None:
        await self._crew.arrive(self.host, plan[0].action, plan[0].n, at_write=True)


class GatedWalk(Counted):
    """A walk of which each portion stops at the gates."""

    def __init__(self, crew: Crew) -> None:
        super().__init__(portion_records=PORTION_RECORDS)
        self._crew = crew
        self.host: Host | None = None

    async def plan(self, conn: Conn, project: str, stretch: Stretch) -> tuple[list[Record], bool]:
        await self._crew.arrive(self.host, stretch.parameters["action"], stretch.first_record, at_write=False)
        return await super().plan(conn, project, stretch)

    async def write(self, conn: Conn, project: str, plan: tuple[list[Record], bool]) -> None:
        if plan[0]:
            await self._crew.arrive(self.host, plan[0][0].action, plan[0][0].n, at_write=True)
        await super().write(conn, project, plan)
