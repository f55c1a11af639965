"""The processes of a server: one API process, one worker, and the supervisor that runs them with PostgreSQL.

The supervisor passes all settings to its parts through the environment. A part that dies is started
again, with a limit; a part whose supervisor dies is ended by the kernel. A part that cannot reach the
database waits for it: dying would only use up the limit.
"""

import asyncio
import contextlib
import ctypes
import errno
import faulthandler
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
import psycopg
from psycopg import pq

from punchcard import log, secret_key
from punchcard.db import embedded, migrate
from punchcard.db.database import Conn, connect, conninfo, refuse_pooling_proxy
from punchcard.db.embedded.refusals import acting_on
from punchcard.errors import PunchcardError
from punchcard.events import partitions
from punchcard.projects import projects
from punchcard.settings import ENVIRONMENT_PREFIX, Settings

LOOK_INTERVAL_S = 0.1
DEATHS_WINDOW_S = 60.0
PORT_FREE_WAIT_S = 2.0
DATABASE_STOP_S = 30.0
DATABASE_RETRY_S = 0.5
DATABASE_CHECK_S = 30.0
DATABASE_REPORT_S = 10.0
# A server that takes connections and refuses ours: perhaps it has none left, more likely the address is wrong.
DATABASE_REFUSALS_MAX = 5
WORKER_HUNG_S = 60.0
PR_SET_PDEATHSIG = 1
# -P: a file of the user's in the working directory must not stand in for a module of Python's
PUNCHCARD = (sys.executable, "-P", "-m", "punchcard")

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
    """Serve the API until SIGTERM or SIGINT; requests in hand are answered first, those that wait at once."""
    # here, because it takes most of a second, and the supervisor and most commands have no use for it
    from granian.constants import Interfaces  # noqa: PLC0415
    from granian.server.embed import Server  # noqa: PLC0415

    from punchcard import app  # noqa: PLC0415

    stop = _stop_event()
    if not await _database_ready(dsn, stop):
        return
    if not settings.secret_key:
        directory = data_directory(settings)
        settings = with_secret_key(settings, directory)
        text = "links to reports open at processes with this file only; give all of them one PUNCHCARD_SECRET_KEY"
        logger.warning("secret_key_from_file", file=str(directory / secret_key.FILE), consequence=text)
    _until_free(
        lambda: _probe_port(settings.host, settings.port, shared=True), settings.host, settings.port, stop.is_set
    )
    server = Server(
        app.build_api(settings, dsn, stop),
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        websockets=False,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.stop()  # type: ignore[no-untyped-call]
    await serving


async def run_worker(settings: Settings, dsn: str) -> None:
    """Work until SIGTERM or SIGINT; the portion in hand is ended first."""
    from punchcard import app  # noqa: PLC0415 - as above

    stop = _stop_event()
    if await _database_ready(dsn, stop):
        guard = asyncio.create_task(_end_when_hung())
        await app.build_worker(settings, dsn).run(stop)
        guard.cancel()
        faulthandler.cancel_dump_traceback_later()


async def _end_when_hung() -> None:
    """End the process, with its stack in the log, when its event loop stands still for a minute.

    Another worker has its lane by then; without this, a hung process would be one worker less for ever.
    """
    while True:
        faulthandler.dump_traceback_later(WORKER_HUNG_S, exit=True)
        await asyncio.sleep(WORKER_HUNG_S / 4)


def _stop_event() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _database_ready(dsn: str, stop: asyncio.Event) -> bool:
    """Wait until the database answers; false when `stop` came first.

    There is no time limit while it is down or starts: recovery after a crash can take long. Raises what
    waiting does not mend: an address that the server refuses, missing migrations, a pooling proxy.
    """
    stopping = asyncio.create_task(stop.wait())
    waiting = asyncio.create_task(_database_answers(dsn))
    await asyncio.wait({stopping, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        return False
    stopping.cancel()
    waiting.result()
    return True


async def _database_answers(dsn: str) -> None:
    refusals, reported_at = 0, -DATABASE_REPORT_S
    while True:
        try:
            await _require_database(dsn)
        except (psycopg.OperationalError, TimeoutError) as error:
            ping = await asyncio.to_thread(pq.PGconn.ping, conninfo(dsn, part="check").encode())
            refusals = refusals + 1 if ping == pq.Ping.OK else 0
            if refusals >= DATABASE_REFUSALS_MAX:
                raise
            if time.monotonic() - reported_at >= DATABASE_REPORT_S:
                reported_at = time.monotonic()
                logger.warning("database_awaited", server=pq.Ping(ping).name.lower(), cause=one_line(error))
        else:
            return
        await asyncio.sleep(DATABASE_RETRY_S)


async def _require_database(dsn: str) -> None:
    # a link that dies without a word would be waited for as long as the process lives
    async with asyncio.timeout(DATABASE_CHECK_S):
        await refuse_pooling_proxy(dsn)
        async with await connect(dsn, part="check") as conn:
            await require_migrated(conn)


async def require_migrated(conn: Conn) -> None:
    """Raise `DatabaseNotMigrated` when migrations of this version are missing."""
    if not await migrate.is_current(conn):
        raise DatabaseNotMigrated("The database lacks migrations of this version: run punchcard migrate")


def one_line(error: BaseException) -> str:
    """The text of an error of PostgreSQL's library without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


# ---- everything --------------------------------------------------------------------------------


class Deaths:
    """How often something died within the last minute."""

    def __init__(self) -> None:
        self._at: deque[float] = deque()

    def note(self) -> int:
        """Note a death, and how many there were within the last minute."""
        now = time.monotonic()
        self._at.append(now)
        while self._at[0] < now - DEATHS_WINDOW_S:
            self._at.popleft()
        return len(self._at)


class Part:
    """A process of ours that is started again when it dies."""

    def __init__(self, role: str, name: str, environment: dict[str, str]) -> None:
        self.role, self.name = role, name
        self._environment = environment
        self.deaths = Deaths()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches the supervisor alone."""
        self.process = start_process(self.role, environment=self._environment)

    def died(self) -> bool:
        """Whether the process has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


def start_process(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start another `punchcard` in a session of its own; the kernel ends it when this process dies."""
    return subprocess.Popen(
        [*PUNCHCARD, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_parent(),  # noqa: PLW1509 - the supervisor has one thread
    )


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
        self._database_deaths = Deaths()
        self._parts: list[Part] = []
        self._stop = False

    def run(self, *, when_started: Callable[["Supervisor"], None] | None = None) -> None:
        """Run until a signal or until parts keep dying. `when_started` is called once the parts are started."""
        with self._stop_on_signals(), claimed_port(self._settings.host, self._settings.port, self.is_stopping):
            try:
                self._start()
                if when_started is not None and not self._stop:
                    when_started(self)
                while not self._stop:
                    self.look_after()
                    time.sleep(LOOK_INTERVAL_S)
            finally:
                self._end()

    def is_stopping(self) -> bool:
        """Whether a signal asked the server to stop."""
        return self._stop

    def look_after(self) -> None:
        """Start again what has died. Raises `PartsKeepDying`."""
        if self._database is not None and not self._database.alive() and not self._stop:
            deaths = self._database_deaths.note()
            logger.error("database_died", status=self._database.poll(), deaths_lately=deaths)
            self._refuse_many("PostgreSQL", deaths, f"{self.directory / 'postgres.log'} says why")
            try:
                self._database.start(self.is_stopping)
            except embedded.PostgresFailed as error:
                # killed in its recovery, perhaps: the next look counts that as another death
                logger.error("database_not_started", cause=one_line(error))
                return
        for part in self._parts:
            if part.died() and not self._stop:
                assert part.process is not None
                deaths = part.deaths.note()
                logger.error("part_died", name=part.name, status=part.process.returncode, deaths_lately=deaths)
                self._refuse_many(part.name, deaths, "its lines above say why")
                part.start()

    def _refuse_many(self, name: str, deaths: int, advice: str) -> None:
        if deaths > self._settings.restarts_per_minute_max:
            times = "once" if deaths == 1 else f"{deaths} times"
            raise PartsKeepDying(
                f"{name} died {times} within a minute, more than restarts_per_minute_max"
                f" = {self._settings.restarts_per_minute_max} allows; {advice}"
            )

    def _start(self) -> None:
        """Each step only while no signal asked us to stop."""
        dsn = "" if self._stop else self._start_database()
        if not self._stop:
            migrate.migrate(dsn, self.is_stopping)
        if not self._stop:
            asyncio.run(self._bootstrap(dsn))
        if not self._stop:
            self._settings = with_secret_key(self._settings, self.directory)
            self._start_parts(dsn)

    def _start_database(self) -> str:
        settings = self._settings
        if settings.database_url:
            with acting_on(self.directory):
                self.directory.mkdir(parents=True, exist_ok=True)
            asyncio.run(_require_reachable(settings.database_url))
            return settings.database_url
        self._database = embedded.EmbeddedServer(
            self.directory,
            version=settings.postgres_version,
            connections_max=settings.postgres_connections_max,
            memory_percent=settings.postgres_memory_percent,
        )
        self._database.start(self.is_stopping)
        return self._database.dsn

    async def _bootstrap(self, dsn: str) -> None:
        async with await connect(dsn, part="serve") as conn:
            await partitions.make_ahead(conn)
            async with conn.transaction():
                await projects.bootstrap(conn, self.directory)

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

        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: the terminal may go, we stay
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, stop) for number in numbers}
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
    except (psycopg.OperationalError, OSError) as error:
        raise DatabaseUnreachable(f"The database at the given address does not answer: {one_line(error)}") from None


@contextlib.contextmanager
def claimed_port(host: str, port: int, stop_requested: Callable[[], bool]) -> Iterator[None]:
    """Raise `PortTaken` if somebody listens, or another supervisor is about to.

    API processes share their port, so they would not notice by themselves. Until they listen, an abstract
    socket with the port's name stands for it: the kernel frees it with its process.
    """
    with contextlib.ExitStack() as stack:
        _until_free(lambda: _probe_port(host, port), host, port, stop_requested)
        if sys.platform == "linux":
            claim = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            _until_free(lambda: claim.bind(f"\0punchcard {host} {port}"), host, port, stop_requested)
        yield


def _until_free(bind: Callable[[], None], host: str, port: int, stop_requested: Callable[[], bool]) -> None:
    """Bind; wait a moment for a server that is just ending."""
    deadline = time.monotonic() + PORT_FREE_WAIT_S
    while not stop_requested():
        try:
            bind()
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(LOOK_INTERVAL_S)
                continue
            advice = {
                errno.EADDRINUSE: "another program listens there; choose another port (--port, PUNCHCARD_PORT)",
                errno.EACCES: "only root may use it; choose a port above 1023 (--port, PUNCHCARD_PORT)",
            }.get(error.errno or 0, f"{error.strerror}; name another address (--host, --port)")
            raise PortTaken(f"Cannot listen on {host}:{port}: {advice}") from None
        return


def _probe_port(host: str, port: int, *, shared: bool = False) -> None:
    """Bind and let go; `shared` with others who share the port, as API processes do."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was closed a moment ago is free
        if shared:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(address)


def with_secret_key(settings: Settings, directory: Path) -> Settings:
    """The settings with a secret key: their own, else that of the data directory, which is made if need be.

    The parts of a server get it through their environment: command lines are for everybody to see.
    """
    if settings.secret_key:
        return settings
    with acting_on(directory):
        directory.mkdir(parents=True, exist_ok=True)
        return msgspec.structs.replace(settings, secret_key=secret_key.of_directory(directory))


def data_directory(settings: Settings) -> Path:
    """The data directory that the settings mean."""
    return embedded.locate(settings.data)
