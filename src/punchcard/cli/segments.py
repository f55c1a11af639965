"""Commands about segments."""

import sys
from pathlib import Path
from typing import Any

import click

from punchcard.cli.options import config_option, data_option, database_option, dsn_of, on_database, settings_of
from punchcard.db.database import Conn
from punchcard.projects import projects
from punchcard.segments import verifying

DIFFERENCES_FOUND = 1


@click.group("segments")
def segments_group() -> None:
    """Who is in which segment."""


@segments_group.command("verify")
@click.argument("project", metavar="PROJECT")
@click.option("--repair", is_flag=True, help="Have the workers put right what differs, without events.")
@data_option
@database_option
@config_option
def segments_verify(project: str, repair: bool, config: Path | None, **arguments: Any) -> None:
    """Evaluate every membership of a project anew, and print each that is stored otherwise.

    Customers who still wait to be placed are passed over. Ends with status 1 if anything differs.
    """

    async def work(conn: Conn) -> int:
        await projects.require_project(conn, project)
        found = 0
        async for differences in verifying.verify(conn, project):
            for one in differences:
                click.echo(str(one))
            found += len(differences)
            if repair and differences:
                async with conn.transaction():
                    await verifying.repair(conn, project, differences)
        return found

    found = on_database(dsn_of(settings_of(config, arguments, part="cli")), work)
    click.echo(f"{found} difference(s)" + (", asked to be put right" if repair and found else ""))
    if found:
        sys.exit(DIFFERENCES_FOUND)
