"""The importer: cuts a stream of orders into requests, keeps the server busy, and follows every order to its end.

A few requests are accepted ahead of the one that is waited for, so that the server never idles. What one
order does wrong costs that order only: a refused request is sent again without it, one that is too large
is halved. An order ends as imported, or as failed with a reason; none is dropped silently.
"""

import hashlib
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from punchcard.client.api import Action, Api, Failed, ImportStopped, RequestRefused, RequestTooLarge, Result
from punchcard.client.inputs import Order, Unreadable
from punchcard.client.journal import Accepted, Journal, PrefixDigest, Sent, Span

BATCH_ORDERS = 2_000
BATCH_BYTES = 8_000_000
IN_FLIGHT = 3
# One more bad order in the same request halves it instead: otherwise 2,000 of them are 2,000 requests of 8 MB.
_REMOVALS_MAX = 3
# A server that refuses this many single orders and takes none objects to something else than the orders.
_HOPELESS = 20
_PATH = re.compile(r"\.\[(\d{1,9})\]")


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

    def kept(self) -> dict[str, int]:
        """What a journal keeps: reading the files again counts the others again."""
        return {name: getattr(self, name) for name in _KEPT}


_KEPT = ("imported", "created", "updated", "unchanged", "failed", "invalid_ordered_at", "requests")


class Outcomes(Protocol):
    """Who is told what did not go in, and whenever the counts changed."""

    def failed(self, order: Order, index: int, reason: str) -> None:
        """One order failed."""

    def failed_unseen(self, place: str, reason: str) -> None:
        """Orders failed, and the server does not tell which ones."""

    def unreadable(self, item: Unreadable) -> None:
        """Something in a file is no order."""

    def moved(self, counts: Counts) -> None:
        """The counts changed."""


@dataclass
class Batch:
    """Orders that travel in one request, by their number within the run."""

    orders: dict[int, Order] = field(default_factory=dict)
    size_bytes: int = 1
    removals: int = 0

    def add(self, no: int, order: Order) -> None:
        self.orders[no] = order
        self.size_bytes += len(order.body) + 1

    def body(self) -> bytes:
        """The request: the raw orders as one array."""
        return b"[" + b",".join(order.body for order in self.orders.values()) + b"]"

    def halves(self) -> "tuple[Batch, Batch]":
        """Two batches in the order of the file."""
        pairs = list(self.orders.items())
        middle = len(pairs) // 2
        return Batch(dict(pairs[:middle])), Batch(dict(pairs[middle:]))

    def span(self) -> Span:
        first, end = min(self.orders), max(self.orders) + 1
        return Span(first, end, [no for no in range(first, end) if no not in self.orders])

    def unnamed(self) -> int:
        """How many orders a repeat would double: those with neither id nor source_id."""
        return sum(not named(order) for order in self.orders.values())


@dataclass(frozen=True, slots=True)
class InFlight:
    """A request that was accepted and whose result is not known yet."""

    action_id: str
    orders: list[Order]


class Resumed(Protocol):
    """Where an importer goes on: see `resuming`."""

    def catch_up(self, numbered: Iterator[tuple[int, Order]], digest: PrefixDigest, importer: "Importer") -> None:
        """Read what was read before, and finish what was begun."""


class _Ids(msgspec.Struct):
    id: str | None = None
    source_id: str | None = None


