-- name: customers_resolve
-- The customers that a batch names by id or by source id, whole. `version` tells whether a row has changed.
SELECT id, source_id, name, description, email, phone, birthdate, birthday, address, metadata,
       orders_total_amount, orders_total_count, orders_last_id, orders_last_amount, orders_last_date,
       xmin::text AS version
  FROM customers
 WHERE project_id = :project_id AND id = ANY(:ids)
UNION ALL
SELECT id, source_id, name, description, email, phone, birthdate, birthday, address, metadata,
       orders_total_amount, orders_total_count, orders_last_id, orders_last_amount, orders_last_date,
       xmin::text AS version
  FROM customers
 WHERE project_id = :project_id AND source_id = ANY(:source_ids);

-- name: customers_lock
-- Lock customers in the one order everybody locks them in, and tell which versions they have now.
SELECT id, xmin::text AS version FROM customers
 WHERE project_id = :project_id AND id = ANY(:ids)
 ORDER BY id
   FOR NO KEY UPDATE;

-- name: customers_update!
-- New values of existing customers.
UPDATE customers AS c
   SET name = u.name, description = u.description, email = u.email, phone = u.phone, birthdate = u.birthdate,
       birthday = u.birthday, address = u.address, metadata = u.metadata,
       orders_total_amount = u.total_amount, orders_total_count = u.total_count,
       orders_last_id = u.last_id, orders_last_amount = u.last_amount, orders_last_date = u.last_date,
       updated_at = CASE WHEN u.attributes_changed THEN u.now ELSE c.updated_at END
  FROM (SELECT n.*
          FROM unnest(:ids::text[], :names::text[], :descriptions::text[], :emails::text[], :phones::text[],
                      :birthdates::date[], :birthdays::date[], :addresses::jsonb[], :metadatas::jsonb[],
                      :total_amounts::bigint[], :total_counts::bigint[],
                      :last_ids::text[], :last_amounts::bigint[], :last_dates::timestamptz[],
                      :attributes_changed::boolean[], :nows::timestamptz[])
            AS n (id, name, description, email, phone, birthdate, birthday, address, metadata,
                  total_amount, total_count, last_id, last_amount, last_date, attributes_changed, now)) AS u
 WHERE c.project_id = :project_id AND c.id = u.id;

-- name: customer_get
-- One customer by id or source id; the id wins.
SELECT id, source_id, name, description, email, phone, birthdate, birthday, address, metadata, created_at, updated_at,
       orders_total_amount, orders_total_count, orders_last_amount, orders_last_date
  FROM customers
 WHERE project_id = :project_id AND (id = :id OR source_id = :id)
 ORDER BY id = :id DESC
 LIMIT 1;

-- name: customers_count
SELECT count(*) AS total FROM customers WHERE project_id = :project_id;
