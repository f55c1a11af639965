"""The `filters` of a list of vouchers: those that there is data for."""

from collections.abc import Callable, Iterable

from psycopg import sql

from punchcard.http import filters, pages
from punchcard.http.filters import Condition, Filter, Filters

_TEXTS = {
    "categories": sql.SQL("category"),
    "campaign_ids": sql.SQL("campaign_id"),
    "vouchers": sql.SQL("id"),
    "holder_id": sql.SQL("holder_id"),
}
_DATES = {
    # as their indexes have them
    **{name: pages.FIELDS[name] for name in ("created_at", "updated_at")},
    "start_date": sql.SQL("start_date"),
    "expiration_date": sql.SQL("expiration_date"),
}
FIELDS = (
    "active", "is_referral_code", "code", *_TEXTS, "redemption.redeemed_quantity", *_DATES, "metadata.KEY", "junction",
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
            case "redemption.redeemed_quantity":
                return given.integer(sql.SQL("redeemed_quantity"))
            case field if field in _TEXTS:
                return given.text(_TEXTS[field])
            case field if field in _DATES:
                return given.date(_DATES[field], own=sql.Identifier(field))
            case _:
                return given.metadata()

    return filters.read(query, condition, known=FIELDS)
