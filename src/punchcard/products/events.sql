-- name: products_shown
-- Some products as the API shows them where they were written, in the order of `ids`. See customers_resolve.
SELECT found.*
  FROM unnest(:ids::text[]) WITH ORDINALITY AS n (key, no)
 CROSS JOIN LATERAL (
       SELECT id, source_id, name, price, attributes, metadata, image_url, created_at, updated_at
         FROM products WHERE project_id = :project_id AND id = n.key
        LIMIT 1) AS found
 ORDER BY n.no;

-- name: skus_shown
-- Some SKUs as the API shows them, in the order of `ids`.
SELECT found.*
  FROM unnest(:ids::text[]) WITH ORDINALITY AS n (key, no)
 CROSS JOIN LATERAL (
       SELECT id, source_id, product_id, sku, price, currency, attributes, metadata, image_url, created_at, updated_at
         FROM skus WHERE project_id = :project_id AND id = n.key
        LIMIT 1) AS found
 ORDER BY n.no;
