"""What a project that floods the queue does to the waits of the others: the rule in memory, and real workers.

Jobs of 1,000 projects arrive at random, most of them from a few projects (Zipf), so many that they alone keep the
workers busy for a given share of the time. In the second half of each pair the first project floods the queue as
well. A job waits from its commit to the start of its portion. A round is what it takes to serve every lane
that has work once: lanes with work / workers x portion.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, median

import msgspec
from msgspec import Struct

from benchmarks.figures import at, ms

FLOODS = 0


class Arrival(Struct, frozen=True):
    """A job: when it arrives, whose it is, and how long its one portion takes, in seconds."""

    at: float
    project: int
    seconds: float


class Served(Struct, frozen=True):
    """A portion: whose it was, when its job arrived, when it was its turn in its lane, when it started and ended."""

    project: int
    arrived: float
    ready: float
    started: float
    ended: float

    @property
    def wait(self) -> float:
        return self.started - self.arrived


class Mix(Struct, frozen=True):
    """What arrives. Portions take `portion_s` on average, turns of a worker `turn_s`; the flood is there before all."""

    projects: int = 1000
    jobs: int = 2000
    workers: int = 2
    load: float = 0.7
    portion_s: float = 0.25
    turn_s: float = 0.25
    flood: int = 0

    def arrivals(self, seed: int) -> list[Arrival]:
        """The same for each seed, but for the flood."""
        draw = random.Random(seed)
        shares = list(itertools.accumulate(1 / rank for rank in range(1, self.projects + 1)))
        mean_gap_s = self.turn_s / (self.load * self.workers)
        moments = itertools.accumulate(draw.expovariate(1 / mean_gap_s) for _ in range(self.jobs))
        projects = draw.choices(range(self.projects), cum_weights=shares, k=self.jobs)
        mixed = [
            Arrival(moment, project, self._seconds(draw)) for moment, project in zip(moments, projects, strict=True)
        ]
        return [*(Arrival(0, FLOODS, self._seconds(draw)) for _ in range(self.flood)), *mixed]

    def _seconds(self, draw: random.Random) -> float:
        # portions are sized by time: they differ, but not without bounds
        return self.portion_s * draw.uniform(0.5, 1.5)


# ---- the rule ----------------------------------------------------------------------------------


def simulate(arrivals: Sequence[Arrival], workers: int) -> Iterator[Served]:
    """Portions as they start, by the rule: each free worker takes the lane served longest ago of those with work.

    One portion a turn, and at most one worker a lane; `arrivals` in their order. Ends when only the flood is left.
    """
    waiting: dict[int, deque[Arrival]] = {}
    # since when the lane has a job that may start
    ready_since: dict[int, float] = {}
    served: dict[int, int] = {}
    turns, busy = list[tuple[int, int]](), list[tuple[float, int]]()
    numbers, coming = itertools.count(1), deque(arrivals)
    others = sum(1 for one in arrivals if one.project != FLOODS)

    def make_ready(project: int, now: float) -> None:
        ready_since[project] = now
        heapq.heappush(turns, (served.get(project, 0), project))

    while others:
        if busy and (not coming or busy[0][0] <= coming[0].at):
            now, project = heapq.heappop(busy)
            if waiting[project]:
                make_ready(project, now)
        else:
            arrival = coming.popleft()
            now, lane = arrival.at, waiting.setdefault(arrival.project, deque())
            lane.append(arrival)
            if len(lane) == 1 and all(project != arrival.project for _, project in busy):
                make_ready(arrival.project, now)
        while turns and len(busy) < workers:
            _, project = heapq.heappop(turns)
            job = waiting[project].popleft()
            served[project] = next(numbers)
            heapq.heappush(busy, (now + job.seconds, project))
            others -= project != FLOODS
            yield Served(project, job.at, ready_since[project], now, now + job.seconds)


# ---- what is found -----------------------------------------------------------------------------


class Found(Struct):
    """Of the others: waits, in seconds, and the mean round; of all: the longest portion, and the rule's bound.

    `served_meanwhile` is how often one lane was served at most while another had a job ready: by the rule once.
    """

    waits: list[float]
    round_s: float
    worst_portion_s: float
    served_meanwhile: int


def sum_up(portions: Iterable[Served], workers: int) -> Found:
    """What a run came to."""
    served = sorted(portions, key=lambda one: one.started)
    others = [one for one in served if one.project != FLOODS]
    portion_s = fmean(one.ended - one.started for one in served)
    lanes = fmean(_lanes_with_work(served, others))
    return Found(
        waits=[one.wait for one in others],
        round_s=lanes / workers * portion_s,
        worst_portion_s=max(one.ended - one.started for one in served),
        served_meanwhile=max(_served_meanwhile(served)),
    )


def _lanes_with_work(served: Sequence[Served], others: Sequence[Served]) -> Iterator[int]:
    """How many lanes have work, the flood's among them, whenever a job of the others arrives; its own counts."""
    changes = sorted(
        itertools.chain(
            ((one.arrived, 0, one.project) for one in served),
            ((one.ended, 2, one.project) for one in served),
            ((one.arrived, 1, one.project) for one in others),
        )
    )
    jobs: dict[int, int] = {}
    for _, kind, project in changes:
        if kind == 1:
            yield len(jobs)
            continue
        jobs[project] = jobs.get(project, 0) + (1 if kind == 0 else -1)
        if not jobs[project]:
            del jobs[project]


