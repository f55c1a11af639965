"""The processes of a running `punchcard serve`, to be killed or frozen."""

import contextlib
import os
import signal
import time
from pathlib import Path

from tests.deployment import Deployment


def parent_of(pid: int) -> int | None:
    """The parent of a process; none when it is gone or only waits to be collected."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[1])
    return None


def tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {int(entry.name): parent_of(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def children(deployment: Deployment, role: str) -> list[int]:
    """The running processes of a role: worker, api or postgres."""
    assert deployment.process is not None
    found = []
    for pid in tree(deployment.process.pid)[1:]:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            program = Path(words[0].decode()).name
            if (role == "postgres" and program == role and parent_of(pid) == deployment.process.pid) or (
                role != "postgres" and role.encode() in words and b"punchcard" in words
            ):
                found.append(pid)
    return found


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> bool:
    """Send a signal; false when the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_everything(deployment: Deployment) -> None:
    """SIGKILL the supervisor, its parts and PostgreSQL, and return when they are gone."""
    assert deployment.process is not None
    pids = tree(deployment.process.pid)
    for pid in pids:
        kill(pid)
    deployment.process.wait(30)
    deadline = time.monotonic() + 30
    while any(parent_of(pid) is not None for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)
