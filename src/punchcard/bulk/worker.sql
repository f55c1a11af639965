-- name: postmaster_start
-- Which run of PostgreSQL this is: a start mark of an earlier run blames nobody.
SELECT extract(epoch FROM pg_postmaster_start_time())::text AS started;

-- name: worker_end_own_session
-- The session this worker had before, should the server still hold it: its lane locks would block us.
SELECT pg_terminate_backend(a.pid) AS ended
  FROM workers AS w JOIN pg_stat_activity AS a ON a.pid = w.backend_pid AND a.backend_start = w.backend_start
 WHERE w.id = :id AND a.pid <> pg_backend_pid();

-- name: worker_register
INSERT INTO workers (id, backend_pid, backend_start)
SELECT :id, a.pid, a.backend_start FROM pg_stat_activity AS a WHERE a.pid = pg_backend_pid()
    ON CONFLICT (id) DO UPDATE
   SET backend_pid = excluded.backend_pid, backend_start = excluded.backend_start, seen_at = excluded.seen_at;

-- name: worker_seen!
UPDATE workers SET seen_at = clock_timestamp(), trouble = :trouble WHERE id = :id;

-- name: worker_delete!
DELETE FROM workers WHERE id = :id;

-- name: workers_end_silent
-- End the sessions of workers that have not reported for too long; their lanes are free at once.
SELECT w.id, pg_terminate_backend(a.pid) AS ended
  FROM workers AS w JOIN pg_stat_activity AS a ON a.pid = w.backend_pid AND a.backend_start = w.backend_start
 WHERE w.id <> :id AND w.seen_at < clock_timestamp() - :silent_ms * interval '1 millisecond';

-- name: workers_forget
-- Rows of workers whose session is gone and that have not reported for an hour.
DELETE FROM workers AS w
 WHERE w.seen_at < clock_timestamp() - interval '1 hour'
   AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.pid = w.backend_pid AND a.backend_start = w.backend_start);

-- name: workers_alive
-- Workers with a session that reported lately, and what troubles them, for /readyz.
SELECT count(*) AS alive, max(w.trouble) AS trouble
  FROM workers AS w JOIN pg_stat_activity AS a ON a.pid = w.backend_pid AND a.backend_start = w.backend_start
 WHERE w.seen_at > clock_timestamp() - :silent_ms * interval '1 millisecond';
