"""`Idempotency-Key`: a request that is sent again, because its answer got lost, takes effect once.

The answer is stored under the key in the transaction of the effect, so that a crash leaves both or none;
a request that is refused stores nothing, and its key can be used again. Keys belong to a project. Those who
come with a key at the same time take turns by an advisory lock that is only tried: whoever waits holds no
session meanwhile. A handler uses it so, and costs nothing more when the request has no such header:

    key = idempotency.checked(request, idempotency_key)     # the handler's parameter is a `KeyHeader`
    once = await idempotency.once(request, project, key, body, threads=...)
    if (repeated := await once.repeated()) is not None:
        return repeated
    ...                                   # decode and check the body
    return await once.take_effect(act)    # `act` does what the request asks for, in the transaction it gets
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Annotated, Any, TypeAlias
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import MediaType, Request, Response
from litestar.params import HeaderParameter

from punchcard.db import statements
from punchcard.db.database import Conn, Database, settled
from punchcard.errors import ApiError, InvalidPayload

SQL = statements.beside(__file__)

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
KEY_LENGTH_MAX = 255
# how long a request waits for another one with its key before it is told to come again
WAIT_SECONDS_MAX = 5.0
RETRY_AFTER_S = 1
_PAUSE_MIN_S, _PAUSE_MAX_S = 0.01, 0.2
# a larger body is hashed beside the event loop: a megabyte takes about a millisecond
_HASHED_AT_ONCE_BYTES = 256 * 1024

# of a handler whose requests may come with a key, so that the description says it
KeyHeader: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name=HEADER,
        required=False,
        description="1 to 255 printable ASCII characters of your choosing. The same request with the same key takes"
        f" effect once, and its repeats get the same answer with the header `{REPLAYED_HEADER}: true`.",
    ),
]


class IdempotencyKeyReused(ApiError):
    """The key belongs to another request: its method, path, query or body differs."""

    status = 409
    key = "idempotency_key_reused"
    message = "Idempotency key reused"


class IdempotencyKeyInUse(ApiError):
    """Another request with this key has not come to its end in the time that this one waited."""

    status = 409
    key = "idempotency_key_in_use"
    message = "Idempotency key in use"


def checked(request: Request, key: str | None) -> str | None:  # type: ignore[type-arg]
    """The key that the request came with, if any. Raises `InvalidPayload` if it is none that can be kept."""
    if key is None:
        return None
    if sum(name.lower() == HEADER.lower().encode() for name, _ in request.scope["headers"]) > 1:
        raise InvalidPayload(f"Header {HEADER} must be sent once")
    if not 1 <= len(key) <= KEY_LENGTH_MAX:
        raise InvalidPayload(f"Header {HEADER} must have 1 to {KEY_LENGTH_MAX} characters")
    if not (key.isascii() and key.isprintable()):
        raise InvalidPayload(f"Header {HEADER} must have printable ASCII characters only")
    return key


def fingerprint(method: str, path: str, query: bytes, body: bytes) -> bytes:
    """SHA-256 over what makes two requests the same: 32 bytes. The order of the query's parameters does not."""
    # Latin-1 gives every byte a character: nothing that can be sent fails or is lost here
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    pairs.sort(key=lambda pair: pair[0])  # stable: of one parameter's values the order does matter
    head = msgspec.json.encode([method, path.encode(errors="replace"), urlencode(pairs)])
    return hashlib.sha256(b"%b\n%b" % (head, body)).digest()


def lock_of(project: str, key: str) -> int:
    """The advisory lock of a key: 64 bits of a hash, signed as PostgreSQL wants it."""
    digest = hashlib.blake2b(f"idempotency/{project}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


async def once(
    request: Request,  # type: ignore[type-arg]
    project: str,
    key: str | None,
    body: bytes,
    *,
    threads: Executor | None = None,
) -> "Once":
    """The request with its key and fingerprint; large bodies are hashed in `threads` (none: those of the loop)."""
    mark = b""
    if key is not None:
        scope = request.scope
        parts = (scope["method"], scope["path"], scope["query_string"], body)
        if len(body) > _HASHED_AT_ONCE_BYTES:
            mark = await asyncio.get_running_loop().run_in_executor(threads, fingerprint, *parts)
        else:
            mark = fingerprint(*parts)
    state = request.app.state
    return Once(state.database, project, key, mark, hours=state.settings.idempotency_hours)


class Once:
    """A request that takes effect once, if it came with a key."""

    def __init__(self, database: Database, project: str, key: str | None, mark: bytes, *, hours: int) -> None:
        self._database, self._project, self._key, self._mark = database, project, key, mark
        self._parameters = {"project_id": project, "key": key, "hours": hours}

    async def repeated(self) -> Response[Any] | None:
        """The stored answer to this request; none if it is new or has no key. Raises `IdempotencyKeyReused`."""
        if self._key is None:
            return None
        async with self._database.connection() as conn:
            return await self._stored(conn)

    async def take_effect(self, act: Callable[[Conn], Awaitable[Any]], *, alone: bool = False) -> Response[Any]:
        """Run `act` in a transaction and answer what it returns; or, if another request with this key was faster,
        what that one was answered. Raises `IdempotencyKeyReused`, `IdempotencyKeyInUse`.

        When others wrote the same rows meanwhile, `act` is run again in a new transaction. See `Database.settle`.
        """
        if self._key is None:
            return Response(await self._database.settle(act, alone=alone))
        late_at, pause = time.monotonic() + WAIT_SECONDS_MAX, _PAUSE_MIN_S
        while True:
            answer = await settled(lambda: self._try_to(act))
            if answer is not None:
                return answer
            if time.monotonic() + pause > late_at:
                raise IdempotencyKeyInUse(
                    f"Another request with this {HEADER} is still being processed",
                    headers={"Retry-After": str(RETRY_AFTER_S)},
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_MAX_S)

    async def _try_to(self, act: Callable[[Conn], Awaitable[Any]]) -> Response[Any] | None:
        """One turn. None while another request holds the key."""
        async with self._database.transaction() as conn:
            parameters = {"lock": lock_of(self._project, self._key or ""), "hours": self._parameters["hours"]}
            turn = await (await conn.execute(SQL.idempotency_key_try_lock, parameters)).fetchone()
            assert turn is not None
            if not turn.locked:
                return None
            stored = await self._stored(conn)
            if stored is not None:
                return stored
            answer = msgspec.json.encode(await act(conn))
            row = self._parameters | {"fingerprint": self._mark, "answer": answer, "horizon": turn.horizon}
            if await (await conn.execute(SQL.idempotency_key_insert, row)).fetchone() is None:
                raise IdempotencyKeyInUse("Another request with this key was faster", headers={"Retry-After": "1"})
        return _answer(answer)

    async def _stored(self, conn: Conn) -> Response[Any] | None:
        row = await (await conn.execute(SQL.idempotency_key_get, self._parameters)).fetchone()
        if row is None:
            return None
        if row.fingerprint != self._mark:
            raise IdempotencyKeyReused(
                f"This {HEADER} came with another request before; send a new key with a new request"
            )
        return _answer(row.answer, headers={REPLAYED_HEADER: "true"})


def _answer(body: bytes, *, headers: dict[str, str] | None = None) -> Response[Any]:
    return Response(bytes(body), media_type=MediaType.JSON, headers=headers)
