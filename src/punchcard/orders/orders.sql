-- name: orders_resolve
-- The stored orders that a batch names by id or by source id, whole.
SELECT id, source_id, status, customer_id, referrer_id, amount, total_amount, initial_amount, discount_amount,
       items_amount, items_discount_amount, items, metadata, ordered_at, created_at, xmin::text AS version
  FROM orders WHERE project_id = :project_id AND id = ANY(:ids)
UNION ALL
SELECT id, source_id, status, customer_id, referrer_id, amount, total_amount, initial_amount, discount_amount,
       items_amount, items_discount_amount, items, metadata, ordered_at, created_at, xmin::text AS version
  FROM orders WHERE project_id = :project_id AND source_id = ANY(:source_ids);

-- name: orders_lock
SELECT id, xmin::text AS version FROM orders
 WHERE project_id = :project_id AND id = ANY(:ids)
 ORDER BY id
   FOR NO KEY UPDATE;

-- name: orders_update!
UPDATE orders AS o
   SET source_id = u.source_id, status = u.status, customer_id = u.customer_id, referrer_id = u.referrer_id,
       amount = u.amount, total_amount = u.total_amount, initial_amount = u.initial_amount,
       discount_amount = u.discount_amount, items_amount = u.items_amount,
       items_discount_amount = u.items_discount_amount, items = u.items, metadata = u.metadata,
       ordered_at = u.ordered_at, updated_at = u.now
  FROM (SELECT n.*
          FROM unnest(:ids::text[], :source_ids::text[], :statuses::text[], :customer_ids::text[],
                      :referrer_ids::text[], :amounts::bigint[], :total_amounts::bigint[], :initial_amounts::bigint[],
                      :discount_amounts::bigint[], :items_amounts::bigint[], :items_discount_amounts::bigint[],
                      :items::json[], :metadatas::jsonb[], :ordered_ats::timestamptz[], :nows::timestamptz[])
            AS n (id, source_id, status, customer_id, referrer_id, amount, total_amount, initial_amount,
                  discount_amount, items_amount, items_discount_amount, items, metadata, ordered_at, now)) AS u
 WHERE o.project_id = :project_id AND o.id = u.id;

-- name: orders_last_of_customers
-- The newest revenue of each customer: one index probe a customer, however many orders it has.
SELECT c.customer_id, o.id, o.total_amount, o.placed_at
  FROM unnest(:customer_ids::text[]) AS c (customer_id)
  LEFT JOIN LATERAL (
       SELECT id, total_amount, coalesce(ordered_at, created_at) AS placed_at
         FROM orders
        WHERE project_id = :project_id AND customer_id = c.customer_id AND status IN ('PAID', 'FULFILLED')
        ORDER BY coalesce(ordered_at, created_at) DESC, id COLLATE "C" DESC
        LIMIT 1) AS o ON true;

-- name: write_clock
-- The first creation time a batch may use: now, and after every row of the project. Each new row of a table
-- takes the next microsecond.
SELECT greatest(clock_timestamp(),
                (SELECT max(created_at) FROM customers WHERE project_id = :project_id) + interval '1 microsecond',
                (SELECT max(created_at) FROM products WHERE project_id = :project_id) + interval '1 microsecond',
                (SELECT max(created_at) FROM skus WHERE project_id = :project_id) + interval '1 microsecond',
                (SELECT max(created_at) FROM orders WHERE project_id = :project_id) + interval '1 microsecond') AS now;

-- name: placed_at_settings
-- Which metadata key holds the date an order was placed, and the zone of dates without one.
SELECT ordered_at_key, timezone FROM projects WHERE id = :project_id;

-- name: placed_at_in_zone
-- Local times of the project's zone as moments. In SQL, as all zone arithmetic, so that it has one source.
-- None at the ends of the calendar, where the moment may lie outside it.
SELECT CASE WHEN u.value BETWEEN '0001-01-03' AND '9999-12-29' THEN u.value AT TIME ZONE :timezone END AS moment
  FROM unnest(:locals::timestamp[]) WITH ORDINALITY AS u (value, no)
 ORDER BY u.no;

-- name: order_get
-- One order by id or source id; the id wins.
SELECT id, source_id, status, customer_id, referrer_id, amount, total_amount, initial_amount, discount_amount,
       items_discount_amount, items, metadata, ordered_at, created_at, updated_at
  FROM orders
 WHERE project_id = :project_id AND (id = :id OR source_id = :id)
 ORDER BY id = :id DESC
 LIMIT 1;

-- name: orders_count
SELECT count(*) AS total FROM orders WHERE project_id = :project_id;
