"""The calls of the API that an import needs, with patience.

A connection that breaks or a server that is busy is waited for, up to a limit. A request whose answer got
lost is sent again: orders that have an id or a source_id are upserted, and the `Idempotency-Key` lets a
server that knows it see the repeat.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self, TypeVar

import httpx
import msgspec

from punchcard.errors import PunchcardError

BACKOFF_MAX_S = 30.0
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0
ACTION_WAIT_S = 5  # the server answers earlier when the action ends; the progress line moves at least this often
FAILURES_PER_PAGE = 100
_WAIT_STATUSES = frozenset({429, 502, 503, 504})
_KEY_IN_USE = "idempotency_key_in_use"  # the same request is still being accepted: its answer comes
_DOCUMENTED = TypeVar("_DOCUMENTED", bound=msgspec.Struct)


class ImportStopped(PunchcardError):
    """Nothing more can be sent: wrong keys, no server, or an answer that no import gives."""


class RequestRefused(PunchcardError):
    """The server took nothing of the request because of its shape; the text is the error's `details`."""


class RequestTooLarge(PunchcardError):
    """The body is larger than this server takes."""


class NotThere(ImportStopped):
    """The server does not know the address."""


class Scheduled(msgspec.Struct):
    """The answer to an accepted import."""

    async_action_id: str


class Failed(msgspec.Struct):
    """One order that was accepted and then could not be imported. `index` counts within the request."""

    reason: str = ""
    source_id: str | None = None
    index: int | None = None


class Result(msgspec.Struct):
    """What an import ended with. `failed` may be cut short; the counts are complete.

    The counts behind `failed_count` are Punchcard's own; another server leaves them out.
    """

    message: str = ""
    failed: list[Failed] = []
    done_count: int = 0
    failed_count: int = 0
    created_count: int = 0
    updated_count: int = 0
    unchanged_count: int = 0
    invalid_ordered_at_count: int = 0


class Action(msgspec.Struct):
    """An async action as far as the client reads it."""

    status: str
    result: Result | None = None
    dry_run: bool = False

    @property
    def ended(self) -> bool:
        """Nothing of it will change any more."""
        return self.status in {"DONE", "FAILED"}


class FailurePage(msgspec.Struct):
    """Some failures of an action, by index."""

    data: list[Failed] = []
    has_more: bool = False


class _ErrorBody(msgspec.Struct):
    key: str = ""
    message: str = ""
    details: str | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call is repeated, and the first pause between two tries; pauses double up to half a minute."""

    limit_s: float = 600.0
    first_pause_s: float = 0.5


def address(url: str) -> str:
    """The address of a server, which users write without its scheme, or with the API's `/v1` behind it, too."""
    return (url if "://" in url else f"http://{url}").rstrip("/").removesuffix("/v1")


class Api:
    """A connection to one server. `say` is told in words whenever the client waits."""

    def __init__(
        self,
        url: str,
        *,
        application_id: str,
        application_token: str,
        say: Callable[[str], None],
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
        dry_run: bool = False,
    ) -> None:
        self._path = "/v1/orders/import" + ("?dry_run=true" if dry_run else "")
        self._say = say
        self._sleep = sleep
        self._patience = patience or Patience()
        self._jitter = random.SystemRandom()
        try:
            self._http = httpx.Client(
                base_url=url,
                headers={"X-App-Id": application_id, "X-App-Token": application_token},
                timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
                # A proxy from the environment cannot reach this machine's own loopback address.
                mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ImportStopped(f"The address or the keys of the server cannot be used: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def import_orders(self, body: bytes, key: str) -> str:
        """Send one request; returns the id of its async action."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        answer = self._call("POST", self._path, content=body, headers=headers)
        return _decode(answer, Scheduled).async_action_id

    def action(self, action_id: str) -> Action:
        """The action as soon as it ended, or as it is after a few seconds."""
        return _decode(self._call("GET", f"/v1/async-actions/{action_id}?wait={ACTION_WAIT_S}"), Action)

    def failures(self, action_id: str) -> Iterator[Failed] | None:
        """All orders of an action that failed, by index; None from a server that only lists the first ones."""
        try:
            first = self._failures_after(action_id, None)
        except NotThere:
            return None
        return self._pages(action_id, first)

    def _pages(self, action_id: str, page: FailurePage) -> Iterator[Failed]:
        while True:
            yield from page.data
            if not page.has_more or not page.data:
                return
            page = self._failures_after(action_id, page.data[-1].index)

    def _failures_after(self, action_id: str, index: int | None) -> FailurePage:
        after = "" if index is None else f"&starting_after_id={index}"
        path = f"/v1/async-actions/{action_id}/failures?limit={FAILURES_PER_PAGE}{after}"
        return _decode(self._call("GET", path), FailurePage)

    def _call(
        self, method: str, path: str, *, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        pause = self._patience.first_pause_s
        waited = 0.0
        while True:
            started = time.monotonic()
            try:
                answer = self._http.request(method, path, content=content, headers=headers)
                if answer.status_code not in _WAIT_STATUSES and not _key_is_in_use(answer):
                    return _checked(answer)
                trouble = f"the server answers {answer.status_code}: {_said(answer)}"
                wanted = _retry_after_s(answer)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
                raise ImportStopped(f"The address or the keys of the server cannot be used: {error}") from error
            except httpx.TransportError as error:
                trouble, wanted = f"no answer from {self._http.base_url}: {str(error) or type(error).__name__}", None
            wait = wanted if wanted is not None else pause * self._jitter.uniform(0.5, 1.0)
            waited += time.monotonic() - started + wait
            if waited > self._patience.limit_s:
                raise ImportStopped(f"Gave up after {self._patience.limit_s:,.0f} s, {trouble}")
            self._say(f"Waiting {wait:.1f} s, {trouble}")
            self._sleep(wait)
            pause = min(pause * 2, BACKOFF_MAX_S)


def _checked(answer: httpx.Response) -> httpx.Response:
    """The answer of a call that went well; everything else raises."""
    match answer.status_code:
        case 200 | 202:
            return answer
        case 400:
            raise RequestRefused(_said(answer))
        case 413:
            raise RequestTooLarge(_said(answer))
        case 401 | 403:
            raise ImportStopped(f"The server does not accept the keys ({answer.status_code}): {_said(answer)}")
        case 404:
            where = f"{answer.request.method} {answer.request.url}"
            raise NotThere(f"The server answers 404 to {where}: {_said(answer)}")
        case status:
            where = f"{answer.request.method} {answer.request.url}"
            raise ImportStopped(f"The server answers {status} to {where}: {_said(answer)}")


def _key_is_in_use(answer: httpx.Response) -> bool:
    if answer.status_code != 409:
        return False
    try:
        return msgspec.json.decode(answer.content, type=_ErrorBody).key == _KEY_IN_USE
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False


def _said(answer: httpx.Response) -> str:
    """The text of an error body, whoever wrote it."""
    try:
        body = msgspec.json.decode(answer.content, type=_ErrorBody)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return answer.text[:200] or answer.reason_phrase
    return body.details or body.message or answer.reason_phrase


def _decode(answer: httpx.Response, shape: type[_DOCUMENTED]) -> _DOCUMENTED:
    try:
        return msgspec.json.decode(answer.content, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ImportStopped(f"{answer.request.url} does not answer as this API does: {error}") from error


def _retry_after_s(answer: httpx.Response) -> float | None:
    """`Retry-After` in seconds, from either of its two forms."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
