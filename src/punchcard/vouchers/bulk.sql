-- name: campaigns_with_voucher_schema
-- Which of some campaigns hold the metadata of their vouchers to the schema of vouchers, not to that of campaigns.
SELECT id FROM campaigns
 WHERE project_id = :project_id AND id = ANY (:ids::text[]) AND use_voucher_metadata_schema;
