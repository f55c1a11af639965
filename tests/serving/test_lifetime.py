"""`serve` over its life: killed, interrupted, stopped in steps, parts that die, a database that is away."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest

from tests.deployment import PUNCHCARD, Deployment, Project, until
from tests.serving.running import POSTGRES, Relay, kill, nothing_left, one, running, started

ORDER = {"source_id": "kept", "status": "PAID", "customer": {"source_id": "c1"}, "amount": 700}


@pytest.fixture(scope="module")
def lived() -> Iterator[Deployment]:
    """A deployment that the tests of this file may kill; each leaves it running."""
    deployment = Deployment(settings={"restarts_per_minute_max": 50})
    yield deployment
    deployment.close()


@pytest.fixture
def own(lived: Deployment) -> Deployment:
    """That deployment, running."""
    if lived.process is None or lived.process.poll() is not None:
        lived.start()
    return lived


@pytest.fixture
def new() -> Iterator[Deployment]:
    """A deployment of the test's own, with as few restarts as can be."""
    deployment = Deployment(settings={"restarts_per_minute_max": 1, "workers": 1})
    yield deployment
    deployment.close()
    nothing_left(deployment)


@contextlib.contextmanager
def first_project(deployment: Deployment) -> Iterator[Project]:
    project = deployment.first_project()
    yield project
    project.close()


def serves(deployment: Deployment, source_id: str) -> bool:
    """Whether an import goes in and can be read; fails only when it is answered wrongly."""
    with first_project(deployment) as project, contextlib.suppress(httpx.HTTPError):
        answer = project.http.post("/v1/orders/import", json=[ORDER | {"source_id": source_id}])
        if answer.status_code == 503:
            return False
        assert answer.status_code == 200, answer.text
        assert project.finished(answer.json()["async_action_id"])["result"]["failed_count"] == 0
        return bool(project.get(f"/v1/orders/{source_id}")["amount"] == 700)
    return False


def test_killed_supervisor_leaves_no_process_and_its_data_is_kept(own: Deployment) -> None:
    assert serves(own, "before the kill")
    assert set(running(own).values()) == {"serve", "api", "worker", POSTGRES}
    assert own.process is not None
    own.process.kill()
    own.process.wait()
    nothing_left(own)
    own.start()
    with first_project(own) as project:
        assert project.get("/v1/orders/before the kill")["amount"] == 700


def test_ctrl_c_stops_everything(own: Deployment) -> None:
    assert own.process is not None
    os.killpg(own.process.pid, signal.SIGINT)
    assert own.process.wait(60) == 0
    assert running(own) == {}


def test_sigterm_stops_in_steps_and_loses_nothing(own: Deployment) -> None:
    with first_project(own) as project:
        action = project.post_import([ORDER | {"source_id": f"step {no}"} for no in range(2000)])
        length = len(own.log_text())
        assert own.stop() == 0
        assert running(own) == {}
        assert "worker_stopped" in (said := own.log_text()[length:])
        assert said.index("worker_stopped") < said.index("postgres.stopped")
        own.start()
        assert project.finished(action)["result"]["done_count"] == 2000


def test_stop_answers_who_waits_for_an_action(own: Deployment) -> None:
    """With its present state, at once: whoever waits must not make the stop take as long, nor be cut off."""
    with first_project(own) as project, ThreadPoolExecutor(1) as threads:
        with psycopg.connect(own.dsn) as blocker:
            blocker.execute("LOCK TABLE orders")
            action = project.post_import([ORDER | {"source_id": "waited for"}])
            path = f"/v1/async-actions/{action}"
            until(lambda: project.get(path)["status"] == "IN_PROGRESS")
            waiting = threads.submit(project.get, path, wait=30)
            time.sleep(0.5)
            length = len(own.log_text())
            api, began = one(own, "api"), time.monotonic()
            assert own.process is not None
            own.process.send_signal(signal.SIGTERM)
            assert waiting.result(25)["status"] == "IN_PROGRESS"
            until(lambda: api not in running(own))
            assert time.monotonic() - began < 25
        assert own.process.wait(60) == 0
        assert "part_killed" not in own.log_text()[length:]
        own.start()
        assert project.finished(action)["result"]["done_count"] == 1


@pytest.mark.parametrize("role", ["api", "worker", POSTGRES])
def test_killed_part_is_started_again(own: Deployment, role: str) -> None:
    until(lambda: sorted(set(running(own).values())) == ["api", POSTGRES, "serve", "worker"])
    parts = [its for its in running(own).values() if its == role]
    died = kill(own, role)
    until(
        lambda: died not in (now := running(own)) and list(now.values()).count(role) >= len(parts) * (role != POSTGRES)
    )
    until(lambda: serves(own, f"after the death of {role}"))
    assert one(own, role) != died


