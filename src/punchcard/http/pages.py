"""Pages of lists, read by index: what a page costs does not grow with the table, and hardly with its number.

A list is one statement, `SELECT ... FROM orders WHERE project_id = ...`, that stands in its resource's `.sql` file.
Here it becomes the table of another: `SELECT ... FROM (statement) AS listed WHERE ... ORDER BY ... LIMIT ...`, which
PostgreSQL plans as one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from psycopg import sql

from punchcard.db.database import Conn
from punchcard.http.lists import DateCondition, Dates

_CREATED = sql.SQL("created_at")
# What was never updated counts as updated when it was made. Exactly as the indexes have them.
FIELDS = {
    "created_at": _CREATED,
    "updated_at": sql.SQL("coalesce(updated_at, created_at)"),
    "ordered_at": sql.SQL("coalesce(ordered_at, created_at)"),
}


class Run(Struct, frozen=True):
    """Rows that one index holds in order: those `among` which it is, by a key that tells any two rows apart.

    The creation time does, alone or behind others: each row of a project's table has its own.
    """

    key: tuple[sql.SQL, ...]
    among: sql.SQL | None = None


class Order(Struct, frozen=True):
    """What a list can be ordered by: one run after another. `serves` names filters that the same indexes answer."""

    runs: tuple[Run, ...]
    serves: frozenset[str] = frozenset()


BY_CREATION = Order((Run((_CREATED,)),), frozenset({"created_at"}))
BY_UPDATE = Order((Run((FIELDS["updated_at"], _CREATED)),), frozenset({"updated_at"}))
BY_PLACING = Order((Run((FIELDS["ordered_at"], _CREATED)),), frozenset({"ordered_at"}))


class Page(Struct):
    """The rows of a page, and whether others follow."""

    rows: list[Any]
    has_more: bool


class Rows:
    """The rows of a list: its statement, narrowed by filters."""

    def __init__(self, statement: bytes, parameters: Mapping[str, Any]) -> None:
        self._statement = sql.SQL(statement.decode().rstrip(";"))  # a file of ours
        self._parameters: dict[str, Any] = dict(parameters)
        self._conditions: list[sql.Composable] = []
        self._fields: set[str] = set()

    @property
    def narrowed(self) -> bool:
        """Whether a filter leaves rows out, perhaps."""
        return bool(self._conditions)

    def where(self, field: str, condition: sql.Composable, **parameters: Any) -> None:
        """Only rows with `condition`, which is about `field`."""
        self._conditions.append(condition)
        self._fields.add(field)
        self._parameters |= parameters

    def dates(self, dates: Dates) -> None:
        """Only rows with these dates."""
        if dates.conditions:
            joined = sql.SQL(" OR " if dates.any_of else " AND ").join(map(self._date, dates.conditions))
            self._conditions.append(sql.SQL("({})").format(joined))

    def _date(self, condition: DateCondition) -> sql.Composable:
        name = f"moment_{len(self._parameters)}"
        self._parameters[name] = condition.moment
        self._fields.add(condition.field)
        relation = sql.SQL(condition.relation)
        return sql.SQL("{} {} {}").format(FIELDS[condition.field], relation, sql.Placeholder(name))

    async def count(self, conn: Conn) -> int:
        """How many rows there are: reads them, by the index of a filter where there is one."""
        query = sql.SQL("SELECT count(*) AS total FROM {}").format(_listed(self._statement, self._conditions))
        return await _number(conn, query, self._parameters)

    async def place(self, conn: Conn, order: Order, row_id: str) -> tuple[Any, ...] | None:
        """Where the row with an id stands in an order of one run; none when there is no such row."""
        (run,) = order.runs
        row_alone = _listed(self._statement, [sql.SQL("id = %(row)s")])
        query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(run.key), row_alone)
        row = await (await conn.execute(query, self._parameters | {"row": row_id}, prepare=False)).fetchone()
        return None if row is None else tuple(row)

    async def page(
        self,
        conn: Conn,
        order: Order,
        *,
        descending: bool,
        limit: int,
        page: int = 1,
        beyond: tuple[Any, ...] | None = None,
    ) -> Page:
        """One page in an order; with `beyond`, of the rows behind that place in it. Needs a transaction."""
        if self._fields <= order.serves:
            # without statistics on projects, a sort of all rows can look cheaper than the index that has them sorted
            await conn.execute("SET LOCAL enable_sort = off")
        rows: list[Any] = []
        skip = (page - 1) * limit
        for run in order.runs[::-1] if descending else order.runs:
            part = _Part(self._statement, self._conditions, self._parameters, run, descending=descending, beyond=beyond)
            found = await part.rows(conn, skip=skip, limit=limit + 1 - len(rows))
            rows += found
            if len(rows) > limit:
                break
            if len(order.runs) > 1:
                skip = 0 if found else skip - await part.count(conn, at_most=skip)
        return Page(rows[:limit], has_more=len(rows) > limit)


class _Part:
    """The rows of one run, in one direction, behind a place."""

    def __init__(
        self,
        statement: sql.Composable,
        conditions: Sequence[sql.Composable],
        parameters: Mapping[str, Any],
        run: Run,
        *,
        descending: bool,
        beyond: tuple[Any, ...] | None,
    ) -> None:
        self._statement = statement
        self._key = sql.SQL(", ").join(run.key)
        self._order = sql.SQL(", ").join(key + sql.SQL(" DESC" if descending else " ASC") for key in run.key)
        self._forward = sql.SQL("<" if descending else ">")
        self._conditions = [*conditions, *([run.among] if run.among else [])]
        self._parameters = dict(parameters)
        if beyond is not None:
            names = [f"beyond_{no}" for no in range(len(beyond))]
            self._parameters |= dict(zip(names, beyond, strict=True))
            place = sql.SQL(", ").join(map(sql.Placeholder, names))
            key = sql.SQL(", ").join(run.key[: len(beyond)])
            self._conditions.append(sql.SQL("({}) {} ({})").format(key, self._forward, place))

    async def rows(self, conn: Conn, *, skip: int, limit: int) -> list[Any]:
        """`limit` rows after the first `skip`.

        The page's first key is found first, by a query that reads nothing else: where the index alone can answer it,
        rows before the page are not touched.
        """
        conditions = list(self._conditions)
        if skip:
            start = sql.SQL("SELECT {} FROM {} ORDER BY {} OFFSET %(skip)s LIMIT 1").format(
                self._key, _listed(self._statement, conditions), self._order
            )
            conditions.append(sql.SQL("({}) {}= ({})").format(self._key, self._forward, start))
        query = sql.SQL("SELECT * FROM {} ORDER BY {} LIMIT %(limit)s").format(
            _listed(self._statement, conditions), self._order
        )
        parameters = self._parameters | {"skip": skip, "limit": limit}
        return await (await conn.execute(query, parameters, prepare=False)).fetchall()

    async def count(self, conn: Conn, *, at_most: int) -> int:
        """How many rows there are, as far as `at_most`."""
        query = sql.SQL("SELECT count(*) AS total FROM (SELECT 1 FROM {} LIMIT %(limit)s) AS counted").format(
            _listed(self._statement, self._conditions)
        )
        return await _number(conn, query, self._parameters | {"limit": at_most})


def _listed(statement: sql.Composable, conditions: Sequence[sql.Composable]) -> sql.Composable:
    where = sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")
    return sql.SQL("({}) AS listed{}").format(statement, where)


async def _number(conn: Conn, query: sql.Composed, parameters: Mapping[str, Any]) -> int:
    row = await (await conn.execute(query, parameters, prepare=False)).fetchone()
    assert row is not None
    return int(row.total)
