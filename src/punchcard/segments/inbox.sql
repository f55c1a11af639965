-- name: segment_inbox_append!
INSERT INTO segment_inbox (project_id, customer_id, cause)
SELECT :project_id, u.customer_id, :cause FROM unnest(:customer_ids::text[]) AS u (customer_id);
