-- What a complete import needs: idempotency keys, dry runs, jobs that walk stored rows, retention of payloads,
-- metadata schemas; and lists that stay as fast as they were on their first page.

SET LOCAL lock_timeout = '4s';

-- ---- the bulk queue ----------------------------------------------------------------------------

ALTER TABLE async_actions
    -- the same checks and counts as otherwise, and nothing written
    ADD COLUMN dry_run boolean NOT NULL DEFAULT false,
    -- of a job that walks stored rows: where the next portion begins; null at the start
    ADD COLUMN cursor jsonb,
    -- when its failures were deleted, or found to be none
    ADD COLUMN emptied_at timestamptz,
    -- when the last piece of its payload was deleted
    ADD COLUMN payload_deleted_at timestamptz;
-- finished actions that still keep failures, or payload, the one finished first in front: for retention
CREATE INDEX async_actions_kept ON async_actions (project_id, finished_at)
    WHERE finished_at IS NOT NULL AND emptied_at IS NULL;
CREATE INDEX async_actions_payload_kept ON async_actions (project_id, finished_at)
    WHERE finished_at IS NOT NULL AND payload_deleted_at IS NULL;

-- how long a record took of late, for estimates of the time left; a smoothed figure, none before the first portion
ALTER TABLE lanes ADD COLUMN record_us double precision;

-- The answer to a request that came with an Idempotency-Key, so that the same request again gets the same.
CREATE TABLE idempotency_keys (
    project_id   text NOT NULL,
    key          text NOT NULL,
    -- of method, path, query and body
    fingerprint  bytea NOT NULL CHECK (length(fingerprint) = 32),
    answer       bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (project_id, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (project_id, created_at);

-- ---- lists -------------------------------------------------------------------------------------

-- How many rows a project has in each table. Several slots, so that writers of one project rarely meet in one row;
-- the sum is what a list calls its total.
CREATE TABLE row_totals (
    project_id  text NOT NULL,
    resource    text NOT NULL,
    slot        smallint NOT NULL,
    total       bigint NOT NULL,
    PRIMARY KEY (project_id, resource, slot)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);
INSERT INTO row_totals SELECT project_id, 'customers', 0, count(*) FROM customers GROUP BY project_id;
INSERT INTO row_totals SELECT project_id, 'products', 0, count(*) FROM products GROUP BY project_id;
INSERT INTO row_totals SELECT project_id, 'skus', 0, count(*) FROM skus GROUP BY project_id;
INSERT INTO row_totals SELECT project_id, 'orders', 0, count(*) FROM orders GROUP BY project_id;

-- What was never updated counts as updated when it was made; created_at, of which each row has its own, tells rows of
-- one moment apart. With the columns of the expression included, the index alone can find where a late page begins.
CREATE INDEX orders_updated ON orders (project_id, (coalesce(updated_at, created_at)), created_at) INCLUDE (updated_at);
CREATE INDEX customers_updated ON customers (project_id, (coalesce(updated_at, created_at)), created_at)
    INCLUDE (updated_at);
CREATE INDEX products_updated ON products (project_id, (coalesce(updated_at, created_at)), created_at)
    INCLUDE (updated_at);
CREATE INDEX skus_updated ON skus (project_id, product_id, (coalesce(updated_at, created_at)), created_at)
    INCLUDE (updated_at);
-- an order counts as placed when its metadata says so, else when it was made
CREATE INDEX orders_placed ON orders (project_id, (coalesce(ordered_at, created_at)), created_at) INCLUDE (ordered_at);
-- those without a source id, in their order: the index on source ids has them in none
CREATE INDEX customers_unnamed ON customers (project_id, created_at) WHERE source_id IS NULL;
CREATE INDEX customers_email ON customers (project_id, email, created_at) WHERE email IS NOT NULL;
-- their beginnings only: an index cannot hold a text of any length
CREATE INDEX customers_name ON customers (project_id, left(name, 60), created_at) WHERE name IS NOT NULL;
CREATE INDEX customers_city ON customers (project_id, left(address ->> 'city', 60), created_at)
    WHERE address ->> 'city' IS NOT NULL;

-- ---- metadata schemas --------------------------------------------------------------------------

CREATE TABLE metadata_schemas (
    project_id          text NOT NULL,
    id                  text NOT NULL,
    -- a resource such as order, or the name of a nested object
    related_object      text NOT NULL,
    properties          jsonb NOT NULL DEFAULT '{}',
    allow_defined_only  boolean NOT NULL DEFAULT false,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz,
    PRIMARY KEY (project_id, id)
);
CREATE UNIQUE INDEX metadata_schemas_object ON metadata_schemas (project_id, related_object);

-- see decision 7
ALTER TABLE idempotency_keys ALTER COLUMN project_id SET STATISTICS 0;
ALTER TABLE row_totals ALTER COLUMN project_id SET STATISTICS 0;
ALTER TABLE metadata_schemas ALTER COLUMN project_id SET STATISTICS 0;
