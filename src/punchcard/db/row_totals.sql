-- name: row_totals_add!
-- In the order of the resources, so that two writers of one slot never wait for each other in turns.
INSERT INTO row_totals AS t (project_id, resource, slot, total)
SELECT :project_id, u.resource, :slot, u.added
  FROM unnest(:resources::text[], :added::bigint[]) AS u (resource, added)
 ORDER BY u.resource
    ON CONFLICT (project_id, resource, slot) DO UPDATE SET total = t.total + excluded.total;

-- name: row_totals_get
SELECT coalesce(sum(total), 0)::bigint AS total
  FROM row_totals
 WHERE project_id = :project_id AND resource = :resource;
