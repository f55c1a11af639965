-- The schema that all migrations together make. Written by `python -m tests.house.schema`, never by hand;
-- a test proves that it is so. Not run by anything: a new database is made by the migrations.

CREATE TABLE api_keys (
    app_id text NOT NULL,
    project_id text,
    kind text NOT NULL,
    name text NOT NULL,
    token_hash bytea NOT NULL,
    blocked boolean NOT NULL DEFAULT false,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT api_keys_pkey PRIMARY KEY (app_id),
    CONSTRAINT api_keys_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects(id) ON DELETE CASCADE,
    CONSTRAINT api_keys_check CHECK (((kind = 'management'::text) = (project_id IS NULL))),
    CONSTRAINT api_keys_kind_check CHECK ((kind = ANY (ARRAY['server'::text, 'client'::text, 'management'::text]))),
    CONSTRAINT api_keys_token_hash_check CHECK ((length(token_hash) = 32))
);
CREATE INDEX api_keys_project ON api_keys USING btree (project_id);

CREATE TABLE async_action_cancels (
    project_id text NOT NULL STATISTICS 0,
    lane text NOT NULL,
    action_id text NOT NULL,
    requested_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT async_action_cancels_pkey PRIMARY KEY (project_id, lane, action_id)
);

CREATE TABLE async_action_effects (
    project_id text NOT NULL STATISTICS 0,
    action_id text NOT NULL,
    segment_id text NOT NULL,
    entered bigint NOT NULL,
    left bigint NOT NULL,
    CONSTRAINT async_action_effects_pkey PRIMARY KEY (project_id, action_id, segment_id)
) WITH (fillfactor=50);

CREATE TABLE async_action_failures (
    project_id text NOT NULL STATISTICS 0,
    action_id text NOT NULL,
    record integer NOT NULL,
    source_id text,
    reason text NOT NULL,
    body bytea NOT NULL,
    CONSTRAINT async_action_failures_pkey PRIMARY KEY (project_id, action_id, record),
    CONSTRAINT async_action_failures_project_id_action_id_fkey FOREIGN KEY (project_id, action_id) REFERENCES async_actions(project_id, id) ON DELETE CASCADE
);

CREATE TABLE async_action_pieces (
    project_id text NOT NULL STATISTICS 0,
    action_id text NOT NULL,
    first_record integer NOT NULL,
    records integer NOT NULL,
    body bytea NOT NULL STORAGE EXTERNAL,
    CONSTRAINT async_action_pieces_pkey PRIMARY KEY (project_id, action_id, first_record),
    CONSTRAINT async_action_pieces_project_id_action_id_fkey FOREIGN KEY (project_id, action_id) REFERENCES async_actions(project_id, id) ON DELETE CASCADE,
    CONSTRAINT async_action_pieces_records_check CHECK ((records > 0))
);

CREATE TABLE async_action_reports (
    project_id text NOT NULL STATISTICS 0,
    action_id text NOT NULL,
    first_record integer NOT NULL,
    records integer NOT NULL,
    body bytea NOT NULL,
    CONSTRAINT async_action_reports_pkey PRIMARY KEY (project_id, action_id, first_record),
    CONSTRAINT async_action_reports_project_id_action_id_fkey FOREIGN KEY (project_id, action_id) REFERENCES async_actions(project_id, id) ON DELETE CASCADE,
    CONSTRAINT async_action_reports_records_check CHECK ((records > 0))
);

