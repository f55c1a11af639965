"""The command line. What scripts rely on is in docs/reference/commands.md."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import click
import httpx
import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict

from punchcard import __version__, demo, ids, log, processes
from punchcard import settings as configuration
from punchcard.client import api as import_api
from punchcard.client import command as import_command
from punchcard.client import journal as import_journal
from punchcard.client import mapping_files
from punchcard.db import embedded, migrate
from punchcard.db.database import Conn, connect
from punchcard.errors import PunchcardError
from punchcard.metadata_schemas import definitions, metadata_schemas
from punchcard.projects import projects
from punchcard.settings import Settings

ResultT = TypeVar("ResultT")

REFUSED = 1
CONTACT_S = 5.0


class DatabaseAddressMissing(PunchcardError):
    """Neither a database address was given, nor does an embedded server run."""


class DatabaseAddressInvalid(PunchcardError):
    """The database address is not one that PostgreSQL's library understands."""


class ServerMissing(PunchcardError):
    """Nothing listens at the address that an import is to go to."""


class CredentialsUnknown(PunchcardError):
    """Neither keys were given, nor are there first-start credentials."""


class CredentialsIncomplete(PunchcardError):
    """One half of a key pair was given: the other half would come from another pair."""


data_option = click.option("--data", metavar="DIR", help="Directory of the embedded PostgreSQL and the credentials.")
database_option = click.option("--database-url", metavar="DSN", help="A PostgreSQL server of your own (15 or newer).")
port_option = click.option("--port", type=int, help="Port of the API.")
host_option = click.option("--host", help="Address the API listens on.")
config_option = click.option("--config", type=click.Path(path_type=Path), help="A settings file (TOML).")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="punchcard")
def cli() -> None:
    """Punchcard, a self-hosted promotion and loyalty engine."""


def main() -> None:
    """Run the command line; our own errors are one line and exit status 1."""
    try:
        cli()
    except PunchcardError as error:
        _end(str(error), REFUSED)
    except psycopg.Error as error:
        # a refusal carries its SQLSTATE; without one the server was not reached, or its link broke
        what = "refused" if error.sqlstate else "does not answer"
        _end(f"The database {what}: {processes.one_line(error)}", REFUSED)


def _end(text: str, status: int) -> NoReturn:
    click.echo(f"punchcard: {text}", err=True)
    sys.exit(status)


# ---- servers -----------------------------------------------------------------------------------


@cli.command()
@data_option
@database_option
@host_option
@port_option
@config_option
@click.option("--workers", type=int, help="Number of workers.")
def serve(config: Path | None, **arguments: Any) -> None:
    """Run everything: database, migrations, API, workers."""
    settings = _settings(config, arguments, part="serve")
    if not settings.workers:
        text = "imports are accepted and stay unprocessed until a `punchcard worker` runs"
        log.get(__name__).warning("no_workers", consequence=text)

    def tell(supervisor: processes.Supervisor) -> None:
        log.get(__name__).info("serving", url=settings.base_url, data=str(supervisor.directory))

    processes.Supervisor(settings).run(when_started=tell)


@cli.command("demo", hidden=True)
@data_option
@port_option
@config_option
def demo_command(config: Path | None, **arguments: Any) -> None:
    """Run everything and import the sample history (`make run`)."""
    quiet = {} if "PUNCHCARD_LOG_LEVEL" in os.environ else {"log_level": "warning"}
    settings = _settings(config, quiet | arguments, part="serve")
    chosen = arguments["port"] is not None or "PUNCHCARD_PORT" in os.environ
    chosen = chosen or settings.port != configuration.load(environment={}).port
    sys.exit(demo.run(settings, port_is_chosen=chosen))


@cli.command()
@database_option
@host_option
@port_option
@config_option
def api(config: Path | None, **arguments: Any) -> None:
    """Run one API process against a database that `migrate` has prepared."""
    settings = _settings(config, arguments, part="api")
    asyncio.run(processes.run_api(settings, _required_dsn(settings)))


@cli.command()
@database_option
@config_option
def worker(config: Path | None, **arguments: Any) -> None:
    """Run one worker against a database that `migrate` has prepared."""
    settings = _settings(config, arguments, part="worker")
    asyncio.run(processes.run_worker(settings, _required_dsn(settings)))


@cli.command("migrate")
@data_option
@database_option
@config_option
def migrate_command(config: Path | None, **arguments: Any) -> None:
    """Bring the database's tables to this version."""
    names = migrate.migrate(_dsn(_settings(config, arguments, part="migrate")))
    click.echo(f"applied {', '.join(names)}" if names else "nothing to apply")


# ---- keys and addresses ------------------------------------------------------------------------


@cli.command()
@data_option
@config_option
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
def credentials(config: Path | None, as_json: bool, **arguments: Any) -> None:
    """Print the keys that the first start made."""
    settings = _settings(config, arguments, part="cli")
    found = projects.read_credentials(processes.data_directory(settings))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        for name, value in msgspec.structs.asdict(found).items():
            click.echo(f"{name:<24}{value}")


