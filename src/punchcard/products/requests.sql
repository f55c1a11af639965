-- name: product_id_taken
-- Whether a product has an id, also in the bin.
SELECT 1 FROM products WHERE project_id = :project_id AND id = :id;

-- name: product_lock_whole
-- A product as it is shown, locked.
SELECT id, source_id, name, price, attributes, metadata, image_url, created_at, updated_at
  FROM products
 WHERE project_id = :project_id AND id = :product_id AND binned_at IS NULL
   FOR NO KEY UPDATE;

-- name: product_skus_lock
-- The SKUs of a product as they are shown, locked in the order of their ids.
SELECT id, source_id, product_id, sku, price, currency, attributes, metadata, image_url, created_at, updated_at
  FROM skus
 WHERE project_id = :project_id AND product_id = :product_id AND binned_at IS NULL
 ORDER BY id
   FOR NO KEY UPDATE;

-- name: product_skus_bin!
UPDATE skus SET binned_at = t.now
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE project_id = :project_id AND product_id = :product_id AND binned_at IS NULL;

-- name: product_bin!
UPDATE products SET binned_at = t.now
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE project_id = :project_id AND id = :product_id;

-- name: product_skus_delete!
-- Those in the bin too.
DELETE FROM skus WHERE project_id = :project_id AND product_id = :product_id;

-- name: product_delete!
DELETE FROM products WHERE project_id = :project_id AND id = :product_id;
