-- name: lanes_round
-- The lanes with work that a worker knows, and those that got actions since it last looked, the one served longest ago
-- first. `xmin` is where the next look has to begin: all transactions below it have ended. Reads all projects and locks
-- nothing: a list of hints. A lane's turn in force is the last of its index, so dead ones in front of it cost nothing.
-- `workers` report, and `rank` of them come before this one: so that they can begin with different lanes.
SELECT s.xmin::text AS xmin, s.workers, s.rank, w.project_id, w.lane, t.turn,
       EXISTS (SELECT FROM lane_pauses AS p WHERE p.project_id = w.project_id AND p.lane = w.lane)
       AND NOT EXISTS (SELECT FROM async_action_cancels AS c
                        WHERE c.project_id = w.project_id AND c.lane = w.lane) AS paused
  FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin, count(*) AS workers,
               count(*) FILTER (WHERE id < :worker) AS rank
          FROM workers WHERE seen_at > clock_timestamp() - :silent_ms * interval '1 millisecond') AS s
  LEFT JOIN (SELECT known.project_id, known.lane FROM unnest(:projects::text[], :lanes::text[]) AS known (project_id, lane)
              UNION
             SELECT a.project_id, a.lane FROM async_actions AS a
              WHERE a.accepted_xid >= :since::xid8 AND a.finished_at IS NULL
              UNION
             SELECT o.project_id, 'reactions' FROM event_outbox AS o
              WHERE o.accepted_xid >= :since::xid8
              UNION
             SELECT i.project_id, 'segments' FROM segment_inbox AS i
              WHERE i.accepted_xid >= :since::xid8
              UNION
             SELECT d.project_id, 'segments' FROM segment_clocks AS d
              WHERE d.due_at <= clock_timestamp()) AS w ON true
  LEFT JOIN LATERAL (
       SELECT l.turn, l.served_at FROM lane_turns AS l
        WHERE l.project_id = w.project_id AND l.lane = w.lane
        ORDER BY l.turn DESC LIMIT 1) AS t ON true
 ORDER BY t.served_at NULLS FIRST;

-- name: lanes_with_work
-- All lanes that have unfinished actions, or requests to end one. Two index probes a lane, however many actions wait in it; but it has to pass
-- the dead entries that an old snapshot keeps, so it is asked seldom.
WITH RECURSIVE waiting AS (
    (SELECT project_id, lane FROM async_actions WHERE finished_at IS NULL AND started_at IS NULL
      ORDER BY project_id, lane LIMIT 1)
    UNION ALL
    SELECT next.project_id, next.lane
      FROM waiting CROSS JOIN LATERAL (
           SELECT a.project_id, a.lane FROM async_actions AS a
            WHERE a.finished_at IS NULL AND a.started_at IS NULL
              AND (a.project_id, a.lane) > (waiting.project_id, waiting.lane)
            ORDER BY a.project_id, a.lane LIMIT 1) AS next
), under_way AS (
    (SELECT project_id, lane FROM async_actions WHERE finished_at IS NULL AND started_at IS NOT NULL
      ORDER BY project_id, lane LIMIT 1)
    UNION ALL
    SELECT next.project_id, next.lane
      FROM under_way CROSS JOIN LATERAL (
           SELECT a.project_id, a.lane FROM async_actions AS a
            WHERE a.finished_at IS NULL AND a.started_at IS NOT NULL
              AND (a.project_id, a.lane) > (under_way.project_id, under_way.lane)
            ORDER BY a.project_id, a.lane LIMIT 1) AS next
), outbox AS (
    (SELECT project_id FROM event_outbox ORDER BY project_id LIMIT 1)
    UNION ALL
    SELECT next.project_id
      FROM outbox CROSS JOIN LATERAL (
           SELECT o.project_id FROM event_outbox AS o
            WHERE o.project_id > outbox.project_id
            ORDER BY o.project_id LIMIT 1) AS next
), inbox AS (
    (SELECT project_id FROM segment_inbox ORDER BY project_id LIMIT 1)
    UNION ALL
    SELECT next.project_id
      FROM inbox CROSS JOIN LATERAL (
           SELECT i.project_id FROM segment_inbox AS i
            WHERE i.project_id > inbox.project_id
            ORDER BY i.project_id LIMIT 1) AS next
)
SELECT s.xmin::text AS xmin, w.project_id, w.lane
  FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin) AS s
  LEFT JOIN (SELECT project_id, lane FROM waiting UNION SELECT project_id, lane FROM under_way
              UNION SELECT project_id, lane FROM async_action_cancels
              UNION SELECT project_id, 'reactions' FROM outbox
              UNION SELECT project_id, 'segments' FROM inbox) AS w ON true;

-- name: lane_try_lock
-- Take the lane for this session. Reads no table: it would read it as it was before the lock.
SELECT pg_try_advisory_lock(:key) AS locked;

-- name: lane_unlock
SELECT pg_advisory_unlock(:key) AS unlocked;

