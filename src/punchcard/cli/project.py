"""Commands about projects and their keys."""

from pathlib import Path
from typing import Any

import click
import msgspec

from punchcard import ids
from punchcard.cli.options import (
    config_option,
    data_option,
    database_option,
    dsn_of,
    in_transaction,
    project_option,
    settings_of,
)
from punchcard.projects import projects


@click.group("projects")
def projects_group() -> None:
    """Projects."""


@projects_group.command("create")
@click.argument("name")
@click.option("--codes-ignore-case", is_flag=True, help="`Code` and `CODE` are one voucher code. Cannot be changed.")
@data_option
@database_option
@config_option
def projects_create(name: str, codes_ignore_case: bool, config: Path | None, **arguments: Any) -> None:
    """Create a project and print its id."""
    if not name.strip():
        raise click.BadParameter("a project needs a name", param_hint="NAME")
    dsn = dsn_of(settings_of(config, arguments, part="cli"))
    case_sensitive = not codes_ignore_case
    click.echo(
        in_transaction(dsn, lambda conn: projects.create_project(conn, name, case_sensitive_codes=case_sensitive))
    )


@projects_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
@data_option
@database_option
@config_option
def projects_list(as_json: bool, config: Path | None, **arguments: Any) -> None:
    """Print all projects, the oldest first: id, zone, metadata key of the order date, name."""
    found = in_transaction(dsn_of(settings_of(config, arguments, part="cli")), projects.list_projects)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        for project in found:
            click.echo(f"{project.id}  {project.timezone:<20}  {project.ordered_at_key:<16}  {project.name}")


@projects_group.command("show")
@click.argument("project_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@data_option
@database_option
@config_option
def projects_show(project_id: str, as_json: bool, config: Path | None, **arguments: Any) -> None:
    """Print a project and its settings."""
    dsn = dsn_of(settings_of(config, arguments, part="cli"))
    found = in_transaction(dsn, lambda conn: projects.get_project(conn, project_id))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        _echo_project(found)


@projects_group.command("update")
@click.argument("project_id", metavar="ID")
@click.option("--name", help="What the project is called.")
@click.option("--timezone", metavar="ZONE", help="The zone of dates without one, such as Europe/Warsaw.")
@click.option("--ordered-at-key", metavar="KEY", help="The order metadata key that says when an order was placed.")
@data_option
@database_option
@config_option
def projects_update(
    project_id: str,
    name: str | None,
    timezone: str | None,
    ordered_at_key: str | None,
    config: Path | None,
    **arguments: Any,
) -> None:
    """Change settings of a project, and print it.

    Another zone or key has `ordered_at` of all stored orders computed anew, as a job of the project's queue.
    """
    if name is None and timezone is None and ordered_at_key is None:
        raise click.UsageError("name what is to change: --name, --timezone or --ordered-at-key")
    from punchcard.projects import changes  # noqa: PLC0415 - brings in the queue, which no other command here needs

    dsn = dsn_of(settings_of(config, arguments, part="cli"))
    updated = in_transaction(
        dsn,
        lambda conn: changes.update_project(
            conn,
            project_id,
            name=name,
            timezone=timezone,
            ordered_at_key=ordered_at_key,
            request_id=ids.request_id(),
        ),
    )
    _echo_project(updated.project)
    if updated.redating_action_id is not None:
        click.echo(f"{'redating':<24}{updated.redating_action_id}")


def _echo_project(project: projects.Project) -> None:
    for name, value in msgspec.to_builtins(project).items():
        click.echo(f"{name:<24}{value if isinstance(value, str) else msgspec.json.encode(value).decode()}")


@click.group("keys")
def keys_group() -> None:
    """Key pairs of a project."""


@keys_group.command("create")
@project_option
@click.option("--name", default="Command line", show_default=True, help="What the pair is for.")
@data_option
@database_option
@config_option
def keys_create(project: str, name: str, config: Path | None, **arguments: Any) -> None:
    """Create a server-side key pair and print it; the token is shown this once."""
    dsn = dsn_of(settings_of(config, arguments, part="cli"))
    pair = in_transaction(dsn, lambda conn: projects.create_key(conn, project, name=name))
    click.echo(f"application_id     {pair.id}\napplication_token  {pair.token}")
