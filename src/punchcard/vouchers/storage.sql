-- name: vouchers_write_clock
-- The first moment a batch of vouchers may use. See write_clock.
SELECT greatest(clock_timestamp(),
                (SELECT max(created_at) FROM vouchers WHERE project_id = :project_id AND binned_at IS NULL)
                    + interval '1 microsecond',
                (SELECT max(coalesce(updated_at, created_at)) FROM vouchers
                  WHERE project_id = :project_id AND binned_at IS NULL)
                    + interval '1 microsecond') AS now;

-- name: vouchers_taken
-- Which of some codes exist, in the bin or not. One index probe a code.
SELECT found.code_key
  FROM unnest(:code_keys::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT code_key FROM vouchers WHERE project_id = :project_id AND code_key = n.key LIMIT 1) AS found;

-- name: vouchers_resolve
-- The vouchers that a batch names by code, without those in the bin. See customers_resolve, and voucher_get.
SELECT found.id, found.code, found.code_key, found.campaign_id, found.metadata, found.version
  FROM unnest(:code_keys::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, code, code_key, campaign_id, metadata::text, xmin::text AS version, binned_at
         FROM vouchers WHERE project_id = :project_id AND code_key = n.key
        LIMIT 1) AS found
 WHERE found.binned_at IS NULL;

-- name: vouchers_lock
-- See customers_lock.
WITH locked AS MATERIALIZED (
    SELECT found.version = n.version AS same
      FROM unnest(:ids::text[], :versions::text[]) AS n (key, version)
     CROSS JOIN LATERAL (
           SELECT xmin::text AS version FROM vouchers
            WHERE project_id = :project_id AND id = n.key
            LIMIT 1
              FOR NO KEY UPDATE) AS found
)
SELECT count(*) FILTER (WHERE same) AS same FROM locked;

-- name: vouchers_update_metadata!
-- New metadata of existing vouchers, which are locked. See customers_update.
INSERT INTO vouchers (project_id, id, code, code_key, type, metadata, created_at, updated_at)
SELECT :project_id, u.id, '', '', 'GIFT_VOUCHER', u.metadata, u.now, u.now
  FROM unnest(:ids::text[], :metadatas::jsonb[], :nows::timestamptz[]) AS u (id, metadata, now)
    ON CONFLICT (project_id, id) DO UPDATE SET metadata = excluded.metadata, updated_at = excluded.updated_at;

-- name: voucher_insert
-- One new voucher. No row where its code, or its moment, is taken: whoever has it is waited for.
INSERT INTO vouchers (project_id, id, code, code_key, campaign_id, type, discount, gift, loyalty_card, category,
                      start_date, expiration_date, validity_timeframe, validity_day_of_week, validity_hours, active,
                      additional_info, metadata, is_referral_code, redemption_quantity, created_at)
VALUES (:project_id, :id, :code, :code_key, :campaign_id, :type, :discount, :gift, :loyalty_card, :category,
        :start_date, :expiration_date, :validity_timeframe, :validity_day_of_week, :validity_hours, :active,
        :additional_info, :metadata, :is_referral_code, :redemption_quantity, :created_at)
    ON CONFLICT DO NOTHING
RETURNING id;

-- name: voucher_code_rule
-- Whether the project tells cases apart in codes.
SELECT case_sensitive_codes FROM projects WHERE id = :project_id;