def test_part_that_keeps_dying_ends_the_server(new: Deployment) -> None:
    new.start()
    assert new.process is not None
    died = kill(new, "worker")
    until(lambda: died not in running(new) and "worker" in running(new).values())
    kill(new, "worker")
    assert new.process.wait(60) == 1
    said = new.log_text().strip().splitlines()
    assert "Traceback" not in new.log_text()
    assert said[-1].startswith(
        "punchcard: worker 1 died 2 times within a minute, more than restarts_per_minute_max = 1"
    )
    assert running(new) == {}


def test_database_that_keeps_dying_ends_the_server() -> None:
    deployment = Deployment(settings={"restarts_per_minute_max": 0, "workers": 1})
    try:
        deployment.start()
        kill(deployment, POSTGRES)
        assert deployment.process is not None
        assert deployment.process.wait(60) == 1
        assert "punchcard: PostgreSQL died once within a minute" in deployment.log_text()
        nothing_left(deployment)
    finally:
        deployment.close()


def test_signals_during_the_start(new: Deployment) -> None:
    new.launch()
    assert new.process is not None
    until(lambda: POSTGRES in running(new).values())
    new.process.send_signal(signal.SIGTERM)
    assert new.process.wait(60) == 0
    nothing_left(new)
    assert "Traceback" not in new.log_text()


def test_hang_up_stops_a_server_unless_nohup_said_otherwise(own: Deployment) -> None:
    assert own.process is not None
    own.process.send_signal(signal.SIGHUP)
    assert own.process.wait(60) == 0
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    try:
        own.start()
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    own.process.send_signal(signal.SIGHUP)
    assert serves(own, "after the terminal")
    assert own.stop() == 0


def socket_of(deployment: Deployment) -> str:
    """The file of the embedded server's socket."""
    return parse_qs(urlsplit(deployment.dsn).query)["host"][0] + "/.s.PGSQL.5432"


def parts_of(deployment: Deployment) -> set[int]:
    """The processes of a deployment without those of PostgreSQL, which come and go."""
    return {pid for pid, role in running(deployment).items() if role != POSTGRES}


def test_parts_wait_for_a_database_that_recovers(own: Deployment) -> None:
    """Parts that start while PostgreSQL recovers must not die of it: that would use up the restarts."""
    with Relay(socket_of(own)) as relay:
        # the supervisor may restart a part once; recovery here lasts for many tries to connect
        settings: dict[str, object] = {"restarts_per_minute_max": 1, "workers": 1}
        apart = Deployment("--database-url", relay.dsn, data=own.data, settings=settings)
        try:
            apart.start()
            relay.starting = True
            relay.cut()
            died = kill(apart, "api")
            until(lambda: died not in (now := running(apart)) and "api" in now.values())
            until(lambda: "database_awaited" in apart.log_text())
            before, tries = parts_of(apart), relay.refused
            until(lambda: relay.refused > tries + 8)
            assert parts_of(apart) == before
            relay.starting = False
            until(lambda: serves(apart, "after the recovery"))
            assert apart.stop() == 0
        finally:
            apart.close()


@pytest.mark.parametrize("role", ["api", "worker"])
def test_waiting_part_ends_when_told(own: Deployment, role: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Relay(socket_of(own), starting=True) as relay:
        environment = own.environment | {"DATABASE_URL": relay.dsn}
        with started([*PUNCHCARD, role], environment, log) as process:
            until(lambda: "database_awaited" in log.read_text())
            assert '"server": "reject"' in log.read_text()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        assert "Traceback" not in log.read_text()
        assert "pa55" not in log.read_text()


def test_logging_into_a_closed_pipe_stops_nobody() -> None:
    """`punchcard serve 2>&1 | head` must go on serving when head has ended."""
    deployment = Deployment(settings={"workers": 1, "log_level": "debug"})
    reading, writing = os.pipe()
    drained = threading.Thread(target=lambda: os.read(reading, 1))
    try:
        deployment.log.unlink(missing_ok=True)
        deployment.log.symlink_to(f"/proc/{os.getpid()}/fd/{writing}")
        drained.start()
        deployment.launch()
        drained.join()
        os.close(reading)
        os.close(writing)
        deployment.log.unlink()
        until(deployment.is_ready)
        assert serves(deployment, "unheard")
        assert deployment.stop() == 0
    finally:
        deployment.close()
