"""`python -m benchmarks.workers QUEUE DSN ...`: a worker process with jobs that do nothing; and how they are run.

The processes get ready, begin together when they are told, and stop when their input ends, so that none
outlives the benchmark.
"""

import argparse
import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import Struct

from benchmarks import empty
from punchcard import log
from punchcard import settings as configuration
from punchcard.bulk.worker import Worker

OURS, PROCRASTINATE = "punchcard", "procrastinate"
ROOT = Path(__file__).resolve().parent.parent
STOP_S = 30.0
# A job whose lock gets free is not announced there: who found none looks again after this. It is 5 s by itself.
PROCRASTINATE_POLL_S = 0.1
READY, GO, STOPPED = b"ready\n", b"go\n", b"stopped"


class Kind(Struct, frozen=True):
    """Which queue the workers work on, and how.

    `concurrency` is that of procrastinate's workers. With `stamps` each job tells when it started. A worker of
    ours stops by itself after `portions`, if that is not 0.
    """

    queue: str
    dsn: str
    concurrency: int = 1
    stamps: bool = False
    portions: int = 0

    def command(self) -> list[str]:
        words = [self.queue, self.dsn, f"--concurrency={self.concurrency}", f"--portions={self.portions}"]
        return [sys.executable, "-m", "benchmarks.workers", *words, *(["--stamps"] if self.stamps else [])]


class Workers:
    """Worker processes of one kind."""

    def __init__(self) -> None:
        self._processes: list[asyncio.subprocess.Process] = []
        self._readers: list[asyncio.Task[None]] = []
        # when the job of each number started, in seconds since 1970
        self.started: dict[int, float] = {}
        # processor time from the beginning to the stop, in seconds; of those that have stopped
        self.processor_s = 0.0
        self._news = asyncio.Condition()

    @classmethod
    @contextlib.asynccontextmanager
    async def ready(cls, kind: Kind, number: int) -> AsyncIterator["Workers"]:
        """So many processes, which have not begun."""
        workers = cls()
        pipe = asyncio.subprocess.PIPE
        try:
            for _ in range(number):
                process = await asyncio.create_subprocess_exec(*kind.command(), cwd=ROOT, stdin=pipe, stdout=pipe)
                workers._processes.append(process)
            for process in workers._processes:
                assert process.stdout is not None
                line = await process.stdout.readline()
                assert line == READY, f"a worker said {line!r}"
            workers._readers = [asyncio.create_task(workers._read(process)) for process in workers._processes]
            yield workers
        finally:
            await workers.stop()

    def begin(self) -> float:
        """Have them work; when that was, in seconds since 1970."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(GO)
        return time.time()

    def are_well(self) -> bool:
        """Whether all are running."""
        return all(process.returncode is None for process in self._processes)

    async def ended(self) -> None:
        """Wait until they have stopped by themselves."""
        await asyncio.gather(*self._readers)

    async def stop(self) -> None:
        """Have them stop; they must end well."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                ends = [await process.wait() for process in self._processes]
                await asyncio.gather(*self._readers)
        except TimeoutError:
            for process in self._processes:
                if process.returncode is None:
                    process.kill()
            raise
        assert set(ends) <= {0}, f"workers ended with {ends}"

    async def start_of(self, number: int) -> float:
        """When the job of this number started."""
        async with self._news:
            await self._news.wait_for(lambda: number in self.started)
        return self.started[number]

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            what, figure = line.split()
            if what == STOPPED:
                self.processor_s += float(figure)
                continue
            async with self._news:
                self.started[int(what)] = float(figure)
                self._news.notify_all()


# ---- in the process ----------------------------------------------------------------------------


class _Orders:
    """What the parent says: begin, and by the end of our input: stop."""

    def __init__(self) -> None:
        self.begin, self.stop = asyncio.Event(), asyncio.Event()

    def listen(self) -> None:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._hear)

    def _hear(self) -> None:
        if sys.stdin.buffer.readline():
            self.begin.set()
        else:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.begin.set()
            self.stop.set()


async def _work(kind: Kind) -> None:
    orders = _Orders()
    orders.listen()
    left = kind.portions

    def started(number: bytes) -> None:
        nonlocal left
        if kind.stamps:
            _say(b"%s %.6f\n" % (number, time.time()))
        left -= 1
        if left == 0:
            orders.stop.set()

    work = _ours if kind.queue == OURS else _procrastinate
    began = await work(kind, orders, started)
    _say(b"%s %.6f\n" % (STOPPED, time.process_time() - began))


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


async def _ours(kind: Kind, orders: _Orders, started: empty.Started) -> float:
    """Work until told to stop; how much processor time had been used before."""
    settings = configuration.load(environment={}, arguments={"log_level": "error"})
    log.configure(settings, part="bench")
    worker = Worker(kind.dsn, empty.jobs(started), settings)
    _say(READY)
    await orders.begin.wait()
    before = time.process_time()
    await worker.run(orders.stop)
    return before


async def _procrastinate(kind: Kind, orders: _Orders, started: empty.Started) -> float:
    """Work until told to stop; how much processor time had been used before."""
    # half a second that a worker of ours does not need
    from benchmarks.procrastinate_jobs import Empty  # noqa: PLC0415

    # it would write several lines a job
    logging.getLogger("procrastinate").setLevel(logging.ERROR)
    application = Empty(kind.dsn, concurrency=kind.concurrency, started=started)
    async with application.app.open_async():
        _say(READY)
        await orders.begin.wait()
        before = time.process_time()
        work = asyncio.create_task(
            application.app.run_worker_async(
                concurrency=kind.concurrency,
                fetch_job_polling_interval=PROCRASTINATE_POLL_S,
                install_signal_handlers=False,
            )
        )
        await asyncio.wait({work, asyncio.create_task(orders.stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        return before


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("queue", choices=(OURS, PROCRASTINATE))
    parser.add_argument("dsn")
    parser.add_argument("--concurrency", type=int)
    parser.add_argument("--portions", type=int)
    parser.add_argument("--stamps", action="store_true")
    asyncio.run(_work(Kind(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
