-- name: products_resolve
-- The products that a batch names by id or by source id.
SELECT id, source_id, name, price, metadata, xmin::text AS version
  FROM products WHERE project_id = :project_id AND id = ANY(:ids)
UNION ALL
SELECT id, source_id, name, price, metadata, xmin::text AS version
  FROM products WHERE project_id = :project_id AND source_id = ANY(:source_ids);

-- name: skus_resolve
-- The SKUs that a batch names by id or by source id.
SELECT id, source_id, product_id, sku, price, metadata, xmin::text AS version
  FROM skus WHERE project_id = :project_id AND id = ANY(:ids)
UNION ALL
SELECT id, source_id, product_id, sku, price, metadata, xmin::text AS version
  FROM skus WHERE project_id = :project_id AND source_id = ANY(:source_ids);

-- name: products_lock
SELECT id, xmin::text AS version FROM products
 WHERE project_id = :project_id AND id = ANY(:ids)
 ORDER BY id
   FOR NO KEY UPDATE;

-- name: skus_lock
SELECT id, xmin::text AS version FROM skus
 WHERE project_id = :project_id AND id = ANY(:ids)
 ORDER BY id
   FOR NO KEY UPDATE;

-- name: products_update!
UPDATE products AS p
   SET name = u.name, price = u.price, metadata = u.metadata, updated_at = u.now
  FROM unnest(:ids::text[], :names::text[], :prices::bigint[], :metadatas::jsonb[], :nows::timestamptz[])
       AS u (id, name, price, metadata, now)
 WHERE p.project_id = :project_id AND p.id = u.id;

-- name: skus_update!
UPDATE skus AS s
   SET sku = u.sku, price = u.price, metadata = u.metadata, updated_at = u.now
  FROM unnest(:ids::text[], :names::text[], :prices::bigint[], :metadatas::jsonb[], :nows::timestamptz[])
       AS u (id, sku, price, metadata, now)
 WHERE s.project_id = :project_id AND s.id = u.id;

-- name: product_get
-- One product by id or source id; the id wins.
SELECT id, source_id, name, price, attributes, metadata, image_url, created_at, updated_at
  FROM products
 WHERE project_id = :project_id AND (id = :id OR source_id = :id)
 ORDER BY id = :id DESC
 LIMIT 1;

-- name: sku_get
-- One SKU by id or source id; the id wins.
SELECT id, source_id, product_id, sku, price, currency, attributes, metadata, image_url, created_at, updated_at
  FROM skus
 WHERE project_id = :project_id AND (id = :id OR source_id = :id)
 ORDER BY id = :id DESC
 LIMIT 1;

-- name: product_skus
-- All SKUs of a product, oldest first.
SELECT id, source_id, product_id, sku, price, currency, attributes, metadata, image_url, created_at, updated_at
  FROM skus
 WHERE project_id = :project_id AND product_id = :product_id
 ORDER BY created_at;
