-- name: orders_resolve
-- The stored orders that a batch names by id or by source id. Of the items a digest: they are most of the bytes,
-- and only whether they change is of interest. See customers_resolve.
SELECT found.*
  FROM unnest(:ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, source_id, status, customer_id, referrer_id, amount, total_amount, initial_amount, discount_amount,
              items_amount, items_discount_amount, sha256(convert_to(nullif(items::text, '[]'), 'UTF8')) AS items_digest,
              metadata::text, ordered_at, created_at, xmin::text AS version
         FROM orders WHERE project_id = :project_id AND id = n.key
        LIMIT 1) AS found
UNION ALL
SELECT found.*
  FROM unnest(:source_ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, source_id, status, customer_id, referrer_id, amount, total_amount, initial_amount, discount_amount,
              items_amount, items_discount_amount, sha256(convert_to(nullif(items::text, '[]'), 'UTF8')) AS items_digest,
              metadata::text, ordered_at, created_at, xmin::text AS version
         FROM orders WHERE project_id = :project_id AND source_id = n.key
        LIMIT 1) AS found;

-- name: orders_lock
-- See customers_lock.
WITH locked AS MATERIALIZED (
    SELECT found.version = n.version AS same
      FROM unnest(:ids::text[], :versions::text[]) AS n (key, version)
     CROSS JOIN LATERAL (
           SELECT xmin::text AS version FROM orders
            WHERE project_id = :project_id AND id = n.key
            LIMIT 1
              FOR NO KEY UPDATE) AS found
)
SELECT count(*) FILTER (WHERE same) AS same FROM locked;

-- name: orders_update!
-- New values of existing orders. See customers_update.
INSERT INTO orders (project_id, id, source_id, status, customer_id, referrer_id, amount, total_amount, initial_amount,
                    discount_amount, items_amount, items_discount_amount, items, metadata, ordered_at, created_at,
                    updated_at, async_action_id)
SELECT :project_id, u.id, u.source_id, u.status, u.customer_id, u.referrer_id, u.amount, u.total_amount,
       u.initial_amount, u.discount_amount, u.items_amount, u.items_discount_amount, u.items, u.metadata,
       u.ordered_at, u.now, u.now, :async_action_id
  FROM unnest(:ids::text[], :source_ids::text[], :statuses::text[], :customer_ids::text[],
              :referrer_ids::text[], :amounts::bigint[], :total_amounts::bigint[], :initial_amounts::bigint[],
              :discount_amounts::bigint[], :items_amounts::bigint[], :items_discount_amounts::bigint[],
              :items::json[], :metadatas::jsonb[], :ordered_ats::timestamptz[], :nows::timestamptz[])
       AS u (id, source_id, status, customer_id, referrer_id, amount, total_amount, initial_amount,
             discount_amount, items_amount, items_discount_amount, items, metadata, ordered_at, now)
    ON CONFLICT (project_id, id) DO UPDATE
   SET source_id = excluded.source_id, status = excluded.status, customer_id = excluded.customer_id,
       referrer_id = excluded.referrer_id, amount = excluded.amount, total_amount = excluded.total_amount,
       initial_amount = excluded.initial_amount, discount_amount = excluded.discount_amount,
       items_amount = excluded.items_amount, items_discount_amount = excluded.items_discount_amount,
       -- none: they stay as they are
       items = coalesce(excluded.items, orders.items), metadata = excluded.metadata, ordered_at = excluded.ordered_at,
       updated_at = excluded.updated_at, async_action_id = excluded.async_action_id;

-- name: orders_last_of_customers
-- The newest revenue of each customer: one index probe a customer, however many orders it has, and no sort.
SELECT c.customer_id, o.id, o.total_amount, o.placed_at
  FROM unnest(:customer_ids::text[]) AS c (customer_id)
  LEFT JOIN LATERAL (
       SELECT id, total_amount, coalesce(ordered_at, created_at) AS placed_at
         FROM orders
        WHERE project_id = :project_id AND customer_id = c.customer_id AND status IN ('PAID', 'FULFILLED')
        ORDER BY coalesce(ordered_at, created_at) DESC, created_at DESC
        LIMIT 1) AS o ON true;

-- name: write_clock
-- The first moment a batch may use: now, and after all that rows of the project bear, since lists are walked by these
-- dates. Each new row of a table takes the next microsecond.
SELECT greatest(clock_timestamp(),
                (SELECT max(coalesce(updated_at, created_at)) FROM customers WHERE project_id = :project_id)
                    + interval '1 microsecond',
                (SELECT max(coalesce(updated_at, created_at)) FROM products WHERE project_id = :project_id)
                    + interval '1 microsecond',
                (SELECT max(created_at) FROM skus WHERE project_id = :project_id)
                    + interval '1 microsecond',
                (SELECT max(coalesce(updated_at, created_at)) FROM orders WHERE project_id = :project_id)
                    + interval '1 microsecond') AS now;

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
       items_discount_amount, items, metadata, ordered_at, created_at, updated_at, async_action_id
  FROM orders
 WHERE project_id = :project_id
   AND id = coalesce(
       (SELECT id FROM orders WHERE project_id = :project_id AND id = :id),
       (SELECT id FROM orders WHERE project_id = :project_id AND source_id = :id));

-- name: orders_list
-- What a list of orders shows. Conditions, order and limit are put around it: see http.pages.
SELECT id, source_id, status, customer_id, referrer_id, amount, total_amount, initial_amount, discount_amount,
       items_discount_amount, items, metadata, ordered_at, created_at, updated_at, async_action_id
  FROM orders
 WHERE project_id = :project_id;

-- name: orders_free_moment
-- The first of some moments at which no order of the project was created.
SELECT c.moment
  FROM unnest(:candidates::timestamptz[]) WITH ORDINALITY AS c (moment, no)
 WHERE NOT EXISTS (SELECT FROM orders WHERE project_id = :project_id AND created_at = c.moment)
 ORDER BY c.no
 LIMIT 1;