CREATE TABLE async_actions (
    project_id text NOT NULL STATISTICS 0,
    id text NOT NULL,
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    type text NOT NULL,
    lane text NOT NULL,
    status text NOT NULL DEFAULT 'ENQUEUED'::text,
    operation_status text NOT NULL DEFAULT 'UNKNOWN'::text,
    request_id text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    records_total integer NOT NULL,
    records_next integer NOT NULL DEFAULT 0,
    records_done integer NOT NULL DEFAULT 0,
    records_failed integer NOT NULL DEFAULT 0,
    counts jsonb NOT NULL DEFAULT '{}'::jsonb,
    portion_records integer NOT NULL,
    started_by text,
    stops_alone integer NOT NULL DEFAULT 0,
    result jsonb,
    dry_run boolean NOT NULL DEFAULT false,
    cursor jsonb,
    emptied_at timestamp with time zone,
    payload_deleted_at timestamp with time zone,
    parameters jsonb,
    job_turn bigint NOT NULL DEFAULT 0,
    accepted_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    report_deleted_at timestamp with time zone,
    CONSTRAINT async_actions_pkey PRIMARY KEY (project_id, id),
    CONSTRAINT async_actions_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects(id) ON DELETE CASCADE,
    CONSTRAINT async_actions_check CHECK (((records_next >= 0) AND (records_next <= records_total))),
    CONSTRAINT async_actions_check1 CHECK (((finished_at IS NOT NULL) = (status = ANY (ARRAY['DONE'::text, 'FAILED'::text])))),
    CONSTRAINT async_actions_check2 CHECK (((finished_at IS NULL) = (operation_status = 'UNKNOWN'::text))),
    CONSTRAINT async_actions_check3 CHECK (((records_done + records_failed) = records_next)),
    CONSTRAINT async_actions_lane_check CHECK ((lane = ANY (ARRAY['fifo'::text, 'round_robin'::text, 'segments'::text, 'reactions'::text]))),
    CONSTRAINT async_actions_operation_status_check CHECK ((operation_status = ANY (ARRAY['SUCCESS'::text, 'FAILED'::text, 'UNKNOWN'::text]))),
    CONSTRAINT async_actions_portion_records_check CHECK ((portion_records >= 1)),
    CONSTRAINT async_actions_records_done_check CHECK ((records_done >= 0)),
    CONSTRAINT async_actions_records_failed_check CHECK ((records_failed >= 0)),
    CONSTRAINT async_actions_records_total_check CHECK ((records_total >= 0)),
    CONSTRAINT async_actions_status_check CHECK ((status = ANY (ARRAY['ENQUEUED'::text, 'IN_PROGRESS'::text, 'DONE'::text, 'FAILED'::text])))
) WITH (fillfactor=50, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_threshold=500);
CREATE INDEX async_actions_arrivals ON async_actions USING btree (accepted_xid) WHERE (finished_at IS NULL);
CREATE UNIQUE INDEX async_actions_created ON async_actions USING btree (project_id, created_at);
CREATE INDEX async_actions_kept ON async_actions USING btree (project_id, finished_at) WHERE ((finished_at IS NOT NULL) AND (emptied_at IS NULL));
CREATE INDEX async_actions_payload_kept ON async_actions USING btree (project_id, finished_at) WHERE ((finished_at IS NOT NULL) AND (payload_deleted_at IS NULL));
CREATE INDEX async_actions_report_kept ON async_actions USING btree (project_id, finished_at) WHERE ((finished_at IS NOT NULL) AND (report_deleted_at IS NULL));
CREATE INDEX async_actions_under_way ON async_actions USING btree (project_id, lane, job_turn) WHERE ((finished_at IS NULL) AND (started_at IS NOT NULL));
CREATE INDEX async_actions_waiting ON async_actions USING btree (project_id, lane, seq) WHERE ((finished_at IS NULL) AND (started_at IS NULL));

CREATE TABLE campaign_jobs (
    project_id text NOT NULL STATISTICS 0,
    campaign_id text NOT NULL,
    action_id text NOT NULL,
    type text NOT NULL,
    vouchers integer NOT NULL DEFAULT 0,
    succeeded boolean,
    CONSTRAINT campaign_jobs_pkey PRIMARY KEY (project_id, campaign_id, action_id)
) WITH (fillfactor=85);

CREATE TABLE campaigns (
    project_id text NOT NULL STATISTICS 0,
    id text NOT NULL,
    name text NOT NULL,
    description text,
    campaign_type text NOT NULL,
    type text NOT NULL,
    voucher jsonb NOT NULL,
    auto_join boolean NOT NULL DEFAULT false,
    join_once boolean NOT NULL DEFAULT false,
    use_voucher_metadata_schema boolean NOT NULL DEFAULT false,
    start_date timestamp with time zone,
    expiration_date timestamp with time zone,
    validity_timeframe jsonb,
    validity_day_of_week jsonb,
    validity_hours jsonb,
    activity_duration_after_publishing text,
    category text,
    active boolean NOT NULL DEFAULT true,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone,
    binned_at timestamp with time zone,
    CONSTRAINT campaigns_pkey PRIMARY KEY (project_id, id),
    CONSTRAINT campaigns_type_check CHECK ((type = ANY (ARRAY['AUTO_UPDATE'::text, 'STATIC'::text, 'STANDALONE'::text])))
) WITH (fillfactor=85);
CREATE UNIQUE INDEX campaigns_created ON campaigns USING btree (project_id, created_at);
CREATE UNIQUE INDEX campaigns_name ON campaigns USING btree (project_id, name);
CREATE INDEX campaigns_updated ON campaigns USING btree (project_id, COALESCE(updated_at, created_at), created_at) INCLUDE (updated_at);

