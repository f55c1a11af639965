-- name: order_reading
-- All that is stored of what one order names, in one row: JSON, as `named` is. `now` is the first moment its writes may
-- use. One probe a key: see customers_resolve, and write_clock.
WITH named AS MATERIALIZED (
    SELECT :named::json AS d
), own AS MATERIALIZED (
    SELECT f.*
      FROM named CROSS JOIN json_array_elements_text(named.d -> 'order_ids') AS n (key)
     CROSS JOIN LATERAL (
           SELECT id, source_id, status, customer_id, referrer_id, amount, total_amount, initial_amount,
                  discount_amount, items_amount, items_discount_amount,
                  encode(sha256(convert_to(nullif(items::text, '[]'), 'UTF8')), 'base64') AS items_digest, metadata,
                  ordered_at, created_at, updated_at, async_action_id, xmin::text AS version, items
             FROM orders WHERE project_id = :project_id AND id = n.key LIMIT 1) AS f
    UNION ALL
    SELECT f.*
      FROM named CROSS JOIN json_array_elements_text(named.d -> 'order_sources') AS n (key)
     CROSS JOIN LATERAL (
           SELECT id, source_id, status, customer_id, referrer_id, amount, total_amount, initial_amount,
                  discount_amount, items_amount, items_discount_amount,
                  encode(sha256(convert_to(nullif(items::text, '[]'), 'UTF8')), 'base64') AS items_digest, metadata,
                  ordered_at, created_at, updated_at, async_action_id, xmin::text AS version, items
             FROM orders WHERE project_id = :project_id AND source_id = n.key LIMIT 1) AS f
), people AS MATERIALIZED (
    SELECT f.*
      FROM (SELECT json_array_elements_text(d -> 'customer_ids') FROM named
             UNION SELECT customer_id FROM own
             UNION SELECT referrer_id FROM own) AS n (key)
     CROSS JOIN LATERAL (
           SELECT id, source_id, name, description, email, phone, birthdate, birthday, address, metadata,
                  orders_total_amount, orders_total_count, orders_last_id, orders_last_amount, orders_last_date,
                  created_at, updated_at, xmin::text AS version
             FROM customers WHERE project_id = :project_id AND id = n.key LIMIT 1) AS f
    UNION ALL
    SELECT f.*
      FROM named CROSS JOIN json_array_elements_text(named.d -> 'customer_sources') AS n (key)
     CROSS JOIN LATERAL (
           SELECT id, source_id, name, description, email, phone, birthdate, birthday, address, metadata,
                  orders_total_amount, orders_total_count, orders_last_id, orders_last_amount, orders_last_date,
                  created_at, updated_at, xmin::text AS version
             FROM customers WHERE project_id = :project_id AND source_id = n.key LIMIT 1) AS f
), units AS MATERIALIZED (
    SELECT f.*
      FROM named CROSS JOIN json_array_elements_text(named.d -> 'sku_ids') AS n (key)
     CROSS JOIN LATERAL (
           SELECT id, source_id, product_id, sku AS name, price, metadata, xmin::text AS version, false AS binned
             FROM skus WHERE project_id = :project_id AND id = n.key AND binned_at IS NULL LIMIT 1) AS f
    UNION ALL
    SELECT f.*
      FROM named CROSS JOIN json_array_elements_text(named.d -> 'sku_sources') AS n (key)
     CROSS JOIN LATERAL (
           SELECT id, source_id, product_id, sku AS name, price, metadata, xmin::text AS version,
                  binned_at IS NOT NULL AS binned
             FROM skus WHERE project_id = :project_id AND source_id = n.key LIMIT 1) AS f
), goods AS MATERIALIZED (
    SELECT f.*
      FROM (SELECT json_array_elements_text(d -> 'product_ids') FROM named
             UNION SELECT product_id FROM units) AS n (key)
     CROSS JOIN LATERAL (
           SELECT id, source_id, name, price, metadata, attributes::text AS attributes, image_url,
                  xmin::text AS version, false AS binned
             FROM products WHERE project_id = :project_id AND id = n.key AND binned_at IS NULL LIMIT 1) AS f
    UNION ALL
    SELECT f.*
      FROM named CROSS JOIN json_array_elements_text(named.d -> 'product_sources') AS n (key)
     CROSS JOIN LATERAL (
           SELECT id, source_id, name, price, metadata, attributes::text AS attributes, image_url,
                  xmin::text AS version, binned_at IS NOT NULL AS binned
             FROM products WHERE project_id = :project_id AND source_id = n.key LIMIT 1) AS f
)
SELECT p.ordered_at_key, p.timezone,
       EXISTS (SELECT FROM metadata_schemas WHERE project_id = :project_id) AS has_schemas,
       greatest(clock_timestamp(),
                (SELECT max(coalesce(updated_at, created_at)) FROM customers WHERE project_id = :project_id)
                    + interval '1 microsecond',
                (SELECT max(coalesce(updated_at, created_at)) FROM orders WHERE project_id = :project_id)
                    + interval '1 microsecond') AS now,
       (SELECT json_agg(f) FROM own AS f) AS orders,
       (SELECT json_agg(f) FROM people AS f) AS customers,
       (SELECT json_agg(f) FROM units AS f) AS skus,
       (SELECT json_agg(f) FROM goods AS f) AS products
  FROM projects AS p WHERE p.id = :project_id;

