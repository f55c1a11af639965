"""Start, watch and stop the embedded server.

The order of a start is what makes it safe: the lock first, then whatever a killed supervisor left
behind is ended, then the data is made or recovered. Nothing before the lock writes into the directory
except the directory itself.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

import psycopg
from psycopg import pq, sql

from punchcard import log
from punchcard.db.embedded import configuration, place, processes
from punchcard.db.embedded.binaries import Installation, installation_for
from punchcard.db.embedded.configuration import DATABASE, ROLE
from punchcard.db.embedded.output import Output
from punchcard.db.embedded.place import SOCKET_PORT, Place
from punchcard.db.embedded.processes import LOOK_SECONDS, never
from punchcard.db.embedded.refusals import DataDirectoryUnusable, PostgresFailed, acting_on

REPORT_SECONDS = 10.0
PING_SECONDS = 2
IMMEDIATE_SECONDS = 10.0
STOP_SECONDS = 30.0
DISK_BYTES_LOW = 64 << 20
LOCALE = ("--locale=C.UTF-8",)
# A system without that locale: the same order of text, from PostgreSQL itself where it can (17 and newer).
LOCALE_BUILTIN = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
LOCALE_C = ("--locale=C",)

_log = log.get("embedded")


class EmbeddedServer:
    """The PostgreSQL of one data directory. Start it from the main thread: it ends with the thread that starts it."""

    def __init__(self, directory: Path, *, version: int, connections_max: int, memory_percent: int) -> None:
        """`version` is for new data; existing data keeps its own."""
        self._directory = directory.resolve()
        self._version = version
        self._connections_max = connections_max
        self._memory_percent = memory_percent
        self._place: Place | None = None
        self._lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._output = Output(self._directory / "postgres.log")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(STOP_SECONDS)

    @property
    def dsn(self) -> str:
        """How this process, root and PostgreSQL's user connect; valid once `start` has returned."""
        assert self._place is not None, "the server was not started"
        return _dsn(self._place.sockets)

    def start(self, stop_requested: Callable[[], bool] = never) -> None:
        """Return when the server takes connections; may be called again after it died.

        There is no time limit while recovery works. When `stop_requested` turns true, `start` returns
        early with the server down or not ready: call `stop` as always.
        """
        assert not self.alive(), "the server runs already"
        try:
            self._start(stop_requested)
        except BaseException:
            self.stop(IMMEDIATE_SECONDS)
            raise

    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self.poll() is None

    def poll(self) -> int | None:
        """The exit status of a server that ended, else None. Call it regularly: it also bounds the log."""
        if self._process is None:
            return None
        with suppress(OSError, DataDirectoryUnusable):
            self._output.bound()
        return self._process.poll()

    def stop(self, timeout_s: float) -> None:
        """Fast shutdown within the time, then immediate, then by force; gives the directory free."""
        if self._process is not None and self._place is not None:
            self._end(self._process, timeout_s)
            # Backends outlive a killed postmaster for a moment. Only after a server of ours: a start that
            # was refused has nothing to end.
            processes.end(self._place.data, self._place.owner, steps=processes.FORCE)
            with suppress(OSError):
                self._place.sockets.rmdir()
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _start(self, stop_requested: Callable[[], bool]) -> None:
        self._process = None
        self._place = where = place.prepare(self._directory)
        self._lock = self._lock or place.lock(self._directory)
        version = place.version_in(where)
        programs = installation_for(where.owner, version or self._version)
        processes.end(where.data, where.owner, stop_requested=stop_requested)
        if version is None and not stop_requested():
            self._initialise(where, programs, stop_requested)
        if stop_requested():
            return
        configuration.write(where, connections_max=self._connections_max, memory_percent=self._memory_percent)
        _clear_marks(where)
        self._launch(where, programs)
        if self._ready(where, stop_requested):
            self._ensure_database(where)
            _log.info("postgres.ready", version=programs.major, pid=self._process_id())

    def _end(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        began = time.monotonic()
        for number, patience_s in (
            (signal.SIGINT, timeout_s), (signal.SIGQUIT, IMMEDIATE_SECONDS), (signal.SIGKILL, None),
        ):  # fmt: skip
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience_s)
                break
        _log.info("postgres.stopped", signal=number.name, seconds=round(time.monotonic() - began, 2))

    def _initialise(self, where: Place, programs: Installation, stop_requested: Callable[[], bool]) -> None:
        """Make the data under another name; it gets its own when it is complete and on disk."""
        _log.info("postgres.initialising", version=programs.major)
        for locale in (LOCALE, LOCALE_BUILTIN if programs.major >= 17 else LOCALE_C):
            status = self._initdb(where, programs, locale, stop_requested)
            if status is None or "invalid locale name" not in self._output.tail():
                break
        if status is None:
            return
        if status != 0:
            raise self._failure(f"initdb ended with status {status}")
        with acting_on(where.data):
            where.staging.rename(where.data)
            _sync(where.directory)

    def _initdb(
        self, where: Place, programs: Installation, locale: tuple[str, ...], stop_requested: Callable[[], bool]
    ) -> int | None:
        """The exit status of initdb, None when it was told to stop."""
        processes.end(where.staging, where.owner, steps=processes.FORCE)
        with acting_on(where.staging):
            if where.staging.exists():
                shutil.rmtree(where.staging)
            where.staging.mkdir(mode=0o700)
            place.give(where.staging, where.owner)
        with self._output.opened() as output:
            process = where.owner.launch(
                programs.program("initdb"), "--pgdata", where.staging, "--username", ROLE, "--auth=peer",
                "--encoding=UTF8", "--data-checksums", "--no-instructions", *locale,
                cwd=where.staging, output=output, dies_by=signal.SIGKILL,
            )  # fmt: skip
        try:
            while process.poll() is None and not stop_requested():
                time.sleep(LOOK_SECONDS)
        finally:
            if stopped := process.poll() is None:
                process.kill()
                process.wait()
        return None if stopped else process.returncode

    def _launch(self, where: Place, programs: Installation) -> None:
        place.private_directory(where.sockets, where.owner)
        with self._output.opened() as output, acting_on(where.data):
            self._process = where.owner.launch(
                programs.program("postgres"), "-D", where.data, cwd=where.data, output=output, dies_by=signal.SIGINT
            )

    def _ready(self, where: Place, stop_requested: Callable[[], bool]) -> bool:
        """Wait until the server answers, for as long as it lives; False when told to stop."""
        began = reported = time.monotonic()
        while _ping(where.sockets) is not pq.Ping.OK:
            if stop_requested():
                return False
            if not self.alive():
                raise self._failure(f"PostgreSQL ended with status {self.poll()} while it started")
            if time.monotonic() - reported >= REPORT_SECONDS:
                reported = time.monotonic()
                last = self._output.tail().rpartition("\n")[2]
                _log.info("postgres.starting", seconds=round(reported - began), last=last)
            time.sleep(LOOK_SECONDS)
        return True

    def _ensure_database(self, where: Place) -> None:
        """Make our database if it is missing; each step may have been done before a crash."""
        try:
            with psycopg.connect(_dsn(where.sockets, "postgres"), autocommit=True) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if found is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
                # Details of errors quote the values of rows. Only here: at start-up they help the operator.
                connection.execute(
                    sql.SQL("ALTER DATABASE {} SET log_error_verbosity = terse").format(sql.Identifier(DATABASE))
                )
        except psycopg.Error as error:
            raise self._failure(f"The new server does not serve: {error}") from None

    def _failure(self, what: str) -> PostgresFailed:
        text = f"{what}. The end of {self._directory / 'postgres.log'}:\n{self._output.tail() or '(nothing)'}"
        with suppress(OSError):
            free = shutil.disk_usage(self._directory).free
            if free < DISK_BYTES_LOW:
                text += f"\nOnly {free >> 20} MB are free on the disk of {self._directory}: free some and start again."
        return PostgresFailed(text)

    def _process_id(self) -> int | None:
        return None if self._process is None else self._process.pid


