-- name: generation_action
-- What a generation has come to so far, and when it was accepted and ended.
SELECT records_done, created_at, finished_at FROM async_actions WHERE project_id = :project_id AND id = :id;
