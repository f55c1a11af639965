-- name: campaign_get
-- One campaign by id or name, the id wins, with the number of its vouchers and the state of its jobs.
SELECT c.id, c.name, c.description, c.campaign_type, c.type, c.voucher, c.auto_join, c.join_once,
       c.use_voucher_metadata_schema, c.start_date, c.expiration_date, c.validity_timeframe, c.validity_day_of_week,
       c.validity_hours, c.activity_duration_after_publishing, c.category, c.active, c.metadata, c.created_at,
       c.updated_at,
       (SELECT coalesce(sum(t.total), 0)::bigint FROM row_totals AS t
         WHERE t.project_id = :project_id AND t.resource = 'vouchers/' || c.id) AS vouchers_count,
       (SELECT CASE WHEN bool_or(j.succeeded IS NULL AND j.type = 'CAMPAIGN.VOUCHERS_GENERATE') THEN 'IN_PROGRESS'
                    WHEN bool_or(j.succeeded IS NULL) THEN 'MODIFYING'
                    WHEN max(j.action_id) FILTER (WHERE j.type = 'CAMPAIGN.VOUCHERS_GENERATE' AND NOT j.succeeded)
                         = max(j.action_id) FILTER (WHERE j.type = 'CAMPAIGN.VOUCHERS_GENERATE') THEN 'FAILED'
                    ELSE 'DONE' END
          FROM campaign_jobs AS j
         WHERE j.project_id = :project_id AND j.campaign_id = c.id) AS status
  FROM campaigns AS c
 WHERE c.project_id = :project_id AND (c.id = :key OR c.name = :key) AND c.binned_at IS NULL
 ORDER BY c.id = :key DESC
 LIMIT 1;

-- name: campaigns_list
-- What a list of campaigns shows, as campaign_get. Conditions, order and limit are put around it: see http.pages.
SELECT c.id, c.name, c.description, c.campaign_type, c.type, c.voucher, c.auto_join, c.join_once,
       c.use_voucher_metadata_schema, c.start_date, c.expiration_date, c.validity_timeframe, c.validity_day_of_week,
       c.validity_hours, c.activity_duration_after_publishing, c.category, c.active, c.metadata, c.created_at,
       c.updated_at,
       (SELECT coalesce(sum(t.total), 0)::bigint FROM row_totals AS t
         WHERE t.project_id = :project_id AND t.resource = 'vouchers/' || c.id) AS vouchers_count,
       (SELECT CASE WHEN bool_or(j.succeeded IS NULL AND j.type = 'CAMPAIGN.VOUCHERS_GENERATE') THEN 'IN_PROGRESS'
                    WHEN bool_or(j.succeeded IS NULL) THEN 'MODIFYING'
                    WHEN max(j.action_id) FILTER (WHERE j.type = 'CAMPAIGN.VOUCHERS_GENERATE' AND NOT j.succeeded)
                         = max(j.action_id) FILTER (WHERE j.type = 'CAMPAIGN.VOUCHERS_GENERATE') THEN 'FAILED'
                    ELSE 'DONE' END
          FROM campaign_jobs AS j
         WHERE j.project_id = :project_id AND j.campaign_id = c.id) AS status
  FROM campaigns AS c
 WHERE c.project_id = :project_id AND c.binned_at IS NULL;