def running_dsn(directory: Path) -> str | None:
    """The DSN of the server that runs in this directory, asked from any process; None if none runs."""
    data = directory.resolve() / "postgres"
    try:
        sockets = (data / "postmaster.pid").read_text().splitlines()[4]
    except (FileNotFoundError, NotADirectoryError, IndexError):
        return None
    except PermissionError:
        raise DataDirectoryUnusable(
            f"{data} belongs to another user: ask as root or as the user that Punchcard runs as"
        ) from None
    if not sockets or _ping(Path(sockets)) not in (pq.Ping.OK, pq.Ping.REJECT):
        return None
    return _dsn(Path(sockets))


def _dsn(sockets: Path, database: str = DATABASE) -> str:
    # The port names the socket's file; left out, a PGPORT of the caller's would be taken.
    return f"postgresql://{ROLE}@/{database}?host={quote(str(sockets), safe='')}&port={SOCKET_PORT}"


def _ping(sockets: Path) -> pq.Ping:
    """OK: connections are taken; REJECT: the server starts or stops; else there is none."""
    return pq.Ping(pq.PGconn.ping(f"{_dsn(sockets, 'postgres')}&connect_timeout={PING_SECONDS}".encode()))


def _clear_marks(where: Place) -> None:
    """Remove what a dead server left; whoever has its process number now would keep ours from starting.

    Called when we hold the lock and nothing of PostgreSQL's stands in the directory. A process that we
    could not see is still refused: PostgreSQL checks its shared memory segment besides.
    """
    if not processes.PROC.is_dir():
        return
    with acting_on(where.data):
        (where.data / "postmaster.pid").unlink(missing_ok=True)
        for mark in where.sockets.glob(".s.PGSQL.*"):
            mark.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
