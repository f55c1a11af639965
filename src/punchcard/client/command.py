"""`punchcard import FILE …`: reads the files one after another and imports them over the public API.

The exit code tells a script how it went: 0 everything is in, 1 some orders or lines are not, 2 it could
not be done (usage, connection, keys), 130 stopped by Ctrl-C. Running it again updates the orders that have
an id or a source_id, and adds the others again.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from punchcard.client import importer, readers
from punchcard.client.api import Api, ImportStopped, Patience
from punchcard.client.importer import Counts, Importer
from punchcard.client.inputs import DAMAGED, STDIN, Input, Order, Tally, Unreadable
from punchcard.client.progress import Display, counted, display

ALL_IN, SOME_FAILED, NOT_DONE, INTERRUPTED = 0, 1, 2, 130
_ARRAY_BRACKETS_BYTES = 2


def run(
    files: list[str],
    *,
    url: str,
    application_id: str,
    application_token: str,
    out: TextIO,
    file_format: str | None = None,
    batch_orders: int = importer.BATCH_ORDERS,
    batch_bytes: int = importer.BATCH_BYTES,
    in_flight: int = importer.IN_FLIGHT,
    failures_shown: int = importer.FAILURES_SHOWN,
    patience: Patience | None = None,
    stdin: BinaryIO | None = None,
) -> int:
    """Import `files` (`-` is standard input), tell `out` how it goes, and return the exit code."""
    if trouble := _usage(files, file_format, min(batch_orders, batch_bytes, in_flight)):
        print(f"punchcard: {trouble}", file=out, flush=True)
        return NOT_DONE
    sources = _Sources(files, cast("readers.Format | None", file_format), batch_bytes - _ARRAY_BRACKETS_BYTES, stdin)
    started = time.monotonic()
    with ExitStack() as stack:
        stack.callback(sources.close)
        shown = display(out, sources.total_bytes)
        try:
            api = stack.enter_context(
                Api(
                    url,
                    application_id=application_id,
                    application_token=application_token,
                    say=shown.say,
                    patience=patience,
                )
            )
        except ImportStopped as error:
            shown.say(f"punchcard: {error}")
            return NOT_DONE
        run = Importer(
            api,
            say=shown.say,
            moved=shown.moved,
            taken=sources.taken_bytes,
            batch_orders=batch_orders,
            batch_bytes=batch_bytes,
            in_flight=in_flight,
            failures_shown=failures_shown,
        )
        code = _import(run, sources, shown)
        if code != NOT_DONE or run.counts.requests:
            _summarize(run.counts, sources.tally, time.monotonic() - started, shown)
        return code


def _import(run: Importer, sources: "_Sources", shown: Display) -> int:
    try:
        with shown:
            run.run(sources.read())
    except KeyboardInterrupt:
        shown.say("Stopped. Import the same files again to go on: orders with an id or source_id are not doubled.")
        _tell_in_flight(run, shown)
        return INTERRUPTED
    except ImportStopped as error:
        shown.say(f"punchcard: {error}")
        _tell_in_flight(run, shown)
        return NOT_DONE
    return SOME_FAILED if run.counts.failed or run.counts.unreadable else ALL_IN


def _tell_in_flight(run: Importer, shown: Display) -> None:
    if run.in_flight:
        orders = sum(len(accepted.places) for accepted in run.in_flight)
        ids = ", ".join(accepted.action_id for accepted in run.in_flight)
        shown.say(f"{counted(orders, 'more order')} accepted, the server goes on with them: {ids}")


def _summarize(counts: Counts, tally: Tally, elapsed_s: float, shown: Display) -> None:
    rate = counts.imported / max(elapsed_s, 0.001)
    shown.say(
        f"{counted(counts.imported, 'order')} in{_effects(counts)}, {counts.failed:,} failed,"
        f" {counts.unreadable:,} unreadable in {elapsed_s:,.1f} s ({rate:,.0f} orders/s)"
    )
    for reason, count in tally.skipped.most_common():
        shown.say(f"{counted(count, 'line')} skipped, {reason}")
    if tally.rounded_prices:
        shown.say(f"{counted(tally.rounded_prices, 'price')} rounded to whole pence")
    if counts.invalid_ordered_at:
        shown.say(f"{counted(counts.invalid_ordered_at, 'ordered_at date')} could not be read: ISO 8601 is expected")
    if tally.unnamed:
        has, them = ("has", "it") if tally.unnamed == 1 else ("have", "them")
        orders = counted(tally.unnamed, "order")
        shown.say(f"{orders} {has} neither id nor source_id: importing {them} again adds {them} again")


def _effects(counts: Counts) -> str:
    """` (2 new, 1 changed)`; nothing for a server that does not tell."""
    effects = {"new": counts.created, "changed": counts.updated, "unchanged": counts.unchanged}
    told = ", ".join(f"{count:,} {effect}" for effect, count in effects.items() if count)
    return f" ({told})" if told else ""


def _usage(files: list[str], file_format: str | None, smallest: int) -> str | None:
    """What is wrong with the arguments; told before anything is sent."""
    if not files:
        return "Name at least one file, or - for standard input."
    if file_format is not None and file_format not in readers.FORMATS:
        return f"The format is one of {', '.join(readers.FORMATS)}."
    if smallest < 1:
        return "A request holds at least one order."
    if files.count(STDIN) > 1:
        return "Standard input can be read once."
    for file in files:
        if file == STDIN:
            continue
        if not os.access(file, os.R_OK):  # not opened to see: a pipe can be opened once
            return f"{file} cannot be read, or does not exist."
        if Path(file).is_dir():
            return f"{file} is a directory."
    return None


class _Sources:
    """The files as one stream of orders; knows how far it got in bytes as stored."""

    def __init__(
        self, files: list[str], file_format: readers.Format | None, order_bytes_max: int, stdin: BinaryIO | None
    ) -> None:
        self.tally = Tally()
        self._files = files
        self._format = file_format
        self._order_bytes_max = order_bytes_max
        self._stdin = stdin
        self._finished_bytes = 0
        self._open: Input | None = None

    @property
    def total_bytes(self) -> int | None:
        """The size of all files, or None if one of them has none."""
        paths = [Path(file) for file in self._files if file != STDIN]
        regular = len(paths) == len(self._files) and all(path.is_file() for path in paths)
        return sum(path.stat().st_size for path in paths) if regular else None

    def taken_bytes(self) -> int:
        return self._finished_bytes + (self._open.taken_bytes if self._open else 0)

    def read(self) -> Iterator[Order | Unreadable]:
        for file in self._files:
            try:
                self._open = Input(file, self._stdin)
            except DAMAGED as error:
                yield Unreadable(file, f"the file is damaged: {error}")
                continue
            yield from readers.read(
                self._open, file_format=self._format, order_bytes_max=self._order_bytes_max, tally=self.tally
            )
            self.close()

    def close(self) -> None:
        """Close the file that is open, if one is."""
        if self._open:
            self._finished_bytes += self._open.taken_bytes
            self._open.close()
            self._open = None
