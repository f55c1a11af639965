-- What the complete queue needs: turns of lanes and of jobs, cancelling, pausing, reports; and the first long jobs:
-- campaigns and vouchers.

SET LOCAL lock_timeout = '4s';

-- ---- the bulk queue ----------------------------------------------------------------------------

ALTER TABLE async_actions
    -- what its portions need beside records: the kind of job says what
    ADD COLUMN parameters jsonb,
    -- under way: its place in the lane, smallest first; in a round_robin lane each portion gives it a new one
    ADD COLUMN job_turn bigint NOT NULL DEFAULT 0,
    -- the transaction that accepted it: who remembers what had committed when it last looked finds what is new
    ADD COLUMN accepted_xid xid8 NOT NULL DEFAULT pg_current_xact_id();

DROP INDEX async_actions_waiting;
DROP INDEX async_actions_under_way;
CREATE INDEX async_actions_waiting ON async_actions (project_id, lane, seq)
    WHERE finished_at IS NULL AND started_at IS NULL;
CREATE INDEX async_actions_under_way ON async_actions (project_id, lane, job_turn)
    WHERE finished_at IS NULL AND started_at IS NOT NULL;
CREATE INDEX async_actions_arrivals ON async_actions (accepted_xid) WHERE finished_at IS NULL;

-- Where a lane stands: its last turn. Each turn is a new row, and the one before it is deleted, so that the row in force
-- is the last one of its index: found at once, however many dead ones an old snapshot keeps in front of it.
CREATE TABLE lane_turns (
    project_id          text NOT NULL,
    lane                text NOT NULL CHECK (lane IN ('fifo', 'round_robin', 'segments', 'reactions')),
    turn                bigint NOT NULL,
    served_at           timestamptz NOT NULL,
    -- how long a record took of late, for estimates of the time left
    record_us           double precision,
    -- no job under way has a smaller job_turn; the next one that starts, or goes to the end, gets the second number
    job_turn_floor      bigint NOT NULL,
    job_turn_next       bigint NOT NULL,
    -- no action that waits has a smaller seq, or can appear with one
    seq_floor           bigint NOT NULL,
    -- the next floor, once all transactions up to this one have ended
    seq_floor_next      bigint NOT NULL,
    seq_floor_next_xid  xid8 NOT NULL,
    PRIMARY KEY (project_id, lane, turn)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);
ALTER TABLE lane_turns ALTER COLUMN project_id SET STATISTICS 0;

-- Lanes that take no further portion until an operator lets them. Nothing that a portion locks.
CREATE TABLE lane_pauses (
    project_id  text NOT NULL,
    lane        text NOT NULL CHECK (lane IN ('fifo', 'round_robin', 'segments', 'reactions')),
    paused_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (project_id, lane)
);
ALTER TABLE lane_pauses ALTER COLUMN project_id SET STATISTICS 0;

-- Requests to end an action. The next turn of its lane reads them.
CREATE TABLE async_action_cancels (
    project_id    text NOT NULL,
    lane          text NOT NULL,
    action_id     text NOT NULL,
    requested_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (project_id, lane, action_id)
);
ALTER TABLE async_action_cancels ALTER COLUMN project_id SET STATISTICS 0;

-- What a job says about each record, as JSON Lines; a portion adds a row.
CREATE TABLE async_action_reports (
    project_id    text NOT NULL,
    action_id     text NOT NULL,
    first_record  integer NOT NULL,
    records       integer NOT NULL CHECK (records > 0),
    body          bytea NOT NULL,
    PRIMARY KEY (project_id, action_id, first_record),
    FOREIGN KEY (project_id, action_id) REFERENCES async_actions (project_id, id) ON DELETE CASCADE
);
ALTER TABLE async_action_reports ALTER COLUMN project_id SET STATISTICS 0;
ALTER TABLE async_actions
    -- when the last row of its report was deleted; null while there may be one
    ADD COLUMN report_deleted_at timestamptz;
CREATE INDEX async_actions_report_kept ON async_actions (project_id, finished_at)
    WHERE finished_at IS NOT NULL AND report_deleted_at IS NULL;
UPDATE async_actions SET report_deleted_at = finished_at WHERE finished_at IS NOT NULL;

-- ---- campaigns and vouchers --------------------------------------------------------------------

-- fixed when the project is made: whether `Code` and `CODE` are two codes
ALTER TABLE projects ADD COLUMN case_sensitive_codes boolean NOT NULL DEFAULT true;

