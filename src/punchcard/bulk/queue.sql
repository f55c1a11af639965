-- name: lanes_with_work
-- Lanes that have unfinished actions, the one served longest ago first. Reads all projects and locks
-- nothing: a list of hints. One index probe a lane, however many actions wait in it.
WITH RECURSIVE work AS (
    (SELECT project_id, lane FROM async_actions WHERE finished_at IS NULL ORDER BY project_id, lane LIMIT 1)
    UNION ALL
    SELECT next.project_id, next.lane
      FROM work CROSS JOIN LATERAL (
           SELECT a.project_id, a.lane FROM async_actions AS a
            WHERE a.finished_at IS NULL AND (a.project_id, a.lane) > (work.project_id, work.lane)
            ORDER BY a.project_id, a.lane LIMIT 1) AS next
)
SELECT work.project_id, work.lane, lanes.served_at
  FROM work LEFT JOIN lanes ON lanes.project_id = work.project_id AND lanes.lane = work.lane
 ORDER BY lanes.served_at NULLS FIRST
 LIMIT :limit;

-- name: lane_try_lock
-- Take the lane for this session. Reads no table: it would read it as it was before the lock.
SELECT pg_try_advisory_lock(:key) AS locked;

-- name: lane_served
-- When the lane that we hold was last served; none if never.
SELECT served_at FROM lanes WHERE project_id = :project_id AND lane = :lane;

-- name: lane_unlock
SELECT pg_advisory_unlock(:key) AS unlocked;

-- name: lane_serve
-- Move the lane to the end of the round.
INSERT INTO lanes (project_id, lane, served_at)
SELECT :project_id, :lane, clock_timestamp()
    ON CONFLICT (project_id, lane) DO UPDATE SET served_at = excluded.served_at;

-- name: async_action_head
-- The action of a fifo lane that is next: the one under way, else the one that arrived first. A request whose
-- transaction took longer can become visible with an earlier number: it must not cut in on the one under way.
SELECT id, type, seq, records_total, records_next, records_done, records_failed, counts, portion_records,
       started_by, stops_alone, dry_run, cursor,
       CASE WHEN dry_run THEN records_total - records_next ELSE
       (SELECT max(p.first_record + p.records) - a.records_next
          FROM (SELECT first_record, records FROM async_action_pieces
                 WHERE project_id = :project_id AND action_id = a.id
                   AND first_record >= (SELECT max(first_record) FROM async_action_pieces
                                         WHERE project_id = :project_id AND action_id = a.id
                                           AND first_record <= a.records_next)
                 ORDER BY first_record
                 LIMIT 3) AS p) END AS at_hand
  FROM async_actions AS a
 WHERE project_id = :project_id AND lane = :lane AND finished_at IS NULL
   AND seq = coalesce(
       (SELECT min(seq) FROM async_actions
         WHERE project_id = :project_id AND lane = :lane AND finished_at IS NULL AND started_at IS NOT NULL),
       (SELECT min(seq) FROM async_actions
         WHERE project_id = :project_id AND lane = :lane AND finished_at IS NULL));

-- name: worker_is_well
-- A row if this worker reports, and the session that reports is there: it can have lost its other session at most.
SELECT w.id
  FROM workers AS w JOIN pg_stat_activity AS a ON a.application_name = 'punchcard ' || :pulse
 WHERE w.id = :id AND w.seen_at > clock_timestamp() - :silent_ms * interval '1 millisecond';

-- name: async_action_mark_start
-- The start mark, committed before the portion so that it outlives a worker that the portion stops.
UPDATE async_actions AS a
   SET status = 'IN_PROGRESS', started_at = coalesce(a.started_at, t.now), updated_at = t.now,
       started_by = :started_by, portion_records = :portion_records, stops_alone = :stops_alone
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE a.project_id = :project_id AND a.id = :id AND a.finished_at IS NULL;

-- name: async_action_withdraw_start!
-- The worker is alive and the portion failed for a reason outside it: the start does not count.
UPDATE async_actions SET started_by = NULL, portion_records = :portion_records
 WHERE project_id = :project_id AND id = :id AND started_by = :started_by;

-- name: async_action_pieces_get
-- The piece that holds a record, and at most two behind it, as far as they have records before :limit.
SELECT first_record, records, body FROM async_action_pieces
 WHERE project_id = :project_id AND action_id = :id AND first_record < :limit
   AND first_record >= (SELECT max(first_record) FROM async_action_pieces
                         WHERE project_id = :project_id AND action_id = :id AND first_record <= :record)
 ORDER BY first_record
 LIMIT 3;

-- name: async_action_pieces_delete!
-- The pieces of which every record was processed.
DELETE FROM async_action_pieces
 WHERE project_id = :project_id AND action_id = :id AND first_record + records <= :records_next;

-- name: async_action_failures_records
-- Which records of a dry run have failed.
SELECT record FROM async_action_failures WHERE project_id = :project_id AND action_id = :id;

-- name: lane_learn!
-- What a record of the lane took of late: each portion counts for a fifth.
UPDATE lanes AS l SET record_us = coalesce(0.8 * l.record_us + 0.2 * :record_us, :record_us)
 WHERE l.project_id = :project_id AND l.lane = :lane;

-- name: async_action_advance
-- What a portion did. Only while the start mark is still ours: a portion that outlived its lane commits nothing.
UPDATE async_actions AS a
   SET records_total = :records_total, records_next = :records_next, records_done = :records_done,
       records_failed = :records_failed, counts = :counts, cursor = :cursor, portion_records = :portion_records,
       started_by = NULL, stops_alone = 0, updated_at = t.now
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE a.project_id = :project_id AND a.id = :id AND a.started_by = :started_by AND a.finished_at IS NULL
RETURNING a.id;

-- name: async_action_finish
-- What keeps nothing is of no interest to retention from the start.
UPDATE async_actions AS a
   SET status = 'DONE', operation_status = :operation_status, result = :result, finished_at = t.now, updated_at = t.now,
       emptied_at = CASE WHEN a.records_failed = 0 THEN t.now END,
       payload_deleted_at = CASE WHEN NOT :payload_kept THEN t.now END
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE a.project_id = :project_id AND a.id = :id AND a.finished_at IS NULL
   AND a.records_next = a.records_total
RETURNING a.id;

-- name: async_action_failures_insert!
-- The failures of a portion, in one statement however many they are.
INSERT INTO async_action_failures (project_id, action_id, record, source_id, reason, body)
SELECT :project_id, :id, u.record, u.source_id, u.reason, u.body
  FROM unnest(:records::integer[], :source_ids::text[], :reasons::text[], :bodies::bytea[])
    AS u (record, source_id, reason, body);

-- name: async_action_failures_first
-- The first failures of an action, in the order of the request.
SELECT record, source_id, reason FROM async_action_failures
 WHERE project_id = :project_id AND action_id = :id
 ORDER BY record
 LIMIT :limit;
