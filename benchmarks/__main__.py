"""`make bench`: measure, print, and write the figures with the machine they came from to benchmarks/results.

`python -m benchmarks imports growth` runs only what it names.
"""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks import (
    campaigns,
    claims,
    fairness,
    flood,
    growth,
    history,
    imports,
    machine,
    ongoing,
    queue,
    reactions,
    segments,
    serving,
)
from benchmarks.stored import Stored
from punchcard import log
from punchcard import settings as configuration
from punchcard.db import migrate
from punchcard.db.embedded import EmbeddedServer
from punchcard.settings import Settings
from tests.deployment import Deployment

ROUNDS = 7
STORED = Stored(1_000_000, 750_000)
# how many portions make the churn before claims are measured again; 100000 take several minutes
CHURN = "PUNCHCARD_BENCH_PORTIONS"
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


def _campaigns(_: Settings) -> str:
    sizes = campaigns.Sizes()
    with _deployment() as deployment:
        figures = campaigns.measure(deployment, sizes)
        what = (
            f"`punchcard serve` with its default settings. One campaign of {sizes.vouchers:,} codes, and COPY of its"
            f" rows in the same round; medians of {sizes.rounds} rounds, ratios round by round (lowest to highest)."
            " Then many campaigns, created one after the other; times from the last one's acceptance. A round is one"
            " portion of each."
        )
        generation = _table(("what", "median", "times the bare COPY"), campaigns.table(figures, sizes))
        shared = _table(campaigns.SHARED_HEADING, campaigns.shared_table(figures))
        return _page("Campaigns", what, [*generation, "", *shared], deployment.dsn)


def _queue(settings: Settings) -> str:
    sizes = queue.Sizes()
    with _server(settings) as dsn:
        figures = asyncio.run(queue.measure(dsn, sizes))
        what = (
            f"Jobs of one record that do nothing: {sizes.jobs:,} in {sizes.lanes:,} lanes (a lane is a project here, a"
            f" lock of procrastinate there), {sizes.jobs_of_one_lane} in one. {sizes.processes} worker processes each,"
            f" on the same server; medians of {sizes.rounds} rounds in turn, ratios round by round (lowest to highest)."
            f" {queue.tried(figures)} In one lane it is 1."
        )
        rates = _table(queue.HEADING, queue.table(figures, sizes))
        starts = _table(queue.START_HEADING, queue.start_table(figures))
        return _page("Empty jobs", what, [*rates, "", *starts], dsn)


def _claims(settings: Settings) -> str:
    sizes = claims.Sizes(portions=int(os.environ.get(CHURN, "10000")))
    with _server(settings) as dsn:
        places = asyncio.run(claims.measure(dsn, settings, sizes))
        what = (
            "A turn of a worker, from the start of one portion to the start of the next, when portions do nothing."
            f" {sizes.waiting:,} jobs wait. Before, and after {sizes.portions:,} portions (`{CHURN}` sets how many)"
            " with a REPEATABLE READ snapshot open since before them. Half of the lanes are round_robin lanes, with two"
            f" endless jobs each. The quiet place has {min(sizes.lanes)} lanes, {sizes.quiet_waiting:,} jobs and no"
            f" snapshot. The places take turns, {sizes.rounds} times {sizes.turns}."
        )
        return _page("Claims", what, _table(claims.HEADING, claims.table(places)), dsn)


