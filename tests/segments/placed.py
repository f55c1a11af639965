"""Segments as a user makes and reads them, once all customers are placed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from punchcard.bulk import pauses, signals
from punchcard.bulk.jobs import Lane
from punchcard.db.database import connect
from tests.customers.writing import post
from tests.deployment import Project, until
from tests.orders.stored import session

JSON = {"content-type": "application/json"}
# rows of the inbox, and customers whose day has come
WAITING = b"""
SELECT (SELECT count(*) FROM segment_inbox WHERE project_id = %(project)s)
     + (SELECT count(*) FROM segment_clocks WHERE project_id = %(project)s AND due_at <= clock_timestamp()) AS waiting
"""


def having(attribute: str, operator: str, value: Any) -> dict[str, Any]:
    """A filter of one condition."""
    return {attribute: {"conditions": {operator: value}}}


# whoever is in London
LONDONERS = having("address.city", "$is", "London")
PARISIANS = having("address.city", "$is", "Paris")


def people(project: Project, *names: str, city: str = "London") -> list[str]:
    """New customers of a city; their ids."""
    return [str(post(project, source_id=name, address={"city": city})["id"]) for name in names]


def made(project: Project, *, expect: int = 200, key: str | None = None, **fields: Any) -> Any:
    """Create a segment, whatever its population has come to; the answer's JSON."""
    headers = JSON | ({} if key is None else {"idempotency-key": key})
    return project.call(
        "POST", "/v1/segments", content=msgspec.json.encode({"name": "S"} | fields), headers=headers, expect=expect
    )


def segment(project: Project, **fields: Any) -> str:
    """A new segment that is populated; its id."""
    segment_id = str(made(project, **fields)["id"])
    all_placed(project)
    return segment_id


def active(project: Project, given: Any = LONDONERS, **fields: Any) -> str:
    """A new active segment that is populated; its id."""
    return segment(project, type="auto-update", filter=given, **fields)


def changed(project: Project, segment_id: str, *, expect: int = 200, **change: Any) -> Any:
    """Change a segment; the answer's JSON."""
    content = msgspec.json.encode(change)
    return project.call("PUT", f"/v1/segments/{segment_id}", content=content, headers=JSON, expect=expect)


def removed(project: Project, segment_id: str) -> None:
    """Delete a segment that must be there."""
    answer = project.http.delete(f"/v1/segments/{segment_id}")
    assert (answer.status_code, answer.content) == (204, b""), answer.text


def all_placed(project: Project) -> None:
    """Wait until nothing waits for the segments lane: rows leave its inbox in the transaction of what follows."""
    with session(project.deployment) as conn:

        def is_empty() -> bool:
            found = conn.execute(WAITING, {"project": project.id}).fetchone()
            assert found is not None
            return int(found["waiting"]) == 0

        until(is_empty)


@contextmanager
def lane_paused(project: Project, lane: Lane = Lane.SEGMENTS) -> Iterator[None]:
    """While this holds nobody is placed; afterwards everybody is. Or another lane stands still."""
    done = project.deployment.command("lanes", "pause", project.id, lane)
    assert done.returncode == 0, done.stderr
    yield
    asyncio.run(_resume(project, lane))
    if lane == Lane.SEGMENTS:
        all_placed(project)


async def _resume(project: Project, lane: Lane) -> None:
    """As the command does, and sooner: workers are told."""
    async with await connect(project.deployment.dsn, part="test") as conn:
        assert await pauses.resume(conn, project.id, lane)
        await signals.notify(conn, signals.WORK)


def summary(project: Project, segment_id: str) -> Any:
    """Who is in a segment, in numbers."""
    return project.get(f"/v1/segments/{segment_id}")["summary"]


def members(project: Project, segment_id: str, **query: Any) -> list[str]:
    """The members (at most 100) by source id, else id, newest first."""
    found = project.get("/v1/customers", segment_id=segment_id, limit=100, **query)["customers"]
    return [one["source_id"] or one["id"] for one in found]


def segments_of(project: Project, customer_id: str) -> list[str]:
    """The ids of a customer's segments."""
    found = project.get(f"/v1/customers/{customer_id}/segments")
    assert (found["object"], found["data_ref"], found["total"]) == ("list", "data", len(found["data"]))
    assert all(one.keys() == {"id", "name", "object"} and one["object"] == "segment" for one in found["data"])
    return [one["id"] for one in found["data"]]


def verified(project: Project) -> None:
    """Evaluate every membership anew, as `punchcard segments verify` does: none may be stored otherwise."""
    done = project.deployment.command("segments", "verify", project.id)
    assert (done.returncode, done.stdout) == (0, "0 difference(s)\n"), done.stdout + done.stderr
