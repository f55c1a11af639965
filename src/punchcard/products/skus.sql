-- name: skus_resolve_whole
-- SKUs by id or by source id with all that is stored of them, as skus_resolve.
SELECT found.*
  FROM unnest(:ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, source_id, product_id, sku, price, currency, attributes::text, metadata::text, image_url,
              xmin::text AS version, false AS binned
         FROM skus WHERE project_id = :project_id AND id = n.key AND binned_at IS NULL
        LIMIT 1) AS found
UNION ALL
SELECT found.*
  FROM unnest(:source_ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id, source_id, product_id, sku, price, currency, attributes::text, metadata::text, image_url,
              xmin::text AS version, binned_at IS NOT NULL AS binned
         FROM skus WHERE project_id = :project_id AND source_id = n.key
        LIMIT 1) AS found;

-- name: skus_insert_whole!
-- New SKUs with all their values.
INSERT INTO skus (project_id, id, source_id, product_id, sku, price, currency, attributes, metadata, image_url,
                  created_at)
SELECT :project_id, u.id, u.source_id, u.product_id, u.sku, u.price, u.currency, u.attributes, u.metadata, u.image_url,
       u.now
  FROM unnest(:ids::text[], :source_ids::text[], :product_ids::text[], :names::text[], :prices::bigint[],
              :currencies::text[], :attributes::jsonb[], :metadatas::jsonb[], :image_urls::text[],
              :nows::timestamptz[]) WITH ORDINALITY
       AS u (id, source_id, product_id, sku, price, currency, attributes, metadata, image_url, now, no)
 ORDER BY u.no;

-- name: skus_update_whole!
-- All values of existing SKUs. See customers_update. A SKU keeps its product.
INSERT INTO skus (project_id, id, product_id, sku, price, currency, attributes, metadata, image_url, created_at,
                  updated_at)
SELECT :project_id, u.id, '', u.sku, u.price, u.currency, u.attributes, u.metadata, u.image_url, u.now, u.now
  FROM unnest(:ids::text[], :names::text[], :prices::bigint[], :currencies::text[], :attributes::jsonb[],
              :metadatas::jsonb[], :image_urls::text[], :nows::timestamptz[])
       AS u (id, sku, price, currency, attributes, metadata, image_url, now)
    ON CONFLICT (project_id, id) DO UPDATE
   SET sku = excluded.sku, price = excluded.price, currency = excluded.currency, attributes = excluded.attributes,
       metadata = excluded.metadata, image_url = excluded.image_url, updated_at = excluded.updated_at;

-- name: sku_id_taken
-- Whether a SKU has an id, also in the bin.
SELECT 1 FROM skus WHERE project_id = :project_id AND id = :id;

-- name: sku_bin!
UPDATE skus SET binned_at = t.now
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE project_id = :project_id AND id = :id;

-- name: sku_delete!
DELETE FROM skus WHERE project_id = :project_id AND id = :id;
