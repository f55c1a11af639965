"""What a kind of job is, and what a portion of it came to."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from msgspec import Struct

from punchcard.db.database import Conn

FAILURES_IN_RESULT_MAX = 1000


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
    """What a portion wrote: how many records went in, which failed, and further counts by name."""

    done: int
    failures: Sequence[Failure] = ()
    counts: Mapping[str, int] = {}


class Batch(Struct, frozen=True):
    """The records of one portion as they were sent, and the position of the first in the request."""

    first_record: int
    bodies: Sequence[bytes]


class StaleRead(Exception):
    """What a plan was made from has changed meanwhile."""


class Job(Protocol):
    """A kind of bulk job. A portion runs `plan` outside any transaction, then `write` in one."""

    type: str
    lane: Lane
    # how many records the first portion takes at most; later ones adapt to the time a portion takes
    portion_records: int

    def source_id(self, body: bytes) -> str | None:
        """The source id of a record that could not be processed."""

    async def plan(self, conn: Conn, project: str, batch: Batch) -> Any:
        """Read and compute what `write` needs. Writes nothing and locks nothing."""

    async def lock(self, conn: Conn, project: str, plan: Any) -> None:
        """Lock the rows that the plan would change, so that the next plan cannot be overtaken."""

    async def write(self, conn: Conn, project: str, plan: Any) -> Outcome:
        """Write the plan. Raises `StaleRead` to be planned again."""

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int]
    ) -> dict[str, Any]:
        """The documented `result` of a finished action."""
