"""Commands about metadata schemas."""

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
