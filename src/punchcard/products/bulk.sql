-- name: products_write_clock
-- The first moment a batch of products may use. See write_clock.
SELECT greatest(clock_timestamp(),
                (SELECT max(coalesce(updated_at, created_at)) FROM products WHERE project_id = :project_id)
                    + interval '1 microsecond') AS now;
