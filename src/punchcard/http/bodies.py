"""Request bodies: counted while they arrive, within a budget for the whole process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from punchcard.errors import ApiError, InvalidPayload, Overloaded, PayloadTooLarge

# A client that is still sending when it is refused reads the answer only after it has sent all.
DRAIN_BYTES_MAX = 256 * 1024 * 1024
_DECODE_WINDOW = 1024 * 1024
JSON_TYPES = frozenset({"", "application/json"})


class UnsupportedMediaType(ApiError):
    """The body is not sent as JSON."""

    status = 415
    key = "unsupported_media_type"
    message = "Unsupported Media Type"


class BodyBudget:
    """How many bytes of bodies this process holds at a time. Bodies beyond it are refused with 429, not queued."""

    def __init__(self, *, body_bytes_max: int, in_flight_bytes_max: int) -> None:
        self._body_bytes_max = body_bytes_max
        self._in_flight_bytes_max = in_flight_bytes_max
        self._held = 0

    @asynccontextmanager
    async def json(self, request: Request) -> AsyncIterator[bytes]:  # type: ignore[type-arg]
        """The whole body, checked to be UTF-8; its bytes count against the budget until the block ends."""
        refuse_other_than_json(request)
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > self._body_bytes_max:
            raise PayloadTooLarge(self._body_bytes_max)
        held = 0
        try:
            body = bytearray()
            async for chunk in request.stream():
                if len(body) + len(chunk) > self._body_bytes_max:
                    raise PayloadTooLarge(self._body_bytes_max)
                if self._held + len(chunk) > self._in_flight_bytes_max:
                    raise Overloaded("The server holds as many request bodies as it may; send this request again")
                self._held += len(chunk)
                held += len(chunk)
                body += chunk
            refuse_other_than_utf8(body)
            yield bytes(body)
        finally:
            self._held -= held


def refuse_other_than_json(request: Request) -> None:  # type: ignore[type-arg]
    """Raise `UnsupportedMediaType` unless the body is said to be JSON, or nothing is said."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in JSON_TYPES and not media_type.endswith("+json"):
        raise UnsupportedMediaType(f"Send the body as application/json, not as {media_type[:100]}")


def refuse_other_than_utf8(body: bytearray) -> None:
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
        while unread and dropped < DRAIN_BYTES_MAX:
            message = await counted()
            dropped += len(message.get("body", b""))

    return middleware