CREATE TABLE custom_event_schemas (
    project_id text NOT NULL STATISTICS 0,
    id text NOT NULL,
    name text NOT NULL,
    properties jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone,
    CONSTRAINT custom_event_schemas_pkey PRIMARY KEY (project_id, id)
);
CREATE UNIQUE INDEX custom_event_schemas_name ON custom_event_schemas USING btree (project_id, name);

CREATE TABLE custom_event_totals (
    project_id text NOT NULL STATISTICS 0,
    customer_id text NOT NULL,
    event text NOT NULL,
    total bigint NOT NULL,
    last_occurred_at timestamp with time zone NOT NULL,
    CONSTRAINT custom_event_totals_pkey PRIMARY KEY (project_id, customer_id, event)
) WITH (fillfactor=85);

CREATE TABLE customer_deletions (
    project_id text NOT NULL STATISTICS 0,
    id text NOT NULL,
    customer_id text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    deleted jsonb NOT NULL,
    CONSTRAINT customer_deletions_pkey PRIMARY KEY (project_id, id)
);

CREATE TABLE customers (
    project_id text NOT NULL STATISTICS 0,
    id text NOT NULL,
    source_id text,
    name text,
    description text,
    email text,
    phone text,
    birthdate date,
    birthday date,
    address jsonb,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone,
    orders_total_amount bigint NOT NULL DEFAULT 0,
    orders_total_count bigint NOT NULL DEFAULT 0,
    orders_last_id text,
    orders_last_amount bigint,
    orders_last_date timestamp with time zone,
    async_action_id text,
    CONSTRAINT customers_pkey PRIMARY KEY (project_id, id),
    CONSTRAINT customers_orders_total_amount_check CHECK ((orders_total_amount >= 0)),
    CONSTRAINT customers_orders_total_count_check CHECK ((orders_total_count >= 0))
) WITH (fillfactor=85);
CREATE INDEX customers_city ON customers USING btree (project_id, "left"((address ->> 'city'::text), 60), created_at) WHERE ((address ->> 'city'::text) IS NOT NULL);
CREATE UNIQUE INDEX customers_created ON customers USING btree (project_id, created_at);
CREATE INDEX customers_email ON customers USING btree (project_id, email, created_at) WHERE (email IS NOT NULL);
CREATE INDEX customers_name ON customers USING btree (project_id, "left"(name, 60), created_at) WHERE (name IS NOT NULL);
CREATE UNIQUE INDEX customers_source ON customers USING btree (project_id, source_id);
CREATE INDEX customers_unnamed ON customers USING btree (project_id, created_at) WHERE (source_id IS NULL);
CREATE INDEX customers_updated ON customers USING btree (project_id, COALESCE(updated_at, created_at), created_at) INCLUDE (updated_at);

CREATE TABLE event_failures (
    project_id text NOT NULL STATISTICS 0,
    event_id text NOT NULL,
    event_created_at timestamp with time zone NOT NULL,
    reason text NOT NULL,
    failed_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT event_failures_pkey PRIMARY KEY (project_id, event_id)
);
CREATE INDEX event_failures_kept ON event_failures USING btree (project_id, event_created_at);

CREATE TABLE event_outbox (
    project_id text NOT NULL STATISTICS 0,
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    event_id text NOT NULL,
    event_created_at timestamp with time zone NOT NULL,
    accepted_xid xid8 NOT NULL,
    CONSTRAINT event_outbox_pkey PRIMARY KEY (project_id, seq)
) WITH (autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_threshold=1000);
CREATE INDEX event_outbox_arrivals ON event_outbox USING btree (accepted_xid, project_id);

