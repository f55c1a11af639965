"""Reports: what a job says about each of its records, as a file that a signed link opens for a time.

A portion stores its lines in its own transaction, as JSON. The links stand in the result of a finished action and are
made when it is read; whoever has one needs no keys.
"""

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import Request, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.response import Stream
from msgspec import Struct

from punchcard.bulk import downloads, pieces
from punchcard.bulk.claims import Claim
from punchcard.bulk.downloads import JSON_LINES_TYPE, DownloadBroken
from punchcard.bulk.jobs import Job, is_reported
from punchcard.db import statements
from punchcard.db.database import Conn, Database
from punchcard.errors import ApiError, NotFound
from punchcard.http.answers import Error
from punchcard.http.signing import Signer, refuse_expired
from punchcard.settings import Settings

SQL = statements.beside(__file__)

CSV_TYPE = "text/csv"  # UTF-8, which the framework adds
_PURPOSE = "reports"
_BEFORE_ALL = -1
# What spreadsheets take for the beginning of a formula (OWASP, "CSV Injection"), and the quote that we put before it.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")  # noqa: RUF001 - full width

_line_decoder = msgspec.json.Decoder(dict[str, Any])

_REFUSALS = {
    400: "The query is not one that a link has.",
    403: "This server did not make the link, or it was changed.",
    404: "The report is no longer known.",
    410: "The time of the link, or of the report, is over.",
}

Columns: TypeAlias = tuple[str, ...]


class ReportsDeleted(ApiError):
    """The reports of this action were kept for as long as the server keeps them."""

    status = 410
    key = "reports_deleted"
    message = "Reports deleted"


# ---- what portions store -----------------------------------------------------------------------


