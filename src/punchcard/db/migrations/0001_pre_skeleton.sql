-- Projects, keys, the bulk queue, and the tables an order import writes.
--
-- House rules (docs/architecture.md): project_id leads every key of tenant data; no foreign keys between
-- hot tables, because a check would lock rows that an import does not change; created_at is unique within
-- a project, because it is a paging cursor.

SET LOCAL lock_timeout = '4s';

-- ---- global tables: small, rarely written ------------------------------------------------------

CREATE TABLE projects (
    id              text PRIMARY KEY,
    name            text NOT NULL,
    timezone        text NOT NULL DEFAULT 'UTC',
    -- the order metadata key that holds the moment an order was placed
    ordered_at_key  text NOT NULL DEFAULT 'ordered_at',
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE api_keys (
    app_id      text PRIMARY KEY,
    -- none for management keys, which belong to the whole installation
    project_id  text REFERENCES projects (id) ON DELETE CASCADE,
    kind        text NOT NULL CHECK (kind IN ('server', 'client', 'management')),
    name        text NOT NULL,
    token_hash  bytea NOT NULL CHECK (length(token_hash) = 32),
    blocked     boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((kind = 'management') = (project_id IS NULL))
);
CREATE INDEX api_keys_project ON api_keys (project_id);

-- Who works: one row a worker process. A hint for the watchdog and /readyz; nothing else relies on it.
CREATE TABLE workers (
    id             text PRIMARY KEY,
    -- the session that holds lane locks; another worker ends it when seen_at is too old
    backend_pid    integer NOT NULL,
    backend_start  timestamptz NOT NULL,
    started_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- the failure that a worker is retrying now, for /readyz; none while all goes well
    trouble        text
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0);

-- ---- the bulk queue ----------------------------------------------------------------------------

CREATE TABLE async_actions (
    project_id        text NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id                text NOT NULL,
    -- the order of arrival, drawn inside the accepting transaction
    seq               bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    type              text NOT NULL,
    lane              text NOT NULL CHECK (lane IN ('fifo', 'round_robin', 'segments', 'reactions')),
    status            text NOT NULL DEFAULT 'ENQUEUED' CHECK (status IN ('ENQUEUED', 'IN_PROGRESS', 'DONE', 'FAILED')),
    operation_status  text NOT NULL DEFAULT 'UNKNOWN' CHECK (operation_status IN ('SUCCESS', 'FAILED', 'UNKNOWN')),
    request_id        text NOT NULL,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    started_at        timestamptz,
    finished_at       timestamptz,
    -- records of the request; the next one to process; what became of those before it
    records_total     integer NOT NULL CHECK (records_total >= 0),
    records_next      integer NOT NULL DEFAULT 0 CHECK (records_next BETWEEN 0 AND records_total),
    records_done      integer NOT NULL DEFAULT 0 CHECK (records_done >= 0),
    records_failed    integer NOT NULL DEFAULT 0 CHECK (records_failed >= 0),
    -- further counts of the kind of job, by name
    counts            jsonb NOT NULL DEFAULT '{}',
    -- how many records the next portion may take at most
    portion_records   integer NOT NULL CHECK (portion_records >= 1),
    -- the start mark: who began a portion that has not ended, and how often that happened to a record alone
    started_by        text,
    stops_alone       integer NOT NULL DEFAULT 0,
    result            jsonb,
    PRIMARY KEY (project_id, id),
    CHECK ((finished_at IS NOT NULL) = (status IN ('DONE', 'FAILED'))),
    CHECK ((finished_at IS NULL) = (operation_status = 'UNKNOWN')),
    CHECK (records_done + records_failed = records_next)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);
CREATE INDEX async_actions_waiting ON async_actions (project_id, lane, seq) WHERE finished_at IS NULL;
-- the one under way in a fifo lane, without a walk over all that wait
CREATE INDEX async_actions_under_way ON async_actions (project_id, lane, seq)
    WHERE finished_at IS NULL AND started_at IS NOT NULL;
CREATE UNIQUE INDEX async_actions_created ON async_actions (project_id, created_at);

-- The payload of a request, cut so that a portion can read one piece alone. Deleted when processed.
CREATE TABLE async_action_pieces (
    project_id    text NOT NULL,
    action_id     text NOT NULL,
    first_record  integer NOT NULL,
    records       integer NOT NULL CHECK (records > 0),
    body          bytea NOT NULL,
    PRIMARY KEY (project_id, action_id, first_record),
    FOREIGN KEY (project_id, action_id) REFERENCES async_actions (project_id, id) ON DELETE CASCADE
);
-- compressing would cost more than the disk it saves: a piece lives for seconds
ALTER TABLE async_action_pieces ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE async_action_failures (
    project_id  text NOT NULL,
    action_id   text NOT NULL,
    -- position in the request, from 0
    record      integer NOT NULL,
    source_id   text,
    reason      text NOT NULL,
    -- the record as it was sent
    body        bytea NOT NULL,
    PRIMARY KEY (project_id, action_id, record),
    FOREIGN KEY (project_id, action_id) REFERENCES async_actions (project_id, id) ON DELETE CASCADE
);

-- When a lane was last served. A missing row means never; written by the holder of the lane's lock alone.
CREATE TABLE lanes (
    project_id  text NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    lane        text NOT NULL,
    served_at   timestamptz NOT NULL,
    PRIMARY KEY (project_id, lane)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);

-- ---- what an order import writes ---------------------------------------------------------------

CREATE TABLE customers (
    project_id            text NOT NULL,
    id                    text NOT NULL,
    source_id             text,
    name                  text,
    description           text,
    email                 text,
    phone                 text,
    birthdate             date,
    -- the deprecated twin of birthdate, as it was sent
    birthday              date,
    address               jsonb,
    metadata              jsonb NOT NULL DEFAULT '{}',
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz,
    -- summary.orders: PAID and FULFILLED orders only, changed by differences
    orders_total_amount   bigint NOT NULL DEFAULT 0 CHECK (orders_total_amount >= 0),
    orders_total_count    bigint NOT NULL DEFAULT 0 CHECK (orders_total_count >= 0),
    orders_last_id        text,
    orders_last_amount    bigint,
    orders_last_date      timestamptz,
    PRIMARY KEY (project_id, id)
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX customers_source ON customers (project_id, source_id);
CREATE UNIQUE INDEX customers_created ON customers (project_id, created_at);

CREATE TABLE products (
    project_id  text NOT NULL,
    id          text NOT NULL,
    source_id   text,
    name        text,
    price       bigint CHECK (price >= 0),
    attributes  jsonb NOT NULL DEFAULT '[]',
    metadata    jsonb NOT NULL DEFAULT '{}',
    image_url   text,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz,
    PRIMARY KEY (project_id, id)
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX products_source ON products (project_id, source_id);
CREATE UNIQUE INDEX products_created ON products (project_id, created_at);

CREATE TABLE skus (
    project_id  text NOT NULL,
    id          text NOT NULL,
    source_id   text,
    product_id  text NOT NULL,
    sku         text,
    price       bigint CHECK (price >= 0),
    currency    text,
    attributes  jsonb NOT NULL DEFAULT '{}',
    metadata    jsonb NOT NULL DEFAULT '{}',
    image_url   text,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz,
    PRIMARY KEY (project_id, id)
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX skus_source ON skus (project_id, source_id);
CREATE UNIQUE INDEX skus_created ON skus (project_id, created_at);
CREATE INDEX skus_product ON skus (project_id, product_id, created_at);

CREATE TABLE orders (
    project_id             text NOT NULL,
    id                     text NOT NULL,
    source_id              text,
    status                 text NOT NULL CHECK (status IN ('CREATED', 'PAID', 'CANCELED', 'FULFILLED')),
    customer_id            text,
    referrer_id            text,
    amount                 bigint NOT NULL CHECK (amount >= 0),
    total_amount           bigint NOT NULL CHECK (total_amount >= 0),
    -- as supplied; none where the request did not say
    initial_amount         bigint,
    discount_amount        bigint,
    -- sums over the items; none where an item has no amount, or no item has a discount
    items_amount           bigint,
    items_discount_amount  bigint,
    -- json, not jsonb: only stored and echoed, and its text tells whether it changed
    items                  json,
    metadata               jsonb NOT NULL DEFAULT '{}',
    -- when the order was really placed, from its metadata
    ordered_at             timestamptz,
    created_at             timestamptz NOT NULL,
    updated_at             timestamptz,
    PRIMARY KEY (project_id, id)
) WITH (fillfactor = 90);
CREATE UNIQUE INDEX orders_source ON orders (project_id, source_id);
CREATE UNIQUE INDEX orders_created ON orders (project_id, created_at);
-- the newest revenue of a customer, when the order that was the newest no longer is
CREATE INDEX orders_customer ON orders (project_id, customer_id, (coalesce(ordered_at, created_at)), created_at)
    WHERE customer_id IS NOT NULL AND status IN ('PAID', 'FULFILLED');

-- Without statistics on project_id the planner takes any project for half a percent of its table. With them it takes one
-- that is newer than they are for empty, and then reads all its rows where a key would find one.
ALTER TABLE customers ALTER COLUMN project_id SET STATISTICS 0;
ALTER TABLE products ALTER COLUMN project_id SET STATISTICS 0;
ALTER TABLE skus ALTER COLUMN project_id SET STATISTICS 0;
ALTER TABLE orders ALTER COLUMN project_id SET STATISTICS 0;
ALTER TABLE async_actions ALTER COLUMN project_id SET STATISTICS 0;
ALTER TABLE async_action_pieces ALTER COLUMN project_id SET STATISTICS 0;
ALTER TABLE async_action_failures ALTER COLUMN project_id SET STATISTICS 0;
ALTER TABLE lanes ALTER COLUMN project_id SET STATISTICS 0;

-- ---- segments ----------------------------------------------------------------------------------

-- Customers that changed, for the segment lane. Append-only, no key on the customer: one would make
-- writers wait for each other, or lose a change that arrives while the last one is being evaluated.
CREATE TABLE segment_inbox (
    project_id   text NOT NULL,
    seq          bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    customer_id  text NOT NULL,
    cause        text NOT NULL,
    silent       boolean NOT NULL DEFAULT false,
    PRIMARY KEY (project_id, seq)
);
ALTER TABLE segment_inbox ALTER COLUMN project_id SET STATISTICS 0;
