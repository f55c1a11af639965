"""The statement that says which filters hold for which customers, all filters for all customers at once.

    evaluation = Evaluation([filters.parse(one) for one in given], zone="Europe/Warsaw")
    evaluation.of_ids()          # or of_range(), of_nobody(): SELECT id, created_at, now, matched, due_at
    evaluation.parameters | {"project_id": ..., "now": None, "ids": [...]}

`matched` has the numbers, from 1, of the filters that hold. `due_at` is the moment from which on one of them may hold
or not hold by itself, the beginning of a day in the zone; null if none ever does. `now` is the clock's if it is null.
"""

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from punchcard.segments.compiling import Compiled, Parameters, Seen, beginning, compiled, taken_apart
from punchcard.segments.filters import Filter

# what filters look at, under the names that they use
_COLUMNS = sql.SQL(
    "id, source_id, name, email, phone, description, address, birthdate, birthday, metadata, created_at, updated_at,"
    " orders_total_amount, orders_total_count,"
    " CASE WHEN orders_total_count = 0 THEN 0"
    "      ELSE (2 * orders_total_amount + orders_total_count) / (2 * orders_total_count) END AS orders_average_amount,"
    " coalesce(orders_last_amount, 0) AS orders_last_order_amount, orders_last_date"
)
# one probe an id, whatever the statistics say
_OF_IDS = sql.SQL(
    "SELECT found.* FROM unnest(%(ids)s::text[]) AS k (id) CROSS JOIN LATERAL"
    " (SELECT {} FROM customers WHERE project_id = %(project_id)s AND id = k.id LIMIT 1) AS found"
).format(_COLUMNS)
_OF_RANGE = sql.SQL(
    "SELECT {} FROM customers WHERE project_id = %(project_id)s AND id > %(after)s AND id <= %(until)s"
    " ORDER BY id LIMIT %(limit)s"
).format(_COLUMNS)
# somebody of whom nothing is known but an id or a source id
_OF_NOBODY = sql.SQL(
    "SELECT {} FROM (SELECT NULL::text AS id, %(source_id)s::text AS source_id, NULL::text AS name,"
    " NULL::text AS email, NULL::text AS phone, NULL::text AS description, NULL::jsonb AS address,"
    " NULL::date AS birthdate, NULL::date AS birthday, '{{}}'::jsonb AS metadata, NULL::timestamptz AS created_at,"
    " NULL::timestamptz AS updated_at, 0::bigint AS orders_total_amount, 0::bigint AS orders_total_count,"
    " 0::bigint AS orders_last_amount, NULL::timestamptz AS orders_last_date) AS nobody"
).format(_COLUMNS)
_FROM = sql.SQL(
    """
  FROM (SELECT t.now, (t.now AT TIME ZONE %(zone)s)::date AS today
          FROM (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) AS now OFFSET 0) AS t OFFSET 0) AS t
 CROSS JOIN LATERAL (SELECT t.now, t.today, customer.* FROM ({customers}) AS customer OFFSET 0) AS c{shared}"""
)


# what statements in .sql files have in the place of an evaluation, so that they can be read and checked as they stand
_STAND_IN = (
    "SELECT NULL::text AS id, NULL::timestamptz AS created_at, NULL::timestamptz AS now, NULL::integer[] AS matched,"
    " NULL::timestamptz AS due_at"
)


def within(statement: bytes, evaluation: sql.Composable) -> sql.Composed:
    """A statement of a `.sql` file with an evaluation in the place of what stands there for it."""
    before, stand_in, after = statement.decode().partition(_STAND_IN)
    assert stand_in
    return sql.Composed([sql.SQL(before), evaluation, sql.SQL(after.rstrip(";"))])


