"""A link to PostgreSQL that can go silent: nothing is forwarded any more, nothing is closed, nobody is told."""

import contextlib
import shutil
import socket
import struct
import threading
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from tests.deployment import open_directory

CHUNK_BYTES = 65_536
SOCKET = ".s.PGSQL.5432"
COPY_IN_RESPONSE = b"G"
LENGTH_BYTES = 4


class ServerMessages:
    """Notices PostgreSQL's invitation to send rows in the stream of its messages (type, length, body)."""

    def __init__(self) -> None:
        self._rest = b""
        self._skip = 0

    def invites_copy(self, data: bytes) -> bool:
        """Whether a CopyInResponse begins in this part of the stream."""
        found, data = False, self._rest + data
        while data:
            if self._skip:
                step = min(self._skip, len(data))
                self._skip -= step
                data = data[step:]
            elif len(data) <= LENGTH_BYTES:
                break
            else:
                found = found or data[:1] == COPY_IN_RESPONSE
                self._skip = 1 + struct.unpack("!I", data[1:5])[0]
        self._rest = data
        return found


class Proxy:
    """A directory with a socket that leads to another server's."""

    def __init__(self, dsn: str) -> None:
        self._target = str(Path(parse_qs(urlsplit(dsn).query)["host"][0]) / SOCKET)
        self._folder = open_directory()
        self.dsn = f"postgresql://punchcard@/punchcard?host={quote(str(self._folder), safe='')}&port=5432"
        self._flowing = threading.Event()
        self._flowing.set()
        self.went_silent = threading.Event()
        # go silent by itself when so many bytes of rows have passed
        self._copy_bytes: int | None = None
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._folder / SOCKET))
        self._listener.listen(50)
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> None:
        """Forward nothing from now on, on no connection, in no direction."""
        self._flowing.clear()
        self.went_silent.set()

    def silence_in_copy(self, after_bytes: int) -> None:
        """Fall silent inside the next COPY FROM STDIN, when so many bytes of it have passed."""
        self._copy_bytes = after_bytes

    def resume(self) -> None:
        """Forward again, also what has come meanwhile."""
        self._copy_bytes = None
        self._flowing.set()

    def close(self) -> None:
        for one in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._flowing.set()
        shutil.rmtree(self._folder)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self._sockets += [client, server]
                try:
                    server.connect(self._target)
                except OSError:
                    client.close()
                    continue
                copying = threading.Event()
                for source, sink, upward in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._forward, args=(source, sink, copying, upward), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, copying: threading.Event, upward: bool) -> None:
        messages, passed = ServerMessages(), 0
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._flowing.wait()
                if not upward and messages.invites_copy(data):
                    copying.set()
                if upward and copying.is_set() and self._copy_bytes is not None:
                    allowed = max(0, self._copy_bytes - passed)
                    if len(data) > allowed:
                        sink.sendall(data[:allowed])
                        self.silence()
                        self._flowing.wait()
                        data = data[allowed:]
                    passed += allowed
                sink.sendall(data)
        # also when an end was reset: the kernel would tell the other end so
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
