"""Traces in the log say where it went wrong, never with what: the values of variables are the shop's."""

import subprocess
import sys

import pytest

FAILING = """
import sys
from punchcard import log, settings
log.configure(settings.load(environment={}, arguments={"log_format": sys.argv[1]}), part="test")

def fails(person):
    token = "-".join(["secret", "of", person])
    raise RuntimeError("went wrong")

try:
    fails("frieda")
except RuntimeError as error:
    log.get("test").exception("defect", exc_info=error)
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_trace_shows_no_values(log_format: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", FAILING, log_format], capture_output=True, text=True, check=True
    ).stderr
    assert "RuntimeError: went wrong" in said
    assert "in fails" in said
    assert "frieda" not in said
