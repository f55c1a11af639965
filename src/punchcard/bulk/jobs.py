"""What a kind of job is, and what a portion of it came to.

A job works through the records of a request (`PayloadJob`) or through rows that are stored (`WalkJob`).
Both plan outside any transaction, and say what the plan comes to before they write it: a dry run is a
portion that leaves the writing out.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol, TypeGuard

import msgspec
from msgspec import Struct

from punchcard.db.database import Conn

FAILURES_IN_RESULT_MAX = 1000
# what a portion takes beside its records, about, in microseconds
PORTION_US = 10_000


def failures_path(action_id: str) -> str:
    """Where all failures of an action are listed, for a result that lists only the first."""
    return f"/v1/async-actions/{action_id}/failures"


class Lane(StrEnum):
    """A lane belongs to a project and has at most one worker at a time. docs/architecture.md says what runs where."""

    FIFO = "fifo"
    ROUND_ROBIN = "round_robin"
    SEGMENTS = "segments"
    REACTIONS = "reactions"


class Failure(Struct, frozen=True):
    """A record that did not go in; `record` is its position in the request, from 0, `reason` is for a person."""

    record: int
    source_id: str | None
    reason: str
    body: bytes


class Outcome(Struct):
    """What a portion comes to: how many records go in, which fail, and further counts by name."""

    done: int
    failures: Sequence[Failure] = ()
    counts: Mapping[str, int] = {}
    # of a walk: behind which row the next portion begins; none at the end
    cursor: Any = None
    # of a kind with `report_columns`: what there is to say about each record, failures included, in their order
    report: Sequence[Sequence[Any]] = ()
    # why the action ends here and has failed, whatever is left; what it has committed stays
    ends: str | None = None

    @property
    def records(self) -> int:
        """How many records the portion took."""
        return self.done + len(self.failures)


class Part(Struct, frozen=True):
    """Some records of a batch, as they were sent, and the position of each in the request."""

    records: Sequence[int]
    bodies: Sequence[bytes]


class Batch(Struct, frozen=True):
    """The records of one portion as they were sent, and the position of the first in the request.

    `parameters` came with the request beside its records, `action_id` is that of the async action. `earlier` is empty
    but in a dry run, which has stored nothing of the portions before: these are their records, as far as they did not
    fail. A plan applies them first, and says nothing of them.
    """

    first_record: int
    bodies: Sequence[bytes]
    earlier: Part = Part((), ())
    parameters: Mapping[str, Any] = {}
    action_id: str = ""

    def __len__(self) -> int:
        return len(self.bodies)

    def halved(self) -> "Batch":
        return msgspec.structs.replace(self, bodies=self.bodies[: len(self.bodies) // 2])

    @property
    def own(self) -> Part:
        """The portion's own records."""
        return Part(range(self.first_record, self.first_record + len(self.bodies)), self.bodies)


class Stretch(Struct, frozen=True):
    """Of a walk: at most `rows_max` rows behind `cursor` (none: from the start). So many came before the first.

    `parameters` came with the request, `action_id` is that of the async action.
    """

    cursor: Any
    rows_max: int
    first_record: int
    parameters: Mapping[str, Any] = {}
    action_id: str = ""

    def __len__(self) -> int:
        return self.rows_max

    def halved(self) -> "Stretch":
        return msgspec.structs.replace(self, rows_max=self.rows_max // 2)


class Job(Protocol):
    """A kind of bulk job. A portion runs `plan` outside any transaction, then `write` in one; a dry run does not."""

    type: str
    lane: Lane
    # how many records the first portion takes at most; later ones adapt to the time a portion takes
    portion_records: int

    async def plan(self, conn: Conn, project: str, work: Any) -> Any:
        """Read and compute what `write` needs. Writes nothing and locks nothing."""

    def outcome(self, plan: Any) -> Outcome:
        """What the plan comes to, written or not."""

    async def lock(self, conn: Conn, project: str, plan: Any) -> None:
        """Lock the rows that the plan would change, so that the next plan cannot be overtaken."""

    async def write(self, conn: Conn, project: str, plan: Any) -> None:
        """Write the plan. Raises `StaleRead` to be planned again."""

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int], dry_run: bool
    ) -> dict[str, Any]:
        """The documented `result` of a finished action."""


