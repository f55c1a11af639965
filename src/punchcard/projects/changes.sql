-- name: project_lock
-- As strong as the update that follows, and no stronger: actions are accepted meanwhile.
SELECT id, name, timezone, ordered_at_key, case_sensitive_codes, created_at
  FROM projects WHERE id = :project_id FOR NO KEY UPDATE;

-- name: project_update!
UPDATE projects SET name = :name, timezone = :timezone, ordered_at_key = :ordered_at_key WHERE id = :project_id;

-- name: timezone_named
-- A zone as PostgreSQL writes it, whatever the case; not the one that depends on the machine.
SELECT name FROM pg_timezone_names WHERE lower(name) = lower(:name) AND name <> 'localtime' LIMIT 1;
