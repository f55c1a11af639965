"""`punchcard import FILE …`: reads the files one after another and imports them over the public API.

The exit code tells a script how it went: 0 everything is in, 1 some orders or lines are not, 2 it could
not be done (usage, connection, keys), 130 stopped by Ctrl-C. Running it again updates the orders that have
an id or a source_id, and adds the others again; with `--resume` it goes on where it was interrupted.
"""

import os
import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import msgspec

from punchcard.client import importer, journal, readers, reports
from punchcard.client.api import Api, ImportStopped, Patience
from punchcard.client.importer import Counts, Importer
from punchcard.client.inputs import STDIN
from punchcard.client.journal import Header, Journal
from punchcard.client.mapping import Mapping
from punchcard.client.outcomes import FAILURES_SHOWN, Told
from punchcard.client.progress import Display, counted, display
from punchcard.client.reports import Report
from punchcard.client.resuming import Resuming, Unanswered
from punchcard.client.sources import Sources
from punchcard.client.summary import summarize
from punchcard.errors import PunchcardError

ALL_IN, SOME_FAILED, NOT_DONE, INTERRUPTED = 0, 1, 2, 130
_ARRAY_BRACKETS_BYTES = 2


@dataclass(frozen=True, kw_only=True)
class Options:
    """What an import is asked for besides its files. `state` is the directory of the journals; None keeps none."""

    file_format: str | None = None
    mapping: Mapping | None = None
    sort: bool = False
    batch_orders: int = importer.BATCH_ORDERS
    batch_bytes: int = importer.BATCH_BYTES
    in_flight: int = importer.IN_FLIGHT
    failures_shown: int = FAILURES_SHOWN
    failures: Path | None = None
    dry_run: bool = False
    resume: bool = False
    unanswered: Unanswered | None = None
    state: Path | None = None
    patience: Patience | None = field(default_factory=Patience)

    def reading(self) -> str:
        """What decides which orders the files hold, as text."""
        mapping = msgspec.to_builtins(self.mapping) if self.mapping else None
        return msgspec.json.encode([self.file_format, mapping, self.sort], order="sorted").decode()


class UsageWrong(PunchcardError):
    """Arguments that cannot be meant."""


def run(
    files: list[str],
    *,
    url: str,
    application_id: str,
    application_token: str,
    out: TextIO,
    options: Options | None = None,
    stdin: BinaryIO | None = None,
) -> int:
    """Import `files` (`-` is standard input), tell `out` how it goes, and return the exit code."""
    options = options or Options()
    if trouble := _usage(files, options):
        print(f"punchcard: {trouble}", file=out, flush=True)
        return NOT_DONE
    sources = Sources(
        files,
        file_format=cast("readers.Format | None", options.file_format),
        mapping=options.mapping,
        sort=options.sort,
        order_bytes_max=options.batch_bytes - _ARRAY_BRACKETS_BYTES,
        stdin=stdin,
    )
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
                    patience=options.patience,
                    dry_run=options.dry_run,
                )
            )
            kept = _journal(files, sources, options, url, application_id, shown)
            if kept:
                stack.callback(kept.close)
            if options.resume and kept and kept.state and kept.state.complete is not None:
                return _already_complete(kept.state.complete, kept.state.completed_at, shown)
            return _Run(files, sources, options, api, kept, shown, stack).import_all()
        except PunchcardError as error:
            shown.say(f"punchcard: {error}")
            return NOT_DONE


def _usage(files: list[str], options: Options) -> str | None:
    """What is wrong with the arguments; told before anything is sent."""
    if not files:
        return "Name at least one file, or - for standard input."
    if options.file_format is not None and options.file_format not in readers.FORMATS:
        return f"The format is one of {', '.join(readers.FORMATS)}."
    if min(options.batch_orders, options.batch_bytes, options.in_flight) < 1:
        return "A request holds at least one order."
    if options.mapping and options.file_format not in {None, "csv"}:
        return "A mapping is for CSV files: leave --format out."
    if options.resume and options.dry_run:
        return "A dry run writes nothing that could be resumed: leave --resume or --dry-run out."
    if options.unanswered and not options.resume:
        return "--unanswered is for an import that is resumed."
    if options.failures and not options.resume and options.failures.exists():
        return f"{options.failures} is there already: its orders may not be corrected yet. Remove it or name another."
    if files.count(STDIN) > 1:
        return "Standard input can be read once."
    return next(filter(None, map(_unusable, files)), None)


def _unusable(file: str) -> str | None:
    if file == STDIN:
        return None
    if not os.access(file, os.R_OK):  # not opened to see: a pipe can be opened once
        return f"{file} cannot be read, or does not exist."
    return f"{file} is a directory." if Path(file).is_dir() else None


# ---- the journal ----


def _journal(
    files: list[str], sources: Sources, options: Options, url: str, application_id: str, shown: Display
) -> Journal | None:
    """The journal of this run, locked: begun, or with the state to go on from. None where there can be none."""
    if not sources.are_files:
        if options.resume:
            raise UsageWrong("Only files can be resumed: standard input and pipes cannot be read again. Save it first")
        return None
    if options.state is None or options.dry_run:
        return None
    path = journal.path_of(options.state, files, url, application_id)
    try:
        kept = Journal(path)
    except OSError as error:
        if options.resume:
            raise journal.ResumeImpossible(f"{path} cannot be read: {error.strerror}") from error
        shown.say(f"This import cannot be resumed if it is interrupted: {path} cannot be written: {error.strerror}")
        return None
    if options.resume:
        try:
            state = journal.required(kept.state, reading=options.reading(), files=files, state_directory=options.state)
        except journal.ResumeImpossible:
            kept.close()
            raise
        sources.order_bytes_max = state.header.order_bytes_max
        return kept
    if kept.state and kept.state.begun and kept.state.complete is None:
        shown.say(
            f"An import of the same was interrupted behind {counted(kept.state.end, 'order')}: --resume would have gone"
            " on there. This one begins at the beginning."
        )
    kept.begin(_header(files, sources, options, url))
    return kept


