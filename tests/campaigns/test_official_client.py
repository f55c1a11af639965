"""The official Python client's campaigns against a server of ours: only the address differs."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import voucherify

from tests.deployment import Project


@pytest.fixture
def client(project_18: Project) -> Iterator[Any]:
    keys = {"X-App-Id": project_18.application_id, "X-App-Token": project_18.application_token}
    with voucherify.ApiClient(voucherify.Configuration(host=project_18.deployment.url, api_key=keys)) as made:
        yield made
        made.rest_client.pool_manager.clear()


def finished(client: Any, action_id: str) -> Any:
    """Poll, as the guide says."""
    for _ in range(400):
        action = voucherify.AsyncActionsApi(client).get_async_action(action_id)
        if action.status in {"DONE", "FAILED"}:
            return action
        time.sleep(0.05)
    raise AssertionError(action)


def created(client: Any, **fields: Any) -> Any:
    body = voucherify.CampaignsCreateRequestBody.from_dict(
        {
            "name": "Fall 2026",
            "campaign_type": "DISCOUNT_COUPONS",
            "start_date": "2026-08-16T00:00:00Z",
            "validity_timeframe": {"interval": "P2D", "duration": "P1D"},
            "validity_day_of_week": [0, 1, 2],
            "metadata": {"region": "AMER"},
            "voucher": {
                "type": "DISCOUNT_VOUCHER",
                "discount": {"type": "PERCENT", "percent_off": 10},
                "redemption": {"quantity": 10},
                "code_config": {"pattern": "10OFF-#######"},
            },
        }
        | fields
    )
    return voucherify.CampaignsApi(client).create_campaign(campaigns_create_request_body=body)


def test_a_campaign_s_life(client: Any) -> None:
    campaigns = voucherify.CampaignsApi(client)
    campaign = created(client, vouchers_count=3, vouchers_generation_status=None)
    assert (campaign.name, campaign.type, campaign.vouchers_generation_status) == ("Fall 2026", "STATIC", "IN_PROGRESS")
    assert (campaign.expiration_date, campaign.voucher.code_config.pattern) == (None, "10OFF-#######")
    action = voucherify.AsyncActionsApi(client).list_async_actions(limit=1).async_actions[0]
    assert action.type == "CAMPAIGN.VOUCHERS_GENERATE"
    assert finished(client, action.id).result == {"message": "Generated 3 vouchers.", "done_count": 3}

    voucher = campaigns.add_vouchers_to_campaign(campaign.id)
    assert voucher.code.startswith("10OFF-")
    assert (voucher.campaign, voucher.discount.percent_off, voucher.async_action_id) == ("Fall 2026", 10, None)
    body = voucherify.CampaignsVouchersCreateInBulkRequestBody(metadata={"channel": "mail"})
    many = campaigns.add_vouchers_to_campaign(
        "Fall 2026", vouchers_count=20, campaigns_vouchers_create_in_bulk_request_body=body
    )
    assert finished(client, many.async_action_id).operation_status == "SUCCESS"
    code = voucherify.CampaignsVouchersCreateRequestBody(additional_info="By hand")
    mine = campaigns.add_voucher_with_specific_code_to_campaign(
        campaign.id, "MINE", campaigns_vouchers_create_request_body=code
    )
    assert (mine.code, mine.additional_info, mine.metadata) == ("MINE", "By hand", {"region": "AMER"})

    found = campaigns.get_campaign("Fall 2026")
    assert (found.id, found.vouchers_count, found.creation_status) == (campaign.id, 25, "DONE")
    assert found.start_date == datetime(2026, 8, 16, tzinfo=UTC)
    listed = campaigns.list_campaigns(limit=10, order="-created_at", campaign_type="DISCOUNT_COUPONS")
    assert [each.id for each in listed.campaigns] == [campaign.id]
    assert listed.total == 1

    # made by `from_dict`, it would say null for all that is not given
    change = voucherify.CampaignsUpdateRequestBody(
        description="New", discount=voucherify.Discount(type="PERCENT", percent_off=12.5), metadata={"region": "EMEA"}
    )
    after = campaigns.update_campaign(campaign.id, campaigns_update_request_body=change)
    assert (after.description, after.voucher.discount.percent_off) == ("New", 12.5)
    action = voucherify.AsyncActionsApi(client).list_async_actions(limit=1).async_actions[0]
    assert finished(client, action.id).result == {"message": "Updated 25 vouchers.", "done_count": 25}
    voucher = voucherify.VouchersApi(client).get_voucher("MINE")
    assert (voucher.discount.percent_off, voucher.metadata) == (12.5, {"region": "EMEA"})

    campaigns.disable_campaign(campaign.id)
    assert campaigns.get_campaign(campaign.id).active is False
    campaigns.enable_campaign(campaign.id)
    gone = campaigns.delete_campaign(campaign.id, force=True)
    assert finished(client, gone.async_action_id).result == {"message": "Deleted 25 vouchers.", "done_count": 25}
    with pytest.raises(voucherify.exceptions.NotFoundException):
        campaigns.get_campaign(campaign.id)


def test_errors_are_the_client_s_exceptions(client: Any) -> None:
    created(client)
    with pytest.raises(voucherify.exceptions.ApiException) as duplicate:
        created(client)
    assert (duplicate.value.status, json.loads(duplicate.value.body)["key"]) == (409, "duplicate_found")
    with pytest.raises(voucherify.exceptions.BadRequestException) as refused:
        created(client, name="Loyal", campaign_type="LOYALTY_PROGRAM")
    assert json.loads(refused.value.body)["key"] == "invalid_campaign"
