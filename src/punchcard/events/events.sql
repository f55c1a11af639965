-- name: events_record!
-- New events, in their order, each with a moment of its own, and in the outbox for what follows from them.
WITH new AS MATERIALIZED (
    SELECT u.id, u.type, u.object_id, u.customer_id, u.referrer_id, u.campaign_id, u.data, u.no,
           u.cause -> 'event_source' AS event_source, u.cause ->> 'group_id' AS group_id,
           u.cause ->> 'async_action_id' AS async_action_id, (u.cause ->> 'depth')::smallint AS depth,
           t.now + u.no * interval '1 microsecond' AS created_at, t.xid
      FROM (SELECT clock_timestamp() AS now, pg_current_xact_id() AS xid) AS t,
           ROWS FROM (json_to_recordset(:events::json) AS (
           id text, type text, object_id text, customer_id text, referrer_id text, campaign_id text, data json,
           cause json))
           WITH ORDINALITY AS u (id, type, object_id, customer_id, referrer_id, campaign_id, data, cause, no)
), logged AS (
    INSERT INTO events (project_id, id, created_at, type, object_id, customer_id, referrer_id, campaign_id, data,
                        event_source, group_id, async_action_id, depth)
    SELECT :project_id, id, created_at, type, object_id, customer_id, referrer_id, campaign_id, data,
           event_source, group_id, async_action_id, depth
      FROM new
)
INSERT INTO event_outbox (project_id, event_id, event_created_at, accepted_xid)
SELECT :project_id, id, created_at, xid FROM new ORDER BY no;