CREATE TABLE campaigns (
    project_id                          text NOT NULL,
    id                                  text NOT NULL,
    name                                text NOT NULL,
    description                         text,
    campaign_type                       text NOT NULL,
    type                                text NOT NULL CHECK (type IN ('AUTO_UPDATE', 'STATIC', 'STANDALONE')),
    -- what its vouchers are made from: type, discount or gift, redemption, code_config, is_referral_code
    voucher                             jsonb NOT NULL,
    auto_join                           boolean NOT NULL DEFAULT false,
    join_once                           boolean NOT NULL DEFAULT false,
    use_voucher_metadata_schema         boolean NOT NULL DEFAULT false,
    start_date                          timestamptz,
    expiration_date                     timestamptz,
    validity_timeframe                  jsonb,
    validity_day_of_week                jsonb,
    validity_hours                      jsonb,
    activity_duration_after_publishing  text,
    category                            text,
    active                              boolean NOT NULL DEFAULT true,
    metadata                            jsonb NOT NULL DEFAULT '{}',
    created_at                          timestamptz NOT NULL,
    updated_at                          timestamptz,
    -- in the bin: it blocks its name, and answers nobody
    binned_at                           timestamptz,
    PRIMARY KEY (project_id, id)
) WITH (fillfactor = 85);
ALTER TABLE campaigns ALTER COLUMN project_id SET STATISTICS 0;
CREATE UNIQUE INDEX campaigns_name ON campaigns (project_id, name);
CREATE UNIQUE INDEX campaigns_created ON campaigns (project_id, created_at);
CREATE INDEX campaigns_updated ON campaigns (project_id, (coalesce(updated_at, created_at)), created_at)
    INCLUDE (updated_at);

-- The long jobs of a campaign: its statuses follow from them. A row is inserted with the action and changed by its end.
CREATE TABLE campaign_jobs (
    project_id   text NOT NULL,
    campaign_id  text NOT NULL,
    action_id    text NOT NULL,
    -- the type of the action
    type         text NOT NULL,
    -- how many vouchers it was asked for
    vouchers     integer NOT NULL DEFAULT 0,
    -- null while it runs; then whether it came to its end
    succeeded    boolean,
    PRIMARY KEY (project_id, campaign_id, action_id)
) WITH (fillfactor = 85);
ALTER TABLE campaign_jobs ALTER COLUMN project_id SET STATISTICS 0;

CREATE TABLE vouchers (
    project_id            text NOT NULL,
    id                    text NOT NULL,
    code                  text NOT NULL,
    -- the code, in lower case where the project does not tell the cases apart
    code_key              text NOT NULL,
    campaign_id           text,
    type                  text NOT NULL CHECK (type IN ('DISCOUNT_VOUCHER', 'GIFT_VOUCHER', 'LOYALTY_CARD')),
    discount              jsonb,
    -- amount, subtracted_amount and effect; the balance is computed
    gift                  jsonb,
    loyalty_card          jsonb,
    category              text,
    start_date            timestamptz,
    expiration_date       timestamptz,
    validity_timeframe    jsonb,
    validity_day_of_week  jsonb,
    validity_hours        jsonb,
    active                boolean NOT NULL DEFAULT true,
    additional_info       text,
    metadata              jsonb NOT NULL DEFAULT '{}',
    is_referral_code      boolean NOT NULL DEFAULT false,
    -- null: any number of times
    redemption_quantity   integer CHECK (redemption_quantity >= 0),
    redeemed_quantity     integer NOT NULL DEFAULT 0 CHECK (redeemed_quantity >= 0),
    redeemed_amount       bigint NOT NULL DEFAULT 0 CHECK (redeemed_amount >= 0),
    published_count       integer NOT NULL DEFAULT 0 CHECK (published_count >= 0),
    holder_id             text,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz,
    -- in the bin: it blocks its code, and answers nobody
    binned_at             timestamptz,
    PRIMARY KEY (project_id, id)
) WITH (fillfactor = 85);
ALTER TABLE vouchers ALTER COLUMN project_id SET STATISTICS 0;
-- What is in the bin can be most of a project: those that lists are read by pass over it.
CREATE UNIQUE INDEX vouchers_code ON vouchers (project_id, code_key) INCLUDE (binned_at);
CREATE UNIQUE INDEX vouchers_created ON vouchers (project_id, created_at) WHERE binned_at IS NULL;
CREATE INDEX vouchers_campaign ON vouchers (project_id, campaign_id, created_at) INCLUDE (binned_at)
    WHERE campaign_id IS NOT NULL;
CREATE INDEX vouchers_updated ON vouchers (project_id, (coalesce(updated_at, created_at)), created_at)
    INCLUDE (updated_at) WHERE binned_at IS NULL;
CREATE INDEX vouchers_holder ON vouchers (project_id, holder_id, created_at)
    WHERE holder_id IS NOT NULL AND binned_at IS NULL;
CREATE INDEX vouchers_category ON vouchers (project_id, category, created_at)
    WHERE category IS NOT NULL AND binned_at IS NULL;