@cli.command("database-url")
@data_option
@config_option
def database_url(config: Path | None, **arguments: Any) -> None:
    """Print the DSN of the running embedded PostgreSQL."""
    click.echo(_running_dsn(_settings(config, arguments, part="cli"), "start `punchcard serve`"))


@cli.group("projects")
def projects_group() -> None:
    """Projects."""


@projects_group.command("create")
@click.argument("name")
@data_option
@database_option
@config_option
def projects_create(name: str, config: Path | None, **arguments: Any) -> None:
    """Create a project and print its id."""
    if not name.strip():
        raise click.BadParameter("a project needs a name", param_hint="NAME")
    dsn = _dsn(_settings(config, arguments, part="cli"))
    click.echo(_in_transaction(dsn, lambda conn: projects.create_project(conn, name)))


@projects_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
@data_option
@database_option
@config_option
def projects_list(as_json: bool, config: Path | None, **arguments: Any) -> None:
    """Print all projects, the oldest first: id, zone, metadata key of the order date, name."""
    found = _in_transaction(_dsn(_settings(config, arguments, part="cli")), projects.list_projects)
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
    dsn = _dsn(_settings(config, arguments, part="cli"))
    found = _in_transaction(dsn, lambda conn: projects.get_project(conn, project_id))
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
    dsn = _dsn(_settings(config, arguments, part="cli"))
    updated = _in_transaction(
        dsn,
        lambda conn: projects.update_project(
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
        click.echo(f"{'redating':<16}{updated.redating_action_id}")


def _echo_project(project: projects.Project) -> None:
    for name, value in msgspec.to_builtins(project).items():
        click.echo(f"{name:<16}{value}")


@cli.group("keys")
def keys_group() -> None:
    """Key pairs of a project."""


@keys_group.command("create")
@click.option("--project", required=True, metavar="ID", help="The project's id.")
@click.option("--name", default="Command line", show_default=True, help="What the pair is for.")
@data_option
@database_option
@config_option
def keys_create(project: str, name: str, config: Path | None, **arguments: Any) -> None:
    """Create a server-side key pair and print it; the token is shown this once."""
    dsn = _dsn(_settings(config, arguments, part="cli"))
    pair = _in_transaction(dsn, lambda conn: projects.create_key(conn, project, name=name))
    click.echo(f"application_id     {pair.id}\napplication_token  {pair.token}")


# ---- metadata schemas --------------------------------------------------------------------------

project_option = click.option("--project", required=True, metavar="ID", help="The project's id.")


@cli.group("metadata-schemas")
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
    dsn = _dsn(_settings(config, arguments, part="cli"))
    given = definitions.read_file(file.read())

    async def work(conn: Conn) -> metadata_schemas.Applied:
        await projects.require_project(conn, project)
        return await metadata_schemas.apply(conn, project, given)

    for effect, names in msgspec.structs.asdict(_in_transaction(dsn, work)).items():
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

    found = _in_transaction(_dsn(_settings(config, arguments, part="cli")), work)
    click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())


# ---- the import client -------------------------------------------------------------------------


IMPORT_OPTIONS = (
    "file_format", "sort", "dry_run", "resume", "unanswered", "failures", "batch_orders", "batch_bytes",
)  # fmt: skip


def _show_preset(context: click.Context, option: click.Parameter, name: str | None) -> None:
    if name is not None:
        click.echo(mapping_files.preset_text(name), nl=False)
        context.exit()


@cli.command("import")
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
        settings = _settings(config, arguments, part="import")
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
        _end(str(error), import_command.NOT_DONE)
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


# ---- shared ------------------------------------------------------------------------------------


def _settings(config: Path | None, arguments: dict[str, Any], *, part: str) -> Settings:
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


def _required_dsn(settings: Settings) -> str:
    if not settings.database_url:
        raise DatabaseAddressMissing(
            "Name the database with --database-url or DATABASE_URL; `punchcard serve` brings its own"
        )
    return settings.database_url


def _dsn(settings: Settings) -> str:
    return settings.database_url or _running_dsn(settings, "start `punchcard serve`, or name --database-url")


def _running_dsn(settings: Settings, advice: str) -> str:
    directory = processes.data_directory(settings)
    dsn = embedded.running_dsn(directory)
    if dsn is None:
        raise DatabaseAddressMissing(f"No embedded PostgreSQL runs in {directory}: {advice}")
    return dsn


def _in_transaction(dsn: str, work: Callable[[Conn], Awaitable[ResultT]]) -> ResultT:
    async def run() -> ResultT:
        async with await connect(dsn, part="cli") as conn, conn.transaction():
            await processes.require_migrated(conn)
            return await work(conn)

    return asyncio.run(run())
