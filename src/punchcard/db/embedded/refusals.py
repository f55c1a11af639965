"""Why an embedded server does not start, in words a person can act on."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from punchcard.errors import PunchcardError

ADVICE = {
    errno.ENOSPC: "Free some space on that file system and start again.",
    errno.EDQUOT: "The quota is used up: free some space and start again.",
    errno.EROFS: "That file system is read-only: choose another directory with --data.",
    errno.EACCES: "Start as the user it belongs to, or choose another directory with --data.",
    errno.EPERM: "Start as the user it belongs to, or choose another directory with --data.",
    errno.ENOTDIR: "A file stands where a directory is needed: choose another directory with --data.",
    errno.EEXIST: "A file stands where a directory is needed: choose another directory with --data.",
    errno.ELOOP: "A symbolic link stands where a file of Punchcard's is needed: remove it.",
}


class DataDirectoryUnusable(PunchcardError):
    """The data directory cannot be created, entered or written."""


class DataDirectoryLocked(PunchcardError):
    """Another Punchcard holds this data directory."""


class WrongPostgresVersion(PunchcardError):
    """The data directory was made by a PostgreSQL whose binaries we do not have."""


class PostgresFailed(PunchcardError):
    """PostgreSQL did not start, or could not be stopped; the text ends with the tail of its log."""


@contextmanager
def acting_on(path: Path) -> Iterator[None]:
    """Turn the system's refusals inside the block into one that says what to do about `path`."""
    try:
        yield
    except OSError as error:
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(path)
        advice = ADVICE.get(error.errno or 0, "Choose another directory with --data.")
        raise DataDirectoryUnusable(f"Cannot use {where}: {error.strerror}. {advice}") from None
