-- name: customer_lock_to_delete
-- Whoever writes the customer, or orders of it, holds its row: this waits for them, and they for this.
SELECT id FROM customers WHERE project_id = :project_id AND id = :id FOR UPDATE;

-- name: customer_vouchers_release!
-- The vouchers that a customer holds have no holder any more, those in the bin neither.
UPDATE vouchers AS v SET holder_id = NULL
  FROM (SELECT id FROM vouchers
         WHERE project_id = :project_id AND holder_id = :id
         ORDER BY id
           FOR NO KEY UPDATE) AS held
 WHERE v.project_id = :project_id AND v.id = held.id;

-- name: customer_orders_delete!
-- Whoever would lock some of them in another order waits for their customer first.
DELETE FROM orders WHERE project_id = :project_id AND customer_id = :id;

-- name: customer_referred_orders_release!
-- Orders of others that a customer referred.
UPDATE orders AS o SET referrer_id = NULL
  FROM (SELECT id FROM orders
         WHERE project_id = :project_id AND referrer_id = :id
         ORDER BY id
           FOR NO KEY UPDATE) AS referred
 WHERE o.project_id = :project_id AND o.id = referred.id;

-- name: customer_custom_event_totals_delete!
DELETE FROM custom_event_totals WHERE project_id = :project_id AND customer_id = :id;

-- name: customer_segments_count
-- In how many segments a customer is. It stays there until the segments lane finds that it is gone.
SELECT count(*) AS segments FROM segment_members WHERE project_id = :project_id AND customer_id = :id;

-- name: customer_delete!
DELETE FROM customers WHERE project_id = :project_id AND id = :id;

-- name: customer_events_delete
-- All events of a customer but the one that says that it was deleted, with what is noted about them; and how many there
-- were, of which kinds.
WITH gone AS (
    DELETE FROM events
     WHERE project_id = :project_id AND customer_id = :id AND type <> 'customer.deleted'
    RETURNING id, type
), notes AS (
    DELETE FROM event_failures AS f USING gone WHERE f.project_id = :project_id AND f.event_id = gone.id
)
SELECT count(*) AS events,
       count(*) FILTER (WHERE type = 'customer.custom_event') AS custom_events,
       count(*) FILTER (WHERE starts_with(type, 'customer.order.')) AS order_events
  FROM gone;

-- name: customer_deletion_clock
SELECT clock_timestamp() AS now;

-- name: customer_deletion_insert
INSERT INTO customer_deletions (project_id, id, customer_id, created_at, deleted)
SELECT :project_id, :id, :customer_id, t.now, :deleted
  FROM (SELECT clock_timestamp() AS now) AS t
RETURNING created_at;
