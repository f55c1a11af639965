-- name: async_action_insert
-- A new action at the end of its lane. Inserts only: it waits for no portion. No row when another action
-- of the project got the same microsecond; the caller tries again.
INSERT INTO async_actions
       (project_id, id, type, lane, request_id, created_at, updated_at, records_total, portion_records, dry_run)
SELECT :project_id, :id, :type, :lane, :request_id, t.now, t.now, :records_total, :portion_records, :dry_run
  FROM (SELECT clock_timestamp() AS now) AS t
    ON CONFLICT DO NOTHING
RETURNING seq;

-- name: async_action_get
-- One action as users see it.
SELECT id, seq, type, lane, dry_run, status, operation_status, created_at, updated_at, request_id, records_total,
       records_next, records_failed, counts, started_at, finished_at, result, clock_timestamp() AS now
  FROM async_actions
 WHERE project_id = :project_id AND id = :id;

-- name: async_action_queue
-- What comes before an action in its lane, looking at `limit` actions at most, and what a record took there of late.
SELECT count(*) AS actions, count(*) FILTER (WHERE before.started_at IS NULL) AS waiting,
       coalesce(sum(before.records), 0)::bigint AS records,
       (SELECT record_us FROM lanes WHERE project_id = :project_id AND lane = :lane) AS record_us
  FROM (SELECT started_at, records_total - records_next AS records FROM async_actions
         WHERE project_id = :project_id AND lane = :lane AND finished_at IS NULL AND seq < :seq
         ORDER BY seq DESC
         LIMIT :limit) AS before;

-- name: async_action_list
-- The newest actions scheduled before a moment. Those of types that are ours alone begin with a prefix.
SELECT id, type, dry_run, status, operation_status, created_at, updated_at, request_id, records_total, records_next,
       started_at, finished_at, clock_timestamp() AS now
  FROM async_actions
 WHERE project_id = :project_id AND created_at < :before AND (:internal OR NOT starts_with(type, :prefix))
 ORDER BY created_at DESC
 LIMIT :limit;
