"""A disk that is full, and then is not: nothing that was accepted is lost, and the queue goes on by itself."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.crash.patience import ended, send
from tests.crash.test_rounds import RECOVERY_SECONDS, SETTINGS, CrashDeployment
from tests.deployment import open_directory, until

DISK_MEGABYTES = 320
FULL_SECONDS = 4.0
ORDERS = 1200
PADDING = "x" * 2000
CHUNK = b"\0" * 65_536
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
FULL = ("53100", "No space left on device")


@pytest.fixture
def disk() -> Iterator[Path]:
    """A small file system of its own."""
    folder = open_directory()
    size = f"size={DISK_MEGABYTES}m,mode=0755"
    command: list[str | Path] = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
    folder.rmdir()


@pytest.fixture
def on_disk(disk: Path) -> Iterator[CrashDeployment]:
    one = CrashDeployment("--workers", "2", settings=SETTINGS, data=disk / "data")
    one.start()
    yield one
    one.close()


def fill(disk: Path) -> Path:
    """Leave no room; the file to delete."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(CHUNK)
    return ballast


def orders(name: str) -> list[dict[str, Any]]:
    customer = {"source_id": "regular"}
    return [
        {"source_id": f"{name}-{n}", "status": "PAID", "amount": 3, "customer": customer, "metadata": {"pad": PADDING}}
        for n in range(ORDERS)
    ]


@pytest.mark.crash
def test_a_full_disk_loses_nothing(on_disk: CrashDeployment, disk: Path) -> None:
    project = on_disk.new_project()
    project.imported({"source_id": "first", "status": "PAID", "amount": 3, "customer": {"source_id": "regular"}})
    with psycopg.connect(on_disk.dsn) as blocker, psycopg.connect(on_disk.dsn, autocommit=True) as watch:
        blocker.execute("SELECT 1 FROM customers WHERE project_id = %s FOR UPDATE", [project.id])
        accepted = {name: action for name in ("a", "b") if (action := send(project, orders(name)))}
        until(lambda: (watch.execute(BLOCKED, [blocker.info.backend_pid]).fetchone() or [0])[0])
        ballast = fill(disk)
    over = time.monotonic() + FULL_SECONDS
    late = 0
    while time.monotonic() < over or not any(text in on_disk.log_text() for text in FULL):
        assert time.monotonic() < over + RECOVERY_SECONDS, "nobody noticed that the disk was full"
        if action := send(project, orders(f"late {late}")):
            accepted[f"late {late}"] = action
        late += 1
    ballast.unlink()
    assert on_disk.process is not None
    assert on_disk.process.poll() is None, "the server waits for room"
    for name, action in accepted.items():
        end = ended(project, action)
        assert (end["status"], end["result"]["done_count"]) == ("DONE", ORDERS), name
    until(on_disk.is_answering, RECOVERY_SECONDS)
    written = 1 + ORDERS * len(accepted)
    summary = project.get("/v1/customers/regular")["summary"]["orders"]
    assert (summary["total_count"], summary["total_amount"]) == (written, 3 * written)
    assert project.get("/v1/orders")["total"] == written, "what was refused has left nothing"
    project.close()
