-- name: campaign_simple
-- A campaign as the payloads of others show it, in the bin or not.
SELECT id, name, campaign_type, type, voucher, auto_join, join_once, active, category, metadata, start_date,
       expiration_date, description, created_at, updated_at
  FROM campaigns
 WHERE project_id = :project_id AND id = :id;
