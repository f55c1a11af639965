-- name: customers_shown
-- Some customers as the API shows them, in the order of `ids`. See customers_resolve.
SELECT found.*
  FROM unnest(:ids::text[]) WITH ORDINALITY AS n (key, no)
 CROSS JOIN LATERAL (
       SELECT id, source_id, name, description, email, phone, birthdate, birthday, address, metadata, created_at,
              updated_at, orders_total_amount, orders_total_count, orders_last_amount, orders_last_date
         FROM customers WHERE project_id = :project_id AND id = n.key
        LIMIT 1) AS found
 ORDER BY n.no;
