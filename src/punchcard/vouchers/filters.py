"""The `filters` of a list of vouchers: those that there is data for, and those whose answer is plain without."""

from collections.abc import Callable, Iterable

from psycopg import sql

from punchcard.errors import InvalidQuery
from punchcard.http import filters, pages
from punchcard.http.filters import Condition, Filter, Filters


def _timeframe(given: Filter) -> Condition:
    """What is valid in recurring stretches, or all the time."""
    given.require(("$has_value", "$is_unknown"))
    return given.text(sql.SQL("validity_timeframe"))


def _days(given: Filter) -> Condition:
    """What is valid on one of some days; what is on all days is too."""
    given.require(("$is", "$in"))
    if not set(given.values) <= set("0123456"):
        raise InvalidQuery(f"Property .{given.written} must be a day of the week from 0 to 6")
    text = sql.SQL("(validity_day_of_week IS NULL OR validity_day_of_week @> ANY ({}::jsonb[]))")
    return Condition(given.field, text.format(sql.Placeholder(given.name)), {given.name: given.values})


# campaigns have these too
VALIDITY: dict[str, Callable[[Filter], Condition]] = {
    "validity_timeframe": _timeframe,
    "validity_day_of_week": _days,
}
_NONE = sql.SQL("NULL::text")
_TEXTS = {
    "categories": sql.SQL("category"),
    "category_ids": _NONE,  # there are none yet
    "campaign_ids": sql.SQL("campaign_id"),
    "vouchers": sql.SQL("id"),
    "holder_id": sql.SQL("holder_id"),
    "published_for_customer_id": _NONE,  # nothing is published yet
}
_DATES = {
    # as their indexes have them
    **{name: pages.FIELDS[name] for name in ("created_at", "updated_at")},
    "start_date": sql.SQL("start_date"),
    "expiration_date": sql.SQL("expiration_date"),
}
_REDEMPTIONS = {
    "$redeemed": "redeemed_quantity > 0",
    "$redeemable": "redemption_quantity IS NULL OR redeemed_quantity < redemption_quantity",
}
FIELDS = (
    "active", "is_referral_code", "code", *_TEXTS, "redemption_status", "redemption.redeemed_quantity", *_DATES,
    *VALIDITY, "metadata.KEY", "junction",
)  # fmt: skip


def read(query: Iterable[tuple[str, str]], *, code_key: Callable[[str], str]) -> Filters:
    """The filters among the parameters of a query; `code_key` makes a code comparable. Raises `InvalidQuery`."""

    def condition(given: Filter) -> Condition | None:
        match given.field:
            case "active":
                return given.state()
            case "is_referral_code":
                return given.flag(sql.SQL("is_referral_code"))
            case "code":
                given.values = [code_key(value) for value in given.values]
                return given.text(sql.SQL("code_key"))
            case "redemption_status":
                return given.state(_REDEMPTIONS)
            case "redemption.redeemed_quantity":
                return given.integer(sql.SQL("redeemed_quantity"))
            case field if field in _TEXTS:
                return given.text(_TEXTS[field])
            case field if field in _DATES:
                return given.date(_DATES[field], own=sql.Identifier(field))
            case field if field in VALIDITY:
                return VALIDITY[field](given)
            case _:
                return given.metadata()

    return filters.read(query, condition, known=FIELDS)
