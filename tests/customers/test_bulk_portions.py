"""Bulk updates of customers and products portion by portion: the end is the same however they are cut, and whatever a
worker does not finish another one does."""

import random
from typing import Any

import msgspec
import pytest

from punchcard.bulk import async_actions, updates
from punchcard.bulk.jobs import Batch
from punchcard.customers.bulk import CustomersBulkUpdate, CustomersMetadataUpdate
from punchcard.products.bulk import ProductsBulkUpdate, ProductsMetadataUpdate
from tests.bulk.queue import in_loop
from tests.orders.portions import Importer

COLUMNS = {
    "customers": "name, email, birthdate, birthday, address::text, metadata::text",
    "products": "name, price, attributes::text, image_url, metadata::text",
}
JOBS: dict[str, Any] = {"customers": CustomersBulkUpdate, "products": ProductsBulkUpdate}
METADATA_JOBS: dict[str, Any] = {"customers": CustomersMetadataUpdate, "products": ProductsMetadataUpdate}
DEFINED = {"k": {"type": "number", "array": False, "optional": True, "objectType": None}}
SCHEMAS = """INSERT INTO metadata_schemas (project_id, id, related_object, properties, allow_defined_only, created_at)
             SELECT %s, 'ms_' || u.name, u.name, %s::jsonb, false, now()
               FROM unnest('{customer,product}'::text[]) AS u (name)"""


def drawn(resource: str, count: int, *, rows: int, seed: int) -> list[dict[str, Any]]:
    """Records that meet in few rows; about one in twenty has metadata that fails."""
    draw = random.Random(seed)
    made = []
    for no in range(count):
        record: dict[str, Any] = {"source_id": f"s{draw.randrange(rows)}"}
        if draw.randrange(2):
            record["name"] = f"n{draw.randrange(3)}"
        if draw.randrange(2):
            record["metadata"] = {f"m{draw.randrange(3)}": no, "f": draw.choice([1, 1.0, 1e20, None])}
        if draw.randrange(20) == 0:
            record["metadata"] = {"k": "no number"}
        if resource == "customers":
            record |= draw.choice(
                [{}, {"birthday": "2000-01-01"}, {"birthdate": "2001-01-01"}, {"address": {"city": "x"}}]
            )
        else:
            record |= draw.choice([{}, {"price": draw.randrange(5)}, {"attributes": ["a", "b"]}, {"image_url": "u"}])
        made.append(record)
    return made


