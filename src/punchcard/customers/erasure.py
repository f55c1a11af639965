"""Erasing a person from what is kept beside customers, orders and their events.

That is: failed records, payloads, reports and results of bulk requests, answers kept for repeats, and events about
others. A record names the person if it has the internal id or the e-mail address anywhere, or the source id where a
customer stands. PostgreSQL passes over what has none of these bytes; what is left is decoded and looked through here.

A search goes in steps, each with a bounded number of rows; it can be cut off and begun anew. Jobs that have not ended
keep their payload: what they are still to do comes after the deletion.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct
from psycopg.types.json import Jsonb

from punchcard.bulk.failures import ERASED_RECORD, REASON_ERASED
from punchcard.db import statements
from punchcard.db.database import Conn, Database

SQL = statements.beside(__file__)

EVER = datetime(1, 1, 2, tzinfo=UTC)
ACTIONS_A_STEP = 20
ROWS_A_STEP = 500
# of failed records, payloads and reports: so many at a time, or what exceeds so many bytes
BODIES_AT_A_TIME, BYTES_AT_A_TIME = 500, 2 * 1024 * 1024
# jobs whose records are customers
_CUSTOMER_JOBS = "CUSTOMERS."
_ROLES = ("customer", "referrer")


class Person(Struct, frozen=True):
    """Whom a search is for, and what it is recognised by."""

    id: str
    source_id: str | None
    email: str | None

    @property
    def needles(self) -> list[bytes]:
        """Bytes of which JSON that names the person has at least one: its ids as they are, or escapes."""
        return [*self._encoded, b"\\"]

    @property
    def _encoded(self) -> list[bytes]:
        """Bytes of which JSON that we encode and that names the person has at least one."""
        anywhere = [msgspec.json.encode(value)[1:-1] for value in (self.id, self.email) if value]
        return anywhere + ([msgspec.json.encode(self.source_id)] if self.source_id else [])

    def is_in(self, value: Any) -> bool:
        """Whether the internal id or the e-mail address is anywhere in a decoded document."""
        if isinstance(value, str):
            return self.id in value or (bool(self.email) and self._has_email(value))
        if isinstance(value, dict):
            return any(map(self.is_in, value)) or any(map(self.is_in, value.values()))
        return isinstance(value, list) and any(map(self.is_in, value))

    def _has_email(self, text: str) -> bool:
        assert self.email is not None
        return text == self.email or ("@" in self.email and self.email in text)

    def _has_source_id(self, person: dict[str, Any]) -> bool:
        # the rows of a CSV file have the names of its columns
        return any(value == self.source_id and key.lower() == "source_id" for key, value in person.items())

    def is_named_by(self, record: Any, *, of_customers: bool) -> bool:
        """Whether a record of a bulk request, or of its report, is about the person."""
        # encoded anew, a record has each value in one form: most are told without looking at each
        encoded = msgspec.json.encode(record)
        if not any(needle in encoded for needle in self._encoded):
            return False
        if self.is_in(record):
            return True
        if not self.source_id or not isinstance(record, dict):
            return False
        people = [record] if of_customers else [record.get(role) for role in _ROLES]
        return any(isinstance(person, dict) and self._has_source_id(person) for person in people)


class Search(Struct, frozen=True):
    """Where a person is to be erased: in what a project keeps that may have come, or ended, since a moment."""

    project: str
    person: Person
    since: datetime = EVER

    def parameters(self, **more: Any) -> dict[str, Any]:
        """What the statements of all steps have."""
        return {"project_id": self.project, "needles": self.person.needles, "since": self.since, **more}


# Erases from some rows behind a cursor (none: from the first ones); the next cursor, none at the end.
Step: TypeAlias = Callable[[Conn, Search, Any], Awaitable[Any]]


async def everywhere(database: Database, search: Search) -> None:
    """Erase step by step, without a transaction around them."""
    for step in STEPS:
        cursor = None
        while True:
            async with database.connection() as conn:
                cursor = await step(conn, search, cursor)
            if cursor is None:
                break


async def within(conn: Conn, search: Search) -> None:
    """Erase in the transaction that is open."""
    for step in STEPS:
        cursor = await step(conn, search, None)
        while cursor is not None:
            cursor = await step(conn, search, cursor)


# ---- bulk requests -----------------------------------------------------------------------------


async def _from_actions(conn: Conn, search: Search, after: str | None) -> str | None:
    """The next bulk requests, in the order of their ids."""
    parameters = search.parameters(after=after or "", limit=ACTIONS_A_STEP)
    actions = await (await conn.execute(SQL.erasure_actions, parameters)).fetchall()
    of_customers = {action.id: action.type.startswith(_CUSTOMER_JOBS) for action in actions}
    erased = await _from_failures(conn, search, of_customers)
    finished = {action.id: of_customers[action.id] for action in actions if action.finished}
    await _from_pieces(conn, search, finished)
    await _from_reports(conn, search, of_customers)
    await _from_results(conn, search, finished, erased)
    return actions[-1].id if len(actions) == ACTIONS_A_STEP else None


async def _from_failures(conn: Conn, search: Search, actions: Mapping[str, bool]) -> set[tuple[str, int]]:
    """Failed records; those that named the person, by action and position."""
    erased: set[tuple[str, int]] = set()
    after = ("", 0)
    while rows := await _rows(conn, SQL.erasure_failures, search, actions, after):
        named = [
            (row.action_id, row.record)
            for row in rows
            if search.person.is_in([row.source_id, row.reason])
            or search.person.is_named_by(_decoded(row.body), of_customers=actions[row.action_id])
        ]
        if named:
            columns = {"action_ids": [action for action, _ in named], "records": [record for _, record in named]}
            erasing = {"project_id": search.project, "reason": REASON_ERASED, "body": ERASED_RECORD}
            await conn.execute(SQL.erasure_failures_write, {**erasing, **columns})
            erased.update(named)
        after = (rows[-1].action_id, rows[-1].record)
    return erased


async def _from_pieces(conn: Conn, search: Search, actions: Mapping[str, bool]) -> None:
    """Payloads that are kept."""
    after = ("", 0)
    while rows := await _rows(conn, SQL.erasure_pieces, search, actions, after):
        for row in rows:
            records = msgspec.json.decode(row.body, type=list[Raw])
            kept = [_without(search.person, record, of_customers=actions[row.action_id]) for record in records]
            await _write_body(conn, search, SQL.erasure_piece_write, row, msgspec.json.encode(kept))
        after = (rows[-1].action_id, rows[-1].first_record)


def _without(person: Person, record: Raw, *, of_customers: bool) -> Raw:
    return Raw(ERASED_RECORD) if person.is_named_by(_decoded(record), of_customers=of_customers) else record


async def _from_reports(conn: Conn, search: Search, actions: Mapping[str, bool]) -> None:
    """What jobs have said about each of their records."""
    after = ("", 0)
    while rows := await _rows(conn, SQL.erasure_reports, search, actions, after):
        for row in rows:
            lines = msgspec.json.decode(b"[%b]" % b",".join(row.body.splitlines()), type=list[dict[str, Any]])
            for line in lines:
                if search.person.is_named_by(line, of_customers=actions[row.action_id]):
                    line.update((column, None) for column, value in line.items() if isinstance(value, str))
            body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
            await _write_body(conn, search, SQL.erasure_report_write, row, body)
        after = (rows[-1].action_id, rows[-1].first_record)


async def _rows(
    conn: Conn, statement: bytes, search: Search, actions: Mapping[str, bool], after: tuple[str, int]
) -> Sequence[Any]:
    """The next rows of some actions that may name the person."""
    if not actions:
        return []
    parameters = search.parameters(
        ids=list(actions), after_action=after[0], after_record=after[1], limit=BODIES_AT_A_TIME,
        bytes_max=BYTES_AT_A_TIME,
    )  # fmt: skip
    return await (await conn.execute(statement, parameters, binary=True)).fetchall()


async def _write_body(conn: Conn, search: Search, statement: bytes, row: Any, body: bytes) -> None:
    if body != row.body:
        key = {"project_id": search.project, "action_id": row.action_id, "first_record": row.first_record}
        await conn.execute(statement, {**key, "body": body})


async def _from_results(conn: Conn, search: Search, actions: Mapping[str, bool], erased: set[tuple[str, int]]) -> None:
    """Results, which list failures, and what came with a request beside its records."""
    concerned = sorted({action for action, _ in erased})
    parameters = search.parameters(ids=list(actions), concerned=concerned)
    for row in await (await conn.execute(SQL.erasure_results, parameters)).fetchall():
        result = None if row.result is None else msgspec.json.decode(row.result)
        if isinstance(result, dict):
            for failure in [*(result.get("failed") or ()), *(result.get("errors") or ())]:
                # the rows of files are counted from 1
                position = failure.get("index", failure.get("row", 0) - 1)
                if (row.id, position) in erased or search.person.is_named_by(failure, of_customers=actions[row.id]):
                    failure["source_id"] = None
                    failure["reason" if "reason" in failure else "details"] = REASON_ERASED
        given = None if row.parameters is None else msgspec.json.decode(row.parameters)
        if search.person.is_in(given):
            given = {}  # an action that has ended needs them no more
        columns = {
            "result": None if result is None else Jsonb(result),
            "parameters": None if given is None else Jsonb(given),
        }
        await conn.execute(SQL.erasure_result_write, {"project_id": search.project, "id": row.id, **columns})


def _decoded(body: bytes | Raw) -> Any:
    return msgspec.json.decode(body)


# ---- answers kept for repeats ------------------------------------------------------------------


async def _from_answers(conn: Conn, search: Search, after: str | None) -> str | None:
    """Answers that name the person keep what tells the object they showed. A key that names it goes."""
    parameters = search.parameters(after=after or "", limit=ROWS_A_STEP)
    rows = await (await conn.execute(SQL.erasure_answers, parameters)).fetchall()
    for row in rows:
        key = {"project_id": search.project, "key": row.key, "created_at": row.created_at}
        answer = _decoded(bytes(row.answer))
        if search.person.is_in(row.key):
            await conn.execute(SQL.erasure_answer_delete, key)
        elif search.person.is_in(answer) and isinstance(answer, dict):
            kept = {name: answer[name] for name in ("id", "object") if name in answer}
            await conn.execute(SQL.erasure_answer_write, {**key, "answer": msgspec.json.encode(kept)})
    return rows[-1].key if len(rows) == ROWS_A_STEP else None


# ---- events about others -----------------------------------------------------------------------


async def from_referred(conn: Conn, search: Search, _: None = None) -> bool | None:
    """Events about customers that the person referred: no part of them shows more of it than its id.

    Whether there may be more of them.
    """
    parameters = {"project_id": search.project, "id": search.person.id, "limit": ROWS_A_STEP}
    rows = await (await conn.execute(SQL.erasure_referred, parameters)).fetchall()
    await _write_events(conn, search, {(row.id, row.created_at): _reduced(row.data, search.person.id) for row in rows})
    return True if len(rows) == ROWS_A_STEP else None


def _reduced(data: Raw, customer_id: str) -> bytes:
    """A payload in which a customer is nothing but its id."""

    def reduced(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("id") == customer_id:
                return {"id": customer_id, "object": "customer"}
            return {key: reduced(part) for key, part in value.items()}
        return [reduced(part) for part in value] if isinstance(value, list) else value

    return msgspec.json.encode(reduced(msgspec.json.decode(data)))


async def _from_deletions(
    conn: Conn, search: Search, after: tuple[datetime, str] | None
) -> tuple[datetime, str] | None:
    """Events that say that the person was deleted before, when it had another id."""
    since, last = after or (search.since, "")
    parameters = search.parameters(after=since, after_id=last, limit=ROWS_A_STEP)
    rows = await (await conn.execute(SQL.erasure_deletions, parameters)).fetchall()
    reduced: dict[tuple[str, datetime], bytes] = {}
    for row in rows:
        customer = msgspec.json.decode(row.data).get("customer") or {}
        if search.person.is_named_by(customer, of_customers=True):
            reduced[row.id, row.created_at] = _reduced(row.data, customer["id"])
    await _write_events(conn, search, reduced)
    return (rows[-1].created_at, rows[-1].id) if len(rows) == ROWS_A_STEP else None


async def _write_events(conn: Conn, search: Search, payloads: Mapping[tuple[str, datetime], bytes]) -> None:
    if payloads:
        key = {"project_id": search.project, "customer_id": search.person.id}
        events = [
            {**key, "id": event_id, "created_at": created_at, "data": data.decode()}
            for (event_id, created_at), data in payloads.items()
        ]
        async with conn.cursor() as cursor:  # one index probe each: a join could as well read the whole log
            await cursor.executemany(SQL.erasure_event_write, events)
        notes = {"project_id": search.project, "reason": REASON_ERASED, "ids": [event["id"] for event in events]}
        await conn.execute(SQL.erasure_event_notes_write, notes)


STEPS: tuple[Step, ...] = (_from_actions, _from_answers, from_referred, _from_deletions)
