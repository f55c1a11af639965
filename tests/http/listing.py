"""Lists seen from outside: walking them, and a model of what a page must hold, over all rows in plain Python."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import quote

from hypothesis import strategies as st
from msgspec import Struct

from tests.deployment import Project

Row: TypeAlias = dict[str, Any]
FIELDS: dict[str, Callable[[Row], datetime]] = {
    "created_at": lambda row: moment(row["created_at"]),
    "updated_at": lambda row: moment(row.get("updated_at") or row["created_at"]),
    "ordered_at": lambda row: moment(row.get("ordered_at") or row["created_at"]),
}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def by_pages(project: Project, path: str, *, limit: int = 100, **parameters: Any) -> Iterator[Row]:
    """All rows of a list, page by page; each page says rightly whether another follows."""
    page = 1
    while True:
        answer = project.get(path, limit=limit, page=page, **parameters)
        rows = answer[answer["data_ref"]]
        yield from rows
        assert answer["has_more"] is (page * limit < answer["total"])
        if not answer["has_more"]:
            return
        assert len(rows) == limit
        page += 1


def by_cursor(project: Project, path: str, parameter: str, cursor: Callable[[Row], str], **fixed: Any) -> Iterator[Row]:
    """All rows of a list by a cursor: `cursor` of the last row of a page leads to the next."""
    parameters: Row = {"limit": 100, **fixed}
    while True:
        answer = project.get(path, **parameters)
        rows = answer[answer["data_ref"]]
        yield from rows
        if not answer["has_more"]:
            return
        parameters[parameter] = cursor(rows[-1])


class Query(Struct):
    """A query as it is written, and what it means."""

    written: str
    order: str | None
    limit: int
    page: int
    # each filter as a question to a row; groups of which one answer is enough
    questions: list[tuple[Callable[[Row], bool], ...]]
    # only rows behind this one in the order
    behind: Row | None = None


def sorted_rows(rows: list[Row], order: str) -> list[Row]:
    """All rows in an order. The creation time tells any two apart; customers without a source id come last."""
    field = order.removeprefix("-")

    def key(row: Row) -> Any:
        if field == "source_id":
            return (row["source_id"] is None, row["source_id"] or "", row["created_at"])
        return (FIELDS[field](row), row["created_at"])

    return sorted(rows, key=key, reverse=order.startswith("-"))


def expected(rows: list[Row], query: Query, default_order: str) -> tuple[list[str], int, bool]:
    """Ids of the page, total, has_more."""
    ordered = sorted_rows(rows, query.order or default_order)
    if query.behind is not None:
        places = [row["id"] for row in ordered]
        reached = places.index(query.behind["id"])
    else:
        reached = -1
    left = [row for row in rows if all(any(ask(row) for ask in group) for group in query.questions)]
    ids = {row["id"] for row in left}
    behind = [row["id"] for row in ordered[reached + 1 :] if row["id"] in ids]
    start = (query.page - 1) * query.limit
    return behind[start : start + query.limit], len(left), len(behind) > start + query.limit


def check(project: Project, path: str, rows: list[Row], query: Query, default_order: str) -> None:
    """Ask the server and the model."""
    answer = project.call("GET", f"{path}?{query.written}")
    ids = [row["id"] for row in answer[answer["data_ref"]]]
    assert (ids, answer["total"], answer["has_more"]) == expected(rows, query, default_order), query.written


# ---- random queries ----------------------------------------------------------------------------

_SPELLINGS = (
    "{field}[{relation}]", "[{field}][{relation}]", "filters[{field}][conditions][${relation}]",
    "filters[{field}][conditions][${relation}][0]", "[filters][{field}][conditions][${relation}][0]",
    "filters[{field}][conditions][${relation}][]",
)  # fmt: skip
_FORMS: tuple[Callable[[datetime], str], ...] = (
    lambda at: at.isoformat().replace("+00:00", "Z"),
    lambda at: quote(at.isoformat()),
    lambda at: at.isoformat(),  # its plus arrives as a space
    lambda at: at.replace(tzinfo=None).isoformat(),
    lambda at: quote(f"['{at.isoformat()}']"),
)


@st.composite
def date_filters(draw: st.DrawFn, rows: list[Row], fields: tuple[str, ...]) -> tuple[list[str], list[Any]]:
    """Some date filters, written in some way, and their questions."""
    written, asks = [], []
    pairs = [(field, relation) for field in fields for relation in ("before", "after")]
    for field, relation in draw(st.lists(st.sampled_from(pairs), unique=True, max_size=3)):
        at = FIELDS[draw(st.sampled_from(fields))](rows[draw(st.integers(0, len(rows) - 1))])
        name = draw(st.sampled_from(_SPELLINGS)).format(field=field, relation=relation)
        if draw(st.booleans()):
            name = quote(name)
        written.append(f"{name}={draw(st.sampled_from(_FORMS))(at)}")
        asks.append(_asks(field, relation, at))
    if not draw(st.booleans()):
        return written, [(ask,) for ask in asks]
    written.append(draw(st.sampled_from(["filters[junction]=or", "filters%5Bjunction%5D=OR"])))
    return written, [tuple(asks)] if asks else []


def _asks(field: str, relation: str, at: datetime) -> Callable[[Row], bool]:
    if relation == "before":
        return lambda row: FIELDS[field](row) < at
    return lambda row: FIELDS[field](row) > at


@st.composite
def queries(draw: st.DrawFn, rows: list[Row], fields: tuple[str, ...], orders: tuple[str, ...]) -> Query:
    """A page of some order with some date filters."""
    order = draw(st.sampled_from([None, *orders, *(f"-{order}" for order in orders)]))
    limit, page = draw(st.integers(1, 100)), draw(st.integers(1, 5))
    written, questions = draw(date_filters(rows, fields))
    written += [f"limit={limit}", f"page={page}", *([f"order={order}"] if order else [])]
    return Query("&".join(draw(st.permutations(written))), order, limit, page, questions)
