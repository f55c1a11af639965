"""The embedded server on real processes: what it leaves behind, what it refuses, what it survives."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from punchcard.db import embedded
from punchcard.db.embedded import binaries, configuration, output, place, processes, server
from punchcard.db.embedded.owner import Owner, owner_by_uid, system_user
from punchcard.db.embedded.server import EmbeddedServer

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root starts PostgreSQL as another user")
NOBODY = Owner("nobody", 65534, 65534)
SUPERVISOR = """
import sys
from pathlib import Path
from punchcard.db.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), version=18, connections_max=20, memory_percent=1)
server.start()
print("ready", flush=True)
sys.stdin.read()
"""


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition, fail when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory that PostgreSQL's user can enter: pytest's own are closed to it when we are root."""
    directory = Path(tempfile.mkdtemp(prefix="punchcard-")).resolve()
    directory.chmod(0o755)
    yield directory
    until(lambda: not standing(directory / "data"))
    shutil.rmtree(directory)


@pytest.fixture
def make(base: Path) -> Iterator[Callable[..., EmbeddedServer]]:
    """Make servers that are stopped when the test ends, and leave no process."""
    made: list[tuple[EmbeddedServer, Path]] = []

    def make(directory: Path | None = None, *, version: int = 18) -> EmbeddedServer:
        directory = directory or base / "data"
        one = EmbeddedServer(directory, version=version, connections_max=20, memory_percent=1)
        made.append((one, directory))
        return one

    yield make
    for one, directory in made:
        if one.alive():
            one.stop(20)
            assert not standing(directory)


