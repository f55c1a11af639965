"""Vouchers with the official Python client, used as its documentation shows."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import voucherify
from voucherify import VouchersCreateRequestBody, VouchersCreateWithSpecificCodeRequestBody, VouchersUpdateRequestBody

from tests.deployment import Project


@pytest.fixture
def client(project_18: Project) -> Iterator[Any]:
    keys = {"X-App-Id": project_18.application_id, "X-App-Token": project_18.application_token}
    with voucherify.ApiClient(voucherify.Configuration(host=project_18.deployment.url, api_key=keys)) as made:
        yield voucherify.VouchersApi(made)
        made.rest_client.pool_manager.clear()


def test_a_voucher_s_life(client: Any) -> None:
    body = VouchersCreateWithSpecificCodeRequestBody.from_dict(
        {
            "type": "DISCOUNT_VOUCHER",
            "discount": {"type": "AMOUNT", "amount_off": 1000, "effect": "APPLY_TO_ITEMS"},
            "redemption": {"quantity": 5},
            "expiration_date": "2030-01-01T00:00:00Z",
            "validity_day_of_week": [1, 2],
            "metadata": {"season": "fall"},
        }
    )
    made = client.create_voucher("SAVE 10/2", vouchers_create_with_specific_code_request_body=body)
    assert (made.code, made.type, made.discount.amount_off, made.redemption.quantity) == (
        "SAVE 10/2", "DISCOUNT_VOUCHER", 1000, 5
    )  # fmt: skip
    assert made.expiration_date == datetime(2030, 1, 1, tzinfo=UTC)
    assert client.get_voucher("SAVE 10/2") == client.get_voucher(made.id)
    update = VouchersUpdateRequestBody.from_dict({"metadata": {"year": 2026}, "additional_info": "x"})
    changed = client.update_voucher("SAVE 10/2", vouchers_update_request_body=update)
    assert (changed.metadata, changed.additional_info) == ({"season": "fall", "year": 2026}, "x")
    assert client.disable_voucher(made.id).active is False
    assert client.enable_voucher(made.id).active is True
    assert client.delete_voucher(made.id, force=True) is None
    with pytest.raises(voucherify.exceptions.NotFoundException) as missing:
        client.get_voucher(made.id)
    assert json.loads(missing.value.body)["resource_type"] == "voucher"


def test_random_codes_and_gift_cards_are_listed(client: Any) -> None:
    gift = VouchersCreateRequestBody.from_dict(
        {"type": "GIFT_VOUCHER", "gift": {"amount": 500, "balance": 500}, "code_config": {"pattern": "G-####"}}
    )
    card = client.generate_random_code(vouchers_create_request_body=gift)
    assert card.code.startswith("G-")
    assert (card.gift.amount, card.gift.balance, card.gift.subtracted_amount) == (500, 500, 0)
    # the client sends a type with every update; what a gift card does not have is skipped
    update = VouchersUpdateRequestBody.from_dict({"category": "cards"})
    assert client.update_voucher(card.code, vouchers_update_request_body=update).type == "GIFT_VOUCHER"
    discount = VouchersCreateRequestBody.from_dict({"discount": {"type": "PERCENT", "percent_off": 12.5}})
    percent = client.generate_random_code(vouchers_create_request_body=discount)
    assert percent.discount.percent_off == 12.5
    page = client.list_vouchers(limit=10, order="created_at")
    assert ([voucher.id for voucher in page.vouchers], page.total) == ([card.id, percent.id], 2)
    assert [voucher.id for voucher in client.list_vouchers(category="cards").vouchers] == [card.id]
    assert [voucher.id for voucher in client.list_vouchers(ids=[percent.id]).vouchers] == [percent.id]
    assert client.list_vouchers(created_at={"before": "2020-01-01"}).total == 0
    body = VouchersCreateWithSpecificCodeRequestBody.from_dict({"gift": {"amount": 1, "balance": 1}})
    with pytest.raises(voucherify.exceptions.ApiException, match="duplicate_found"):
        client.create_voucher(card.code, vouchers_create_with_specific_code_request_body=body)
