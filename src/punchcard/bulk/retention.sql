-- name: retention_try_lock
-- At most one worker deletes at a time; the lock dies with its session.
SELECT pg_try_advisory_lock(:lock) AS locked;

-- name: retention_unlock
SELECT pg_advisory_unlock(:lock) AS unlocked;

-- name: retention_horizons
-- What is older than these moments is to be deleted.
SELECT t.now - :idempotency_hours * interval '1 hour' AS keys_before,
       t.now - :payload_days * interval '1 day' AS pieces_before,
       t.now - :failures_days * interval '1 day' AS failures_before,
       t.now - :report_days * interval '1 day' AS reports_before
  FROM (SELECT clock_timestamp() AS now) AS t;

-- name: retention_projects
-- The next projects, and whether each has something to delete: one index probe a kind. Reads all projects and
-- locks nothing: a list of hints.
SELECT p.id,
       EXISTS (SELECT FROM idempotency_keys AS k
                WHERE k.project_id = p.id AND k.created_at <= :keys_before) AS has_keys,
       EXISTS (SELECT FROM async_actions AS a
                WHERE a.project_id = p.id AND a.finished_at <= :pieces_before
                  AND a.finished_at IS NOT NULL AND a.payload_deleted_at IS NULL) AS has_pieces,
       EXISTS (SELECT FROM async_actions AS a
                WHERE a.project_id = p.id AND a.finished_at <= :failures_before
                  AND a.finished_at IS NOT NULL AND a.emptied_at IS NULL) AS has_failures,
       EXISTS (SELECT FROM async_actions AS a
                WHERE a.project_id = p.id AND a.finished_at <= :reports_before
                  AND a.finished_at IS NOT NULL AND a.report_deleted_at IS NULL) AS has_reports
  FROM (SELECT id FROM projects WHERE id > :after ORDER BY id LIMIT :limit) AS p
 ORDER BY p.id;

-- name: retention_keys_delete
-- Some keys that are too old. The age is asked for again: a request may just have taken the key anew.
DELETE FROM idempotency_keys AS k
 WHERE k.project_id = :project_id AND k.created_at <= :before
   AND k.key = ANY (ARRAY(SELECT o.key FROM idempotency_keys AS o
                           WHERE o.project_id = :project_id AND o.created_at <= :before
                           ORDER BY o.created_at
                           LIMIT :limit));

-- name: retention_pieces_due
-- Actions whose payload has been kept for long enough, the one finished first in front.
SELECT id FROM async_actions
 WHERE project_id = :project_id AND finished_at <= :before
   AND finished_at IS NOT NULL AND payload_deleted_at IS NULL
 ORDER BY finished_at
 LIMIT :limit;

-- name: retention_pieces_delete
DELETE FROM async_action_pieces
 WHERE project_id = :project_id AND action_id = :id
   AND first_record = ANY (ARRAY(SELECT first_record FROM async_action_pieces
                                  WHERE project_id = :project_id AND action_id = :id
                                  ORDER BY first_record
                                  LIMIT :limit));

-- name: retention_pieces_deleted
UPDATE async_actions AS a SET payload_deleted_at = t.now
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE a.project_id = :project_id AND a.id = :id AND a.finished_at IS NOT NULL AND a.payload_deleted_at IS NULL;

-- name: retention_failures_due
-- Actions whose failures have been kept for long enough, the one finished first in front.
SELECT id FROM async_actions
 WHERE project_id = :project_id AND finished_at <= :before AND finished_at IS NOT NULL AND emptied_at IS NULL
 ORDER BY finished_at
 LIMIT :limit;

-- name: retention_failures_delete
DELETE FROM async_action_failures
 WHERE project_id = :project_id AND action_id = :id
   AND record = ANY (ARRAY(SELECT record FROM async_action_failures
                            WHERE project_id = :project_id AND action_id = :id
                            ORDER BY record
                            LIMIT :limit));

-- name: retention_failures_deleted
UPDATE async_actions AS a SET emptied_at = t.now
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE a.project_id = :project_id AND a.id = :id AND a.finished_at IS NOT NULL AND a.emptied_at IS NULL;

-- name: retention_reports_due
-- Actions whose report has been kept for long enough, the one finished first in front.
SELECT id FROM async_actions
 WHERE project_id = :project_id AND finished_at <= :before
   AND finished_at IS NOT NULL AND report_deleted_at IS NULL
 ORDER BY finished_at
 LIMIT :limit;

-- name: retention_reports_delete
DELETE FROM async_action_reports
 WHERE project_id = :project_id AND action_id = :id
   AND first_record = ANY (ARRAY(SELECT first_record FROM async_action_reports
                                  WHERE project_id = :project_id AND action_id = :id
                                  ORDER BY first_record
                                  LIMIT :limit));

-- name: retention_reports_deleted
UPDATE async_actions AS a SET report_deleted_at = t.now
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE a.project_id = :project_id AND a.id = :id AND a.finished_at IS NOT NULL AND a.report_deleted_at IS NULL;
