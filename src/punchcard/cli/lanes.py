"""Commands about the lanes of the bulk queue."""

from pathlib import Path
from typing import Any

import click

from punchcard.bulk import pauses
from punchcard.bulk.jobs import Lane
from punchcard.cli.options import config_option, data_option, database_option, dsn_of, in_transaction, settings_of
from punchcard.db.database import Conn
from punchcard.projects import projects

lane_argument = click.argument("lane", type=click.Choice([lane.value for lane in Lane]))


@click.group("lanes")
def lanes_group() -> None:
    """Lanes of the bulk queue: what waits in them, and whether they are served."""


@lanes_group.command("list")
@click.argument("project", metavar="PROJECT")
@data_option
@database_option
@config_option
def lanes_list(project: str, config: Path | None, **arguments: Any) -> None:
    """Print the lanes of a project: actions under way and waiting, last turn, and since when it is paused."""

    async def work(conn: Conn) -> list[pauses.LaneState]:
        await projects.require_project(conn, project)
        return await pauses.list_lanes(conn, project)

    for state in in_transaction(dsn_of(settings_of(config, arguments, part="cli")), work):
        served = "never" if state.served_at is None else f"{state.served_at:%Y-%m-%dT%H:%M:%SZ}"
        paused = "" if state.paused_at is None else f"  paused since {state.paused_at:%Y-%m-%dT%H:%M:%SZ}"
        click.echo(f"{state.lane:<12}  under way {state.under_way}  waiting {state.waiting}  served {served}{paused}")


@lanes_group.command("pause")
@click.argument("project", metavar="PROJECT")
@lane_argument
@data_option
@database_option
@config_option
def lanes_pause(project: str, lane: str, config: Path | None, **arguments: Any) -> None:
    """Have workers take no further portion of a lane; requests are accepted all the same."""

    async def work(conn: Conn) -> bool:
        await projects.require_project(conn, project)
        return await pauses.pause(conn, project, Lane(lane))

    changed = in_transaction(dsn_of(settings_of(config, arguments, part="cli")), work)
    click.echo(f"{lane} {'is paused' if changed else 'was paused already'}")


@lanes_group.command("resume")
@click.argument("project", metavar="PROJECT")
@lane_argument
@data_option
@database_option
@config_option
def lanes_resume(project: str, lane: str, config: Path | None, **arguments: Any) -> None:
    """Have workers serve a paused lane again."""

    async def work(conn: Conn) -> bool:
        await projects.require_project(conn, project)
        return await pauses.resume(conn, project, Lane(lane))

    changed = in_transaction(dsn_of(settings_of(config, arguments, part="cli")), work)
    click.echo(f"{lane} {'is served again' if changed else 'was not paused'}")
