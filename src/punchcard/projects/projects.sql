-- name: project_insert!
INSERT INTO projects (id, name) VALUES (:id, :name);

-- name: project_get
SELECT id, name FROM projects WHERE id = :project_id;

-- name: projects_any
SELECT EXISTS (SELECT FROM projects) AS found;

-- name: api_key_insert!
INSERT INTO api_keys (app_id, project_id, kind, name, token_hash)
VALUES (:app_id, :project_id, :kind, :name, :token_hash);

-- name: bootstrap_lock
-- One process at a time makes the first project.
SELECT pg_advisory_xact_lock(:key);
