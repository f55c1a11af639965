"""What the figures were measured on."""

import contextlib
import os
import platform
from pathlib import Path

import psycopg

DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


def describe(conn: psycopg.Connection) -> dict[str, str]:
    """Processor, memory and versions. Refuses a server whose settings would make commits cheaper than they are."""
    for name in DURABLE:
        row = conn.execute(f"SHOW {name}".encode()).fetchone()
        assert row is not None
        assert row[0] == "on", f"{name} is {row[0]}: figures would not be durable"
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": conn.info.parameter_status("server_version") or "?",
        "durable": ", ".join(f"{name}=on" for name in DURABLE),
    }


def server_seconds(conn: psycopg.Connection) -> float:
    """Processor time that all processes of the server have used so far, in seconds; it runs on this machine."""
    row = conn.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    postmaster = _stat(row[0])[_PARENT]
    used = 0
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = _stat(int(directory.name))
            if fields[_PARENT] == postmaster:
                used += fields[_USER] + fields[_SYSTEM]
            elif int(directory.name) == postmaster:  # with those of its processes that have ended
                used += sum(fields[_USER : _SYSTEM_OF_ENDED + 1])
    return used / os.sysconf("SC_CLK_TCK")


# proc(5), /proc/pid/stat, counted from the process's state
_PARENT, _USER, _SYSTEM, _SYSTEM_OF_ENDED = 0, 10, 11, 13


def _stat(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/stat").read_text()
    return [int(field) for field in text.rpartition(") ")[2].split()[1:]]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
