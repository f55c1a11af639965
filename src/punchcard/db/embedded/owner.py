"""The operating system's user that PostgreSQL runs as.

PostgreSQL refuses to run as root. Started by root, its processes get an unprivileged user; started by
anybody else they run as that user. What the user may do is found out by doing it as that user: mode
bits alone know nothing of access lists, security modules or mount options.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from punchcard.db.embedded.refusals import DataDirectoryUnusable

SYSTEM_USER = "punchcard"
# Users that PostgreSQL may run as when we are root, in this order; the first is made where it is missing.
SYSTEM_USERS = (SYSTEM_USER, "postgres")
MAKE_SYSTEM_USER = (
    "useradd", "--system", "--user-group", "--no-create-home",
    "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SYSTEM_USER,
)  # fmt: skip
PR_SET_PDEATHSIG = 1
CHECK_SECONDS_MAX = 60


@dataclass(frozen=True)
class Owner:
    """A user of this machine, and how to run a program as that user."""

    name: str
    uid: int
    gid: int

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a short command as this user and return what it printed and how it ended (126, 127: not at all)."""
        # Through a shell, so that a program the user cannot execute is an exit status and not confused
        # with a system that does not let us change the user.
        with self._changing_user():
            return subprocess.run(
                ["/bin/sh", "-c", 'exec "$@"', "sh", *map(str, command)],
                cwd="/",
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
                timeout=CHECK_SECONDS_MAX,
                user=self._uid,
                group=self._gid,
                extra_groups=self._groups,
            )

    def launch(
        self, *command: str | Path, cwd: Path, output: IO[bytes], dies_by: signal.Signals
    ) -> subprocess.Popen[bytes]:
        """Start a program as this user that the kernel ends with `dies_by` when the calling thread ends.

        In a session of its own: Ctrl-C in the terminal must not reach the database before its clients.
        """
        with self._changing_user():
            return subprocess.Popen(
                [str(word) for word in command],
                cwd=cwd,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._uid,
                group=self._gid,
                extra_groups=self._groups,
                preexec_fn=_ended_with_parent(dies_by),  # noqa: PLW1509  it makes two system calls and takes no lock
            )

    def first_closed(self, directories: Iterable[Path]) -> Path | None:
        """The first of these directories that this user cannot enter."""
        loop = 'for d do cd -- "$d" 2>/dev/null || { printf %s "$d"; exit 1; }; done'
        outcome = self.run("/bin/sh", "-c", loop, "sh", *directories)
        return Path(outcome.stdout) if outcome.returncode else None

    @property
    def _uid(self) -> int | None:
        return self.uid if os.geteuid() == 0 else None

    @property
    def _gid(self) -> int | None:
        return self.gid if os.geteuid() == 0 else None

    @property
    def _groups(self) -> list[int] | None:
        return os.getgrouplist(self.name, self.gid) if os.geteuid() == 0 else None

    def _changing_user(self) -> "_ChangingUser":
        return _ChangingUser(self.name)


class _ChangingUser:
    """Says what is wrong when root is not allowed to become another user, as in a container without rights."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PermissionError) and os.geteuid() == 0:
            raise DataDirectoryUnusable(
                f"PostgreSQL must not run as root, and this root may not change to the user {self._name}:"
                " start Punchcard as an ordinary user, or give the container CAP_SETUID and CAP_SETGID"
            ) from None


def environment() -> dict[str, str]:
    """The environment of PostgreSQL's programs: nothing of the caller's PG* variables, messages in English."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C"} | kept


def owner_by_uid(uid: int) -> Owner:
    """The user with this number; PostgreSQL's peer authentication needs its name."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise DataDirectoryUnusable(
            f"The user id {uid} has no name on this system and PostgreSQL needs one: add a line for it to"
            " /etc/passwd, start as another user, or use a server of your own with --database-url"
        ) from None
    return Owner(entry.pw_name, entry.pw_uid, entry.pw_gid)


def stand_in() -> Owner:
    """A user with the rights of `system_user`, for questions that must not create it."""
    for name in (*SYSTEM_USERS, "nobody"):
        with suppress(KeyError):
            return owner_by_uid(pwd.getpwnam(name).pw_uid)
    return Owner("nobody", 65534, 65534)


def system_user() -> Owner:
    """The user for PostgreSQL when we are root; made on first use."""
    problem = "useradd is not installed"
    if not _exists(SYSTEM_USER) and (useradd := shutil.which("useradd", path=f"{os.defpath}:/usr/sbin:/sbin")):
        made = subprocess.run([useradd, *MAKE_SYSTEM_USER[1:]], capture_output=True, text=True, check=False)
        problem = made.stderr.strip()
    for name in SYSTEM_USERS:
        if _exists(name):
            return owner_by_uid(pwd.getpwnam(name).pw_uid)
    raise DataDirectoryUnusable(
        f"PostgreSQL must not run as root and no user for it could be made ({problem})."
        f" Make one: {' '.join(MAKE_SYSTEM_USER)}"
    )


def _exists(name: str) -> bool:
    with suppress(KeyError):
        return pwd.getpwnam(name).pw_uid != 0
    return False


def _ended_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """What the new process does before it becomes PostgreSQL: ask the kernel to end it with us (Linux only)."""
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def arm() -> None:
        libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0)
        if os.getppid() != parent:  # we died before the kernel was asked
            os._exit(1)

    return arm
