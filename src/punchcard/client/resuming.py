"""Going on where an import stopped: the files are read from their beginning, and what is in is not sent again.

Reading is many times faster than importing, and only reading shows that the files are still the same where they
were already imported. What follows that point may have changed: a corrected line, or new orders at the end.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Literal

from punchcard.client.importer import Batch, Importer, InFlight, named
from punchcard.client.inputs import Order
from punchcard.client.journal import KEY_VALID_S, PrefixDigest, ResumeImpossible, Sent, Span, State, wanted

Unanswered = Literal["accepted", "lost"]


class Resuming:
    """One interrupted run that goes on. `unanswered` is what a person found out about a request older than its key."""

    def __init__(
        self,
        state: State,
        *,
        say: Callable[[str], None],
        unanswered: Unanswered | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._say = say
        self._unanswered = unanswered
        self._now = now

    def catch_up(self, numbered: Iterator[tuple[int, Order]], digest: PrefixDigest, importer: Importer) -> None:
        """Read what was read before, and finish what was begun. Raises `ResumeImpossible` before anything is sent."""
        state = self._state
        for name, count in state.counts.items():
            setattr(importer.counts, name, count)
        held = self._read_again(numbered, digest)
        self._say(f"Going on behind the first {state.end:,} orders")
        for accepted in state.unfinished:
            importer.in_flight.append(InFlight(accepted.action_id, list(_of(accepted.span, held).values())))
        waiting = [Batch(_of(span, held)) for span in state.rest]
        if state.unanswered:
            self._send_again(state.unanswered, Batch(_of(state.unanswered.span, held)), waiting, importer)
        importer.send(waiting, end=state.end)

    def _read_again(self, numbered: Iterator[tuple[int, Order]], digest: PrefixDigest) -> dict[int, Order]:
        """The orders that are needed again, by their number."""
        spans = list(wanted(self._state))
        held = {}
        count = 0
        while count < self._state.end and (pair := next(numbered, None)):
            no, order = pair
            digest.add(order.body)
            if any(span.holds(no) for span in spans):
                held[no] = order
            count = no + 1
        if count < self._state.end or digest.text() != self._state.prefix:
            raise ResumeImpossible(
                f"The files are not what they were: the first {self._state.end:,} orders, which were read before, have"
                " changed. Restore them, or import anew without --resume: orders that have an id or source_id are"
                " updated, the others doubled"
            )
        return held

    def _send_again(self, sent: Sent, batch: Batch, waiting: list[Batch], importer: Importer) -> None:
        """The request whose answer is not known: once more with its key, while the server keeps that."""
        if sent.unnamed and self._now() - sent.at > KEY_VALID_S:
            if self._unanswered is None:
                raise ResumeImpossible(_ask(sent, batch))
            if self._unanswered == "accepted":
                importer.counts.imported += len(batch.orders)
                return
        importer.post(batch, batch.body(), sent.key, waiting)


def _of(span: Span, held: dict[int, Order]) -> dict[int, Order]:
    return {no: held[no] for no in range(span.first, span.end) if span.holds(no)}


def _ask(sent: Sent, batch: Batch) -> str:
    at = datetime.fromtimestamp(sent.at, UTC).isoformat(timespec="seconds")
    orders = list(batch.orders.values())
    unnamed = next(order for order in orders if not named(order))
    return (
        f"Whether the server took the request of {at} is not known: {len(orders):,} orders from {orders[0].place} to"
        f" {orders[-1].place}, {sent.unnamed:,} of them with neither id nor source_id (the first at {unnamed.place})."
        " Servers drop repeats for 24 hours only, so sending them again might double them. Look for an import of that"
        " time and size in GET /v1/async-actions: say --unanswered accepted if it is there, --unanswered lost if not"
    )
