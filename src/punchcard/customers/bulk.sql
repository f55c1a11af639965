-- name: customers_write_clock
-- The first moment a batch of customers may use. See write_clock.
SELECT greatest(clock_timestamp(),
                (SELECT max(coalesce(updated_at, created_at)) FROM customers WHERE project_id = :project_id)
                    + interval '1 microsecond') AS now;
