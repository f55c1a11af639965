"""Ids: a prefix that names the kind, then 32 hex digits.

The first 12 digits are milliseconds since 1970, the next 8 count the ids of this process, the last 12 are
random. New rows so stay at the right edge of their index, and one bulk write cannot collide with itself.
"""

import itertools
import re
import secrets
import threading
import time
from collections.abc import Iterator

BLOCK = 256
_COUNTER_BITS = 32
_RANDOM_BITS = 48
_counter = itertools.count(secrets.randbits(_COUNTER_BITS))
_lock = threading.Lock()
_last_ms = 0


def new(prefix: str) -> str:
    """One new id, such as `ord_0192f0c1a2b3…`."""
    return many(prefix, 1)[0]


def many(prefix: str, count: int) -> list[str]:
    """`count` new ids in ascending order."""
    global _last_ms, _counter  # noqa: PLW0603 - one counter a process is the point
    with _lock:
        _last_ms = max(_last_ms, time.time_ns() // 1_000_000)
        start = next(_counter)
        if (start & 0xFFFFFFFF) + count > 0xFFFFFFFF:  # the counter would wrap inside this batch and break its order
            _last_ms += 1
            start = 0
        _counter = itertools.count(start + count)
        milliseconds = _last_ms
    head = f"{prefix}_{milliseconds:012x}"
    noise = secrets.token_hex(_RANDOM_BITS // 8 * count)
    digits = _RANDOM_BITS // 4
    return [f"{head}{(start + i) & 0xFFFFFFFF:08x}{noise[i * digits : (i + 1) * digits]}" for i in range(count)]


def endless(prefix: str) -> Iterator[str]:
    """New ids one by one, drawn in blocks that grow: a batch needs hundreds of each kind, a single order one."""
    block = 1
    while True:
        yield from many(prefix, block)
        block = min(BLOCK, 4 * block)


def is_one(prefix: str, text: str) -> bool:
    """Whether a text has the form of an id."""
    return re.fullmatch(rf"{prefix}_[0-9a-f]{{32}}", text) is not None


def request_id() -> str:
    """A new request id: `v-` and 18 hex digits."""
    return f"v-{secrets.token_hex(9)}"
