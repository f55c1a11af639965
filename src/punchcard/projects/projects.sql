-- name: project_insert!
INSERT INTO projects (id, name, case_sensitive_codes) VALUES (:id, :name, :case_sensitive_codes);

-- name: project_get
SELECT id, name FROM projects WHERE id = :project_id;

-- name: project_list
-- All projects, the oldest first.
SELECT id, name, timezone, ordered_at_key, case_sensitive_codes, created_at FROM projects ORDER BY created_at, id;

-- name: project_show
SELECT id, name, timezone, ordered_at_key, case_sensitive_codes, created_at FROM projects WHERE id = :project_id;

-- name: projects_any
SELECT EXISTS (SELECT FROM projects) AS found;

-- name: api_key_insert!
INSERT INTO api_keys (app_id, project_id, kind, name, token_hash)
VALUES (:app_id, :project_id, :kind, :name, :token_hash);

-- name: bootstrap_lock
-- One process at a time makes the first project.
SELECT pg_advisory_xact_lock(:key);
