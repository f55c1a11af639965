-- Segments, who is in them, and what the segments lane works off; which bulk job changed what.

SET LOCAL lock_timeout = '4s';

-- Written by requests alone. `revision` counts the filters it has had.
CREATE TABLE segments (
    project_id  text NOT NULL,
    id          text NOT NULL,
    name        text NOT NULL,
    type        text NOT NULL CHECK (type IN ('static', 'passive', 'auto-update')),
    -- json, not jsonb: stored and echoed
    filter      json CHECK ((filter IS NULL) = (type = 'static')),
    revision    integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz,
    PRIMARY KEY (project_id, id)
);
ALTER TABLE segments ALTER COLUMN project_id SET STATISTICS 0;
CREATE UNIQUE INDEX segments_created ON segments (project_id, created_at);

-- Written by the segments lane alone, but for the first row of each. Customers are placed by the filter of `revision`
-- up to and with `populated_to`, and those behind `populate_until`, who came later; with neither, all are.
CREATE TABLE segment_summaries (
    project_id      text NOT NULL,
    segment_id      text NOT NULL,
    revision        integer NOT NULL,
    populated_to    text,
    populate_until  text,
    members         bigint NOT NULL DEFAULT 0,
    -- the day, in the project's time zone, that the next two count on
    counted_on      date,
    entered         bigint NOT NULL DEFAULT 0,
    "left"          bigint NOT NULL DEFAULT 0,
    changed_at      timestamptz,
    PRIMARY KEY (project_id, segment_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);
ALTER TABLE segment_summaries ALTER COLUMN project_id SET STATISTICS 0;

-- Who is in a segment, since when, and by which bulk job. Written by the segments lane; of a static segment, by the
-- request that makes it. The customer's creation, so that an index has members in the order of lists.
CREATE TABLE segment_members (
    project_id           text NOT NULL,
    segment_id           text NOT NULL,
    customer_id          text NOT NULL,
    customer_created_at  timestamptz NOT NULL,
    entered_at           timestamptz NOT NULL,
    async_action_id      text,
    PRIMARY KEY (project_id, segment_id, customer_id)
);
ALTER TABLE segment_members ALTER COLUMN project_id SET STATISTICS 0;
CREATE INDEX segment_members_customer ON segment_members (project_id, customer_id, segment_id);
-- Conditional, so that it is used by lists alone, which say so: to a planner that knows nothing of the table it is as good as
-- the primary key for finding members.
CREATE INDEX segment_members_listed ON segment_members (project_id, segment_id, customer_created_at)
    WHERE customer_created_at > '-infinity';

-- Customers whom a filter that depends on the date may place elsewhere from a moment on.
CREATE TABLE segment_due (
    project_id   text NOT NULL,
    customer_id  text NOT NULL,
    due_at       timestamptz NOT NULL,
    PRIMARY KEY (project_id, customer_id)
) WITH (fillfactor = 85);
ALTER TABLE segment_due ALTER COLUMN project_id SET STATISTICS 0;
CREATE INDEX segment_due_at ON segment_due (project_id, due_at, customer_id);

-- The first of these moments of a project: by it workers find lanes whose time has come. None is further away.
CREATE TABLE segment_clocks (
    project_id  text NOT NULL,
    due_at      timestamptz NOT NULL,
    PRIMARY KEY (project_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);
ALTER TABLE segment_clocks ALTER COLUMN project_id SET STATISTICS 0;
CREATE INDEX segment_clocks_due ON segment_clocks (due_at, project_id);

-- What waits was of no use as long as there were no segments. A row asks for a customer to be placed, or for a task:
-- to populate a segment, to place customers whose time has come, to place everybody, to forget a segment, to count its
-- members.
TRUNCATE segment_inbox;
ALTER TABLE segment_inbox
    ALTER COLUMN customer_id DROP NOT NULL,
    ADD COLUMN task text NOT NULL DEFAULT 'place' CHECK (task IN ('place', 'populate', 'clock', 'everybody', 'forget', 'count')),
    ADD COLUMN segment_id text,
    ADD COLUMN revision integer,
    -- of a task that walks customers: the last one it has been at
    ADD COLUMN reached text,
    -- of a silent change: the active segments that it put the customer into, and took it out of, when it was made
    ADD COLUMN enters text[],
    ADD COLUMN leaves text[],
    -- the request or the bulk job that caused it, and how many events led to it
    ADD COLUMN group_id text,
    ADD COLUMN async_action_id text,
    ADD COLUMN depth smallint NOT NULL DEFAULT 0,
    ADD COLUMN accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- the transaction that wrote it: by it workers find lanes that got work
    ADD COLUMN accepted_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ADD CHECK ((customer_id IS NOT NULL) = (task = 'place')),
    ADD CHECK ((segment_id IS NOT NULL) = (task IN ('populate', 'forget', 'count')));
ALTER TABLE segment_inbox SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
CREATE INDEX segment_inbox_arrivals ON segment_inbox (accepted_xid, project_id);
CREATE INDEX segment_inbox_silent ON segment_inbox (project_id, customer_id, seq) WHERE silent;
CREATE INDEX segment_inbox_action ON segment_inbox (project_id, async_action_id) WHERE async_action_id IS NOT NULL;

-- Rows of the inbox that could not be worked off, and why: the data refused it, or it stopped workers.
CREATE TABLE segment_failures (
    project_id   text NOT NULL,
    seq          bigint NOT NULL,
    task         text NOT NULL,
    customer_id  text,
    segment_id   text,
    reason       text NOT NULL,
    failed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (project_id, seq)
);
ALTER TABLE segment_failures ALTER COLUMN project_id SET STATISTICS 0;

-- What a bulk job led to in segments.
CREATE TABLE async_action_effects (
    project_id  text NOT NULL,
    action_id   text NOT NULL,
    segment_id  text NOT NULL,
    entered     bigint NOT NULL,
    "left"      bigint NOT NULL,
    PRIMARY KEY (project_id, action_id, segment_id)
) WITH (fillfactor = 50);
ALTER TABLE async_action_effects ALTER COLUMN project_id SET STATISTICS 0;

-- The bulk job that wrote them last; none after a request.
ALTER TABLE orders ADD COLUMN async_action_id text;
ALTER TABLE customers ADD COLUMN async_action_id text;

-- How often each custom event happened to a customer, and when last: events are not kept for ever.
CREATE TABLE custom_event_totals (
    project_id        text NOT NULL,
    customer_id       text NOT NULL,
    event             text NOT NULL,
    total             bigint NOT NULL,
    last_occurred_at  timestamptz NOT NULL,
    PRIMARY KEY (project_id, customer_id, event)
) WITH (fillfactor = 85);
ALTER TABLE custom_event_totals ALTER COLUMN project_id SET STATISTICS 0;
INSERT INTO custom_event_totals (project_id, customer_id, event, total, last_occurred_at)
SELECT project_id, customer_id, data -> 'event' ->> 'type', count(*), max(created_at)
  FROM events
 WHERE type = 'customer.custom_event' AND customer_id IS NOT NULL
 GROUP BY project_id, customer_id, data -> 'event' ->> 'type';
