-- name: segments_verify
-- Evaluate all segments for the next customers and say where the memberships differ, as one statement sees both. Who waits
-- to be placed may differ, and so may what is being populated or forgotten. For c see evaluating.
WITH c AS MATERIALIZED (
    SELECT NULL::text AS id, NULL::timestamptz AS created_at, NULL::timestamptz AS now, NULL::integer[] AS matched,
           NULL::timestamptz AS due_at
), reached AS MATERIALIZED (
    SELECT count(*) AS customers, CASE WHEN count(*) < :limit THEN :until ELSE max(id) END AS "to" FROM c
), s AS MATERIALIZED (
    SELECT no, id, populated_to, populate_until
      FROM unnest(:segment_ids::text[], :populated_tos::text[], :populate_untils::text[])
           WITH ORDINALITY AS u (id, populated_to, populate_until, no)
), wanted AS (
    SELECT c.id AS customer_id, s.id AS segment_id
      FROM c CROSS JOIN LATERAL unnest(c.matched) AS m (no) JOIN s ON s.no = m.no
), stored AS (
    SELECT m.customer_id, m.segment_id
      FROM segment_members AS m
     WHERE m.project_id = :project_id AND m.customer_id > :after AND m.customer_id <= (SELECT "to" FROM reached)
), waiting AS MATERIALIZED (
    SELECT customer_id, segment_id FROM segment_inbox WHERE project_id = :project_id AND task IN ('place', 'forget')
), difference AS (
    SELECT coalesce(wanted.customer_id, stored.customer_id) AS customer_id,
           coalesce(wanted.segment_id, stored.segment_id) AS segment_id, wanted.segment_id IS NOT NULL AS wanted
      FROM wanted FULL JOIN stored
        ON stored.customer_id = wanted.customer_id AND stored.segment_id = wanted.segment_id
     WHERE wanted.segment_id IS NULL OR stored.segment_id IS NULL
)
SELECT 'reached' AS kind, "to" AS customer_id, NULL AS segment_id, customers FROM reached
UNION ALL
SELECT CASE WHEN d.wanted THEN 'missing' WHEN g.id IS NULL THEN 'of no segment' WHEN c.id IS NULL THEN 'of no customer'
            ELSE 'wrong' END, d.customer_id, d.segment_id, NULL
  FROM difference AS d
  LEFT JOIN c ON c.id = d.customer_id
  LEFT JOIN s ON s.id = d.segment_id
  LEFT JOIN segments AS g ON g.project_id = :project_id AND g.id = d.segment_id
 WHERE (g.type IS DISTINCT FROM 'static' OR c.id IS NULL)
   AND (s.populated_to IS NULL OR c.id <= s.populated_to OR c.id > s.populate_until)
   AND NOT EXISTS (SELECT FROM waiting AS w WHERE w.customer_id = d.customer_id)
   AND NOT EXISTS (SELECT FROM waiting AS w WHERE w.segment_id = d.segment_id)
   AND NOT EXISTS (SELECT FROM segment_due AS t
                    WHERE t.project_id = :project_id AND t.customer_id = d.customer_id AND t.due_at <= c.now)
UNION ALL
SELECT 'not due', c.id, NULL, NULL
  FROM c
 WHERE c.due_at IS NOT NULL AND :populated
   AND NOT EXISTS (SELECT FROM segment_due AS t
                    WHERE t.project_id = :project_id AND t.customer_id = c.id AND t.due_at <= c.due_at)
   AND NOT EXISTS (SELECT FROM waiting AS w WHERE w.customer_id = c.id);

-- name: segments_verify_counts
-- Segments whose summary has another number of members than there are, as one statement sees both.
SELECT m.segment_id, m.members, n.members AS counted
  FROM segment_summaries AS m
 CROSS JOIN LATERAL (
       SELECT count(*) AS members FROM segment_members AS g
        WHERE g.project_id = :project_id AND g.segment_id = m.segment_id) AS n
 WHERE m.project_id = :project_id AND m.members <> n.members
   AND EXISTS (SELECT FROM segments AS s WHERE s.project_id = :project_id AND s.id = m.segment_id)
 ORDER BY m.segment_id;

-- name: segments_verify_clock
-- A row if the lane wakes later than somebody's time comes.
SELECT min(d.due_at) AS due_at
  FROM segment_due AS d
 WHERE d.project_id = :project_id
   AND NOT EXISTS (SELECT FROM segment_inbox WHERE project_id = :project_id AND task = 'clock')
HAVING min(d.due_at) < coalesce((SELECT due_at FROM segment_clocks WHERE project_id = :project_id), 'infinity');

-- name: segments_verify_populations
-- Segments that are being populated, and no task says that anybody goes on with it.
SELECT s.id, s.revision
  FROM segments AS s
  LEFT JOIN segment_summaries AS m ON m.project_id = :project_id AND m.segment_id = s.id
 WHERE s.project_id = :project_id AND s.type <> 'static'
   AND (m.revision IS DISTINCT FROM s.revision OR m.populated_to IS NOT NULL)
   AND NOT EXISTS (SELECT FROM segment_inbox AS i
                    WHERE i.project_id = :project_id AND i.segment_id = s.id AND i.task = 'populate'
                      AND i.revision = s.revision)
 ORDER BY s.id;

-- name: segment_clock_advance!
INSERT INTO segment_clocks (project_id, due_at) VALUES (:project_id, clock_timestamp())
    ON CONFLICT (project_id) DO UPDATE SET due_at = least(segment_clocks.due_at, excluded.due_at);