async def keep(conn: Conn, claim: Claim, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Add what a portion says about its records, in its transaction."""
    lines = [msgspec.json.encode(dict(zip(columns, row, strict=True))) + b"\n" for row in rows]
    runs = list(pieces.cut(lines, downloads.PAGE_BYTES))
    parameters = {
        "project_id": claim.project,
        "id": claim.id,
        "first_records": [claim.records_next + first for first, _ in runs],
        "records": [end - first for first, end in runs],
        "bodies": [b"".join(lines[first:end]) for first, end in runs],
    }
    await conn.execute(SQL.async_action_reports_insert, parameters)


# ---- files -------------------------------------------------------------------------------------


class Format(Struct, frozen=True):
    """A form of the file: its type, what stands before all lines, and how stored lines are shown."""

    media_type: str
    header: Callable[[Columns], bytes]
    shown: Callable[[Columns, bytes], bytes]


def csv_header(columns: Columns) -> bytes:
    """The first line of a CSV."""
    return _csv([columns])


def csv_lines(columns: Columns, lines: bytes) -> bytes:
    """Stored lines as CSV (RFC 4180)."""
    return _csv([cell(record.get(column)) for column in columns] for record in _line_decoder.decode_lines(lines))


def cell(value: Any) -> str:
    """A value as a CSV has it: none is empty, and a text that a spreadsheet could take for a formula gets a quote.

    Taking one quote away from the front of each text that begins with one gives the texts back.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return f"'{value}" if value.startswith(_FORMULA_STARTS) else value


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


# the first is what clients open that expect one report
FORMATS = {
    "csv": Format(CSV_TYPE, csv_header, csv_lines),
    "jsonl": Format(JSON_LINES_TYPE, lambda _: b"", lambda _, lines: lines),
}


class Report(Struct, frozen=True):
    """A report that can be downloaded now: so many records have a line in it."""

    project: str
    action_id: str
    columns: Columns
    records: int


async def find(conn: Conn, project: str, action_id: str, links: "Links", *, until: datetime) -> Report:
    """The report that a link opens. Raises `LinkExpired`, `NotFound`, `ReportsDeleted`."""
    parameters = {"project_id": project, "id": action_id}
    row = await (await conn.execute(SQL.async_action_report_get, parameters)).fetchone()
    if row is None or row.finished_at is None or row.type not in links.columns:
        raise NotFound("async_action", action_id)
    refuse_expired(until, row.now)
    kept_until = links.available_till(row.finished_at)
    if row.now >= kept_until or row.report_deleted_at is not None:
        raise ReportsDeleted(f"The reports of this action were kept until {kept_until:%F %T}Z")
    return Report(project, action_id, links.columns[row.type], row.records)


async def file_of(database: Database, report: Report, form: Format) -> AsyncIterator[bytes]:
    """The file, by pages."""
    after, count = _BEFORE_ALL, 0
    parameters: dict[str, Any] = {"project_id": report.project, "id": report.action_id}
    parameters |= {"limit": downloads.PAGE_ROWS, "bytes_max": downloads.PAGE_BYTES}
    with downloads.breaking_off(report.action_id):
        yield form.header(report.columns)
        while True:
            async with database.connection() as conn:
                found = await conn.execute(SQL.async_action_report_page, {**parameters, "after": after}, binary=True)
                rows = await found.fetchall()
            if not rows:
                break
            after, count = rows[-1].first_record, count + sum(row.records for row in rows)
            page = b"".join(row.body for row in rows)
            rows.clear()  # while the client is slow, the page is held once
            page = form.shown(report.columns, page)
            yield page
            del page
        if count < report.records:
            raise DownloadBroken(
                f"Only {count} of {report.records} lines of action {report.action_id} were still there"
            )


# ---- links -------------------------------------------------------------------------------------


class Links:
    """Makes the links to the reports of these kinds of job, and checks them."""

    def __init__(self, jobs: Iterable[Job], settings: Settings) -> None:
        self.columns: Mapping[str, Columns] = {job.type: job.report_columns for job in jobs if is_reported(job)}
        self.signer = Signer(settings.secret_key, _PURPOSE)
        self._base_url = settings.base_url
        self._kept, self._opens = timedelta(days=settings.report_days), timedelta(hours=settings.report_link_hours)

    def available_till(self, finished_at: datetime) -> datetime:
        """Until when the reports of an action are there."""
        return finished_at + self._kept

    def added(self, result: Any, project: str, row: Any) -> Any:
        """The result (JSON) of a finished action, with links to its reports where its kind has some."""
        if row.type not in self.columns:
            return result
        till = self.available_till(row.finished_at)
        urls = [self._url(project, row.id, name, min(till, row.now + self._opens)) for name in FORMATS]
        return msgspec.json.decode(result) | {
            "reports": urls if row.now < till else [],
            "reports_available_till": till,
        }

    def _url(self, project: str, action_id: str, name: str, until: datetime) -> str:
        query = self.signer.query(project, action_id, name, expires=int(until.timestamp()))
        return f"{self._base_url}/reports/{project}/{action_id}.{name}?{query}"


# ---- handlers ----------------------------------------------------------------------------------


@get(
    "/reports/{project_id:str}/{file_name:str}",
    operation_id="download-report",
    tags=["Async Actions"],
    security=[{}],
    responses={
        200: ResponseSpec(
            str, generate_examples=False, media_type=CSV_TYPE, description="The file, CSV or JSON Lines."
        ),
        **{
            status: ResponseSpec(Error, generate_examples=False, description=text) for status, text in _REFUSALS.items()
        },
    },
)
async def get_report(
    request: Request,  # type: ignore[type-arg]
    project_id: str,
    file_name: str,
    expires: Annotated[str | None, Parameter(description="Until when the link opens, in seconds since 1970.")] = None,
    signature: Annotated[str | None, Parameter(description="Says that this server made the link.")] = None,
) -> Stream:
    """Download a report.

    By a link from the `reports` of an async action's result, which needs no keys: CSV, with a header and a line for
    each record, or JSON Lines. In CSV a `'` stands before a text that a spreadsheet could take for a formula.
    """
    links: Links = request.app.state.report_links
    action_id, _, name = file_name.rpartition(".")
    until = links.signer.check(project_id, action_id, name, expires=expires, signature=signature)
    database: Database = request.app.state.database
    async with database.connection() as conn:
        report = await find(conn, project_id, action_id, links, until=until)
    return Stream(
        file_of(database, report, FORMATS[name]),
        media_type=FORMATS[name].media_type,
        headers={
            "Content-Disposition": f'attachment; filename="{file_name}"',
            "Cache-Control": "private, no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )


ROUTES = [get_report]
