-- name: segments_standing
-- The dynamic segments of a project, and how far each is populated; none of whom have a filter are null.
SELECT p.timezone, s.id, s.name, s.type, s.filter::text AS filter, s.revision, m.revision AS populated_revision,
       m.populated_to, m.populate_until
  FROM projects AS p
  LEFT JOIN segments AS s ON s.project_id = :project_id AND s.type <> 'static'
  LEFT JOIN segment_summaries AS m ON m.project_id = :project_id AND m.segment_id = s.id
 WHERE p.id = :project_id
 ORDER BY s.id;

-- name: segment_clock_strike!
-- If the first moment has come at which customers are to be placed again, ask for it; whoever places them sets the clock
-- anew.
WITH struck AS (
    UPDATE segment_clocks SET due_at = 'infinity' WHERE project_id = :project_id AND due_at <= clock_timestamp()
    RETURNING pg_current_xact_id() AS xid
)
INSERT INTO segment_inbox (project_id, task, cause, accepted_at, accepted_xid)
SELECT :project_id, 'clock', 'clock', clock_timestamp(), struck.xid FROM struck;

-- name: segment_inbox_waiting
-- The first rows of the inbox. Below the floor there is none: what was taken out there need not be passed.
SELECT seq, task FROM segment_inbox
 WHERE project_id = :project_id AND seq >= :floor
 ORDER BY seq
 LIMIT :limit;

-- name: segment_inbox_take
-- Take rows out of the inbox, in their order.
WITH taken AS MATERIALIZED (
    DELETE FROM segment_inbox WHERE project_id = :project_id AND seq = ANY(:seqs::bigint[])
    RETURNING seq, task, customer_id, segment_id, revision, reached, accepted_at, cause, silent, enters, leaves, group_id, async_action_id,
              depth
)
SELECT taken.*, a.request_id
  FROM taken
  LEFT JOIN LATERAL (
       SELECT request_id FROM async_actions
        WHERE project_id = :project_id AND id = taken.async_action_id AND taken.group_id IS NULL
        LIMIT 1) AS a ON true
 ORDER BY taken.seq;

-- name: segments_place
-- Evaluate all dynamic segments for some customers, and say how that differs from what they are in. Of a segment that is
-- being populated, only for those who are placed already. What a silent change, still waiting, says of itself is left
-- to it. The first row is about none of them: when the first of them has to be placed again, and when it is now. For c see
-- evaluating; if no filter has a clock, nobody is due and nobody was.
WITH c AS MATERIALIZED (
    SELECT NULL::text AS id, NULL::timestamptz AS created_at, NULL::timestamptz AS now, NULL::integer[] AS matched,
           NULL::timestamptz AS due_at
), wanted AS (
    SELECT c.id, c.created_at, m.no FROM c CROSS JOIN LATERAL unnest(c.matched) AS m (no)
), stored AS (
    SELECT c.id, c.created_at, s.no
      FROM c CROSS JOIN LATERAL (
           SELECT segment_id FROM segment_members
            WHERE project_id = :project_id AND customer_id = c.id OFFSET 0) AS m
      JOIN unnest(:segment_ids::text[]) WITH ORDINALITY AS s (id, no) ON s.id = m.segment_id
), due AS (
    INSERT INTO segment_due (project_id, customer_id, due_at)
    SELECT :project_id, id, due_at FROM c WHERE :has_clock AND due_at IS NOT NULL
        ON CONFLICT (project_id, customer_id) DO UPDATE SET due_at = excluded.due_at
     WHERE segment_due.due_at <> excluded.due_at
), undue AS (
    DELETE FROM segment_due
     WHERE project_id = :project_id AND :has_clock AND customer_id = ANY(ARRAY(SELECT id FROM c WHERE due_at IS NULL))
)
SELECT NULL AS customer_id, NULL AS segment_id, NULL AS entered, NULL AS customer_created_at, min(due_at) AS due_at,
       min(now) AS now
  FROM c
UNION ALL
SELECT d.id, d.segment_id, d.entered, d.created_at, NULL, NULL
  FROM (SELECT coalesce(wanted.id, stored.id) AS id, coalesce(wanted.created_at, stored.created_at) AS created_at,
               coalesce(wanted.no, stored.no) AS no, stored.no IS NULL AS entered,
               (:segment_ids::text[])[coalesce(wanted.no, stored.no)] AS segment_id
          FROM wanted FULL JOIN stored ON stored.id = wanted.id AND stored.no = wanted.no
         WHERE wanted.no IS NULL OR stored.no IS NULL) AS d
 WHERE ((:populated_tos::text[])[d.no] IS NULL OR d.id <= (:populated_tos::text[])[d.no]
        OR d.id > (:populate_untils::text[])[d.no])
   AND NOT EXISTS (
       SELECT FROM segment_inbox AS i
        WHERE i.project_id = :project_id AND i.customer_id = d.id AND i.silent
          AND (d.segment_id = ANY(i.enters) OR d.segment_id = ANY(i.leaves)));

