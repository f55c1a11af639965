"""A turn of a lane that we hold: which action gets the portion, and the start mark on it.

In a fifo lane it is the one under way, else the one that arrived first. In a round_robin lane all that wait are
put under way first; then it is the one whose last portion is longest ago, and it goes to the end.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from punchcard.bulk.jobs import Lane
from punchcard.bulk.lanes import SQL, LaneTurn
from punchcard.db.database import Conn

STOPS_ALONE_MAX = 3
CANCELS_A_TURN = 100

# a statement that takes a start mark back, and its parameters
Withdrawal: TypeAlias = tuple[bytes, dict[str, Any]]


class Claim(Struct):
    """The action that gets the next portion of a lane we hold.

    The portion takes `records_at_hand`: `portion_records`, or what its piece (of a dry run: its request) still
    holds. `stopped_workers` is set when its next record stopped its worker so often that it is to fail.
    """

    project: str
    id: str
    type: str
    lane: str
    dry_run: bool
    # what came with the request beside its records
    parameters: dict[str, Any]
    # of a walk: behind which row it goes on
    cursor: Any
    records_total: int
    records_next: int
    records_done: int
    records_failed: int
    counts: dict[str, int]
    portion_records: int
    # the turn of the lane; none for a claim that gets no portion
    turn: int | None = None
    records_at_hand: int = 0
    started_by: str = ""
    stopped_workers: bool = False


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


async def take_turn(conn: Conn, turn: LaneTurn, look: Any, *, starter: Starter, number: int) -> Claim | None:
    """Commit the lane's turn with a start mark on one action, and return that; none when the lane has nothing to do.

    A mark left by a worker that is gone or silent means that a portion stopped it: the next one takes half,
    and a record that stops its worker three times while alone is to fail. After an error the session is to be closed.
    """
    if look.id is None:
        return None
    stopped = look.started_by is not None and await has_stopped(conn, look.started_by, starter)
    wanted = look.portion_records
    if not look.under_way and not look.dry_run:
        wanted = first_records(wanted, look.usual_records)
    portion, stops = next_start(portion_records=wanted, stops_alone=look.stops_alone, stopped=stopped)
    at_hand = portion if look.at_hand is None else min(portion, max(1, look.at_hand))
    mark = starter.mark(number)
    standing = _Standing(turn, look)
    start = {
        **standing.row,
        "head": look.id,
        "started_by": mark,
        # what the portion really takes: that is what may stop us, and is to be halved then
        "portion_records": at_hand,
        "stops_alone": stops,
        "ids": list(standing.job_turns),
        "job_turns": list(standing.job_turns.values()),
    }
    # in one round trip, which `conn.transaction` would make three
    async with conn.pipeline():
        await conn.execute("BEGIN")
        # the mark may be lost in a crash of PostgreSQL: such a start is not to be counted anyway
        await conn.execute("SET LOCAL synchronous_commit = off")
        await conn.execute(SQL.lane_take_turn, start)
        await conn.execute("COMMIT")
    claim = _claim(turn, look)
    claim.portion_records, claim.records_at_hand, claim.started_by = portion, at_hand, mark
    claim.turn, claim.stopped_workers = standing.row["turn"] + 1, stops >= STOPS_ALONE_MAX
    return claim


class _Standing:
    """Where the lane stands after this turn: its new row, and the turns of the jobs that get new ones."""

    def __init__(self, turn: LaneTurn, look: Any) -> None:
        rotating = turn.lane == Lane.ROUND_ROBIN
        job_next = 0 if look.turn is None else look.job_turn_next
        # a fifo lane starts an action only when none is under way
        started = [] if look.under_way and not rotating else list(look.waiting or ())
        self.job_turns = {action: job_next + no for no, action in enumerate(started)}
        job_next += len(started)
        head_turn = self.job_turns.get(look.id, look.job_turn)
        floor = head_turn
        if rotating:
            # behind all others, those that have just been started included
            self.job_turns[look.id], job_next, floor = job_next, job_next + 1, head_turn + 1
        else:
            self.job_turns[look.id] = head_turn
        self.row: dict[str, Any] = {
            "project_id": turn.project,
            "lane": turn.lane,
            "turn": look.turn or 0,
            "record_us": look.record_us,
            "usual_records": look.usual_records,
            "job_turn_floor": floor,
            "job_turn_next": job_next,
            **seq_floors(look, look.waiting_seqs or [], len(started)),
        }


def seq_floors(look: Any, seqs: Sequence[int], started: int) -> dict[str, Any]:
    """The floors of what waits: up to where the index need not be read any more, now and as soon as that is settled.

    `seqs` are the first that wait; so many of them do not wait any more after this turn.
    """
    # all that we have seen and that is not waiting any more lies below; the transactions that drew a number below it
    # and have not ended yet are older than ours
    seen = seqs[started] if started < len(seqs) else seqs[-1] + 1 if seqs else None
    if look.turn is None:
        return {"seq_floor": 0, "seq_floor_next": seen or 0, "seq_floor_next_xid": None}
    if not look.settled:
        xid = look.seq_floor_next_xid
        return {"seq_floor": look.seq_floor, "seq_floor_next": look.seq_floor_next, "seq_floor_next_xid": xid}
    first = seqs[0] if seqs else look.seq_floor_next
    floor = min(look.seq_floor_next, first)
    ahead = look.seq_floor_next if seen is None else max(seen, floor)
    return {"seq_floor": floor, "seq_floor_next": ahead, "seq_floor_next_xid": None}


async def cancelled(conn: Conn, turn: LaneTurn) -> list[tuple[str, Claim | None]]:
    """The actions of a lane we hold that are to end, by their ids; no claim for one that has ended by itself."""
    parameters = {"project_id": turn.project, "lane": turn.lane, "limit": CANCELS_A_TURN}
    rows = await (await conn.execute(SQL.lane_cancels, parameters)).fetchall()
    return [(row.action_id, None if row.id is None else _claim(turn, row)) for row in rows]


def _claim(turn: LaneTurn, row: Any) -> Claim:
    return Claim(
        project=turn.project,
        id=row.id,
        type=row.type,
        lane=turn.lane,
        dry_run=row.dry_run,
        parameters={} if row.parameters is None else msgspec.json.decode(row.parameters),
        cursor=None if row.cursor is None else msgspec.json.decode(row.cursor),
        records_total=row.records_total,
        records_next=row.records_next,
        records_done=row.records_done,
        records_failed=row.records_failed,
        counts=msgspec.json.decode(row.counts),
        portion_records=row.portion_records,
    )


async def has_stopped(conn: Conn, mark: str, starter: Starter) -> bool:
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


def first_records(begins_with: int, usual: int | None) -> int:
    """How many records the first portion of an action takes: what its kind begins with, or what is `usual` on its lane,
    if that is less than half of it.

    While others write the same rows a record takes a multiple of its time, and they wait for the whole portion. What is
    up to twice too long is not taken apart (decision 8).
    """
    return begins_with if usual is None or begins_with <= 2 * usual else usual


def next_start(*, portion_records: int, stops_alone: int, stopped: bool) -> tuple[int, int]:
    """The size of the next portion, and how often its first record has stopped a worker while alone."""
    if not stopped:
        return portion_records, stops_alone
    if portion_records > 1:
        return portion_records // 2, 0
    return 1, stops_alone + 1
