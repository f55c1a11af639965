"""The processes of a server: one API process, one worker, and the supervisor that runs them with PostgreSQL.

The supervisor passes all settings to its parts through the environment. A part that dies is started
again, with a limit; a part whose supervisor dies is ended by the kernel.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from granian.constants import Interfaces
from granian.server.embed import Server

from punchcard import app, log
from punchcard.db import embedded, migrate
from punchcard.db.database import connect, refuse_pooling_proxy
from punchcard.errors import PunchcardError
from punchcard.projects import projects
from punchcard.settings import ENVIRONMENT_PREFIX, Settings

LOOK_INTERVAL_S = 0.1
DEATHS_WINDOW_S = 60.0
PORT_FREE_WAIT_S = 5.0
DATABASE_STOP_S = 30.0
PR_SET_PDEATHSIG = 1

logger = log.get(__name__)


class DatabaseNotMigrated(PunchcardError):
    """The database lacks migrations of this version."""


class PortTaken(PunchcardError):
    """Another program listens on the port."""


class PartsKeepDying(PunchcardError):
    """A part of the server died too often."""


class DatabaseUnreachable(PunchcardError):
    """The database at the given address does not answer."""


# ---- one API process, one worker ---------------------------------------------------------------


async def run_api(settings: Settings, dsn: str) -> None:
    """Serve the API until SIGTERM or SIGINT; requests in hand are answered first."""
    await _require_database(dsn)
    server = Server(
        app.build_api(settings, dsn),
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        websockets=False,
        log_enabled=False,
    )
    _on_stop_signal(server.stop)
    await server.serve()


async def run_worker(settings: Settings, dsn: str) -> None:
    """Work until SIGTERM or SIGINT; the portion in hand is ended first."""
    await _require_database(dsn)
    stop = asyncio.Event()
    _on_stop_signal(stop.set)
    await app.build_worker(settings, dsn).run(stop)


def _on_stop_signal(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


async def _require_database(dsn: str) -> None:
    await refuse_pooling_proxy(dsn)
    async with await connect(dsn, part="check") as conn:
        if not await migrate.is_current(conn):
            raise DatabaseNotMigrated("The database lacks migrations of this version: run punchcard migrate")


# ---- everything --------------------------------------------------------------------------------


class Part:
    """A process of ours that is started again when it dies."""

    def __init__(self, role: str, name: str, environment: dict[str, str]) -> None:
        self.role, self.name = role, name
        self._environment = environment
        self._deaths: deque[float] = deque()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches the supervisor alone."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "punchcard", self.role],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 - the supervisor has one thread
        )

    def died(self) -> bool:
        """Whether the process has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def deaths_lately(self) -> int:
        """Note a death, and how many there were within the last minute."""
        now = time.monotonic()
        self._deaths.append(now)
        while self._deaths[0] < now - DEATHS_WINDOW_S:
            self._deaths.popleft()
        return len(self._deaths)

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def arm() -> None:
        libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return arm


class Supervisor:
    """Database, migrations, first credentials, API processes and workers, until SIGTERM or SIGINT."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.directory = embedded.locate(settings.data)
        self._database: embedded.EmbeddedServer | None = None
        self._parts: list[Part] = []
        self._stop = False

    def run(self, *, when_started: Callable[["Supervisor"], None] | None = None) -> None:
        """Run until a signal or until parts keep dying. `when_started` is called once the parts are started."""
        with self._stop_on_signals():
            _refuse_taken_port(self._settings.host, self._settings.port)
            try:
                dsn = self._start_database()
                if self._stop:
                    return
                self._prepare(dsn)
                self._start_parts(dsn)
                if when_started is not None:
                    when_started(self)
                while not self._stop:
                    self.look_after()
                    time.sleep(LOOK_INTERVAL_S)
            finally:
                self._end()

    @property
    def stopping(self) -> bool:
        """Whether a signal asked the server to stop."""
        return self._stop

    def look_after(self) -> None:
        """Start again what has died. Raises `PartsKeepDying`."""
        if self._database is not None and not self._database.alive():
            logger.error("database_died", status=self._database.poll())
            self._database.start(lambda: self._stop)
        for part in self._parts:
            if part.died() and not self._stop:
                assert part.process is not None
                deaths = part.deaths_lately()
                logger.error("part_died", name=part.name, status=part.process.returncode, deaths_lately=deaths)
                if deaths > self._settings.restarts_per_minute_max:
                    raise PartsKeepDying(f"{part.name} died {deaths} times within a minute; the log says why")
                part.start()

    def _start_database(self) -> str:
        settings = self._settings
        if settings.database_url:
            self.directory.mkdir(parents=True, exist_ok=True)
            asyncio.run(_require_reachable(settings.database_url))
            return settings.database_url
        self._database = embedded.EmbeddedServer(
            self.directory,
            version=settings.postgres_version,
            connections_max=settings.postgres_connections_max,
            memory_percent=settings.postgres_memory_percent,
        )
        self._database.start(lambda: self._stop)
        return self._database.dsn

    def _prepare(self, dsn: str) -> None:
        migrate.migrate(dsn)

        async def bootstrap() -> None:
            async with await connect(dsn, part="serve") as conn, conn.transaction():
                await projects.bootstrap(conn, self.directory)

        asyncio.run(bootstrap())

    def _start_parts(self, dsn: str) -> None:
        environment = _environment(self._settings, dsn)
        roles = [("api", self._settings.api_processes), ("worker", self._settings.workers)]
        self._parts = [Part(role, f"{role} {no}", environment) for role, count in roles for no in range(1, count + 1)]
        for part in self._parts:
            part.start()

    def _end(self) -> None:
        """Stop in steps: no new requests and portions, those in hand end, then the database."""
        self._stop = True
        for part in self._parts:
            part.signal(signal.SIGTERM)
        deadline = time.monotonic() + self._settings.stop_seconds_max
        for part in self._parts:
            if part.process is not None:
                try:
                    part.process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    logger.warning("part_killed", name=part.name)
                    part.process.kill()
                    part.process.wait()
        if self._database is not None:
            self._database.stop(DATABASE_STOP_S)

    @contextlib.contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        def stop(*_: object) -> None:
            self._stop = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _environment(settings: Settings, dsn: str) -> dict[str, str]:
    """What a part reads its settings from: every setting as merged and checked here, and the database's address."""
    values = msgspec.structs.asdict(settings) | {"database_url": dsn}
    ours = {ENVIRONMENT_PREFIX + name.upper(): str(value) for name, value in values.items()}
    inherited = {name: value for name, value in os.environ.items() if name not in {"PUNCHCARD_CONFIG", "DATABASE_URL"}}
    return {**inherited, **ours}


async def _require_reachable(dsn: str) -> None:
    try:
        await refuse_pooling_proxy(dsn)
    except OSError as error:
        raise DatabaseUnreachable(f"The database does not answer: {error}") from None


def _refuse_taken_port(host: str, port: int) -> None:
    """Raise `PortTaken` if somebody listens: API processes share their port, so they would not notice by themselves."""
    deadline = time.monotonic() + PORT_FREE_WAIT_S
    while True:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if time.monotonic() > deadline:
                    raise PortTaken(
                        f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port"
                    ) from None
                time.sleep(LOOK_INTERVAL_S)
            else:
                return


def data_directory(settings: Settings) -> Path:
    """The data directory that the settings mean."""
    return embedded.locate(settings.data)
