"""Random scheduling, cancelling, pausing, failing and crashing against a model of the lanes.

PUNCHCARD_MODEL_EXAMPLES sets how many histories are tried.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.bulk.machine import LaneMachine

# about a second each
EXAMPLES = int(os.environ.get("PUNCHCARD_MODEL_EXAMPLES", "10"))
STEPS = 30


@pytest.mark.timeout(7200)
def test_the_lanes_do_what_the_model_allows(workerless: str) -> None:
    class Machine(LaneMachine):
        def __init__(self) -> None:
            super().__init__(workerless)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            # a history that hangs takes too long to be tried in smaller parts: it is shown as it was
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
