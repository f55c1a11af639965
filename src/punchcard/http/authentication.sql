-- name: api_key_get
-- The key pair of an application id; which project it opens. Global: the project is what is looked up.
SELECT project_id, name, token_hash FROM api_keys WHERE app_id = :app_id AND kind = :kind AND NOT blocked;
