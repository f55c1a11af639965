-- name: custom_event_customer_lock
-- Lock the customer of an event, so that its events keep their order, and read what the event shows of it. The time is
-- that after the lock.
WITH locked AS MATERIALIZED (
    SELECT id, name, email, source_id, metadata
      FROM customers
     WHERE project_id = :project_id AND id = :id
       FOR NO KEY UPDATE
)
SELECT id, name, email, source_id, metadata, clock_timestamp() AS now FROM locked;