class Importer:
    """One run. With a `journal` it can be resumed; `taken` asks the readers how many bytes they have read."""

    def __init__(
        self,
        api: Api,
        outcomes: Outcomes,
        *,
        taken: Callable[[], int] = lambda: 0,
        batch_orders: int = BATCH_ORDERS,
        batch_bytes: int = BATCH_BYTES,
        in_flight: int = IN_FLIGHT,
        journal: Journal | None = None,
    ) -> None:
        self.counts = Counts()
        self.in_flight: deque[InFlight] = deque()
        self._api = api
        self._outcomes = outcomes
        self._taken = taken
        self._batch_orders = batch_orders
        self._batch_bytes = batch_bytes
        self._in_flight_max = in_flight
        self._journal = journal
        # The key tells a repeat within this run. Importing the same file another day must not be taken for one.
        self._run = journal.state.header.run if journal and journal.state else secrets.token_hex(16)
        self._digest = PrefixDigest()
        self._end = 0
        self._refused_alone = 0

    def run(self, items: Iterable[Order | Unreadable], resumed: Resumed | None = None) -> None:
        """Import everything; returns when the last order has ended."""
        numbered = enumerate(self._orders(items))
        if resumed:
            resumed.catch_up(numbered, self._digest, self)
        batch = Batch()
        for no, order in numbered:
            full = len(batch.orders) == self._batch_orders
            if batch.orders and (full or batch.size_bytes + len(order.body) + 1 > self._batch_bytes):
                self._begin(batch)
                batch = Batch()
            batch.add(no, order)
            self._digest.add(order.body)
        if batch.orders:
            self._begin(batch)
        while self.in_flight:
            self._await_oldest()

    def _orders(self, items: Iterable[Order | Unreadable]) -> Iterator[Order]:
        for item in items:
            if isinstance(item, Unreadable):
                self.counts.unreadable += 1
                self._outcomes.unreadable(item)
            else:
                self.counts.read += 1
                yield item

    def _begin(self, batch: Batch) -> None:
        """Send what was read. The digest is taken without the order that did not fit into the batch any more."""
        self._end = max(batch.orders) + 1
        self.send([batch])

    def send(self, waiting: list[Batch], *, end: int | None = None) -> None:
        """Send batches, the last one first, until each of their orders is accepted or failed."""
        self._end = end or self._end
        while waiting:
            batch = waiting.pop()
            if not batch.orders:
                continue
            body = batch.body()
            key = self._key(batch, body)
            self._note_sending(batch, waiting, key)
            self.post(batch, body, key, waiting)

    def post(self, batch: Batch, body: bytes, key: str, waiting: list[Batch]) -> None:
        """Send one request; what is left to send of a refused one goes onto `waiting`."""
        try:
            action_id = self._api.import_orders(body, key)
        except RequestTooLarge as error:
            waiting += self._reduced(batch, str(error))
        except RequestRefused as error:
            waiting += self._without_refused(batch, str(error))
        else:
            if self._journal:
                self._journal.note(accepted=Accepted(action_id, batch.span()))
            self.accepted(action_id, list(batch.orders.values()))

    def _note_sending(self, batch: Batch, waiting: list[Batch], key: str) -> None:
        if self._journal:
            rest = [each.span() for each in waiting if each.orders]
            prefix, now = self._digest.text(), time.time()
            self._journal.note(sent=Sent(key, batch.span(), rest, self._end, prefix, now, batch.unnamed()))

    def accepted(self, action_id: str, orders: list[Order]) -> None:
        """A request became an action: wait for the oldest one if there are enough of them."""
        self.counts.requests += 1
        self.in_flight.append(InFlight(action_id, orders))
        self._tell()
        while len(self.in_flight) >= self._in_flight_max:
            self._await_oldest()

    def _key(self, batch: Batch, body: bytes) -> str:
        """Made from the run, the orders before the request and their content, its place and its own content."""
        digest = hashlib.sha256(self._run.encode())
        first, order = next(iter(batch.orders.items()))
        digest.update(f"\n{self._digest.text()}\n{first}\n{order.place}\n".encode(errors="replace"))
        digest.update(body)
        return digest.hexdigest()

    def _without_refused(self, batch: Batch, details: str) -> list[Batch]:
        """What is left to send of a refused request; the order that the details name has failed."""
        path = _PATH.search(details)
        if not path or int(path[1]) >= len(batch.orders) or batch.removals == _REMOVALS_MAX:
            return self._reduced(batch, details)
        index = int(path[1])
        order = batch.orders.pop(list(batch.orders)[index])
        self._failed(order, index, _within_order(details))
        batch.removals += 1
        return [batch]

    def _reduced(self, batch: Batch, reason: str) -> list[Batch]:
        """The halves of a batch, the first one last as on a stack; an order that is alone has failed."""
        if len(batch.orders) > 1:
            return list(reversed(batch.halves()))
        self._refused_alone += 1
        if self._refused_alone == _HOPELESS and not self.counts.requests:
            raise ImportStopped(f"The server refuses every order: {reason}")
        [order] = batch.orders.values()
        self._failed(order, 0, _within_order(reason))
        return []

    def _await_oldest(self) -> None:
        """Wait until the oldest accepted request has ended, and count its orders."""
        oldest = self.in_flight[0]
        try:
            while not (action := self._api.action(oldest.action_id)).ended:
                self._tell()
            self._count(oldest, action)
        except (RequestRefused, RequestTooLarge) as error:
            raise ImportStopped(f"The server refuses to tell about {oldest.action_id}: {error}") from error
        self.in_flight.popleft()
        if self._journal:
            self._journal.note(finished=oldest.action_id)
        self._tell()

    def _tell(self) -> None:
        self.counts.taken_bytes = self._taken()
        self._outcomes.moved(self.counts)

    def _count(self, request: InFlight, action: Action) -> None:
        """Count every order of an ended action, also those that its result says nothing about."""
        result = action.result or Result(message=f"the action ended as {action.status} without a result")
        told = 0
        for failed in self._failures(request, result):
            told += 1
            if failed.index is not None and 0 <= failed.index < len(request.orders):
                self._failed(request.orders[failed.index], failed.index, failed.reason)
            else:
                self._failed_unseen(request.action_id, failed.reason, 1)
        self.counts.imported += result.done_count
        self.counts.created += result.created_count
        self.counts.updated += result.updated_count
        self.counts.unchanged += result.unchanged_count
        self.counts.invalid_ordered_at += result.invalid_ordered_at_count
        if (untold := len(request.orders) - result.done_count - told) <= 0:
            return
        reason = result.message or action.status
        if untold == len(request.orders):
            for index, order in enumerate(request.orders):
                self._failed(order, index, reason)
        elif result.failed_count > told:
            self._failed_unseen(f"{request.action_id}, {untold:,} more orders", "the result does not list them", untold)
        else:
            self._failed_unseen(f"{request.action_id}, {untold:,} orders", reason, untold)

    def _failures(self, request: InFlight, result: Result) -> Iterable[Failed]:
        """All failures; the result lists the first of them, and the rest is asked for."""
        if result.failed_count > len(result.failed):
            complete = self._api.failures(request.action_id)
            if complete is not None:
                return complete
        return result.failed

    def _failed(self, order: Order, index: int, reason: str) -> None:
        self.counts.failed += 1
        self._outcomes.failed(order, index, reason)

    def _failed_unseen(self, place: str, reason: str, count: int) -> None:
        self.counts.failed += count
        self._outcomes.failed_unseen(place, reason)


def _within_order(details: str) -> str:
    """The details without the index of the order: it counts within a request, which the user never sees."""
    return _PATH.sub("", details, count=1)


def source_id(order: Order) -> str | None:
    """The order's source id, if it has one."""
    try:
        return msgspec.json.decode(order.body, type=_Ids).source_id
    except msgspec.MsgspecError:
        return None


def named(order: Order) -> bool:
    """Whether sending an order twice updates it."""
    try:
        ids = msgspec.json.decode(order.body, type=_Ids)
    except msgspec.MsgspecError:
        return False
    return bool(ids.id or ids.source_id)
