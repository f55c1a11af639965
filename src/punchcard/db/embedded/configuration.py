"""PostgreSQL's configuration, written at every start so that changed settings apply.

An operator's own lines go into postgresql.own.conf beside it, which is never written and wins.
"""

import os
from contextlib import suppress
from pathlib import Path

from punchcard.db.embedded.owner import Owner, owner_by_uid
from punchcard.db.embedded.place import SOCKET_PORT, Place, give
from punchcard.db.embedded.refusals import acting_on

ROLE = "punchcard"
DATABASE = "punchcard"
MIB = 1 << 20
# Shared memory segments of parallel queries; containers often have 64 MB of /dev/shm.
SHARED_MEMORY_BYTES_MIN = 512 * MIB
CONTROL_GROUPS = Path("/sys/fs/cgroup")

CONFIGURATION = """\
# Written by Punchcard at every start. Your own lines: postgresql.own.conf in this directory.
listen_addresses = ''
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = {connections_max}

shared_buffers = {shared_buffers}MB
effective_cache_size = {effective_cache_size}MB
work_mem = {work_mem}MB
maintenance_work_mem = {maintenance_work_mem}MB
dynamic_shared_memory_type = {dynamic_shared_memory_type}

fsync = on
full_page_writes = on
synchronous_commit = on
max_wal_size = 4GB
min_wal_size = 256MB
checkpoint_timeout = 15min
wal_compression = pglz

random_page_cost = 1.1
jit = off

autovacuum_naptime = 15s
autovacuum_vacuum_scale_factor = 0.05
autovacuum_vacuum_insert_scale_factor = 0.1
autovacuum_analyze_scale_factor = 0.02
autovacuum_vacuum_cost_limit = 1000

timezone = 'UTC'
lc_messages = 'C'

# Statements and their values stay out of the log: they are our users' customers.
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %e '
log_min_error_statement = panic
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_checkpoints = off
"""
OWN_FILE = "postgresql.own.conf"


def write(place: Place, *, connections_max: int, memory_percent: int) -> None:
    """Write all files that say how the server of this place runs and who may connect."""
    configuration = _configuration(place.sockets, connections_max, memory_percent)
    with acting_on(place.data):
        if (place.data / OWN_FILE).exists():
            configuration += f"\ninclude '{OWN_FILE}'\n"
        for name, text in (
            ("postgresql.conf", configuration),
            ("pg_hba.conf", "# Written by Punchcard at every start.\nlocal all all peer map=punchcard\n"),
            ("pg_ident.conf", _identities(place.owner)),
        ):
            _replace(place.data / name, text, place.owner)


def memory_bytes() -> int:
    """The memory this process may use: the machine's, or the smallest limit of our control groups."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_control_group_limits()])


def _configuration(sockets: Path, connections_max: int, memory_percent: int) -> str:
    memory = memory_bytes() // MIB
    return CONFIGURATION.format(
        port=SOCKET_PORT,
        sockets=sockets,
        connections_max=connections_max,
        shared_buffers=max(32, memory * memory_percent // 100),
        effective_cache_size=max(64, memory // 2),
        work_mem=min(64, max(4, memory // (8 * connections_max))),
        maintenance_work_mem=min(1024, max(32, memory // 16)),
        dynamic_shared_memory_type="posix" if _shared_memory_is_ample() else "mmap",
    )


def _identities(owner: Owner) -> str:
    """Who may connect, all as our one role: root, PostgreSQL's user, and whoever starts Punchcard."""
    names = sorted({"root", owner.name, owner_by_uid(os.geteuid()).name})
    lines = [f'punchcard "{name}" {ROLE}' for name in names]
    return "\n".join(["# Written by Punchcard at every start.", *lines, ""])


def _replace(path: Path, text: str, owner: Owner) -> None:
    """Put a complete file in place of the old one, also when we are stopped halfway."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    # Root writes into a directory of another user here: never through a link left for us.
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    give(unfinished, owner)
    unfinished.rename(path)


def _shared_memory_is_ample() -> bool:
    with suppress(OSError):
        free = os.statvfs("/dev/shm")  # noqa: S108  the mount is asked for its size, no file is made
        return free.f_bavail * free.f_frsize >= SHARED_MEMORY_BYTES_MIN
    return False


def _control_group_limits() -> list[int]:
    """Limits of our control group and the ones around it, of version 2 and of version 1."""
    files = [CONTROL_GROUPS / "memory/memory.limit_in_bytes", CONTROL_GROUPS / "memory.max"]
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, _, path = line.split(":", 2)
            if number == "0":
                group = CONTROL_GROUPS / path.lstrip("/")
                files += [above / "memory.max" for above in (group, *group.parents) if above != CONTROL_GROUPS]
    limits = []
    for file in files:
        with suppress(OSError, ValueError):  # absent, or "max"
            limits.append(int(file.read_text()))
    return [limit for limit in limits if limit > 0]