def _fairness(settings: Settings) -> str:
    simulated, real = fairness.Sizes(), flood.Sizes()
    pairs = fairness.measure(simulated)
    with _server(settings) as dsn:
        measured = asyncio.run(flood.measure(dsn, real))
        most = max(map(fairness.most_served, pairs.values()))
        what = (
            f"{simulated.mix.projects:,} projects with jobs of one portion, Zipf; in every other run the first one"
            f" floods the queue, with {simulated.flood:,} jobs (real: {real.flood:,}). Waits of the others' jobs from"
            " commit to start. A round is lanes with work / workers x portion, the mean when jobs of the others arrive."
            f" Simulated: {simulated.seeds} seeds, {simulated.mix.jobs:,} jobs each, portions of 125 to 375 ms."
            f" Real: {real.rounds} pairs of runs, {real.mix.jobs} jobs each, {real.mix.workers} worker processes,"
            f" portions of {real.mix.portion_s * 500:.0f} to {real.mix.portion_s * 1500:.0f} ms, a turn"
            f" {measured.turn_s * 1000:.0f} ms. While a lane had a job ready, another got {most} portions at most"
            f" (simulated), {fairness.most_served(measured.pairs)} (real)."
        )
        rows = [row for load, found in pairs.items() for row in fairness.rows(f"simulated, load {load}", found)]
        rows += fairness.rows(f"real, load {real.mix.load}", measured.pairs)
        return _page("Fairness", what, _table(fairness.HEADING, rows), dsn)


def _ongoing(_: Settings) -> str:
    sizes = ongoing.Sizes()
    # the bare client takes as many sessions as connections
    with _deployment(postgres_connections_max=200) as deployment:
        figures = ongoing.measure(deployment, sizes)
        what = (
            "`punchcard serve` with its default settings (but 200 sessions): new orders of 5 items of"
            f" {sizes.customers:,} customers who exist, {sizes.seconds:.0f} s of load a turn; medians of {sizes.rounds}"
            " rounds, ratios round by round"
            " (lowest to highest). The bare client commits the same rows, events and outbox included, and reads none."
            f" Then 16 connections while {figures.imports} imports of {sizes.orders:,} orders of the same customers and"
            " products ran one after the other."
        )
        rows = _table(ongoing.HEADING, ongoing.table(figures))
        beside = _table(ongoing.BESIDE_HEADING, ongoing.beside_table(figures))
        return _page("Orders one by one", what, [*rows, "", *beside], deployment.dsn)


def _reactions(settings: Settings) -> str:
    sizes = reactions.Sizes()
    with _server(settings) as dsn:
        figures = asyncio.run(reactions.measure(dsn, settings, sizes))
        what = (
            f"{sizes.events:,} events of one project wait in the outbox, {sizes.rounds} rounds, median (lowest to"
            f" highest); then {sizes.single} single ones, from the commit of an event to the commit of what follows."
        )
        return _page("Reactions", what, _table(("what", "figure"), reactions.table(figures)), dsn)


def _segments(settings: Settings) -> str:
    sizes = segments.Sizes()
    with _server(settings) as dsn:
        figures = asyncio.run(segments.measure(dsn, settings, sizes))
        what = (
            f"One worker. Imports of {segments.ORDERS:,} new orders of as many customers who are there, of whom one in"
            f" {segments.CHANGING} changes its membership, from acceptance until inbox and outbox are empty, relative"
            f" to no segments. Passes over {sizes.changed:,} changed customers with 10 segments, relative to the"
            f" smallest project. {sizes.single} single changes in the middle one, from commit to commit. Population of"
            f" a segment in the largest one, relative to the SELECT. Medians of {sizes.rounds} rounds (populations:"
            f" {sizes.populations}), in turn, ratios round by round (lowest to highest)."
        )
        return _page("Segments", what, _table(segments.HEADING, segments.table(figures)), dsn)


BENCHMARKS: dict[str, Callable[[Settings], str]] = {
    "imports": _imports,
    "growth": _growth,
    "serving": _serving,
    "history": _history,
    "campaigns": _campaigns,
    "queue": _queue,
    "claims": _claims,
    "fairness": _fairness,
    "ongoing": _ongoing,
    "reactions": _reactions,
    "segments": _segments,
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
def _deployment(**settings: object) -> Iterator[Deployment]:
    """`punchcard serve` with everything it starts."""
    deployment = Deployment(settings={"log_level": "warning", **settings})
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
