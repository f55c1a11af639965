"""What PostgreSQL says, in one file of bounded size beside its data.

PostgreSQL appends to the file itself; nothing stands between that could block it. When the file is
large its end is kept as <name>.1 and the file is emptied, which appending writers do not notice.
"""

import os
from pathlib import Path
from typing import IO

from punchcard.db.embedded.place import open_ours
from punchcard.db.embedded.refusals import acting_on

LOG_BYTES_MAX = 16 << 20
TAIL_BYTES = 4096
TAIL_LINES = 12


class Output:
    """The log file of one server."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = 0

    def opened(self) -> IO[bytes]:
        """The file to append to; `tail` tells what comes after this."""
        with acting_on(self._path):
            self.bound()
            file = open_ours(self._path, os.O_WRONLY | os.O_APPEND)
        self._began = os.fstat(file.fileno()).st_size
        return file

    def tail(self) -> str:
        """The last lines since the file was opened."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                begin = self._began if self._began <= size else 0
                file.seek(max(begin, size - TAIL_BYTES))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError as error:
            return f"(its log cannot be read: {error.strerror})"
        return "\n".join(lines[-TAIL_LINES:])

    def bound(self) -> None:
        """Keep the file below its limit."""
        try:
            if self._path.stat().st_size <= LOG_BYTES_MAX:
                return
        except FileNotFoundError:
            return
        before = self._path.with_name(self._path.name + ".1")
        with open_ours(self._path, os.O_RDWR) as file:
            try:
                file.seek(-LOG_BYTES_MAX, os.SEEK_END)
                before.unlink(missing_ok=True)
                with open_ours(before, os.O_WRONLY | os.O_APPEND) as kept:
                    kept.write(file.read())
            finally:
                file.truncate(0)  # also when there is no room for the copy