async def outcome(dsn: str, resource: str, records: list[Any], *, size: int | None) -> dict[str, Any]:
    """All that a bulk update in portions of such a size comes to."""
    async with Importer.opened(dsn, JOBS[resource]()) as importer:
        queue = importer.queue
        await queue.conn.execute(SCHEMAS.encode(), [queue.project, msgspec.json.encode(DEFINED).decode()])
        await importer.imported(records[:3])
        first = importer.portions
        result = await importer.imported(records, size=size)
        assert importer.portions - first == (1 if size is None else -(-len(records) // size))
        made = f"SELECT source_id FROM {resource} WHERE project_id = %s ORDER BY created_at"
        twice = (
            f"SELECT count(*) - count(DISTINCT coalesce(updated_at, created_at)) FROM {resource} WHERE project_id = %s"
        )
        assert await queue.value(twice.encode(), queue.project) == 0
        bodies = await queue.rows(
            "SELECT body FROM async_action_reports JOIN async_actions AS a ON a.project_id = %s AND a.id = action_id"
            " WHERE async_action_reports.project_id = %s ORDER BY a.seq, first_record", queue.project, queue.project
        )  # fmt: skip
        inbox = "SELECT DISTINCT customer_id FROM segment_inbox WHERE project_id = %s"
        return {
            "rows": await importer.by_source(resource, COLUMNS[resource]),
            "made": [row[0] for row in await queue.rows(made.encode(), queue.project)],
            "total": await queue.value(
                "SELECT sum(total)::int FROM row_totals WHERE project_id = %s AND resource = %s",
                queue.project,
                resource,
            ),
            "inbox": len(await queue.rows(inbox, queue.project)),
            "report": b"".join(bytes(row.body) for row in bodies),
            "result": result,
        }


@pytest.mark.parametrize("resource", [*JOBS])
@in_loop
async def test_many_portions_come_to_what_one_comes_to(workerless: str, resource: str) -> None:
    few = drawn(resource, 60, rows=5, seed=1)
    at_once = await outcome(workerless, resource, few, size=None)
    assert at_once["result"]["failed_count"] == len(at_once["result"]["errors"]) > 0
    assert at_once["report"].count(b"\n") == 63
    assert at_once["total"] == len(at_once["rows"]) == len(at_once["made"])
    assert at_once["inbox"] == (len(at_once["rows"]) if resource == "customers" else 0)
    for size in (1, 7):
        assert await outcome(workerless, resource, few, size=size) == at_once


@in_loop
async def test_5000_records_in_small_portions_and_in_one(workerless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CustomersBulkUpdate, "portion_records", 10_000)
    many = drawn("customers", 5000, rows=2000, seed=2)
    at_once = await outcome(workerless, "customers", many, size=None)
    small = await outcome(workerless, "customers", many, size=250)
    assert {name: value for name, value in small.items() if value != at_once[name]} == {}


@pytest.mark.parametrize("resource", [*METADATA_JOBS])
@in_loop
async def test_a_metadata_update_takes_no_more_than_its_metadata_allows(
    workerless: str, monkeypatch: pytest.MonkeyPatch, resource: str
) -> None:
    """A hundred thousand rows are not written at once with a large value each."""
    metadata = {"text": "x" * 80, "f": 1.5, "n": None}
    monkeypatch.setattr(updates, "PORTION_METADATA_BYTES_MAX", 10 * len(msgspec.json.encode(metadata)) + 5)
    async with Importer.opened(workerless, METADATA_JOBS[resource]()) as importer:
        queue, records = importer.queue, [msgspec.json.encode({"source_id": f"s{no}"}) for no in range(25)]
        async with queue.conn.transaction():
            action = await async_actions.schedule(
                queue.conn, queue.project, importer.job, records=records, request_id="test",
                parameters={"metadata": metadata},
            )  # fmt: skip
        await importer.rest()
        assert importer.portions == 3
        assert (await queue.action(action)).records_done == 25
        stored = await importer.by_source(resource, "metadata::text")
    assert {key: msgspec.json.decode(text) for key, text in stored.items()} == {f"s{no}": metadata for no in range(25)}


@pytest.mark.parametrize("resource", [*JOBS])
@in_loop
async def test_a_worker_that_dies_between_portions(workerless: str, resource: str) -> None:
    records = [{"source_id": f"s{no % 7}", "metadata": {f"m{no}": no}} for no in range(30)]
    async with Importer.opened(workerless, JOBS[resource]()) as importer:
        await importer.schedule(records, size=4)
        for _ in range(3):
            await importer.portion()
            await importer.killed()
        await importer.rest()
        stored = await importer.by_source(resource, "metadata::text")
    expected = {f"s{n}": {f"m{no}": no for no in range(n, 30, 7)} for n in range(7)}
    assert {source_id: msgspec.json.decode(text) for source_id, text in stored.items()} == expected


@pytest.mark.parametrize("resource", [*JOBS])
@in_loop
async def test_what_others_write_between_portions_is_kept(workerless: str, resource: str) -> None:
    records = [{"source_id": "s", "metadata": {f"m{no}": no}} for no in range(6)]
    async with Importer.opened(workerless, JOBS[resource]()) as importer:
        queue = importer.queue
        await importer.schedule(records, size=2)
        await importer.portion()
        await queue.conn.execute(
            f"UPDATE {resource} SET name = 'Theirs' WHERE project_id = %s".encode(), [queue.project]
        )
        await importer.rest()
        [(name, metadata)] = (await importer.by_source(resource, "name, metadata::text")).values()
    assert (name, msgspec.json.decode(metadata)) == ("Theirs", {f"m{no}": no for no in range(6)})


@in_loop
async def test_a_record_of_another_version_fails_alone(workerless: str) -> None:
    """What another version of the program accepted may not fit this one."""
    async with Importer.opened(workerless, CustomersBulkUpdate()) as importer:
        job, conn, project = CustomersBulkUpdate(), importer.conn, importer.queue.project
        plan = await job.plan(
            conn, project, Batch(7, [b'{"source_id":"a"}', b'{"name":"x"}', b"[", b'{"source_id":"b"}'])
        )
        found = job.outcome(plan)
        assert (found.done, [(failure.record, failure.source_id) for failure in found.failures]) == (
            2,
            [(8, None), (9, None)],
        )
        assert [row[:3] for row in found.report] == [
            ("a", False, True), (None, False, False), (None, False, False), ("b", False, True)
        ]  # fmt: skip
        keys = [updates.error_of({"source_id": None, "reason": failure.reason})["key"] for failure in found.failures]
        assert keys == ["invalid_payload", "invalid_payload"]
        assert job.source_id(b'{"name":"x"}') is None
        assert job.source_id(b'{"source_id":"a"}') == "a"