def _header(files: list[str], sources: Sources, options: Options, url: str) -> Header:
    return Header(
        files=files,
        url=url,
        reading=options.reading(),
        order_bytes_max=sources.order_bytes_max,
        failures=str((options.failures or reports.free_path(files, "failures.jsonl")).resolve()),
        unreadable=str(reports.free_path(files, "unreadable.txt").resolve()),
        run=secrets.token_hex(16),
    )


def _already_complete(code: int, at: float, shown: Display) -> int:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    failed = ", with failures" if code else ""
    shown.say(f"Nothing to resume: this import was complete on {when}{failed}. To import again, leave --resume out.")
    return code


# ---- one run ----


class _Run:
    """One import from its first request to its summary."""

    def __init__(
        self,
        files: list[str],
        sources: Sources,
        options: Options,
        api: Api,
        kept: Journal | None,
        shown: Display,
        stack: ExitStack,
    ) -> None:
        self._files, self._sources, self._options, self._api = files, sources, options, api
        self._journal, self._shown = kept, shown
        self._started = time.monotonic()
        failures, unreadable = self._report_paths()
        self._failures = stack.enter_context(Report(failures))
        self._unreadable = stack.enter_context(Report(unreadable))
        self._resuming = self._resumed() if options.resume and kept and kept.state else None
        self._told = Told(self._failures, self._unreadable, shown, options.failures_shown)
        self._importer = Importer(
            api,
            self._told,
            taken=sources.taken_bytes,
            batch_orders=options.batch_orders,
            batch_bytes=options.batch_bytes,
            in_flight=options.in_flight,
            journal=kept,
        )
        if kept:
            kept.standing = lambda: (self._importer.counts.kept(), self._failures.sync())

    def _report_paths(self) -> tuple[Path, Path]:
        if self._journal and self._journal.state:
            header = self._journal.state.header
            return Path(header.failures), Path(header.unreadable)
        failures = self._options.failures or reports.free_path(self._files, "failures.jsonl")
        return failures, reports.free_path(self._files, "unreadable.txt")

    def _resumed(self) -> Resuming:
        assert self._journal is not None
        assert self._journal.state is not None
        state = self._journal.state
        if not self._failures.resume(state.failures_bytes):
            raise journal.ResumeImpossible(
                f"{self._failures.path}, which holds the failures so far, has changed since the import stopped. Put it"
                " back as it was to go on: corrections can wait until the import is complete"
            )
        self._unreadable.resume(0)  # reading the files again finds the same lines
        return Resuming(state, say=self._shown.say, unanswered=self._options.unanswered)

    def import_all(self) -> int:
        """The exit code."""
        code = self._import()
        counts = self._importer.counts
        if code in {ALL_IN, SOME_FAILED} and self._journal:
            self._journal.completed(code, time.time())
        self._failures.sync()
        self._unreadable.sync()
        if code != NOT_DONE or counts.requests:
            elapsed_s = time.monotonic() - self._started
            summarize(counts, self._sources.tally, elapsed_s, self._shown.say, dry_run=self._options.dry_run)
            self._tell_reports(counts)
        return code

    def _import(self) -> int:
        run = self._importer
        try:
            with self._shown:
                if self._options.dry_run:
                    _require_dry_runs(self._api)
                run.run(self._sources.read(), self._resuming)
        except KeyboardInterrupt:
            self._shown.say(self._advice())
            self._tell_in_flight()
            return INTERRUPTED
        except PunchcardError as error:
            self._shown.say(f"punchcard: {error}")
            self._tell_in_flight()
            if self._journal and run.counts.requests and isinstance(error, ImportStopped):
                self._shown.say(self._advice())
            return NOT_DONE
        return SOME_FAILED if run.counts.failed or run.counts.unreadable else ALL_IN

    def _advice(self) -> str:
        if self._journal:
            return "Stopped. The same command with --resume goes on from here."
        if self._options.dry_run:
            return "Stopped. Nothing was written."
        return "Stopped. Import the same files again to go on: orders with an id or source_id are not doubled."

    def _tell_in_flight(self) -> None:
        if accepted := self._importer.in_flight:
            orders = sum(len(request.orders) for request in accepted)
            ids = ", ".join(request.action_id for request in accepted)
            self._shown.say(f"{counted(orders, 'more order')} accepted, the server goes on with them: {ids}")

    def _tell_reports(self, counts: Counts) -> None:
        if self._failures.size:
            what = counted(counts.failed, "failed order")
            path = _shown_path(self._failures.path)
            self._shown.say(f"{what}: see {path}; correct them there and run `punchcard import {path}`")
        if self._unreadable.size:
            what = counted(counts.unreadable, "unreadable entry").replace("entrys", "entries")
            self._shown.say(f"{what}: see {_shown_path(self._unreadable.path)}; correct them in the file itself")


def _require_dry_runs(api: Api) -> None:
    """A server that knows no dry runs would import: ask it with an empty list first."""
    action_id = api.import_orders(b"[]", secrets.token_hex(32))
    if not api.action(action_id).dry_run:
        raise ImportStopped("This server knows no dry runs: nothing was sent")


def _shown_path(path: Path) -> str:
    here = Path.cwd()
    text = str(path.relative_to(here) if path.is_relative_to(here) else path)
    return text.encode(errors="replace").decode()