-- name: lane_look
-- All that a turn of the lane begins with, once it is ours: where it stands, its first action under way, and at most
-- `limit` that wait. `settled`: no transaction runs any more that could bring one with a seq below seq_floor_next. A
-- transaction has its number before it draws a seq, and the floor's transaction got its own after it had seen that seq.
-- A number that is still to come is that of another server, from which this database was restored.
SELECT t.turn, t.record_us, t.usual_records, t.job_turn_floor, t.job_turn_next, t.seq_floor, t.seq_floor_next,
       t.seq_floor_next_xid::text AS seq_floor_next_xid,
       t.seq_floor_next_xid < pg_snapshot_xmin(s.now) OR t.seq_floor_next_xid >= pg_snapshot_xmax(s.now) AS settled,
       EXISTS (SELECT FROM lane_pauses WHERE project_id = :project_id AND lane = :lane) AS paused,
       EXISTS (SELECT FROM async_action_cancels WHERE project_id = :project_id AND lane = :lane) AS cancels,
       w.waiting, w.waiting_seqs, head.*
  FROM (SELECT pg_current_snapshot() AS now) AS s
  LEFT JOIN LATERAL (
       SELECT l.turn, l.record_us, l.portion_records AS usual_records, l.job_turn_floor, l.job_turn_next, l.seq_floor,
              l.seq_floor_next, l.seq_floor_next_xid
         FROM lane_turns AS l
        WHERE l.project_id = :project_id AND l.lane = :lane
        ORDER BY l.turn DESC LIMIT 1) AS t ON true
 CROSS JOIN LATERAL (
       SELECT array_agg(f.id ORDER BY f.seq) AS waiting, array_agg(f.seq ORDER BY f.seq) AS waiting_seqs
         FROM (SELECT a.id, a.seq FROM async_actions AS a
                WHERE a.project_id = :project_id AND a.lane = :lane AND a.finished_at IS NULL AND a.started_at IS NULL
                  AND a.seq >= coalesce(t.seq_floor, 0)
                ORDER BY a.seq
                LIMIT :limit) AS f) AS w
  LEFT JOIN LATERAL (
       SELECT a.*,
              CASE WHEN a.dry_run THEN a.records_total - a.records_next ELSE
              (SELECT max(p.first_record + p.records) - a.records_next
                 FROM (SELECT first_record, records FROM async_action_pieces
                        WHERE project_id = :project_id AND action_id = a.id
                          AND first_record >= (SELECT max(first_record) FROM async_action_pieces
                                                WHERE project_id = :project_id AND action_id = a.id
                                                  AND first_record <= a.records_next)
                        ORDER BY first_record
                        LIMIT 3) AS p) END AS at_hand
         FROM ((SELECT id, type, started_at IS NOT NULL AS under_way, job_turn, records_total, records_next, records_done,
                       records_failed, counts, portion_records, started_by, stops_alone, dry_run, cursor, parameters
                  FROM async_actions
                 WHERE project_id = :project_id AND lane = :lane AND finished_at IS NULL AND started_at IS NOT NULL
                   AND job_turn >= coalesce(t.job_turn_floor, 0)
                 ORDER BY job_turn
                 LIMIT 1)
                UNION ALL
               (SELECT id, type, started_at IS NOT NULL AS under_way, job_turn, records_total, records_next, records_done,
                       records_failed, counts, portion_records, started_by, stops_alone, dry_run, cursor, parameters
                  FROM async_actions
                 WHERE project_id = :project_id AND id = w.waiting[1])) AS a
        ORDER BY a.under_way DESC
        LIMIT 1) AS head ON true;

-- name: lane_take_turn!
-- The lane's next turn, which sends it to the end of the round; one that somebody else took already is an error. Actions
-- that waited are put under way, and a start mark on the one whose portion comes now: committed before the portion, so
-- that it outlives a worker that the portion stops.
WITH before AS (
    DELETE FROM lane_turns WHERE project_id = :project_id AND lane = :lane AND turn = :turn
), started AS (
    UPDATE async_actions AS a
       SET status = 'IN_PROGRESS', started_at = coalesce(a.started_at, t.now), updated_at = t.now,
           job_turn = u.job_turn,
           started_by = CASE WHEN a.id = :head THEN :started_by ELSE a.started_by END,
           portion_records = CASE WHEN a.id = :head THEN :portion_records ELSE a.portion_records END,
           stops_alone = CASE WHEN a.id = :head THEN :stops_alone ELSE a.stops_alone END
      FROM (SELECT clock_timestamp() AS now) AS t, unnest(:ids::text[], :job_turns::bigint[]) AS u (id, job_turn)
     WHERE a.project_id = :project_id AND a.id = u.id AND a.finished_at IS NULL
)
INSERT INTO lane_turns (project_id, lane, turn, served_at, record_us, portion_records, job_turn_floor, job_turn_next,
                        seq_floor, seq_floor_next, seq_floor_next_xid)
