"""Where an embedded server lives on disk.

    DIR/                 ours (the user who starts Punchcard)
    DIR/lock             held by the one supervisor of this directory
    DIR/postgres         PostgreSQL's data, owned by the user it runs as
    DIR/postgres.new     an initdb that has not finished; removed at the next start
    DIR/postgres.log     what PostgreSQL says, and the part before it in postgres.log.1
    DIR/postgres-socket  its unix socket, or a directory with a short name elsewhere

We change permissions and owners of what we made ourselves, of nothing else.
"""

import fcntl
import hashlib
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from punchcard.db.embedded.owner import Owner, owner_by_uid, stand_in, system_user
from punchcard.db.embedded.refusals import (
    DataDirectoryLocked,
    DataDirectoryUnusable,
    WrongPostgresVersion,
    acting_on,
)

VERSIONS = (16, 18)
STATE_HOME = "/var/lib/punchcard"
SOCKET_PORT = 5432
# sockaddr_un holds 108 bytes with the terminating zero.
SOCKET_PATH_BYTES_MAX = 107
# Characters that mean something in unix_socket_directories or in libpq's list of hosts.
AWKWARD = re.compile(r"""[,'"\\\n\r]""")


@dataclass(frozen=True)
class Place:
    """The data directory with the user PostgreSQL runs as in it."""

    directory: Path
    owner: Owner

    @property
    def data(self) -> Path:
        return self.directory / "postgres"

    @property
    def staging(self) -> Path:
        return self.directory / "postgres.new"

    @property
    def log(self) -> Path:
        return self.directory / "postgres.log"

    @property
    def sockets(self) -> Path:
        """A directory whose socket path the kernel accepts, the same for every process that asks."""
        beside = self.directory / "postgres-socket"
        if _socket_path_bytes(beside) <= SOCKET_PATH_BYTES_MAX and not AWKWARD.search(str(beside)):
            return beside
        name = "punchcard-" + hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        root = os.geteuid() == 0 and os.access("/run", os.W_OK)
        return Path("/run" if root else tempfile.gettempdir()) / name


def state_home() -> Path:
    """Where root keeps what does not belong to one data directory."""
    return Path(os.environ.get("PUNCHCARD_STATE_HOME") or STATE_HOME)


def locate(data: str) -> Path:
    """The data directory: the setting, else ./data, else a place that PostgreSQL's user can enter."""
    if data:
        return Path(data).expanduser().resolve()
    here = Path("data").resolve()
    if os.geteuid() != 0:
        return here
    with acting_on(here):
        owner = _owner_of_data(here) or stand_in()
        return here if owner.first_closed(_existing(here)) is None else state_home()


def prepare(directory: Path) -> Place:
    """Make the directory if it is missing, and make sure that PostgreSQL's user can reach its part of it."""
    with acting_on(directory):
        owner = _owner_of_data(directory) or (system_user() if os.geteuid() == 0 else owner_by_uid(os.geteuid()))
        _require_entry(owner, directory)
        _make(directory, mode=0o711 if os.geteuid() == 0 else 0o700)
    return Place(directory, owner)


def lock(directory: Path) -> IO[bytes]:
    """Take the directory until the returned file is closed, or this process ends.

    The lock goes with the open file: it is not inherited by programs we start (close-on-exec), and a
    process forked without exec would share it.
    """
    path = directory / "lock"
    with acting_on(path):
        held = open_ours(path, os.O_RDWR)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.truncate(0)
            held.write(f"{os.getpid()}\n".encode())
            held.flush()
        except BlockingIOError:
            pid = held.read().decode(errors="replace").strip() or "unknown"
            held.close()
            raise DataDirectoryLocked(
                f"{directory} is in use by the process {pid}: stop that one first (kill {pid}),"
                " or choose another directory with --data"
            ) from None
        except OSError:
            held.close()
            raise
    return held


def version_in(place: Place) -> int | None:
    """The major version that made the data; None if there is none yet."""
    with acting_on(place.data):
        if not place.data.exists() or not any(place.data.iterdir()):
            return None
    try:
        text = (place.data / "PG_VERSION").read_text().strip()
    except OSError:
        raise DataDirectoryUnusable(
            f"{place.data} is not a data directory of PostgreSQL (PG_VERSION is missing):"
            " move it away, or choose another directory with --data"
        ) from None
    if text not in map(str, VERSIONS):
        raise WrongPostgresVersion(
            f"{place.data} was made by PostgreSQL {text}; this Punchcard runs 16 and 18."
            f" Start it with PostgreSQL {text}, write a dump (pg_dump -Fc -f punchcard.dump punchcard), start Punchcard"
            " with another --data and load the dump there (pg_restore --clean --if-exists -d DSN punchcard.dump;"
            " `punchcard database-url` prints the DSN)"
        )
    return int(text)


def private_directory(path: Path, owner: Owner) -> None:
    """A directory that only `owner` may enter. One that exists must be just that already."""
    with acting_on(path):
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner.uid or found.st_mode & 0o077:
                raise DataDirectoryUnusable(
                    f"{path} is not a directory that only {owner.name} can enter: remove it (rm -r {path})"
                ) from None
        else:
            give(path, owner)


def give(path: Path, owner: Owner) -> None:
    """Make what we just created the owner's."""
    if os.geteuid() == 0:
        os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


def open_ours(path: Path, flags: int) -> IO[bytes]:
    """Open a file of ours beside the data; a new one belongs to whom the directory belongs to.

    Never through a symbolic link: root may start in a directory that belongs to somebody else.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0 and os.fstat(descriptor).st_nlink == 1:
        home = path.parent.stat()
        os.fchown(descriptor, home.st_uid, home.st_gid)
    return os.fdopen(descriptor, "ab" if flags & os.O_APPEND else "r+b")


def _socket_path_bytes(directory: Path) -> int:
    return len(os.fsencode(directory / f".s.PGSQL.{SOCKET_PORT}"))


def _owner_of_data(directory: Path) -> Owner | None:
    """Whom existing data belongs to. PostgreSQL runs as no one else."""
    data = directory / "postgres"
    try:
        uid = data.stat().st_uid
    except FileNotFoundError:
        return None
    if os.geteuid() not in (0, uid):
        name = owner_by_uid(uid).name
        raise DataDirectoryUnusable(
            f"{data} belongs to the user {name}: start as root or as that user, or choose another --data"
        )
    if uid == 0:
        raise DataDirectoryUnusable(
            f"{data} belongs to root and PostgreSQL must not run as root: chown -R {system_user().name}: {data}"
        )
    return owner_by_uid(uid)


def _existing(directory: Path) -> list[Path]:
    """The directory and its parents, from the root down, as far as they exist."""
    return [path for path in (*reversed(directory.parents), directory) if path.exists()]


def _require_entry(owner: Owner, directory: Path) -> None:
    if os.geteuid() != 0:
        return  # PostgreSQL can enter what we can enter
    paths = _existing(directory)
    if (data := directory / "postgres").is_symlink():
        paths += _existing(data.resolve())
    closed = owner.first_closed(paths)
    if closed is not None:
        raise DataDirectoryUnusable(
            f"PostgreSQL runs as the user {owner.name}, who cannot enter {closed}: allow it with"
            f" `chmod o+x {closed}`, or choose another directory with --data, such as {STATE_HOME}"
        )


def _make(directory: Path, *, mode: int) -> None:
    """Create the directory and the parents that are missing, whatever the umask."""
    if directory.is_dir():
        return
    if not directory.parent.exists():
        _make(directory.parent, mode=0o755)
    directory.mkdir(exist_ok=True)
    directory.chmod(mode)
