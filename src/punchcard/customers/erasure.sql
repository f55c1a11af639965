-- name: erasure_actions
-- The next actions that have not ended, or not before a moment.
SELECT id, type, finished_at IS NOT NULL AS finished
  FROM async_actions
 WHERE project_id = :project_id AND id > :after AND (finished_at IS NULL OR finished_at >= :since)
 ORDER BY id
 LIMIT :limit;

-- name: erasure_failures
-- The next failures of some actions that have one of the needles: at most so many, and no more than what exceeds
-- :bytes_max.
SELECT action_id, record, source_id, reason, body
  FROM (SELECT action_id, record, source_id, reason, body,
               sum(size) OVER (ORDER BY action_id, record ROWS UNBOUNDED PRECEDING) - size AS before
          FROM (SELECT f.action_id, f.record, f.source_id, f.reason, f.body, octet_length(f.body) AS size
                  FROM async_action_failures AS f
                 WHERE f.project_id = :project_id AND f.action_id = ANY (:ids::text[])
                   AND (f.action_id, f.record) > (:after_action, :after_record)
                   AND EXISTS (SELECT FROM unnest(:needles::bytea[]) AS n (needle)
                                WHERE position(n.needle IN f.body) > 0
                                   OR position(n.needle IN convert_to(concat_ws(' ', f.source_id, f.reason), 'UTF8')) > 0)
                 ORDER BY f.action_id, f.record
                 LIMIT :limit) AS found) AS measured
 WHERE before < :bytes_max
 ORDER BY action_id, record;

-- name: erasure_failures_write!
UPDATE async_action_failures AS f SET source_id = NULL, reason = :reason, body = :body
  FROM unnest(:action_ids::text[], :records::integer[]) AS u (action_id, record)
 WHERE f.project_id = :project_id AND f.action_id = u.action_id AND f.record = u.record;

-- name: erasure_pieces
-- The next pieces of payload of some actions that have one of the needles. See erasure_failures.
SELECT action_id, first_record, body
  FROM (SELECT action_id, first_record, body,
               sum(size) OVER (ORDER BY action_id, first_record ROWS UNBOUNDED PRECEDING) - size AS before
          FROM (SELECT p.action_id, p.first_record, p.body, octet_length(p.body) AS size
                  FROM async_action_pieces AS p
                 WHERE p.project_id = :project_id AND p.action_id = ANY (:ids::text[])
                   AND (p.action_id, p.first_record) > (:after_action, :after_record)
                   AND EXISTS (SELECT FROM unnest(:needles::bytea[]) AS n (needle)
                                WHERE position(n.needle IN p.body) > 0)
                 ORDER BY p.action_id, p.first_record
                 LIMIT :limit) AS found) AS measured
 WHERE before < :bytes_max
 ORDER BY action_id, first_record;

-- name: erasure_piece_write!
UPDATE async_action_pieces SET body = :body
 WHERE project_id = :project_id AND action_id = :action_id AND first_record = :first_record;

-- name: erasure_reports
-- The next rows of reports of some actions that have one of the needles. See erasure_failures.
SELECT action_id, first_record, body
  FROM (SELECT action_id, first_record, body,
               sum(size) OVER (ORDER BY action_id, first_record ROWS UNBOUNDED PRECEDING) - size AS before
          FROM (SELECT r.action_id, r.first_record, r.body, octet_length(r.body) AS size
                  FROM async_action_reports AS r
                 WHERE r.project_id = :project_id AND r.action_id = ANY (:ids::text[])
                   AND (r.action_id, r.first_record) > (:after_action, :after_record)
                   AND EXISTS (SELECT FROM unnest(:needles::bytea[]) AS n (needle)
                                WHERE position(n.needle IN r.body) > 0)
                 ORDER BY r.action_id, r.first_record
                 LIMIT :limit) AS found) AS measured
 WHERE before < :bytes_max
 ORDER BY action_id, first_record;

-- name: erasure_report_write!
UPDATE async_action_reports SET body = :body
 WHERE project_id = :project_id AND action_id = :action_id AND first_record = :first_record;

-- name: erasure_results
-- Of some actions that have ended, those of which failures were erased, and those whose result or parameters have one
-- of the needles.
SELECT a.id, a.result, a.parameters
  FROM async_actions AS a
 WHERE a.project_id = :project_id AND a.id = ANY (:ids::text[])
   AND (a.id = ANY (:concerned::text[])
        OR EXISTS (SELECT FROM unnest(:needles::bytea[]) AS n (needle)
                    WHERE position(n.needle IN convert_to(concat_ws(' ', a.result, a.parameters), 'UTF8')) > 0));

-- name: erasure_result_write!
UPDATE async_actions SET result = :result, parameters = :parameters
 WHERE project_id = :project_id AND id = :id AND finished_at IS NOT NULL;

-- name: erasure_answers
-- The next kept answers that have one of the needles, or whose key has.
SELECT k.key, k.created_at, k.answer
  FROM idempotency_keys AS k
 WHERE k.project_id = :project_id AND k.key > :after AND k.created_at >= :since
   AND EXISTS (SELECT FROM unnest(:needles::bytea[]) AS n (needle)
                WHERE position(n.needle IN k.answer) > 0 OR position(n.needle IN convert_to(k.key, 'UTF8')) > 0)
 ORDER BY k.key
 LIMIT :limit;

-- name: erasure_answer_write!
-- Unless the key has got another answer meanwhile.
UPDATE idempotency_keys SET answer = :answer
 WHERE project_id = :project_id AND key = :key AND created_at = :created_at;

-- name: erasure_answer_delete!
DELETE FROM idempotency_keys WHERE project_id = :project_id AND key = :key AND created_at = :created_at;

-- name: erasure_referred
-- Some events about others in whose payload some customers are.
SELECT id, created_at, data
  FROM events
 WHERE project_id = :project_id AND referrer_id = ANY (:ids::text[])
 LIMIT :limit;

-- name: erasure_deletions
-- The next events of customers that were deleted, other than some, which have one of the needles.
SELECT e.id, e.created_at, e.data
  FROM events AS e
 WHERE e.project_id = :project_id AND e.type = 'customer.deleted' AND (e.created_at, e.id) > (:after, :after_id)
   AND e.object_id <> ALL (:ids::text[])
   AND EXISTS (SELECT FROM unnest(:needles::bytea[]) AS n (needle)
                WHERE position(n.needle IN convert_to(e.data::text, 'UTF8')) > 0)
 ORDER BY e.created_at, e.id
 LIMIT :limit;

-- name: erasure_own_deletions
-- The events of some customers that were deleted: of those who erase them at the same time, one sees them as they were.
SELECT id, created_at, data
  FROM events
 WHERE project_id = :project_id AND object_id = ANY (:ids::text[]) AND type = 'customer.deleted'
 ORDER BY created_at, id
   FOR NO KEY UPDATE;

-- name: erasure_event_write!
-- A new payload of an event, in which some customers are not any more.
UPDATE events
   SET data = :data, referrer_id = CASE WHEN referrer_id = ANY (:customer_ids::text[]) THEN NULL ELSE referrer_id END
 WHERE project_id = :project_id AND id = :id AND created_at = :created_at;

-- name: erasure_event_notes_write!
-- What is noted about events may quote their payloads.
UPDATE event_failures SET reason = :reason WHERE project_id = :project_id AND event_id = ANY (:ids::text[]);
