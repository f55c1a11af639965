"""The importer: cuts a stream of orders into requests, keeps the server busy, and follows every order to its end.

A few requests are accepted ahead of the one that is waited for, so that the server never idles. What one
order does wrong costs that order only: a refused request is sent again without it, one that is too large
is halved. An order ends as imported, or as failed with a reason; none is dropped silently.
"""

import hashlib
import re
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from punchcard.client.api import Action, Api, ImportStopped, RequestRefused, RequestTooLarge, Result
from punchcard.client.inputs import Order, Unreadable

BATCH_ORDERS = 2_000
BATCH_BYTES = 8_000_000
IN_FLIGHT = 3
FAILURES_SHOWN = 20
# One more bad order in the same request halves it instead: otherwise 2,000 of them are 2,000 requests of 8 MB.
_REMOVALS_MAX = 3
# A server that refuses this many single orders and takes none objects to something else than the orders.
_HOPELESS = 20
_PATH = re.compile(r"\.\[(\d{1,9})\]")
_TEXT_SHOWN_MAX = 500


@dataclass
class Counts:
    """Where an import stands: orders `read` from the first `taken_bytes` of the files, and what became of them."""

    read: int = 0
    imported: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    unreadable: int = 0
    invalid_ordered_at: int = 0
    requests: int = 0
    taken_bytes: int = 0

    @property
    def ended(self) -> int:
        """Orders of which the end is known."""
        return self.imported + self.failed


@dataclass
class Batch:
    """Orders that travel in one request."""

    orders: list[Order] = field(default_factory=list)
    size_bytes: int = 1
    removals: int = 0

    def add(self, order: Order) -> None:
        self.orders.append(order)
        self.size_bytes += len(order.body) + 1

    def body(self) -> bytes:
        """The request: the raw orders as one array."""
        return b"[" + b",".join(order.body for order in self.orders) + b"]"

    def halves(self) -> "tuple[Batch, Batch]":
        """Two batches in the order of the file."""
        middle = len(self.orders) // 2
        return Batch(self.orders[:middle]), Batch(self.orders[middle:])


@dataclass(frozen=True, slots=True)
class InFlight:
    """A request that was accepted and whose result is not known yet; of its orders only the places are kept."""

    action_id: str
    places: list[str]


class _SourceId(msgspec.Struct):
    source_id: str | None = None


