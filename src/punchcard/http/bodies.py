"""Request bodies: counted while they arrive, within a budget for the whole process."""

import asyncio
import ctypes
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any

from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from punchcard.errors import ApiError, InvalidPayload, Overloaded, PayloadTooLarge

# A client that is still sending when it is refused reads the answer only after it has sent all.
DRAIN_BYTES_MAX = 256 * 1024 * 1024
# A client that has vanished without a goodbye must not hold its share of the budget for long.
SILENCE_SECONDS_MAX = 30.0
# Nor may one that sends a byte now and then: after that time, a body has to have come at this pace.
BYTES_PER_SECOND_MIN = 256 * 1024
LARGE_BODY_BYTES = 8 * 1024 * 1024
# decoded at once, an object takes up to thirty times the bytes it was sent in
LARGE_OBJECT_BYTES = 1024 * 1024
_DECODE_WINDOW = 1024 * 1024
_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK_BYTES = 1024 * 1024
JSON_TYPES = frozenset({"", "application/json"})


class UnsupportedMediaType(ApiError):
    """The body is not sent as JSON."""

    status = 415
    key = "unsupported_media_type"
    message = "Unsupported Media Type"


class BodyTimeout(ApiError):
    """The client stopped sending in the middle of its body, or sends it too slowly."""

    status = 408
    key = "request_timeout"
    message = "Request Timeout"


class BodyLimit(Struct, frozen=True):
    """The largest body that some requests may have, and the setting that says so.

    `wrapping` is how much longer it may be for what is wrapped around a file.
    """

    bytes_max: int
    setting: str
    wrapping: int = 0


def return_freed_bodies() -> None:
    """Have the C library give the memory of large bodies back to the system as soon as they are dropped.

    glibc raises the size from which it does so with every large block it sees, and keeps the rest:
    measured after some bodies of 32 MB, an idle process held 220 MB instead of 90.
    """
    with suppress(OSError, AttributeError):  # another C library has no such setting
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


class BodyBudget:
    """How many bytes of bodies this process holds at a time. Bodies beyond it are refused with 429, not queued."""

    def __init__(
        self,
        *,
        body_bytes_max: int,
        in_flight_bytes_max: int,
        object_bytes_max: int | None = None,
        order_bytes_max: int | None = None,
        silence_seconds_max: float = SILENCE_SECONDS_MAX,
        bytes_per_second_min: int = BYTES_PER_SECOND_MIN,
    ) -> None:
        self._limit = BodyLimit(body_bytes_max, "body_bytes_max")
        self._object_limit = BodyLimit(object_bytes_max or body_bytes_max, "object_bytes_max")
        self._order_limit = BodyLimit(order_bytes_max or body_bytes_max, "order_bytes_max")
        self._in_flight_bytes_max = in_flight_bytes_max
        self._silence_seconds_max = silence_seconds_max
        self._bytes_per_second_min = bytes_per_second_min
        self._held = 0
        self._large_body_turn = asyncio.Lock()

    def one_object(self, request: Request) -> AbstractAsyncContextManager[bytes]:  # type: ignore[type-arg]
        """The whole body, as `json` gives it, of a request that sends one object."""
        return self.json(request, limit=self._object_limit, alone_above=LARGE_OBJECT_BYTES)

    def one_order(self, request: Request) -> AbstractAsyncContextManager[bytes]:  # type: ignore[type-arg]
        """The whole body, as `json` gives it, of a request that sends one order."""
        return self.json(request, limit=self._order_limit, alone_above=LARGE_OBJECT_BYTES)

    @asynccontextmanager
    async def json(
        self,
        request: Request,  # type: ignore[type-arg]
        *,
        limit: BodyLimit | None = None,
        alone_above: int = LARGE_BODY_BYTES,
    ) -> AsyncIterator[bytes]:
        """The whole body, checked to be UTF-8; its bytes count against the budget until the block ends.

        `limit` holds where it is smaller than that of all bodies.

        What a client announces counts from the start: a body that was let in is not refused half-way. Large
        bodies (`alone_above` so many bytes) are worked on one at a time, because that takes a multiple of their bytes.
        """
        refuse_other_than_json(request)
        async with self.raw(request, limit=limit, check=refuse_other_than_utf8, alone_above=alone_above) as body:
            yield body

    @asynccontextmanager
    async def raw(
        self,
        request: Request,  # type: ignore[type-arg]
        *,
        limit: BodyLimit | None = None,
        check: Callable[[bytes], object] = bytes,
        alone_above: int = LARGE_BODY_BYTES,
    ) -> AsyncIterator[bytes]:
        """The whole body, whatever it is, as `json` gives one that is JSON; `check` may refuse it."""
        announced = request.headers.get("content-length", "")
        if limit is None or limit.bytes_max > self._limit.bytes_max:
            limit = self._limit
        held, received = 0, 0
        chunks: list[bytes] = []
        try:
            held += self._more(held, int(announced) if announced.isdigit() else 0, limit)
            async for chunk in self._chunks(request.receive):
                received += len(chunk)
                held += self._more(held, received, limit)
                chunks.append(chunk)
            body = b"".join(chunks)
            chunks.clear()  # from here on the body is held once
            check(body)
            async with self._large_body_turn if len(body) > alone_above else nullcontext():
                yield body
        finally:
            self._held -= held

    def _more(self, held: int, wanted: int, limit: BodyLimit) -> int:
        """Take from the budget what a body of `wanted` bytes holds beyond `held`, and return it."""
        if wanted > limit.bytes_max + limit.wrapping:
            raise PayloadTooLarge(limit.bytes_max, setting=limit.setting)
        more = max(0, wanted - held)
        if self._held + more > self._in_flight_bytes_max:
            raise Overloaded("The server holds as many request bodies as it may; send this request again")
        self._held += more
        return more

    async def _chunks(self, receive: Receive) -> AsyncIterator[bytes]:
        """What arrives. Raises `InvalidPayload` if the client breaks off, `BodyTimeout` if it is silent or dribbles.

        The time for all of it grows with what has arrived, not with what was announced: that costs nothing to say.
        """
        clock = asyncio.get_running_loop().time
        began, received, more = clock(), 0, True
        while more:
            silent_at = clock() + self._silence_seconds_max
            late_at = began + self._silence_seconds_max + received / self._bytes_per_second_min
            try:
                async with asyncio.timeout_at(min(silent_at, late_at)):
                    message: Any = await receive()
            except TimeoutError:
                if silent_at <= late_at:
                    complaint = f"Nothing of the body arrived for {self._silence_seconds_max:g} seconds"
                else:
                    complaint = f"The body arrived slower than {self._bytes_per_second_min} bytes a second"
                raise BodyTimeout(complaint) from None
            if message["type"] == "http.disconnect":
                raise InvalidPayload("The body ended before it was complete")
            received += len(message["body"])
            yield message["body"]
            more = message["more_body"]


