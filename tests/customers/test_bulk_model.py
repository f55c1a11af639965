"""Any history of bulk updates, against a model in memory: rows, counts and reports, of customers and of products.

Records meet in few rows; portions are as small as one record.
"""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard.bulk import async_actions
from tests.bulk.queue import in_loop
from tests.customers.test_bulk_portions import DEFINED, JOBS, METADATA_JOBS, SCHEMAS
from tests.orders.portions import Importer

HISTORY = settings(
    max_examples=15, deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from([0.5, 1.0, -0.0, 1e16, 1e22, 2**60]), texts
)
values = st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(texts, scalars, max_size=2))
# "k" is defined as a number, and may be anything here
metadata = st.dictionaries(st.sampled_from(["a", "b", "k", "", "ü"]), values, max_size=3)
dates = st.sampled_from(["2000-01-01", "2001-02-03"])
FIELDS: dict[str, dict[str, Any]] = {
    "customers": {
        "name": texts, "description": texts, "email": texts, "phone": texts, "birthdate": dates, "birthday": dates,
        "address": st.fixed_dictionaries({}, optional={"city": texts, "line_1": texts}),
    },
    "products": {
        "name": texts, "price": st.integers(0, 3), "attributes": st.lists(texts, max_size=2),
        "image_url": st.sampled_from(["", "https://img.example/a.png", "https://img.example/b.jpg"]),
    },
}  # fmt: skip
SOURCE_IDS = st.sampled_from(["s1", "s2", "s3", "s4"])


def records_of(resource: str) -> Any:
    optional = {field: st.none() | values for field, values in FIELDS[resource].items()} | {"metadata": metadata}
    return st.fixed_dictionaries({"source_id": SOURCE_IDS}, optional=optional)


def history_of(resource: str) -> Any:
    """Some requests, each with the size of its portions."""
    bulk = st.lists(records_of(resource), max_size=8)
    listed = st.tuples(st.lists(SOURCE_IDS, max_size=5), metadata)
    return st.lists(st.tuples(st.one_of(bulk, listed), st.integers(1, 4)), min_size=1, max_size=4)


class Model:
    """The rows by their source ids, as plain dictionaries of what was supplied."""

    def __init__(self, resource: str) -> None:
        self.resource = resource
        self.rows: dict[str, dict[str, Any]] = {}

    def apply(self, record: dict[str, Any]) -> tuple[str, bool, bool]:
        """The row of the report, without its reason."""
        source_id, found = record["source_id"], record["source_id"] in self.rows
        value = record.get("metadata", {}).get("k")
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            return source_id, found, False
        row = self.rows.setdefault(source_id, {"metadata": {}})
        for field, value in record.items():
            if field == "metadata":
                row["metadata"] = row["metadata"] | value
            elif value is not None:
                row[field] = value
        if self.resource == "customers" and record.get("birthday") and not record.get("birthdate"):
            row["birthdate"] = record["birthday"]
        return source_id, found, True


async def stored_rows(importer: Importer, resource: str) -> dict[str, dict[str, Any]]:
    fields = [*FIELDS[resource], "metadata"]
    parts = ", ".join(f"'{field}', {field}" for field in fields)
    query = f"SELECT source_id, jsonb_build_object({parts})::text FROM {resource} WHERE project_id = %s"
    rows = {
        row[0]: msgspec.json.decode(row[1]) for row in await importer.queue.rows(query.encode(), importer.queue.project)
    }
    nothing: tuple[Any, ...] = (None, []) if resource == "products" else (None,)
    return {
        source_id: {field: value for field, value in row.items() if field == "metadata" or value not in nothing}
        for source_id, row in rows.items()
    }


async def follow(importer: Importer, resource: str, history: list[Any]) -> None:
    """Send the requests and compare after each."""
    queue, model = importer.queue, Model(resource)
    for request, size in history:
        job = METADATA_JOBS[resource]() if isinstance(request, tuple) else JOBS[resource]()
        listed, given_metadata = request if isinstance(request, tuple) else (None, None)
        sent = request if listed is None else [{"source_id": source_id} for source_id in listed]
        importer.job, importer.size = job, size
        async with queue.conn.transaction():
            action = await async_actions.schedule(
                queue.conn, queue.project, job, records=[msgspec.json.encode(record) for record in sent],
                request_id="test", parameters=None if listed is None else {"metadata": given_metadata},
            )  # fmt: skip
        await importer.rest()
        whole = sent if listed is None else [record | {"metadata": given_metadata} for record in sent]
        expected = [model.apply(record) for record in whole]
        bodies = await queue.rows(
            "SELECT body FROM async_action_reports WHERE project_id = %s AND action_id = %s ORDER BY first_record",
            queue.project, action,
        )  # fmt: skip
        lines = b"".join(bytes(row.body) for row in bodies).splitlines()
        report = [tuple(msgspec.json.decode(line).values()) for line in lines]
        assert [row[:3] for row in report] == expected
        assert [row[3] is None for row in report] == [row[2] for row in expected]
        found = await queue.action(action)
        assert (found.records_done, found.records_failed) == (
            sum(row[2] for row in expected),
            sum(not row[2] for row in expected),
        )
        nothing: tuple[Any, ...] = (None, []) if resource == "products" else (None,)
        rows = {
            source_id: {field: value for field, value in row.items() if field != "source_id" and value not in nothing}
            for source_id, row in model.rows.items()
        }
        assert await stored_rows(importer, resource) == rows


@pytest.mark.parametrize("resource", [*JOBS])
def test_any_history(workerless: str, resource: str) -> None:
    @HISTORY
    @given(history_of(resource))
    def every(history: list[Any]) -> None:
        in_loop(once)(history)

    async def once(history: list[Any]) -> None:
        async with Importer.opened(workerless, JOBS[resource]()) as importer:
            await importer.queue.conn.execute(
                SCHEMAS.encode(), [importer.queue.project, msgspec.json.encode(DEFINED).decode()]
            )
            await follow(importer, resource, history)

    every()
