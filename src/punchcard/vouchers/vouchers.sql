-- name: voucher_get
-- One voucher by id or code, with its campaign's name; the id wins, and no code looks like one. What is in the bin
-- answers nobody. LIMIT keeps the condition on the bin outside: before there are statistics, the planner would rather
-- walk an index of all that are not in it.
SELECT v.id, v.code, v.campaign_id, v.type, v.discount, v.gift, v.loyalty_card, v.category, v.start_date,
       v.expiration_date, v.validity_timeframe, v.validity_day_of_week, v.validity_hours, v.active, v.additional_info,
       v.metadata, v.is_referral_code, v.redemption_quantity, v.redeemed_quantity, v.redeemed_amount,
       v.published_count, v.holder_id, v.created_at, v.updated_at,
       (SELECT c.name FROM campaigns AS c WHERE c.project_id = :project_id AND c.id = v.campaign_id) AS campaign
  FROM (SELECT * FROM vouchers
         WHERE project_id = :project_id
           AND id = coalesce(
               (SELECT id FROM vouchers WHERE project_id = :project_id AND id = :id),
               (SELECT id FROM vouchers
                 WHERE project_id = :project_id
                   AND code_key = (SELECT CASE WHEN p.case_sensitive_codes THEN :code ELSE :code_lower END
                                     FROM projects AS p WHERE p.id = :project_id)))
         LIMIT 1) AS v
 WHERE v.binned_at IS NULL;

-- name: vouchers_list
-- What a list of vouchers shows. Conditions, order and limit are put around it: see http.pages.
SELECT v.id, v.code, v.code_key, v.campaign_id, v.type, v.discount, v.gift, v.loyalty_card, v.category, v.start_date,
       v.expiration_date, v.validity_timeframe, v.validity_day_of_week, v.validity_hours, v.active, v.additional_info,
       v.metadata, v.is_referral_code, v.redemption_quantity, v.redeemed_quantity, v.redeemed_amount,
       v.published_count, v.holder_id, v.created_at, v.updated_at,
       (SELECT c.name FROM campaigns AS c WHERE c.project_id = :project_id AND c.id = v.campaign_id) AS campaign
  FROM vouchers AS v
 WHERE v.project_id = :project_id AND v.binned_at IS NULL;

-- name: voucher_lock
-- Lock a voucher that was found, and read what a change of it depends on. No row if it is gone meanwhile. LIMIT as in
-- voucher_get.
SELECT v.id, v.type, v.discount, v.category, v.start_date, v.expiration_date, v.validity_timeframe,
       v.validity_day_of_week, v.validity_hours, v.active, v.additional_info, v.metadata, v.campaign_id
  FROM (SELECT * FROM vouchers WHERE project_id = :project_id AND id = :id LIMIT 1 FOR NO KEY UPDATE) AS v
 WHERE v.binned_at IS NULL;

-- name: voucher_update!
UPDATE vouchers
   SET discount = :discount, category = :category, start_date = :start_date, expiration_date = :expiration_date,
       validity_timeframe = :validity_timeframe, validity_day_of_week = :validity_day_of_week,
       validity_hours = :validity_hours, active = :active, additional_info = :additional_info, metadata = :metadata,
       updated_at = :updated_at
 WHERE project_id = :project_id AND id = :id;

-- name: voucher_bin!
UPDATE vouchers SET binned_at = :binned_at WHERE project_id = :project_id AND id = :id;

-- name: voucher_delete!
DELETE FROM vouchers WHERE project_id = :project_id AND id = :id;

-- name: voucher_campaign
-- The campaign that a request names by id or by name, held so that it is not deleted before its new voucher is there,
-- and that no other voucher is counted meanwhile.
SELECT id, name, type, voucher ->> 'type' AS voucher_type, use_voucher_metadata_schema
  FROM campaigns
 WHERE project_id = :project_id AND binned_at IS NULL AND (id = :id OR name = :name)
 ORDER BY id = :id DESC
 LIMIT 1
   FOR NO KEY UPDATE;

-- name: voucher_follows_schema
-- Whether the metadata of a campaign's vouchers is held to the project's schema.
SELECT use_voucher_metadata_schema FROM campaigns WHERE project_id = :project_id AND id = :id;
