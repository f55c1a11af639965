-- name: async_action_insert
-- A new action at the end of its lane. Inserts only: it waits for no portion. No row when another action
-- of the project got the same microsecond; the caller tries again.
INSERT INTO async_actions
       (project_id, id, type, lane, request_id, created_at, updated_at, records_total, portion_records)
SELECT :project_id, :id, :type, :lane, :request_id, t.now, t.now, :records_total, :portion_records
  FROM (SELECT clock_timestamp() AS now) AS t
    ON CONFLICT DO NOTHING
RETURNING seq;

-- name: async_action_get
-- One action as users see it.
SELECT id, type, status, operation_status, created_at, updated_at, request_id, records_total, records_next,
       started_at, finished_at, result, clock_timestamp() AS now
  FROM async_actions
 WHERE project_id = :project_id AND id = :id;

-- name: async_action_list
-- The newest actions scheduled before a moment.
SELECT id, type, status, operation_status, created_at, updated_at, request_id, records_total, records_next,
       started_at, finished_at, clock_timestamp() AS now
  FROM async_actions
 WHERE project_id = :project_id AND created_at < :before
 ORDER BY created_at DESC
 LIMIT :limit;
