"""The PostgreSQL processes that stand in one data directory.

Every process of a PostgreSQL server has its data directory as working directory. That, asked of the
kernel, is what tells a left-over server from a foreign process that got its number: a pid file cannot.
Only processes found this way are ever signalled. Linux only; elsewhere nothing is found, and PostgreSQL's
own checks refuse a second server.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from punchcard import log
from punchcard.db.embedded.owner import Owner
from punchcard.db.embedded.refusals import PostgresFailed

PROGRAMS = frozenset({"postgres", "initdb"})
PROC = Path("/proc")
# Fast shutdown with its checkpoint, then without one (recovery follows), then by force.
STEPS = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
FORCE = STEPS[2:]
LOOK_SECONDS = 0.05

_log = log.get("embedded.processes")


def never() -> bool:
    """The answer of who does not want to stop."""
    return False


def standing_in(directory: Path, owner: Owner) -> list[int]:
    """Processes of PostgreSQL's programs whose working directory is this one."""
    try:
        here = directory.stat()
    except FileNotFoundError:
        return []
    return [pid for pid in _named() if _stands_in(pid, directory, here, owner)]


def end(
    directory: Path,
    owner: Owner,
    *,
    steps: tuple[tuple[signal.Signals, float], ...] | None = None,
    stop_requested: Callable[[], bool] = never,
) -> None:
    """End all that stand in the directory, gently first; returns early when a stop is requested."""
    for number, patience_s in steps or STEPS:
        pids = standing_in(directory, owner)
        if not pids or stop_requested():
            return
        _log.warning("postgres.leftover", pids=pids, signal=number.name)
        for pid in pids if number is signal.SIGKILL else _heads(pids):
            _send(pid, number, directory, owner)
        if wait_until(lambda: not standing_in(directory, owner) or stop_requested(), patience_s):
            return
    if pids := standing_in(directory, owner):
        raise PostgresFailed(f"The processes {pids} of a server in {directory} do not end: end them and start again")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in this time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def _named() -> list[int]:
    pids = []
    for entry in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            if (entry / "comm").read_text().strip() in PROGRAMS:
                pids.append(int(entry.name))
    return pids


def _stands_in(pid: int, directory: Path, here: os.stat_result, owner: Owner) -> bool:
    cwd = PROC / str(pid) / "cwd"
    try:
        return os.path.samestat(cwd.stat(), here)
    except PermissionError:
        # A container's root often lacks the right to look at other users' processes; the owner has it.
        return os.geteuid() == 0 and owner.run("test", cwd, "-ef", directory).returncode == 0
    except OSError:
        return False


def _heads(pids: list[int]) -> list[int]:
    """Those whose parent is not among them: the postmaster, or backends that lost theirs."""
    return [pid for pid in pids if _parent(pid) not in pids]


def _parent(pid: int) -> int | None:
    try:
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _send(pid: int, number: signal.Signals, directory: Path, owner: Owner) -> None:
    """Signal the process that stands here, not one that gets its number between the look and the signal."""
    with suppress(ProcessLookupError):
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except OSError:  # a kernel older than Linux 5.3, or a sandbox that does not know the call
            os.kill(pid, number)
            return
        try:
            if _stands_in(pid, directory, directory.stat(), owner):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)
