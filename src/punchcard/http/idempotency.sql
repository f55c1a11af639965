-- name: idempotency_key_get
-- What was answered to the request that came with this key, unless that is too long ago. A statement of its own
-- after the lock: it then sees what whoever held the lock before has committed.
SELECT fingerprint, answer FROM idempotency_keys
 WHERE project_id = :project_id AND key = :key
   AND created_at > clock_timestamp() - :hours * interval '1 hour';

-- name: idempotency_key_try_lock
-- Hold the key until the transaction ends, if nobody else does; and before which moment keys count as absent.
SELECT pg_try_advisory_xact_lock(:lock) AS locked, clock_timestamp() - :hours * interval '1 hour' AS horizon;

-- name: idempotency_key_insert
-- Keep an answer, in place of one that is too old. No row when the key holds one that is not.
INSERT INTO idempotency_keys (project_id, key, fingerprint, answer, created_at)
SELECT :project_id, :key, :fingerprint, :answer, t.now
  FROM (SELECT clock_timestamp() AS now) AS t
    ON CONFLICT (project_id, key) DO UPDATE
   SET fingerprint = excluded.fingerprint, answer = excluded.answer, created_at = excluded.created_at
 WHERE idempotency_keys.created_at <= :horizon
RETURNING key;
