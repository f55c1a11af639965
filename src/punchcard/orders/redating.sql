-- name: orders_after
-- The next orders of a walk, and what they say under one key of their metadata. As text: what is no text there has no
-- date either, and does not look like one.
SELECT id, source_id, customer_id, ordered_at, metadata ->> :key AS value, xmin::text AS version
  FROM orders
 WHERE project_id = :project_id AND id > :after
 ORDER BY id
 LIMIT :limit;

-- name: redating_lock_customers
-- Before their orders, as everywhere. See customers_lock.
SELECT found.id
  FROM unnest(:ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id FROM customers
        WHERE project_id = :project_id AND id = n.key
        LIMIT 1
          FOR NO KEY UPDATE) AS found;

-- name: redating_lock_orders
SELECT found.*
  FROM unnest(:ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, xmin::text AS version FROM orders
        WHERE project_id = :project_id AND id = n.key
        LIMIT 1
          FOR NO KEY UPDATE) AS found;

-- name: orders_redate!
-- New dates of orders, which are locked: there always is a conflict. As an insert, see customers_update.
INSERT INTO orders (project_id, id, status, amount, total_amount, created_at, ordered_at)
SELECT :project_id, present.id, present.status, present.amount, present.total_amount, present.created_at, u.ordered_at
  FROM unnest(:ids::text[], :ordered_ats::timestamptz[]) AS u (id, ordered_at)
 CROSS JOIN LATERAL (
       SELECT id, status, amount, total_amount, created_at, ordered_at FROM orders
        WHERE project_id = :project_id AND id = u.id
        LIMIT 1) AS present
 WHERE present.ordered_at IS DISTINCT FROM u.ordered_at
    ON CONFLICT (project_id, id) DO UPDATE SET ordered_at = excluded.ordered_at;

-- name: customers_settle_last_order!
-- The last order of customers whose orders have new dates, where it is another than before: the newest revenue, and of
-- two with one date the one that was imported later. See orders_last_of_customers.
INSERT INTO customers (project_id, id, created_at, orders_last_id, orders_last_amount, orders_last_date)
SELECT :project_id, present.id, present.created_at, last.id, last.total_amount, last.placed_at
  FROM unnest(:ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, created_at, orders_last_id, orders_last_amount, orders_last_date FROM customers
        WHERE project_id = :project_id AND id = n.key
        LIMIT 1) AS present
  LEFT JOIN LATERAL (
       SELECT id, total_amount, coalesce(ordered_at, created_at) AS placed_at
         FROM orders
        WHERE project_id = :project_id AND customer_id = present.id AND status IN ('PAID', 'FULFILLED')
        ORDER BY coalesce(ordered_at, created_at) DESC, created_at DESC
        LIMIT 1) AS last ON true
 WHERE (present.orders_last_id, present.orders_last_amount, present.orders_last_date)
       IS DISTINCT FROM (last.id, last.total_amount, last.placed_at)
    ON CONFLICT (project_id, id) DO UPDATE
   SET orders_last_id = excluded.orders_last_id, orders_last_amount = excluded.orders_last_amount,
       orders_last_date = excluded.orders_last_date;