def refuse_other_than_json(request: Request) -> None:  # type: ignore[type-arg]
    """Raise `UnsupportedMediaType` unless the body is said to be plain JSON, or nothing is said.

    A `charset` is ignored: JSON has none (RFC 8259), and what is not UTF-8 is refused when it is read.
    """
    refuse_compressed(request)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in JSON_TYPES and not media_type.endswith("+json"):
        raise UnsupportedMediaType(f"Send the body as application/json, not as {media_type[:100]}")


def refuse_compressed(request: Request) -> None:  # type: ignore[type-arg]
    """Raise `UnsupportedMediaType` for a compressed body: unpacked, it could be a thousand times what was counted."""
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in {"", "identity"}:
        raise UnsupportedMediaType(f"Send the body without Content-Encoding; {coding[:100]} is not supported")


def refuse_other_than_utf8(body: bytes) -> None:
    """Raise `InvalidPayload` unless `body` is UTF-8. Decoded in windows, since text can take four times the bytes."""
    if body.isascii():
        return
    start = 0
    while start < len(body):
        end = min(start + _DECODE_WINDOW, len(body))
        while end < len(body) and body[end] & 0xC0 == 0x80 and end > start:  # not inside a character
            end -= 1
        if end == start:
            end = len(body)
        try:
            body[start:end].decode()
        except UnicodeDecodeError:
            raise InvalidPayload("Payload is not encoded in UTF-8") from None
        start = end


def drained(app: ASGIApp) -> ASGIApp:
    """Middleware: after the answer, drop what is left of the body, so that the client gets to read the answer."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        unread = scope["type"] == ScopeType.HTTP

        async def counted() -> Any:
            nonlocal unread
            message: Any = await receive()
            unread = message["type"] == "http.request" and message.get("more_body", False)
            return message

        await app(scope, counted, send)
        dropped = 0
        with suppress(TimeoutError):
            while unread and dropped < DRAIN_BYTES_MAX:
                async with asyncio.timeout(SILENCE_SECONDS_MAX):
                    message = await counted()
                dropped += len(message.get("body", b""))

    return middleware