-- name: segment_members_insert!
INSERT INTO segment_members (project_id, segment_id, customer_id, customer_created_at, entered_at, async_action_id)
SELECT :project_id, u.segment_id, u.customer_id, u.customer_created_at, :now::timestamptz, u.async_action_id
  FROM unnest(:segment_ids::text[], :customer_ids::text[], :customer_created_ats::timestamptz[],
              :async_action_ids::text[]) AS u (segment_id, customer_id, customer_created_at, async_action_id)
    ON CONFLICT DO NOTHING;

-- name: segment_members_delete!
-- Customers who leave a segment. By an array, here and below: each is found by its key, whatever the statistics say.
DELETE FROM segment_members
 WHERE project_id = :project_id AND segment_id = :segment_id AND customer_id = ANY(:customer_ids::text[]);

-- name: segment_populate
-- Place the next customers of a segment that is being populated, and say how many came and went. NOT IN is hashed whatever
-- is estimated; of a table that is new, nothing true is. The other segments' filters are not looked at, so of the moments
-- at which somebody is due only earlier ones count. For c see evaluating.
WITH c AS MATERIALIZED (
    SELECT NULL::text AS id, NULL::timestamptz AS created_at, NULL::timestamptz AS now, NULL::integer[] AS matched,
           NULL::timestamptz AS due_at
), reached AS MATERIALIZED (
    SELECT count(*) AS customers, min(due_at) AS due_at, min(now) AS now,
           CASE WHEN count(*) < :limit THEN :until ELSE max(id) END AS "to"
      FROM c
), stored AS MATERIALIZED (
    SELECT m.customer_id FROM segment_members AS m
     WHERE m.project_id = :project_id AND m.segment_id = :segment_id AND m.customer_id > :after
       AND m.customer_id <= (SELECT "to" FROM reached)
), entered AS (
    INSERT INTO segment_members (project_id, segment_id, customer_id, customer_created_at, entered_at)
    SELECT :project_id, :segment_id, c.id, c.created_at, c.now
      FROM c
     WHERE c.matched <> '{}' AND c.id NOT IN (SELECT customer_id FROM stored)
    RETURNING 1
), gone AS (
    DELETE FROM segment_members
     WHERE project_id = :project_id AND segment_id = :segment_id AND customer_id = ANY(ARRAY(
           SELECT customer_id FROM stored WHERE customer_id NOT IN (SELECT id FROM c WHERE matched <> '{}')))
    RETURNING 1
), due AS (
    INSERT INTO segment_due (project_id, customer_id, due_at)
    SELECT :project_id, id, due_at FROM c WHERE due_at IS NOT NULL
        ON CONFLICT (project_id, customer_id) DO UPDATE SET due_at = excluded.due_at
     WHERE segment_due.due_at > excluded.due_at
)
SELECT r.customers, r.due_at, coalesce(r.now, clock_timestamp()) AS now, coalesce(r."to", :until) AS "to",
       (SELECT count(*) FROM entered) AS entered, (SELECT count(*) FROM gone) AS "left"
  FROM reached AS r;

-- name: segment_populated!
-- How far a segment is populated; with the end, nothing of that is left to say.
UPDATE segment_summaries
   SET revision = :revision,
       populated_to = CASE WHEN :ended THEN NULL ELSE :to END,
       populate_until = CASE WHEN :ended THEN NULL ELSE :until END
 WHERE project_id = :project_id AND segment_id = :segment_id;

-- name: segment_population
-- Where the population of a segment stands, and whom it ends with if it has to begin.
SELECT s.id, s.name, s.type, s.filter::text AS filter, s.revision, m.revision AS populated_revision, m.populated_to,
       m.populate_until, p.timezone, coalesce((SELECT max(id) FROM customers WHERE project_id = :project_id), '') AS last
  FROM segments AS s
  JOIN projects AS p ON p.id = s.project_id
  LEFT JOIN segment_summaries AS m ON m.project_id = :project_id AND m.segment_id = s.id
 WHERE s.project_id = :project_id AND s.id = :segment_id;

-- name: segment_summaries_add!
-- Members that came and went, by segment. What came and went counts by the day.
INSERT INTO segment_summaries (project_id, segment_id, revision, members, counted_on, entered, "left", changed_at)
SELECT :project_id, u.segment_id, 0, u.members, (t.now AT TIME ZONE :zone)::date, u.entered, u."left", t.now
  FROM (SELECT coalesce(:now::timestamptz, clock_timestamp()) AS now) AS t,
       unnest(:segment_ids::text[], :members::bigint[], :entered::bigint[], :left::bigint[])
         AS u (segment_id, members, entered, "left")
 ORDER BY u.segment_id
    ON CONFLICT (project_id, segment_id) DO UPDATE
   SET members = segment_summaries.members + excluded.members,
       entered = excluded.entered
               + CASE WHEN segment_summaries.counted_on = excluded.counted_on THEN segment_summaries.entered ELSE 0 END,
       "left" = excluded."left"
              + CASE WHEN segment_summaries.counted_on = excluded.counted_on THEN segment_summaries."left" ELSE 0 END,
       counted_on = excluded.counted_on, changed_at = excluded.changed_at;

