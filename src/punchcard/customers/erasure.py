"""Erasing a person from what is kept beside customers, orders and their events.

That is: failed records, payloads, reports and results of bulk requests, answers kept for repeats, and events about
others. A record names the person if it has the internal id or the e-mail address anywhere, or the source id where a
customer stands. An address counts as a whole: the records of `banjo@ex.com` do not go with `jo@ex.com`. Nobody checks
addresses: what is none counts as the whole value of a field for it. PostgreSQL passes over what has none of these
bytes; what is left is decoded and looked through here.

A search goes in steps, each with a bounded number of rows; it can be cut off and begun anew. Jobs that have not ended
keep their payload: what they are still to do comes after the deletion.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
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
# an e-mail address: anything else that stands in its field tells nobody from others
_ADDRESS = re.compile("[^@]@+[^@]")
# what payloads show of a customer that was erased
_ERASED = {"id", "object"}


class Person(Struct, frozen=True, dict=True):
    """Whom a search is for, and what it is recognised by."""

    id: str
    source_id: str | None
    email: str | None

    @cached_property
    def needles(self) -> list[bytes]:
        """Bytes of which text or JSON that names the person has at least one: those that tell it, or escapes."""
        anywhere = [self.id, self.email if self._address else None]
        values = [self.source_id, None if self._address else self.email]
        found = [text.encode() for text in anywhere if text] + [msgspec.json.encode(text) for text in values if text]
        return [*found, b"\\"]

    @cached_property
    def _address(self) -> re.Pattern[str] | None:
        """The e-mail address where it is not a part of a longer one; none if it is another text."""
        if self.email is None or _ADDRESS.search(self.email.strip()) is None:
            return None
        return re.compile(rf"(?<![\w.+-]){re.escape(self.email)}(?![\w-]|\.\w)")

    def is_in(self, value: Any) -> bool:
        """Whether the internal id or the e-mail address is anywhere in a decoded document.

        What is no address counts where a field for one has it.
        """
        if isinstance(value, str):
            return self.id in value or (self._address is not None and self._address.search(value) is not None)
        if isinstance(value, dict):
            parts = (*value, *value.values())
            return any(map(self.is_in, parts)) or _has_field(value, "email", self.email)
        return isinstance(value, list) and any(map(self.is_in, value))

    def is_named_by(self, record: Any, *, of_customers: bool) -> bool:
        """Whether a record of a bulk request, or of its report, is about the person."""
        # encoded anew, a record has few escapes: most are told without looking at each value
        encoded = msgspec.json.encode(record)
        if not any(needle in encoded for needle in self.needles):
            return False
        if self.is_in(record):
            return True
        if not isinstance(record, dict):
            return False
        people = [record] if of_customers else [record.get(role) for role in _ROLES]
        return any(isinstance(person, dict) and _has_field(person, "source_id", self.source_id) for person in people)


def _has_field(record: dict[str, Any], name: str, text: str | None) -> bool:
    # the rows of a CSV file have the names of its columns
    return bool(text) and any(value == text and key.lower() == name for key, value in record.items())


class Search(Struct, frozen=True):
    """Where people are to be erased: in what a project keeps that may have come, or ended, since a moment."""

    project: str
    people: tuple[Person, ...]
    since: datetime = EVER

    @property
    def ids(self) -> list[str]:
        return [person.id for person in self.people]

    def parameters(self, **more: Any) -> dict[str, Any]:
        """What the statements of all steps have."""
        needles = {needle: None for person in self.people for needle in person.needles}
        return {"project_id": self.project, "needles": list(needles), "since": self.since, **more}

    def finds_in(self, value: Any) -> bool:
        """Whether one of the people is anywhere in a decoded document. See `Person.is_in`."""
        return any(person.is_in(value) for person in self.people)

    def concerns(self, record: Any, *, of_customers: bool) -> bool:
        """Whether a record is about one of the people. See `Person.is_named_by`."""
        return any(person.is_named_by(record, of_customers=of_customers) for person in self.people)


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
            if search.finds_in([row.source_id, row.reason])
            or search.concerns(_decoded(row.body), of_customers=actions[row.action_id])
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
            kept = [_without(search, record, of_customers=actions[row.action_id]) for record in records]
            await _write_body(conn, search, SQL.erasure_piece_write, row, msgspec.json.encode(kept))
        after = (rows[-1].action_id, rows[-1].first_record)


def _without(search: Search, record: Raw, *, of_customers: bool) -> Raw:
    return Raw(ERASED_RECORD) if search.concerns(_decoded(record), of_customers=of_customers) else record


async def _from_reports(conn: Conn, search: Search, actions: Mapping[str, bool]) -> None:
    """What jobs have said about each of their records."""
    after = ("", 0)
    while rows := await _rows(conn, SQL.erasure_reports, search, actions, after):
        for row in rows:
            lines = msgspec.json.decode(b"[%b]" % b",".join(row.body.splitlines()), type=list[dict[str, Any]])
            for line in lines:
                if search.concerns(line, of_customers=actions[row.action_id]):
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
                if (row.id, position) in erased or search.concerns(failure, of_customers=actions[row.id]):
                    failure["source_id"] = None
                    failure["reason" if "reason" in failure else "details"] = REASON_ERASED
        given = None if row.parameters is None else msgspec.json.decode(row.parameters)
        if search.finds_in(given):
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
        if search.finds_in(row.key):
            await conn.execute(SQL.erasure_answer_delete, key)
        elif search.finds_in(answer) and isinstance(answer, dict):
            kept = {name: answer[name] for name in ("id", "object") if name in answer}
            await conn.execute(SQL.erasure_answer_write, {**key, "answer": msgspec.json.encode(kept)})
    return rows[-1].key if len(rows) == ROWS_A_STEP else None


# ---- events about others -----------------------------------------------------------------------


async def from_referred(conn: Conn, search: Search, _: None = None) -> bool | None:
    """Events about customers that the people referred: no part of them shows more of these than their ids.

    Whether there may be more of them.
    """
    parameters = {"project_id": search.project, "ids": search.ids, "limit": ROWS_A_STEP}
    rows = await (await conn.execute(SQL.erasure_referred, parameters)).fetchall()
    await _write_events(conn, search, {(row.id, row.created_at): _reduced(row.data, search.ids) for row in rows})
    return True if len(rows) == ROWS_A_STEP else None


def _reduced(data: Raw, customer_ids: Collection[str]) -> bytes:
    """A payload in which some customers are nothing but their ids."""

    def reduced(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("id") in customer_ids:
                return {"id": value["id"], "object": "customer"}
            return {key: reduced(part) for key, part in value.items()}
        return [reduced(part) for part in value] if isinstance(value, list) else value

    return msgspec.json.encode(reduced(msgspec.json.decode(data)))


async def _from_deletions(conn: Conn, search: Search, after: tuple[datetime, str] | None) -> Any:
    """Events that say that the people were deleted before, when they had other ids.

    Those about themselves are left to `from_own_deletions`: a search that is cut off finds by them whom it was for.
    """
    parameters = search.parameters(ids=search.ids)
    rows = await _deletions(conn, parameters, after or (search.since, ""))
    reduced: dict[tuple[str, datetime], bytes] = {}
    for row in rows:
        customer = _customer_of(row)
        if search.concerns(customer, of_customers=True):
            reduced[row.id, row.created_at] = _reduced(row.data, [customer["id"]])
    await _write_events(conn, search, reduced)
    return (rows[-1].created_at, rows[-1].id) if len(rows) == ROWS_A_STEP else None


async def deleted_before(conn: Conn, project: str, customer_id: str) -> tuple[Person, ...]:
    """All who were deleted under an id or source id and whom an event still shows; who was deleted last comes last."""
    people: list[Person] = []
    parameters = {"project_id": project, "needles": [msgspec.json.encode(customer_id), b"\\"], "ids": []}
    after = (EVER, "")
    while rows := await _deletions(conn, parameters, after):
        for customer in map(_customer_of, rows):
            named = customer_id in (customer.get("id"), customer.get("source_id"))
            if named and not customer.keys() <= _ERASED:
                people.append(Person(customer["id"], customer.get("source_id"), customer.get("email") or None))
        after = (rows[-1].created_at, rows[-1].id)
    return tuple(people)


async def from_own_deletions(conn: Conn, search: Search) -> int:
    """Events that say that the people were deleted; how many have shown more of them than their ids until now."""
    key = {"project_id": search.project, "ids": search.ids}
    rows = await (await conn.execute(SQL.erasure_own_deletions, key)).fetchall()
    shown = [row for row in rows if not _customer_of(row).keys() <= _ERASED]
    await _write_events(conn, search, {(row.id, row.created_at): _reduced(row.data, search.ids) for row in shown})
    return len(shown)


async def _deletions(conn: Conn, parameters: Mapping[str, Any], after: tuple[datetime, str]) -> Sequence[Any]:
    since, last = after
    cursor = {"after": since, "after_id": last, "limit": ROWS_A_STEP}
    return await (await conn.execute(SQL.erasure_deletions, {**parameters, **cursor})).fetchall()


def _customer_of(event: Any) -> dict[str, Any]:
    return msgspec.json.decode(event.data).get("customer") or {}


async def _write_events(conn: Conn, search: Search, payloads: Mapping[tuple[str, datetime], bytes]) -> None:
    if payloads:
        key = {"project_id": search.project, "customer_ids": search.ids}
        events = [
            {**key, "id": event_id, "created_at": created_at, "data": data.decode()}
            for (event_id, created_at), data in payloads.items()
        ]
        async with conn.cursor() as cursor:  # one index probe each: a join could as well read the whole log
            await cursor.executemany(SQL.erasure_event_write, events)
        notes = {"project_id": search.project, "reason": REASON_ERASED, "ids": [event["id"] for event in events]}
        await conn.execute(SQL.erasure_event_notes_write, notes)


STEPS: tuple[Step, ...] = (_from_actions, _from_answers, from_referred, _from_deletions)
