"""Options that commands share, and what follows from them: settings, and the database to work on."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict

from punchcard import log, processes
from punchcard import settings as configuration
from punchcard.db import embedded
from punchcard.db.database import Conn, connect
from punchcard.errors import PunchcardError
from punchcard.settings import Settings

ResultT = TypeVar("ResultT")

REFUSED = 1


class DatabaseAddressMissing(PunchcardError):
    """Neither a database address was given, nor does an embedded server run."""


class DatabaseAddressInvalid(PunchcardError):
    """The database address is not one that PostgreSQL's library understands."""


data_option = click.option("--data", metavar="DIR", help="Directory of the embedded PostgreSQL and the credentials.")
database_option = click.option("--database-url", metavar="DSN", help="A PostgreSQL server of your own (15 or newer).")
port_option = click.option("--port", type=int, help="Port of the API.")
host_option = click.option("--host", help="Address the API listens on.")
config_option = click.option("--config", type=click.Path(path_type=Path), help="A settings file (TOML).")
project_option = click.option("--project", required=True, metavar="ID", help="The project's id.")


def end(text: str, status: int) -> NoReturn:
    """End the program with a line on standard error."""
    click.echo(f"punchcard: {text}", err=True)
    sys.exit(status)


def settings_of(config: Path | None, arguments: dict[str, Any], *, part: str) -> Settings:
    """The settings from all sources; the log is set up after them."""
    settings = configuration.load(config=config, arguments=arguments)
    log.configure(settings, part=part)
    if settings.database_url:
        _require_understood(settings.database_url)
    return settings


def _require_understood(dsn: str) -> None:
    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # without the library's words: they quote the address, and with it the password
        raise DatabaseAddressInvalid(
            "The database address is not a DSN such as postgresql://user:password@host:5432/database"
        ) from None


def required_dsn(settings: Settings) -> str:
    """The address that was given. Raises `DatabaseAddressMissing`."""
    if not settings.database_url:
        raise DatabaseAddressMissing(
            "Name the database with --database-url or DATABASE_URL; `punchcard serve` brings its own"
        )
    return settings.database_url


def dsn_of(settings: Settings) -> str:
    """The address that was given, else that of the running embedded server. Raises `DatabaseAddressMissing`."""
    return settings.database_url or running_dsn(settings, "start `punchcard serve`, or name --database-url")


def running_dsn(settings: Settings, advice: str) -> str:
    """The address of the running embedded server. Raises `DatabaseAddressMissing`, with the advice."""
    directory = processes.data_directory(settings)
    dsn = embedded.running_dsn(directory)
    if dsn is None:
        raise DatabaseAddressMissing(f"No embedded PostgreSQL runs in {directory}: {advice}")
    return dsn


def on_database(dsn: str, work: Callable[[Conn], Awaitable[ResultT]]) -> ResultT:
    """What `work` returns, run on a database that is migrated; it opens its transactions itself."""

    async def run() -> ResultT:
        async with await connect(dsn, part="cli") as conn:
            await processes.require_migrated(conn)
            return await work(conn)

    return asyncio.run(run())


def in_transaction(dsn: str, work: Callable[[Conn], Awaitable[ResultT]]) -> ResultT:
    """What `work` returns, run in one transaction on a database that is migrated."""

    async def run(conn: Conn) -> ResultT:
        async with conn.transaction():
            return await work(conn)

    return on_database(dsn, run)
