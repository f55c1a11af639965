"""What a body may cost others: the reading of a hostile one, and senders that dribble."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from litestar import Request

from punchcard.errors import InvalidPayload
from punchcard.http import shapes
from punchcard.http.bodies import BodyBudget, BodyTimeout
from tests.deployment import Project

JSON = {"content-type": "application/json"}
BODY_BYTES = 31 * 1024 * 1024
# what looks like a NUL makes all values be looked at; an order of a megabyte is not refused for their number
HOSTILE_ORDER = b'{"metadata":{"n":"\\\\u0000","a":[""' + b',""' * 330_000 + b"]}}"
HOSTILE = b"[" + b",".join([HOSTILE_ORDER] * (BODY_BYTES // len(HOSTILE_ORDER))) + b',{"amount":"wrong"}]'
READING_SECONDS_MAX = 60


def test_others_are_answered_while_a_hostile_body_is_read(project_18: Project) -> None:
    waits = []
    with ThreadPoolExecutor(1) as threads:
        began = time.monotonic()
        sent = threads.submit(project_18.http.post, "/v1/orders/import", content=HOSTILE, headers=JSON)
        while not sent.done():
            asked_at = time.monotonic()
            assert project_18.http.get("/healthz").status_code == 200
            waits.append(time.monotonic() - asked_at)
            time.sleep(0.01)
        assert sent.result().status_code == 400
    seconds = time.monotonic() - began
    assert seconds < READING_SECONDS_MAX
    assert max(waits) < 0.8 * seconds


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, "x", {"b": "\x00"}]}, ".o.a[2].b"),
        ({"a": "x", "\x00": "x"}, ".o"),
        ("\x00", ".o"),
        ({"a": [["x", "y\x00"]]}, ".o.a[0][1]"),
    ],
)
def test_a_nul_character_is_refused_where_it_stands(value: Any, path: str) -> None:
    with pytest.raises(InvalidPayload, match="must not contain a NUL") as refused:
        shapes.refuse_nul(value, ".o")
    assert str(refused.value.details).startswith(f"Property {path} must")


@pytest.mark.parametrize("text", ["", "\x00", "\\", "\\u0000", "\\\x00", "\n\\u0000", "\x01\\\\u0000", "\\\\\x00"])
def test_a_nul_character_is_told_from_its_look(text: str) -> None:
    assert shapes.holds_nul(msgspec.json.encode([text, text])) == ("\x00" in text)


def dribbling(pieces: int, seconds: float, size: int = 1) -> Request[Any, Any, Any]:
    """A request whose body comes in so many pieces of so many bytes, one every so many seconds."""
    left = [pieces]

    async def receive() -> Any:
        await asyncio.sleep(seconds)
        left[0] -= 1
        return {"type": "http.request", "body": b"x" * size, "more_body": left[0] > 0}

    return Request({"type": "http", "headers": [], "method": "POST", "path": "/"}, receive)  # type: ignore[arg-type]


async def read(budget: BodyBudget, request: Request[Any, Any, Any]) -> bytes:
    async with budget.json(request) as body:
        return body


def test_a_sender_that_dribbles_is_given_up() -> None:
    """Never silent for long, and yet not to hold its share of the budget for as long as it likes."""

    async def exchange() -> None:
        budget = BodyBudget(
            body_bytes_max=1000, in_flight_bytes_max=1000, silence_seconds_max=0.3, bytes_per_second_min=100
        )
        began = time.monotonic()
        with pytest.raises(BodyTimeout, match="slower than 100 bytes a second"):
            await read(budget, dribbling(50, 0.05))
        assert 0.25 < time.monotonic() - began < 2.5
        # as slow, with more in each piece: what has arrived buys time
        assert len(await read(budget, dribbling(20, 0.05, 10))) == 200

    asyncio.run(exchange())
