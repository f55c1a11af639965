-- name: custom_event_schemas_get_all
-- All event schemas of a project, by name.
SELECT id, name, properties, created_at, updated_at
  FROM custom_event_schemas WHERE project_id = :project_id
 ORDER BY name COLLATE "C";

-- name: custom_event_schema_named
SELECT id, properties FROM custom_event_schemas WHERE project_id = :project_id AND name = :name;

-- name: custom_event_schemas_write!
-- New and changed event schemas. Rows of one statement are a microsecond apart.
INSERT INTO custom_event_schemas (project_id, id, name, properties, created_at)
SELECT :project_id, s.id, s.name, s.properties, now() + s.no * interval '1 microsecond'
  FROM unnest(:ids::text[], :names::text[], :properties::jsonb[]) WITH ORDINALITY AS s (id, name, properties, no)
    ON CONFLICT (project_id, name) DO UPDATE
   SET properties = excluded.properties, updated_at = excluded.created_at;

-- name: custom_event_schema_delete
DELETE FROM custom_event_schemas WHERE project_id = :project_id AND name = :name RETURNING id;
