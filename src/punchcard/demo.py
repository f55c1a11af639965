"""`make run`: serve, import the sample history through the API, and say where to look."""

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import click

from punchcard.client import samples
from punchcard.processes import LOOK_INTERVAL_S, Supervisor
from punchcard.projects import projects
from punchcard.projects.projects import Credentials
from punchcard.settings import Settings

MARK = "sample-imported"
READY_TIMEOUT_S = 5.0


def run(settings: Settings) -> int:
    """Run until Ctrl-C; the exit status."""

    def when_started(supervisor: Supervisor) -> None:
        if _wait_until_ready(supervisor, settings.base_url):
            complete = _import_sample(supervisor, settings)
            if not supervisor.stopping:
                credentials = projects.read_credentials(supervisor.directory)
                click.echo(_where_to_look(settings.base_url, supervisor.directory, credentials, complete=complete))

    click.echo("Starting PostgreSQL, the API and the workers ...")
    Supervisor(settings).run(when_started=when_started)
    click.echo("Stopped. Everything is kept; `make run` continues.")
    return 0


def _wait_until_ready(supervisor: Supervisor, url: str) -> bool:
    while not supervisor.stopping:
        supervisor.look_after()
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=READY_TIMEOUT_S) as answer:  # noqa: S310 - our own address
                if answer.status == 200:
                    return True
        except OSError:
            time.sleep(LOOK_INTERVAL_S)
    return False


def _import_sample(supervisor: Supervisor, settings: Settings) -> bool:
    """Import the sample unless an earlier start did. A start that was interrupted repeats it: orders are upserted."""
    mark = supervisor.directory / MARK
    if mark.exists():
        click.echo("The sample history is already there.")
        return True
    click.echo("Importing the sample history: 2,000 invoices of a UK online shop (Online Retail, CC BY 4.0) ...")
    arguments = ["import", str(samples.path()), "--data", str(supervisor.directory), "--url", settings.base_url]
    importer = subprocess.Popen([sys.executable, "-m", "punchcard", *arguments])
    while importer.poll() is None:
        supervisor.look_after()
        if supervisor.stopping:
            importer.wait()
            return False
        time.sleep(LOOK_INTERVAL_S)
    if importer.returncode == 0:
        mark.touch()
    return importer.returncode == 0


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
