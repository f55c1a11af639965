-- name: lane_pause!
INSERT INTO lane_pauses (project_id, lane) VALUES (:project_id, :lane) ON CONFLICT DO NOTHING;

-- name: lane_resume!
DELETE FROM lane_pauses WHERE project_id = :project_id AND lane = :lane;

-- name: lanes_list
-- The lanes that have been used or paused, with what is in them.
SELECT l.lane,
       (SELECT count(*) FROM async_actions AS a
         WHERE a.project_id = :project_id AND a.lane = l.lane AND a.finished_at IS NULL AND a.started_at IS NOT NULL)
       AS under_way,
       (SELECT count(*) FROM async_actions AS a
         WHERE a.project_id = :project_id AND a.lane = l.lane AND a.finished_at IS NULL AND a.started_at IS NULL)
       + CASE l.lane WHEN 'reactions' THEN (SELECT count(*) FROM event_outbox WHERE project_id = :project_id)
                     WHEN 'segments' THEN (SELECT count(*) FROM segment_inbox WHERE project_id = :project_id)
                     ELSE 0 END
       AS waiting,
       (SELECT max(t.served_at) FROM lane_turns AS t WHERE t.project_id = :project_id AND t.lane = l.lane) AS served_at,
       (SELECT p.paused_at FROM lane_pauses AS p WHERE p.project_id = :project_id AND p.lane = l.lane) AS paused_at
  FROM (SELECT lane FROM lane_turns WHERE project_id = :project_id
         UNION SELECT lane FROM lane_pauses WHERE project_id = :project_id
         UNION SELECT lane FROM async_actions WHERE project_id = :project_id AND finished_at IS NULL
         UNION SELECT 'reactions' WHERE EXISTS (SELECT FROM event_outbox WHERE project_id = :project_id)
         UNION SELECT 'segments' WHERE EXISTS (SELECT FROM segment_inbox WHERE project_id = :project_id)) AS l
 ORDER BY l.lane;
