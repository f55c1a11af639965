"""What the figures were measured on."""

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


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
