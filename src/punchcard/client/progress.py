"""Shows how an import goes: a bar on a terminal, a line every few seconds elsewhere.

The fraction is that of the orders that have ended. How many there are is not known before the last is read:
until then the bytes read of the stored files tell how many the rest holds. Without sizes (standard input)
only the counts and the rate are shown.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.text import Text

from punchcard.client.importer import Counts

LINE_EVERY_S = 5.0
_RATE_PERIOD_S = 60.0


class Display(Protocol):
    """What the importer reports to; a context manager, so that a bar is taken off the screen in any case."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...
    def say(self, text: str) -> None:
        """Print one line."""

    def moved(self, counts: Counts) -> None:
        """Show where the import stands now."""


def display(out: TextIO, total_bytes: int | None) -> Display:
    """The display that fits `out`."""
    return Bar(out, total_bytes) if out.isatty() else Lines(out, total_bytes)


def counted(count: int, noun: str) -> str:
    """`1 order`, `2,000 orders`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def fraction_ended(counts: Counts, total_bytes: int) -> float:
    """How much of the import has ended, between 0 and 1."""
    if not counts.read or not total_bytes:
        return 0.0
    return counts.ended / counts.read * min(counts.taken_bytes / total_bytes, 1.0)


def described(counts: Counts, elapsed_s: float) -> str:
    """`12,000 orders, 3,456/s, 2 failed`."""
    parts = [counted(counts.imported, "order"), f"{counts.ended / max(elapsed_s, 0.001):,.0f}/s"]
    if counts.failed:
        parts.append(f"{counts.failed:,} failed")
    if counts.unreadable:
        parts.append(f"{counts.unreadable:,} unreadable")
    return ", ".join(parts)


class Times(ProgressColumn):
    """`elapsed 0:00:01, left 0:00:04`."""

    def render(self, task: Task) -> Text:
        """The part of the line that tells the times."""
        elapsed, left = task.finished_time if task.finished else task.elapsed, task.time_remaining
        return Text(f"elapsed {_clock_face(elapsed or 0.0)}, left {'-:--:--' if left is None else _clock_face(left)}")


def _clock_face(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))


class Bar:
    """A progress bar with the counts, the rate and the time left."""

    def __init__(self, out: TextIO, total_bytes: int | None) -> None:
        self._started = time.monotonic()
        self._total_bytes = total_bytes
        self._progress = Progress(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description},"),
            Times(),
            console=Console(file=out),
            speed_estimate_period=_RATE_PERIOD_S,
        )
        self._task = self._progress.add_task("0 orders", total=None if total_bytes is None else 1.0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def moved(self, counts: Counts) -> None:
        text = described(counts, time.monotonic() - self._started)
        fraction = fraction_ended(counts, self._total_bytes or 0)
        self._progress.update(self._task, completed=fraction, description=text)


class Lines:
    """Plain lines for logs."""

    def __init__(self, out: TextIO, total_bytes: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._total_bytes = total_bytes
        self._clock = clock
        self._started = self._shown = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def say(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def moved(self, counts: Counts) -> None:
        now = self._clock()
        if now - self._shown < LINE_EVERY_S:
            return
        self._shown = now
        elapsed = now - self._started
        text = described(counts, elapsed)
        if fraction := fraction_ended(counts, self._total_bytes or 0):
            text = f"{fraction:4.0%}  {text}, {elapsed / fraction - elapsed:,.0f} s left"
        self.say(text)
