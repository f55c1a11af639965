"""Commands that run the parts of a server, and those that say where it is and with which keys."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from punchcard import demo, log, processes
from punchcard import settings as configuration
from punchcard.cli.options import (
    config_option,
    data_option,
    database_option,
    dsn_of,
    host_option,
    port_option,
    required_dsn,
    running_dsn,
    settings_of,
)
from punchcard.db import migrate
from punchcard.events import partitions
from punchcard.projects import projects


@click.command()
@data_option
@database_option
@host_option
@port_option
@config_option
@click.option("--workers", type=int, help="Number of workers.")
def serve(config: Path | None, **arguments: Any) -> None:
    """Run everything: database, migrations, API, workers."""
    settings = settings_of(config, arguments, part="serve")
    if not settings.workers:
        text = "imports are accepted and stay unprocessed until a `punchcard worker` runs"
        log.get(__name__).warning("no_workers", consequence=text)

    def tell(supervisor: processes.Supervisor) -> None:
        log.get(__name__).info("serving", url=settings.base_url, data=str(supervisor.directory))

    processes.Supervisor(settings).run(when_started=tell)


@click.command("demo", hidden=True)
@data_option
@port_option
@config_option
def demo_command(config: Path | None, **arguments: Any) -> None:
    """Run everything and import the sample history (`make run`)."""
    quiet = {} if "PUNCHCARD_LOG_LEVEL" in os.environ else {"log_level": "warning"}
    settings = settings_of(config, quiet | arguments, part="serve")
    chosen = arguments["port"] is not None or "PUNCHCARD_PORT" in os.environ
    chosen = chosen or settings.port != configuration.load(environment={}).port
    sys.exit(demo.run(settings, port_is_chosen=chosen))


@click.command()
@database_option
@host_option
@port_option
@config_option
def api(config: Path | None, **arguments: Any) -> None:
    """Run one API process against a database that `migrate` has prepared."""
    settings = settings_of(config, arguments, part="api")
    asyncio.run(processes.run_api(settings, required_dsn(settings)))
    # all is closed; a thread of the HTTP server that comes back while Python takes itself down would abort the process
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@click.command()
@database_option
@config_option
def worker(config: Path | None, **arguments: Any) -> None:
    """Run one worker against a database that `migrate` has prepared."""
    settings = settings_of(config, arguments, part="worker")
    asyncio.run(processes.run_worker(settings, required_dsn(settings)))


@click.command("migrate")
@data_option
@database_option
@config_option
def migrate_command(config: Path | None, **arguments: Any) -> None:
    """Bring the database's tables to this version."""
    dsn = dsn_of(settings_of(config, arguments, part="migrate"))
    names = migrate.migrate(dsn)
    asyncio.run(partitions.prepare(dsn))
    click.echo(f"applied {', '.join(names)}" if names else "nothing to apply")


@click.command()
@data_option
@config_option
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
def credentials(config: Path | None, as_json: bool, **arguments: Any) -> None:
    """Print the keys that the first start made."""
    settings = settings_of(config, arguments, part="cli")
    found = projects.read_credentials(processes.data_directory(settings))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        for name, value in msgspec.structs.asdict(found).items():
            click.echo(f"{name:<24}{value}")


@click.command("database-url")
@data_option
@config_option
def database_url(config: Path | None, **arguments: Any) -> None:
    """Print the DSN of the running embedded PostgreSQL."""
    click.echo(running_dsn(settings_of(config, arguments, part="cli"), "start `punchcard serve`"))
