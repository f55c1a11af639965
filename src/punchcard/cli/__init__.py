"""The command line. What scripts rely on is in docs/reference/commands.md."""

import click
import psycopg

from punchcard import __version__, processes
from punchcard.cli import importing, lanes, project, schemas, serving
from punchcard.cli.options import REFUSED, end
from punchcard.errors import PunchcardError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="punchcard")
def cli() -> None:
    """Punchcard, a self-hosted promotion and loyalty engine."""


for command in (
    serving.serve,
    serving.demo_command,
    serving.api,
    serving.worker,
    serving.migrate_command,
    serving.credentials,
    serving.database_url,
    project.projects_group,
    project.keys_group,
    schemas.metadata_schemas_group,
    schemas.event_schemas_group,
    lanes.lanes_group,
    importing.import_files,
):
    cli.add_command(command)


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
