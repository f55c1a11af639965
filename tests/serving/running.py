"""What of a deployment runs, asked of the kernel, and a stand-in for a database server that is not well."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.deployment import Deployment, until

POSTGRES = "postgres"
END_SECONDS = 60.0


def running(deployment: Deployment) -> dict[int, str]:
    """The processes of a deployment that are alive, with their roles, what has lost its parent included."""
    assert deployment.process is not None
    found = {}
    mark = f"PUNCHCARD_PORT={deployment.port}\0".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked
            if (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                continue
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if (entry / "cwd").resolve().is_relative_to(deployment.data):
                found[int(entry.name)] = POSTGRES
            elif mark in (entry / "environ").read_bytes():
                found[int(entry.name)] = arguments[-2].decode()
            elif int(entry.name) == deployment.process.pid:
                found[int(entry.name)] = "serve"
    return found


def one(deployment: Deployment, role: str) -> int:
    """The process with this role; of PostgreSQL's the postmaster."""
    if role == POSTGRES:
        return int((deployment.data / "postgres/postmaster.pid").read_text().split()[0])
    pids = [pid for pid, its in running(deployment).items() if its == role]
    assert pids, f"no {role} runs"
    return pids[0]


def kill(deployment: Deployment, role: str) -> int:
    """SIGKILL the process with this role; returns its number."""
    pid = one(deployment, role)
    os.kill(pid, signal.SIGKILL)
    return pid


def nothing_left(deployment: Deployment) -> None:
    """Wait until no process of the deployment is alive; fail naming those that stay."""
    with contextlib.suppress(AssertionError):
        until(lambda: not running(deployment), END_SECONDS)
    assert running(deployment) == {}


@contextlib.contextmanager
def started(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command in the background with its output in a file; killed at the end if it is still there."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


STARTING = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"


@dataclass
class Relay:
    """A server that says that PostgreSQL is starting up, or passes everything on to a real one.

    With `version` it lets everybody in and says that it is PostgreSQL of that version.
    """

    target: str
    starting: bool = False
    version: str | None = None
    refused: int = 0
    _open: set[socket.socket] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join()

    @property
    def dsn(self) -> str:
        return (
            f"postgresql://punchcard:pa55-of-relay@127.0.0.1:{self.port}/punchcard?sslmode=disable&gssencmode=disable"
        )

    def cut(self) -> None:
        """End all connections, as a crash of the server does."""
        for link in tuple(self._open):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        threads = []
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                link, _ = self._listener.accept()
                threads.append(threading.Thread(target=self._serve, args=(link,)))
                threads[-1].start()
        self.cut()
        for thread in threads:
            thread.join()

    def _serve(self, link: socket.socket) -> None:
        with link, contextlib.suppress(OSError, struct.error):
            self._open.add(link)
            try:
                first = link.recv(1 << 16)
                if self.starting:
                    self.refused += 1
                    link.sendall(b"E" + struct.pack("!i", 4 + len(STARTING)) + STARTING)
                elif self.version:
                    status = f"server_version\0{self.version}\0".encode()
                    link.sendall(b"R" + struct.pack("!ii", 8, 0) + b"S" + struct.pack("!i", 4 + len(status)) + status)
                    link.sendall(b"Z" + struct.pack("!i", 5) + b"I")
                    link.recv(1 << 16)
                else:
                    self._pass_on(link, first)
            finally:
                self._open.discard(link)

    def _pass_on(self, link: socket.socket, first: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as real:
            real.connect(self.target)
            self._open.add(real)
            real.sendall(first)
            back = threading.Thread(target=_pump, args=(real, link))
            back.start()
            _pump(link, real)
            back.join()
            self._open.discard(real)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
