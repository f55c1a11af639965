"""The command line. What scripts rely on is in docs/reference/commands.md."""

import importlib

import click
import psycopg

from punchcard import __version__, processes
from punchcard.cli.options import REFUSED, end
from punchcard.errors import PunchcardError

# where each command is: only the one that was asked for is imported
COMMANDS = {
    "serve": "serving:serve",
    "demo": "serving:demo_command",
    "api": "serving:api",
    "worker": "serving:worker",
    "migrate": "serving:migrate_command",
    "credentials": "serving:credentials",
    "database-url": "serving:database_url",
    "projects": "project:projects_group",
    "keys": "project:keys_group",
    "metadata-schemas": "schemas:metadata_schemas_group",
    "event-schemas": "schemas:event_schemas_group",
    "lanes": "lanes:lanes_group",
    "segments": "segments:segments_group",
    "import": "importing:import_files",
}


class Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:  # proposes only what has been imported
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found: click.Command = getattr(importlib.import_module(f"punchcard.cli.{module}"), name)
        return found


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="punchcard")
def cli() -> None:
    """Punchcard, a self-hosted promotion and loyalty engine."""


def main() -> None:
    """Run the command line; our own errors are one line and exit status 1."""
    try:
        cli()
    except PunchcardError as error:
        end(str(error), REFUSED)
    except psycopg.Error as error:
        # a refusal carries its SQLSTATE; without one the server was not reached, or its link broke
        what = "refused" if error.sqlstate else "does not answer"
        end(f"The database {what}: {processes.one_line(error)}", REFUSED)