class Evaluation:
    """Filters, compiled for one statement; `zone` is the project's time zone."""

    def __init__(self, given: Sequence[Filter], *, zone: str) -> None:
        self._parameters = Parameters()
        self._compiled = [compiled(one, self._parameters) for one in given]
        self._shared = _shared(self._parameters)
        self._zone = zone

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the filters; the project, `now` and the customers come from the caller."""
        return self._parameters.values | {"zone": self._zone}

    @property
    def has_clock(self) -> bool:
        """Whether any of the filters depends on the date."""
        return any(one.changes_on for one in self._compiled)

    def of_ids(self) -> sql.Composed:
        """For customers by their `ids`; those that are not there are left out."""
        return self._statement(_OF_IDS)

    def of_range(self) -> sql.Composed:
        """For the first `limit` customers with ids behind `after`, up to and with `until`."""
        return self._statement(_OF_RANGE)

    def of_nobody(self) -> sql.Composed:
        """For somebody who is not there, by `source_id`."""
        return self._statement(_OF_NOBODY)

    def _statement(self, customers: sql.Composable) -> sql.Composed:
        matches = sql.SQL(", ").join(
            sql.SQL("CASE WHEN {} THEN {} END").format(one.holds, sql.SQL(str(no)))
            for no, one in enumerate(self._compiled, 1)
        )
        return sql.SQL(
            "SELECT r.id, r.created_at, r.now, r.matched, {due} AS due_at FROM"
            " (SELECT c.id, c.created_at, c.now, array_remove(ARRAY[{matches}]::integer[], NULL) AS matched,"
            " {day} AS day{source} OFFSET 0) AS r"
        ).format(
            due=_DUE,
            matches=matches,
            day=_first(self._compiled),
            source=_FROM.format(customers=customers, shared=self._shared),
        )


# The day begins there. The driver knows no moments behind the year 9999, and `never` is written so. Where a clock is
# set back into the day before, the next day has begun already: then one looks again soon.
_DUE = sql.SQL(
    "CASE WHEN r.day < '9999-12-31' THEN CASE WHEN {0} > r.now THEN {0} ELSE r.now + interval '15 minutes' END END"
).format(beginning(sql.SQL("r.day")))


def _first(parts: Sequence[Compiled]) -> sql.Composable:
    days = [day for one in parts for day in one.changes_on]
    return sql.SQL("least({})").format(sql.SQL(", ").join(days)) if days else sql.SQL("NULL::date")


def _shared(parameters: Parameters) -> sql.Composable:
    """What filters share: the totals `e` of custom events, and the moments `m` and days `d` of attributes."""
    parts: list[sql.Composable] = []
    if parameters.events:
        totals = sql.SQL(
            " CROSS JOIN LATERAL (SELECT jsonb_object_agg(event, total) AS totals,"
            " jsonb_object_agg(event, last_occurred_at) AS lasts FROM custom_event_totals"
            " WHERE project_id = %(project_id)s AND customer_id = c.id AND event = ANY ({}::text[])) AS e"
        )
        parts.append(totals.format(parameters.add(sorted(parameters.events))))
    if parameters.moments:
        named = [(sql.Identifier(name), moment) for name, moment in parameters.moments.values()]
        moments = sql.SQL(", ").join(sql.SQL("{} AS {}").format(moment, name) for name, moment in named)
        days = sql.SQL(", ").join(
            sql.SQL("(m.{0} AT TIME ZONE %(zone)s)::date AS {0}").format(name) for name, _ in named
        )
        parts.append(sql.SQL(" CROSS JOIN LATERAL (SELECT {} OFFSET 0) AS m").format(moments))
        parts.append(sql.SQL(" CROSS JOIN LATERAL (SELECT {} OFFSET 0) AS d").format(days))
    return sql.Composed(parts)


def explanation(given: Filter, *, zone: str) -> tuple[sql.Composed, dict[str, Any], list[Seen]]:
    """The statement that says of each condition of a filter what it looks at for the customers `ids`, and whether it
    holds; its parameters; and the conditions in the order of the columns `value_NO` and `holds_NO`."""
    parameters = Parameters()
    whole = compiled(given, parameters)
    conditions = taken_apart(given, parameters)
    columns = sql.SQL("").join(
        sql.SQL(", {} AS {}, {} AS {}").format(
            one.value, sql.Identifier(f"value_{no}"), one.holds, sql.Identifier(f"holds_{no}")
        )
        for no, one in enumerate(conditions)
    )
    statement = sql.SQL("SELECT c.id, c.now, {} AS holds{}{}").format(
        whole.holds, columns, _FROM.format(customers=_OF_IDS, shared=_shared(parameters))
    )
    return statement, parameters.values | {"zone": zone}, conditions
