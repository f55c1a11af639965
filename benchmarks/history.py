"""The whole Online Retail history through `punchcard import`, as a user imports it: lines a second, and peak memory."""

import csv
import lzma
import time

from msgspec import Struct

from tests.client import test_history
from tests.deployment import Deployment


class History(Struct):
    """Lines of the file, seconds of the command, and the most memory each process has had, in bytes."""

    lines: int
    seconds: float
    peaks: dict[str, int]
    said: str


def measure(deployment: Deployment) -> History:
    """Import the file into a new project of a server that has done nothing else."""
    with lzma.open(test_history.WHOLE, "rt", encoding="utf-8", newline="") as lines:
        number = sum(1 for _ in csv.reader(lines)) - 1
    project = deployment.new_project()
    started = time.perf_counter()
    said = test_history.import_with_the_command(project, test_history.WHOLE)
    seconds = time.perf_counter() - started
    project.close()
    return History(number, seconds, dict(test_history.peak_bytes(deployment)), said.strip().splitlines()[-1])


def table(history: History) -> list[tuple[str, str]]:
    """What is printed. The command's start is part of its time."""
    by_part: dict[str, int] = {}
    for process, peak in history.peaks.items():
        part = process.split()[0]
        by_part[part] = max(peak, by_part.get(part, 0))
    return [
        ("lines of the file", f"{history.lines:,}"),
        ("from the command's start to its end", f"{history.seconds:.1f} s"),
        ("lines a second", f"{history.lines / history.seconds:,.0f}"),
        *((f"peak memory, {part} (the largest)", f"{peak / 2**20:.0f} MB") for part, peak in sorted(by_part.items())),
    ]
