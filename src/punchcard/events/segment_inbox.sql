-- name: segment_inbox_append!
-- The transaction has its number before `seq` is drawn: see lane_look.
INSERT INTO segment_inbox (project_id, customer_id, cause, group_id, async_action_id, depth, accepted_at, accepted_xid)
SELECT :project_id, u.customer_id, :cause, :group_id, :async_action_id, :depth, t.now, t.xid
  FROM (SELECT clock_timestamp() AS now, pg_current_xact_id() AS xid) AS t,
       unnest(:customer_ids::text[]) AS u (customer_id);

-- name: segment_inbox_append_silent!
INSERT INTO segment_inbox (project_id, customer_id, cause, silent, enters, leaves, group_id, async_action_id, depth,
                           accepted_at, accepted_xid)
SELECT :project_id, u.customer_id, :cause, true, string_to_array(u.enters, E'\n'), string_to_array(u.leaves, E'\n'),
       :group_id, :async_action_id, :depth, t.now, t.xid
  FROM (SELECT clock_timestamp() AS now, pg_current_xact_id() AS xid) AS t,
       unnest(:customer_ids::text[], :enters::text[], :leaves::text[]) AS u (customer_id, enters, leaves);