CREATE TABLE event_totals (
    project_id text NOT NULL STATISTICS 0,
    type text NOT NULL,
    total bigint NOT NULL,
    CONSTRAINT event_totals_pkey PRIMARY KEY (project_id, type)
) WITH (fillfactor=50);

CREATE TABLE events (
    project_id text NOT NULL STATISTICS 0,
    id text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    type text NOT NULL,
    object_id text NOT NULL,
    customer_id text,
    referrer_id text,
    campaign_id text,
    data json NOT NULL,
    event_source json NOT NULL,
    group_id text NOT NULL,
    async_action_id text,
    depth smallint NOT NULL DEFAULT 0,
    CONSTRAINT events_pkey PRIMARY KEY (project_id, id, created_at),
    CONSTRAINT events_depth_check CHECK ((depth >= 0))
);
CREATE INDEX events_action ON ONLY events USING btree (project_id, async_action_id, created_at, id) WHERE (async_action_id IS NOT NULL);
CREATE INDEX events_created ON ONLY events USING btree (project_id, created_at, id);
CREATE INDEX events_customer ON ONLY events USING btree (project_id, customer_id, created_at, id) WHERE (customer_id IS NOT NULL);
CREATE INDEX events_group ON ONLY events USING btree (project_id, group_id, created_at, id);
CREATE INDEX events_object ON ONLY events USING btree (project_id, object_id, created_at, id);
CREATE INDEX events_referrer ON ONLY events USING btree (project_id, referrer_id) WHERE (referrer_id IS NOT NULL);
CREATE INDEX events_type ON ONLY events USING btree (project_id, type, created_at, id);

CREATE TABLE events_default (
    project_id text NOT NULL STATISTICS 0,
    id text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    type text NOT NULL,
    object_id text NOT NULL,
    customer_id text,
    referrer_id text,
    campaign_id text,
    data json NOT NULL,
    event_source json NOT NULL,
    group_id text NOT NULL,
    async_action_id text,
    depth smallint NOT NULL DEFAULT 0,
    CONSTRAINT events_default_pkey PRIMARY KEY (project_id, id, created_at),
    CONSTRAINT events_depth_check CHECK ((depth >= 0))
);
CREATE INDEX events_default_project_id_async_action_id_created_at_id_idx ON events_default USING btree (project_id, async_action_id, created_at, id) WHERE (async_action_id IS NOT NULL);
CREATE INDEX events_default_project_id_created_at_id_idx ON events_default USING btree (project_id, created_at, id);
CREATE INDEX events_default_project_id_customer_id_created_at_id_idx ON events_default USING btree (project_id, customer_id, created_at, id) WHERE (customer_id IS NOT NULL);
CREATE INDEX events_default_project_id_group_id_created_at_id_idx ON events_default USING btree (project_id, group_id, created_at, id);
CREATE INDEX events_default_project_id_object_id_created_at_id_idx ON events_default USING btree (project_id, object_id, created_at, id);
CREATE INDEX events_default_project_id_referrer_id_idx ON events_default USING btree (project_id, referrer_id) WHERE (referrer_id IS NOT NULL);
CREATE INDEX events_default_project_id_type_created_at_id_idx ON events_default USING btree (project_id, type, created_at, id);

CREATE TABLE idempotency_keys (
    project_id text NOT NULL STATISTICS 0,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    answer bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (project_id, key),
    CONSTRAINT idempotency_keys_fingerprint_check CHECK ((length(fingerprint) = 32))
);
CREATE INDEX idempotency_keys_created ON idempotency_keys USING btree (project_id, created_at);

CREATE TABLE lane_pauses (
    project_id text NOT NULL STATISTICS 0,
    lane text NOT NULL,
    paused_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT lane_pauses_pkey PRIMARY KEY (project_id, lane),
    CONSTRAINT lane_pauses_lane_check CHECK ((lane = ANY (ARRAY['fifo'::text, 'round_robin'::text, 'segments'::text, 'reactions'::text])))
);

