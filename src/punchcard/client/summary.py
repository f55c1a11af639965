"""The last lines of an import: what became of the orders and lines."""

from collections.abc import Callable

from punchcard.client.importer import Counts
from punchcard.client.inputs import Tally
from punchcard.client.progress import counted


def summarize(counts: Counts, tally: Tally, elapsed_s: float, say: Callable[[str], None], *, dry_run: bool) -> None:
    """Say how the import went."""
    rate = counts.imported / max(elapsed_s, 0.001)
    done = "would go in" if dry_run else "in"
    say(
        f"{counted(counts.imported, 'order')} {done}{_effects(counts)}, {counts.failed:,} failed,"
        f" {counts.unreadable:,} unreadable in {elapsed_s:,.1f} s ({rate:,.0f} orders/s)"
    )
    for reason, count in tally.skipped.most_common():
        say(f"{counted(count, 'line')} skipped, {reason}")
    if tally.rounded_prices:
        say(f"{counted(tally.rounded_prices, 'amount')} rounded to the currency's smallest unit")
    if counts.invalid_ordered_at:
        say(f"{counted(counts.invalid_ordered_at, 'ordered_at date')} could not be read: ISO 8601 is expected")
    if tally.unnamed:
        has, them = ("has", "it") if tally.unnamed == 1 else ("have", "them")
        orders = counted(tally.unnamed, "order")
        say(f"{orders} {has} neither id nor source_id: importing {them} again adds {them} again")
    if dry_run:
        say(_NOTHING_WRITTEN + (_EACH_ALONE if counts.requests > 1 else ""))


_NOTHING_WRITTEN = "This was a dry run: nothing was written."
_EACH_ALONE = (
    " Each request was checked against what is stored now, not against the requests before it: an order, customer or"
    " product that appears in several of them counts as new in each."
)


def _effects(counts: Counts) -> str:
    """` (2 new, 1 changed)`; nothing for a server that does not tell."""
    effects = {"new": counts.created, "changed": counts.updated, "unchanged": counts.unchanged}
    told = ", ".join(f"{count:,} {effect}" for effect, count in effects.items() if count)
    return f" ({told})" if told else ""