class Rows(Struct, frozen=True):
    """The next rows of an inbox, by `seq`, and how much work they are at most: one that stands for more is alone."""

    seqs: Sequence[int]
    units: int

    def first(self, units: int) -> "Rows":
        """The first so many units of the work."""
        return Rows(self.seqs[:units] if len(self.seqs) > 1 else self.seqs, units)


class Worked(Struct, frozen=True):
    """How many rows of an inbox were taken out, and how much work they were; `for_actions`: some came from bulk jobs,
    and somebody may wait for that."""

    rows: int
    units: int
    for_actions: bool = False


class TooMuch(Exception):
    """What the rows lead to is too much for one portion; the first `units` of the work are about enough."""

    def __init__(self, units: int) -> None:
        self.units = units


class Inbox(Protocol):
    """What a lane works off that has rows of a table instead of actions.

    The table is append-only, with `seq` drawn after the writer's transaction got its number, and an index on
    `accepted_xid`: see queue.sql, which has to name it.
    """

    lane: Lane
    # how much the first portion does at most; later ones adapt to the time a portion takes
    portion_rows: int

    async def waiting(self, conn: Conn, project: str, *, floor: int, limit: int) -> Rows:
        """The first rows by `seq`, none of them below `floor`, as far as they are `limit` units of work."""

    async def work_off(self, conn: Conn, project: str, rows: Rows) -> Worked:
        """Take rows out, and do what follows from them, in the transaction that is open."""

    async def set_aside(self, conn: Conn, project: str, seq: int, reason: str) -> None:
        """Take a row out that cannot be worked off, and keep it where it is found."""


class ConcludingJob(Job, Protocol):
    """A job that notes elsewhere that it has come to its end."""

    async def conclude(
        self, conn: Conn, project: str, action_id: str, parameters: Mapping[str, Any], *, succeeded: bool
    ) -> None:
        """Note the end, in the transaction of the last portion. Also called for an action that was cancelled."""


class PlacingJob(Job, Protocol):
    """A job that changes customers, who are then placed into segments: its actions show what that came to."""

    places_customers: bool


class ReportingJob(Job, Protocol):
    """A job that says something about each record: `Outcome.report` has a value for each of these columns.

    A value is a text, a number, true, false or none.
    """

    report_columns: tuple[str, ...]

    def report_of_failure(self, failure: Failure) -> Sequence[Any]:
        """What the report says about a record that no plan was made for: it cannot be stored, or stopped workers."""


class PayloadJob(Job, Protocol):
    """A job over the records of a request; `plan` gets a `Batch`."""

    def source_id(self, body: bytes) -> str | None:
        """The source id of a record that could not be processed."""


class WalkJob(Job, Protocol):
    """A job over stored rows; `plan` gets a `Stretch`, and the outcome says where the next one begins."""

    async def skip(self, conn: Conn, project: str, stretch: Stretch, reason: str) -> Outcome:
        """The failure of the one row that comes next, which cannot be processed, and the cursor behind it."""


# What kind a job is, by what it has. `isinstance` with such protocols takes a tenth of a millisecond, several times a
# portion.


def walks(job: Job) -> TypeGuard[WalkJob]:
    """Whether the job goes over stored rows."""
    return hasattr(job, "skip")


def concludes(job: Job) -> TypeGuard[ConcludingJob]:
    """Whether the job wants to know of the end of its actions."""
    return hasattr(job, "conclude")


def is_reported(job: Job) -> TypeGuard[ReportingJob]:
    """Whether the job says something about each record."""
    return hasattr(job, "report_columns")


def places_customers(job: Job) -> TypeGuard[PlacingJob]:
    """Whether customers are placed into segments after the job."""
    return hasattr(job, "places_customers")
