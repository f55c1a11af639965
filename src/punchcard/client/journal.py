"""The journal of a run: what `--resume` needs to go on without a double, wherever the run was interrupted.

A small file in the state directory, one for each set of files, server and keys. Before a request is sent, its
key and exactly which orders it holds are written and synced; after it was accepted, and after its action ended,
that too. A request whose answer is not known is sent again as it was, with its key, and the server drops the
repeat. A record that was cut short by a crash is as good as not written.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from punchcard.errors import PunchcardError

# The server keeps keys for 24 hours; the rest is for clocks that differ and for patience.
KEY_VALID_S = 23 * 3600.0


class ResumeImpossible(PunchcardError):
    """An import cannot go on where it stopped; the text says why and what to do."""


class AlreadyRunning(PunchcardError):
    """Another process imports the same files to the same server."""


class Span(Struct, frozen=True):
    """The orders of one request: those from `first` to before `end` of the run, without the ones it lost."""

    first: int
    end: int
    without: list[int] = []

    def holds(self, no: int) -> bool:
        return self.first <= no < self.end and no not in self.without


class Sent(Struct, frozen=True):
    """A request of which the answer is not known. `rest` is still to be sent of the orders that were read with it.

    `prefix` is the digest of all orders before `end`, `unnamed` how many of the request's have no id.
    """

    key: str
    span: Span
    rest: list[Span]
    end: int
    prefix: str
    at: float
    unnamed: int


class Accepted(Struct, frozen=True):
    """A request that became an async action."""

    action_id: str
    span: Span


class Header(Struct, frozen=True):
    """What a run was begun with. `reading` is what decides which orders the files hold, and must stay the same."""

    files: list[str]
    url: str
    reading: str
    order_bytes_max: int
    failures: str
    unreadable: str
    run: str
    journal: int = 1


class Record(Struct, omit_defaults=True):
    """One line behind the header: what happened, and how far counts and the failures file were by then."""

    counts: dict[str, int]
    failures_bytes: int
    sent: Sent | None = None
    accepted: Accepted | None = None
    finished: str | None = None
    complete: int | None = None
    at: float = 0.0


@dataclass
class State:
    """Where an interrupted run stood."""

    header: Header
    end: int = 0
    prefix: str = ""
    unanswered: Sent | None = None
    rest: list[Span] = field(default_factory=list)
    unfinished: list[Accepted] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    failures_bytes: int = 0
    complete: int | None = None
    completed_at: float = 0.0

    @property
    def begun(self) -> bool:
        """Something was sent."""
        return self.end > 0

    def take(self, record: Record) -> None:
        """Follow one record."""
        self.counts, self.failures_bytes = record.counts, record.failures_bytes
        if record.sent:
            self.unanswered, self.rest = record.sent, record.sent.rest
            self.end, self.prefix = record.sent.end, record.sent.prefix
        elif record.accepted:
            self.unanswered = None
            self.unfinished.append(record.accepted)
        elif record.finished:
            self.unfinished = [each for each in self.unfinished if each.action_id != record.finished]
        elif record.complete is not None:
            self.complete, self.completed_at = record.complete, record.at


class Journal:
    """An open, locked journal. Every `note` is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        """Open or create the journal. Raises `AlreadyRunning`, and `OSError` where there can be none."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise AlreadyRunning(
                "Another import of these files to this server is running; two at a time would send everything twice"
            ) from None
        self.state = self._read()
        # where the run stands by now; the importer keeps it up to date and every record holds it
        self.standing: Callable[[], tuple[dict[str, int], int]] = lambda: ({}, 0)

    def close(self) -> None:
        """Give the lock back. The file stays: it says that the run is complete, or where it stopped."""
        os.close(self._file)

    def begin(self, header: Header) -> None:
        """Forget what was there and begin a new run."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._write(header)
        self.state = State(header)
        directory = os.open(self.path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def note(self, **what: Any) -> None:
        """Append a record of `what`: a field of `Record` and its value."""
        counts, failures_bytes = self.standing()
        self._write(Record(counts, failures_bytes, **what))

    def completed(self, code: int, at: float) -> None:
        """Note the end, and drop what led there."""
        assert self.state is not None
        header, (counts, failures_bytes) = self.state.header, self.standing()
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._write(header, Record(counts, failures_bytes, complete=code, at=at))

    def _write(self, *records: Struct) -> None:
        content = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        while content:
            content = content[os.write(self._file, content) :]
        os.fsync(self._file)

    def _read(self) -> State | None:
        """The state after the last whole record; what a crash left behind it is cut off."""
        with os.fdopen(os.dup(self._file), "rb") as file:
            state: State | None = None
            whole = 0
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    if state is None:
                        state = State(msgspec.json.decode(line, type=Header))
                    else:
                        state.take(msgspec.json.decode(line, type=Record))
                except msgspec.MsgspecError:
                    break
                whole += len(line)
        os.ftruncate(self._file, whole)
        os.lseek(self._file, whole, os.SEEK_SET)
        return state


def directory(environment: Mapping[str, str]) -> Path:
    """Where journals are kept: `$XDG_STATE_HOME/punchcard/imports`, by default in `~/.local/state`."""
    state = environment.get("XDG_STATE_HOME") or ""
    home = Path(state) if state.startswith("/") else Path(environment.get("HOME") or "/").joinpath(".local", "state")
    return home / "punchcard" / "imports"


def path_of(state: Path, files: list[str], url: str, application_id: str) -> Path:
    """Where the journal of an import of these files to this project is kept."""
    digest = hashlib.sha256(msgspec.json.encode([[str(Path(file).resolve()) for file in files], url, application_id]))
    return state / f"{digest.hexdigest()[:32]}.jsonl"


def required(state: State | None, *, reading: str, files: list[str], state_directory: Path) -> State:
    """The state to go on from. Raises `ResumeImpossible` when there is none that fits."""
    if state is None or (not state.begun and state.complete is None):
        raise ResumeImpossible(
            f"Nothing to resume: {state_directory} knows of no interrupted import of {', '.join(files)} to this server"
            " with these keys. To begin one, leave --resume out"
        )
    if state.header.reading != reading:
        raise ResumeImpossible(
            "The interrupted import was begun with another mapping, --format or --sort: which of its orders are in"
            " cannot be told. Give the same ones again, or begin anew without --resume"
        )
    return state


class PrefixDigest:
    """A running digest of the orders as they are read, to see whether a file changed where it is already imported."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, body: bytes) -> None:
        self._digest.update(b"%d\n" % len(body))
        self._digest.update(body)

    def text(self) -> str:
        return self._digest.copy().hexdigest()


def wanted(state: State) -> Iterator[Span]:
    """The orders that are needed again of those already read: not answered, not sent, or not finished."""
    yield from (accepted.span for accepted in state.unfinished)
    if state.unanswered:
        yield state.unanswered.span
    yield from state.rest
