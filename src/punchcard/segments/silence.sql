-- name: segments_keep
-- Until the transaction ends nobody adds a dynamic segment. See segments_hold.
SELECT id FROM projects WHERE id = :project_id FOR SHARE;

-- name: segments_active
SELECT id FROM segments WHERE project_id = :project_id AND type = 'auto-update';
