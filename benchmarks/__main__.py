"""`make bench`: measure, print, and write the figures with the machine they came from to benchmarks/results.

`python -m benchmarks imports growth` runs only what it names.
"""

import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks import growth, history, imports, machine, serving
from benchmarks.stored import Stored
from punchcard import log
from punchcard import settings as configuration
from punchcard.db import migrate
from punchcard.db.embedded import EmbeddedServer
from punchcard.settings import Settings
from tests.deployment import Deployment

ROUNDS = 7
STORED = Stored(1_000_000, 750_000)
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    settings = configuration.load(environment={}, arguments={"log_level": "warning"})
    log.configure(settings, part="bench")
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no benchmark is named {unknown[0]}: {', '.join(BENCHMARKS)} are")
    RESULTS.mkdir(exist_ok=True)
    for name in names:
        text = BENCHMARKS[name](settings)
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        (RESULTS / f"{name}.md").write_text(text)


# ---- what runs ---------------------------------------------------------------------------------


def _imports(settings: Settings) -> str:
    with _server(settings) as dsn:
        measured = asyncio.run(imports.measure(dsn, settings, rounds=ROUNDS))
        what = (
            f"{imports.ORDERS:,} orders of 5 items, {imports.CUSTOMERS:,} customers, {imports.PRODUCTS} products with"
            f" `override`; medians of {len(measured)} rounds, ratios round by round (lowest to highest)."
            " Time from claim to commit."
        )
        rows = _table(("what", "median", "times the bare COPY"), imports.table(measured))
        return _page("Import of orders", what, rows, dsn)


def _growth(settings: Settings) -> str:
    sizes = growth.Sizes(rounds=ROUNDS)
    with _server(settings) as dsn:
        measured = asyncio.run(growth.measure(dsn, settings, sizes))
        what = (
            f"{sizes.orders:,} new orders of 5 items, {sizes.customers:,} customers, {sizes.products} products with"
            f" `override`, into projects that have orders already; medians of {sizes.rounds} rounds, in which the"
            " projects take turns, ratios round by round (lowest to highest). Time from claim to commit."
        )
        rows = _table(("into", "median", "rate relative to the empty project"), growth.table(measured, sizes))
        return _page("Import into projects that grow", what, rows, dsn)


def _serving(_: Settings) -> str:
    sizes = serving.Sizes(STORED, rounds=ROUNDS)
    with _deployment() as deployment:
        figures = serving.measure(deployment, sizes)
        what = (
            f"`punchcard serve` on loopback with its default settings; {sizes.stored.orders:,} orders and"
            f" {sizes.stored.customers:,} customers stored. One connection sends one request after the other;"
            f" {sizes.rounds} rounds, ratios round by round (lowest to highest)."
            f" An import has {sizes.orders:,} orders of 5 items, {figures.body_bytes / 1e6:.1f} MB."
        )
        reads = _table(("what", "requests/s", "p50", "p99", "p50, times that of `/healthz`"), serving.table(figures))
        accepting = _table(("what", "median", "times json.loads"), serving.accept_table(figures))
        return _page("Requests", what, [*reads, "", *accepting], deployment.dsn)


def _history(_: Settings) -> str:
    with _deployment() as deployment:
        found = history.measure(deployment)
        what = "The whole Online Retail history through `punchcard import`, once, into a server just started."
        return _page("A whole history", what, _table(("what", "figure"), history.table(found)), deployment.dsn)


BENCHMARKS: dict[str, Callable[[Settings], str]] = {
    "imports": _imports,
    "growth": _growth,
    "serving": _serving,
    "history": _history,
}


@contextlib.contextmanager
def _server(settings: Settings) -> Iterator[str]:
    """The DSN of a PostgreSQL with our tables and no workers."""
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
        yield server.dsn
    finally:
        server.stop(30)
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _deployment() -> Iterator[Deployment]:
    """`punchcard serve` with everything it starts."""
    deployment = Deployment(settings={"log_level": "warning"})
    try:
        yield deployment.start()
    finally:
        deployment.close()


# ---- pages -------------------------------------------------------------------------------------


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def _page(title: str, what: str, tables: Sequence[str], dsn: str) -> str:
    with psycopg.connect(dsn) as conn:
        about = machine.describe(conn)
    lines = [
        f"# {title}",
        "",
        what,
        "",
        *tables,
        "",
        f"Measured with `make bench` on {datetime.now(UTC):%Y-%m-%d}:",
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