-- name: order_write
-- One order with its customers, totals, inbox and events, by one statement: it locks what was read, customers first, and
-- writes only if none of that has changed, which is what it says. What it writes is no bulk job's any more. See
-- orders_update, customers_update, row_totals_add, segment_inbox_append and events_record, which say the same of many.
WITH given AS MATERIALIZED (
    SELECT clock_timestamp() AS now, pg_current_xact_id() AS xid
), locked AS MATERIALIZED (
    SELECT f.version = n.version AS same
      FROM json_to_recordset(:locked_customers::json) AS n (id text, version text)
     CROSS JOIN LATERAL (
           SELECT xmin::text AS version FROM customers
            WHERE project_id = :project_id AND id = n.id LIMIT 1 FOR NO KEY UPDATE) AS f
    UNION ALL
    SELECT f.version = n.version AS same
      FROM json_to_recordset(:locked_orders::json) AS n (id text, version text)
     CROSS JOIN LATERAL (
           SELECT xmin::text AS version FROM orders
            WHERE project_id = :project_id AND id = n.id LIMIT 1 FOR NO KEY UPDATE) AS f
), fresh AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE same) = :locks AS fresh FROM locked
), customers_new AS (
    INSERT INTO customers (project_id, id, source_id, name, description, email, phone, birthdate, birthday, address,
                           metadata, orders_total_amount, orders_total_count, orders_last_id, orders_last_amount,
                           orders_last_date, created_at)
    SELECT :project_id, u.id, u.source_id, u.name, u.description, u.email, u.phone, u.birthdate, u.birthday, u.address,
           u.metadata, u.orders_total_amount, u.orders_total_count, u.orders_last_id, u.orders_last_amount,
           u.orders_last_date, u.created_at
      FROM json_to_recordset(:customers_new::json) AS u (
           id text, source_id text, name text, description text, email text, phone text, birthdate date, birthday date,
           address jsonb, metadata jsonb, orders_total_amount bigint, orders_total_count bigint, orders_last_id text,
           orders_last_amount bigint, orders_last_date timestamptz, created_at timestamptz)
     WHERE (SELECT fresh FROM fresh)
     ORDER BY u.source_id
), customers_changed AS (
    INSERT INTO customers (project_id, id, name, description, email, phone, birthdate, birthday, address, metadata,
                           orders_total_amount, orders_total_count, orders_last_id, orders_last_amount,
                           orders_last_date, created_at, updated_at)
    SELECT :project_id, u.id, u.name, u.description, u.email, u.phone, u.birthdate, u.birthday, u.address, u.metadata,
           u.orders_total_amount, u.orders_total_count, u.orders_last_id, u.orders_last_amount, u.orders_last_date,
           u.created_at, u.updated_at
      FROM json_to_recordset(:customers_changed::json) AS u (
           id text, name text, description text, email text, phone text, birthdate date, birthday date, address jsonb,
           metadata jsonb, orders_total_amount bigint, orders_total_count bigint, orders_last_id text,
           orders_last_amount bigint, orders_last_date timestamptz, created_at timestamptz, updated_at timestamptz)
     WHERE (SELECT fresh FROM fresh)
        ON CONFLICT (project_id, id) DO UPDATE
       SET name = excluded.name, description = excluded.description, email = excluded.email, phone = excluded.phone,
           birthdate = excluded.birthdate, birthday = excluded.birthday, address = excluded.address,
           metadata = excluded.metadata, orders_total_amount = excluded.orders_total_amount,
           orders_total_count = excluded.orders_total_count, orders_last_id = excluded.orders_last_id,
           orders_last_amount = excluded.orders_last_amount, orders_last_date = excluded.orders_last_date,
           updated_at = excluded.updated_at, async_action_id = NULL
), orders_new AS (
    INSERT INTO orders (project_id, id, source_id, status, customer_id, referrer_id, amount, total_amount,
                        initial_amount, discount_amount, items_amount, items_discount_amount, items, metadata,
                        ordered_at, created_at)
    SELECT :project_id, u.id, u.source_id, u.status, u.customer_id, u.referrer_id, u.amount, u.total_amount,
           u.initial_amount, u.discount_amount, u.items_amount, u.items_discount_amount, u.items, u.metadata,
           u.ordered_at, u.created_at
      FROM json_to_recordset(:orders_new::json) AS u (
           id text, source_id text, status text, customer_id text, referrer_id text, amount bigint,
           total_amount bigint, initial_amount bigint, discount_amount bigint, items_amount bigint,
           items_discount_amount bigint, items json, metadata jsonb, ordered_at timestamptz, created_at timestamptz)
     WHERE (SELECT fresh FROM fresh)
), orders_changed AS (
    INSERT INTO orders (project_id, id, source_id, status, customer_id, referrer_id, amount, total_amount,
                        initial_amount, discount_amount, items_amount, items_discount_amount, items, metadata,
                        ordered_at, created_at, updated_at)
    SELECT :project_id, u.id, u.source_id, u.status, u.customer_id, u.referrer_id, u.amount, u.total_amount,
           u.initial_amount, u.discount_amount, u.items_amount, u.items_discount_amount, u.items, u.metadata,
           u.ordered_at, u.created_at, u.updated_at
      FROM json_to_recordset(:orders_changed::json) AS u (
           id text, source_id text, status text, customer_id text, referrer_id text, amount bigint,
           total_amount bigint, initial_amount bigint, discount_amount bigint, items_amount bigint,
           items_discount_amount bigint, items json, metadata jsonb, ordered_at timestamptz, created_at timestamptz,
           updated_at timestamptz)
     WHERE (SELECT fresh FROM fresh)
        ON CONFLICT (project_id, id) DO UPDATE
       SET source_id = excluded.source_id, status = excluded.status, customer_id = excluded.customer_id,
           referrer_id = excluded.referrer_id, amount = excluded.amount, total_amount = excluded.total_amount,
           initial_amount = excluded.initial_amount, discount_amount = excluded.discount_amount,
           items_amount = excluded.items_amount, items_discount_amount = excluded.items_discount_amount,
           items = coalesce(excluded.items, orders.items), metadata = excluded.metadata,
           ordered_at = excluded.ordered_at, updated_at = excluded.updated_at, async_action_id = NULL
), inbox AS (
    INSERT INTO segment_inbox (project_id, customer_id, cause, group_id, depth, accepted_at, accepted_xid)
    SELECT :project_id, u.customer_id, 'orders.write', :group_id, :depth, given.now, given.xid
      FROM given CROSS JOIN unnest(:concerned::text[]) AS u (customer_id)
     WHERE (SELECT fresh FROM fresh)
), happened AS MATERIALIZED (
    SELECT u.id, u.type, u.object_id, u.customer_id, u.referrer_id, u.data, u.no,
           given.now + u.no * interval '1 microsecond' AS created_at, given.xid
      FROM given CROSS JOIN ROWS FROM (json_to_recordset(:events::json) AS (
           id text, type text, object_id text, customer_id text, referrer_id text, data json))
           WITH ORDINALITY AS u (id, type, object_id, customer_id, referrer_id, data, no)
     WHERE (SELECT fresh FROM fresh)
), logged AS (
    INSERT INTO events (project_id, id, created_at, type, object_id, customer_id, referrer_id, data, event_source,
                        group_id, async_action_id, depth)
    SELECT :project_id, id, created_at, type, object_id, customer_id, referrer_id, data, :event_source::json,
           :group_id, :async_action_id, :depth
      FROM happened
), outbox AS (
    INSERT INTO event_outbox (project_id, event_id, event_created_at, accepted_xid)
    SELECT :project_id, id, created_at, xid FROM happened ORDER BY no
), totals AS (
    INSERT INTO row_totals AS t (project_id, resource, slot, total)
    SELECT :project_id, u.resource, :slot, u.added
      FROM json_to_recordset(:totals::json) AS u (resource text, added bigint)
     WHERE (SELECT fresh FROM fresh)
     ORDER BY u.resource
        ON CONFLICT (project_id, resource, slot) DO UPDATE SET total = t.total + excluded.total
)
SELECT fresh FROM fresh;
