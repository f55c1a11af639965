-- name: custom_event_count
-- Lock the customer of an event, so that its events keep their order, count the event, and read what it shows of the
-- customer. The time is that after the lock.
WITH locked AS MATERIALIZED (
    SELECT id, name, email, source_id, metadata
      FROM customers
     WHERE project_id = :project_id AND id = :id
       FOR NO KEY UPDATE
), happened AS MATERIALIZED (
    SELECT id, name, email, source_id, metadata, clock_timestamp() AS now FROM locked
), counted AS (
    INSERT INTO custom_event_totals AS t (project_id, customer_id, event, total, last_occurred_at)
    SELECT :project_id, id, :event, 1, now FROM happened
        ON CONFLICT (project_id, customer_id, event) DO UPDATE
       SET total = t.total + excluded.total, last_occurred_at = greatest(t.last_occurred_at, excluded.last_occurred_at)
)
SELECT id, name, email, source_id, metadata, now FROM happened;
