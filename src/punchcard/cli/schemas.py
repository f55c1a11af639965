"""Commands about metadata schemas and event schemas."""

from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec

from punchcard.cli.options import (
    config_option,
    data_option,
    database_option,
    dsn_of,
    in_transaction,
    project_option,
    settings_of,
)
from punchcard.custom_events import schemas as event_schemas
from punchcard.db.database import Conn
from punchcard.metadata_schemas import definitions, metadata_schemas
from punchcard.projects import projects


@click.group("metadata-schemas")
def metadata_schemas_group() -> None:
    """Which metadata a project's records may carry."""


@metadata_schemas_group.command("apply")
@click.argument("file", type=click.File("rb"))
@project_option
@data_option
@database_option
@config_option
def metadata_schemas_apply(file: BinaryIO, project: str, config: Path | None, **arguments: Any) -> None:
    """Define what FILE says: a schema, an array of them, or what `show` prints; `-` reads standard input.

    A definition replaces its namesake; definitions that FILE does not name stay as they are.
    """
    dsn = dsn_of(settings_of(config, arguments, part="cli"))
    given = definitions.read_file(file.read())

    async def work(conn: Conn) -> metadata_schemas.Applied:
        await projects.require_project(conn, project)
        return await metadata_schemas.apply(conn, project, given)

    for effect, names in msgspec.structs.asdict(in_transaction(dsn, work)).items():
        for name in names:
            click.echo(f"{effect:<10}{name}")


@metadata_schemas_group.command("show")
@project_option
@data_option
@database_option
@config_option
def metadata_schemas_show(project: str, config: Path | None, **arguments: Any) -> None:
    """Print all schemas of a project as JSON."""

    async def work(conn: Conn) -> metadata_schemas.MetadataSchemaList:
        await projects.require_project(conn, project)
        return await metadata_schemas.list_schemas(conn, project)

    found = in_transaction(dsn_of(settings_of(config, arguments, part="cli")), work)
    click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())


@click.group("event-schemas")
def event_schemas_group() -> None:
    """Which custom events a project has, and which metadata they may carry."""


@event_schemas_group.command("apply")
@click.argument("file", type=click.File("rb"))
@project_option
@data_option
@database_option
@config_option
def event_schemas_apply(file: BinaryIO, project: str, config: Path | None, **arguments: Any) -> None:
    """Define what FILE says: an event schema, an array of them, or what `show` prints; `-` reads standard input.

    A definition replaces its namesake; definitions and events that FILE does not name stay as they are.
    """
    dsn = dsn_of(settings_of(config, arguments, part="cli"))
    given = event_schemas.read_file(file.read())

    async def work(conn: Conn) -> dict[str, list[str]]:
        await projects.require_project(conn, project)
        return await event_schemas.apply(conn, project, given)

    for effect, names in in_transaction(dsn, work).items():
        for name in names:
            click.echo(f"{effect:<10}{name}")


@event_schemas_group.command("show")
@project_option
@data_option
@database_option
@config_option
def event_schemas_show(project: str, config: Path | None, **arguments: Any) -> None:
    """Print all event schemas of a project as JSON."""

    async def work(conn: Conn) -> event_schemas.EventSchemaList:
        await projects.require_project(conn, project)
        return await event_schemas.list_schemas(conn, project)

    found = in_transaction(dsn_of(settings_of(config, arguments, part="cli")), work)
    click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())


@event_schemas_group.command("delete")
@click.argument("name")
@project_option
@data_option
@database_option
@config_option
def event_schemas_delete(name: str, project: str, config: Path | None, **arguments: Any) -> None:
    """Have a project no longer take the custom event NAME. Events that were tracked stay."""

    async def work(conn: Conn) -> None:
        await projects.require_project(conn, project)
        await event_schemas.remove(conn, project, name)

    in_transaction(dsn_of(settings_of(config, arguments, part="cli")), work)
