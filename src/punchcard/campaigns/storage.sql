-- name: campaign_insert
-- A new campaign. No row when its name, or its microsecond, is taken.
INSERT INTO campaigns
       (project_id, id, name, description, campaign_type, type, voucher, auto_join, join_once,
        use_voucher_metadata_schema, start_date, expiration_date, validity_timeframe, validity_day_of_week,
        validity_hours, activity_duration_after_publishing, category, metadata, created_at)
SELECT :project_id, :id, :name, :description, :campaign_type, :type, :voucher, :auto_join, :join_once,
       :use_voucher_metadata_schema, :start_date, :expiration_date, :validity_timeframe, :validity_day_of_week,
       :validity_hours, :activity_duration_after_publishing, :category, :metadata, t.now
  FROM (SELECT clock_timestamp() AS now) AS t
    ON CONFLICT DO NOTHING
RETURNING created_at;

-- name: campaign_named
-- Whether a campaign has a name, in the bin or not.
SELECT id FROM campaigns WHERE project_id = :project_id AND name = :name;

-- name: campaign_read
-- A campaign that is not in the bin.
SELECT id, name, description, campaign_type, type, voucher, auto_join, join_once, use_voucher_metadata_schema,
       start_date, expiration_date, validity_timeframe, validity_day_of_week, validity_hours,
       activity_duration_after_publishing, category, active, metadata
  FROM campaigns
 WHERE project_id = :project_id AND id = :id AND binned_at IS NULL;

-- name: campaign_share
-- A campaign by id or name, the id wins: it stays as it is until the end of the transaction.
SELECT id, name, description, campaign_type, type, voucher, auto_join, join_once, use_voucher_metadata_schema,
       start_date, expiration_date, validity_timeframe, validity_day_of_week, validity_hours,
       activity_duration_after_publishing, category, active, metadata
  FROM campaigns
 WHERE project_id = :project_id AND (id = :key OR name = :key) AND binned_at IS NULL
 ORDER BY id = :key DESC
 LIMIT 1
   FOR SHARE;

-- name: campaign_lock
-- A campaign by id or name, as campaign_share, and nobody else has it until the end of the transaction.
SELECT id, name, description, campaign_type, type, voucher, auto_join, join_once, use_voucher_metadata_schema,
       start_date, expiration_date, validity_timeframe, validity_day_of_week, validity_hours,
       activity_duration_after_publishing, category, active, metadata
  FROM campaigns
 WHERE project_id = :project_id AND (id = :key OR name = :key) AND binned_at IS NULL
 ORDER BY id = :key DESC
 LIMIT 1
   FOR NO KEY UPDATE;

-- name: campaign_lock_for_deletion
-- A campaign by id or name, as campaign_lock; also one in the bin whose last deletion has failed, or was cancelled.
SELECT c.id, c.binned_at IS NOT NULL AS binned
  FROM campaigns AS c
 WHERE c.project_id = :project_id AND (c.id = :key OR c.name = :key)
   AND (c.binned_at IS NULL
        OR (EXISTS (SELECT FROM campaign_jobs AS j
                     WHERE j.project_id = :project_id AND j.campaign_id = c.id AND j.type = :deletion
                       AND NOT j.succeeded)
            AND NOT EXISTS (SELECT FROM campaign_jobs AS j
                             WHERE j.project_id = :project_id AND j.campaign_id = c.id AND j.type = :deletion
                               AND j.succeeded IS NULL)))
 ORDER BY c.id = :key DESC
 LIMIT 1
   FOR NO KEY UPDATE OF c;

-- name: campaign_update!
-- New values of a campaign, which is locked.
UPDATE campaigns
   SET description = :description, type = :type, voucher = :voucher, auto_join = :auto_join, join_once = :join_once,
       start_date = :start_date, expiration_date = :expiration_date, validity_timeframe = :validity_timeframe,
       validity_day_of_week = :validity_day_of_week, validity_hours = :validity_hours,
       activity_duration_after_publishing = :activity_duration_after_publishing, category = :category,
       active = :active, metadata = :metadata, updated_at = t.now
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE project_id = :project_id AND id = :id;

-- name: campaign_bin
-- Put a campaign, which is locked, into the bin.
UPDATE campaigns SET binned_at = t.now
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE project_id = :project_id AND id = :id
RETURNING binned_at;

-- name: campaign_delete!
-- Remove a campaign from the bin for good.
DELETE FROM campaigns WHERE project_id = :project_id AND id = :id AND binned_at IS NOT NULL;

-- name: campaign_jobs_delete!
DELETE FROM campaign_jobs WHERE project_id = :project_id AND campaign_id = :id;

-- name: campaign_total_delete!
-- The total of a campaign that has no vouchers any more.
DELETE FROM row_totals WHERE project_id = :project_id AND resource = :resource;

-- name: campaign_job_insert!
INSERT INTO campaign_jobs (project_id, campaign_id, action_id, type, vouchers)
VALUES (:project_id, :campaign_id, :action_id, :type, :vouchers);

-- name: campaign_job_end!
UPDATE campaign_jobs SET succeeded = :succeeded
 WHERE project_id = :project_id AND campaign_id = :campaign_id AND action_id = :action_id AND succeeded IS NULL;

-- name: campaign_jobs_failed_delete
-- Forget the jobs of a type that have not come to their end, and say what they were to do: another job will.
DELETE FROM campaign_jobs AS j USING async_actions AS a
 WHERE j.project_id = :project_id AND j.campaign_id = :id AND j.type = :type AND NOT j.succeeded
   AND a.project_id = :project_id AND a.id = j.action_id
RETURNING a.parameters;

-- name: campaign_job_delete!
DELETE FROM campaign_jobs
 WHERE project_id = :project_id AND campaign_id = :campaign_id AND action_id = :action_id;

-- name: campaign_size
-- How many vouchers a campaign has, and how many of those that it was asked for are still to be made: both as one
-- moment saw them, since a portion moves vouchers from one to the other.
SELECT (SELECT coalesce(sum(t.total), 0)::bigint FROM row_totals AS t
         WHERE t.project_id = :project_id AND t.resource = :resource) AS made,
       (SELECT coalesce(sum(j.vouchers - a.records_done), 0)::bigint
          FROM campaign_jobs AS j
          JOIN async_actions AS a ON a.project_id = :project_id AND a.id = j.action_id
         WHERE j.project_id = :project_id AND j.campaign_id = :id AND j.succeeded IS NULL
           AND j.type = :generation) AS asked_for;