CREATE TABLE lane_turns (
    project_id text NOT NULL STATISTICS 0,
    lane text NOT NULL,
    turn bigint NOT NULL,
    served_at timestamp with time zone NOT NULL,
    record_us double precision,
    job_turn_floor bigint NOT NULL,
    job_turn_next bigint NOT NULL,
    seq_floor bigint NOT NULL,
    seq_floor_next bigint NOT NULL,
    seq_floor_next_xid xid8 NOT NULL,
    started_by text,
    portion_records integer,
    stops_alone integer NOT NULL DEFAULT 0,
    CONSTRAINT lane_turns_pkey PRIMARY KEY (project_id, lane, turn),
    CONSTRAINT lane_turns_lane_check CHECK ((lane = ANY (ARRAY['fifo'::text, 'round_robin'::text, 'segments'::text, 'reactions'::text])))
) WITH (autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_threshold=500);

CREATE TABLE metadata_schemas (
    project_id text NOT NULL STATISTICS 0,
    id text NOT NULL,
    related_object text NOT NULL,
    properties jsonb NOT NULL DEFAULT '{}'::jsonb,
    allow_defined_only boolean NOT NULL DEFAULT false,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone,
    CONSTRAINT metadata_schemas_pkey PRIMARY KEY (project_id, id)
);
CREATE UNIQUE INDEX metadata_schemas_object ON metadata_schemas USING btree (project_id, related_object);

CREATE TABLE orders (
    project_id text NOT NULL STATISTICS 0,
    id text NOT NULL,
    source_id text,
    status text NOT NULL,
    customer_id text,
    referrer_id text,
    amount bigint NOT NULL,
    total_amount bigint NOT NULL,
    initial_amount bigint,
    discount_amount bigint,
    items_amount bigint,
    items_discount_amount bigint,
    items json,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    ordered_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone,
    async_action_id text,
    CONSTRAINT orders_pkey PRIMARY KEY (project_id, id),
    CONSTRAINT orders_amount_check CHECK ((amount >= 0)),
    CONSTRAINT orders_status_check CHECK ((status = ANY (ARRAY['CREATED'::text, 'PAID'::text, 'CANCELED'::text, 'FULFILLED'::text]))),
    CONSTRAINT orders_total_amount_check CHECK ((total_amount >= 0))
) WITH (fillfactor=90);
CREATE UNIQUE INDEX orders_created ON orders USING btree (project_id, created_at);
CREATE INDEX orders_customer ON orders USING btree (project_id, customer_id, ((status = ANY (ARRAY['PAID'::text, 'FULFILLED'::text]))), COALESCE(ordered_at, created_at), created_at) WHERE (customer_id IS NOT NULL);
CREATE INDEX orders_placed ON orders USING btree (project_id, COALESCE(ordered_at, created_at), created_at) INCLUDE (ordered_at);
CREATE INDEX orders_referrer ON orders USING btree (project_id, referrer_id) WHERE (referrer_id IS NOT NULL);
CREATE UNIQUE INDEX orders_source ON orders USING btree (project_id, source_id);
CREATE INDEX orders_updated ON orders USING btree (project_id, COALESCE(updated_at, created_at), created_at) INCLUDE (updated_at);

CREATE TABLE products (
    project_id text NOT NULL STATISTICS 0,
    id text NOT NULL,
    source_id text,
    name text,
    price bigint,
    attributes jsonb NOT NULL DEFAULT '[]'::jsonb,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    image_url text,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone,
    binned_at timestamp with time zone,
    CONSTRAINT products_pkey PRIMARY KEY (project_id, id),
    CONSTRAINT products_price_check CHECK ((price >= 0))
) WITH (fillfactor=85);
CREATE UNIQUE INDEX products_created ON products USING btree (project_id, created_at);
CREATE UNIQUE INDEX products_source ON products USING btree (project_id, source_id);
CREATE INDEX products_updated ON products USING btree (project_id, COALESCE(updated_at, created_at), created_at) INCLUDE (updated_at);

CREATE TABLE projects (
    id text NOT NULL,
    name text NOT NULL,
    timezone text NOT NULL DEFAULT 'UTC'::text,
    ordered_at_key text NOT NULL DEFAULT 'ordered_at'::text,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    case_sensitive_codes boolean NOT NULL DEFAULT true,
    CONSTRAINT projects_pkey PRIMARY KEY (id)
);

CREATE TABLE row_totals (
    project_id text NOT NULL STATISTICS 0,
    resource text NOT NULL,
    slot smallint NOT NULL,
    total bigint NOT NULL,
    CONSTRAINT row_totals_pkey PRIMARY KEY (project_id, resource, slot)
) WITH (fillfactor=50, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_threshold=500);