-- name: async_action_effects_add!
INSERT INTO async_action_effects (project_id, action_id, segment_id, entered, "left")
SELECT :project_id, u.action_id, u.segment_id, u.entered, u."left"
  FROM unnest(:action_ids::text[], :segment_ids::text[], :entered::bigint[], :left::bigint[])
    AS u (action_id, segment_id, entered, "left")
    ON CONFLICT (project_id, action_id, segment_id) DO UPDATE
   SET entered = async_action_effects.entered + excluded.entered,
       "left" = async_action_effects."left" + excluded."left";

-- name: segment_clock_set!
-- Wake the lane at this moment, unless it wakes before.
INSERT INTO segment_clocks (project_id, due_at) VALUES (:project_id, :due_at)
    ON CONFLICT (project_id) DO UPDATE SET due_at = excluded.due_at WHERE segment_clocks.due_at > excluded.due_at;

-- name: segment_due_take
-- Customers whose time has come; whoever places them again notes when it comes next.
DELETE FROM segment_due
 WHERE project_id = :project_id AND customer_id = ANY(ARRAY(
       SELECT customer_id FROM segment_due
        WHERE project_id = :project_id AND due_at <= clock_timestamp()
        ORDER BY due_at, customer_id
        LIMIT :limit))
RETURNING customer_id;

-- name: segment_due_first
SELECT min(due_at) AS due_at FROM segment_due WHERE project_id = :project_id;

-- name: segment_task_append!
INSERT INTO segment_inbox (project_id, task, segment_id, revision, reached, cause, accepted_at, accepted_xid)
SELECT :project_id, :task, :segment_id, :revision, :reached, :cause, coalesce(:accepted_at::timestamptz, t.now), t.xid
  FROM (SELECT clock_timestamp() AS now, pg_current_xact_id() AS xid) AS t;

-- name: segment_customers_hold
-- Hold the next customers, so that nobody changes them meanwhile.
SELECT id FROM customers
 WHERE project_id = :project_id AND id > :after
 ORDER BY id
 LIMIT :limit
   FOR NO KEY UPDATE;

-- name: segment_customers_waiting
-- Those among some customers who wait to be placed: it is done when it is their turn.
SELECT DISTINCT customer_id FROM segment_inbox
 WHERE project_id = :project_id AND task = 'place' AND customer_id = ANY(:ids::text[]);

-- name: segment_members_forget
-- Some members of a segment that is gone.
DELETE FROM segment_members
 WHERE project_id = :project_id AND segment_id = :segment_id AND customer_id = ANY(ARRAY(
       SELECT customer_id FROM segment_members
        WHERE project_id = :project_id AND segment_id = :segment_id
        ORDER BY customer_id
        LIMIT :limit));

-- name: segment_forget!
-- What is left of a segment that is gone; what jobs led to in it stays with them.
DELETE FROM segment_summaries WHERE project_id = :project_id AND segment_id = :segment_id;

-- name: segment_count!
-- Count the members anew.
UPDATE segment_summaries AS m
   SET members = n.members
  FROM (SELECT count(*) AS members FROM segment_members
         WHERE project_id = :project_id AND segment_id = :segment_id) AS n
 WHERE m.project_id = :project_id AND m.segment_id = :segment_id;

-- name: customers_forget
-- Customers that are gone leave their segments without a word: how many in each.
WITH gone AS (
    DELETE FROM segment_members WHERE project_id = :project_id AND customer_id = ANY(:customer_ids::text[])
    RETURNING segment_id
), undue AS (
    DELETE FROM segment_due WHERE project_id = :project_id AND customer_id = ANY(:customer_ids::text[])
)
SELECT segment_id, count(*) AS "left" FROM gone GROUP BY segment_id;

-- name: customers_hold
-- Hold customers whose events are to be written: those that are gone have none.
SELECT found.id
  FROM unnest(:ids::text[]) AS n (key)
 CROSS JOIN LATERAL (
       SELECT id FROM customers WHERE project_id = :project_id AND id = n.key LIMIT 1 FOR NO KEY UPDATE) AS found;

-- name: segment_set_aside!
-- Take one row out of the inbox and say why it could not be worked off.
WITH taken AS (
    DELETE FROM segment_inbox WHERE project_id = :project_id AND seq = :seq
    RETURNING seq, task, customer_id, segment_id
)
INSERT INTO segment_failures (project_id, seq, task, customer_id, segment_id, reason)
SELECT :project_id, seq, task, customer_id, segment_id, :reason FROM taken;
