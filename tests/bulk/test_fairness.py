"""The rule by which workers take lanes, in memory over many seeds, as the benchmark simulates it.

A lane with a job ready waits at most for one portion of every other lane.
"""

import itertools
from collections import defaultdict

import pytest

from benchmarks import fairness
from benchmarks.fairness import FLOODS, Mix, Served, simulate, sum_up

SEEDS = 1500


def small_mix(seed: int) -> Mix:
    """A mix that differs by its seed."""
    return Mix(
        projects=2 + seed % 11, jobs=25, workers=1 + seed % 4, load=(0.4, 0.9, 3.0)[seed % 3], flood=seed % 2 * 20
    )


def test_no_lane_is_served_twice_while_another_waits() -> None:
    for seed in range(SEEDS):
        mix = small_mix(seed)
        found = sum_up(simulate(mix.arrivals(seed), mix.workers), mix.workers)
        assert found.served_meanwhile <= 1, f"seed {seed}"


def test_each_job_of_the_others_is_served_once_in_its_order_and_lanes_one_at_a_time() -> None:
    for seed in range(0, SEEDS, 5):
        mix = small_mix(seed)
        arrivals = mix.arrivals(seed)
        served = list(simulate(arrivals, mix.workers))
        by_lane = defaultdict[int, list[Served]](list)
        for one in served:
            by_lane[one.project].append(one)
        expected = [one.at for one in arrivals if one.project != FLOODS]
        assert sorted(one.arrived for one in served if one.project != FLOODS) == sorted(expected)
        for lane in by_lane.values():
            assert lane == sorted(lane, key=lambda one: one.arrived)
            assert all(earlier.ended <= later.started for earlier, later in itertools.pairwise(lane))
        for one in served:
            assert sum(other.started <= one.started < other.ended for other in served) <= mix.workers


def test_a_flood_costs_the_others_less_than_a_round() -> None:
    sizes = fairness.Sizes(seeds=5, loads=(0.7,), mix=Mix(projects=100, jobs=800), flood=4000)
    for pair in fairness.measure(sizes)[0.7]:
        assert pair.rounds_more < 1
    assert len(fairness.rows("simulated", fairness.measure(sizes)[0.7])) == 2


def test_a_lane_that_is_served_twice_is_found() -> None:
    served = [Served(1, 0, 0, 0, 1), Served(2, 0, 0, 3, 4), Served(1, 0, 1, 1, 2), Served(1, 0, 2, 2, 3)]
    found = sum_up(served, 1)
    assert found.served_meanwhile == 2
    # lane 2 arrives with lane 1: two lanes have work, one worker, portions of 1 s
    assert found.round_s == pytest.approx(2)
    assert sorted(found.waits) == [0, 1, 2, 3]


def test_the_flood_comes_before_the_same_mix() -> None:
    calm, flooded = Mix(jobs=10).arrivals(3), Mix(jobs=10, flood=4).arrivals(3)
    assert flooded[4:] == calm
    assert {(one.at, one.project) for one in flooded[:4]} == {(0, FLOODS)}
    assert all(0.125 <= one.seconds <= 0.375 for one in flooded)
