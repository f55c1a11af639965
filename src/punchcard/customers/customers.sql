-- name: customers_resolve
-- The customers that a batch names by id or by source id, whole. `version` tells whether a row has changed.
-- LATERAL with LIMIT 1 is one index probe a key; a join could as well read the whole project.
SELECT found.*
  FROM unnest(:ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, source_id, name, description, email, phone, birthdate, birthday, address::text, metadata::text,
              orders_total_amount, orders_total_count, orders_last_id, orders_last_amount, orders_last_date,
              xmin::text AS version
         FROM customers WHERE project_id = :project_id AND id = n.key
        LIMIT 1) AS found
UNION ALL
SELECT found.*
  FROM unnest(:source_ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, source_id, name, description, email, phone, birthdate, birthday, address::text, metadata::text,
              orders_total_amount, orders_total_count, orders_last_id, orders_last_amount, orders_last_date,
              xmin::text AS version
         FROM customers WHERE project_id = :project_id AND source_id = n.key
        LIMIT 1) AS found;

-- name: customers_lock
-- Lock customers in the order of `ids`, which all writers sort; how many still have the version they were read at.
WITH locked AS MATERIALIZED (
    SELECT found.version = n.version AS same
      FROM unnest(:ids::text[], :versions::text[]) AS n (key, version)
     CROSS JOIN LATERAL (
           SELECT xmin::text AS version FROM customers
            WHERE project_id = :project_id AND id = n.key
            LIMIT 1
              FOR NO KEY UPDATE) AS found
)
SELECT count(*) FILTER (WHERE same) AS same FROM locked;

-- name: customers_write_clock
-- The first moment a batch of customers may use. See write_clock.
SELECT greatest(clock_timestamp(),
                (SELECT max(coalesce(updated_at, created_at)) FROM customers WHERE project_id = :project_id)
                    + interval '1 microsecond') AS now;

-- name: customers_update!
-- New values of existing customers, which are locked: there always is a conflict. As an insert, because that
-- finds each row by its key; a join would depend on the statistics.
INSERT INTO customers (project_id, id, name, description, email, phone, birthdate, birthday, address, metadata,
                       orders_total_amount, orders_total_count, orders_last_id, orders_last_amount, orders_last_date,
                       created_at, updated_at, async_action_id)
SELECT :project_id, u.id, u.name, u.description, u.email, u.phone, u.birthdate, u.birthday, u.address, u.metadata,
       u.total_amount, u.total_count, u.last_id, u.last_amount,
       u.last_date, u.now, u.now, u.async_action_id
  FROM unnest(:ids::text[], :names::text[], :descriptions::text[], :emails::text[], :phones::text[],
              :birthdates::date[], :birthdays::date[], :addresses::jsonb[], :metadatas::jsonb[],
              :total_amounts::bigint[], :total_counts::bigint[],
              :last_ids::text[], :last_amounts::bigint[], :last_dates::timestamptz[], :nows::timestamptz[],
              :async_action_ids::text[])
       AS u (id, name, description, email, phone, birthdate, birthday, address, metadata,
             total_amount, total_count, last_id, last_amount, last_date, now, async_action_id)
    ON CONFLICT (project_id, id) DO UPDATE
   SET name = excluded.name, description = excluded.description, email = excluded.email, phone = excluded.phone,
       birthdate = excluded.birthdate, birthday = excluded.birthday, address = excluded.address,
       metadata = excluded.metadata, orders_total_amount = excluded.orders_total_amount,
       orders_total_count = excluded.orders_total_count, orders_last_id = excluded.orders_last_id,
       orders_last_amount = excluded.orders_last_amount, orders_last_date = excluded.orders_last_date,
       updated_at = excluded.updated_at, async_action_id = excluded.async_action_id;

-- name: customers_update_summaries!
-- New summaries of existing customers; their attributes stay. See customers_update.
INSERT INTO customers (project_id, id, orders_total_amount, orders_total_count, orders_last_id, orders_last_amount,
                       orders_last_date, created_at, async_action_id)
SELECT :project_id, u.id, u.total_amount, u.total_count, u.last_id, u.last_amount, u.last_date, u.now, u.async_action_id
  FROM unnest(:ids::text[], :total_amounts::bigint[], :total_counts::bigint[], :last_ids::text[],
              :last_amounts::bigint[], :last_dates::timestamptz[], :nows::timestamptz[], :async_action_ids::text[])
       AS u (id, total_amount, total_count, last_id, last_amount, last_date, now, async_action_id)
    ON CONFLICT (project_id, id) DO UPDATE
   SET orders_total_amount = excluded.orders_total_amount, orders_total_count = excluded.orders_total_count,
       orders_last_id = excluded.orders_last_id, orders_last_amount = excluded.orders_last_amount,
       orders_last_date = excluded.orders_last_date, async_action_id = excluded.async_action_id;

-- name: customer_get
-- One customer by id or source id; the id wins.
SELECT id, source_id, name, description, email, phone, birthdate, birthday, address, metadata, created_at, updated_at,
       orders_total_amount, orders_total_count, orders_last_amount, orders_last_date, async_action_id
  FROM customers
 WHERE project_id = :project_id
   AND id = coalesce(
       (SELECT id FROM customers WHERE project_id = :project_id AND id = :id),
       (SELECT id FROM customers WHERE project_id = :project_id AND source_id = :id));

-- name: customers_list
-- What a list of customers shows. Conditions, order and limit are put around it: see http.pages.
SELECT id, source_id, name, description, email, phone, birthdate, birthday, address, metadata, created_at, updated_at,
       orders_total_amount, orders_total_count, orders_last_amount, orders_last_date, async_action_id
  FROM customers
 WHERE project_id = :project_id;

-- name: customers_members
-- What a list of a segment's members shows. The memberships have an index in the order of creation. See customers_list.
SELECT c.id, c.source_id, c.name, c.description, c.email, c.phone, c.birthdate, c.birthday, c.address, c.metadata, c.created_at, c.updated_at,
       c.orders_total_amount, c.orders_total_count, c.orders_last_amount, c.orders_last_date, c.async_action_id
  FROM segment_members AS m
  JOIN customers AS c ON c.project_id = m.project_id AND c.id = m.customer_id AND c.created_at = m.customer_created_at
 WHERE m.project_id = :project_id AND m.segment_id = :segment_id AND c.project_id = :project_id
   AND m.customer_created_at > '-infinity';

-- name: customers_segment
-- How many members a segment has; no row if there is no such segment.
SELECT coalesce(m.members, 0) AS total
  FROM segments AS s
  LEFT JOIN segment_summaries AS m ON m.project_id = :project_id AND m.segment_id = s.id
 WHERE s.project_id = :project_id AND s.id = :segment_id;
