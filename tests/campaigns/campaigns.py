"""Campaigns as a shop's developer makes them."""

from typing import Any
from urllib.parse import quote

from tests.deployment import Project

PERCENT = {"type": "PERCENT", "percent_off": 10}
COUPONS: dict[str, Any] = {"type": "DISCOUNT_VOUCHER", "discount": PERCENT}
GIFTS: dict[str, Any] = {"type": "GIFT_VOUCHER", "gift": {"amount": 10_000}}
# ten codes
DIGITS = {"pattern": "#", "charset": "0123456789"}


def path_of(key: str, *more: str) -> str:
    return "/".join(("/v1/campaigns", quote(key, safe=""), *(quote(part, safe="") for part in more)))


def created(project: Project, name: str = "Spring", *, voucher: Any = COUPONS, expect: int = 200, **fields: Any) -> Any:
    """A new campaign, or why it is refused."""
    body = {"name": name, "voucher": voucher, **fields}
    return project.call("POST", "/v1/campaigns", json=body, expect=expect)


def read(project: Project, key: str = "Spring", *, expect: int = 200) -> Any:
    return project.call("GET", path_of(key), expect=expect)


def changed(project: Project, key: str = "Spring", *, expect: int = 200, **fields: Any) -> Any:
    return project.call("PUT", path_of(key), json=fields, expect=expect)


def added(project: Project, key: str = "Spring", *, expect: int = 200, count: int | None = None, **fields: Any) -> Any:
    """A voucher that is added, or of several the action; or why that is refused."""
    parameters = {} if count is None else {"vouchers_count": count}
    return project.call("POST", path_of(key, "vouchers"), json=fields, params=parameters, expect=expect)


def filled(project: Project, key: str = "Spring", *, count: int, **fields: Any) -> Any:
    """The action that has added so many vouchers, once it is finished."""
    return project.finished(added(project, key, count=count, expect=202, **fields)["async_action_id"])


def coded(project: Project, code: str, key: str = "Spring", *, expect: int = 200, **fields: Any) -> Any:
    """A voucher with a code of ours."""
    return project.call("POST", path_of(key, "vouchers", code), json=fields, expect=expect)


def deleted(project: Project, key: str = "Spring", *, force: bool = False) -> Any:
    """The action that has deleted a campaign, once it is finished."""
    parameters = {"force": "true"} if force else {}
    answer = project.call("DELETE", path_of(key), params=parameters, expect=202)
    return project.finished(answer["async_action_id"])


def settled(project: Project) -> Any:
    """The newest action of the project, once all are finished."""
    actions = project.get("/v1/async-actions", limit=100)["async_actions"]
    newest, *_ = [project.finished(action["id"]) for action in actions]
    return newest


def vouchers_of(project: Project, campaign_id: str) -> list[Any]:
    """All vouchers of a campaign."""
    found: list[Any] = []
    for page in range(1, 100):
        part = project.get("/v1/vouchers", campaign_id=campaign_id, limit=100, page=page)["vouchers"]
        found += part
        if len(part) < 100:
            break
    return found