SELECT :project_id, :lane, :turn + 1, clock_timestamp(), :record_us, :usual_records, :job_turn_floor, :job_turn_next,
       :seq_floor, :seq_floor_next, coalesce(:seq_floor_next_xid::xid8, pg_current_xact_id());

-- name: inbox_look
-- Where a lane that works off an inbox stands. See lane_look.
SELECT t.turn, t.record_us, t.started_by, t.portion_records, t.stops_alone, t.seq_floor, t.seq_floor_next,
       t.seq_floor_next_xid::text AS seq_floor_next_xid,
       t.seq_floor_next_xid < pg_snapshot_xmin(s.now) OR t.seq_floor_next_xid >= pg_snapshot_xmax(s.now) AS settled,
       EXISTS (SELECT FROM lane_pauses WHERE project_id = :project_id AND lane = :lane) AS paused,
       false AS cancels
  FROM (SELECT pg_current_snapshot() AS now) AS s
  LEFT JOIN LATERAL (
       SELECT l.turn, l.record_us, l.started_by, l.portion_records, l.stops_alone, l.seq_floor, l.seq_floor_next,
              l.seq_floor_next_xid
         FROM lane_turns AS l
        WHERE l.project_id = :project_id AND l.lane = :lane
        ORDER BY l.turn DESC LIMIT 1) AS t ON true;

-- name: inbox_take_turn!
-- The lane's next turn with the start mark of its portion. See lane_take_turn.
WITH before AS (
    DELETE FROM lane_turns WHERE project_id = :project_id AND lane = :lane AND turn = :turn
)
INSERT INTO lane_turns (project_id, lane, turn, served_at, record_us, job_turn_floor, job_turn_next, seq_floor,
                        seq_floor_next, seq_floor_next_xid, started_by, portion_records, stops_alone)
SELECT :project_id, :lane, :turn + 1, clock_timestamp(), :record_us, 0, 0, :seq_floor,
       :seq_floor_next, coalesce(:seq_floor_next_xid::xid8, pg_current_xact_id()), :started_by, :portion_records,
       :stops_alone;

-- name: inbox_advance
-- The end of a portion. Only while the start mark is still ours: a portion that outlived its lane commits nothing.
UPDATE lane_turns AS l
   SET started_by = NULL, stops_alone = 0, portion_records = :portion_records,
       record_us = coalesce(0.8 * l.record_us + 0.2 * :record_us, :record_us)
 WHERE l.project_id = :project_id AND l.lane = :lane AND l.started_by = :started_by
RETURNING l.turn;

-- name: lane_cancels
-- Requests to end actions of a lane; of an action that has ended by itself the columns are null.
SELECT c.action_id, a.id, a.type, a.job_turn, a.records_total, a.records_next, a.records_done, a.records_failed,
       a.counts, a.portion_records, a.dry_run, a.cursor, a.parameters
  FROM (SELECT action_id FROM async_action_cancels WHERE project_id = :project_id AND lane = :lane
         ORDER BY requested_at, action_id LIMIT :limit) AS c
  LEFT JOIN async_actions AS a ON a.project_id = :project_id AND a.id = c.action_id AND a.finished_at IS NULL;

-- name: async_action_cancel_delete!
DELETE FROM async_action_cancels WHERE project_id = :project_id AND lane = :lane AND action_id = :id;

-- name: worker_is_well
-- A row if this worker reports, and the session that reports is there: it can have lost its other session at most.
SELECT w.id
  FROM workers AS w JOIN pg_stat_activity AS a ON a.application_name = 'punchcard ' || :pulse
 WHERE w.id = :id AND w.seen_at > clock_timestamp() - :silent_ms * interval '1 millisecond';

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
-- What a record of the lane took of late: a portion counts for its `weight`, and alone until one was large enough to tell.
-- And how many records would have taken what is aimed at, if this one was.
UPDATE lane_turns AS l
   SET record_us = CASE WHEN l.record_us IS NULL OR l.portion_records IS NULL THEN :record_us
                        ELSE (1 - :weight::float8) * l.record_us + :weight * :record_us::float8 END,
       portion_records = coalesce(:usual_records, l.portion_records)
 WHERE l.project_id = :project_id AND l.lane = :lane AND l.turn = :turn;

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
-- The end, and what the last portion did; of an action that is cancelled there is no start mark. What keeps nothing is of
-- no interest to retention from the start.
UPDATE async_actions AS a
   SET status = :status, operation_status = :operation_status, result = :result, finished_at = t.now,
       updated_at = t.now, started_by = NULL, stops_alone = 0,
       records_total = :records_total, records_next = :records_next, records_done = :records_done,
       records_failed = :records_failed, counts = :counts, cursor = :cursor,
       emptied_at = CASE WHEN :records_failed = 0 THEN t.now END,
       payload_deleted_at = CASE WHEN NOT :payload_kept THEN t.now END,
       report_deleted_at = CASE WHEN NOT :reported THEN t.now END
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE a.project_id = :project_id AND a.id = :id AND a.finished_at IS NULL
   AND (:started_by::text IS NULL OR a.started_by = :started_by)
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
