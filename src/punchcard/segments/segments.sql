-- name: segment_get
-- One segment with its summary. See segments_list.
SELECT s.id, s.name, s.type, s.filter, s.revision, s.created_at, s.updated_at, coalesce(m.members, 0) AS members,
       CASE WHEN m.counted_on = t.today THEN m.entered ELSE 0 END AS entered_today,
       CASE WHEN m.counted_on = t.today THEN m."left" ELSE 0 END AS left_today,
       m.changed_at, s.type <> 'static' AND (m.revision <> s.revision OR m.populated_to IS NOT NULL) AS populating
  FROM segments AS s
  JOIN (SELECT id, (clock_timestamp() AT TIME ZONE timezone)::date AS today FROM projects) AS t ON t.id = s.project_id
  LEFT JOIN segment_summaries AS m ON m.project_id = :project_id AND m.segment_id = s.id
 WHERE s.project_id = :project_id AND s.id = :id;

-- name: segments_list
-- What a list of segments shows. Conditions, order and limit are put around it: see http.pages. What came and went counts
-- on the day in the project's time zone.
SELECT s.id, s.name, s.type, s.filter, s.revision, s.created_at, s.updated_at, coalesce(m.members, 0) AS members,
       CASE WHEN m.counted_on = t.today THEN m.entered ELSE 0 END AS entered_today,
       CASE WHEN m.counted_on = t.today THEN m."left" ELSE 0 END AS left_today,
       m.changed_at, s.type <> 'static' AND (m.revision <> s.revision OR m.populated_to IS NOT NULL) AS populating
  FROM segments AS s
  JOIN (SELECT id, (clock_timestamp() AT TIME ZONE timezone)::date AS today FROM projects) AS t ON t.id = s.project_id
  LEFT JOIN segment_summaries AS m ON m.project_id = :project_id AND m.segment_id = s.id
 WHERE s.project_id = :project_id;

-- name: segments_right_until
-- The moment up to which all changes that were answered are in the memberships: that of the first change that waits, else
-- when this statement was sent, before which all that it does not see was not answered. Changes wait nearly in the order of
-- their moments.
SELECT least(statement_timestamp(),
             (SELECT min(w.accepted_at)
                FROM (SELECT accepted_at FROM segment_inbox WHERE project_id = :project_id ORDER BY seq LIMIT 100) AS w),
             (SELECT due_at FROM segment_clocks WHERE project_id = :project_id)) AS moment;

-- name: segments_hold
-- Whoever adds a dynamic segment is alone with that.
SELECT id FROM projects WHERE id = :project_id FOR NO KEY UPDATE;

-- name: segments_filters
SELECT id, filter::text AS filter FROM segments WHERE project_id = :project_id AND type <> 'static';

-- name: segments_count
-- How many dynamic segments there are, and where the newest customer is. A statement of its own: one that waits for
-- segments_hold sees what there was before it waited.
SELECT (SELECT count(*) FROM segments WHERE project_id = :project_id AND type <> 'static') AS dynamic,
       coalesce((SELECT max(id) FROM customers WHERE project_id = :project_id), '') AS last;

-- name: segment_insert!
WITH made AS (
    INSERT INTO segments (project_id, id, name, type, filter, created_at)
    SELECT :project_id, :id, :name, :type, :filter, t.now
      FROM (SELECT greatest(clock_timestamp(),
                            (SELECT max(created_at) FROM segments WHERE project_id = :project_id)
                                + interval '1 microsecond') AS now) AS t
)
INSERT INTO segment_summaries (project_id, segment_id, revision, populated_to, populate_until)
VALUES (:project_id, :id, 1, CASE WHEN :type <> 'static' THEN '' END, CASE WHEN :type <> 'static' THEN :last END);

-- name: segment_members_fix
-- The members of a new static segment, who are held so that none of them is deleted meanwhile.
WITH made AS (
    INSERT INTO segment_members (project_id, segment_id, customer_id, customer_created_at, entered_at)
    SELECT :project_id, :id, found.id, found.created_at, t.now
      FROM (SELECT clock_timestamp() AS now) AS t
     CROSS JOIN unnest(:customer_ids::text[]) AS n (key)
     CROSS JOIN LATERAL (
           SELECT id, created_at FROM customers
            WHERE project_id = :project_id AND id = n.key LIMIT 1 FOR KEY SHARE) AS found
    RETURNING customer_id
)
SELECT customer_id FROM made;

-- name: segment_members_fixed!
UPDATE segment_summaries SET members = :members WHERE project_id = :project_id AND segment_id = :id;

-- name: segment_lock
SELECT id FROM segments WHERE project_id = :project_id AND id = :id FOR NO KEY UPDATE;

-- name: segment_update!
UPDATE segments AS s
   SET name = :name, filter = :filter, revision = :revision, updated_at = t.now
  FROM (SELECT clock_timestamp() AS now) AS t
 WHERE s.project_id = :project_id AND s.id = :id;

-- name: segment_delete
DELETE FROM segments WHERE project_id = :project_id AND id = :id RETURNING id;
