"""What did not go in, told and kept: the first of it on the screen, all of it in the reports."""

from punchcard.client.importer import Counts, source_id
from punchcard.client.inputs import Order, Unreadable
from punchcard.client.progress import Display
from punchcard.client.reports import Report, failure_line, unreadable_line

FAILURES_SHOWN = 20
_TEXT_SHOWN_MAX = 500


class Told:
    """Shows the first outcomes that need a person, and writes all of them down."""

    def __init__(self, failures: Report, unreadable: Report, display: Display, shown_max: int) -> None:
        self._failures = failures
        self._unreadable = unreadable
        self._display = display
        self._left_to_show = shown_max

    def failed(self, order: Order, index: int, reason: str) -> None:
        self._failures.write(failure_line(order, index, reason))
        named = source_id(order)
        self._show(order.place if named is None else f"{order.place} (source_id {named})", reason)

    def failed_unseen(self, place: str, reason: str) -> None:
        self._show(place, reason)

    def unreadable(self, item: Unreadable) -> None:
        self._unreadable.write(unreadable_line(item))
        self._show(item.place, item.reason)

    def moved(self, counts: Counts) -> None:
        self._display.moved(counts)

    def _show(self, place: str, reason: str) -> None:
        self._left_to_show -= 1
        if self._left_to_show >= 0:
            text = f"{place}: {reason}"[:_TEXT_SHOWN_MAX]
            self._display.say("".join(sign if sign.isprintable() else "?" for sign in text))
        elif self._left_to_show == -1:
            self._display.say("More failures are counted and not shown.")