class Importer:
    """One run. `say` prints a line, `moved` is called whenever `counts` changed, `taken` asks the readers."""

    def __init__(
        self,
        api: Api,
        *,
        say: Callable[[str], None],
        moved: Callable[[Counts], None] = lambda counts: None,
        taken: Callable[[], int] = lambda: 0,
        batch_orders: int = BATCH_ORDERS,
        batch_bytes: int = BATCH_BYTES,
        in_flight: int = IN_FLIGHT,
        failures_shown: int = FAILURES_SHOWN,
    ) -> None:
        self.counts = Counts()
        self.in_flight: deque[InFlight] = deque()
        self._api = api
        self._say = say
        self._moved = moved
        self._taken = taken
        self._batch_orders = batch_orders
        self._batch_bytes = batch_bytes
        self._in_flight_max = in_flight
        self._failures_shown = failures_shown
        # The key tells a repeat within this run. Importing the same file another day must not be taken for one.
        self._run = secrets.token_bytes(16)
        self._refused_alone = 0

    def run(self, items: Iterable[Order | Unreadable]) -> None:
        """Import everything; returns when the last order has ended."""
        batch = Batch()
        for item in items:
            if isinstance(item, Unreadable):
                self._unreadable(item)
                continue
            self.counts.read += 1
            full = len(batch.orders) == self._batch_orders
            if batch.orders and (full or batch.size_bytes + len(item.body) + 1 > self._batch_bytes):
                self._send(batch)
                batch = Batch()
            batch.add(item)
        if batch.orders:
            self._send(batch)
        while self.in_flight:
            self._await_oldest()

    def _send(self, batch: Batch) -> None:
        """Send a batch until each of its orders is accepted or failed, in the order of the file."""
        waiting = [batch]
        while waiting:
            batch = waiting.pop()
            if not batch.orders:
                continue
            body = batch.body()
            try:
                action_id = self._api.import_orders(body, self._key(batch, body))
            except RequestTooLarge as error:
                waiting += self._reduced(batch, str(error))
            except RequestRefused as error:
                waiting += self._without_refused(batch, str(error))
            else:
                self._accepted(action_id, batch)

    def _accepted(self, action_id: str, batch: Batch) -> None:
        self.counts.requests += 1
        self.in_flight.append(InFlight(action_id, [order.place for order in batch.orders]))
        self._tell()
        while len(self.in_flight) >= self._in_flight_max:
            self._await_oldest()

    def _key(self, batch: Batch, body: bytes) -> str:
        digest = hashlib.sha256(self._run)
        digest.update(batch.orders[0].place.encode())
        digest.update(body)
        return digest.hexdigest()

    def _without_refused(self, batch: Batch, details: str) -> list[Batch]:
        """What is left to send of a refused request; the order that the details name has failed."""
        path = _PATH.search(details)
        if not path or int(path[1]) >= len(batch.orders) or batch.removals == _REMOVALS_MAX:
            return self._reduced(batch, details)
        order = batch.orders.pop(int(path[1]))
        self._failed(order.place, _source_id(order), _within_order(details))
        batch.removals += 1
        return [batch]

    def _reduced(self, batch: Batch, reason: str) -> list[Batch]:
        """The halves of a batch, the first one last as on a stack; an order that is alone has failed."""
        if len(batch.orders) > 1:
            return list(reversed(batch.halves()))
        self._refused_alone += 1
        if self._refused_alone == _HOPELESS and not self.counts.requests:
            raise ImportStopped(f"The server refuses every order: {reason}")
        self._failed(batch.orders[0].place, _source_id(batch.orders[0]), _within_order(reason))
        return []

    def _await_oldest(self) -> None:
        """Wait until the oldest accepted request has ended, and count its orders."""
        oldest = self.in_flight[0]
        try:
            while not (action := self._api.action(oldest.action_id)).ended:
                self._tell()
        except (RequestRefused, RequestTooLarge) as error:
            raise ImportStopped(f"The server refuses to tell about {oldest.action_id}: {error}") from error
        self.in_flight.popleft()
        self._count(oldest, action)
        self._tell()

    def _tell(self) -> None:
        self.counts.taken_bytes = self._taken()
        self._moved(self.counts)

    def _count(self, request: InFlight, action: Action) -> None:
        """Count every order of an ended action, also those that its result says nothing about."""
        result = action.result or Result(message=f"the action ended as {action.status} without a result")
        self.counts.imported += result.done_count
        self.counts.created += result.created_count
        self.counts.updated += result.updated_count
        self.counts.unchanged += result.unchanged_count
        self.counts.invalid_ordered_at += result.invalid_ordered_at_count
        for failed in result.failed:
            known = failed.index is not None and 0 <= failed.index < len(request.places)
            self._failed(
                request.places[failed.index or 0] if known else request.action_id, failed.source_id, failed.reason
            )
        if (unlisted := result.failed_count - len(result.failed)) > 0:
            self._failed(
                f"{request.action_id}, {unlisted:,} more orders", None, "the result does not list them", unlisted
            )
        told = result.done_count + max(result.failed_count, len(result.failed))
        if (untold := len(request.places) - told) > 0:
            self._failed(f"{request.action_id}, {untold:,} orders", None, result.message or action.status, untold)

    def _failed(self, place: str, source_id: str | None, reason: str, count: int = 1) -> None:
        self.counts.failed += count
        self._show(place if source_id is None else f"{place} (source_id {source_id})", reason)

    def _unreadable(self, item: Unreadable) -> None:
        self.counts.unreadable += 1
        self._show(item.place, item.reason)

    def _show(self, place: str, reason: str) -> None:
        self._failures_shown -= 1
        if self._failures_shown >= 0:
            text = f"{place}: {reason}"[:_TEXT_SHOWN_MAX]
            self._say("".join(sign if sign.isprintable() else "?" for sign in text))
        elif self._failures_shown == -1:
            self._say("More failures are counted and not shown.")


def _within_order(details: str) -> str:
    """The details without the index of the order: it counts within a request, which the user never sees."""
    return _PATH.sub("", details, count=1)


def _source_id(order: Order) -> str | None:
    try:
        return msgspec.json.decode(order.body, type=_SourceId).source_id
    except msgspec.MsgspecError:
        return None
