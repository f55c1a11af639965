"""`make run`: serve, import the sample history through the API, and say where to look."""

import contextlib
import http.client
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import click
import msgspec

from punchcard import processes
from punchcard.client import samples
from punchcard.db.embedded.processes import never
from punchcard.processes import LOOK_INTERVAL_S, PortTaken, Supervisor
from punchcard.projects import projects
from punchcard.projects.projects import Credentials
from punchcard.settings import Settings

MARK = "sample-imported"
READY_TIMEOUT_S = 5.0
PATIENCE_S = 15.0
IMPORTER_STOP_S = 10.0
PORTS_TRIED = 20
SAMPLE = """\
Importing the sample history: 2,000 invoices of a UK online shop (Online Retail, CC BY 4.0) make 1,874 orders:
139 stock movements are no orders, and 13 invoices longer than an order can hold become two each ..."""


def run(settings: Settings, *, port_is_chosen: bool) -> int:
    """Run until Ctrl-C; the exit status. A port that nobody chose may be another when it is taken."""
    if not port_is_chosen:
        settings = with_free_port(settings)

    def when_started(supervisor: Supervisor) -> None:
        if _wait_until_ready(supervisor, settings.local_url):
            complete = _import_sample(supervisor, settings)
            if not supervisor.is_stopping():
                credentials = projects.read_credentials(supervisor.directory)
                click.echo(_where_to_look(settings.base_url, supervisor.directory, credentials, complete=complete))

    click.echo("Starting PostgreSQL, the API and the workers ...")
    Supervisor(settings).run(when_started=when_started)
    with contextlib.suppress(OSError):  # the terminal may be gone
        click.echo("Stopped. Everything is kept; `make run` continues.")
    return 0


def with_free_port(settings: Settings) -> Settings:
    """The settings with the first port, from theirs upwards, that nobody listens on."""
    for port in range(settings.port, settings.port + PORTS_TRIED):
        with contextlib.suppress(PortTaken), processes.claimed_port(settings.host, port, never):
            if port != settings.port:
                click.echo(f"Port {settings.port} is taken by another program: using {port}.")
            return msgspec.structs.replace(settings, port=port)
    return settings  # refused at start, with the reason


def _wait_until_ready(supervisor: Supervisor, url: str) -> bool:
    """Wait for `/readyz`; false when a signal came first."""
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({})
    )  # no proxy leads to this machine's own address
    patience_ends = time.monotonic() + PATIENCE_S
    while not supervisor.is_stopping():
        supervisor.look_after()
        try:
            with direct.open(f"{url}/readyz", timeout=READY_TIMEOUT_S) as answer:
                if answer.status == 200:
                    return True
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > patience_ends:
                patience_ends = time.monotonic() + PATIENCE_S
                click.echo(f"Still waiting for {url}/readyz: {error}")
        time.sleep(LOOK_INTERVAL_S)
    return False


def _import_sample(supervisor: Supervisor, settings: Settings) -> bool:
    """Import the sample unless an earlier start did. A start that was interrupted repeats it: orders are upserted."""
    mark = supervisor.directory / MARK
    if mark.exists():
        click.echo("The sample history is already there.")
        return True
    click.echo(SAMPLE)
    importer = processes.start_process(
        "import", str(samples.path()), "--data", str(supervisor.directory), "--url", settings.local_url
    )
    try:
        while importer.poll() is None and not supervisor.is_stopping():
            supervisor.look_after()
            time.sleep(LOOK_INTERVAL_S)
    finally:
        _stop_importer(importer)
    if importer.returncode == 0:
        mark.touch()
    return importer.returncode == 0


def _stop_importer(importer: "subprocess.Popen[bytes]") -> None:
    """Have it say how far it got, as Ctrl-C does; does nothing when it has ended."""
    importer.send_signal(signal.SIGINT)
    try:
        importer.wait(IMPORTER_STOP_S)
    except subprocess.TimeoutExpired:
        importer.kill()
        importer.wait()


def _where_to_look(url: str, directory: Path, credentials: Credentials, *, complete: bool) -> str:
    keys = f'-H "X-App-Id: {credentials.application_id}" -H "X-App-Token: {credentials.application_token}"'
    trouble = "" if complete else "\nThe import of the sample history did not complete; the lines above say why.\n"
    return f"""{trouble}
Punchcard is running.

  API            {url}/v1
  Try it         {url}/docs
  Data and keys  {directory}
  X-App-Id       {credentials.application_id}
  X-App-Token    {credentials.application_token}

Two lines to paste:

  curl -s {keys} "{url}/v1/orders?limit=2"
  curl -s {keys} "{url}/v1/customers/17850"

Ctrl-C stops everything.
"""
