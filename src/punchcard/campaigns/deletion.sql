-- name: campaign_vouchers_to_delete
-- The next vouchers of a campaign, in the order of their creation: all, or those that are not in the bin.
SELECT id, created_at, binned_at IS NULL AS counted, xmin::text AS version
  FROM vouchers
 WHERE project_id = :project_id AND campaign_id = :campaign_id AND created_at > :after
   AND (:force OR binned_at IS NULL)
 ORDER BY created_at
 LIMIT :limit;

-- name: campaign_vouchers_bin!
-- Put vouchers, which are locked, into the bin.
UPDATE vouchers SET binned_at = t.now
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE project_id = :project_id AND id = ANY(:ids::text[]);

-- name: campaign_vouchers_delete!
-- Remove vouchers, which are locked, for good.
DELETE FROM vouchers WHERE project_id = :project_id AND id = ANY(:ids::text[]);

-- name: campaign_vouchers_left
-- Whether a campaign still has a voucher.
SELECT id FROM vouchers WHERE project_id = :project_id AND campaign_id = :campaign_id LIMIT 1;
