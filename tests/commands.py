"""`punchcard` commands, each in a process of its own, which a process forks that has imported all they need.

Importing takes 0.6 s of processor time, most of what a short command takes, and the tests run many hundred of them.
"""

import array
import atexit
import contextlib
import functools
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

_LENGTH = 8


class _Command(msgspec.Struct):
    """What is to be run, and where."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str


def run(
    arguments: Sequence[str], environment: Mapping[str, str], *, stdin: bytes | None = None, seconds: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run `punchcard` with these arguments, and with nothing else in its environment."""
    with contextlib.ExitStack() as files:
        given, out, err = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        given.write(stdin or b"")
        given.seek(0)
        link = files.enter_context(socket.socket(socket.AF_UNIX))
        link.settimeout(seconds)
        link.connect(str(_forker()))
        command = msgspec.json.encode(_Command(list(arguments), dict(environment), str(Path.cwd())))
        descriptors = array.array("i", [given.fileno(), out.fileno(), err.fileno()])
        socket.send_fds(link, [len(command).to_bytes(_LENGTH)], list(descriptors))
        link.sendall(command)
        status = b"".join(iter(lambda: link.recv(64), b""))
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(
            ["punchcard", *arguments], int(status), stdout=out.read().decode(), stderr=err.read().decode()
        )


@functools.cache
def _forker() -> Path:
    """Where the process that forks listens; it ends with this one."""
    folder = tempfile.TemporaryDirectory(prefix="punchcard-commands-")
    path = Path(folder.name, "socket")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.commands", str(path)],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"listening\n"

    def end() -> None:
        process.communicate(timeout=60)
        folder.cleanup()

    atexit.register(end)
    return path


# ---- the process that forks ----


def _serve(path: str) -> None:
    """Fork a process for each command, until standard input ends."""
    from punchcard import cli  # noqa: PLC0415 - only here is it to be imported before a command is run

    for module in pkgutil.walk_packages(cli.__path__, f"{cli.__name__}."):
        __import__(module.name)
    # nobody waits for those who attend to a command
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(100)
        print("listening", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            link, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _attend(link)
            link.close()


def _attend(link: socket.socket) -> NoReturn:
    """Run the command that is sent, and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, descriptors, _, _ = socket.recv_fds(link, _LENGTH, 3)
    left, parts = int.from_bytes(head), list[bytes]()
    while left:
        parts.append(link.recv(left))
        left -= len(parts[-1])
    child = os.fork()
    if child == 0:
        link.close()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        _become(msgspec.json.decode(b"".join(parts), type=_Command))
    _, status = os.waitpid(child, 0)
    link.sendall(b"%d" % os.waitstatus_to_exitcode(status))
    link.close()
    os._exit(0)


def _become(command: _Command) -> NoReturn:
    os.chdir(command.folder)
    os.environ.clear()
    os.environ.update(command.environment)
    sys.argv = ["punchcard", *command.arguments]
    status: object = 1
    try:
        runpy.run_module("punchcard", run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        if isinstance(status, str):
            print(status, file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status if isinstance(status, int) else 0 if status is None else 1)


if __name__ == "__main__":
    _serve(sys.argv[1])
