"""The import client on the command line."""

import os
import sys
from pathlib import Path
from typing import Any

import click
import httpx

from punchcard import processes
from punchcard.cli.options import config_option, data_option, end, port_option, settings_of
from punchcard.client import api as import_api
from punchcard.client import command as import_command
from punchcard.client import journal as import_journal
from punchcard.client import mapping_files
from punchcard.errors import PunchcardError
from punchcard.projects import projects
from punchcard.settings import Settings

CONTACT_S = 5.0


class ServerMissing(PunchcardError):
    """Nothing listens at the address that an import is to go to."""


class CredentialsUnknown(PunchcardError):
    """Neither keys were given, nor are there first-start credentials."""


class CredentialsIncomplete(PunchcardError):
    """One half of a key pair was given: the other half would come from another pair."""


IMPORT_OPTIONS = (
    "file_format", "sort", "dry_run", "resume", "unanswered", "failures", "batch_orders", "batch_bytes",
)  # fmt: skip


def _show_preset(context: click.Context, option: click.Parameter, name: str | None) -> None:
    if name is not None:
        click.echo(mapping_files.preset_text(name), nl=False)
        context.exit()


@click.command("import")
@click.argument("files", nargs=-1, required=True)
@click.option("--url", help="Address of the server.  [default: the server that the settings describe]")
@click.option("--application-id", envvar="PUNCHCARD_APPLICATION_ID", help="X-App-Id.  [default: from DIR]")
@click.option("--application-token", envvar="PUNCHCARD_APPLICATION_TOKEN", help="X-App-Token.  [default: from DIR]")
@click.option("--format", "file_format", help="json, jsonl or csv.  [default: from name or content]")
@click.option("--mapping", type=click.Path(path_type=Path), help="What the columns of CSV files mean (TOML).")
@click.option("--preset", metavar="NAME", help="A shipped mapping: online-retail or shopify.")
@click.option("--show-preset", metavar="NAME", is_eager=True, expose_value=False, callback=_show_preset,
              help="Print a shipped mapping, to start one's own from.")  # fmt: skip
@click.option("--sort", is_flag=True, help="Put lines of an order together that stand apart in the CSV file.")
@click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
@click.option("--resume", is_flag=True, help="Go on where an import of the same files was interrupted.")
@click.option("--unanswered", type=click.Choice(["accepted", "lost"]), help="What became of a request of days ago.")
@click.option("--failures", type=click.Path(path_type=Path), help="Where failed orders go.  [default: beside FILE]")
@click.option("--batch-orders", type=int, default=2000, show_default=True, help="Orders in one request at most.")
@click.option("--batch-bytes", type=int, default=8_000_000, show_default=True, help="Bytes of one request at most.")
@data_option
@port_option
@config_option
def import_files(
    files: tuple[str, ...],
    url: str | None,
    application_id: str | None,
    application_token: str | None,
    mapping: Path | None,
    preset: str | None,
    config: Path | None,
    **arguments: Any,
) -> None:
    """Import orders from FILES.

    A file is a JSON array, JSON Lines, or CSV with a mapping, also as .gz or .xz; `-` reads standard input.
    """
    asked = {name: arguments.pop(name) for name in IMPORT_OPTIONS}
    try:
        found = mapping_files.chosen(mapping, preset)
        options = import_command.Options(mapping=found, state=import_journal.directory(os.environ), **asked)
        settings = settings_of(config, arguments, part="import")
        key, token = _keys(settings, application_id, application_token)
        url = import_api.address(url or settings.local_url)
        _require_server(url)
        status = import_command.run(
            list(files),
            url=url,
            application_id=key,
            application_token=token,
            out=sys.stderr,
            options=options,
        )
    except PunchcardError as error:
        end(str(error), import_command.NOT_DONE)
    except KeyboardInterrupt:  # before the first request, or a second time; click would say "Aborted!"
        status = import_command.INTERRUPTED
    sys.exit(status)


def _keys(settings: Settings, application_id: str | None, application_token: str | None) -> tuple[str, str]:
    """The pair that was given, else that of the first start; never a half of each."""
    if application_id and application_token:
        return application_id, application_token
    if application_id or application_token:
        given, missing = ("id", "token") if application_id else ("token", "id")
        raise CredentialsIncomplete(
            f"The application {given} was given without its {missing}: name --application-{missing}"
            f" or PUNCHCARD_APPLICATION_{missing.upper()} too"
        )
    return _first_keys(settings)


def _first_keys(settings: Settings) -> tuple[str, str]:
    try:
        found = projects.read_credentials(processes.data_directory(settings))
    except projects.CredentialsMissing as error:
        raise CredentialsUnknown(f"Name --application-id and --application-token, or --data DIR. {error}") from None
    return found.application_id, found.application_token


def _require_server(url: str) -> None:
    """Raise `ServerMissing` when nothing listens. Later the client waits: a server may restart during an import."""
    local = {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}  # no proxy leads there
    try:
        with httpx.Client(timeout=CONTACT_S, mounts=local) as http:
            http.get(url)
    except httpx.ConnectError:
        raise ServerMissing(
            f"No server answers at {url}: start `punchcard serve`, or name the server with --url or --port"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL):
        pass  # the client says what is wrong