def _served_meanwhile(served: Sequence[Served]) -> Iterator[int]:
    """For each portion, how often the lane that was served most was, while this one's job was ready."""
    for number, one in enumerate(served):
        times: dict[int, int] = {}
        for other in reversed(served[:number]):
            if other.started <= one.ready:
                break
            times[other.project] = times.get(other.project, 0) + 1
        yield max(times.values(), default=0)


class Pair(Struct):
    """The same arrivals without the flood and with it."""

    calm: Found
    flooded: Found

    @property
    def rounds_more(self) -> float:
        """By how many rounds the 99th percentile of the others' waits grew."""
        return (at(self.flooded.waits, 0.99) - at(self.calm.waits, 0.99)) / self.flooded.round_s


class Sizes(Struct):
    """Seeds of the simulation and its loads; how large its mix and its flood are."""

    seeds: int = 50
    loads: tuple[float, ...] = (0.5, 0.7, 0.9)
    mix: Mix = Mix()
    flood: int = 20_000


def measure(sizes: Sizes) -> dict[float, list[Pair]]:
    """Simulate all seeds at each load."""
    return {load: [_pair(sizes, load, seed) for seed in range(sizes.seeds)] for load in sizes.loads}


def _pair(sizes: Sizes, load: float, seed: int) -> Pair:
    mix = msgspec.structs.replace(sizes.mix, load=load)
    flooded = msgspec.structs.replace(mix, flood=sizes.flood)
    calm, wet = (sum_up(simulate(one.arrivals(seed), mix.workers), mix.workers) for one in (mix, flooded))
    return Pair(calm, wet)


# ---- what is printed ---------------------------------------------------------------------------

HEADING = ("run", "wait p50", "p90", "p99", "max", "round", "worst portion", "p99 grew by, in rounds")


def rows(what: str, pairs: Sequence[Pair]) -> list[tuple[str, ...]]:
    """Waits of the others, all runs together; the growth is the median of the pairs, the lowest and the highest."""
    grown = [pair.rounds_more for pair in pairs]
    change = f"{median(grown):.2f} ({min(grown):.2f} to {max(grown):.2f})"
    return [
        (f"{what}, no flood", *_waits([pair.calm for pair in pairs]), ""),
        (f"{what}, flood", *_waits([pair.flooded for pair in pairs]), change),
    ]


def _waits(runs: Sequence[Found]) -> Iterator[str]:
    waits = [wait for run in runs for wait in run.waits]
    for share in (0.5, 0.9, 0.99, 1):
        yield ms(at(waits, share), 0)
    yield ms(fmean(run.round_s for run in runs), 0)
    yield ms(max(run.worst_portion_s for run in runs), 0)


def most_served(pairs: Sequence[Pair]) -> int:
    """How many portions one lane got at most while another one waited with a job ready."""
    return max(max(pair.calm.served_meanwhile, pair.flooded.served_meanwhile) for pair in pairs)
