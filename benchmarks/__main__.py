"""`make bench`: measure, print, and write the figures with the machine they came from to benchmarks/results."""

import asyncio
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks import imports, machine
from punchcard import log
from punchcard import settings as configuration
from punchcard.db import migrate
from punchcard.db.embedded import EmbeddedServer

ROUNDS = 7
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    settings = configuration.load(environment={}, arguments={"log_level": "warning"})
    log.configure(settings, part="bench")
    directory = Path(tempfile.mkdtemp(prefix="punchcard-bench-"))
    directory.chmod(0o755)
    server = EmbeddedServer(
        directory / "data",
        version=settings.postgres_version,
        connections_max=settings.postgres_connections_max,
        memory_percent=settings.postgres_memory_percent,
    )
    try:
        server.start()
        migrate.migrate(server.dsn)
        with psycopg.connect(server.dsn) as conn:
            about = machine.describe(conn)
        measured = asyncio.run(imports.measure(server.dsn, settings, rounds=ROUNDS))
    finally:
        server.stop(30)
        shutil.rmtree(directory, ignore_errors=True)
    text = _page(about, measured)
    sys.stdout.write(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "imports.md").write_text(text)


def _page(about: dict[str, str], measured: list[imports.Round]) -> str:
    what = (
        f"{imports.ORDERS:,} orders of 5 items, {imports.CUSTOMERS:,} customers, {imports.PRODUCTS} products with"
        f" `override`; medians of {len(measured)} rounds, ratios round by round (lowest to highest)."
        " Time from claim to commit."
    )
    lines = [
        "# Import of orders",
        "",
        what,
        "",
        "| what | median | times the bare COPY |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in imports.table(measured)),
        "",
        f"Measured with `make bench` on {datetime.now(UTC):%Y-%m-%d}:",
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