CREATE TABLE segment_clocks (
    project_id text NOT NULL STATISTICS 0,
    due_at timestamp with time zone NOT NULL,
    CONSTRAINT segment_clocks_pkey PRIMARY KEY (project_id)
) WITH (fillfactor=50, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_threshold=500);
CREATE INDEX segment_clocks_due ON segment_clocks USING btree (due_at, project_id);

CREATE TABLE segment_due (
    project_id text NOT NULL STATISTICS 0,
    customer_id text NOT NULL,
    due_at timestamp with time zone NOT NULL,
    CONSTRAINT segment_due_pkey PRIMARY KEY (project_id, customer_id)
) WITH (fillfactor=85);
CREATE INDEX segment_due_at ON segment_due USING btree (project_id, due_at, customer_id);

CREATE TABLE segment_failures (
    project_id text NOT NULL STATISTICS 0,
    seq bigint NOT NULL,
    task text NOT NULL,
    customer_id text,
    segment_id text,
    reason text NOT NULL,
    failed_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT segment_failures_pkey PRIMARY KEY (project_id, seq)
);

CREATE TABLE segment_inbox (
    project_id text NOT NULL STATISTICS 0,
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    customer_id text,
    cause text NOT NULL,
    silent boolean NOT NULL DEFAULT false,
    task text NOT NULL DEFAULT 'place'::text,
    segment_id text,
    revision integer,
    reached text,
    enters text[],
    leaves text[],
    group_id text,
    async_action_id text,
    depth smallint NOT NULL DEFAULT 0,
    accepted_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    accepted_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT segment_inbox_pkey PRIMARY KEY (project_id, seq),
    CONSTRAINT segment_inbox_check CHECK (((customer_id IS NOT NULL) = (task = 'place'::text))),
    CONSTRAINT segment_inbox_check1 CHECK (((segment_id IS NOT NULL) = (task = ANY (ARRAY['populate'::text, 'forget'::text, 'count'::text])))),
    CONSTRAINT segment_inbox_task_check CHECK ((task = ANY (ARRAY['place'::text, 'populate'::text, 'clock'::text, 'everybody'::text, 'forget'::text, 'count'::text])))
) WITH (autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_threshold=1000);
CREATE INDEX segment_inbox_action ON segment_inbox USING btree (project_id, async_action_id) WHERE (async_action_id IS NOT NULL);
CREATE INDEX segment_inbox_arrivals ON segment_inbox USING btree (accepted_xid, project_id);
CREATE INDEX segment_inbox_silent ON segment_inbox USING btree (project_id, customer_id, seq) WHERE silent;

CREATE TABLE segment_members (
    project_id text NOT NULL STATISTICS 0,
    segment_id text NOT NULL,
    customer_id text NOT NULL,
    customer_created_at timestamp with time zone NOT NULL,
    entered_at timestamp with time zone NOT NULL,
    async_action_id text,
    CONSTRAINT segment_members_pkey PRIMARY KEY (project_id, segment_id, customer_id)
);
CREATE INDEX segment_members_customer ON segment_members USING btree (project_id, customer_id, segment_id);
CREATE INDEX segment_members_listed ON segment_members USING btree (project_id, segment_id, customer_created_at) WHERE (customer_created_at > '-infinity'::timestamp with time zone);

CREATE TABLE segment_summaries (
    project_id text NOT NULL STATISTICS 0,
    segment_id text NOT NULL,
    revision integer NOT NULL,
    populated_to text,
    populate_until text,
    members bigint NOT NULL DEFAULT 0,
    counted_on date,
    entered bigint NOT NULL DEFAULT 0,
    left bigint NOT NULL DEFAULT 0,
    changed_at timestamp with time zone,
    CONSTRAINT segment_summaries_pkey PRIMARY KEY (project_id, segment_id)
) WITH (fillfactor=50, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_threshold=500);

CREATE TABLE segments (
    project_id text NOT NULL STATISTICS 0,
    id text NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    filter json,
    revision integer NOT NULL DEFAULT 1,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone,
    CONSTRAINT segments_pkey PRIMARY KEY (project_id, id),
    CONSTRAINT segments_check CHECK (((filter IS NULL) = (type = 'static'::text))),
    CONSTRAINT segments_type_check CHECK ((type = ANY (ARRAY['static'::text, 'passive'::text, 'auto-update'::text])))
);
CREATE UNIQUE INDEX segments_created ON segments USING btree (project_id, created_at);

