-- name: partitions_there
-- Now, and the partitions of the log.
SELECT clock_timestamp() AS now,
       ARRAY(SELECT c.relname::text
               FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
              WHERE i.inhparent = 'events'::regclass) AS names;

-- name: partitions_lock
-- One process at a time makes or drops partitions. Waits no longer than `lock_timeout`.
SELECT pg_advisory_xact_lock(:lock);

-- name: partitions_defaulted
-- Whether the default partition has events of a month.
SELECT EXISTS (SELECT FROM events_default AS e WHERE e.created_at >= :first AND e.created_at < :next) AS found;

-- name: events_retention_projects
-- The next projects, and whether each has something to delete: one index probe a kind. Reads all projects and
-- locks nothing: a list of hints.
SELECT p.id,
       EXISTS (SELECT FROM events_default AS e
                WHERE e.project_id = p.id AND e.created_at < :before) AS has_events,
       EXISTS (SELECT FROM event_failures AS f
                WHERE f.project_id = p.id AND f.event_created_at < :before) AS has_failures
  FROM (SELECT id FROM projects WHERE id > :after ORDER BY id LIMIT :limit) AS p
 ORDER BY p.id;

-- name: events_default_delete
-- Some events that are too old and in no month's partition.
DELETE FROM events_default AS e
 WHERE e.project_id = :project_id AND e.created_at < :before
   AND e.id = ANY (ARRAY(SELECT o.id FROM events_default AS o
                          WHERE o.project_id = :project_id AND o.created_at < :before
                          ORDER BY o.created_at
                          LIMIT :limit));

-- name: event_failures_delete
-- Some failures of events that are gone.
DELETE FROM event_failures AS e
 WHERE e.project_id = :project_id
   AND e.event_id = ANY (ARRAY(SELECT o.event_id FROM event_failures AS o
                                WHERE o.project_id = :project_id AND o.event_created_at < :before
                                ORDER BY o.event_created_at
                                LIMIT :limit));
