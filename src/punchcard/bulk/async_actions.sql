-- name: async_action_insert
-- A new action at the end of its lane. Inserts only: it waits for no portion. No row when another action
-- of the project got the same microsecond; the caller tries again. The transaction has its number before `seq` is
-- drawn: see lane_look.
INSERT INTO async_actions
       (project_id, id, type, lane, request_id, created_at, updated_at, records_total, portion_records, dry_run,
        parameters, accepted_xid)
SELECT :project_id, :id, :type, :lane, :request_id, t.now, t.now, :records_total, :portion_records, :dry_run,
       :parameters, t.xid
  FROM (SELECT clock_timestamp() AS now, pg_current_xact_id() AS xid) AS t
    ON CONFLICT DO NOTHING
RETURNING seq;

-- name: async_action_get
-- One action as users see it.
SELECT id, seq, type, lane, dry_run, status, operation_status, created_at, updated_at, request_id, records_total,
       records_next, records_failed, counts, started_at, finished_at, result, clock_timestamp() AS now
  FROM async_actions
 WHERE project_id = :project_id AND id = :id;

-- name: async_action_queue
-- What comes before an action in its lane, looking at `limit` actions that wait and as many under way, and what a record
-- took there of late. In a round_robin lane those under way take turns with it: of each as many records as it has left.
SELECT w.actions + u.actions AS actions, w.actions AS waiting, w.records + u.records AS records, t.record_us,
       EXISTS (SELECT FROM lane_pauses WHERE project_id = :project_id AND lane = :lane) AS paused,
       EXISTS (SELECT FROM async_action_cancels
                WHERE project_id = :project_id AND lane = :lane AND action_id = :id) AS cancel_requested
  FROM (SELECT 1) AS one
  LEFT JOIN LATERAL (
       SELECT l.record_us, l.seq_floor, l.job_turn_floor FROM lane_turns AS l
        WHERE l.project_id = :project_id AND l.lane = :lane
        ORDER BY l.turn DESC LIMIT 1) AS t ON true
 CROSS JOIN LATERAL (
       SELECT count(*) AS actions, coalesce(sum(CASE WHEN :rotating THEN least(b.records, :records) ELSE b.records END),
                                            0)::bigint AS records
         FROM (SELECT a.records_total - a.records_next AS records FROM async_actions AS a
                WHERE a.project_id = :project_id AND a.lane = :lane AND a.finished_at IS NULL AND a.started_at IS NULL
                  AND a.seq < :seq AND a.seq >= coalesce(t.seq_floor, 0)
                ORDER BY a.seq DESC
                LIMIT :limit) AS b) AS w
 CROSS JOIN LATERAL (
       SELECT count(*) AS actions, coalesce(sum(CASE WHEN :rotating THEN least(b.records, :records) ELSE b.records END),
                                            0)::bigint AS records
         FROM (SELECT a.records_total - a.records_next AS records FROM async_actions AS a
                WHERE a.project_id = :project_id AND a.lane = :lane AND a.finished_at IS NULL
                  AND a.started_at IS NOT NULL AND a.job_turn >= coalesce(t.job_turn_floor, 0) AND a.id <> :id
                ORDER BY a.job_turn
                LIMIT :limit) AS b) AS u;

-- name: async_action_cancel_insert!
-- Ask the next turn of the lane to end an action. Inserts only: it waits for no portion.
INSERT INTO async_action_cancels (project_id, lane, action_id) VALUES (:project_id, :lane, :id) ON CONFLICT DO NOTHING;

-- name: async_action_list
-- The newest actions scheduled before a moment. Those of types that are ours alone begin with a prefix.
SELECT id, type, dry_run, status, operation_status, created_at, updated_at, request_id, records_total, records_next,
       started_at, finished_at, clock_timestamp() AS now
  FROM async_actions
 WHERE project_id = :project_id AND created_at < :before AND (:internal OR NOT starts_with(type, :prefix))
 ORDER BY created_at DESC
 LIMIT :limit;

-- name: async_action_effects
-- What a bulk job led to in segments, and whether customers that it changed still wait; one row without a segment at least.
SELECT EXISTS (SELECT FROM segment_inbox WHERE project_id = :project_id AND async_action_id = :id) AS waiting,
       e.segment_id, s.name, e.entered, e."left"
  FROM (SELECT) AS one
  LEFT JOIN async_action_effects AS e ON e.project_id = :project_id AND e.action_id = :id
  LEFT JOIN segments AS s ON s.project_id = :project_id AND s.id = e.segment_id
 ORDER BY s.created_at, e.segment_id;
