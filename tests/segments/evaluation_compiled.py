"""What the server makes of filters: compiled, and run on customers that are stored for a moment."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import namedtuple_row

from punchcard.db.database import PLANS, conninfo
from punchcard.segments import filters
from punchcard.segments.evaluating import Evaluation
from tests.deployment import Project
from tests.segments.drawn import Place
from tests.segments.evaluation import Customer, Filter, holds

Conn = psycopg.Connection[Any]


class Answer(NamedTuple):
    """Whether each filter holds for a customer, and from when on any of that may be another one."""

    holds: list[bool]
    due_at: datetime | None


@contextmanager
def session(project: Project) -> Iterator[Conn]:
    """A session as the server's are, in autocommit mode."""
    dsn = conninfo(project.deployment.dsn, part="test", options=PLANS)
    with psycopg.connect(dsn, autocommit=True, row_factory=namedtuple_row) as conn:
        yield conn


@contextmanager
def stored(conn: Conn, project: Project, customers: Sequence[Customer]) -> Iterator[None]:
    """The customers, until the block ends."""
    with conn.transaction(force_rollback=True), conn.cursor() as cursor:
        cursor.executemany(_INSERT, [_row(project, customer) for customer in customers])
        cursor.executemany(
            _INSERT_EVENT,
            [
                {"project": project.id, "customer": customer.id, "event": event, "total": total, "last_at": last_at}
                for customer in customers
                for event, (total, last_at) in customer.events.items()
            ],
        )
        yield


_INSERT = """
INSERT INTO customers (project_id, id, source_id, name, email, phone, description, address, metadata, birthdate,
                       birthday, created_at, updated_at, orders_total_amount, orders_total_count, orders_last_amount,
                       orders_last_date)
VALUES (%(project)s, %(id)s, %(source_id)s, %(name)s, %(email)s, %(phone)s, %(description)s, %(address)s::jsonb,
        %(metadata)s::jsonb, %(birthdate)s, %(birthday)s, %(created_at)s, %(updated_at)s, %(orders_total_amount)s,
        %(orders_total_count)s, %(orders_last_amount)s, %(last_order_date)s)
"""
_INSERT_EVENT = """
INSERT INTO custom_event_totals (project_id, customer_id, event, total, last_occurred_at)
VALUES (%(project)s, %(customer)s, %(event)s, %(total)s, %(last_at)s)
"""


def _row(project: Project, customer: Customer) -> dict[str, Any]:
    address = None if customer.address is None else json.dumps(customer.address)
    return {**vars(customer), "project": project.id, "address": address, "metadata": json.dumps(customer.metadata)}


def answers(
    conn: Conn, project: Project, given: Sequence[Filter], customers: Sequence[Customer], where: Place
) -> dict[str, Answer]:
    """What the server says of stored customers, by their ids."""
    evaluation = Evaluation([filters.parse(one) for one in given], zone=where.zone.key)
    ids = [customer.id for customer in customers]
    statement = evaluation.of_ids()  # before its parameters, to which it adds
    parameters = {**evaluation.parameters, "project_id": project.id, "now": where.now, "ids": ids}
    rows = conn.execute(statement, parameters).fetchall()
    found = {row.id: Answer([no in row.matched for no in range(1, len(given) + 1)], row.due_at) for row in rows}
    assert found.keys() == set(ids)
    return found


# ---- named cases -------------------------------------------------------------------------------

NEW_YEAR = datetime(2020, 1, 1, tzinfo=UTC)


def on(name: str, operator: str, value: Any = True) -> Filter:
    """A filter of one condition."""
    return {name: {"conditions": {operator: value}}}


class Shop:
    """Asks about one customer at a time."""

    def __init__(self, project: Project, conn: Conn) -> None:
        self._project, self._conn = project, conn

    def compiled(self, wanted: Filter, customer: Customer, where: Place) -> Answer:
        """What the server says."""
        return self.compiled_of_all(wanted, [customer], where)[customer.id]

    def compiled_of_all(self, wanted: Filter, customers: Sequence[Customer], where: Place) -> dict[str, Answer]:
        """What the server says of each."""
        with stored(self._conn, self._project, customers):
            return answers(self._conn, self._project, [wanted], customers, where)

    def answer(self, wanted: Filter, now: str = "2024-05-15T12:00:00Z", zone: str = "UTC", **customer: Any) -> Answer:
        """What the server says, which must be what the evaluation says."""
        attributes: dict[str, Any] = {"id": "c", "created_at": NEW_YEAR, **customer}
        somebody = Customer(**attributes)
        where = Place(ZoneInfo(zone), datetime.fromisoformat(now))
        found = self.compiled(wanted, somebody, where)
        expected = holds(wanted, somebody, today=where.today, zone=where.zone)
        assert found.holds == [expected], f"the statement says {found}, the evaluation {expected}"
        return found

    def fits(self, wanted: Filter, now: str = "2024-05-15T12:00:00Z", zone: str = "UTC", **customer: Any) -> bool:
        return self.answer(wanted, now, zone, **customer).holds == [True]

    def due(self, wanted: Filter, now: str, zone: str = "UTC", **customer: Any) -> str | None:
        moment = self.answer(wanted, now, zone, **customer).due_at
        return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
