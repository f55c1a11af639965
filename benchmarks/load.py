"""Load on a server from many kept connections at once: one process of its own, since it takes a core.

`python -m benchmarks.load` reads a `Plan` as JSON and writes the seconds of each request.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import msgspec
from msgspec import Struct


class Plan(Struct):
    """So many connections send requests for so long, each the next one once it has its answer.

    `bodies` are taken one after the other by all of them; without any the requests are GETs.
    """

    port: int
    path: str
    headers: dict[str, str]
    connections: int
    seconds: float
    bodies: list[str] = []


class Measured(Struct):
    """Seconds of each request, the seconds that all took together, and what was answered otherwise than with 200."""

    requests: list[float]
    seconds: float
    refused: list[str]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.requests) / self.seconds


def run(plan: Plan) -> Measured:
    """Carry out a plan in a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"], input=msgspec.json.encode(plan), capture_output=True, check=True
    )
    return msgspec.json.decode(answer.stdout, type=Measured)


def start(plan: Plan) -> Callable[[], Measured]:
    """Have a plan carried out beside something else; what it measured is returned by the returned function."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(plan))
    process.stdin.close()
    process.stdin = None

    def finished() -> Measured:
        output, _ = process.communicate()
        return msgspec.json.decode(output, type=Measured)

    return finished


async def _carry_out(plan: Plan) -> Measured:
    requests = _requests(plan)
    took: list[float] = []
    refused: list[str] = []
    began = time.perf_counter()
    end = began + plan.seconds
    await asyncio.gather(*[_client(plan.port, requests, end, took, refused) for _ in range(plan.connections)])
    return Measured(took, time.perf_counter() - began, refused[:10])


def _requests(plan: Plan) -> Iterator[bytes]:
    head = "".join(f"{name}: {value}\r\n" for name, value in plan.headers.items())
    if not plan.bodies:
        request = f"GET {plan.path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{head}\r\n".encode()
        while True:
            yield request
    for body in plan.bodies:
        content = body.encode()
        yield (
            f"POST {plan.path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{head}content-type: application/json\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        ).encode() + content


async def _client(port: int, requests: Iterator[bytes], end: float, took: list[float], refused: list[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for request in requests:
            began = time.perf_counter()
            if began >= end:
                break
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            body = await reader.readexactly(length)
            took.append(time.perf_counter() - began)
            if not head.startswith("http/1.1 200"):
                refused.append(f"{head.splitlines()[0]} {body[:300].decode(errors='replace')}")
    finally:
        writer.close()


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_carry_out(given))))
