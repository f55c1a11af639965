-- name: event_outbox_waiting
-- The first events in the outbox. Below the floor there is none: what was taken out there need not be passed.
SELECT seq FROM event_outbox
 WHERE project_id = :project_id AND seq >= :floor
 ORDER BY seq
 LIMIT :limit;

-- name: event_outbox_take
-- Take events out of the outbox, in their order.
WITH taken AS MATERIALIZED (
    DELETE FROM event_outbox WHERE project_id = :project_id AND seq = ANY(:seqs::bigint[])
    RETURNING seq, event_id, event_created_at
)
SELECT taken.seq, found.type
  FROM taken
  LEFT JOIN LATERAL (
       SELECT e.type FROM events AS e
        WHERE e.project_id = :project_id AND e.id = taken.event_id AND e.created_at = taken.event_created_at
        LIMIT 1) AS found ON true
 ORDER BY taken.seq;

-- name: event_totals_add!
INSERT INTO event_totals (project_id, type, total)
SELECT :project_id, u.type, u.added FROM unnest(:types::text[], :added::bigint[]) AS u (type, added)
    ON CONFLICT (project_id, type) DO UPDATE SET total = event_totals.total + excluded.total;

-- name: event_set_aside!
-- Take one event out of the outbox and say why nothing could follow from it.
WITH taken AS (
    DELETE FROM event_outbox WHERE project_id = :project_id AND seq = :seq
    RETURNING event_id, event_created_at
)
INSERT INTO event_failures (project_id, event_id, event_created_at, reason)
SELECT :project_id, event_id, event_created_at, :reason FROM taken;