@pytest.fixture
def supervisor(base: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that runs a server in base/data."""
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, base / "data"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert b"ready\n" in process.stdout
        yield process
        process.kill()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A foreign process of PostgreSQL's user, whose number will stand where it does not belong."""
    owner = system_user() if ROOT else owner_by_uid(os.geteuid())
    user = owner.uid if ROOT else None
    with subprocess.Popen(["sleep", "600"], user=user, start_new_session=True) as process:
        yield process
        assert process.poll() is None, "a foreign process was signalled"
        process.kill()


def standing(directory: Path) -> list[int]:
    data = directory / "postgres"
    return processes.standing_in(data, owner_by_uid(data.stat().st_uid)) if data.exists() else []


def postmaster(directory: Path) -> int:
    return int((directory / "postgres/postmaster.pid").read_text().split()[0])


def query(one: EmbeddedServer, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(one.dsn, autocommit=True) as connection:
        cursor = connection.execute(text)
        return cursor.fetchall() if cursor.description else []


def test_start_and_stop_leave_no_process(make: Callable[..., EmbeddedServer], base: Path) -> None:
    one = make()
    one.start()
    assert one.alive()
    assert query(one, "SELECT current_user, current_database()") == [("punchcard", "punchcard")]
    assert embedded.running_dsn(base / "data") == one.dsn
    one.stop(20)
    assert not one.alive()
    assert standing(base / "data") == []
    assert embedded.running_dsn(base / "data") is None


def test_nothing_runs_where_nothing_is(base: Path) -> None:
    assert embedded.running_dsn(base / "nowhere") is None


def test_restart_keeps_data_and_applies_settings(make: Callable[..., EmbeddedServer], base: Path) -> None:
    with make() as one:
        query(one, "CREATE TABLE kept AS SELECT 7 AS n")
    (base / "data/postgres/postgresql.own.conf").write_text("work_mem = '5MB'\n")
    (base / "data/postgres/postgresql.own.conf").chmod(0o644)
    again = EmbeddedServer(base / "data", version=16, connections_max=33, memory_percent=1)
    with again:
        assert query(again, "SELECT n, current_setting('max_connections'), current_setting('work_mem') FROM kept") == [
            (7, "33", "5MB")
        ]
        assert query(again, "SELECT current_setting('server_version_num')::int / 10000") == [(18,)]


def test_version_16_works(make: Callable[..., EmbeddedServer]) -> None:
    with make(version=16) as one:
        assert query(one, "SELECT current_setting('server_version_num')::int / 10000") == [(16,)]


def test_durable_settings_are_on(make: Callable[..., EmbeddedServer]) -> None:
    with make() as one:
        for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
            assert query(one, f"SHOW {name}") == [("on",)], name
        assert query(one, "SHOW listen_addresses") == [("",)]


def test_values_of_rows_stay_out_of_the_log(make: Callable[..., EmbeddedServer], base: Path) -> None:
    with make() as one:
        query(one, "CREATE TABLE people (email text PRIMARY KEY)")
        for _ in range(2):
            with pytest.raises(psycopg.errors.UniqueViolation):
                query(one, "INSERT INTO people VALUES ('secret@example.com'), ('secret@example.com')")
    text = (base / "data/postgres.log").read_text()
    assert "23505" in text
    assert "secret@" not in text


def test_killed_postgres_is_recovered_by_a_new_start(make: Callable[..., EmbeddedServer], base: Path) -> None:
    one = make()
    one.start()
    query(one, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    os.kill(postmaster(base / "data"), signal.SIGKILL)
    until(lambda: not one.alive())
    assert one.poll() == -signal.SIGKILL
    one.start()
    assert query(one, "SELECT count(*) FROM kept") == [(1000,)]


def test_foreign_process_in_the_pid_file_is_left_alone(
    make: Callable[..., EmbeddedServer], base: Path, bystander: subprocess.Popen[bytes]
) -> None:
    one = make()
    one.start()
    query(one, "CREATE TABLE kept AS SELECT 7 AS n")
    pid_file, socket_lock = base / "data/postgres/postmaster.pid", base / "data/postgres-socket/.s.PGSQL.5432.lock"
    stale = [(file, file.read_text().splitlines()[1:]) for file in (pid_file, socket_lock)]
    os.kill(postmaster(base / "data"), signal.SIGKILL)
    until(lambda: not standing(base / "data"))
    for file, lines in stale:
        file.write_text("\n".join([str(bystander.pid), *lines, ""]))
    one.start()
    assert query(one, "SELECT n FROM kept") == [(7,)]


def test_server_ends_with_its_supervisor(supervisor: subprocess.Popen[bytes], base: Path) -> None:
    assert embedded.running_dsn(base / "data") is not None
    supervisor.kill()
    supervisor.wait()
    until(lambda: not standing(base / "data"))


def test_left_over_server_is_replaced(
    make: Callable[..., EmbeddedServer], supervisor: subprocess.Popen[bytes], base: Path
) -> None:
    dsn = embedded.running_dsn(base / "data")
    assert dsn is not None
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    left = postmaster(base / "data")
    os.kill(left, signal.SIGSTOP)  # so that it cannot end by itself
    supervisor.kill()
    supervisor.wait()
    assert left in standing(base / "data")
    os.kill(left, signal.SIGCONT)
    one = make()
    one.start()
    assert left not in standing(base / "data")
    assert query(one, "SELECT n FROM kept") == [(7,)]


def test_frozen_left_over_server_is_ended_by_force(
    make: Callable[..., EmbeddedServer],
    supervisor: subprocess.Popen[bytes],
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = postmaster(base / "data")
    for pid in standing(base / "data"):
        os.kill(pid, signal.SIGSTOP)
    supervisor.kill()
    supervisor.wait()
    monkeypatch.setattr(processes, "STEPS", processes.FORCE)
    one = make()
    one.start()
    assert left not in standing(base / "data")
    assert query(one, "SELECT 1") == [(1,)]


def test_second_start_is_refused_and_names_the_holder(
    make: Callable[..., EmbeddedServer], supervisor: subprocess.Popen[bytes], base: Path
) -> None:
    with pytest.raises(embedded.DataDirectoryLocked, match=rf"process {supervisor.pid}:"):
        make().start()
    assert embedded.running_dsn(base / "data") is not None, "the refused start has ended the running server"


def test_two_directories_side_by_side(make: Callable[..., EmbeddedServer], base: Path) -> None:
    with make(base / "one") as one, make(base / "two") as two:
        query(one, "CREATE TABLE only_here ()")
        assert query(two, "SELECT to_regclass('only_here')::text") == [(None,)]


@pytest.mark.parametrize("name", ["long-" * 20, "a, b's 50%"], ids=["too-long-for-a-socket", "awkward"])
def test_any_path_will_do(make: Callable[..., EmbeddedServer], base: Path, name: str) -> None:
    with make(base / name / "data") as one:
        assert query(one, "SELECT 1") == [(1,)]
        assert embedded.running_dsn(base / name / "data") == one.dsn
        sockets = place.Place(base / name / "data", NOBODY).sockets
        assert sockets.exists()
    assert not sockets.exists()


def test_squatted_socket_directory_is_refused(make: Callable[..., EmbeddedServer], base: Path) -> None:
    directory = base / ("long-" * 20)
    sockets = place.Place(directory, NOBODY).sockets
    sockets.symlink_to(base)
    try:
        with pytest.raises(embedded.DataDirectoryUnusable, match="remove it"):
            make(directory).start()
    finally:
        sockets.unlink()


def test_killed_initdb_leaves_nothing_half_done(make: Callable[..., EmbeddedServer], base: Path) -> None:
    asked = iter([False, False, False, False])
    one = make()
    one.start(lambda: next(asked, True))  # stopped while initdb runs
    assert not one.alive()
    assert not (base / "data/postgres").exists()
    one.stop(1)
    assert (base / "data/postgres.new").exists()
    one.start()
    assert query(one, "SELECT 1") == [(1,)]
    assert not (base / "data/postgres.new").exists()


def test_stop_while_starting(make: Callable[..., EmbeddedServer], monkeypatch: pytest.MonkeyPatch) -> None:
    with make() as one:
        pass
    monkeypatch.setattr(server, "_ping", lambda _: None)
    one.start(one.alive)
    assert one.alive()
    one.stop(20)
    assert not one.alive()


def test_failed_start_shows_the_log_and_gives_the_directory_free(
    make: Callable[..., EmbeddedServer], base: Path
) -> None:
    with make() as one:
        pass
    own = base / "data/postgres/postgresql.own.conf"
    own.write_text("shared_buffers = 'many'\n")
    own.chmod(0o644)
    with pytest.raises(embedded.PostgresFailed, match="invalid value for parameter"):
        one.start()
    own.unlink()
    with make() as other:
        assert query(other, "SELECT 1") == [(1,)]


def test_missing_locale_falls_back(make: Callable[..., EmbeddedServer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOCALE", ("--locale=xx_XX.UTF-8",))
    with make() as one:
        assert query(one, "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'punchcard'") == [
            ("b", "C.UTF-8")
        ]


def test_a_refused_start_ends_no_server(make: Callable[..., EmbeddedServer], base: Path) -> None:
    """Whoever follows the advice runs the old version's server in the directory while they write their dump."""
    with make() as one:
        pass
    (base / "data/postgres/PG_VERSION").write_text("15\n")
    shutil.copy("/bin/sleep", base / "postgres")
    user = owner_by_uid((base / "data/postgres").stat().st_uid).uid if ROOT else None
    with subprocess.Popen([base / "postgres", "600"], cwd=base / "data/postgres", user=user) as theirs:
        until(lambda: theirs.pid in standing(base / "data"))
        with pytest.raises(embedded.WrongPostgresVersion):
            one.start()
        assert theirs.poll() is None
        theirs.kill()


@pytest.mark.parametrize("found", ["15", "17", "junk"])
def test_other_versions_are_refused(make: Callable[..., EmbeddedServer], base: Path, found: str) -> None:
    data = base / "data/postgres"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text(found + "\n")
    if ROOT:
        shutil.chown(data, system_user().uid)
    with pytest.raises(embedded.WrongPostgresVersion, match=f"PostgreSQL {found}"):
        make().start()


def test_a_directory_of_something_else_is_refused(make: Callable[..., EmbeddedServer], base: Path) -> None:
    data = base / "data/postgres"
    data.mkdir(parents=True)
    (data / "letter.txt").write_text("Dear all")
    if ROOT:
        shutil.chown(data, system_user().uid)
    with pytest.raises(embedded.DataDirectoryUnusable, match="move it away"):
        make().start()
    assert (data / "letter.txt").read_text() == "Dear all"


def test_a_file_where_the_directory_should_be(make: Callable[..., EmbeddedServer], base: Path) -> None:
    (base / "data").write_text("")
    with pytest.raises(embedded.DataDirectoryUnusable, match="choose another directory"):
        make().start()


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_directory_without_permission(make: Callable[..., EmbeddedServer], base: Path) -> None:
    base.chmod(0o555)
    with pytest.raises(embedded.DataDirectoryUnusable, match="Permission denied"):
        make().start()
    base.chmod(0o755)


@needs_root
def test_directory_that_postgres_cannot_enter(
    make: Callable[..., EmbeddedServer], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(embedded.DataDirectoryUnusable, match=f"`chmod o\\+x {closed}`"):
        make(closed / "deep/data").start()
    assert closed.stat().st_mode & 0o777 == 0o700
    assert list(closed.iterdir()) == []
    monkeypatch.chdir(closed)
    monkeypatch.setenv("PUNCHCARD_STATE_HOME", str(base / "state"))
    assert embedded.locate("") == base / "state"


def test_locate_prefers_the_setting_then_here(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(base)
    assert embedded.locate("") == base / "data"
    assert embedded.locate("elsewhere") == base / "elsewhere"
    assert embedded.locate(str(base / "x")) == base / "x"


@needs_root
def test_programs_only_root_can_reach_are_copied(
    make: Callable[..., EmbeddedServer], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = binaries.packages()
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    for name in (binaries.WHEEL, binaries.LIBRARIES):
        shutil.copytree(wheel / name, closed / name)
    monkeypatch.setattr(binaries, "packages", lambda: closed)
    monkeypatch.setenv("PUNCHCARD_STATE_HOME", str(base / "state"))
    (base / "state").mkdir(mode=0o755)
    monkeypatch.setattr(binaries.shutil, "copytree", fail_once(shutil.copytree))  # type: ignore[attr-defined]
    with pytest.raises(embedded.DataDirectoryUnusable, match="Free some space"):
        make().start()
    for directory in ("one", "two"):  # the second uses the copy of the first
        with make(base / directory) as one:
            assert query(one, "SELECT 1") == [(1,)]
            program = Path(f"/proc/{postmaster(base / directory)}/exe").readlink()
            assert program.is_relative_to(base / "state")
    assert closed.stat().st_mode & 0o777 == 0o700


def fail_once(real: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose second call finds the disk full."""
    calls = iter(range(100))

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if next(calls) == 1:
            raise OSError(28, "No space left on device", "somewhere")
        return real(*arguments, **named)

    return wrapped


@needs_root
def test_data_of_an_ordinary_user_stays_theirs(make: Callable[..., EmbeddedServer], base: Path) -> None:
    with make() as one:
        pass
    data = base / "data"
    subprocess.run(["chown", "-R", "nobody", data], check=True)
    with make() as one:
        assert query(one, "SELECT 1") == [(1,)]
        assert Path(f"/proc/{postmaster(data)}").stat().st_uid == NOBODY.uid
    assert {path.stat().st_uid for path in data.rglob("*")} == {NOBODY.uid}


@needs_root
def test_no_other_user_can_connect(make: Callable[..., EmbeddedServer], base: Path) -> None:
    psql = binaries.Installation(binaries.packages(), 18).program("psql")
    with make() as one:
        assert system_user().run(psql, one.dsn, "-Atc", "SELECT 40 + 2").stdout.strip() == "42"
        assert "Permission denied" in NOBODY.run(psql, one.dsn, "-Atc", "SELECT 1").stdout
        sockets = base / "data/postgres-socket"
        sockets.chmod(0o755)
        (sockets / ".s.PGSQL.5432").chmod(0o777)
        refused = NOBODY.run(psql, one.dsn, "-Atc", "SELECT 1")
        assert "Peer authentication failed" in refused.stdout
        sockets.chmod(0o700)


def test_log_is_bounded(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "LOG_BYTES_MAX", 100)
    one = output.Output(base / "postgres.log")
    with one.opened() as file:
        file.write(b"x" * 150 + b"last\n")
        file.flush()
        assert one.tail().endswith("last")
        one.bound()
        file.write(b"next\n")
        file.flush()
    assert (base / "postgres.log").read_bytes() == b"next\n"
    assert (base / "postgres.log.1").read_bytes() == b"x" * 95 + b"last\n"
    assert one.tail() == "next"


def test_memory_minds_the_control_group(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = configuration.memory_bytes()
    monkeypatch.setattr(configuration, "CONTROL_GROUPS", base)
    (base / "memory.max").write_text("max\n")
    assert configuration.memory_bytes() >= machine
    (base / "memory.max").write_text("1048576\n")
    assert configuration.memory_bytes() == 1 << 20
