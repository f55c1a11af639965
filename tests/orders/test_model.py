"""Random imports against a model of the rules. PUNCHCARD_MODEL_EXAMPLES sets how many histories are tried."""

import os

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.deployment import Deployment
from tests.orders.machine import ImportMachine

# each is a project with several imports, every one compared: about a second
EXAMPLES = int(os.environ.get("PUNCHCARD_MODEL_EXAMPLES", "20"))
STEPS = 6


def test_the_server_holds_what_the_model_holds(deployment_18: Deployment) -> None:
    class Machine(ImportMachine):
        def __init__(self) -> None:
            super().__init__(deployment_18)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
