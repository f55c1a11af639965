-- The event log, its outbox, and lanes whose work is rows of such an outbox.

SET LOCAL lock_timeout = '4s';

-- What happened, for ever or for `events_days`. Append-only; a partition a month, made ahead by the workers, and one for
-- what no other takes. Read by customer, object, type, request and action, and by time.
CREATE TABLE events (
    project_id       text NOT NULL,
    id               text NOT NULL,
    created_at       timestamptz NOT NULL,
    type             text NOT NULL,
    -- what it happened to
    object_id        text NOT NULL,
    -- in whose Activity it is
    customer_id      text,
    -- somebody else whose data is in the payload
    referrer_id      text,
    campaign_id      text,
    -- json, not jsonb: stored and echoed
    data             json NOT NULL,
    -- who caused it: the channel, and the user or the key
    event_source     json NOT NULL,
    -- the request that caused it
    group_id         text NOT NULL,
    -- the bulk job that caused it
    async_action_id  text,
    -- how many events led to this one: 0 for those that a request or a job caused
    depth            smallint NOT NULL DEFAULT 0 CHECK (depth >= 0),
    PRIMARY KEY (project_id, id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX events_created ON events (project_id, created_at, id);
CREATE INDEX events_customer ON events (project_id, customer_id, created_at, id) WHERE customer_id IS NOT NULL;
CREATE INDEX events_referrer ON events (project_id, referrer_id) WHERE referrer_id IS NOT NULL;
CREATE INDEX events_object ON events (project_id, object_id, created_at, id);
CREATE INDEX events_type ON events (project_id, type, created_at, id);
CREATE INDEX events_group ON events (project_id, group_id, created_at, id);
CREATE INDEX events_action ON events (project_id, async_action_id, created_at, id) WHERE async_action_id IS NOT NULL;
ALTER TABLE events ALTER COLUMN project_id SET STATISTICS 0;
CREATE TABLE events_default PARTITION OF events DEFAULT;
ALTER TABLE events_default ALTER COLUMN project_id SET STATISTICS 0;

-- Events whose consequences are still to come. Append-only, and taken out in the transaction of the consequences. A
-- customer's events get their `seq` while the customer is locked, so they become visible in its order.
CREATE TABLE event_outbox (
    project_id        text NOT NULL,
    seq               bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    event_id          text NOT NULL,
    event_created_at  timestamptz NOT NULL,
    -- the transaction that wrote it: by it workers find lanes that got work
    accepted_xid      xid8 NOT NULL,
    PRIMARY KEY (project_id, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
ALTER TABLE event_outbox ALTER COLUMN project_id SET STATISTICS 0;
CREATE INDEX event_outbox_arrivals ON event_outbox (accepted_xid, project_id);

-- Events that no consequence could be drawn from, and why: the data refused it, or it stopped workers.
CREATE TABLE event_failures (
    project_id        text NOT NULL,
    event_id          text NOT NULL,
    event_created_at  timestamptz NOT NULL,
    reason            text NOT NULL,
    failed_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (project_id, event_id)
);
ALTER TABLE event_failures ALTER COLUMN project_id SET STATISTICS 0;
CREATE INDEX event_failures_kept ON event_failures (project_id, event_created_at);

-- How many events of each type have been worked off.
CREATE TABLE event_totals (
    project_id  text NOT NULL,
    type        text NOT NULL,
    total       bigint NOT NULL,
    PRIMARY KEY (project_id, type)
) WITH (fillfactor = 50);
ALTER TABLE event_totals ALTER COLUMN project_id SET STATISTICS 0;

-- Of a lane without actions: the start mark of its portion under way, how large the next may be, and how often a row
-- that was alone has stopped its worker.
ALTER TABLE lane_turns
    ADD COLUMN started_by text,
    ADD COLUMN portion_records integer,
    ADD COLUMN stops_alone integer NOT NULL DEFAULT 0;

-- All orders of a customer, those that are its revenue by date: for the newest of them, and for deleting a customer.
DROP INDEX orders_customer;
CREATE INDEX orders_customer ON orders
    (project_id, customer_id, (status IN ('PAID', 'FULFILLED')), (coalesce(ordered_at, created_at)), created_at)
    WHERE customer_id IS NOT NULL;
CREATE INDEX orders_referrer ON orders (project_id, referrer_id) WHERE referrer_id IS NOT NULL;

-- Those in the bin too: a customer that is deleted holds no voucher.
DROP INDEX vouchers_holder;
CREATE INDEX vouchers_holder ON vouchers (project_id, holder_id, created_at) INCLUDE (binned_at)
    WHERE holder_id IS NOT NULL;

-- Customers that were deleted for good, personal data and all: there is none in here.
CREATE TABLE customer_deletions (
    project_id   text NOT NULL,
    id           text NOT NULL,
    customer_id  text NOT NULL,
    created_at   timestamptz NOT NULL,
    -- how many rows went with it, by their kinds
    deleted      jsonb NOT NULL,
    PRIMARY KEY (project_id, id)
);
ALTER TABLE customer_deletions ALTER COLUMN project_id SET STATISTICS 0;

-- The bin of the catalogue: what is in it answers nobody, and still has its id and its source id. Lists pass over it.
ALTER TABLE products ADD COLUMN binned_at timestamptz;
ALTER TABLE skus ADD COLUMN binned_at timestamptz;
DROP INDEX skus_product;
CREATE INDEX skus_product ON skus (project_id, product_id, created_at) INCLUDE (binned_at);

-- The custom events of a project: their names, and what their metadata may be. See metadata_schemas.
CREATE TABLE custom_event_schemas (
    project_id  text NOT NULL,
    id          text NOT NULL,
    name        text NOT NULL,
    properties  jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz,
    PRIMARY KEY (project_id, id)
);
CREATE UNIQUE INDEX custom_event_schemas_name ON custom_event_schemas (project_id, name);
ALTER TABLE custom_event_schemas ALTER COLUMN project_id SET STATISTICS 0;
