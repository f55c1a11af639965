-- name: catalogue_clock
-- The first moment that writes of products or SKUs may use. See write_clock.
SELECT greatest(clock_timestamp(),
                (SELECT max(coalesce(updated_at, created_at)) FROM products WHERE project_id = :project_id)
                    + interval '1 microsecond',
                (SELECT max(created_at) FROM skus WHERE project_id = :project_id)
                    + interval '1 microsecond') AS now;

-- name: products_resolve
-- The products that a batch names by id or by source id. See customers_resolve. In the bin is only what a source id
-- names: it is taken.
SELECT found.*
  FROM unnest(:ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, source_id, name, price, metadata::text, attributes::text, image_url, xmin::text AS version,
              false AS binned
         FROM products WHERE project_id = :project_id AND id = n.key AND binned_at IS NULL
        LIMIT 1) AS found
UNION ALL
SELECT found.*
  FROM unnest(:source_ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, source_id, name, price, metadata::text, attributes::text, image_url, xmin::text AS version,
              binned_at IS NOT NULL AS binned
         FROM products WHERE project_id = :project_id AND source_id = n.key
        LIMIT 1) AS found;

-- name: skus_resolve
-- The SKUs that a batch names by id or by source id, as products_resolve.
SELECT found.*
  FROM unnest(:ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, source_id, product_id, sku, price, metadata::text, xmin::text AS version, false AS binned
         FROM skus WHERE project_id = :project_id AND id = n.key AND binned_at IS NULL
        LIMIT 1) AS found
UNION ALL
SELECT found.*
  FROM unnest(:source_ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, source_id, product_id, sku, price, metadata::text, xmin::text AS version,
              binned_at IS NOT NULL AS binned
         FROM skus WHERE project_id = :project_id AND source_id = n.key
        LIMIT 1) AS found;

-- name: products_lock
-- See customers_lock.
WITH locked AS MATERIALIZED (
    SELECT found.version = n.version AS same
      FROM unnest(:ids::text[], :versions::text[]) AS n (key, version)
     CROSS JOIN LATERAL (
           SELECT xmin::text AS version FROM products
            WHERE project_id = :project_id AND id = n.key
            LIMIT 1
              FOR NO KEY UPDATE) AS found
)
SELECT count(*) FILTER (WHERE same) AS same FROM locked;

-- name: skus_lock
-- See customers_lock.
WITH locked AS MATERIALIZED (
    SELECT found.version = n.version AS same
      FROM unnest(:ids::text[], :versions::text[]) AS n (key, version)
     CROSS JOIN LATERAL (
           SELECT xmin::text AS version FROM skus
            WHERE project_id = :project_id AND id = n.key
            LIMIT 1
              FOR NO KEY UPDATE) AS found
)
SELECT count(*) FILTER (WHERE same) AS same FROM locked;

-- name: products_update!
-- New values of existing products. See customers_update.
INSERT INTO products (project_id, id, name, price, metadata, attributes, image_url, created_at, updated_at)
SELECT :project_id, u.id, u.name, u.price, u.metadata, u.attributes, u.image_url, u.now, u.now
  FROM unnest(:ids::text[], :names::text[], :prices::bigint[], :metadatas::jsonb[], :attributes::jsonb[],
              :image_urls::text[], :nows::timestamptz[])
       AS u (id, name, price, metadata, attributes, image_url, now)
    ON CONFLICT (project_id, id) DO UPDATE
   SET name = excluded.name, price = excluded.price, metadata = excluded.metadata, attributes = excluded.attributes,
       image_url = excluded.image_url, updated_at = excluded.updated_at;

-- name: skus_update!
-- New values of existing SKUs. See customers_update. A SKU keeps its product.
INSERT INTO skus (project_id, id, product_id, sku, price, metadata, created_at, updated_at)
SELECT :project_id, u.id, '', u.sku, u.price, u.metadata, u.now, u.now
  FROM unnest(:ids::text[], :names::text[], :prices::bigint[], :metadatas::jsonb[], :nows::timestamptz[])
       AS u (id, sku, price, metadata, now)
    ON CONFLICT (project_id, id) DO UPDATE
   SET sku = excluded.sku, price = excluded.price, metadata = excluded.metadata, updated_at = excluded.updated_at;

-- name: product_get
-- One product by id or source id; the id wins.
SELECT id, source_id, name, price, attributes, metadata, image_url, created_at, updated_at
  FROM products
 WHERE project_id = :project_id
   AND id = coalesce(
       (SELECT id FROM products WHERE project_id = :project_id AND id = :id AND binned_at IS NULL),
       (SELECT id FROM products WHERE project_id = :project_id AND source_id = :id AND binned_at IS NULL));

-- name: sku_get
-- One SKU by id or source id; the id wins.
SELECT id, source_id, product_id, sku, price, currency, attributes, metadata, image_url, created_at, updated_at
  FROM skus
 WHERE project_id = :project_id
   AND id = coalesce(
       (SELECT id FROM skus WHERE project_id = :project_id AND id = :id AND binned_at IS NULL),
       (SELECT id FROM skus WHERE project_id = :project_id AND source_id = :id AND binned_at IS NULL));

-- name: products_list
-- What a list of products shows. Conditions, order and limit are put around it: see http.pages.
SELECT id, source_id, name, price, attributes, metadata, image_url, created_at, updated_at
  FROM products
 WHERE project_id = :project_id AND binned_at IS NULL;

-- name: skus_list
-- What a list of a product's SKUs shows, as products_list.
SELECT id, source_id, product_id, sku, price, currency, attributes, metadata, image_url, created_at, updated_at
  FROM skus
 WHERE project_id = :project_id AND product_id = :product_id AND binned_at IS NULL;

-- name: skus_of_products
-- All SKUs of some products, oldest first. LATERAL, ordered: one index probe a product.
SELECT found.*
  FROM unnest(:product_ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, source_id, product_id, sku, price, currency, attributes, metadata, image_url, created_at, updated_at
         FROM skus
        WHERE project_id = :project_id AND product_id = n.key AND binned_at IS NULL
        ORDER BY created_at) AS found;