CREATE TABLE skus (
    project_id text NOT NULL STATISTICS 0,
    id text NOT NULL,
    source_id text,
    product_id text NOT NULL,
    sku text,
    price bigint,
    currency text,
    attributes jsonb NOT NULL DEFAULT '{}'::jsonb,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    image_url text,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone,
    binned_at timestamp with time zone,
    CONSTRAINT skus_pkey PRIMARY KEY (project_id, id),
    CONSTRAINT skus_price_check CHECK ((price >= 0))
) WITH (fillfactor=85);
CREATE UNIQUE INDEX skus_created ON skus USING btree (project_id, created_at);
CREATE INDEX skus_product ON skus USING btree (project_id, product_id, created_at) INCLUDE (binned_at);
CREATE UNIQUE INDEX skus_source ON skus USING btree (project_id, source_id);
CREATE INDEX skus_updated ON skus USING btree (project_id, product_id, COALESCE(updated_at, created_at), created_at) INCLUDE (updated_at);

CREATE TABLE vouchers (
    project_id text NOT NULL STATISTICS 0,
    id text NOT NULL,
    code text NOT NULL,
    code_key text NOT NULL,
    campaign_id text,
    type text NOT NULL,
    discount jsonb,
    gift jsonb,
    loyalty_card jsonb,
    category text,
    start_date timestamp with time zone,
    expiration_date timestamp with time zone,
    validity_timeframe jsonb,
    validity_day_of_week jsonb,
    validity_hours jsonb,
    active boolean NOT NULL DEFAULT true,
    additional_info text,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    is_referral_code boolean NOT NULL DEFAULT false,
    redemption_quantity integer,
    redeemed_quantity integer NOT NULL DEFAULT 0,
    redeemed_amount bigint NOT NULL DEFAULT 0,
    published_count integer NOT NULL DEFAULT 0,
    holder_id text,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone,
    binned_at timestamp with time zone,
    CONSTRAINT vouchers_pkey PRIMARY KEY (project_id, id),
    CONSTRAINT vouchers_published_count_check CHECK ((published_count >= 0)),
    CONSTRAINT vouchers_redeemed_amount_check CHECK ((redeemed_amount >= 0)),
    CONSTRAINT vouchers_redeemed_quantity_check CHECK ((redeemed_quantity >= 0)),
    CONSTRAINT vouchers_redemption_quantity_check CHECK ((redemption_quantity >= 0)),
    CONSTRAINT vouchers_type_check CHECK ((type = ANY (ARRAY['DISCOUNT_VOUCHER'::text, 'GIFT_VOUCHER'::text, 'LOYALTY_CARD'::text])))
) WITH (fillfactor=85);
CREATE INDEX vouchers_campaign ON vouchers USING btree (project_id, campaign_id, created_at) INCLUDE (binned_at) WHERE (campaign_id IS NOT NULL);
CREATE INDEX vouchers_category ON vouchers USING btree (project_id, category, created_at) WHERE ((category IS NOT NULL) AND (binned_at IS NULL));
CREATE UNIQUE INDEX vouchers_code ON vouchers USING btree (project_id, code_key) INCLUDE (binned_at);
CREATE UNIQUE INDEX vouchers_created ON vouchers USING btree (project_id, created_at) WHERE (binned_at IS NULL);
CREATE INDEX vouchers_holder ON vouchers USING btree (project_id, holder_id, created_at) INCLUDE (binned_at) WHERE (holder_id IS NOT NULL);
CREATE INDEX vouchers_updated ON vouchers USING btree (project_id, COALESCE(updated_at, created_at), created_at) INCLUDE (updated_at) WHERE (binned_at IS NULL);

CREATE TABLE workers (
    id text NOT NULL,
    backend_pid integer NOT NULL,
    backend_start timestamp with time zone NOT NULL,
    started_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    trouble text,
    CONSTRAINT workers_pkey PRIMARY KEY (id)
) WITH (fillfactor=50, autovacuum_vacuum_threshold=50, autovacuum_vacuum_scale_factor=0);
